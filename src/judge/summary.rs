//! The run in numbers: what every report shows and `result.json` holds. Computed from the record alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::{Ended, FaultStage, Host, Level, Micros, Outcome, Sample};
use crate::scenario::{Effect, FaultPhase};

/// The run in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The scenario's name.
    pub scenario: String,
    /// Wall time of t = 0, RFC 3339.
    pub started: String,
    /// Version of the program that made the record.
    pub version: String,
    /// The seed in force.
    pub seed: u64,
    /// The machine.
    pub host: Host,
    /// How the run ended; `None` where the record stops in the middle.
    pub ended: Option<Ended>,
    /// When traffic began.
    pub traffic_start_us: Micros,
    /// When the last second of traffic ended.
    pub traffic_end_us: Micros,
    /// All judged traffic (without the warm-up).
    pub all: Totals,
    /// By step, in scenario order.
    pub steps: Vec<StepSummary>,
    /// Before, during and after faults; empty for a run without faults.
    pub phases: Vec<PhaseSummary>,
    /// By serving instance, in order of appearance.
    pub instances: Vec<InstanceSummary>,
    /// Every injection.
    pub faults: Vec<FaultSummary>,
    /// The generator itself.
    pub generator: GeneratorSummary,
    /// First failed request of each kind.
    pub samples: Vec<Sample>,
    /// Notes of the run and of the reader (damage of the record).
    pub notes: Vec<(Level, String)>,
}

/// Counts and latencies of a part of the traffic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Requests due.
    pub due: u64,
    /// Requests that ended, any way.
    pub ended: u64,
    /// Requests with a complete response.
    pub answered: u64,
    /// Requests that failed, answered or not; `ended - ok`.
    pub failed: u64,
    /// Arrivals dropped by the generator.
    pub dropped: u64,
    /// Failures by kind.
    pub errors: BTreeMap<Outcome, u64>,
    /// Answered requests by status.
    pub statuses: BTreeMap<u16, u64>,
    /// `failed / ended`, 0 for none.
    pub error_ratio: f64,
    /// Answered requests per second of wall time.
    pub throughput_per_s: f64,
    /// Wall time covered.
    pub seconds: f64,
    /// Response time (from the intended start), of outcomes with [`Outcome::in_latency`].
    pub response: LatencySummary,
    /// Service time (from the send) of answered requests.
    pub service: LatencySummary,
    /// Time to first byte.
    pub first_byte: LatencySummary,
    /// Time to connect.
    pub connect: LatencySummary,
    /// Connections opened.
    pub connections: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
}

/// A latency distribution in numbers, microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencySummary {
    /// Samples.
    pub count: u64,
    /// Shortest.
    pub min_us: u64,
    /// Mean.
    pub mean_us: f64,
    /// Median.
    pub p50_us: u64,
    /// 90th percentile.
    pub p90_us: u64,
    /// 95th percentile.
    pub p95_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// 99.9th percentile.
    pub p999_us: u64,
    /// Longest.
    pub max_us: u64,
}

/// A step in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepSummary {
    /// Flow.
    pub flow: String,
    /// Step.
    pub step: String,
    /// Numbers.
    pub totals: Totals,
}

impl Summary {
    /// No answer of the run says which instance it came from.
    pub fn none_named(&self) -> bool {
        self.all.answered > 0 && self.instances.iter().all(|instance| instance.answered == 0)
    }
}

/// A phase in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseSummary {
    /// Which.
    pub phase: FaultPhase,
    /// Numbers.
    pub totals: Totals,
}

/// An instance in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceSummary {
    /// Name.
    pub name: String,
    /// The place it filled, where known.
    pub slot: Option<String>,
    /// Requests answered.
    pub answered: u64,
    /// Requests failed, answered or not.
    pub failed: u64,
    /// Its share of all answered requests whose instance is known.
    pub share: f64,
    /// Connections.
    pub connections: u64,
    /// Service time.
    pub service: LatencySummary,
    /// Mean CPU, thousandths of a core.
    pub cpu_mean_millicores: u64,
    /// Highest CPU sample.
    pub cpu_max_millicores: u64,
    /// Highest memory sample.
    pub memory_max_bytes: u64,
}

/// An injection and what followed: section 3 of the oracles. Times on the run's clock; `None`: not seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultSummary {
    /// Number, from 1.
    pub injection: u32,
    /// The spec's name.
    pub name: String,
    /// The kind's name.
    pub fault: String,
    /// What it does to an instance.
    pub effect: Effect,
    /// Last stage reached.
    pub stage: FaultStage,
    /// Why refused or failed.
    pub detail: Option<String>,
    /// Instances hit.
    pub instances: Vec<String>,
    /// Fault applied.
    pub injected_us: Option<Micros>,
    /// Fault taken back.
    pub undone_us: Option<Micros>,
    /// First failed request after it.
    pub first_error_us: Option<Micros>,
    /// Last failed request before recovery.
    pub last_error_us: Option<Micros>,
    /// Failed requests from the injection to recovery.
    pub failed_requests: u64,
    /// The instance was seen not ready (or ended).
    pub not_ready_us: Option<Micros>,
    /// The balancer's set no longer had it.
    pub endpoint_removed_us: Option<Micros>,
    /// Last request sent to it.
    pub last_request_us: Option<Micros>,
    /// Its replacement (or itself, again) was ready.
    pub ready_again_us: Option<Micros>,
    /// First request that the replacement answered.
    pub first_served_us: Option<Micros>,
    /// Start of the first of the good windows in a row.
    pub restored_us: Option<Micros>,
}

/// The generator in numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratorSummary {
    /// Worker threads.
    pub workers: u32,
    /// Highest CPU of one worker in one second, thousandths of a core.
    pub cpu_max_millicores: u64,
    /// Median of the seconds' CPU of the busiest worker.
    pub cpu_typical_millicores: u64,
    /// Median over seconds of the schedule lag's 99th percentile.
    pub lag_p99_us: Micros,
    /// Longest schedule lag.
    pub lag_max_us: Micros,
    /// Arrivals dropped.
    pub dropped: u64,
    /// Arrivals dispatched late by more than 10 ms.
    pub late: u64,
    /// Most open file descriptors.
    pub open_files_max: u64,
    /// Why the generator, not the service, was the limit; verdicts are then INCONCLUSIVE.
    pub saturated: Option<String>,
}
