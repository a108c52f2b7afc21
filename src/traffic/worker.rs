//! One worker thread: a current-thread runtime with its own timer, connections, users and meter. Nothing that happens
//! for a request leaves the thread; once a second its counts go to the collector.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use rand_pcg::Pcg64;
use tokio::sync::{Notify, watch};
use tokio::task::LocalSet;

use super::TrafficError;
use super::feeder::{Rows, mix};
use super::meter::{End, Instances, Second};
use super::open::OpenState;
use super::plan::Plan;
use super::reply::Reply;
use super::selfwatch::ThreadCpu;
use super::text::Value;
use super::timer::{Alarm, Timer};
use super::transport::{Link, Progress, Transport};
use super::user;
use crate::record::{Clock, Level, Micros, Outcome};
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

/// A flow at this worker.
pub struct FlowRun {
    /// Compiled.
    pub flow: Arc<super::journey::CompiledFlow>,
    /// This worker's number among those that carry the flow.
    pub shard: usize,
    /// Starts, on the run's clock.
    pub start: Micros,
    /// Ends: no request is due from then on.
    pub end: Micros,
    /// The connections.
    pub transport: Transport,
    /// Ways to the server for the users of a closed load, made before traffic starts.
    pub links: RefCell<Vec<Link>>,
    /// Data; taken in the order in which journeys begin.
    pub rows: RefCell<Vec<Rows>>,
    /// The schedule, for open loads.
    pub open: RefCell<Option<OpenState>>,
    /// No journey begins any more.
    pub over: Cell<bool>,
}

/// A user's place, as others in the worker must see it.
pub struct Slot {
    /// Its flow.
    pub run: Rc<FlowRun>,
    /// The variables of the journey under way.
    pub values: RefCell<Vec<Value>>,
    /// The request under way.
    pub in_flight: RefCell<Option<InFlight>>,
    /// How far it is.
    pub progress: Progress,
}

/// A request that has not ended.
#[derive(Debug, Clone)]
pub struct InFlight {
    /// Its step in the flow.
    pub step: usize,
    /// Its intended start.
    pub intended: Micros,
    /// The journey's generator just before the request was rendered: renders the same request again.
    pub rng: Pcg64,
    /// The user's number.
    pub user: u64,
    /// The user's iteration.
    pub iteration: u64,
}

/// What everything in the worker shares.
pub struct Shared {
    /// The run.
    pub plan: Arc<Plan>,
    /// The run's clock.
    pub clock: Clock,
    /// The worker's timer.
    pub timer: Timer,
    /// The flows at this worker.
    pub flows: Vec<Rc<FlowRun>>,
    /// Names of instances.
    pub instances: RefCell<Instances>,
    /// Users or journeys under way.
    pub users: Cell<u64>,
    slots: RefCell<Vec<Rc<Slot>>>,
    second: RefCell<Box<Second>>,
    second_index: Cell<u64>,
    second_end: Cell<Micros>,
    cpu: RefCell<ThreadCpu>,
    worker: usize,
    out: mpsc::Sender<Message>,
    spare: mpsc::Receiver<Box<Second>>,
    live: Cell<usize>,
    changed: Notify,
    broken: RefCell<Option<String>>,
    sampled: RefCell<Vec<u16>>,
}

/// Something that must end before the worker may.
pub struct Live(Rc<Shared>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.live.set(self.0.live.get() - 1);
        if std::thread::panicking() {
            self.0.break_down("a task panicked".into());
        }
        if self.0.live.get() == 0 {
            self.0.changed.notify_one();
        }
    }
}

impl Shared {
    /// Keeps the worker alive while the result is.
    pub fn live(self: &Rc<Self>) -> Live {
        self.live.set(self.live.get() + 1);
        Live(self.clone())
    }

    /// Ends the worker because of an error in itself.
    pub fn break_down(&self, problem: String) {
        self.broken.borrow_mut().get_or_insert(problem);
        self.changed.notify_one();
    }

    /// Makes a user's place known.
    pub fn seat(&self, run: &Rc<FlowRun>) -> Rc<Slot> {
        let slot = Rc::new(Slot {
            run: run.clone(),
            values: RefCell::new(run.flow.initial.clone()),
            in_flight: RefCell::default(),
            progress: Progress::default(),
        });
        self.slots.borrow_mut().push(slot.clone());
        slot
    }

    /// Hands over every second that is over by `now`. Called before anything at `now` is counted, so that everything
    /// counts in the second in which it happened.
    pub fn roll(self: &Rc<Self>, now: Micros) {
        while now >= self.second_end.get() {
            let end = self.second_end.get();
            for run in &self.flows {
                // Arrivals that were due before the border belong before it, however late the worker is.
                super::open::dispatch(self, run, end);
            }
            let data = self.take_second();
            let index = self.second_index.get();
            self.second_index.set(index + 1);
            self.second_end.set(end + SECOND);
            // A collector that is gone means that the run is over.
            let _ = self.out.send(Message::Second {
                worker: self.worker,
                index,
                data,
            });
        }
        self.timer.fire(now);
    }

