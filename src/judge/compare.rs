//! Is the candidate slower than the baseline?
//!
//! The unit is the run, not the request: runs of the same program differ by more than chance allows between requests
//! (other placement, other neighbours), so a test over requests finds "significant" differences between equal
//! programs. Each run gives one figure, its quantile; whole runs are drawn again and again for an interval of the ratio
//! of the sides' geometric means. Drawing from so few runs makes intervals too narrow; they are widened by what
//! Student's t says of as few values.
//!
//! FAIL when the whole interval lies above the limit, PASS when it lies below, else INCONCLUSIVE with the number of
//! runs still needed. The limit is 1 plus the largest of the margin (10%), the noise that the baseline shows against
//! itself, and 5 ms over the baseline: nobody feels less. The noise excuses a FAIL only: PASS says that the margin
//! holds, which a noisy baseline must not make easier.
//!
//! `sides` makes figures of records and tells which of them cannot be compared, `bootstrap` draws, `errors` does for
//! the share of failed requests what is done here for latency, `verdict` and `whole` put it into words.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Ruling;
use super::balance::interval::normal_quantile;
use crate::record::Micros;
use crate::scenario::units::{Ratio, duration};

mod bootstrap;
mod errors;
mod sides;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) mod tests_whole;
mod verdict;
mod whole;

use bootstrap::{Dice, interval, mean, noise, runs_needed};
pub use errors::{ErrorComparison, compare_errors};
pub use sides::{Digest, Excluded, Part, Refused, Side, Wanted, digest, figure, sides};
pub use verdict::{judge, judge_errors, quantile_name};
pub use whole::{Compared, ComparedPart, compare_sides};

/// Runs a side without which nothing is said.
pub const RUNS: usize = 5;

/// More runs than this are not asked for: the difference is then too close to the limit to be worth them.
const MANY: usize = 100;

/// How sure a comparison is, all its intervals together.
const CONFIDENCE: f64 = 0.95;

/// A run as a comparison sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunFigure {
    /// Its name, such as its folder.
    pub name: String,
    /// When it began; any count that orders the runs of both sides.
    pub started: u64,
    /// Requests that the quantile rests on.
    pub samples: u64,
    /// The quantile of the response time.
    pub value_us: Micros,
    /// Requests that ended.
    pub ended: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Those of the failed that were in flight when the run was over: they might have been answered.
    #[serde(default)]
    pub unfinished: u64,
}

impl RunFigure {
    /// Failed over ended requests.
    pub fn error_ratio(&self) -> f64 {
        self.failed as f64 / self.ended.max(1) as f64
    }

    /// The same without what was in flight when it was over.
    fn finished(&self) -> Self {
        Self {
            ended: self.ended.saturating_sub(self.unfinished),
            failed: self.failed.saturating_sub(self.unfinished),
            unfinished: 0,
            ..self.clone()
        }
    }
}

/// What is expected of the candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CompareExpectation {
    /// The quantile compared: 0.99.
    pub quantile: f64,
    /// Slower by no more than this.
    pub margin: Ratio,
    /// Slower by no more than this is never a FAIL.
    #[serde(with = "duration")]
    pub floor: Duration,
    /// So many more failed requests, as a share of all, are fine.
    pub error_margin: Ratio,
    /// Insist on runs in turn on one machine: else a drift of the machine looks like a change of the program.
    pub interleaved: bool,
    /// How sure each interval is; a comparison of many parts takes surer ones, so that all hold together.
    pub confidence: f64,
    /// Seed of the draws: the same runs give the same verdict.
    pub seed: u64,
}

impl Default for CompareExpectation {
    fn default() -> Self {
        Self {
            quantile: 0.99,
            margin: Ratio::fraction(0.1),
            floor: Duration::from_millis(5),
            error_margin: Ratio::fraction(0.001),
            interleaved: true,
            confidence: CONFIDENCE,
            seed: 1,
        }
    }
}

/// The result in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Geometric mean of the baseline's figures, microseconds.
    pub baseline_us: f64,
    /// The same of the candidate's.
    pub candidate_us: f64,
    /// Candidate over baseline.
    pub ratio: f64,
    /// Interval of the ratio.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The ratio that two draws from the baseline alone may show.
    pub noise: f64,
    /// The largest ratio that is fine by the margin and the floor: PASS below.
    pub margin: f64,
    /// The same, or what the noise explains where that is more: FAIL above.
    pub limit: f64,
    /// The ruling, from the interval alone.
    pub ruling: Ruling,
    /// Runs a side at which the interval would be clear of the limit; `None` where that takes too many.
    pub runs_needed: Option<usize>,
}

/// Compares figures; needs at least two runs a side.
pub fn compare(
    baseline: &[RunFigure],
    candidate: &[RunFigure],
    expect: &CompareExpectation,
) -> Comparison {
    let (base, cand) = (logs(baseline), logs(candidate));
    let mut dice = Dice(expect.seed);
    let seen = interval(&mut dice, &cand, &base, expect.confidence);
    let noise = noise(&mut dice, &base, expect.confidence);
    let baseline_us = mean(&base).exp();
    let floor = expect.floor.as_micros() as f64 / baseline_us;
    let margin = (1.0 + expect.margin.get().max(floor)).ln();
    let limit = margin.max(noise);
    let ruling = if seen.low > limit {
        Ruling::Fail
    } else if seen.high < margin {
        Ruling::Pass
    } else {
        Ruling::Inconclusive
    };
    let runs = base.len().min(cand.len());
    Comparison {
        baseline_us,
        candidate_us: mean(&cand).exp(),
        ratio: seen.middle.exp(),
        low: seen.low.exp(),
        high: seen.high.exp(),
        noise: noise.exp() - 1.0,
        margin: margin.exp(),
        limit: limit.exp(),
        ruling,
        runs_needed: runs_needed(runs, seen, (margin, limit), (RUNS, MANY)),
    }
}

fn logs(runs: &[RunFigure]) -> Vec<f64> {
    // A quantile under a microsecond is one that was not measured; it must not become an infinity.
    let values = runs.iter().map(|r| (r.value_us.max(1) as f64).ln());
    values.collect()
}
