//! The capacity of a service: the highest rate at which everything that is expected holds, at a fixed number of
//! instances.
//!
//! `search` says which rate to try next and when to stop (pure, from the trials so far), `level` makes a trial of a
//! recorded run, `usl` explains the curve. A level is a whole run with an open load: it does not wait for the service,
//! so an overload shows as a queue that grows, whatever the service does.

use serde::Serialize;

use super::grounds::{self, Grounds};
use super::words::{self, counted, micros, percent, rate};
use super::{Evidence, Ruling, Verdict, sure};
use crate::scenario::Capacity;

mod level;
mod search;
#[cfg(test)]
mod tests;
mod usl;

pub use level::{Level, Outcome, level};
pub use search::{Boundary, Trial, boundary, next};
pub use usl::{Usl, fit};

/// A capacity that was searched.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CapacityResult {
    /// What was asked for.
    pub search: Capacity,
    /// What must hold, as written.
    pub holds: Vec<String>,
    /// The runs, in the order in which they were made.
    pub levels: Vec<Level>,
    /// The highest rate that holds, arrivals per second.
    pub held_per_s: Option<f64>,
    /// The lowest that does not.
    pub failed_per_s: Option<f64>,
    /// Instances that were ready throughout; `None` where the target does not tell.
    pub instances: Option<usize>,
    /// The law that the curve follows, where it tells.
    pub usl: Option<Usl>,
    /// The answer in one sentence.
    pub answer: String,
    /// The verdict on it.
    #[serde(skip)]
    pub verdicts: Vec<Verdict>,
}

/// Judges the runs of a search. `stopped` says why it ended before it was over.
pub fn judge_capacity(
    search: &Capacity,
    holds: Vec<String>,
    levels: Vec<Level>,
    stopped: Option<&str>,
) -> CapacityResult {
    let trials: Vec<Trial> = levels.iter().map(Level::trial).collect();
    let found = boundary(search, &trials);
    let counts: Vec<usize> = levels.iter().filter_map(|l| l.instances).collect();
    let same = counts.iter().min() == counts.iter().max();
    let instances = counts.first().copied().filter(|_| same);
    let seen = |rate: Option<f64>, outcome| {
        let at = trials.iter().filter(|t| Some(t.rate) == rate);
        let all: Vec<_> = at.map(|t| t.outcome).collect();
        format!(
            "{} of {}",
            all.iter().filter(|o| **o == outcome).count(),
            all.len()
        )
    };
    let told = Told {
        search,
        holds: &holds,
        place: match instances {
            Some(n) => format!("at {} ", counted(n as u64, "instance")),
            None => String::new(),
        },
        held: seen(found.held, Outcome::Holds),
        failed: seen(found.failed, Outcome::Fails),
    };
    let answer = told.answer(&found);
    let mut verdict = told.verdict(&found, &answer);
    let changed = (!same).then(|| {
        format!(
            "the number of instances was not the same in all runs ({} to {})",
            counts.iter().min().unwrap_or(&0),
            counts.iter().max().unwrap_or(&0)
        )
    });
    let stopped = stopped.map(|why| format!("the search was cut short: {why}"));
    for (why, missing) in [
        (changed, "a fixed number of instances"),
        (stopped, "the rest of the search"),
    ] {
        if let Some(why) = why {
            verdict.verdict = Ruling::Inconclusive;
            verdict.because = format!("{why}; {}", verdict.because);
            verdict.missing = Some(missing.into());
        }
    }
    verdict.evidence = evidence(&levels, &found);
    if verdict.verdict != Ruling::Pass {
        grounds::add(&mut verdict, grounds_of(&levels, &found, same));
    }
    CapacityResult {
        search: search.clone(),
        usl: fit(&levels),
        held_per_s: found.held,
        failed_per_s: found.failed,
        instances,
        answer,
        verdicts: vec![verdict],
        holds,
        levels,
    }
}

/// What sentences are made of.
struct Told<'a> {
    search: &'a Capacity,
    holds: &'a [String],
    /// `at 4 instances `.
    place: String,
    held: String,
    failed: String,
}

