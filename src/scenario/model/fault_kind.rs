//! What faults do, and what that means for the instance that they hit.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::scenario::units::{Ratio, Size, duration, duration_opt};

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
    /// The balancer holds each chunk of bytes back, both ways; in a cluster, packets leave the pod late.
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
    /// Nothing comes through, on open and new connections alike.
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
        /// Which container; the pod's default one, or first, when absent.
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
    /// This share of the packets that leave the pod is lost.
    Loss {
        /// The share.
        share: Ratio,
    },
    /// The pod's questions to the DNS go wrong.
    DnsFault {
        /// How.
        answer: DnsAnswer,
        /// For names that match one of these; for all when empty.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        domains: Vec<String>,
    },
    /// What the pod does with files takes longer.
    IoDelay {
        /// By so much.
        #[serde(with = "duration")]
        latency: Duration,
        /// Which files, and how often.
        #[serde(flatten)]
        files: IoFiles,
    },
    /// What the pod does with files fails.
    IoError {
        /// With this error.
        errno: Errno,
        /// Which files, and how often.
        #[serde(flatten)]
        files: IoFiles,
    },
    /// The time of day is another for the pod.
    ClockSkew {
        /// By so much.
        #[serde(with = "duration")]
        offset: Duration,
        /// It is in the past, not in the future.
        behind: bool,
        /// In which container; the pod's default one, or first, when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        container: Option<String>,
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
    /// Which container; the pod's default one, or first, when absent.
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

/// What a question to the DNS gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DnsAnswer {
    /// An error.
    Error,
    /// A random address.
    Random,
}

/// Which of a container's files a fault is on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct IoFiles {
    /// Where their volume is mounted.
    pub volume: String,
    /// Only those that match this pattern; all of the volume when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The share of calls, in whole percent.
    pub share: Ratio,
    /// In which container; the pod's default one, or first, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
}

/// An error of the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Errno {
    /// No such file.
    Enoent,
    /// Input or output failed.
    Eio,
    /// Not permitted.
    Eacces,
    /// The device is full.
    Enospc,
    /// The file system is read-only.
    Erofs,
    /// The quota is used up.
    Edquot,
}

impl Errno {
    /// Its number on Linux.
    pub fn number(self) -> u32 {
        match self {
            Errno::Enoent => 2,
            Errno::Eio => 5,
            Errno::Eacces => 13,
            Errno::Enospc => 28,
            Errno::Erofs => 30,
            Errno::Edquot => 122,
        }
    }
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
            FaultKind::Loss { .. } => "loss",
            FaultKind::DnsFault { .. } => "dns-fault",
            FaultKind::IoDelay { .. } => "io-delay",
            FaultKind::IoError { .. } => "io-error",
            FaultKind::ClockSkew { .. } => "clock-skew",
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
            | FaultKind::Loss { .. }
            | FaultKind::Partition { .. } => Effect::Loss,
            FaultKind::Delay { .. }
            | FaultKind::DnsFault { .. }
            | FaultKind::IoDelay { .. }
            | FaultKind::IoError { .. }
            | FaultKind::ClockSkew { .. }
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
            // Another program makes it, and says when it has.
            FaultKind::Delay { .. }
            | FaultKind::BlackHole
            | FaultKind::Loss { .. }
            | FaultKind::DnsFault { .. }
            | FaultKind::IoDelay { .. }
            | FaultKind::IoError { .. }
            | FaultKind::ClockSkew { .. } => 2 * USUAL,
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
    /// Whether only a local target can make it, and no cluster.
    pub fn is_local(&self) -> bool {
        matches!(
            self,
            FaultKind::Kill
                | FaultKind::Stop { .. }
                | FaultKind::Freeze
                | FaultKind::Drop { .. }
                | FaultKind::Reset { .. }
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
    /// It is slower, or what it stands on is.
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