    fn take_second(&self) -> Box<Second> {
        let next = self.spare.try_recv();
        let next = next.unwrap_or_else(|_| Box::new(Second::new(self.plan.steps.len())));
        let mut data = self.second.replace(next);
        data.users = self.users.get();
        data.cpu_millicores = self.cpu.borrow_mut().millicores(self.clock.now());
        self.instances.borrow_mut().tell(&mut data);
        data
    }

    /// Counts.
    pub fn count(&self, count: impl FnOnce(&mut Second)) {
        count(&mut self.second.borrow_mut());
    }

    /// Whether this worker is the first of the run to see this failure of this step.
    pub fn first_of_kind(&self, step: usize, outcome: Outcome) -> bool {
        let bit = 1 << (outcome as u16);
        let mut seen = self.sampled.borrow_mut();
        if seen[step] & bit != 0 {
            return false;
        }
        seen[step] |= bit;
        self.plan.first_of_kind(step, outcome)
    }

    /// Starts a journey's data: the first values, and the next row of every feeder. False when there are no more.
    pub fn begin_journey(&self, run: &FlowRun, values: &mut Vec<Value>) -> bool {
        values.clone_from(&run.flow.initial);
        for rows in run.rows.borrow_mut().iter_mut() {
            match rows.take(values) {
                Ok(true) => continue,
                Ok(false) => self.plan.rows_used_up(run.flow.index, rows.name()),
                Err(error) => self.plan.sink.note(Level::Error, error.to_string()),
            }
            run.over.set(true);
            return false;
        }
        true
    }

    /// Ends what is still in flight.
    fn end_unfinished(self: &Rc<Self>, now: Micros) {
        self.roll(now);
        for slot in self.slots.borrow().iter() {
            let Some(request) = slot.in_flight.borrow_mut().take() else {
                continue;
            };
            let memory = slot.progress.memory.borrow().clone();
            let started = slot.progress.started.get();
            let instance = memory.and_then(|m| m.last.get()).filter(|_| started > 0);
            let step = &slot.run.flow.steps[request.step];
            let end = End {
                step: step.index,
                outcome: Outcome::Unfinished,
                intended: request.intended,
                sent: if started > 0 { started } else { now },
                at: now,
                instance,
                first_of_connection: false,
            };
            let reply = Reply::default();
            self.count(|second| second.ended(end, &reply));
            if self.first_of_kind(step.index, Outcome::Unfinished) {
                let waited = Duration::from_micros(now.saturating_sub(request.intended));
                let error = format!("still in flight at the end, after {waited:?}");
                user::emit_sample(self, slot, &request, &end, &reply, &error);
            }
        }
    }

    async fn idle(&self) {
        while self.live.get() > 0 && self.broken.borrow().is_none() {
            self.changed.notified().await;
        }
    }
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
        // Looks at sockets and timer more often than after the default of 61 tasks: a busy worker would otherwise
        // see an arrival half a millisecond late.
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
    let flows = flows
        .into_iter()
        .map(|flow| Rc::new(flow.starting(start)))
        .collect();
    let steps = seat.plan.steps.len();
    let shared = Rc::new(Shared {
        clock: seat.plan.sink.clock(),
        timer,
        flows,
        instances: RefCell::default(),
        users: Cell::new(0),
        slots: RefCell::default(),
        second: RefCell::new(Box::new(Second::new(steps))),
        second_index: Cell::new(0),
        second_end: Cell::new(start + SECOND),
        cpu: RefCell::new(ThreadCpu::start(seat.plan.sink.clock().now())),
        worker: seat.worker,
        out: seat.out.clone(),
        spare: seat.spare,
        live: Cell::new(0),
        changed: Notify::new(),
        broken: RefCell::default(),
        sampled: RefCell::new(vec![0; steps]),
        plan: seat.plan,
    });
    launch(&shared);
    conduct(&shared, &mut seat.stop).await;
    let now = shared.clock.now();
    shared.end_unfinished(now);
    let last = (shared.second_index.get(), shared.take_second());
    let error = shared.broken.borrow_mut().take();
    (Some(last), error)
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
            Load::Closed(closed) => {
                let users = user::user_numbers(shard, flow.shards, closed).enumerate();
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
                .until_regardless(&alarm, seconds.second_end.get())
                .await;
            seconds.roll(seconds.clock.now());
        }
    });
    for run in &shared.flows {
        match &run.flow.spec.load {
            Load::Open(_) => super::open::launch(shared, run),
            Load::Closed(closed) => user::launch_closed(shared, run, closed),
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
