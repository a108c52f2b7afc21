//! What the HorizontalPodAutoscaler controller decides from: its settings, the autoscaler's spec, the pods, the
//! metrics, and what it remembers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::record::Micros;

/// Flags of the controller manager. Managed clusters hide them, so they are declared inputs of the judge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Controller {
    /// Time between two looks at an autoscaler.
    pub sync_period: Duration,
    /// Downscale stabilization where the spec names none.
    pub downscale_stabilization: Duration,
    /// CPU of a pod younger than this counts only once it is ready and measured since.
    pub cpu_initialization: Duration,
    /// A pod that turned unready within this time of its start was never ready.
    pub initial_readiness_delay: Duration,
    /// Ratios from 1 - this to 1 + this, both included, change nothing.
    pub tolerance: f64,
}

impl Default for Controller {
    fn default() -> Self {
        Self {
            sync_period: Duration::from_secs(15),
            downscale_stabilization: Duration::from_secs(300),
            cpu_initialization: Duration::from_secs(300),
            initial_readiness_delay: Duration::from_secs(30),
            tolerance: 0.1,
        }
    }
}

/// The part of an autoscaler's spec that bounds and slows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// `minReplicas`; 1 where absent.
    pub min: i32,
    /// `maxReplicas`.
    pub max: i32,
    /// `behavior`; without it the legacy path decides.
    pub behavior: Option<Behavior>,
}

impl Spec {
    /// Whether metrics decide at this count; otherwise the limits do, or autoscaling is off.
    pub fn asks_metrics(&self, current: i32) -> bool {
        (self.min..=self.max).contains(&current) && (current > 0 || self.min == 0)
    }
}

/// `behavior`, with the API server's defaults filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Behavior {
    /// `scaleUp`.
    pub up: Rules,
    /// `scaleDown`.
    pub down: Rules,
}

impl Default for Behavior {
    fn default() -> Self {
        Self {
            up: Rules::default_up(),
            down: Rules::default_down(),
        }
    }
}

/// The rules of one direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// `stabilizationWindowSeconds`; going down the controller's flag where absent, going up 0.
    pub window: Option<Duration>,
    /// `selectPolicy`.
    pub select: Select,
    /// `policies`; never empty in a valid spec.
    pub policies: Vec<Policy>,
    /// `tolerance`, from 1.35 on; the controller's flag where absent.
    pub tolerance: Option<f64>,
}

impl Rules {
    /// What the API server fills in for `scaleUp`: four pods or 100% per 15 s, whichever is more.
    pub fn default_up() -> Self {
        let quarter = Duration::from_secs(15);
        Self {
            window: Some(Duration::ZERO),
            select: Select::Max,
            policies: vec![
                Policy::new(PolicyKind::Pods, 4, quarter),
                Policy::new(PolicyKind::Percent, 100, quarter),
            ],
            tolerance: None,
        }
    }
    /// What the API server fills in for `scaleDown`: 100% per 15 s.
    pub fn default_down() -> Self {
        Self {
            window: None,
            select: Select::Max,
            policies: vec![Policy::new(
                PolicyKind::Percent,
                100,
                Duration::from_secs(15),
            )],
            tolerance: None,
        }
    }
}

/// Which of several policies holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Select {
    /// The one that allows the largest change.
    #[default]
    Max,
    /// The one that allows the smallest change.
    Min,
    /// No change in this direction.
    Disabled,
}

/// At most so much in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Pods or percent.
    pub kind: PolicyKind,
    /// How many.
    pub value: i32,
    /// In how long.
    pub period: Duration,
}

impl Policy {
    /// A policy.
    pub fn new(kind: PolicyKind, value: i32, period: Duration) -> Self {
        Self {
            kind,
            value,
            period,
        }
    }
}

/// What a policy's value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyKind {
    /// Pods.
    Pods,
    /// Percent of the replicas at the start of the period.
    Percent,
}

/// A pod that the target's selector finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pod {
    /// Name.
    pub name: String,
    /// `status.phase`.
    pub phase: Phase,
    /// It has a deletion timestamp.
    pub deleted: bool,
    /// The Ready condition; `None` before the kubelet has set one.
    pub ready: Option<Readiness>,
    /// `status.startTime`.
    pub started: Option<Micros>,
    /// Requests in thousandths, by [`Metric::request_key`]; summed over containers.
    pub requests: BTreeMap<String, i64>,
}

/// `status.phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Not all containers have started.
    Pending,
    /// Running.
    Running,
    /// All containers ended well.
    Succeeded,
    /// All containers ended, one badly.
    Failed,
}

/// The Ready condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Its status; `None` is `Unknown` (the node was lost), which the controller does not take for unready.
    pub status: Option<bool>,
    /// `lastTransitionTime`.
    pub since: Micros,
}

