//! Balancers that choose the least busy instance (least-request, EWMA) are not even on purpose: what they owe is that
//! nobody starves and that a slow instance gets less.

use super::share::{Band, Epoch, Shares, judge_shares};
use crate::judge::Ruling;

/// An instance whose median service time is so many times that of the others is slow.
pub const SLOW: f64 = 2.0;

/// A slow instance must get at most this part of a fair share.
pub const SLOW_SHARE: f64 = 0.9;

/// With fewer requests under way per instance all look idle most of the time, and the choice is as good as random.
pub const BUSY: f64 = 1.0;

/// A slow instance and what it got.
#[derive(Debug, Clone, PartialEq)]
pub struct Slow {
    /// Its name.
    pub instance: String,
    /// Its median service time over that of the others.
    pub times: f64,
    /// Whether it got less.
    pub ruling: Ruling,
}

/// The verdict on a least-request balancer.
#[derive(Debug, Clone, PartialEq)]
pub struct Least {
    /// Shares, for the evidence; their own rulings are those of an even balancer and do not count here.
    pub shares: Shares,
    /// The slow instances.
    pub slow: Vec<Slow>,
    /// All in all.
    pub ruling: Ruling,
    /// Too little was under way for the balancer to tell busy from idle.
    pub idle: bool,
    /// Units needed to see everybody, or to tell a slow instance's share from a fair one.
    pub needed: u64,
}

/// Judges by shares, median service times and the mean number of requests under way per instance. `thinning` units count
/// as one choice, as in [`judge_shares`].
pub fn judge_least(
    epochs: &[Epoch],
    service_us: &std::collections::BTreeMap<String, u64>,
    busy: f64,
    thinning: f64,
) -> Least {
    let shares = judge_shares(epochs, Band::of_tolerance(0.25), thinning);
    let seen = super::share::coverage_needed(shares.instances);
    let idle = busy < BUSY;
    let slow: Vec<Slow> = shares
        .shares
        .iter()
        .filter_map(|share| {
            let times = slowness(&share.instance, service_us)?;
            let ruling = if share.high <= SLOW_SHARE {
                Ruling::Pass
            } else if share.low > SLOW_SHARE && !idle {
                Ruling::Fail
            } else {
                Ruling::Inconclusive
            };
            (times >= SLOW).then(|| Slow {
                instance: share.instance.clone(),
                times,
                ruling,
            })
        })
        .collect();
    let starved = shares.shares.iter().any(|s| s.starved);
    let covered = shares.instances > 1 && shares.units as f64 >= seen as f64 * thinning;
    let missed = shares
        .shares
        .iter()
        .any(|s| s.observed == 0 && !s.starved && !s.brief);
    let ruling = if starved {
        Ruling::Fail
    } else if !covered || missed {
        Ruling::Inconclusive
    } else {
        let worst = slow.iter().map(|s| s.ruling).max();
        worst.unwrap_or(Ruling::Pass)
    };
    let choices = if slow.is_empty() {
        seen
    } else {
        super::share::units_needed(
            shares.instances,
            shares.shares.len(),
            Band {
                low: SLOW_SHARE,
                high: 1.0 / SLOW_SHARE,
            },
        )
    };
    let needed = (choices as f64 * thinning).ceil() as u64;
    Least {
        shares,
        slow,
        ruling,
        idle,
        needed,
    }
}

/// How many times as long as the median of the others it takes; `None` where either is unknown.
pub(crate) fn slowness(
    name: &str,
    service_us: &std::collections::BTreeMap<String, u64>,
) -> Option<f64> {
    let own = *service_us.get(name)?;
    let mut others: Vec<u64> = service_us
        .iter()
        .filter(|(other, _)| *other != name)
        .map(|(_, us)| *us)
        .collect();
    others.sort_unstable();
    // The lower median: of two others, of which one is slow too, the healthy one is the measure.
    let middle = *others.get(others.len().checked_sub(1)? / 2)?;
    (middle > 0).then(|| own as f64 / middle as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn case(counts: [u64; 3], slow_us: u64, busy: f64) -> Least {
        let names = ["a", "b", "c"].map(String::from);
        let epoch = Epoch {
            eligible: names.to_vec(),
            counts: names.iter().cloned().zip(counts).collect(),
        };
        let service: BTreeMap<String, u64> = names.iter().cloned().zip([slow_us, 10, 11]).collect();
        judge_least(&[epoch], &service, busy, 1.0)
    }

    #[test]
    fn a_slow_instance_must_get_less() {
        assert_eq!(case([400, 1300, 1300], 50, 4.0).ruling, Ruling::Pass);
        assert_eq!(case([3000, 3000, 3000], 50, 4.0).ruling, Ruling::Fail);
        // 0.87 of its share in a small run: who can tell.
        assert_eq!(case([87, 106, 107], 50, 4.0).ruling, Ruling::Inconclusive);
        // Nothing under way: least-request has nothing to go by.
        let idle = case([3000, 3000, 3000], 50, 0.2);
        assert_eq!(idle.ruling, Ruling::Inconclusive);
        assert!(idle.idle);
    }

    #[test]
    fn uneven_is_allowed_and_starving_is_not() {
        assert_eq!(case([1000, 2000, 3000], 12, 4.0).ruling, Ruling::Pass);
        assert_eq!(case([0, 2000, 3000], 12, 4.0).ruling, Ruling::Fail);
        assert_eq!(case([5, 9, 8], 12, 4.0).ruling, Ruling::Inconclusive);
    }
}
