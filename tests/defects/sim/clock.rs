//! Virtual time.

pub use squall::record::Micros;

/// A millisecond.
pub const MS: Micros = 1_000;
/// A second.
pub const S: Micros = 1_000_000;

/// Seconds as microseconds.
pub fn seconds(s: f64) -> Micros {
    (s * 1e6).round().max(0.0) as Micros
}