/// A metric of the spec with the values that the controller got for it. Values and targets in thousandths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Metric {
    /// `Resource` and `ContainerResource`.
    Resource {
        /// `cpu`, `memory`, ...
        name: String,
        /// The container, for `ContainerResource`.
        container: Option<String>,
        /// The target.
        target: ResourceTarget,
        /// The metrics API's answer; `None` for an error.
        samples: Option<Vec<Sample>>,
    },
    /// `Pods`, always an average value.
    Pods {
        /// The target.
        target: i64,
        /// The metrics API's answer; `None` for an error.
        samples: Option<Vec<Sample>>,
    },
    /// `Object`.
    Object {
        /// The target.
        target: Target,
        /// The value; `None` for an error.
        value: Option<i64>,
    },
    /// `External`.
    External {
        /// The target.
        target: Target,
        /// The values of all series that match, summed up; `None` for an error.
        values: Option<Vec<i64>>,
    },
}

impl Metric {
    /// The key of the pods' requests that this metric is measured against.
    pub fn request_key(&self) -> Option<String> {
        match self {
            Metric::Resource {
                name, container, ..
            } => Some(match container {
                Some(container) => format!("{name}@{container}"),
                None => name.clone(),
            }),
            _ => None,
        }
    }
}

/// The target of a resource metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResourceTarget {
    /// Percent of the request.
    Utilization(i32),
    /// Average per pod, thousandths.
    AverageValue(i64),
}

/// The target of an object or external metric, thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// Of the value itself.
    Value(i64),
    /// Of the value over the number of replicas.
    AverageValue(i64),
}

/// A pod's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The pod; one that the selector does not find (just deleted) counts in the number of samples alone.
    pub pod: String,
    /// Thousandths.
    pub value: i64,
    /// When it was taken.
    pub at: Micros,
    /// Over how long.
    pub window: Duration,
}

/// What the controller reads in one sync.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    /// When.
    pub now: Micros,
    /// The target's `spec.replicas`.
    pub current: i32,
    /// The target's `status.replicas`.
    pub status_replicas: i32,
    /// The pods.
    pub pods: Vec<Pod>,
    /// The metrics, in the spec's order.
    pub metrics: Vec<Metric>,
}

/// What the controller remembers of an autoscaler. It lives in memory: a restart or a new leader begins with none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Raw recommendations of earlier syncs. The first entry is the replica count at the first sync.
    pub recommendations: Vec<(Micros, i32)>,
    /// Replicas added by scale-ups; kept only with `behavior`.
    pub ups: Vec<(Micros, i32)>,
    /// Replicas removed by scale-downs; kept only with `behavior`.
    pub downs: Vec<(Micros, i32)>,
}

/// What a metric says, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// Replicas proposed.
    pub replicas: i32,
    /// Value over target, as first computed.
    pub ratio: f64,
    /// The ratio once missing and unready pods are counted in, where that was done.
    pub second_ratio: Option<f64>,
    /// What `status.currentMetrics` shows: percent for utilization, thousandths otherwise.
    pub published: i64,
    /// Pods by group; all zero for metrics that do not look at pods.
    pub groups: Groups,
    /// Why it proposes that.
    pub why: Why,
}

/// How many pods were in which group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Groups {
    /// Counted.
    pub ready: usize,
    /// Pending, or (CPU) not ready yet.
    pub unready: usize,
    /// Without a value.
    pub missing: usize,
    /// Deleted or failed.
    pub ignored: usize,
}

/// Why a metric proposes what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The ratio is within tolerance: keep.
    Tolerated,
    /// Ratio times pods, rounded up.
    Scaled,
    /// With missing and unready pods counted in, the ratio is within tolerance: keep.
    ToleratedThen,
    /// With missing and unready pods counted in, the direction turns round: keep.
    Reversed,
    /// The new count would go against the ratio's direction: keep.
    Contradicted,
}

/// Why a metric proposes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The reason of the ScalingActive condition: `FailedGetResourceMetric`.
    pub reason: &'static str,
    /// What was wrong.
    pub detail: String,
}

/// A condition of the autoscaler's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// `AbleToScale`, `ScalingActive`, `ScalingLimited`.
    pub kind: String,
    /// Its status.
    pub status: bool,
    /// Its reason.
    pub reason: String,
}

/// Which way a sync went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// The target has no replicas and the minimum is not 0: autoscaling is off.
    Disabled,
    /// More replicas than the maximum: set to it, whatever the metrics say.
    AboveMax,
    /// Fewer replicas than the minimum: set to it, whatever the metrics say.
    BelowMin,
    /// Too many metrics are invalid: nothing changes.
    Failed,
    /// The metrics decided.
    Metrics,
}

/// One decision with all that led to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Which way it went.
    pub path: Path,
    /// The target's replicas before.
    pub current: i32,
    /// By metric.
    pub proposals: Vec<Result<Proposal, Invalid>>,
    /// The largest proposal: the raw recommendation.
    pub raw: Option<i32>,
    /// After stabilization.
    pub stabilized: Option<i32>,
    /// What the policies allow at most (going up) or at least (going down).
    pub rate_limit: Option<i32>,
    /// After the rate limit.
    pub rate_limited: Option<i32>,
    /// After the limits of the spec: the result.
    pub desired: i32,
    /// Whether `spec.replicas` is written.
    pub rescale: bool,
    /// The conditions that the sync leaves, in the order in which they are first set.
    pub conditions: Vec<Condition>,
}
