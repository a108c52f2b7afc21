//! A scenario as the program knows it: parsed, valid, with every quantity in its unit.
//!
//! The model is plain data. It is written into the record's header (secrets masked), so that a run can be judged
//! again from its record alone; a field added here needs `#[serde(default)]`, or older records no longer read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units::{Rate, Ratio, Size, duration, duration_opt};

/// Everything one run does, and what is expected of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Scenario {
    /// What the run shows, in words; also names the record's folder.
    pub name: String,
    /// Longer text for the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Makes every random choice repeatable; drawn and recorded when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The system under test.
    pub target: Target,
    /// Named traffic flows, in file order.
    pub traffic: Vec<Flow>,
    /// Faults, in file order.
    #[serde(default)]
    pub faults: Vec<FaultSpec>,
    /// What may be broken, and when to give up.
    #[serde(default)]
    pub guard: Guard,
    /// What must hold.
    #[serde(default)]
    pub expect: Vec<Expectation>,
    /// How the run itself is carried out.
    #[serde(default)]
    pub run: RunOptions,
    /// Values that must never be printed or recorded, by variable name.
    #[serde(default)]
    pub secrets: BTreeMap<String, Secret>,
    /// The folder of the scenario file; relative paths in it start here.
    #[serde(default)]
    pub base_dir: PathBuf,
}

impl Scenario {
    /// When the last flow's schedule ends, counted from the start of traffic.
    pub fn duration(&self) -> Duration {
        let ends = self.traffic.iter().map(|f| f.start + f.load.duration());
        ends.max().unwrap_or_default()
    }
}

/// A value that prints and serializes as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Marks a value as secret.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }
    /// The value itself, for sending only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d).map(Self)
    }
}

/// Where the system under test runs.
// A program holds one of it, so the size of the larger variant costs nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Processes of this machine behind a loopback balancer: the embedded default.
    Local(LocalTarget),
    /// A service that already runs somewhere; it can be loaded and measured, not broken or watched.
    Url(UrlTarget),
    /// A Service of a Kubernetes cluster.
    Kubernetes(KubernetesTarget),
}

impl Target {
    /// The settings that every kind of target has.
    pub fn common(&self) -> &TargetCommon {
        match self {
            Target::Local(t) => &t.common,
            Target::Url(t) => &t.common,
            Target::Kubernetes(t) => &t.common,
        }
    }
}

/// Settings that every kind of target has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TargetCommon {
    /// The response header that names the instance that served a request.
    pub instance_header: String,
    /// How to speak TLS to the target, when its scheme is https.
    #[serde(default)]
    pub tls: Tls,
}

impl Default for TargetCommon {
    fn default() -> Self {
        Self {
            instance_header: "x-squall-instance".into(),
            tls: Tls::default(),
        }
    }
}

/// TLS towards the target.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tls {
    /// PEM file of certificate authorities to trust instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file with the client's certificate chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// PEM file with the client's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Accept any certificate. Said in the report.
    #[serde(default)]
    pub insecure: bool,
}

/// Instances of a command on this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LocalTarget {
    /// Name of the service; its instances are `NAME-1`, `NAME-2`, ...
    pub name: String,
    /// Program and arguments; `{port}` and `{instance}` are replaced for each instance. The program `squall` is
    /// this very program, wherever it is installed.
    pub command: Vec<String>,
    /// How many instances.
    pub instances: u32,
    /// Extra environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The balancer's port on 127.0.0.1; a free one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What the instances speak: `http` or `https`.
    pub scheme: String,
    /// How an instance shows that it is ready.
    pub ready: Probe,
    /// How long an instance may take to become ready at the start of the run.
    #[serde(with = "duration")]
    pub start_timeout: Duration,
    /// Between SIGTERM and SIGKILL.
    #[serde(with = "duration")]
    pub stop_grace: Duration,
    /// What happens when an instance dies.
    pub restart: Restart,
    /// Common settings.
    #[serde(flatten)]
    pub common: TargetCommon,
}

/// A readiness probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Probe {
    /// GET this path and expect 200 to 399; with none, a TCP connection is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// Time between probes.
    #[serde(with = "duration")]
    pub every: Duration,
    /// A probe that takes longer has failed.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// So many failures in a row make an instance not ready.
    pub failures: u32,
    /// So many successes in a row make an instance ready.
    pub successes: u32,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            http: None,
            every: Duration::from_millis(500),
            timeout: Duration::from_secs(1),
            failures: 3,
            successes: 1,
        }
    }
}

