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
//! itself, and 5 ms over the baseline: nobody feels less.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Ruling;
use super::balance::interval::normal_quantile;
use crate::record::{Micros, Record, latency};
use crate::scenario::units::{Ratio, duration};

#[cfg(test)]
mod tests;
mod verdict;

pub use verdict::judge;

/// Runs a side without which nothing is said.
pub const RUNS: usize = 5;

/// More runs than this are not asked for: the difference is then too close to the limit to be worth them.
const MANY: usize = 100;

/// How sure the interval is.
const CONFIDENCE: f64 = 0.95;

/// Draws of whole runs.
const DRAWS: usize = 2_000;

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
    /// Failed over ended requests.
    pub error_ratio: f64,
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
    /// Insist on runs in turn: where all of one side ran first, a drift of the machine looks like a change.
    pub interleaved: bool,
    /// Seed of the draws: the same runs give the same verdict.
    pub seed: u64,
}

impl Default for CompareExpectation {
    fn default() -> Self {
        Self {
            quantile: 0.99,
            margin: Ratio::fraction(0.1),
            floor: Duration::from_millis(5),
            interleaved: true,
            seed: 1,
        }
    }
}

/// The result in numbers.
#[derive(Debug, Clone, PartialEq)]
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
    /// The largest ratio that is fine.
    pub limit: f64,
    /// The ruling, from the interval alone.
    pub ruling: Ruling,
    /// Runs a side at which the interval would be clear of the limit; `None` where that takes too many.
    pub runs_needed: Option<usize>,
}

/// The figure of a recorded run: the quantile over all its steps, without the warm-up.
pub fn figure(name: &str, record: &Record, quantile: f64) -> RunFigure {
    let warm_up = record.header.scenario.run.warm_up.as_micros() as Micros;
    let begin = record.intervals.first().map_or(0, |i| i.second.start_us) + warm_up;
    let mut all = latency();
    let (mut ended, mut failed) = (0, 0);
    for interval in record
        .intervals
        .iter()
        .filter(|i| i.second.start_us >= begin)
    {
        for (outcome, n) in interval.second.steps.iter().flat_map(|s| &s.ended) {
            ended += n;
            failed += if outcome.failed() { *n } else { 0 };
        }
        for (outcome, histogram) in interval.histograms.iter().flat_map(|h| &h.response) {
            if outcome.in_latency() {
                // Both have the bounds of `latency`; one that does not fit is damage that the reader reports.
                let _ = all.add(histogram);
            }
        }
    }
    let started = record.header.started.parse::<jiff::Timestamp>();
    RunFigure {
        name: name.into(),
        started: started.map_or(0, |t| t.as_microsecond().max(0) as u64),
        samples: all.len(),
        value_us: all.value_at_quantile(quantile),
        error_ratio: failed as f64 / u64::max(ended, 1) as f64,
    }
}

/// Compares figures; needs at least two runs a side.
pub fn compare(
    baseline: &[RunFigure],
    candidate: &[RunFigure],
    expect: &CompareExpectation,
) -> Comparison {
    let (base, cand) = (logs(baseline), logs(candidate));
    let difference = mean(&cand) - mean(&base);
    let mut dice = Dice(expect.seed);
    let wide = widening(base.len(), cand.len());
    let draws = sorted_draws(&mut dice, &cand, &base);
    let tail = (1.0 - CONFIDENCE) / 2.0;
    let edge = |q: f64| difference + wide * (at(&draws, q) - difference);
    let (low, high) = (edge(tail), edge(1.0 - tail));
    // The baseline against itself: what two sides of the same program show.
    let itself = sorted_draws(&mut dice, &base, &base);
    let noise = (widening(base.len(), base.len()) * at(&itself, 1.0 - tail)).max(0.0);
    let baseline_us = mean(&base).exp();
    let floor = expect.floor.as_micros() as f64 / baseline_us;
    let allowed = expect.margin.get().max(noise.exp() - 1.0).max(floor);
    let limit = (1.0 + allowed).ln();
    let ruling = if low > limit {
        Ruling::Fail
    } else if high < limit {
        Ruling::Pass
    } else {
        Ruling::Inconclusive
    };
    let runs = base.len().min(cand.len());
    Comparison {
        baseline_us,
        candidate_us: mean(&cand).exp(),
        ratio: difference.exp(),
        low: low.exp(),
        high: high.exp(),
        noise: noise.exp() - 1.0,
        limit: limit.exp(),
        ruling,
        runs_needed: runs_needed(runs, difference, (low, high), limit),
    }
}

/// An interval narrows with the root of the runs; it must become narrower than the distance to the limit.
fn runs_needed(runs: usize, difference: f64, (low, high): (f64, f64), limit: f64) -> Option<usize> {
    let gap = limit - difference;
    let reach = if gap > 0.0 {
        high - difference
    } else {
        difference - low
    };
    if gap == 0.0 {
        return None;
    }
    let needed = (runs as f64 * (reach / gap).powi(2))
        .ceil()
        .max(RUNS as f64);
    (needed <= MANY as f64).then_some(needed as usize)
}

fn logs(runs: &[RunFigure]) -> Vec<f64> {
    // A quantile under a microsecond is one that was not measured; it must not become an infinity.
    let values = runs.iter().map(|r| (r.value_us.max(1) as f64).ln());
    values.collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Differences of means of runs drawn with replacement, sorted.
fn sorted_draws(dice: &mut Dice, top: &[f64], bottom: &[f64]) -> Vec<f64> {
    let mut draws: Vec<f64> = (0..DRAWS)
        .map(|_| dice.mean_of(top) - dice.mean_of(bottom))
        .collect();
    draws.sort_by(f64::total_cmp);
    draws
}

fn at(sorted: &[f64], q: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted[((q * last as f64).round() as usize).min(last)]
}

/// How much too narrow the interval from drawing so few runs is: the variance of n values drawn from themselves is
/// (n-1)/n of the true one, and the tails are those of Student's t.
fn widening(a: usize, b: usize) -> f64 {
    let least = a.min(b).max(2) as f64;
    let degrees = (a + b).saturating_sub(2).max(1) as f64;
    let z = normal_quantile(0.5 + CONFIDENCE / 2.0);
    (least / (least - 1.0)).sqrt() * student(z, degrees) / z
}

/// The quantile of Student's t at the probability where the normal one is `z` (Cornish and Fisher, good to 1% from
/// 4 degrees of freedom on).
fn student(z: f64, degrees: f64) -> f64 {
    let d = degrees;
    z + (z.powi(3) + z) / (4.0 * d)
        + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * d * d)
        + (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / (384.0 * d.powi(3))
}

/// Splitmix64. Its own few lines, so that a verdict replays the same with any version of any library.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // The high bits times n: no modulo bias worth the name for so small an n.
        ((u128::from(z ^ (z >> 31)) * n as u128) >> 64) as usize
    }
    fn mean_of(&mut self, values: &[f64]) -> f64 {
        let n = values.len();
        let sum: f64 = (0..n).map(|_| values[self.below(n)]).sum();
        sum / n.max(1) as f64
    }
}
