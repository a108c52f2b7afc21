//! Faults: when, and whom they hit.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fault_kind::FaultKind;
use super::journey::Op;
use crate::scenario::units::{Ratio, duration, duration_opt};

/// A fault, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FaultSpec {
    /// Shown in reports; made from the kind when not given.
    pub name: String,
    /// First injection, counted from the start of traffic.
    #[serde(with = "duration")]
    pub at: Duration,
    /// Again and again at this distance.
    #[serde(default, with = "duration_opt")]
    pub every: Option<Duration>,
    /// At most so many injections; without it `every` goes on until traffic ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Undone after so long; without it at the end of the run (where it can be undone at all).
    #[serde(default, with = "duration_opt", rename = "for")]
    pub lasts: Option<Duration>,
    /// Not before this is seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// What is done.
    pub kind: FaultKind,
    /// To whom.
    pub select: Select,
}

/// What must be seen before an injection is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct When {
    /// As written.
    pub text: String,
    /// So many instances are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<(Op, u32)>,
    /// A rollout that was under way, or began since, is complete.
    #[serde(default)]
    pub after_rollout: bool,
    /// Given up after so long; at the end of traffic when absent.
    #[serde(default, with = "duration_opt")]
    pub within: Option<Duration>,
}

/// Label by which an instance shows the node that it runs on, where its platform has nodes.
pub const NODE_LABEL: &str = "squall.node";
/// Label for the zone of that node.
pub const ZONE_LABEL: &str = "squall.zone";
/// Label for what makes and replaces it: `Deployment/front`.
pub const OWNER_LABEL: &str = "squall.owner";

/// Label for the namespace of one that is not the target's.
pub const NAMESPACE_LABEL: &str = "squall.namespace";

/// Which instances a fault hits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Select {
    /// Only these, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Only those with all these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How many of them.
    #[serde(default)]
    pub pick: Pick,
    /// Only those that are ready.
    #[serde(default)]
    pub ready: bool,
}

/// How many of the selected.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pick {
    /// So many, at random by the seed.
    Count(u32),
    /// This share of them, rounded down but at least one.
    Share(Ratio),
    /// All.
    All,
    /// One after another, each once: the next one with each injection.
    Each,
}

impl Default for Pick {
    fn default() -> Self {
        Pick::Count(1)
    }
}
