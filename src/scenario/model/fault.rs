//! Faults, whom they hit and when, and the guard that bounds them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::expect::Bound;
use super::journey::Op;
use crate::scenario::units::{Ratio, Size, duration, duration_opt};

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

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// SIGKILL: the process is gone, nothing is said to anybody.
    Kill,
    /// SIGTERM, then SIGKILL after the grace: what an orchestrator does in a rollout.
    Stop {
        /// Between the two.
        #[serde(with = "duration")]
        grace: Duration,
    },
    /// SIGSTOP: connections stay open, nothing answers. Undone by SIGCONT.
    Freeze,
    /// The balancer holds each chunk of bytes back, both ways.
    Delay {
        /// For so long.
        #[serde(with = "duration")]
        latency: Duration,
        /// Plus or minus up to so long.
        #[serde(default, with = "duration")]
        jitter: Duration,
    },
    /// The balancer swallows this share of new connections: accepted, never answered.
    Drop {
        /// The share.
        share: Ratio,
    },
    /// The balancer resets this share of new connections, and with 100% the open ones too.
    Reset {
        /// The share.
        share: Ratio,
    },
    /// The balancer passes nothing on, on open and new connections alike.
    BlackHole,
    /// Deletes the pod; the cluster makes another.
    PodKill {
        /// Its grace; 0s kills at once and without the node's word, the pod's own when absent.
        #[serde(default, with = "duration_opt")]
        grace: Option<Duration>,
    },
    /// Asks for the pod's eviction, which its disruption budget may forbid.
    Evict {
        /// Asked again until then; a budget that still forbids it has held.
        #[serde(with = "duration")]
        deadline: Duration,
    },
    /// Signals the first process of a container, from inside it.
    ContainerKill {
        /// Which container; the pod's first when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        container: Option<String>,
        /// Name of the signal, without SIG.
        signal: String,
    },
    /// Marks the pod's node unschedulable. Undone by the opposite.
    Cordon,
    /// Cordons the pod's node and evicts what runs on it, but daemons and static pods.
    Drain {
        /// Each eviction is asked for again until then.
        #[serde(with = "duration")]
        deadline: Duration,
    },
    /// Sets the number of replicas of the pod's workload. Undone by setting the old one.
    Scale {
        /// To so many.
        replicas: u32,
    },
    /// Rolls the pod's workload out again, as `kubectl rollout restart` does.
    RolloutRestart,
    /// Rolls out a version of the pod's workload that never becomes ready. Undone by the old image.
    BadRollout {
        /// The image that does not exist.
        image: String,
    },
    /// Threads in a container of the pod use up CPU. Undone by ending them.
    CpuStress {
        /// So many threads.
        workers: u32,
        /// The share of a core that each uses.
        load: Ratio,
        /// Where they run.
        #[serde(flatten)]
        place: StressPlace,
    },
    /// A process in a container of the pod holds memory. Undone by ending it.
    MemoryStress {
        /// So much.
        size: Size,
        /// Where it runs.
        #[serde(flatten)]
        place: StressPlace,
    },
    /// A NetworkPolicy cuts the pod off. Undone by removing it.
    Partition {
        /// Which connections are cut.
        direction: Direction,
        /// Incoming ones only from pods with these labels; from anywhere when empty.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        from: BTreeMap<String, String>,
        /// Outgoing ones only to pods with these labels; to anywhere when empty.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        to: BTreeMap<String, String>,
    },
    /// The pod's node is lost, by a command of the user's. Undone by another.
    NodeLoss {
        /// Takes the node away; `{node}` is its name.
        down: String,
        /// Brings it back.
        up: String,
    },
}

/// Where a stress runs: in a container that has squall, or in an ephemeral one beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StressPlace {
    /// Which container; the pod's first when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Image of the ephemeral container, where the pod's own has no squall.
    pub image: String,
}

/// Which connections of a pod are cut, seen from the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Those that come to it.
    Ingress,
    /// Those that it makes.
    Egress,
    /// All.
    Both,
}

