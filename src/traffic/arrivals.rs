//! When requests of an open load are due: pure functions of the stages, the process and a seeded generator.
//!
//! A load's stages are a rate over time. Its integral, the expected number of arrivals by a time, has an inverse in
//! closed form; both processes are that inverse applied to a simpler one of rate 1 (whole numbers for constant, a
//! running sum of exponential gaps for Poisson). So ramps need no stepping and no error adds up over a long run.

use rand::RngExt;
use rand_pcg::Pcg64;

use crate::scenario::{Process, RateStage};

/// The rate over time, in seconds from the start of the flow.
#[derive(Debug, Clone)]
pub struct RateCurve {
    pieces: Vec<Piece>,
    end: f64,
    total: f64,
}

/// A part of the curve where the rate changes linearly.
#[derive(Debug, Clone, Copy)]
struct Piece {
    start: f64,
    length: f64,
    from: f64,
    to: f64,
    /// Expected arrivals before it.
    before: f64,
}

impl Piece {
    fn slope(&self) -> f64 {
        (self.to - self.from) / self.length
    }
    /// Expected arrivals in its first `dt` seconds.
    fn count(&self, dt: f64) -> f64 {
        dt * (self.from + self.slope() * dt / 2.0)
    }
    /// The time into the piece by which `count` arrivals are expected.
    fn inverse(&self, count: f64) -> f64 {
        // The root of slope/2 dt^2 + from dt = count, in the form that does not cancel for small slopes.
        let root = (self.from * self.from + 2.0 * self.slope() * count).max(0.0);
        let dt = 2.0 * count / (self.from + root.sqrt());
        if dt.is_finite() {
            dt.clamp(0.0, self.length)
        } else {
            0.0
        }
    }
}

impl RateCurve {
    /// The curve of an open load's stages: each ramps from the rate of the one before and holds.
    pub fn new(stages: &[RateStage]) -> Self {
        let mut curve = Self {
            pieces: Vec::new(),
            end: 0.0,
            total: 0.0,
        };
        let mut rate = 0.0;
        for stage in stages {
            curve.push(stage.ramp.as_secs_f64(), rate, stage.rate.get());
            rate = stage.rate.get();
            curve.push(stage.hold.as_secs_f64(), rate, rate);
        }
        curve
    }

    fn push(&mut self, length: f64, from: f64, to: f64) {
        if length <= 0.0 {
            return;
        }
        let piece = Piece {
            start: self.end,
            length,
            from,
            to,
            before: self.total,
        };
        self.end += length;
        self.total += piece.count(length);
        self.pieces.push(piece);
    }

    /// Expected arrivals by a time.
    #[cfg(test)]
    fn count(&self, at: f64) -> f64 {
        let piece = self.pieces.iter().rev().find(|piece| piece.start <= at);
        piece.map_or(0.0, |p| p.before + p.count((at - p.start).min(p.length)))
    }

    /// The time by which so many arrivals are expected; `None` past the end of the schedule.
    pub fn time_of(&self, count: f64) -> Option<f64> {
        // A rounding error of the sum must not make one arrival more than 500/s for 10 s asks for.
        if count >= self.total - 1e-6 {
            return None;
        }
        // The last piece that begins at or before the count: stretches of rate zero are jumped over.
        let index = self.pieces.partition_point(|piece| piece.before <= count);
        let piece = self.pieces.get(index.checked_sub(1)?)?;
        Some(piece.start + piece.inverse(count - piece.before))
    }
}

/// One arrival of one shard of a flow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    /// Its number in the flow, unique over all shards.
    pub number: u64,
    /// Seconds from the start of the flow.
    pub at: f64,
}

/// The arrivals that one worker makes of a flow that `shards` workers share.
#[derive(Debug)]
pub struct Arrivals {
    curve: RateCurve,
    process: Process,
    shard: u64,
    shards: u64,
    taken: u64,
    /// Poisson: the time so far of this shard's process of rate 1.
    unit_time: f64,
    rng: Pcg64,
}

impl Arrivals {
    /// The arrivals of one shard. The constant process deals arrivals round robin, so that all shards together are
    /// evenly spaced; the Poisson process runs one of a share of the rate in each, which add up to one of it all.
    pub fn new(
        curve: RateCurve,
        process: Process,
        shard: usize,
        shards: usize,
        rng: Pcg64,
    ) -> Self {
        Self {
            curve,
            process,
            shard: shard as u64,
            shards: shards as u64,
            taken: 0,
            unit_time: 0.0,
            rng,
        }
    }

    /// The next arrival; `None` once the schedule is over.
    pub fn next(&mut self) -> Option<Arrival> {
        let number = self.taken * self.shards + self.shard;
        self.taken += 1;
        let count = match self.process {
            Process::Constant => number as f64,
            Process::Poisson => {
                self.unit_time += exponential(&mut self.rng);
                self.unit_time * self.shards as f64
            }
        };
        let at = self.curve.time_of(count)?;
        Some(Arrival { number, at })
    }
}

