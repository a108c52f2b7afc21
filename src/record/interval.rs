//! One second of traffic: exact counts for the record's line, histograms for the interval log.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::clock::Micros;

/// How one request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Answered, and all checks hold.
    Ok,
    /// Answered with a status that the step does not accept.
    Status,
    /// Answered, and another check or an extraction failed.
    Check,
    /// Connection refused.
    Refused,
    /// Connection reset.
    Reset,
    /// Connection closed before the response was complete.
    Closed,
    /// No complete response in time.
    Timeout,
    /// The name does not resolve.
    Dns,
    /// TLS could not be agreed.
    Tls,
    /// What came is not HTTP.
    Protocol,
    /// The network says no: host or network unreachable.
    Unreachable,
    /// The generator could not send it: no file descriptor or local port left, or a value in it made it no request.
    Local,
    /// Still in flight when the run's graceful stop was over.
    Unfinished,
}

impl Outcome {
    /// All of them, in order; `as usize` is the index.
    pub const ALL: [Outcome; 13] = [
        Outcome::Ok,
        Outcome::Status,
        Outcome::Check,
        Outcome::Refused,
        Outcome::Reset,
        Outcome::Closed,
        Outcome::Timeout,
        Outcome::Dns,
        Outcome::Tls,
        Outcome::Protocol,
        Outcome::Unreachable,
        Outcome::Local,
        Outcome::Unfinished,
    ];
    /// Whether a complete response came.
    pub fn answered(self) -> bool {
        matches!(self, Outcome::Ok | Outcome::Status | Outcome::Check)
    }
    /// Whether it counts as an error: all but [`Outcome::Ok`].
    pub fn failed(self) -> bool {
        self != Outcome::Ok
    }
    /// Whether its time belongs in latency percentiles: answered ones, and those that waited in vain. A refused
    /// or reset request ends early and would flatter them; it counts in the error ratio alone.
    pub fn in_latency(self) -> bool {
        self.answered() || matches!(self, Outcome::Timeout | Outcome::Unfinished)
    }
    /// Its name in records.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Status => "status",
            Outcome::Check => "check",
            Outcome::Refused => "refused",
            Outcome::Reset => "reset",
            Outcome::Closed => "closed",
            Outcome::Timeout => "timeout",
            Outcome::Dns => "dns",
            Outcome::Tls => "tls",
            Outcome::Protocol => "protocol",
            Outcome::Unreachable => "unreachable",
            Outcome::Local => "local",
            Outcome::Unfinished => "unfinished",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Outcome {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Outcome::ALL
            .into_iter()
            .find(|o| o.name() == text)
            .ok_or(())
    }
}

/// Latency histogram, microseconds: 1 us to 1 h.
pub type Latency = Histogram<u64>;

/// An empty latency histogram: 3 significant digits, grows up to one hour.
pub fn latency() -> Latency {
    // Literal arguments inside the crate's documented bounds: cannot fail.
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("valid histogram bounds")
}

/// An empty latency histogram of 2 significant digits, for the many that are kept one per instance.
pub fn coarse_latency() -> Latency {
    // As above.
    Histogram::new_with_bounds(1, 3_600_000_000, 2).expect("valid histogram bounds")
}

/// The counts of one second: the line in `record.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrafficSecond {
    /// Start on the run's clock; the event's own time is its end.
    pub start_us: Micros,
    /// End on the run's clock.
    pub end_us: Micros,
    /// One entry a step that was active.
    pub steps: Vec<StepSecond>,
    /// The generator itself.
    pub generator: GeneratorSecond,
}

/// One second of one step. A request is counted in the second in which it ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepSecond {
    /// Flow.
    pub flow: String,
    /// Step.
    pub step: String,
    /// Requests whose intended start lies in this second, sent or not.
    pub due: u64,
    /// Requests that ended in this second, by how.
    pub ended: BTreeMap<Outcome, u64>,
    /// Statuses of the answered ones.
    #[serde(
        default,
        deserialize_with = "statuses",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub statuses: BTreeMap<u16, u64>,
    /// Arrivals given up because `max-in-flight` journeys were under way (first steps only).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u64,
    /// Requests due and not ended at the end of the second.
    pub in_flight: u64,
    /// Connections opened.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub connections: u64,
    /// Answers that came from another instance than the one before on the same connection: none where requests go
    /// where their connection went.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub moved: u64,
    /// Bytes sent, as HTTP sees them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sent_bytes: u64,
    /// Bytes received, as HTTP sees them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub received_bytes: u64,
    /// When the first failed request of the second ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_error_us: Option<Micros>,
    /// When the last failed request of the second ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error_us: Option<Micros>,
    /// By serving instance: named by the response, or, for one that failed without a response on a connection
    /// that had been answered before, by the connection's last response.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub instances: BTreeMap<String, InstanceSecond>,
}

/// One second of one step at one instance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct InstanceSecond {
    /// Requests that it answered.
    pub answered: u64,
    /// Requests that failed, answered or not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed: u64,
    /// Connections whose first response came from it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub connections: u64,
    /// When the first request that it answered in this second was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_us: Option<Micros>,
    /// When the last request sent to it that ended in this second was sent, answered or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_us: Option<Micros>,
}

/// One second of the generator.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratorSecond {
    /// CPU of each worker thread, thousandths of a core.
    pub cpu_millicores: Vec<u64>,
    /// Schedule lag (send minus intended start, where a user was free): median.
    pub lag_p50_us: Micros,
    /// Schedule lag: 99th percentile.
    pub lag_p99_us: Micros,
    /// Schedule lag: the longest.
    pub lag_max_us: Micros,
    /// Arrivals that were dispatched late by more than 10 ms.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub late: u64,
    /// Open file descriptors of the process.
    pub open_files: u64,
    /// Virtual users alive.
    pub users: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Reads number keys as text: inside a flattened, tagged enum (which an event is) serde does not turn the text
/// keys of JSON back into numbers.
fn statuses<'de, D: serde::Deserializer<'de>>(d: D) -> Result<BTreeMap<u16, u64>, D::Error> {
    let texts = BTreeMap::<String, u64>::deserialize(d)?;
    let numbers = texts.into_iter().map(|(key, count)| {
        let status = key.parse().map_err(serde::de::Error::custom)?;
        Ok((status, count))
    });
    numbers.collect()
}

/// A second with its histograms: what traffic hands over, and what a reader gives back.
///
/// A record must grow slowly, so a reader gives back less than was handed over. Response times are exact, each
/// second. Service times are those of the second, at 2 significant digits. The rest (connect, TLS, first byte,
/// instances) is kept at 2 digits for up to half a minute together, and comes with the last second of that time;
/// a fault, an undo or a change of phase begins a new one. Counts are always exact.
#[derive(Debug, Clone, Default)]
pub struct Interval {
    /// The counts.
    pub second: TrafficSecond,
    /// Histograms of each entry of `second.steps`, in the same order.
    pub histograms: Vec<StepHistograms>,
}

/// The histograms of one step in one second.
#[derive(Debug, Clone, Default)]
pub struct StepHistograms {
    /// Response time (from the intended start), by outcome.
    pub response: BTreeMap<Outcome, Latency>,
    /// Service time (from the send) of answered requests.
    pub service: Option<Latency>,
    /// Time to connect, of connections opened.
    pub connect: Option<Latency>,
    /// Time to agree on TLS.
    pub tls: Option<Latency>,
    /// From the send to the first byte of the response.
    pub first_byte: Option<Latency>,
    /// Service time of answered requests by instance, 2 significant digits.
    pub instances: BTreeMap<String, Latency>,
}
