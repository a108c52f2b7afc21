//! Did the load balancer spread what it should spread?
//!
//! The sampling unit is what the balancer chooses for: the connection (kube-proxy, any layer-4 balancer) or the
//! request (meshes, layer-7 proxies). Requests on one connection all go where the connection went, so a test that
//! counts them as independent finds faults in every fair balancer. The run is split into epochs of a constant
//! eligible set, and each instance's count is set against what a fair balancer would have sent it.
//!
//! A fair random balancer is judged PASS, in 98 of 100 runs, from 570, 1,300, 2,800 and 7,200 units on for 2, 3, 5
//! and 10 instances and the tolerance of 25%; an exactly even one (round robin) from about a quarter of that.
//!
//! Here are the decision and its words. How requests came to be counted is for `traffic`, endpoint removal within a
//! time limit is for the recovery judge.

use super::analysis::Analysis;
use super::{Ruling, Verdict};
use crate::record::Record;
use crate::scenario::units::format_duration;

pub use crate::scenario::{BalanceBy as By, BalanceExpectation, BalanceKind as Kind};

mod affinity;
mod doubt;
mod explain;
mod findings;
pub(crate) mod interval;
mod least;
mod observe;
mod share;
#[cfg(test)]
pub(crate) mod sim;
#[cfg(test)]
mod tests;
mod trouble;
mod verdict;

pub use affinity::{Affinity, Sighting, Switch, affinity};
pub use least::{Least, SLOW, SLOW_SHARE, Slow, judge_least};
pub use share::{ALPHA, Band, Epoch, Share, Shares, coverage_needed, judge_shares, units_needed};

/// Judges the balance of a whole run, without a doubt about the run itself.
pub fn judge(record: &Record, expect: &BalanceExpectation) -> Verdict {
    verdict::judge(record, expect)
}

/// Judges the balance, and doubts what a run that was cut short or a saturated generator can falsify.
pub(super) fn judge_run(analysis: &Analysis<'_>, expect: &BalanceExpectation) -> Verdict {
    let mut verdict = judge(analysis.timeline.record, expect);
    doubt::doubt(analysis, expect, &mut verdict);
    verdict
}

/// The expectation as it would be written: what is not said by default.
pub fn written(expect: &BalanceExpectation) -> String {
    let usual = BalanceExpectation::default();
    let mut text = format!("balance: {{ by: {}", expect.by.name());
    match expect.kind {
        Kind::Uniform => {}
        Kind::LeastRequest => text.push_str(", kind: least-request"),
        Kind::ClientIp(timeout) => text.push_str(&format!(
            ", kind: {{ client-ip: {} }}",
            format_duration(timeout)
        )),
    }
    if expect.tolerance != usual.tolerance {
        text.push_str(&format!(", tolerance: {}", expect.tolerance));
    }
    if expect.lag != usual.lag {
        text.push_str(&format!(", lag: {}", format_duration(expect.lag)));
    }
    if let Some(n) = expect.instances {
        text.push_str(&format!(", instances: {n}"));
    }
    text + " }"
}

/// A verdict of this oracle without evidence yet.
fn plain(expect: &BalanceExpectation, ruling: Ruling, because: String) -> Verdict {
    Verdict {
        oracle: "balance".into(),
        expectation: written(expect),
        verdict: ruling,
        because,
        missing: None,
        evidence: Vec::new(),
    }
}