/// An exponential variate of mean 1.
pub fn exponential(rng: &mut Pcg64) -> f64 {
    // random() is in [0, 1): 1 - u is never zero.
    -(1.0 - rng.random::<f64>()).ln()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scenario::units::Rate;

    fn stage(rate: f64, ramp: f64, hold: f64) -> RateStage {
        RateStage {
            rate: Rate::per_second(rate),
            ramp: Duration::from_secs_f64(ramp),
            hold: Duration::from_secs_f64(hold),
        }
    }

    fn all(stages: &[RateStage], process: Process, shards: usize, seed: u128) -> Vec<f64> {
        let curve = RateCurve::new(stages);
        let mut times = Vec::new();
        for shard in 0..shards {
            let rng = Pcg64::new(seed + shard as u128, 7);
            let mut arrivals = Arrivals::new(curve.clone(), process, shard, shards, rng);
            times.extend(std::iter::from_fn(|| arrivals.next()).map(|a| a.at));
        }
        times.sort_by(f64::total_cmp);
        times
    }

    #[test]
    fn a_constant_rate_gives_exactly_its_count_evenly_spaced() {
        for (rate, hold, expected) in [
            (500.0, 10.0, 5000),
            (3.0, 7.0, 21),
            (0.1, 10.0, 1),
            (7.7, 13.0, 101),
        ] {
            for shards in [1, 2, 3] {
                let times = all(&[stage(rate, 0.0, hold)], Process::Constant, shards, 0);
                assert_eq!(
                    times.len(),
                    expected,
                    "{rate}/s for {hold}s in {shards} shards"
                );
                for (i, at) in times.iter().enumerate() {
                    assert!((at - i as f64 / rate).abs() < 1e-9);
                }
            }
        }
    }

    #[test]
    fn ramps_hold_their_integral() {
        // 0 to 100 in 10 s: 500; hold 5 s: 500; down to 20 in 4 s: 240; a silent second changes nothing.
        let stages = [
            stage(100.0, 10.0, 5.0),
            stage(20.0, 4.0, 0.0),
            stage(0.0, 0.0, 1.0),
        ];
        let times = all(&stages, Process::Constant, 2, 0);
        assert_eq!(times.len(), 1240);
        let by = |t: f64| times.iter().filter(|at| **at < t).count();
        // 10 t^2 / 2 arrivals by t: half of the ramp's time holds a quarter of its arrivals.
        assert!((by(5.0) as i64 - 125).abs() <= 1);
        assert!((by(10.0) as i64 - 500).abs() <= 1);
        assert!(times.iter().all(|at| *at < 19.0));
    }

    #[test]
    fn time_is_the_inverse_of_count() {
        let curve = RateCurve::new(&[
            stage(50.0, 3.0, 2.0),
            stage(0.0, 1.0, 2.0),
            stage(200.0, 0.5, 1.0),
            stage(200.000001, 10.0, 0.0),
        ]);
        for i in 0..2000 {
            let count = curve.total * f64::from(i) / 2000.0;
            let at = curve.time_of(count).unwrap();
            assert!((curve.count(at) - count).abs() < 1e-6, "{count} at {at}");
        }
        assert_eq!(curve.time_of(curve.total), None);
    }

    #[test]
    fn poisson_gaps_are_exponential() {
        // Two shards of 500/s: their union is one process of 1000/s.
        let times = all(&[stage(1000.0, 0.0, 100.0)], Process::Poisson, 2, 42);
        let n = times.len() as f64;
        // The count has mean and variance 100,000.
        assert!(
            (n - 100_000.0).abs() < 4.0 * 100_000f64.sqrt(),
            "{n} arrivals"
        );
        let mut gaps: Vec<f64> = times.windows(2).map(|w| (w[1] - w[0]) * 1000.0).collect();
        let n = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / n;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / n;
        assert!((mean - 1.0).abs() < 0.015, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.04, "variance {variance}");
        // Kolmogorov-Smirnov against 1 - e^-x at the 0.1 % level.
        gaps.sort_by(f64::total_cmp);
        let distance = gaps.iter().enumerate().fold(0f64, |d, (i, gap)| {
            let expected = 1.0 - (-gap).exp();
            d.max((expected - i as f64 / n).abs())
                .max((expected - (i as f64 + 1.0) / n).abs())
        });
        assert!(distance < 1.95 / n.sqrt(), "KS distance {distance}");
    }

    #[test]
    fn poisson_counts_of_seconds_vary_as_they_must() {
        let times = all(&[stage(50.0, 0.0, 2000.0)], Process::Poisson, 1, 3);
        let mut seconds = vec![0f64; 2000];
        for at in &times {
            seconds[*at as usize] += 1.0;
        }
        let mean = seconds.iter().sum::<f64>() / 2000.0;
        let variance = seconds.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / 2000.0;
        // The index of dispersion of a Poisson process is 1; its error here is sqrt(2/2000) = 0.03.
        assert!((variance / mean - 1.0).abs() < 0.13, "{variance} / {mean}");
    }

    #[test]
    fn poisson_follows_a_ramp() {
        let times = all(&[stage(2000.0, 10.0, 0.0)], Process::Poisson, 2, 9);
        let first_half = times.iter().filter(|at| **at < 5.0).count() as f64;
        // A quarter of the arrivals: 2,500 of 10,000, standard deviation 50.
        assert!((first_half - 2500.0).abs() < 250.0, "{first_half}");
    }

    #[test]
    fn a_seed_repeats_its_arrivals() {
        let stages = [stage(100.0, 1.0, 2.0)];
        let one = all(&stages, Process::Poisson, 2, 5);
        assert_eq!(one, all(&stages, Process::Poisson, 2, 5));
        assert_ne!(one, all(&stages, Process::Poisson, 2, 6));
    }
}
