//! Axes: ranges and round ticks.

use super::Unit;
use crate::judge::words::{bytes, count, micros, rate};
use crate::report::phrases::trim;

/// An axis: its range in the values' own unit, whether it is logarithmic, and its ticks.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::report) struct Axis {
    pub min: f64,
    pub max: f64,
    pub log: bool,
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Where a value lies on the axis: 0 at its beginning, 1 at its end.
    pub(in crate::report) fn place(&self, value: f64) -> f64 {
        let at = if self.log {
            let (low, high) = (self.min.ln(), self.max.ln());
            (value.max(self.min).ln() - low) / (high - low)
        } else {
            (value - self.min) / (self.max - self.min)
        };
        if at.is_finite() {
            at.clamp(0.0, 1.0)
        } else {
            0.0
        }
    }

    /// Seconds since the start of traffic.
    pub(in crate::report) fn time(min: f64, max: f64) -> Self {
        let min = if min.is_finite() { min } else { 0.0 };
        let max = if max.is_finite() { max } else { 0.0 };
        let max = if max > min { max } else { min + 1.0 };
        const STEPS: [f64; 18] = [
            0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0,
            1800.0, 3600.0, 7200.0, 21600.0,
        ];
        let fits = |step: &&f64| (max - min) / **step <= 8.0;
        let step = STEPS.iter().find(fits).copied();
        let step = step.unwrap_or(86_400.0 * ((max - min) / 8.0 / 86_400.0).ceil());
        let label = move |t: f64| time_label(t, step);
        Self {
            min,
            max,
            log: false,
            ticks: multiples(min, max, step, label),
        }
    }

    /// A quantity from zero up.
    pub(in crate::report) fn from_zero(highest: f64, unit: Unit) -> Self {
        let highest = if highest.is_finite() && highest > 0.0 {
            highest
        } else {
            match unit {
                Unit::Latency => 1_000.0,
                Unit::Bytes => 1_048_576.0,
                _ => 1.0,
            }
        };
        let mut step = nice_step(highest / 4.0, unit);
        if unit == Unit::Count {
            step = step.max(1.0).round();
        }
        let max = (highest / step).ceil() * step;
        let ticks = multiples(0.0, max, step, |v| unit.tick(v));
        Self {
            min: 0.0,
            // A count sits on a tick for most of a run: it gets some air above.
            max: if unit == Unit::Count { max * 1.12 } else { max },
            log: false,
            ticks,
        }
    }

    /// Latency: logarithmic when it covers more than a factor of 30, else from zero.
    pub(in crate::report) fn latency(lowest: f64, highest: f64) -> Self {
        let usable = lowest.is_finite() && highest.is_finite() && lowest >= 1.0;
        if !usable || highest / lowest <= 30.0 {
            return Self::from_zero(highest, Unit::Latency);
        }
        let min = floor_125(lowest);
        let max = ceil_125(highest);
        let decades = (max / min).log10();
        let steps: &[f64] = if decades <= 2.1 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let first = min.log10().floor() as i32;
        let last = max.log10().ceil() as i32;
        let ticks = (first..=last)
            .flat_map(|e| steps.iter().map(move |s| s * 10f64.powi(e)))
            .filter(|v| *v >= min * 0.999 && *v <= max * 1.001)
            .map(|v| (v, Unit::Latency.tick(v)))
            .collect();
        Self {
            min,
            max,
            log: true,
            ticks,
        }
    }

    /// Percentiles as 1 / (1 - q), so that each nine takes the same room.
    pub(in crate::report) fn nines(samples: u64) -> Self {
        let max = (samples as f64).clamp(100.0, 1e6);
        let all = [
            (1.0, "0%"),
            (2.0, "50%"),
            (10.0, "90%"),
            (100.0, "99%"),
            (1e3, "99.9%"),
            (1e4, "99.99%"),
            (1e5, "99.999%"),
            (1e6, "99.9999%"),
        ];
        let ticks = all.into_iter().filter(|(v, _)| *v <= max);
        Self {
            min: 1.0,
            max,
            log: true,
            ticks: ticks.map(|(v, label)| (v, label.to_string())).collect(),
        }
    }
}

fn multiples(min: f64, max: f64, step: f64, label: impl Fn(f64) -> String) -> Vec<(f64, String)> {
    let first = (min / step - 1e-9).ceil() as i64;
    let last = (max / step + 1e-9).floor() as i64;
    let values = (first..=last).map(|i| i as f64 * step);
    values.map(|v| (v, label(v))).collect()
}

fn time_label(t: f64, step: f64) -> String {
    let sign = if t < 0.0 { "-" } else { "" };
    if step < 60.0 && t.abs() < 600.0 {
        return format!("{} s", trim(format!("{t:.1}")));
    }
    let whole = t.abs().round() as u64;
    let (h, m, s) = (whole / 3600, whole / 60 % 60, whole % 60);
    match (h, s) {
        (0, 0) => format!("{sign}{m} min"),
        (0, _) => format!("{sign}{m}:{s:02}"),
        _ => format!("{sign}{h}:{m:02} h"),
    }
}

/// The next of 1, 2, 5 times a power of ten (of two, for bytes).
fn nice_step(at_least: f64, unit: Unit) -> f64 {
    if unit == Unit::Bytes {
        return 2f64.powf(at_least.max(1.0).log2().ceil());
    }
    ceil_125(at_least)
}

fn ceil_125(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let of = [1.0, 2.0, 5.0, 10.0];
    let found = of.iter().find(|m| **m * power >= value * 0.9999);
    found.copied().unwrap_or(10.0) * power
}

fn floor_125(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let of = [5.0, 2.0, 1.0];
    let found = of.iter().find(|m| **m * power <= value * 1.0001);
    found.copied().unwrap_or(1.0) * power
}

impl Unit {
    /// A round value at a tick.
    pub(in crate::report) fn tick(self, value: f64) -> String {
        let short = |v: f64| trim(format!("{v:.3}"));
        match self {
            Unit::Latency if value == 0.0 => "0".into(),
            Unit::Latency if value < 1e3 => format!("{} µs", short(value)),
            Unit::Latency if value < 1e6 => format!("{} ms", short(value / 1e3)),
            Unit::Latency => format!("{} s", short(value / 1e6)),
            Unit::Rate | Unit::Count if value < 100.0 => short(value),
            Unit::Rate | Unit::Count => count(value.round() as u64),
            Unit::Cores => short(value),
            Unit::Bytes if value == 0.0 => "0".into(),
            Unit::Bytes => bytes(value as u64),
        }
    }
    /// A measured value, in a tooltip.
    pub(in crate::report) fn value(self, value: f64) -> String {
        match self {
            Unit::Latency => micros(value.round() as u64),
            Unit::Rate => rate(value),
            Unit::Count => count(value.round() as u64),
            Unit::Cores => format!("{value:.2} cores"),
            Unit::Bytes => bytes(value as u64),
        }
    }
}
