//! Traffic: turns a scenario's flows into requests, and requests into numbers.
//!
//! Arrivals and users decide when, journeys what, transports how; meters count. Faults, judging and reports do not
//! belong here.
//!
//! N worker threads each have a runtime, timer, connections and meter of their own, and share nothing while they work.
//! Once a second each hands its counts to the collector thread, which puts one [`Interval`](crate::record::Interval)
//! into the record. Seconds are cut on the run's clock, at the start of traffic plus whole seconds.
//!
//! What the times mean:
//!
//! - *Response time* counts from the intended start: the arrival's place in the schedule (open), the end of the think
//!   time or of the step before (closed, and later steps). A wait for a user, a connection or the generator is in it.
//! - *Service time* counts from the send: when the attempt began, or when its connection was ready, where one had to
//!   be opened. A step's timeout covers the attempt, with the time to connect.
//! - *Schedule lag* is the generator's own delay, from the intended start to the attempt.
//!
//! When traffic ends, by its schedule or because it is told to, no more requests become due. Those in flight may
//! finish within the graceful stop, and end as `unfinished` with the time they waited when they do not.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::sync::{oneshot, watch};

use crate::platform::Endpoint;
use crate::record::{Level, Micros, Sink};
use crate::scenario::Scenario;

mod arrivals;
mod check;
mod classify;
mod closed;
mod collector;
mod compile;
mod datafile;
mod extract;
mod feeder;
mod journey;
mod mask;
mod meter;
mod names;
mod open;
mod origin;
mod plan;
mod population;
mod preflight;
mod reply;
mod request;
mod sample;
mod selfwatch;
mod shared;
#[cfg(test)]
mod testing;
mod text;
mod timer;
pub(crate) mod tls;
mod transport;
mod user;
mod users;
mod worker;

pub use preflight::{Finding, preflight};

use plan::Plan;
use worker::{Message, Seat, Stop};

/// Traffic starts so long after all workers are ready, so that they all wait for the same moment.
const LEAD: Micros = 2_000;

/// What traffic needs to run.
pub struct Job {
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// Where requests go.
    pub endpoint: Endpoint,
    /// Makes choices repeatable.
    pub seed: u64,
    /// The record.
    pub sink: Sink,
}

/// What can go wrong with traffic itself.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// The scenario asks for what cannot be done.
    #[error("{0}")]
    Scenario(String),
    /// A file that cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A data file that cannot be used.
    #[error("data `{name}`, {}: {problem}", file.display())]
    Feeder {
        /// The feeder.
        name: String,
        /// Its file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// TLS settings that cannot be used.
    #[error("TLS: {0}")]
    Tls(String),
    /// The kernel gives no timer.
    #[error("no timer: {0}")]
    Timer(#[source] std::io::Error),
    /// A thread that cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
    /// A worker ended before its time, and the others with it; the counts up to then are in the record.
    #[error("the generator failed: {0}")]
    Worker(String),
}

impl TrafficError {
    /// Says which flow it concerns.
    fn in_flow(self, flow: &str) -> Self {
        match self {
            TrafficError::Scenario(text) => {
                TrafficError::Scenario(format!("flow `{flow}`: {text}"))
            }
            other => other,
        }
    }
    /// Says which step it concerns.
    fn in_step(self, flow: &str, step: &str) -> Self {
        match self {
            TrafficError::Scenario(text) => {
                TrafficError::Scenario(format!("flow `{flow}`, step `{step}`: {text}"))
            }
            other => other,
        }
    }
}

/// Traffic that can start.
pub struct Prepared(Arc<Plan>);

/// Compiles journeys, opens data files, reads TLS files, builds one transport of each flow: all that can be wrong with
/// a job is found here, before anything is touched.
pub fn prepare(job: &Job) -> Result<Prepared, TrafficError> {
    let plan = Arc::new(Plan::new(job)?);
    for flow in &plan.flows {
        plan.transport(flow, 0)?.link(0)?;
    }
    Ok(Prepared(plan))
}

/// How traffic ended, in sums over the run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrafficEnd {
    /// Start of traffic.
    pub started_us: Micros,
    /// End of the last request.
    pub ended_us: Micros,
    /// Seconds handed to the record.
    pub intervals: u64,
    /// Requests due; equals `ended + dropped`.
    pub due: u64,
    /// Requests ended, any way.
    pub ended: u64,
    /// Arrivals dropped.
    pub dropped: u64,
    /// Of the ended ones: still in flight at the end.
    pub unfinished: u64,
}

