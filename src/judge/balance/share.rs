//! Whether each instance got its share: the pure decision, from counts per instance in epochs of a constant
//! eligible set. Where the counts come from is for `observe`.

use std::collections::{BTreeMap, BTreeSet};

use super::interval::{chance_at_most, chi_square_tail, simultaneous_z, wilson};
use crate::judge::Ruling;

/// How sure the intervals of all instances together are.
pub const ALPHA: f64 = 0.05;

/// A FAIL is not said while a fair balancer would show such a count, at any of the instances, in more than one of
/// ten thousand runs. In tiny samples Wilson's intervals alone are too narrow for that.
const FALSE_FAIL: f64 = 1e-4;

/// A fair random balancer is INCONCLUSIVE in at most this share of runs of the size that [`units_needed`] asks for.
const UNDECIDED: f64 = 0.02;

/// An instance may be missed by chance with at most this probability before "it got nothing" is more than luck.
const MISSED: f64 = 1e-6;

/// An instance that was eligible for less than this fraction of the longest (one over this) was there briefly.
const BRIEF: u64 = 4;

/// A stretch of time in which the balancer could choose among the same instances.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Epoch {
    /// The instances it could choose.
    pub eligible: Vec<String>,
    /// Sampling units (connections or requests) by the instance that got them, eligible or not.
    pub counts: BTreeMap<String, u64>,
}

/// The allowed band of observed over expected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// Lowest allowed, such as 0.8.
    pub low: f64,
    /// Highest allowed, such as 1.25.
    pub high: f64,
}

impl Band {
    /// The band of a tolerance: 0.25 is [0.8, 1.25], the same factor both ways.
    pub fn of_tolerance(tolerance: f64) -> Self {
        let high = 1.0 + tolerance.max(0.0);
        Self {
            low: 1.0 / high,
            high,
        }
    }
}

/// What one instance got.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// Its name.
    pub instance: String,
    /// Units while it was eligible.
    pub observed: u64,
    /// Units it was due: the sum over its epochs of units over eligible instances.
    pub expected: f64,
    /// Units of the epochs in which it was eligible.
    pub of: u64,
    /// Observed over expected.
    pub ratio: f64,
    /// Interval of the ratio; the intervals of all instances hold together.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The verdict on this instance.
    pub ruling: Ruling,
    /// It got nothing, and that is not luck.
    pub starved: bool,
    /// It was there for so short a part of the run that nothing can be told of it: it can FAIL, but a PASS does not
    /// wait for it.
    pub brief: bool,
}

/// The verdict on all instances, with what explains it.
#[derive(Debug, Clone, PartialEq)]
pub struct Shares {
    /// By instance, worst first.
    pub shares: Vec<Share>,
    /// FAIL when any is outside the band for sure, PASS when all are inside for sure.
    pub ruling: Ruling,
    /// Units judged, those of instances that were eligible.
    pub units: u64,
    /// Units at which a fair random balancer is judged PASS in 98 of 100 runs.
    pub needed: u64,
    /// Largest eligible set.
    pub instances: usize,
    /// Diagnostic only: with a million units a difference of 0.5% is "significant".
    pub chi_square: f64,
    /// Its degrees of freedom.
    pub degrees: usize,
    /// Chance of a larger chi-square from a fair random balancer.
    pub chi_square_p: f64,
    /// Diagnostic only, 1 is even: a fair random choice at 100 units and 10 instances goes down to 0.82.
    pub jain: f64,
}

impl Shares {
    /// Whether the ruling stands wherever so many more units went: all to one instance, or none.
    pub fn holds_with(&self, more: u64, band: Band) -> bool {
        let (more, k) = (more as f64, self.shares.len().max(1) as f64);
        let most = |s: &Share| (s.observed as f64 + more) / (s.expected + more / k);
        let least = |s: &Share| s.observed as f64 / (s.expected + more / k);
        let mut shares = self.shares.iter();
        match self.ruling {
            Ruling::Inconclusive => true,
            Ruling::Pass => shares.all(|s| most(s) <= band.high && least(s) >= band.low),
            Ruling::Fail => shares
                .filter(|s| s.ruling == Ruling::Fail)
                .any(|s| most(s) < band.low || least(s) > band.high),
        }
    }
}