/// Restarting the dead, as an orchestrator does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Restart {
    /// `false`: the dead stay dead.
    pub enabled: bool,
    /// Wait before the first restart; doubled for each further one within ten minutes.
    #[serde(with = "duration")]
    pub backoff: Duration,
    /// The longest wait.
    #[serde(with = "duration")]
    pub max_backoff: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            enabled: true,
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(30),
        }
    }
}

/// A service somebody else runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct UrlTarget {
    /// Base URL, `http://` or `https://`, with an optional path prefix.
    pub url: String,
    /// Common settings.
    #[serde(flatten)]
    pub common: TargetCommon,
}

/// A Service of a Kubernetes cluster and the pods behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KubernetesTarget {
    /// The kubeconfig; `KUBECONFIG` or `~/.kube/config` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; its current one when absent, or the pod's own account inside a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Namespace; the context's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the Service.
    pub service: String,
    /// Name or number of the Service's port; may be absent where it has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// What the pods speak: `http` or `https`.
    pub scheme: String,
    /// How traffic gets to the Service.
    #[serde(default)]
    pub reach: Reach,
    /// Common settings.
    #[serde(flatten)]
    pub common: TargetCommon,
}

/// How traffic gets to a Service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// The first of the others, in their order, that takes a TCP connection from here.
    #[default]
    Auto,
    /// The Service's cluster address: works from inside the cluster's network.
    ClusterIp,
    /// A port of any node.
    NodePort,
    /// The address of its load balancer.
    LoadBalancer,
    /// An Ingress that leads to it.
    Ingress,
    /// A tunnel through the API server to one pod: nothing is balanced.
    PortForward,
}

impl Reach {
    /// Its name in a scenario.
    pub fn name(self) -> &'static str {
        match self {
            Reach::Auto => "auto",
            Reach::ClusterIp => "cluster-ip",
            Reach::NodePort => "node-port",
            Reach::LoadBalancer => "load-balancer",
            Reach::Ingress => "ingress",
            Reach::PortForward => "port-forward",
        }
    }
}

/// One stream of traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Flow {
    /// Its name in the scenario.
    pub name: String,
    /// Waits so long after the start of traffic.
    #[serde(default, with = "duration")]
    pub start: Duration,
    /// Who decides when a request is sent: a clock (open) or users (closed).
    pub load: Load,
    /// What a load balancer sees.
    #[serde(default)]
    pub connections: Connections,
    /// HTTP version.
    #[serde(default)]
    pub protocol: Protocol,
    /// Which transport carries it.
    #[serde(default)]
    pub transport: TransportChoice,
    /// Headers sent with each request of the flow.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Timeout of steps that name none.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Constant variables for templates.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Rows of data for templates.
    #[serde(default)]
    pub data: Vec<Feeder>,
    /// What a user does, once per arrival or over and over.
    pub journey: Vec<Node>,
}

/// Open or closed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// Arrivals on a schedule that does not wait for the service.
    Open(OpenLoad),
    /// Users that wait for each response.
    Closed(ClosedLoad),
}

impl Load {
    /// How long the schedule lasts.
    pub fn duration(&self) -> Duration {
        match self {
            Load::Open(open) => open.stages.iter().map(|s| s.ramp + s.hold).sum(),
            Load::Closed(closed) => closed.stages.iter().map(|s| s.ramp + s.hold).sum(),
        }
    }
}

/// Arrivals on a schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OpenLoad {
    /// How arrivals are spaced.
    pub process: Process,
    /// The rate over time; each stage ramps linearly from the one before (the first from zero) and holds.
    pub stages: Vec<RateStage>,
    /// At most so many journeys at once; an arrival beyond is dropped, and counted as dropped.
    pub max_in_flight: u32,
}

/// Spacing of arrivals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Process {
    /// Evenly spaced.
    #[default]
    Constant,
    /// Independent users: exponential gaps.
    Poisson,
}

/// One stage of an open load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RateStage {
    /// The arrival rate at the end of the ramp and during the hold.
    pub rate: Rate,
    /// Time to get there; 0s jumps.
    #[serde(default, with = "duration")]
    pub ramp: Duration,
    /// Time to stay there.
    #[serde(default, with = "duration")]
    pub hold: Duration,
}

