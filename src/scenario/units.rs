//! Quantities with their units, as they are written in scenarios, flags and records.
//!
//! A bare number is never accepted: `500/s`, `250ms`, `0.1%`, `4KiB`. Each type parses from a string, prints the
//! shortest exact form it would parse back from, and serializes as that string.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a quantity could not be read; the message names what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(pub String);

/// Splits `12.5ms` into the number and the unit.
fn split(text: &str, expected: &str) -> Result<(f64, String), UnitError> {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let value: f64 = number
        .parse()
        .map_err(|_| UnitError(format!("expected {expected}, found `{text}`")))?;
    Ok((value, unit.trim().to_string()))
}

/// A number without a unit, or with one that is none of those expected.
fn wrong_unit(text: &str, unit: &str, expected: &str) -> UnitError {
    UnitError(match unit {
        "" => format!("`{text}` has no unit: expected {expected}"),
        _ => format!("unknown unit `{unit}` in `{text}`: expected {expected}"),
    })
}

/// Parses a duration such as `250ms`, `1.5s`, `2m`, `1h` or a sequence such as `1m30s`.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    const EXPECTED: &str = "a duration with its unit, such as 250ms, 30s, 5m or 1h";
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(UnitError(format!("expected {EXPECTED}, found nothing")));
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(rest.len());
        let after = &rest[digits..];
        let letters = after
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(after.len());
        let (part, next) = rest.split_at(digits + letters);
        let (value, unit) = split(part, EXPECTED)?;
        let scale = match unit.as_str() {
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            other => return Err(wrong_unit(text, other, EXPECTED)),
        };
        total += value * scale;
        rest = next.trim_start();
    }
    if !total.is_finite() || total > 1e9 {
        return Err(UnitError(format!("`{text}` is too long a duration")));
    }
    Ok(Duration::from_nanos((total * 1e9).round() as u64))
}

/// Prints a duration in the largest unit that keeps it exact: `1m30s` as `90s`, `0.25s` as `250ms`.
pub fn format_duration(duration: Duration) -> String {
    let ns = duration.as_nanos();
    match ns {
        0 => "0s".into(),
        _ if ns.is_multiple_of(3_600_000_000_000) => format!("{}h", ns / 3_600_000_000_000),
        _ if ns.is_multiple_of(60_000_000_000) => format!("{}m", ns / 60_000_000_000),
        _ if ns.is_multiple_of(1_000_000_000) => format!("{}s", ns / 1_000_000_000),
        _ if ns.is_multiple_of(1_000_000) => format!("{}ms", ns / 1_000_000),
        _ => format!("{}us", ns as f64 / 1000.0),
    }
}

/// Serde for `Duration` as a string with its unit.
pub mod duration {
    use super::*;
    /// Writes the duration with its unit.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(*value))
    }
    /// Reads a duration with its unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        parse_duration(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Serde for `Option<Duration>`; use with `default` and `skip_serializing_if`.
pub mod duration_opt {
    use super::*;
    /// Writes the duration with its unit, or null.
    pub fn serialize<S: Serializer>(value: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
        value.map(format_duration).serialize(s)
    }
    /// Reads a duration with its unit, or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
        Option::<String>::deserialize(d)?
            .map(|text| parse_duration(&text).map_err(serde::de::Error::custom))
            .transpose()
    }
}

/// Implements serde through `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Events per second: `500/s`, `30/m`, `7200/h`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rate(f64);

impl Rate {
    /// A rate of `value` events per second.
    pub fn per_second(value: f64) -> Self {
        Self(value)
    }
    /// Events per second.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        const EXPECTED: &str = "a rate with its unit, such as 500/s, 30/m or 7200/h";
        let (value, unit) = split(text, EXPECTED)?;
        let per = match unit.replace(' ', "").as_str() {
            "/s" => 1.0,
            "/m" | "/min" => 60.0,
            "/h" => 3600.0,
            other => return Err(wrong_unit(text, other, EXPECTED)),
        };
        Ok(Self(value / per))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}
serde_as_text!(Rate);

/// A share of a whole: `50%`, `0.1%`. Held as a fraction, 1.0 is all.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Ratio(f64);

