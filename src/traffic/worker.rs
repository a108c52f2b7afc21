//! One worker thread: a current-thread runtime with its own timer, connections, users and meter. Nothing that happens
//! for a request leaves the thread; once a second its counts go to the collector.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::Poll;

use tokio::sync::watch;
use tokio::task::LocalSet;

use super::feeder::mix;
use super::meter::Second;
use super::open::OpenState;
use super::plan::Plan;
use super::shared::{Exchange, FlowRun, Shared};
use super::timer::{Alarm, Timer};
use super::{TrafficError, closed};
use crate::record::{Clock, Micros};
use crate::scenario::Load;

/// A second of the run, in microseconds.
pub const SECOND: Micros = 1_000_000;

/// How a run is asked to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// It goes on.
    #[default]
    No,
    /// No new requests; those under way may finish.
    Graceful,
    /// At once.
    Now,
}

/// What workers tell the collector.
#[derive(Debug)]
pub enum Message {
    /// A second is over.
    Second {
        /// Who.
        worker: usize,
        /// Its number, from the start of traffic.
        index: u64,
        /// What happened in it.
        data: Box<Second>,
    },
    /// The worker has ended.
    Done {
        /// Who.
        worker: usize,
        /// The second that it ended in, and what happened in its part of it.
        last: Option<(u64, Box<Second>)>,
        /// When.
        at: Micros,
        /// Why it ended before its time, if it did.
        error: Option<String>,
    },
}

/// What a worker thread is started with.
pub struct Seat {
    /// Which worker.
    pub worker: usize,
    /// The run.
    pub plan: Arc<Plan>,
    /// To the collector.
    pub out: mpsc::Sender<Message>,
    /// Used seconds come back.
    pub spare: mpsc::Receiver<Box<Second>>,
    /// How the run is to end.
    pub stop: watch::Receiver<Stop>,
    /// Says that this worker is ready.
    pub ready: mpsc::Sender<()>,
    /// When traffic starts; comes once all are ready.
    pub start: mpsc::Receiver<Micros>,
}

/// Runs a worker to its end on this thread.
pub fn run(seat: Seat) {
    let mut farewell = Farewell {
        worker: seat.worker,
        out: seat.out.clone(),
        clock: seat.plan.sink.clock(),
        error: Some("a worker thread panicked".into()),
        last: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // So many tasks of reqwest's connections run before the LocalSet with the users has its turn again, and before a
        // look at the sockets, not the default of 61: a busy worker would see an arrival half a millisecond late.
        .event_interval(13)
        .max_blocking_threads(16)
        .build();
    match runtime {
        Err(error) => farewell.error = Some(format!("a worker cannot start: {error}")),
        Ok(runtime) => {
            let local = LocalSet::new();
            let (last, error) = local.block_on(&runtime, work(seat));
            farewell.last = last;
            farewell.error = error;
            drop(local);
            // Name look-ups that still block are left to end by themselves.
            runtime.shutdown_background();
        }
    }
}

/// Tells the collector that the worker has ended, even when it panics.
struct Farewell {
    worker: usize,
    out: mpsc::Sender<Message>,
    clock: Clock,
    last: Option<(u64, Box<Second>)>,
    error: Option<String>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let (worker, at) = (self.worker, self.clock.now());
        let (last, error) = (self.last.take(), self.error.take());
        let _ = self.out.send(Message::Done {
            worker,
            last,
            at,
            error,
        });
    }
}

type Outcomes = (Option<(u64, Box<Second>)>, Option<String>);

async fn work(mut seat: Seat) -> Outcomes {
    let built = Timer::new(seat.plan.sink.clock()).map_err(TrafficError::Timer);
    let prepared = built.and_then(|timer| Ok((timer, flows(&seat.plan, seat.worker)?)));
    // Ready or not, the others must not wait.
    let _ = seat.ready.send(());
    drop(seat.ready);
    let (timer, flows) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return (None, Some(error.to_string())),
    };
    let Ok(start) = seat.start.recv() else {
        return (None, Some("the run was given up before it began".into()));
    };
    let flows = flows.into_iter().map(|flow| Rc::new(flow.starting(start)));
    let exchange = Exchange {
        worker: seat.worker,
        out: seat.out,
        spare: seat.spare,
    };
    let shared = Rc::new(Shared::new(
        seat.plan,
        timer,
        flows.collect(),
        start,
        exchange,
    ));
    launch(&shared);
    conduct(&shared, &mut seat.stop).await;
    let now = shared.clock.now();
    shared.end_unfinished(now);
    shared.last_words()
}

