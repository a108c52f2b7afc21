//! One resource of one container: its bound as a number, and when it was above that.

use super::amount;
use super::series::{Amounts, Sample, Series};
use crate::judge::timeline::micros as micros_of;
use crate::judge::words::{bytes, percent};
use crate::record::Micros;
use crate::scenario::units::{Cores, Size};
use crate::scenario::{Most, UsageExpectation};

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    Cpu,
    Memory,
    Throttling,
}

impl Resource {
    pub fn name(self) -> &'static str {
        match self {
            Resource::Cpu => "CPU",
            Resource::Memory => "memory",
            Resource::Throttling => "throttling",
        }
    }

    pub fn of(self, sample: &Sample) -> Option<f64> {
        match self {
            Resource::Cpu => sample.used.cpu,
            Resource::Memory => sample.used.memory,
            Resource::Throttling => {
                { sample.throttled }.map(|(periods, throttled)| throttled / periods.max(1.0))
            }
        }
    }
}

/// One resource of one container.
pub struct Study<'a> {
    pub series: &'a Series,
    pub resource: Resource,
    /// The bound as a number.
    pub limit: f64,
    /// As it is written.
    pub bound: String,
    /// The container's limit or request.
    base: Option<(f64, &'static str)>,
    /// It must be above the bound for so long.
    lasts: Micros,
    span: (Micros, Micros),
}

/// A time above the bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Above {
    pub from: Micros,
    pub to: Micros,
    /// How long the samples were above it.
    pub lasted: Micros,
    pub peak: f64,
    pub samples: u64,
    /// The scheduling periods in which it ran meanwhile.
    periods: f64,
}

/// A container's bound on a resource.
pub enum Bound {
    /// It is not looked at.
    None,
    /// The container has no such limit, or request.
    Baseless(&'static str),
    /// The number, and what it is a part of.
    At(f64, Option<(f64, &'static str)>),
}

/// An amount as a number: thousandths of a core, or bytes.
pub trait Number: Copy {
    fn number(self) -> f64;
}

impl Number for Cores {
    fn number(self) -> f64 {
        self.millis() as f64
    }
}

impl Number for Size {
    fn number(self) -> f64 {
        self.get() as f64
    }
}

/// What a bound comes to for a container.
pub fn bound<T: Number>(most: Most<T>, series: &Series, of: fn(&Amounts) -> Option<f64>) -> Bound {
    let part = |share: f64, base: Option<f64>, what| match base.filter(|base| *base > 0.0) {
        Some(base) => Bound::At(share * base, Some((base, what))),
        None => Bound::Baseless(what),
    };
    match most {
        Most::Any => Bound::None,
        Most::OfLimit(share) => part(share.get(), of(&series.limits), "limit"),
        Most::OfRequest(share) => part(share.get(), of(&series.requests), "request"),
        Most::Amount(amount) => Bound::At(amount.number(), None),
    }
}

/// Each resource of a container that has a bound.
pub fn of<'a>(
    series: &'a Series,
    expected: &UsageExpectation,
    span: (Micros, Micros),
) -> Vec<Study<'a>> {
    let lasts = micros_of(expected.lasts);
    let study = |resource, bound, text: String| match bound {
        Bound::At(limit, base) => Some(Study {
            series,
            resource,
            limit,
            bound: text,
            base,
            lasts: if resource == Resource::Memory {
                0
            } else {
                lasts
            },
            span,
        }),
        Bound::None | Bound::Baseless(_) => None,
    };
    let cpu = bound(expected.cpu, series, |a| a.cpu);
    let memory = bound(expected.memory, series, |a| a.memory);
    let share = expected
        .throttled
        .map_or(UsageExpectation::THROTTLED, |s| s.get());
    [
        study(Resource::Cpu, cpu, expected.cpu.to_string()),
        study(Resource::Memory, memory, expected.memory.to_string()),
        study(Resource::Throttling, Bound::At(share, None), percent(share)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl Study<'_> {
    /// The samples that tell of it and lie wholly in the time that is judged.
    fn values(&self) -> impl Iterator<Item = (&Sample, f64)> {
        let (from, until) = self.span;
        let point = self.resource == Resource::Memory;
        let within = self.series.samples.iter();
        let within = within.filter(move |s| (point || s.from >= from) && s.to <= until);
        within.filter_map(|s| Some((s, self.resource.of(s)?)))
    }

    /// The most that was used.
    pub fn peak(&self) -> Option<f64> {
        self.values().map(|(_, value)| value).max_by(f64::total_cmp)
    }

    /// The widest of the samples that are means.
    pub fn widest(&self) -> Option<Micros> {
        let mean = self.resource != Resource::Memory;
        let widths = self.values().map(|(s, _)| s.to - s.from);
        widths.max().filter(|_| mean)
    }

    /// The longest time in a row above the bound, if it is as long as it takes.
    pub fn above(&self) -> Option<Above> {
        let mut longest: Option<Above> = None;
        let mut now: Option<Above> = None;
        let mut last: Micros = 0;
        for (sample, value) in self.values() {
            // What lies between two samples was not seen.
            let goes_on =
                self.resource == Resource::Memory || sample.from <= last.saturating_add(GRAIN);
            last = sample.to;
            if value <= self.limit {
                now = None;
                continue;
            }
            let run = now.filter(|_| goes_on).unwrap_or(Above {
                from: self.start(sample),
                to: sample.to,
                lasted: 0,
                peak: value,
                samples: 0,
                periods: 0.0,
            });
            let run = Above {
                to: sample.to,
                lasted: sample.to - run.from,
                peak: run.peak.max(value),
                samples: run.samples + 1,
                periods: run.periods + sample.throttled.map_or(0.0, |(periods, _)| periods),
                ..run
            };
            now = Some(run);
            longest = longest.filter(|l| l.lasted > run.lasted).or(now);
        }
        let enough = |l: &Above| self.resource != Resource::Throttling || l.periods >= PERIODS;
        longest.filter(|l| l.lasted >= self.lasts && enough(l))
    }

    fn start(&self, sample: &Sample) -> Micros {
        match self.resource {
            Resource::Memory => sample.to,
            _ => sample.from,
        }
    }

    /// The same, or `throttled in 4% of its scheduling periods`.
    pub fn peak_words(&self, peak: f64) -> String {
        match self.resource {
            Resource::Throttling => format!("throttled in {}", self.words(peak)),
            _ => self.words(peak),
        }
    }

    /// `950m of CPU, 95% of its limit of 1000m`.
    pub fn words(&self, value: f64) -> String {
        let text = amount(self.resource, value);
        match self.base {
            Some((base, what)) => {
                let share = percent(value / base);
                let base = match self.resource {
                    Resource::Memory => bytes(base as u64),
                    _ => format!("{base:.0}m"),
                };
                format!("{text}, {share} of its {what} of {base}")
            }
            None => text,
        }
    }
}

/// A container that hardly ran was hardly throttled, whatever the share of so few scheduling periods. This is 10 s of them.
const PERIODS: f64 = 100.0;
/// A cluster tells times of samples to the second.
const GRAIN: Micros = 2_000_000;