/// Users that wait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ClosedLoad {
    /// The number of users over time.
    pub stages: Vec<UserStage>,
    /// Think time after each request.
    #[serde(default)]
    pub think: Think,
}

/// One stage of a closed load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct UserStage {
    /// Users at the end of the ramp and during the hold.
    pub users: u32,
    /// Time to get there; 0s starts them all at once.
    #[serde(default, with = "duration")]
    pub ramp: Duration,
    /// Time to stay there.
    #[serde(default, with = "duration")]
    pub hold: Duration,
}

/// Think time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Think {
    /// None.
    #[default]
    None,
    /// Always the same: `1s`.
    Fixed(#[serde(with = "duration")] Duration),
    /// Uniform between two: `1s..3s`.
    Uniform(
        #[serde(with = "duration")] Duration,
        #[serde(with = "duration")] Duration,
    ),
    /// Exponential with this mean: `exp(2s)`.
    Exponential(#[serde(with = "duration")] Duration),
}

/// How connections are used, which decides what a load balancer sees.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Connections {
    /// Who owns a connection.
    pub mode: ConnectionMode,
    /// A connection older than this is closed after its response and replaced.
    #[serde(default, with = "duration_opt")]
    pub max_age: Option<Duration>,
    /// HTTP/2: concurrent streams per connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<u32>,
    /// Local source addresses to spread connections over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source: Vec<std::net::IpAddr>,
}

/// Who owns a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionMode {
    /// Each user (closed) or each concurrent journey (open) keeps one alive.
    #[default]
    PerUser,
    /// A new one for each request.
    PerRequest,
    /// All users share so many.
    Pooled(u32),
}

/// HTTP version spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: by ALPN over TLS, with prior knowledge in clear text.
    Http2,
}

/// Which transport carries a flow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransportChoice {
    /// The lean one wherever the flow needs nothing more.
    #[default]
    Auto,
    /// The lean HTTP/1.1 transport.
    Lean,
    /// reqwest: HTTP/2, redirects, cookies, decompression.
    Reqwest,
}

/// A source of data rows; the fields of a row are `{{ NAME.FIELD }}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Feeder {
    /// Its name in templates.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// Its format.
    pub format: FeederFormat,
    /// In what order rows are taken.
    pub order: FeederOrder,
}

/// File format of a feeder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeederFormat {
    /// Comma-separated values with a header line.
    Csv,
    /// One JSON object a line.
    JsonLines,
}

/// In what order rows are taken, one a journey.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeederOrder {
    /// In file order, then from the start again.
    #[default]
    InOrder,
    /// Shuffled by the seed, over and over.
    Shuffled,
    /// Each row once; the flow ends when they are used up.
    Once,
}

/// A node of a journey.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Node {
    /// One request.
    Step(Box<Step>),
    /// One of several branches, by weight.
    Choose(Vec<Branch>),
    /// A pause.
    Think(Think),
}

/// A weighted branch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Branch {
    /// Share of this branch among its siblings' weights.
    pub weight: f64,
    /// What it does.
    pub journey: Vec<Node>,
}

/// One request, and what its response must be. Strings may hold `{{ variable }}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Step {
    /// Unique in its flow; `GET /products` when not named.
    pub name: String,
    /// HTTP method, upper case.
    pub method: String,
    /// Path, joined to the target's base URL.
    pub path: String,
    /// Query parameters, encoded when sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<(String, String)>,
    /// Headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// Body.
    #[serde(default)]
    pub body: Body,
    /// From the send to the last byte; the flow's when absent.
    #[serde(default, with = "duration_opt")]
    pub timeout: Option<Duration>,
    /// Follow redirects (at most 10); needs reqwest.
    #[serde(default)]
    pub follow_redirects: bool,
    /// All must hold. With no status among them, any status under 400 will do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// Values kept for later steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extract: Vec<Extract>,
}

/// A request's body.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Body {
    /// None.
    #[default]
    None,
    /// Text as it is.
    Text(String),
    /// A JSON value; strings in it may hold variables.
    Json(serde_json::Value),
    /// A form, `application/x-www-form-urlencoded`.
    Form(Vec<(String, String)>),
    /// A file's bytes, read once.
    File(PathBuf),
}

