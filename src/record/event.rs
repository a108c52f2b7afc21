//! What a line of `record.jsonl` says.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::clock::Micros;
use super::interval::TrafficSecond;
use crate::platform::Undo;
use crate::scenario::{AlertSource, Scenario};

/// The first line of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Format version; see [`super::FORMAT`].
    pub squall_record: u32,
    /// Version of the program that wrote it.
    pub version: String,
    /// Wall time, RFC 3339, at t = 0.
    pub started: String,
    /// The seed in force.
    pub seed: u64,
    /// The scenario as it was run, secrets masked.
    pub scenario: Scenario,
    /// Where and with what it ran.
    pub host: Host,
}

/// The machine that generated the load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Operating system and kernel.
    pub os: String,
    /// Cores that this process may use.
    pub cores: u32,
    /// Processor model.
    pub cpu: String,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// Open-file limit in force.
    pub open_files: u64,
}

/// One event of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, in microseconds on the run's clock.
    #[serde(rename = "t_us")]
    pub at: Micros,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// The kinds of events. A reader meets kinds that it does not know as [`What::Unknown`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum What {
    /// The run enters a phase.
    Phase {
        /// Which.
        phase: RunPhase,
    },
    /// An injection moves on.
    Fault(FaultEvent),
    /// An undo moves on.
    Undo(UndoEvent),
    /// An instance of the system under test changed.
    Instance(InstanceEvent),
    /// An instance was given its node.
    Placed {
        /// Which.
        instance: String,
        /// Where it runs from now on.
        node: String,
    },
    /// The set of instances that the balancer may choose changed.
    Endpoints {
        /// Those in it now.
        ready: Vec<String>,
    },
    /// One second of traffic; its histograms are in `intervals.hlog`.
    Traffic(TrafficSecond),
    /// One sample of an instance's use of the machine.
    Usage {
        /// Who.
        instance: String,
        /// CPU, thousandths of a core.
        cpu_millicores: u64,
        /// Resident memory.
        memory_bytes: u64,
    },
    /// The first request of each kind of error, kept as it was.
    Sample(Sample),
    /// Something a reader of the report should know.
    Note {
        /// How much it matters.
        level: Level,
        /// A sentence.
        text: String,
    },
    /// An object of the cluster changed.
    Object(ObjectEvent),
    /// The view of a kind of objects was lost or came back; between the two, changes are seen late or not at all.
    Watch(WatchEvent),
    /// An alert changed.
    Alert(AlertEvent),
    /// Something befell an instance that was not asked of it.
    Incident {
        /// What.
        incident: Incident,
        /// To whom.
        instance: String,
        /// In the platform's words.
        detail: String,
    },
    /// The last line of a complete record.
    End {
        /// How the run ended.
        ended: Ended,
    },
    /// A kind of a later version.
    #[serde(other)]
    Unknown,
}

/// Phases of a run, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunPhase {
    /// The platform starts.
    Starting,
    /// Traffic runs; its time is the zero of fault times.
    Traffic,
    /// Traffic's schedule is over; requests in flight finish.
    Draining,
    /// Faults are undone and the platform stops.
    Stopping,
}

/// An injection of a fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultEvent {
    /// Number of the injection in the run, from 1.
    pub injection: u32,
    /// Index of its spec in the scenario.
    pub spec: usize,
    /// The spec's name.
    pub name: String,
    /// The fault kind's name.
    pub fault: String,
    /// How far it is.
    pub stage: FaultStage,
    /// The instances hit.
    pub instances: Vec<String>,
    /// Why it was refused or how it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// How far an injection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultStage {
    /// About to be made; synced to disk before it is.
    Injecting,
    /// Made.
    Injected,
    /// The guard did not allow it; nothing was done.
    Refused,
    /// It could not be made.
    Failed,
    /// It was made and taken back: it had no effect, or none that could be checked. No verdict may rest on it.
    Ineffective,
}

/// An undo of (a part of) an injection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UndoEvent {
    /// The injection.
    pub injection: u32,
    /// What is undone.
    pub undo: Undo,
    /// `None` while it is about to be done, then whether it was.
    pub done: Option<bool>,
    /// How it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A change of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceEvent {
    /// Its name, unique in the run: a restarted one has a new name.
    pub name: String,
    /// The place that it fills, which outlives it: `shop-2` for `shop-2` and its restart `shop-2-r1`.
    pub slot: String,
    /// What became of it.
    pub state: InstanceState,
    /// Details for a person: exit status, failed probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// States of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// Started, not yet ready.
    Started,
    /// Ready to serve.
    Ready,
    /// Running, but not ready.
    NotReady,
    /// Told to end.
    Terminating,
    /// Ended.
    Ended,
}

/// A change of an object of a cluster: deployment, autoscaler, node, budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectEvent {
    /// Its kind: `Deployment`.
    pub object: String,
    /// Its name.
    pub name: String,
    /// How it changed.
    pub change: ObjectChange,
    /// The cluster's version of the object: `metadata.resourceVersion`.
    pub version: String,
    /// What matters of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, serde_json::Value>,
}

/// How an object changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectChange {
    /// It was there when the view began, or came back.
    Present,
    /// Facts changed or the object is new.
    Changed,
    /// It is gone.
    Deleted,
}

/// A gap in the view of a kind of objects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WatchEvent {
    /// The kind of objects: `pods`.
    pub of: String,
    /// Lost or resumed.
    pub view: View,
    /// Why, or how it was resumed.
    pub detail: String,
}

/// Whether changes are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum View {
    /// Changes are not seen from here on.
    Lost,
    /// Each change since the loss has been told, late.
    Resumed,
    /// The state is known again; changes in between may never be told.
    Relisted,
}

/// A change of an alert, as of the look that showed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertEvent {
    /// Who told of it.
    pub source: AlertSource,
    /// Its name.
    pub name: String,
    /// Its other labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What became of it.
    pub state: AlertState,
    /// The last look before this one, which did not show it: the change came after. `None` for the first look of all,
    /// which shows what was there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before_us: Option<Micros>,
}

/// States of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertState {
    /// Its condition holds, not yet for as long as its rule asks for.
    Pending,
    /// It fires.
    Firing,
    /// It fires, and is silenced or inhibited: nobody is told.
    Suppressed,
    /// It is gone.
    Resolved,
}

/// What befell an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Incident {
    /// Killed for using more memory than its limit.
    OomKilled,
    /// A process ended and was started again.
    Restarted,
    /// Restarts are being put off because they fail.
    CrashLoop,
    /// Its image cannot be had.
    ImagePull,
    /// A readiness, liveness or startup probe failed.
    ProbeFailed,
    /// Evicted by its node or through the API.
    Evicted,
    /// No node would take it.
    Unschedulable,
}

/// A request that failed, as it was: secrets masked, at most 2 KiB of each part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Its flow.
    pub flow: String,
    /// Its step.
    pub step: String,
    /// How it ended.
    pub outcome: super::Outcome,
    /// The instance, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Method and URL.
    pub request: String,
    /// What went wrong, in words.
    pub error: String,
    /// Status of the response, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Headers of the response.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Beginning of its body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// How much a note matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Good to know.
    Info,
    /// May change how results are read.
    Warning,
    /// Something failed.
    Error,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum Ended {
    /// As planned.
    Completed,
    /// Before its time, with everything undone.
    Aborted {
        /// Why: the guard's condition, Ctrl-C, a failed write.
        reason: String,
    },
}