impl Ratio {
    /// A ratio from a fraction: 0.5 is 50%.
    pub fn fraction(value: f64) -> Self {
        Self(value)
    }
    /// The fraction: 50% is 0.5.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl FromStr for Ratio {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        const EXPECTED: &str = "a share with its unit, such as 50% or 0.1%";
        let (value, unit) = split(text, EXPECTED)?;
        match unit.as_str() {
            "%" => Ok(Self(value / 100.0)),
            other => Err(wrong_unit(text, other, EXPECTED)),
        }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded at the twelfth digit, so that 0.1% does not print as 0.1000000000000000055%.
        let percent = (self.0 * 100.0 * 1e12).round() / 1e12;
        write!(f, "{percent}%")
    }
}
serde_as_text!(Ratio);

/// A size in bytes: `512B`, `4KiB`, `1.5MiB`, `2MB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    /// A size of so many bytes.
    pub fn bytes(value: u64) -> Self {
        Self(value)
    }
    /// The bytes.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        const EXPECTED: &str = "a size with its unit, such as 512B, 4KiB or 2MB";
        let (value, unit) = split(text, EXPECTED)?;
        let scale = match unit.as_str() {
            "B" => 1.0,
            "KiB" => 1024.0,
            "MiB" => 1024.0 * 1024.0,
            "GiB" => 1024.0 * 1024.0 * 1024.0,
            "kB" | "KB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            other => return Err(wrong_unit(text, other, EXPECTED)),
        };
        Ok(Self((value * scale).round() as u64))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b if b > 0 && b.is_multiple_of(1 << 30) => write!(f, "{}GiB", b >> 30),
            b if b > 0 && b.is_multiple_of(1 << 20) => write!(f, "{}MiB", b >> 20),
            b if b > 0 && b.is_multiple_of(1 << 10) => write!(f, "{}KiB", b >> 10),
            b => write!(f, "{b}B"),
        }
    }
}
serde_as_text!(Size);

/// CPU, as Kubernetes counts it: `500m` is half a core, `2 cores` are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cores(u64);

impl Cores {
    /// So many thousandths of a core.
    pub fn from_millis(value: u64) -> Self {
        Self(value)
    }
    /// Thousandths of a core.
    pub fn millis(self) -> u64 {
        self.0
    }
}

impl FromStr for Cores {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        const EXPECTED: &str = "CPU with its unit, such as 500m or 2 cores";
        let (value, unit) = split(text, EXPECTED)?;
        let scale = match unit.as_str() {
            "m" => 1.0,
            "core" | "cores" => 1e3,
            other => return Err(wrong_unit(text, other, EXPECTED)),
        };
        Ok(Self((value * scale).round() as u64))
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}m", self.0)
    }
}
serde_as_text!(Cores);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print() {
        for (text, ms, printed) in [
            ("250ms", 250, "250ms"),
            ("1.5s", 1500, "1500ms"),
            ("1m30s", 90_000, "90s"),
            ("2m", 120_000, "2m"),
            ("1h", 3_600_000, "1h"),
            ("0s", 0, "0s"),
        ] {
            let parsed = parse_duration(text).unwrap();
            assert_eq!(parsed, Duration::from_millis(ms), "{text}");
            assert_eq!(format_duration(parsed), printed);
            assert_eq!(parse_duration(printed).unwrap(), parsed);
        }
    }

    #[test]
    fn a_bare_number_is_refused_with_what_was_expected() {
        for error in [
            parse_duration("30").unwrap_err(),
            "500".parse::<Rate>().unwrap_err(),
            "5".parse::<Ratio>().unwrap_err(),
            "4".parse::<Size>().unwrap_err(),
        ] {
            assert!(error.0.contains("has no unit"), "{error}");
        }
    }

    #[test]
    fn rates_shares_and_sizes_round_trip() {
        assert_eq!("30/m".parse::<Rate>().unwrap(), Rate::per_second(0.5));
        assert_eq!("0.1%".parse::<Ratio>().unwrap().to_string(), "0.1%");
        assert_eq!("4KiB".parse::<Size>().unwrap(), Size::bytes(4096));
        assert_eq!(Size::bytes(4096).to_string(), "4KiB");
    }
}