/// What must hold for a response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Its status is one of these.
    Status(Vec<StatusMatch>),
    /// A header is there and satisfies the test.
    Header {
        /// Header name, lower case.
        name: String,
        /// The test.
        test: TextTest,
    },
    /// The body satisfies the test.
    Body(TextTest),
    /// The first value at a JSON path compares.
    Json {
        /// RFC 9535 JSON path.
        path: String,
        /// The comparison.
        op: JsonOp,
        /// The other side; unused by `Exists`.
        value: serde_json::Value,
    },
    /// The body's size compares.
    Size {
        /// The comparison.
        op: Op,
        /// The other side.
        value: Size,
    },
    /// The response time compares.
    Time {
        /// The comparison.
        op: Op,
        /// The other side.
        #[serde(with = "duration")]
        value: Duration,
    },
}

/// A status or a class of statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatusMatch {
    /// Exactly this one.
    Exact(u16),
    /// A class: 2 for `2xx`.
    Class(u16),
}

/// A test on text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextTest {
    /// Is exactly this.
    Equals(String),
    /// Has this in it.
    Contains(String),
    /// Matches this regular expression somewhere.
    Matches(String),
}

/// Comparison of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Less than.
    #[serde(rename = "<")]
    Less,
    /// At most.
    #[serde(rename = "<=")]
    AtMost,
    /// More than.
    #[serde(rename = ">")]
    More,
    /// At least.
    #[serde(rename = ">=")]
    AtLeast,
    /// Equal.
    #[serde(rename = "==")]
    Equal,
}

impl Op {
    /// Whether `left OP right` holds.
    pub fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Op::Less => left < right,
            Op::AtMost => left <= right,
            Op::More => left > right,
            Op::AtLeast => left >= right,
            Op::Equal => left == right,
        }
    }
    /// Whether smaller values are the better ones.
    pub fn is_upper_bound(self) -> bool {
        matches!(self, Op::Less | Op::AtMost)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Op::Less => "<",
            Op::AtMost => "<=",
            Op::More => ">",
            Op::AtLeast => ">=",
            Op::Equal => "==",
        })
    }
}

/// Comparison of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JsonOp {
    /// The path leads to something.
    Exists,
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// Less than, as numbers.
    Less,
    /// At most, as numbers.
    AtMost,
    /// More than, as numbers.
    More,
    /// At least, as numbers.
    AtLeast,
}

/// A value taken from a response into a variable; a response without it fails the step's check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Extract {
    /// The variable.
    pub variable: String,
    /// Where the value is.
    pub from: ExtractFrom,
    /// Used when it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

/// Where an extracted value is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExtractFrom {
    /// The first value at a JSON path.
    Json(String),
    /// The first match in the body; this group of it.
    Regex {
        /// The regular expression.
        pattern: String,
        /// 0 is the whole match.
        group: usize,
    },
    /// A response header.
    Header(String),
}

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
    /// What is done.
    pub kind: FaultKind,
    /// To whom.
    pub select: Select,
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
    /// Whether the instance is gone afterwards and a replacement must come.
    pub fn ends_instance(&self) -> bool {
        matches!(
            self,
            FaultKind::Kill
                | FaultKind::Stop { .. }
                | FaultKind::PodKill { .. }
                | FaultKind::Evict { .. }
                | FaultKind::Drain { .. }
        )
    }
}

/// Label by which an instance shows the node that it runs on, where its platform has nodes.
pub const NODE_LABEL: &str = "squall.node";
/// Label for the zone of that node.
pub const ZONE_LABEL: &str = "squall.zone";
/// Label for what makes and replaces it: `Deployment/front`.
pub const OWNER_LABEL: &str = "squall.owner";

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
    /// Metric, comparison and bound, taken over each second.
    pub bound: Bound,
    /// In every second for so long.
    #[serde(with = "duration")]
    pub lasts: Duration,
}

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

/// How the run itself is carried out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunOptions {
    /// Worker threads; one per core, less one where there are several, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// Traffic of the first so long is shown, not judged.
    #[serde(default, with = "duration")]
    pub warm_up: Duration,
    /// How long requests in flight may take to finish when traffic ends.
    #[serde(default, with = "duration_opt")]
    pub graceful_stop: Option<Duration>,
}