/// Units after which a fair random balancer has sent at least one to each of `k` instances, but for one in a million
/// runs: 37, 153, 878 for 3, 10, 50.
pub fn coverage_needed(k: usize) -> u64 {
    if k < 2 {
        return 1;
    }
    let k = k as f64;
    ((MISSED / k).ln() / (1.0 - 1.0 / k).ln()).ceil() as u64
}

/// Units at which a fair random balancer that chooses among `choices` passes the band: the smallest number for which
/// even an unlucky share (one run in fifty) has its whole interval inside. `judged` instances are judged together:
/// as many as there are choices, or more where instances were replaced.
pub fn units_needed(choices: usize, judged: usize, band: Band) -> u64 {
    if choices < 2 {
        return 1;
    }
    let fair = 1.0 / choices as f64;
    let z = simultaneous_z(ALPHA, judged);
    let luck = simultaneous_z(UNDECIDED, judged);
    let passes = |n: u64| {
        let n = n as f64;
        let deviation = luck * (fair * (1.0 - fair) / n).sqrt();
        let lowest = wilson((fair - deviation).max(0.0) * n, n, z).0 / fair;
        let highest = wilson((fair + deviation).min(1.0) * n, n, z).1 / fair;
        lowest >= band.low && highest <= band.high
    };
    let mut high = 1;
    while !passes(high) {
        // A band without width is never met.
        if high >= 1 << 40 {
            return high;
        }
        high *= 2;
    }
    let mut low = high / 2;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if passes(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    // Two digits are all that the approximation is good for.
    let grain = 10u64.pow((high.max(1).ilog10()).saturating_sub(1));
    high.div_ceil(grain) * grain
}

/// Judges the shares. Epochs with fewer than two eligible instances say nothing about a choice and are left out.
/// `thinning` is how many recorded units stand for one independent choice: 1, or requests per connection where
/// requests follow the connection they are on.
pub fn judge_shares(epochs: &[Epoch], band: Band, thinning: f64) -> Shares {
    let chosen: Vec<&Epoch> = epochs.iter().filter(|e| e.eligible.len() > 1).collect();
    let names: BTreeSet<&String> = chosen.iter().flat_map(|e| &e.eligible).collect();
    let k = names.len();
    let z = simultaneous_z(ALPHA, k);
    let thinning = thinning.max(1.0);
    let mut units = 0;
    let mut chi_square = 0.0;
    let mut degrees = 0;
    for epoch in &chosen {
        let n = eligible_units(epoch);
        units += n;
        if n == 0 {
            continue;
        }
        let fair = n as f64 / epoch.eligible.len() as f64;
        degrees += epoch.eligible.len() - 1;
        let squares = epoch.eligible.iter().map(|name| {
            let got = epoch.counts.get(name).copied().unwrap_or(0) as f64;
            (got - fair).powi(2) / fair
        });
        chi_square += squares.sum::<f64>() / thinning;
    }
    let mut shares: Vec<Share> = names
        .into_iter()
        .map(|name| one(name, &chosen, band, z, k, thinning))
        .collect();
    shares.sort_by(|a, b| distance(b).total_cmp(&distance(a)));
    let longest = shares.iter().map(|s| s.of).max().unwrap_or(0);
    for share in &mut shares {
        share.brief = share.of < longest / BRIEF;
    }
    let rulings = shares
        .iter()
        .filter(|s| !s.brief || s.ruling == Ruling::Fail)
        .map(|s| s.ruling);
    // With no instance to judge nothing can be told.
    let ruling = rulings.max().unwrap_or(Ruling::Inconclusive);
    let instances = chosen.iter().map(|e| e.eligible.len()).max().unwrap_or(0);
    // Who was there for half of the units needs twice as many of them.
    let shortest = shares.iter().filter(|s| !s.brief && s.of > 0).map(|s| s.of);
    let stretch = shortest.min().map_or(1.0, |of| units as f64 / of as f64);
    let independent = units_needed(instances, k, band) as f64 * stretch;
    Shares {
        jain: jain(&shares),
        shares,
        ruling,
        units,
        needed: (independent * thinning).ceil() as u64,
        instances,
        chi_square,
        degrees,
        chi_square_p: chi_square_tail(chi_square, degrees as f64),
    }
}

/// Units of an epoch that went to instances that were eligible; the others are a finding of their own.
fn eligible_units(epoch: &Epoch) -> u64 {
    let counts = epoch.eligible.iter().map(|name| epoch.counts.get(name));
    counts.flatten().sum()
}

fn one(name: &str, epochs: &[&Epoch], band: Band, z: f64, k: usize, thinning: f64) -> Share {
    let mut share = Share {
        instance: name.to_string(),
        observed: 0,
        expected: 0.0,
        of: 0,
        ratio: 1.0,
        low: 0.0,
        high: f64::INFINITY,
        ruling: Ruling::Inconclusive,
        starved: false,
        brief: false,
    };
    // The logarithm of the chance that a fair random balancer never chose it.
    let mut never = 0.0;
    for epoch in epochs {
        if !epoch.eligible.iter().any(|e| e == name) {
            continue;
        }
        let n = eligible_units(epoch);
        let fair = 1.0 / epoch.eligible.len() as f64;
        share.observed += epoch.counts.get(name).copied().unwrap_or(0);
        share.expected += n as f64 * fair;
        share.of += n;
        never += n as f64 / thinning * (-fair).ln_1p();
    }
    if share.of == 0 {
        return share;
    }
    // Epochs of different sizes spread the count less than one binomial at their mean would: this errs towards
    // INCONCLUSIVE.
    let (hits, n) = (share.observed as f64 / thinning, share.of as f64 / thinning);
    let fair = share.expected / share.of as f64;
    let (low, high) = wilson(hits, n, z);
    share.ratio = share.observed as f64 / share.expected;
    share.low = low / fair;
    share.high = high / fair;
    share.starved = share.observed == 0 && never < (MISSED / k as f64).ln();
    let lucky = chance_at_most(hits, n, fair) * k as f64;
    let outside = share.high < band.low || share.low > band.high;
    share.ruling = if outside && lucky < FALSE_FAIL {
        Ruling::Fail
    } else if share.low >= band.low && share.high <= band.high {
        Ruling::Pass
    } else {
        Ruling::Inconclusive
    };
    share
}

/// How far from fair, as a factor either way, so that half and double are equally bad.
fn distance(share: &Share) -> f64 {
    share.ratio.max(1e-9).ln().abs()
}

/// Jain's index over the ratios: 1 is even, 1/k is all to one.
fn jain(shares: &[Share]) -> f64 {
    let ratios = || shares.iter().filter(|s| s.of > 0).map(|s| s.ratio);
    let (sum, squares) = (ratios().sum::<f64>(), ratios().map(|r| r * r).sum::<f64>());
    if squares == 0.0 {
        return 1.0;
    }
    sum * sum / (ratios().count() as f64 * squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(eligible: &[&str], counts: &[(&str, u64)]) -> Epoch {
        Epoch {
            eligible: eligible.iter().map(|s| s.to_string()).collect(),
            counts: counts.iter().map(|(n, c)| (n.to_string(), *c)).collect(),
        }
    }

    const BAND: Band = Band {
        low: 0.8,
        high: 1.25,
    };

    #[test]
    fn expectation_follows_the_epochs() {
        // b was there for the second epoch only: 300/2 there, nothing before.
        let epochs = [
            epoch(&["a", "c"], &[("a", 200), ("c", 200)]),
            epoch(&["a", "b", "c"], &[("a", 100), ("b", 100), ("c", 100)]),
        ];
        let shares = judge_shares(&epochs, BAND, 1.0);
        let b = shares.shares.iter().find(|s| s.instance == "b").unwrap();
        assert_eq!((b.observed, b.of), (100, 300));
        assert!((b.expected - 100.0).abs() < 1e-9);
        let a = shares.shares.iter().find(|s| s.instance == "a").unwrap();
        assert!((a.expected - 300.0).abs() < 1e-9 && (a.ratio - 1.0).abs() < 1e-9);
        assert_eq!(shares.degrees, 3);
        assert!((shares.jain - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_three_rulings() {
        let even = epoch(&["a", "b"], &[("a", 1000), ("b", 1000)]);
        assert_eq!(judge_shares(&[even], BAND, 1.0).ruling, Ruling::Pass);
        let skew = epoch(&["a", "b"], &[("a", 1400), ("b", 600)]);
        assert_eq!(judge_shares(&[skew], BAND, 1.0).ruling, Ruling::Fail);
        let few = epoch(&["a", "b"], &[("a", 14), ("b", 6)]);
        assert_eq!(judge_shares(&[few], BAND, 1.0).ruling, Ruling::Inconclusive);
        // The same skew, but the requests follow 20 connections: nothing is sure.
        let pinned = epoch(&["a", "b"], &[("a", 1400), ("b", 600)]);
        let pinned = judge_shares(&[pinned], BAND, 100.0);
        assert_eq!(pinned.ruling, Ruling::Inconclusive);
        assert!(pinned.needed > 50_000, "{}", pinned.needed);
    }

    #[test]
    fn nothing_to_choose_from_is_inconclusive() {
        let alone = epoch(&["a"], &[("a", 1000)]);
        assert_eq!(
            judge_shares(&[alone], BAND, 1.0).ruling,
            Ruling::Inconclusive
        );
        assert_eq!(judge_shares(&[], BAND, 1.0).ruling, Ruling::Inconclusive);
        let idle = judge_shares(&[epoch(&["a", "b"], &[])], BAND, 1.0);
        assert_eq!(idle.ruling, Ruling::Inconclusive);
        assert!(!idle.shares[0].starved);
    }

    #[test]
    fn nothing_is_starvation_only_when_it_is_not_luck() {
        let lucky = epoch(&["a", "b", "c"], &[("a", 18), ("b", 18)]);
        let shares = judge_shares(&[lucky], BAND, 1.0);
        assert_eq!(shares.shares[0].instance, "c");
        assert!(!shares.shares[0].starved);
        let starved = epoch(&["a", "b", "c"], &[("a", 20), ("b", 20)]);
        let shares = judge_shares(&[starved], BAND, 1.0);
        assert!(shares.shares[0].starved);
        assert_eq!(shares.ruling, Ruling::Fail);
    }

    #[test]
    fn sizes_are_those_of_the_specification() {
        assert_eq!(coverage_needed(3), 37);
        assert_eq!(coverage_needed(10), 153);
        assert_eq!(coverage_needed(50), 878);
        // An exactly even split (round robin) passes from about 2,000 connections for 10 instances; a random one
        // needs the room for its own spread too.
        let even = |n: u64| {
            let names: Vec<String> = (0..10).map(|i| format!("i{i}")).collect();
            let counts = names.iter().map(|n10| (n10.clone(), n / 10)).collect();
            let epoch = Epoch {
                eligible: names,
                counts,
            };
            judge_shares(&[epoch], BAND, 1.0).ruling
        };
        assert_eq!(even(2_000), Ruling::Pass);
        assert_eq!(even(1_000), Ruling::Inconclusive);
        let needed = [2, 3, 5, 10, 50].map(|k| units_needed(k, k, BAND));
        assert_eq!(needed, [570, 1_300, 2_800, 7_200, 52_000]);
    }
}
