//! Intervals by drawing whole runs again and again, from as few runs as there are. Pure and repeatable.

use super::normal_quantile;

/// Draws of whole runs for the usual 95%; the tails of a surer interval take more.
const DRAWS: f64 = 2_000.0;

/// How much the means of two sides differ: the difference seen, and its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Interval {
    /// Mean of the top less the mean of the bottom.
    pub middle: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The interval of the difference of means; `top` and `bottom` hold one value a run.
pub(super) fn interval(dice: &mut Dice, top: &[f64], bottom: &[f64], confidence: f64) -> Interval {
    let middle = mean(top) - mean(bottom);
    let wide = widening(bottom.len(), top.len(), confidence);
    let draws = sorted_draws(dice, top, bottom, confidence);
    let tail = (1.0 - confidence) / 2.0;
    let edge = |q: f64| middle + wide * (at(&draws, q) - middle);
    Interval {
        middle,
        low: edge(tail),
        high: edge(1.0 - tail),
    }
}

/// What a side differs from itself: the difference that two sides of the same program show by chance.
pub(super) fn noise(dice: &mut Dice, side: &[f64], confidence: f64) -> f64 {
    interval(dice, side, side, confidence).high.max(0.0)
}

/// Runs a side at which an interval would be clear of its limit: it narrows with the root of the runs. FAIL takes the
/// lower end above `fail`, PASS the upper end below `pass`. `None` where that takes more than `most`.
pub(super) fn runs_needed(
    runs: usize,
    seen: Interval,
    (pass, fail): (f64, f64),
    (least, most): (usize, usize),
) -> Option<usize> {
    let (reach, gap) = if seen.middle < pass {
        (seen.high - seen.middle, pass - seen.middle)
    } else {
        (seen.middle - seen.low, seen.middle - fail)
    };
    // NaN and the room between the limits, where no number of runs is enough.
    if gap.is_nan() || gap <= 0.0 {
        return None;
    }
    let needed = (runs as f64 * (reach / gap).powi(2)).ceil();
    (needed <= most as f64).then(|| (needed as usize).max(least))
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Differences of means of runs drawn with replacement, sorted.
fn sorted_draws(dice: &mut Dice, top: &[f64], bottom: &[f64], confidence: f64) -> Vec<f64> {
    let many = (DRAWS * 0.05 / (1.0 - confidence)).clamp(DRAWS, 5.0 * DRAWS) as usize;
    let mut draws: Vec<f64> = (0..many)
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
fn widening(a: usize, b: usize, confidence: f64) -> f64 {
    let least = a.min(b).max(2) as f64;
    let degrees = (a + b).saturating_sub(2).max(1) as f64;
    let z = normal_quantile(0.5 + confidence / 2.0);
    (least / (least - 1.0)).sqrt() * student(z, degrees) / z
}

/// The quantile of Student's t at the probability where the normal one is `z` (Cornish and Fisher, good to 1% from
/// 4 degrees of freedom on).
pub(super) fn student(z: f64, degrees: f64) -> f64 {
    let d = degrees;
    z + (z.powi(3) + z) / (4.0 * d)
        + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * d * d)
        + (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / (384.0 * d.powi(3))
}

/// Splitmix64. Its own few lines, so that a verdict replays the same with any version of any library.
pub(super) struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: usize) -> usize {
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
