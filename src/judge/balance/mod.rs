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

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Ruling, Verdict};
use crate::record::Record;
use crate::scenario::units::{Ratio, duration};

mod affinity;
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

/// What is expected of the balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BalanceExpectation {
    /// What the balancer chooses an instance for.
    #[serde(default)]
    pub by: By,
    /// How it chooses.
    #[serde(default)]
    pub kind: Kind,
    /// An instance may get so much more than its share, or less by the same factor: 25% is 0.8 to 1.25 times.
    #[serde(default = "default_tolerance")]
    pub tolerance: Ratio,
    /// Left out after each change of the eligible set, while it spreads.
    #[serde(default = "default_lag", with = "duration")]
    pub lag: Duration,
}

fn default_tolerance() -> Ratio {
    Ratio::fraction(0.25)
}

fn default_lag() -> Duration {
    Duration::from_secs(5)
}

impl Default for BalanceExpectation {
    fn default() -> Self {
        Self {
            by: By::default(),
            kind: Kind::default(),
            tolerance: default_tolerance(),
            lag: default_lag(),
        }
    }
}

/// What a balancer chooses an instance for: the sampling unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// Each connection: kube-proxy, HAProxy in TCP mode, cloud network balancers.
    #[default]
    Connection,
    /// Each request: meshes, ingress controllers, layer-7 proxies.
    Request,
}

/// How a balancer chooses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// All alike: at random or in turn.
    #[default]
    Uniform,
    /// The least busy one (least-request, least-connections, EWMA): uneven on purpose.
    LeastRequest,
    /// Always the same one for a client's address, for so long after its last connection.
    ClientIp(#[serde(with = "duration")] Duration),
}

/// Judges the balance of a whole run.
pub fn judge(record: &Record, expect: &BalanceExpectation) -> Verdict {
    verdict::judge(record, expect)
}

/// A verdict of this oracle without evidence yet.
fn plain(expect: &BalanceExpectation, ruling: Ruling, because: String) -> Verdict {
    let by = match expect.by {
        By::Connection => "connection",
        By::Request => "request",
    };
    let kind = match expect.kind {
        Kind::Uniform => "",
        Kind::LeastRequest => ", kind: least-request",
        Kind::ClientIp(_) => ", kind: client-ip",
    };
    Verdict {
        oracle: "balance".into(),
        expectation: format!("balance: {{ by: {by}{kind} }}"),
        verdict: ruling,
        because,
        missing: None,
        evidence: Vec::new(),
    }
}
