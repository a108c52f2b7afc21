//! The Universal Scalability Law, X(N) = l N / (1 + s (N - 1) + k N (N - 1)): how throughput X grows with the requests
//! under way N, how much of it is lost to waiting for each other (s) and to agreeing with each other (k). It explains a
//! curve; no verdict rests on it.

use serde::Serialize;

use super::{Level, Outcome};

/// Different rates without which nothing is fitted.
const LEVELS: usize = 6;
/// The peak is not reported when it lies so far beyond what was tested.
const BEYOND: f64 = 1.5;
/// Less of the throughput's variance explained is no explanation.
const EXPLAINED: f64 = 0.9;

/// The law fitted to the levels that hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Usl {
    /// Throughput of one request at a time, per second.
    pub lambda_per_s: f64,
    /// Contention: the share of work that is done one at a time.
    pub sigma: f64,
    /// Coherency: what each pair costs.
    pub kappa: f64,
    /// Requests under way at the peak; `None` where there is none, or none near what was tested.
    pub peak_in_flight: Option<f64>,
    /// Throughput there.
    pub peak_per_s: Option<f64>,
    /// The most requests under way in a level, on average.
    pub tested_in_flight: f64,
}

impl Usl {
    /// Throughput at so many requests under way.
    pub fn throughput(&self, n: f64) -> f64 {
        self.lambda_per_s * n / (1.0 + self.sigma * (n - 1.0) + self.kappa * n * (n - 1.0))
    }
}

/// Fits the law; `None` with too few levels, or where it does not explain them. Only levels that hold are in balance:
/// beyond them the queue grows for as long as one looks.
pub fn fit(levels: &[Level]) -> Option<Usl> {
    let held = levels.iter().filter(|l| l.outcome == Outcome::Holds);
    // Little's law: requests under way = throughput x mean response time.
    let held: Vec<&Level> = held
        .filter(|l| l.answered_per_s > 0.0 && l.mean_us > 0.0)
        .collect();
    let point = |l: &&Level| (l.answered_per_s * l.mean_us / 1e6, l.answered_per_s);
    let points: Vec<(f64, f64)> = held.iter().map(point).collect();
    // A rate that was run again answers a little more or less, and is the same level.
    let mut rates: Vec<f64> = held.iter().map(|l| l.rate_per_s).collect();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    if rates.len() < LEVELS {
        return None;
    }
    law(&points)
}

/// Least squares of N/X = a + b (N - 1) + c N (N - 1), in which the law is linear.
fn law(points: &[(f64, f64)]) -> Option<Usl> {
    let row = |n: f64| [1.0, n - 1.0, n * (n - 1.0)];
    let (mut left, mut right) = ([[0.0; 3]; 3], [0.0; 3]);
    for (n, x) in points {
        let row = row(*n);
        // N/X spreads as 1/X: what is fitted is to be the throughput.
        let weight = (x * x / n).powi(2);
        for ((line, sum), own) in left.iter_mut().zip(&mut right).zip(row) {
            for (cell, other) in line.iter_mut().zip(row) {
                *cell += weight * own * other;
            }
            *sum += weight * own * n / x;
        }
    }
    let [a, b, c] = solve(left, right)?;
    let mut usl = Usl {
        lambda_per_s: 1.0 / a,
        sigma: b / a,
        kappa: c / a,
        peak_in_flight: None,
        peak_per_s: None,
        tested_in_flight: points.iter().map(|(n, _)| *n).fold(0.0, f64::max),
    };
    let sane = a > 0.0 && usl.kappa > -1e-6 && usl.sigma < 1.0;
    if !sane || explained(points, &usl) < EXPLAINED {
        return None;
    }
    let peak = ((1.0 - usl.sigma) / usl.kappa).sqrt();
    if usl.kappa > 0.0 && peak <= BEYOND * usl.tested_in_flight {
        usl.peak_in_flight = Some(peak);
        usl.peak_per_s = Some(usl.throughput(peak));
    }
    Some(usl)
}

/// The share of the throughput's variance that the law explains.
fn explained(points: &[(f64, f64)], usl: &Usl) -> f64 {
    let mean = points.iter().map(|(_, x)| x).sum::<f64>() / points.len() as f64;
    let all: f64 = points.iter().map(|(_, x)| (x - mean).powi(2)).sum();
    let left: f64 = points
        .iter()
        .map(|(n, x)| (x - usl.throughput(*n)).powi(2))
        .sum();
    1.0 - left / all
}

/// Gauss with pivoting; `None` for a singular system.
fn solve(mut a: [[f64; 3]; 3], mut b: [f64; 3]) -> Option<[f64; 3]> {
    for i in 0..3 {
        let pivot = (i..3).max_by(|p, q| a[*p][i].abs().total_cmp(&a[*q][i].abs()))?;
        a.swap(i, pivot);
        b.swap(i, pivot);
        if a[i][i].abs() < 1e-12 {
            return None;
        }
        for row in 0..3 {
            if row == i {
                continue;
            }
            let times = a[row][i] / a[i][i];
            let from = a[i];
            for (cell, own) in a[row].iter_mut().zip(from) {
                *cell -= times * own;
            }
            b[row] -= times * b[i];
        }
    }
    Some([b[0] / a[0][0], b[1] / a[1][1], b[2] / a[2][2]])
}
