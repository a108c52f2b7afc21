//! A run's traffic, compiled and checked before anything is touched; shared by all workers, and read-only but for a
//! few flags that say what has been told already.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use super::journey::{CompiledFlow, all_steps};
use super::mask::Mask;
use super::origin::Origin;
use super::transport::{Kind, Transport, lean, reqwest};
use super::{Job, TrafficError, preflight, tls};
use crate::record::{Level, Outcome, Sink};

/// Without `graceful-stop`, requests in flight are waited for as long as their timeout, but not longer than this.
const LONGEST_DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// A run's traffic.
pub struct Plan {
    /// The flows.
    pub flows: Vec<Arc<CompiledFlow>>,
    /// Flow and step of each step.
    pub steps: Vec<(String, String)>,
    /// The server.
    pub origin: Arc<Origin>,
    /// The record.
    pub sink: Sink,
    /// Makes choices repeatable.
    pub seed: u64,
    /// Worker threads.
    pub workers: usize,
    /// How long requests in flight may take at the end.
    pub graceful_stop: Duration,
    /// Hides secrets.
    pub mask: Mask,
    /// The response header that names the instance.
    pub instance_header: String,
    tls: rustls::ClientConfig,
    sampled: Vec<AtomicU16>,
    dropped: Vec<AtomicBool>,
    used_up: Vec<AtomicBool>,
}

impl Plan {
    /// Compiles a job.
    pub fn new(job: &Job) -> Result<Self, TrafficError> {
        let (scenario, lowered) = preflight::fitted(&job.scenario);
        let scenario = &scenario;
        for text in lowered {
            job.sink.note(Level::Warning, text);
        }
        let mut origin = Origin::parse(&job.endpoint.base_url)?;
        origin.routes = job.endpoint.routes.clone();
        let origin = Arc::new(origin);
        let common = scenario.target.common();
        let tls = tls::client_config(&common.tls, &scenario.base_dir, origin.tls)?;
        let workers = scenario
            .run
            .threads
            .map_or_else(default_workers, |threads| threads as usize)
            .max(1);
        let mut flows = Vec::new();
        let mut steps = Vec::new();
        for (index, spec) in scenario.traffic.iter().enumerate() {
            let flow = CompiledFlow::compile(scenario, index, steps.len(), &origin, workers)?;
            Kind::choose(&flow)?;
            steps.extend(
                all_steps(&spec.journey).map(|step| (spec.name.clone(), step.name.clone())),
            );
            flows.push(Arc::new(flow));
        }
        if flows.is_empty() {
            return Err(TrafficError::Scenario(
                "there is no traffic in the scenario".into(),
            ));
        }
        let longest = flows
            .iter()
            .map(|flow| flow.longest_timeout())
            .max()
            .unwrap_or_default();
        let default_grace = longest.min(LONGEST_DEFAULT_GRACE);
        let workers = flows
            .iter()
            .map(|flow| flow.shards)
            .max()
            .map_or(1, |most| {
                // More threads than any flow can use would only be watched.
                if flows.len() == 1 { most } else { workers }
            });
        let flag = |_| AtomicBool::new(false);
        Ok(Self {
            sampled: steps.iter().map(|_| AtomicU16::new(0)).collect(),
            dropped: flows.iter().map(flag).collect(),
            used_up: flows.iter().map(flag).collect(),
            graceful_stop: scenario.run.graceful_stop.unwrap_or(default_grace),
            mask: Mask::new(&scenario.secrets),
            instance_header: common.instance_header.to_ascii_lowercase(),
            sink: job.sink.clone(),
            seed: job.seed,
            flows,
            steps,
            origin,
            workers,
            tls,
        })
    }

    /// The connections of a flow at the worker that is the `shard`th of its.
    pub fn transport(
        &self,
        flow: &Arc<CompiledFlow>,
        shard: usize,
    ) -> Result<Transport, TrafficError> {
        let (clock, origin) = (self.sink.clock(), self.origin.clone());
        Ok(match Kind::choose(flow)? {
            Kind::Lean => Transport::Lean(Rc::new(lean::Shop::new(
                clock,
                flow.clone(),
                origin,
                &self.tls,
                shard,
            )?)),
            Kind::Reqwest => Transport::Reqwest(Rc::new(reqwest::Shop::new(
                clock,
                flow.clone(),
                origin,
                &self.tls,
                shard,
            )?)),
        })
    }

    /// Which transport carries each flow.
    pub fn transports(&self) -> Vec<(String, &'static str)> {
        let name = |flow: &Arc<CompiledFlow>| Kind::choose(flow).map_or("none", Kind::name);
        self.flows
            .iter()
            .map(|flow| (flow.name.clone(), name(flow)))
            .collect()
    }

    /// Whether no other worker has seen this failure of this step.
    pub fn first_of_kind(&self, step: usize, outcome: Outcome) -> bool {
        let bit = 1 << (outcome as u16);
        self.sampled[step].fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// Says once a flow that arrivals are dropped.
    pub fn arrivals_dropped(&self, flow: usize) {
        if !self.dropped[flow].swap(true, Ordering::Relaxed) {
            let name = &self.flows[flow].name;
            self.sink.note(
                Level::Warning,
                format!("flow `{name}`: `max-in-flight` journeys are under way; arrivals beyond are dropped"),
            );
        }
    }

    /// Says once a flow that its data is used up.
    pub fn rows_used_up(&self, flow: usize, feeder: &str) {
        if !self.used_up[flow].swap(true, Ordering::Relaxed) {
            let name = &self.flows[flow].name;
            let text = format!("flow `{name}` ends: each row of `{feeder}` has been used once");
            self.sink.note(Level::Info, text);
        }
    }
}

/// One worker per core, less one where there are several: the service, the balancer and the recorder need one, too.
fn default_workers() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.saturating_sub(1).max(1)
}
