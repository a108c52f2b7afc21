//! The guard: what may be broken, and when to give up.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::expect::Bound;
use super::journey::Op;
use crate::scenario::units::{Ratio, duration};

/// What may be broken, and when to give up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Guard {
    /// At least this share or count of the instances must stay ready, counting those about to be hit as not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_ready: Option<KeepReady>,
    /// At most so many injections in the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_faults: Option<u32>,
    /// Any of these undoes everything and ends the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub abort_when: Vec<AbortWhen>,
    /// Namespaces of a cluster whose pods may be broken; only the target's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// System-critical priority classes whose pods may be broken all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub priority_classes: Vec<String>,
    /// Only pods that have this label, or whose owner has it, may be broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opt_in: Option<OptIn>,
}

impl Guard {
    /// What the conditions that end the run are on, besides the traffic.
    pub fn looks_at(&self) -> impl Iterator<Item = Seen> {
        self.abort_when.iter().filter_map(|when| match when.on {
            AbortOn::Seen { what, .. } => Some(what),
            AbortOn::Bound(_) => None,
        })
    }
}

/// The label that says: this may be broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptIn {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl std::fmt::Display for OptIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// How many instances must stay ready.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeepReady {
    /// A share of all instances, rounded up.
    Share(Ratio),
    /// So many.
    Count(u32),
}

impl KeepReady {
    /// Whether enough of one owner's `places` instances stay ready where `hit` of the `ready` ones go; if not, why.
    pub fn check(self, ready: usize, hit: usize, places: usize) -> Result<(), String> {
        let (needed, rule) = match self {
            KeepReady::Count(n) => (n as usize, format!("keep-ready {n}")),
            KeepReady::Share(share) => {
                // The small subtrahend keeps 30% of 10 at 3, whatever the last bit of 0.3 * 10 is.
                let needed = (share.get() * places as f64 - 1e-9).ceil() as usize;
                let rule = format!("keep-ready {share} is {needed} of {places} instances");
                (needed, rule)
            }
        };
        let left = ready.saturating_sub(hit);
        if left >= needed {
            return Ok(());
        }
        Err(format!(
            "{rule}: {ready} are ready and free of faults, {hit} of them would be hit, which leaves {left}"
        ))
    }
}

/// A condition that ends the run: `errors > 50% for 10s`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AbortWhen {
    /// As written.
    pub text: String,
    /// What must not hold.
    #[serde(flatten)]
    pub on: AbortOn,
    /// In every second for so long.
    #[serde(with = "duration")]
    pub lasts: Duration,
}

/// What a condition that ends the run is on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AbortOn {
    /// Metric, comparison and bound, taken over each second of traffic.
    Bound(Bound),
    /// So much of what the cluster shows, looked at each second.
    Seen {
        /// What is counted.
        what: Seen,
        /// The comparison.
        op: Op,
        /// With so many.
        count: u32,
    },
}

/// What a cluster shows that an experiment should not cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// Nodes whose Ready condition is not true.
    NodesNotReady,
    /// Workloads that no fault was meant for, that had all their pods ready and have no longer.
    OthersDegraded,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Seen::NodesNotReady => "nodes-not-ready",
            Seen::OthersDegraded => "others-degraded",
        })
    }
}
