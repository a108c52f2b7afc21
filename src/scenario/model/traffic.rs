//! Flows: when requests are sent, by how many users, over which connections.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::journey::Node;
use crate::scenario::units::{Rate, duration, duration_opt, format_duration};

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

impl fmt::Display for Think {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Think::None => f.write_str("0s"),
            Think::Fixed(time) => f.write_str(&format_duration(time)),
            Think::Uniform(low, high) => {
                write!(f, "{}..{}", format_duration(low), format_duration(high))
            }
            Think::Exponential(mean) => write!(f, "exp({})", format_duration(mean)),
        }
    }
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