impl FlowRun {
    fn starting(mut self, traffic: Micros) -> Self {
        self.start += traffic;
        self.end += traffic;
        self
    }
}

/// The flows that this worker has a part in, with times from the start of traffic.
fn flows(plan: &Arc<Plan>, worker: usize) -> Result<Vec<FlowRun>, TrafficError> {
    let mut runs = Vec::new();
    for flow in &plan.flows {
        // Small flows are not all carried by the first workers.
        let shard = (worker + plan.workers - flow.index % plan.workers) % plan.workers;
        if shard >= flow.shards {
            continue;
        }
        let seed = mix(plan.seed, flow.index as u64);
        let rows: Result<Vec<_>, _> = flow
            .feeders
            .iter()
            .map(|feeder| feeder.rows(shard, flow.shards, seed))
            .collect();
        let start = flow.spec.start.as_micros() as Micros;
        let transport = plan.transport(flow, shard)?;
        let links: Result<Vec<_>, _> = match &flow.spec.load {
            Load::Open(_) => Ok(Vec::new()),
            Load::Closed(load) => {
                let users = closed::user_numbers(shard, flow.shards, load).enumerate();
                users.map(|(index, _)| transport.link(index)).collect()
            }
        };
        runs.push(FlowRun {
            shard,
            start,
            end: start + flow.spec.load.duration().as_micros() as Micros,
            transport,
            links: RefCell::new(links?),
            rows: RefCell::new(rows?),
            open: RefCell::new(OpenState::new(flow, shard, plan.seed)),
            over: Cell::new(false),
            flow: flow.clone(),
        });
    }
    Ok(runs)
}

/// Starts the tasks of the worker.
fn launch(shared: &Rc<Shared>) {
    let clock_work = shared.clone();
    tokio::task::spawn_local(async move {
        if let Err(error) = clock_work.timer.drive().await {
            clock_work.break_down(format!("the timer failed: {error}"));
        }
    });
    let seconds = shared.clone();
    tokio::task::spawn_local(async move {
        let alarm = Alarm::default();
        loop {
            seconds
                .timer
                .until_regardless(&alarm, seconds.second_end())
                .await;
            seconds.roll(seconds.clock.now());
        }
    });
    for run in &shared.flows {
        match &run.flow.spec.load {
            Load::Open(_) => super::open::launch(shared, run),
            Load::Closed(load) => closed::launch(shared, run, load),
        }
    }
}

/// Lets the schedule run, then the requests in flight finish.
async fn conduct(shared: &Rc<Shared>, stop: &mut watch::Receiver<Stop>) {
    let end = shared.flows.iter().map(|run| run.end).max().unwrap_or(0);
    let alarm = Alarm::default();
    tokio::select! {
        () = shared.idle() => {}
        () = shared.timer.until_regardless(&alarm, end) => {}
        // An engine that is gone asks for nothing more.
        _ = stop.wait_for(|stop| *stop >= Stop::Graceful) => {}
    }
    shared.roll(shared.clock.now());
    for run in &shared.flows {
        super::open::dispatch(shared, run, shared.clock.now().min(run.end));
        run.over.set(true);
    }
    shared.timer.stop();
    let deadline = shared.clock.now() + shared.plan.graceful_stop.as_micros() as Micros;
    tokio::select! {
        () = shared.idle() => {}
        () = shared.timer.until_regardless(&alarm, deadline) => {}
        _ = stop.wait_for(|stop| *stop >= Stop::Now) => {}
    }
}

/// Lets everyone go first who can go on at once. A request that follows another would else be sent while responses that
/// are there wait to be read, and their waiting would be in their times; and servers get requests together, as from many
/// users, and need not be woken for each.
pub async fn after_others() {
    let mut others = true;
    poll_fn(|context| {
        if !std::mem::take(&mut others) {
            return Poll::Ready(());
        }
        // Behind those that have been woken. tokio's own `yield_now` waits for a look at the sockets as well.
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_ready_goes_first() {
        LocalSet::new().run_until(turns()).await;
    }

    async fn turns() {
        let said = Rc::new(RefCell::new(Vec::new()));
        let (first, second) = (said.clone(), said.clone());
        let one = tokio::task::spawn_local(async move {
            first.borrow_mut().push("response of the first");
            after_others().await;
            first.borrow_mut().push("next request of the first");
        });
        let other = tokio::task::spawn_local(async move {
            second.borrow_mut().push("response of the second");
        });
        one.await.unwrap();
        other.await.unwrap();
        let expected = [
            "response of the first",
            "response of the second",
            "next request of the first",
        ];
        assert_eq!(*said.borrow(), expected);
    }
}
