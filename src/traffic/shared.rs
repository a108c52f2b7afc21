//! What everything in one worker shares: the clock, the timer, the meter, the places of its users.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use rand_pcg::Pcg64;
use tokio::sync::Notify;

use super::feeder::Rows;
use super::journey::CompiledFlow;
use super::meter::{End, InstanceId, Instances, Second};
use super::open::OpenState;
use super::plan::Plan;
use super::reply::Reply;
use super::selfwatch::ThreadCpu;
use super::text::Value;
use super::timer::Timer;
use super::transport::{Link, Memory, Progress, Transport};
use super::worker::{Message, SECOND};
use crate::record::{Clock, Micros, Outcome};

/// A flow at this worker.
pub struct FlowRun {
    /// Compiled.
    pub flow: Arc<CompiledFlow>,
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
    /// Where it is among the worker's.
    seat: Cell<usize>,
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

/// The ways to and from the collector.
pub struct Exchange {
    /// Which worker this is.
    pub worker: usize,
    /// To the collector.
    pub out: mpsc::Sender<Message>,
    /// Used seconds come back.
    pub spare: mpsc::Receiver<Box<Second>>,
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
    /// A response has named its instance.
    named: Cell<bool>,
    /// Users or journeys under way.
    pub users: Cell<u64>,
    slots: RefCell<Vec<Rc<Slot>>>,
    second: RefCell<Box<Second>>,
    second_index: Cell<u64>,
    second_end: Cell<Micros>,
    cpu: RefCell<ThreadCpu>,
    exchange: Exchange,
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
    /// The state of a worker whose traffic starts at `start`.
    pub fn new(
        plan: Arc<Plan>,
        timer: Timer,
        flows: Vec<Rc<FlowRun>>,
        start: Micros,
        exchange: Exchange,
    ) -> Self {
        let clock = plan.sink.clock();
        let steps = plan.steps.len();
        Self {
            clock,
            timer,
            flows,
            instances: RefCell::default(),
            named: Cell::default(),
            users: Cell::new(0),
            slots: RefCell::default(),
            second: RefCell::new(Box::new(Second::new(steps))),
            second_index: Cell::new(0),
            second_end: Cell::new(start + SECOND),
            cpu: RefCell::new(ThreadCpu::start(clock.now())),
            exchange,
            live: Cell::new(0),
            changed: Notify::new(),
            broken: RefCell::default(),
            sampled: RefCell::new(vec![0; steps]),
            plan,
        }
    }

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

    /// The instance that a response names; `last` is the one that its connection was answered by before.
    pub fn instance_named(&self, name: &[u8], last: Option<InstanceId>) -> InstanceId {
        self.named.set(true);
        self.instances.borrow_mut().id(name, last)
    }

    /// The instance that a connection goes to, as far as its earlier responses and the balancer tell.
    pub fn instance_of(&self, memory: &Memory) -> Option<InstanceId> {
        memory.last.get().or_else(|| self.routed(memory))
    }

    /// The instance that the balancer has given a connection to. Where responses name their instance, that alone counts:
    /// behind the balancer there may be another one.
    pub fn routed(&self, memory: &Memory) -> Option<InstanceId> {
        let routes = self.plan.origin.routes.as_ref();
        let routes = routes.filter(|_| !self.named.get())?;
        memory.last.get().or_else(|| {
            let name = routes.instance(memory.client.get()?)?;
            Some(self.instances.borrow_mut().id(name.as_bytes(), None))
        })
    }

    /// Makes a user's place known.
    pub fn seat(&self, run: &Rc<FlowRun>) -> Rc<Slot> {
        let mut slots = self.slots.borrow_mut();
        let slot = Rc::new(Slot {
            run: run.clone(),
            seat: Cell::new(slots.len()),
            values: RefCell::new(run.flow.initial.clone()),
            in_flight: RefCell::default(),
            progress: Progress::default(),
        });
        slots.push(slot.clone());
        slot
    }

    /// Takes away the seat of a user that has gone.
    pub fn unseat(&self, slot: &Slot) {
        let mut slots = self.slots.borrow_mut();
        let seat = slot.seat.get();
        slots.swap_remove(seat);
        if let Some(moved) = slots.get(seat) {
            moved.seat.set(seat);
        }
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
            let _ = self.exchange.out.send(Message::Second {
                worker: self.exchange.worker,
                index,
                data,
            });
        }
        self.timer.fire(now);
    }

    fn take_second(&self) -> Box<Second> {
        let next = self.exchange.spare.try_recv();
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
                // A load that ends here and there for want of data is not the one that was asked for.
                Err(error) => self.break_down(error.to_string()),
            }
            run.over.set(true);
            return false;
        }
        true
    }

    /// Ends what is still in flight.
    pub fn end_unfinished(self: &Rc<Self>, now: Micros) {
        self.roll(now);
        for slot in self.slots.borrow().iter() {
            if let Some(request) = slot.in_flight.borrow_mut().take() {
                let memory = slot.progress.memory.borrow().clone();
                let started = Some(slot.progress.started.get()).filter(|started| *started > 0);
                let step = slot.run.flow.steps[request.step].index;
                let mut end = unfinished(step, request.intended, now);
                end.sent = started.unwrap_or(now);
                end.instance = memory
                    .filter(|_| started.is_some())
                    .and_then(|memory| self.instance_of(&memory));
                self.count(|second| second.ended(&end, &Reply::default()));
                self.sample_unfinished(slot, &request, &end);
            }
        }
        for run in &self.flows {
            for (step, intended) in super::open::take_back(run) {
                let end = unfinished(step, intended, now);
                self.count(|second| second.ended(&end, &Reply::default()));
            }
        }
    }

    fn sample_unfinished(&self, slot: &Slot, request: &InFlight, end: &End) {
        if self.first_of_kind(end.step, Outcome::Unfinished) {
            let waited = Duration::from_micros(end.at.saturating_sub(end.intended));
            let error = format!("still in flight at the end, after {waited:?}");
            super::sample::emit(self, slot, request, end, &Reply::default(), &error);
        }
    }

    /// The worker's last second, which is not over, with its number; and why the worker broke down, if it did.
    pub fn last_words(&self) -> (Option<(u64, Box<Second>)>, Option<String>) {
        let last = (self.second_index.get(), self.take_second());
        (Some(last), self.broken.borrow_mut().take())
    }

    /// When the current second is over.
    pub fn second_end(&self) -> Micros {
        self.second_end.get()
    }

    /// Waits until nothing keeps the worker alive any more.
    pub async fn idle(&self) {
        while self.live.get() > 0 && self.broken.borrow().is_none() {
            self.changed.notified().await;
        }
    }
}

/// A request that ends because the run does, never sent as far as this knows.
fn unfinished(step: usize, intended: Micros, now: Micros) -> End {
    End {
        step,
        outcome: Outcome::Unfinished,
        intended,
        sent: now,
        at: now,
        instance: None,
        first_of_connection: false,
        moved: false,
    }
}
