//! What must hold.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::alert::AlertExpectation;
use super::journey::Op;
use super::usage::UsageExpectation;
use crate::scenario::units::{Rate, Ratio, duration};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// A percentile of response time, 0 to 100.
    Percentile(f64),
    /// Mean response time.
    Mean,
    /// The longest response time.
    Max,
    /// Failed requests over all requests.
    Errors,
    /// Answered requests per second.
    Throughput,
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Metric::Percentile(p) => write!(f, "p{p}"),
            Metric::Mean => f.write_str("mean"),
            Metric::Max => f.write_str("max"),
            Metric::Errors => f.write_str("errors"),
            Metric::Throughput => f.write_str("throughput"),
        }
    }
}

/// The value a metric is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// For latencies.
    Time(#[serde(with = "duration")] Duration),
    /// For error ratios.
    Share(Ratio),
    /// For throughput.
    Rate(Rate),
}

/// `p99 < 250ms`: a metric, a comparison, a limit of the metric's own unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bound {
    /// Left side.
    pub metric: Metric,
    /// Comparison.
    pub op: Op,
    /// Right side.
    pub limit: Limit,
}

/// Something that must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expectation {
    /// A bound on what users feel.
    Slo(SloExpectation),
    /// The service is well again in time after each fault.
    Recovery(RecoveryExpectation),
    /// The load balancer spreads what it should spread.
    Balance(BalanceExpectation),
    /// A new version is rolled out without anybody noticing.
    Deploy(DeployExpectation),
    /// No single instance or node is one that users need.
    Spread(SpreadExpectation),
    /// A fault raises an alert, and its end clears it.
    Alert(AlertExpectation),
    /// An autoscaler decides what it has to, and the service follows its load.
    Autoscale(AutoscaleExpectation),
    /// No instance uses more of its machine than it should.
    Usage(UsageExpectation),
}

/// What is expected of a HorizontalPodAutoscaler, with the flags of its controller, which a cluster does not tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AutoscaleExpectation {
    /// Its name.
    pub hpa: String,
    /// Time between two looks at an autoscaler.
    #[serde(with = "duration")]
    pub sync: Duration,
    /// Downscale stabilization where its spec names none.
    #[serde(with = "duration")]
    pub downscale_stabilization: Duration,
    /// CPU of a pod younger than this counts only once it is ready and measured since.
    #[serde(with = "duration")]
    pub cpu_initialization: Duration,
    /// A pod that turned unready within this time of its start was never ready.
    #[serde(with = "duration")]
    pub initial_readiness_delay: Duration,
    /// Metrics so near to their target change nothing.
    pub tolerance: Ratio,
    /// The longest time in a row at `maxReplicas` with a metric above its target.
    #[serde(with = "duration")]
    pub at_max: Duration,
}

impl AutoscaleExpectation {
    /// An autoscaler whose controller has the usual flags.
    pub fn of(hpa: &str) -> Self {
        Self {
            hpa: hpa.into(),
            sync: Duration::from_secs(15),
            downscale_stabilization: Duration::from_secs(300),
            cpu_initialization: Duration::from_secs(300),
            initial_readiness_delay: Duration::from_secs(30),
            tolerance: Ratio::fraction(0.1),
            at_max: Duration::from_secs(60),
        }
    }
}

/// `p99 < 250ms`, for all traffic or a part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SloExpectation {
    /// As written.
    pub text: String,
    /// The bound.
    pub bound: Bound,
    /// Only this flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
    /// Only this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Only this part of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<FaultPhase>,
    /// Response time (from the intended start) or service time (from the send).
    #[serde(default)]
    pub of: LatencyKind,
}

/// Which latency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LatencyKind {
    /// From the intended start: what a user feels.
    #[default]
    Response,
    /// From the send: what the service takes.
    Service,
}

/// A part of the run relative to its faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultPhase {
    /// Before the first injection.
    Before,
    /// From an injection until the service is well again and the fault is undone.
    During,
    /// The rest, after the first injection.
    After,
}

/// Recovery in time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RecoveryExpectation {
    /// From the injection (or from its undo, where it lasts) to the first of the good windows.
    #[serde(with = "duration")]
    pub within: Duration,
    /// What a good window is; the scenario's own unscoped bounds on latency and errors when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slo: Vec<Bound>,
    /// So many good windows of one second in a row.
    pub windows: u32,
    /// At most so long from the fault until the balancer no longer lists the instance.
    #[serde(with = "duration")]
    pub endpoint_removed_within: Duration,
}

/// What is expected of each rollout of the target's workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DeployExpectation {
    /// From the change of the workload until all its pods are new and available.
    #[serde(with = "duration")]
    pub within: Duration,
    /// Errors count for so long after the last pod was replaced.
    #[serde(with = "duration")]
    pub settle: Duration,
}

/// What the loss of each one may cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SpreadExpectation {
    /// One of what.
    pub over: SpreadOver,
    /// At most this share of the requests fails.
    pub errors: Ratio,
    /// Of those due within so long after each loss.
    #[serde(with = "duration")]
    pub within: Duration,
}

/// What is lost one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpreadOver {
    /// Each instance.
    Instance,
    /// Each node that has instances.
    Node,
}

impl SpreadOver {
    /// Its name in a scenario, and in words.
    pub fn name(self) -> &'static str {
        match self {
            SpreadOver::Instance => "instance",
            SpreadOver::Node => "node",
        }
    }
}

/// What is expected of the load balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BalanceExpectation {
    /// What the balancer chooses an instance for.
    #[serde(default)]
    pub by: BalanceBy,
    /// How it chooses.
    #[serde(default)]
    pub kind: BalanceKind,
    /// An instance may get so much more than its share, or less by the same factor: 25% is 0.8 to 1.25 times.
    #[serde(default = "default_tolerance")]
    pub tolerance: Ratio,
    /// Left out after each change of the eligible set, while it spreads.
    #[serde(default = "default_lag", with = "duration")]
    pub lag: Duration,
    /// So many instances may be chosen all the time: for a target whose platform does not list them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
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
            by: BalanceBy::default(),
            kind: BalanceKind::default(),
            tolerance: default_tolerance(),
            lag: default_lag(),
            instances: None,
        }
    }
}

/// What a balancer chooses an instance for: the sampling unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BalanceBy {
    /// Each connection: kube-proxy, HAProxy in TCP mode, cloud network balancers.
    #[default]
    Connection,
    /// Each request: meshes, ingress controllers, layer-7 proxies.
    Request,
}

impl BalanceBy {
    /// Its name in a scenario, which is also the unit in words.
    pub fn name(self) -> &'static str {
        match self {
            BalanceBy::Connection => "connection",
            BalanceBy::Request => "request",
        }
    }
}

/// How a balancer chooses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BalanceKind {
    /// All alike: at random or in turn.
    #[default]
    Uniform,
    /// The least busy one (least-request, least-connections, EWMA): uneven on purpose.
    LeastRequest,
    /// Always the same one for a client's address, for so long after its last connection.
    ClientIp(#[serde(with = "duration")] Duration),
}