/// Running traffic. Dropping it ends traffic at once.
pub struct Engine {
    plan: Arc<Plan>,
    started_at: Micros,
    stop: watch::Sender<Stop>,
    /// None once it has been told.
    end: Option<oneshot::Receiver<Result<TrafficEnd, TrafficError>>>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts traffic: the worker threads and the collector. Waits the few milliseconds that the workers take to be ready.
/// An error in starting is told by [`Engine::finished`].
pub fn start(prepared: Prepared) -> Engine {
    let plan = prepared.0;
    for (flow, transport) in plan.transports() {
        let text = format!("flow `{flow}` is carried by the {transport} transport");
        plan.sink.note(Level::Info, text);
    }
    let (stop, stopped) = watch::channel(Stop::No);
    let (end, ended) = oneshot::channel();
    let mut engine = Engine {
        plan,
        started_at: 0,
        stop,
        end: Some(ended),
        threads: Vec::new(),
    };
    engine.started_at = engine.plan.sink.clock().now();
    if let Err(error) = engine.launch(&stopped, end) {
        // Threads that have been started see that they are not wanted.
        let (tell, told) = oneshot::channel();
        let _ = tell.send(Err(TrafficError::Thread(error)));
        engine.end = Some(told);
        engine.stop_now();
    }
    engine
}

impl Engine {
    fn launch(
        &mut self,
        stopped: &watch::Receiver<Stop>,
        end: oneshot::Sender<Result<TrafficEnd, TrafficError>>,
    ) -> std::io::Result<()> {
        let plan = self.plan.clone();
        let (out, messages) = mpsc::channel::<Message>();
        let (ready, is_ready) = mpsc::channel();
        let mut spares = Vec::new();
        let mut starts = Vec::new();
        for worker in 0..plan.workers {
            let (give_back, spare) = mpsc::channel();
            let (go, start) = mpsc::channel();
            spares.push(give_back);
            starts.push(go);
            let seat = Seat {
                worker,
                plan: plan.clone(),
                out: out.clone(),
                spare,
                stop: stopped.clone(),
                ready: ready.clone(),
                start,
            };
            let thread = std::thread::Builder::new().name(format!("traffic-{worker}"));
            self.threads.push(thread.spawn(move || worker::run(seat))?);
        }
        drop((ready, out));
        // A worker drops its end once it is ready; one that cannot be tells the collector why.
        while is_ready.recv().is_ok() {}
        let start = plan.sink.clock().now() + LEAD;
        self.started_at = start;
        let collector = std::thread::Builder::new().name("traffic-collector".into());
        let stop = self.stop.clone();
        let handle = collector.spawn(move || {
            let result = collector::Collector::new(plan, start, spares, stop).run(&messages);
            // Nobody waits any more: nobody wants to know.
            let _ = end.send(result);
        })?;
        self.threads.push(handle);
        for go in starts {
            let _ = go.send(start);
        }
        Ok(())
    }

    /// When traffic started, on the run's clock.
    pub fn started_at(&self) -> Micros {
        self.started_at
    }

    /// Asks for a graceful stop now: no new requests, those in flight may finish. May be called again.
    pub fn stop(&self) {
        self.ask(Stop::Graceful);
    }

    /// Ends traffic at once; what is in flight is counted as unfinished.
    pub fn stop_now(&self) {
        self.ask(Stop::Now);
    }

    fn ask(&self, how: Stop) {
        self.stop.send_if_modified(|stop| {
            let more = how > *stop;
            *stop = how.max(*stop);
            more
        });
    }

    /// Waits for the end; all seconds have been handed to the record then. A wait that is
    /// given up may be begun again; the end is told once.
    pub async fn finished(&mut self) -> Result<TrafficEnd, TrafficError> {
        let Some(end) = self.end.as_mut() else {
            return Err(TrafficError::Worker("its end has been told".into()));
        };
        let result = end.await;
        self.end = None;
        for thread in self.threads.drain(..) {
            // A worker's panic is in the collector's result.
            let _ = thread.join();
        }
        result.unwrap_or_else(|_| Err(TrafficError::Worker("the collector ended early".into())))
    }

    /// Which transport carries each flow.
    pub fn transports(&self) -> Vec<(String, &'static str)> {
        self.plan.transports()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop_now();
    }
}
pub mod lean;