impl Told<'_> {
    fn answer(&self, found: &Boundary) -> String {
        let (place, what) = (&self.place, self.holds.join(" and "));
        let exact = self.search.resolution;
        match (found.held, found.failed) {
            (Some(held), Some(failed)) if found.confirmed => format!(
                "{place}{} holds {what}, {} does not ({exact} resolution; seen {} and {} times)",
                rate(held),
                rate(failed),
                self.held,
                self.failed
            ),
            (Some(held), None) if found.confirmed => format!(
                "{place}{} holds {what}, the highest rate of the search (seen {} times): the capacity is there or above",
                rate(held),
                self.held
            ),
            (None, Some(failed)) if found.confirmed => format!(
                "{place}not even {} holds {what}, the lowest rate of the search (seen {} times)",
                rate(failed),
                self.failed
            ),
            (Some(held), _) => format!(
                "{place}{} holds {what} (seen {} times); where it ends could not be told",
                rate(held),
                self.held
            ),
            (None, _) => format!("{place}no rate was seen to hold {what}"),
        }
    }

    fn verdict(&self, found: &Boundary, answer: &str) -> Verdict {
        let least = self.search.at_least.map(|r| r.get());
        let what = self.holds.join(" and ");
        let expectation = match least {
            Some(least) => format!("capacity of at least {} with {what}", rate(least)),
            None => format!("a capacity from {} on with {what}", self.search.from),
        };
        // Without a least rate the lowest one searched is what must hold.
        let least = least.unwrap_or(self.search.from.get());
        let held = found.held.filter(|_| found.held_twice);
        let failed = found.failed.filter(|_| found.failed_twice);
        let ruling = if failed.is_some_and(|failed| failed <= least) {
            Ruling::Fail
        } else if held.is_some_and(|held| held >= least)
            && (self.search.at_least.is_some() || found.confirmed)
        {
            Ruling::Pass
        } else {
            Ruling::Inconclusive
        };
        let because = match &found.unclear {
            Some((at, why)) => format!("{answer}; {} could not be told: {why}", rate(*at)),
            None => answer.to_string(),
        };
        Verdict {
            oracle: "capacity".into(),
            expectation,
            verdict: ruling,
            because,
            missing: (ruling == Ruling::Inconclusive).then(|| match &found.unclear {
                Some((at, _)) => format!("a run at {} that can be judged", rate(*at)),
                None => "two agreeing runs on either side of the boundary".into(),
            }),
            evidence: Vec::new(),
        }
    }
}

/// What a capacity that is none says besides its reason.
fn grounds_of(levels: &[Level], found: &Boundary, same: bool) -> Grounds {
    let told = { levels.iter() }.find(|l| Some(l.rate_per_s) == found.failed);
    let told = told.or(levels.last());
    let felt = told.map_or("nothing was run".into(), |l| {
        format!(
            "at {} {}, p50 {}, p99 {}",
            rate(l.rate_per_s),
            failed_share(l.error_ratio),
            micros(l.p50_us),
            micros(l.p99_us)
        )
    });
    let excluded = match same {
        true => "a generator at its limit, instances that came or went",
        false => "a generator at its limit; not excluded: instances that came or went",
    };
    let counts = levels.iter().filter_map(|l| l.instances);
    let names: Vec<String> = { levels.iter() }
        .filter(|l| Some(l.rate_per_s) == found.failed || Some(l.rate_per_s) == found.held)
        .map(|l| l.name.clone())
        .collect();
    Grounds {
        instances: match counts.max() {
            Some(n) => format!("all: {}", counted(n as u64, "instance")),
            None => "the target does not tell".into(),
        },
        felt,
        excluded: excluded.into(),
        place: grounds::in_runs(&names),
    }
}

/// Why the lowest rate that does not hold does not, and what was not monotone.
fn evidence(levels: &[Level], found: &Boundary) -> Vec<Evidence> {
    let fact = |level: &Level| Evidence {
        what: format!("{} at {}", level.name, rate(level.rate_per_s)),
        value: level.why.clone(),
        at_us: None,
    };
    let at = |rate: Option<f64>| move |l: &&Level| Some(l.rate_per_s) == rate;
    let mut evidence: Vec<Evidence> = levels
        .iter()
        .filter(at(found.failed))
        .chain(levels.iter().filter(at(found.held)))
        .map(fact)
        .collect();
    let above = levels
        .iter()
        .filter(|l| l.outcome == Outcome::Holds && found.failed.is_some_and(|f| l.rate_per_s > f));
    for level in above {
        evidence.push(Evidence {
            what: format!("{} at {}", level.name, rate(level.rate_per_s)),
            value: "held above a rate that does not; it is not counted".into(),
            at_us: None,
        });
    }
    let seen = |rate: Option<f64>| rate.map_or("none".into(), words::rate);
    evidence.push(sure::row(format!(
        "between {} that hold and {} that do not, each seen twice or it does not count; n = {}",
        seen(found.held),
        seen(found.failed),
        counted(levels.len() as u64, "run")
    )));
    evidence
}

/// How much of the traffic failed, for a level's line.
fn failed_share(ratio: f64) -> String {
    format!("{} failed", percent(ratio))
}
