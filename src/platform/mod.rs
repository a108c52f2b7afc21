//! Where the system under test runs, behind one small trait.
//!
//! A platform lists instances, applies and undoes faults, and tells the record what changes. It does not decide:
//! whom to hit and when is for `fault`, what it means is for `judge`.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::scenario::{FaultKind, Seen};

pub use routes::Routes;

pub mod kubernetes;
pub mod local;
mod routes;
pub mod url;

/// One instance of the system under test, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Unique in the run; a restarted instance has a new name.
    pub name: String,
    /// The place it fills; outlives it. Faults select by this or by the name.
    pub slot: String,
    /// Labels for selection.
    pub labels: BTreeMap<String, String>,
    /// Whether it may get traffic.
    pub ready: bool,
    /// Whether it runs at all (an ended one waits for its restart).
    pub alive: bool,
}

impl Instance {
    /// Whether it is not the target's: it stands in a namespace that a fault has asked for.
    pub fn is_foreign(&self) -> bool {
        self.labels.contains_key(crate::scenario::NAMESPACE_LABEL)
    }
}

/// The rollouts of the target's workloads, as they are now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rollouts {
    /// So many have begun since the platform looks.
    pub begun: u64,
    /// One of them is not complete.
    pub under_way: bool,
}

/// What stands around the target and should not suffer, as it is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Nodes that are not ready.
    pub nodes_not_ready: Vec<String>,
    /// Workloads that no fault was meant for, which had all their instances ready and have no longer.
    pub others_degraded: Vec<String>,
    /// What of these cannot be looked at, and for how long: what is told of it is what was seen last.
    pub unseen: BTreeMap<Seen, Duration>,
    /// Why the target is this run's no longer: another breaks things there now, or takes back what this one did.
    pub lost: Option<String>,
}

/// Where traffic goes.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Base URL, without a trailing slash.
    pub base_url: String,
    /// What answers there, in words: "balancer over 3 instances of shop".
    pub describe: String,
    /// Who gets each connection, where squall balances itself.
    pub routes: Option<Routes>,
}

/// One change to the system under test.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What.
    pub kind: FaultKind,
    /// Name of the instance.
    pub instance: String,
}

/// How a change is taken back; written to the ledger before the change is made, so it must hold all it takes to
/// do so in another process, after a crash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Undo {
    /// SIGCONT to a frozen process.
    Thaw {
        /// The instance.
        instance: String,
        /// Its process.
        pid: u32,
        /// Start time of the process (`/proc/PID/stat`, field 22): a recycled pid is left alone.
        start_ticks: u64,
    },
    /// What the run itself holds up is let go: how its balancer treats the instance, a stress that it feeds. That
    /// lives and dies with the run.
    RestoreRoute {
        /// The instance.
        instance: String,
        /// The fault that is lifted.
        fault: String,
    },
    /// An object of a cluster gets back what it had. What that is stands in an annotation of the object itself,
    /// written in the same call as the change; an object without it has been put back already.
    Restore {
        /// Address of the API server: the same name in another cluster is another object.
        cluster: String,
        /// `Node`, `Deployment`, ...
        kind: String,
        /// Its namespace, where it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// Its name.
        name: String,
    },
    /// A command of the user's brings a node back.
    Run {
        /// For /bin/sh.
        command: String,
        /// Where it is run.
        dir: std::path::PathBuf,
        /// The node.
        node: String,
    },
    /// An object that was created in a cluster is removed.
    Remove {
        /// Address of the API server.
        cluster: String,
        /// `networking.k8s.io/v1`.
        api_version: String,
        /// `NetworkPolicy`.
        kind: String,
        /// Name of the resource: `networkpolicies`.
        plural: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The pod that was marked for the object to find it; the mark goes first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        marked: Option<String>,
    },
}

impl Undo {
    /// Whether the change stays when squall is gone. Processes and balancer of this machine go with it.
    pub fn outlives_run(&self) -> bool {
        matches!(
            self,
            Undo::Restore { .. } | Undo::Remove { .. } | Undo::Run { .. }
        )
    }

    /// How long one attempt may take: a machine needs longer to start than an API to answer.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(match self {
            Undo::Run { .. } => 120,
            // Chaos Mesh has something to take back first.
            Undo::Remove { api_version, .. } if api_version.starts_with("chaos-mesh.org/") => 30,
            _ => 5,
        })
    }

    /// The instance concerned.
    pub fn instance(&self) -> &str {
        match self {
            Undo::Thaw { instance, .. } | Undo::RestoreRoute { instance, .. } => instance,
            Undo::Restore { name, .. } | Undo::Remove { name, .. } => name,
            Undo::Run { node, .. } => node,
        }
    }
}

impl std::fmt::Display for Undo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Undo::Thaw { instance, pid, .. } => write!(f, "thaw {instance} (process {pid})"),
            Undo::RestoreRoute { instance, fault } => write!(f, "lift {fault} from {instance}"),
            Undo::Restore { kind, name, .. } => write!(f, "put {kind} {name} back"),
            Undo::Run { command, node, .. } => write!(f, "bring node {node} back by `{command}`"),
            Undo::Remove { kind, name, .. } => write!(f, "remove {kind} {name}"),
        }
    }
}

/// What can go wrong with a platform.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// It cannot be brought up or reached: exit code 5.
    #[error("{0}")]
    Unreachable(String),
    /// The scenario asks for what this platform does not have: exit code 2.
    #[error("{0}")]
    Unsupported(String),
    /// A change or its undo failed.
    #[error("{0}")]
    Failed(String),
    /// The platform's own protection did not allow the change (a disruption budget); nothing was done.
    #[error("{0}")]
    Held(String),
    /// The change was made as far as the platform takes it, and has no effect there, or none that can be checked.
    #[error("{0}")]
    NoEffect(String),
    /// The scenario's guard does not allow the change; nothing was done.
    #[error("{0}")]
    Refused(String),
}

/// A place where a system under test runs.
#[async_trait]
pub trait Platform: Send + Sync {
    /// Says in sentences what a run would start or connect to, touching nothing. Fails as `start` would where
    /// that can be told beforehand: command not found, fault not supported.
    fn plan(&self) -> Result<Vec<String>, PlatformError>;
    /// Brings it up (or connects) and returns once it is ready for traffic.
    async fn start(&self) -> Result<Endpoint, PlatformError>;
    /// The instances now.
    fn instances(&self) -> Vec<Instance>;
    /// The rollouts of the target's workloads; a platform without such a thing has none.
    fn rollouts(&self) -> Rollouts {
        Rollouts::default()
    }
    /// How many of the instance's kind a rollout takes at once; `None` where that is not known.
    fn taken_by_rollout(&self, _instance: &str) -> Option<usize> {
        None
    }
    /// What stands around the target; a platform with nothing around it has nothing to show.
    fn surroundings(&self) -> Surroundings {
        Surroundings::default()
    }
    /// What undoing the change takes; `None` where nothing can be undone (a kill).
    fn undo_of(&self, change: &Change) -> Result<Option<Undo>, PlatformError>;
    /// Makes the change.
    async fn apply(&self, change: &Change) -> Result<(), PlatformError>;
    /// Takes a change back; undoing what is undone already is a success.
    async fn undo(&self, undo: &Undo) -> Result<(), PlatformError>;
    /// Ends everything that `start` started; idempotent.
    async fn stop(&self) -> Result<(), PlatformError>;
}
