//! The run's one monotonic clock.

use std::time::{Duration, Instant, SystemTime};

/// Microseconds since the record began; every time in a record is one of these.
pub type Micros = u64;

/// A monotonic clock that starts at zero with the record, paired once with wall time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    wall: SystemTime,
}

impl Clock {
    /// Starts the clock now.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
            wall: SystemTime::now(),
        }
    }
    /// The time now.
    pub fn now(&self) -> Micros {
        self.micros(Instant::now())
    }
    /// An instant as time on this clock; 0 for one before it started.
    pub fn micros(&self, at: Instant) -> Micros {
        at.saturating_duration_since(self.start).as_micros() as Micros
    }
    /// The instant at a time on this clock.
    pub fn instant(&self, at: Micros) -> Instant {
        self.start + Duration::from_micros(at)
    }
    /// Wall time at zero.
    pub fn wall_start(&self) -> SystemTime {
        self.wall
    }
}