impl FaultKind {
    /// The kind's name in a scenario.
    pub fn name(&self) -> &'static str {
        match self {
            FaultKind::Kill => "kill",
            FaultKind::Stop { .. } => "stop",
            FaultKind::Freeze => "freeze",
            FaultKind::Delay { .. } => "delay",
            FaultKind::Drop { .. } => "drop",
            FaultKind::Reset { .. } => "reset",
            FaultKind::BlackHole => "black-hole",
            FaultKind::PodKill { .. } => "pod-kill",
            FaultKind::Evict { .. } => "evict",
            FaultKind::ContainerKill { .. } => "container-kill",
            FaultKind::Cordon => "cordon",
            FaultKind::Drain { .. } => "drain",
            FaultKind::Scale { .. } => "scale",
            FaultKind::RolloutRestart => "rollout-restart",
            FaultKind::BadRollout { .. } => "bad-rollout",
            FaultKind::CpuStress { .. } => "cpu-stress",
            FaultKind::MemoryStress { .. } => "memory-stress",
            FaultKind::Partition { .. } => "partition",
            FaultKind::NodeLoss { .. } => "node-loss",
        }
    }
    /// What it does to the instance that it hits: what judges expect of the system depends on this, not on the name.
    pub fn effect(&self) -> Effect {
        match self {
            FaultKind::Kill => Effect::Death,
            FaultKind::PodKill { grace } if *grace == Some(Duration::ZERO) => Effect::Death,
            FaultKind::PodKill { .. }
            | FaultKind::Stop { .. }
            | FaultKind::Evict { .. }
            | FaultKind::Drain { .. } => Effect::Retirement,
            FaultKind::ContainerKill { .. } => Effect::Restart,
            FaultKind::Freeze | FaultKind::NodeLoss { .. } => Effect::Silence,
            FaultKind::Drop { .. }
            | FaultKind::Reset { .. }
            | FaultKind::BlackHole
            | FaultKind::Partition { .. } => Effect::Loss,
            FaultKind::Delay { .. }
            | FaultKind::CpuStress { .. }
            | FaultKind::MemoryStress { .. } => Effect::Strain,
            FaultKind::Cordon
            | FaultKind::Scale { .. }
            | FaultKind::RolloutRestart
            | FaultKind::BadRollout { .. } => Effect::Change,
        }
    }
    /// Whether it stays in force until it is taken back; the others are over once they are made.
    pub fn is_lasting(&self) -> bool {
        !matches!(
            self,
            FaultKind::Kill
                | FaultKind::Stop { .. }
                | FaultKind::PodKill { .. }
                | FaultKind::Evict { .. }
                | FaultKind::ContainerKill { .. }
                | FaultKind::RolloutRestart
        )
    }
    /// Whether the instance is gone, or as good as gone, for a while.
    pub fn takes_instance(&self) -> bool {
        self.effect().takes_instance()
    }
    /// Whether it hits all that stands on the node of the instance chosen.
    pub fn is_of_node(&self) -> bool {
        matches!(self, FaultKind::Drain { .. } | FaultKind::NodeLoss { .. })
    }
    /// A change that takes longer has failed.
    pub fn patience(&self) -> Duration {
        const USUAL: Duration = Duration::from_secs(30);
        match self {
            // What is asked for again until its deadline is looked at once more at the end.
            FaultKind::Evict { deadline } | FaultKind::Drain { deadline } => *deadline + USUAL,
            FaultKind::Stop { grace } => *grace + USUAL,
            // An image may have to be pulled, a policy to be enforced, a machine to stop.
            FaultKind::CpuStress { .. }
            | FaultKind::MemoryStress { .. }
            | FaultKind::Partition { .. } => 3 * USUAL,
            FaultKind::NodeLoss { .. } => 4 * USUAL,
            _ => USUAL,
        }
    }
    /// Whether only a cluster can make it, and no local target.
    pub fn is_of_cluster(&self) -> bool {
        !matches!(
            self,
            FaultKind::Kill
                | FaultKind::Stop { .. }
                | FaultKind::Freeze
                | FaultKind::Delay { .. }
                | FaultKind::Drop { .. }
                | FaultKind::Reset { .. }
                | FaultKind::BlackHole
        )
    }
}

/// What a fault does to the instance that it hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It is gone at once.
    Death,
    /// It is told to end, and may finish what it does: no request need fail.
    Retirement,
    /// It ends and starts again in the same place.
    Restart,
    /// It stays and answers nothing.
    Silence,
    /// It is well; connections or bytes are lost on the way to it.
    Loss,
    /// It is slower.
    Strain,
    /// Its place or its workload is changed.
    Change,
}

impl Effect {
    /// Whether the instance is gone, or as good as gone, for a while.
    pub fn takes_instance(self) -> bool {
        matches!(
            self,
            Effect::Death | Effect::Retirement | Effect::Restart | Effect::Silence
        )
    }
    /// Whether the instance is gone afterwards, and another takes its place.
    pub fn ends_instance(self) -> bool {
        matches!(self, Effect::Death | Effect::Retirement)
    }
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
