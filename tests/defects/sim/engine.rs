//! The clockwork: what happens next, and what it does to requests.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use squall::record::{InstanceEvent, InstanceState, Outcome, Record, What};
use squall::scenario::Target;

use super::cast::Instance;
use super::client::{Client, Fate, Request, arrivals, micros};
use super::injections::Injections;
use super::kubelet::Meters;
use super::monitor::Monitor;
use super::recorder::Recorder;
use super::workload::Rolling;
use super::{Dice, Micros, S, Truth, World, seconds};

/// Something that happens at its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Next {
    /// A request is sent.
    Send(usize),
    /// A request ends, if this is still its newest end.
    End(usize, u32),
    /// A user of a closed flow begins a journey.
    Begin(usize),
    /// A new process in a place.
    Start(usize),
    /// An instance says that it is ready.
    Ready(usize),
    /// The set that everybody sees has an instance, or not.
    List(usize, bool),
    /// Traffic follows the set.
    Follow(usize, bool),
    /// Probes have failed often enough.
    FoundOut(usize),
    /// It ends, whatever it still does.
    Die(usize),
    /// A fault of the scenario, by its index.
    Inject(usize),
    /// An injection is taken back, by its number.
    Undo(usize),
    /// One of the world's crashes.
    Crash(usize),
    /// The number of instances changes.
    Scale(usize),
    /// The next instance of a rollout.
    Roll(usize),
    /// The controller of the workload looks.
    Reconcile,
    /// Once a second.
    Tick,
    /// A look at monitoring.
    Look,
}

pub struct Engine<'a> {
    pub world: &'a World,
    pub dice: Dice,
    pub now: Micros,
    pub start: Micros,
    pub schedule_end: Micros,
    heap: BinaryHeap<Reverse<(Micros, u64, Next)>>,
    sequence: u64,
    pub cast: Vec<Instance>,
    /// The newest instance of each place, and how many there have been.
    pub slots: Vec<(usize, usize)>,
    pub listed: Vec<usize>,
    /// When the newest change of the set has arrived.
    pub set_by: Micros,
    pub turn: usize,
    pub requests: Vec<Request>,
    pub under_way: usize,
    pub client: Client,
    pub recorder: Recorder,
    pub truth: Truth,
    pub injections: Injections,
    /// How many instances there are to be.
    pub replicas: usize,
    pub rolling: Rolling,
    pub monitor: Monitor,
    pub meters: Meters,
}

impl<'a> Engine<'a> {
    pub fn new(world: &'a World) -> Self {
        let mut dice = Dice::new(world.seed, 1);
        // The zero of the clock is not the zero of traffic.
        let start = 2 * S + dice.whole(0, 2 * S);
        let flow = &world.scenario.traffic[0];
        let client = Client::new(flow, &world.generator, start);
        let steps = client.steps.clone();
        Self {
            world,
            now: 0,
            start,
            schedule_end: start + micros(world.scenario.duration()),
            heap: BinaryHeap::new(),
            sequence: 0,
            cast: Vec::new(),
            slots: Vec::new(),
            listed: Vec::new(),
            set_by: 0,
            turn: 0,
            requests: Vec::new(),
            under_way: 0,
            client,
            recorder: Recorder::new(start, &flow.name, steps),
            truth: Truth {
                start_us: start,
                ..Truth::default()
            },
            injections: Injections::default(),
            replicas: instances(&world.scenario.target),
            rolling: Rolling::default(),
            monitor: Monitor::default(),
            meters: Meters::new(),
            dice,
        }
    }

    pub fn after(&mut self, delay: Micros, next: Next) {
        self.sequence += 1;
        self.heap
            .push(Reverse((self.now + delay, self.sequence, next)));
    }

    pub fn at(&mut self, time: Micros, next: Next) {
        self.after(time.saturating_sub(self.now), next);
    }

    pub fn run(mut self) -> (Record, Truth) {
        for slot in 0..self.replicas {
            self.begin(slot);
        }
        self.now = S;
        self.tell_of_workload();
        self.now = self.start;
        self.plan();
        let due = arrivals(&self.world.scenario.traffic[0], &mut self.dice);
        let start = self.start;
        let mut due = due.into_iter().map(move |at| start + at).peekable();
        let grace = self.world.scenario.run.graceful_stop.map_or(10 * S, micros);
        loop {
            let next = self.heap.peek().map(|Reverse((at, ..))| *at);
            match (due.peek().copied(), next) {
                (Some(arrival), next) if next.is_none_or(|at| arrival <= at) => {
                    due.next();
                    self.now = arrival;
                    self.arrive();
                }
                (arrival, Some(at)) => {
                    let over = arrival.is_none() && at >= self.schedule_end;
                    if over && (self.under_way == 0 || at > self.schedule_end + grace) {
                        break;
                    }
                    let Some(Reverse((at, _, next))) = self.heap.pop() else {
                        break;
                    };
                    self.now = at;
                    self.happen(next);
                }
                (_, None) => break,
            }
        }
        self.finish(grace)
    }

    /// What the world and the scenario hold in store.
    fn plan(&mut self) {
        let world = self.world;
        for (index, fault) in world.scenario.faults.iter().enumerate() {
            let every = fault.every.map_or(Micros::MAX, micros);
            let mut at = self.start + micros(fault.at);
            for _ in 0..fault.times.unwrap_or(u32::MAX) {
                if at >= self.schedule_end {
                    break;
                }
                self.at(at, Next::Inject(index));
                at = at.saturating_add(every);
            }
        }
        for (index, (at, _)) in world.crashes.iter().enumerate() {
            self.at(self.start + seconds(*at), Next::Crash(index));
        }
        for (index, (at, _)) in world.scaled.iter().enumerate() {
            self.at(self.start + seconds(*at), Next::Scale(index));
        }
        if let Some((at, _)) = world.rollout {
            self.at(self.start + seconds(at), Next::Roll(0));
        }
        self.at(self.start + S / 2, Next::Tick);
        self.at(self.start, Next::Look);
        if self.client.closed {
            for place in 0..self.client.places.len() {
                let at = self.start + self.dice.whole(0, S);
                self.at(at, Next::Begin(place));
            }
        }
    }

    fn finish(mut self, grace: Micros) -> (Record, Truth) {
        let mut stop = self.schedule_end;
        if self.under_way > 0 {
            stop = self.schedule_end + grace;
            self.now = stop - 1;
            for id in 0..self.requests.len() {
                if !self.requests[id].ended {
                    self.requests[id].fate = Some(Fate::Broken(Outcome::Unfinished));
                    self.end(id);
                }
            }
        } else {
            stop = stop.max(self.now);
        }
        self.now = stop;
        self.stop_looking();
        self.undo_rest();
        let record = self
            .recorder
            .finish(&self.world.scenario, self.schedule_end, stop);
        (record, self.truth)
    }

    fn happen(&mut self, next: Next) {
        match next {
            Next::Send(id) => self.send(id),
            Next::End(id, version) => {
                if self.requests[id].version == version && !self.requests[id].ended {
                    self.end(id);
                }
            }
            Next::Begin(place) => {
                if self.now < self.schedule_end {
                    self.client.places[place].busy = true;
                    self.client.busy += 1;
                    self.request(0, self.now, place);
                }
            }
            Next::Start(slot) => self.start_in(slot),
            Next::Ready(one) => self.ready(one),
            Next::List(one, listed) => self.list(one, listed),
            Next::Follow(one, followed) => self.follow(one, followed),
            Next::FoundOut(one) => self.found_out(one),
            Next::Die(one) => self.die(one),
            Next::Inject(spec) => self.inject(spec),
            Next::Undo(injection) => self.undo(injection),
            Next::Crash(index) => {
                let slot = self.world.crashes[index].1;
                self.die(self.slots[slot].0);
            }
            Next::Scale(index) => self.scale(self.world.scaled[index].1),
            Next::Roll(slot) => {
                if slot < self.slots.len() {
                    self.terminate(self.slots[slot].0);
                    let pause = self.world.rollout.map_or(0, |(_, pause)| seconds(pause));
                    self.after(pause, Next::Roll(slot + 1));
                }
            }
            Next::Reconcile => self.reconcile(),
            Next::Tick => self.tick(),
            Next::Look => self.look(),
        }
    }

    /// What an instance's state is from now on, as the platform tells it a moment later.
    pub fn tell(&mut self, one: usize, state: InstanceState, later: Micros) {
        let instance = &self.cast[one];
        let event = InstanceEvent {
            name: instance.name.clone(),
            slot: self.slot_name(instance.slot),
            state,
            detail: None,
        };
        self.recorder.event(self.now + later, What::Instance(event));
    }

    fn tick(&mut self) {
        for one in 0..self.cast.len() {
            if self.cast[one].dead {
                continue;
            }
            let usage = What::Usage {
                instance: self.cast[one].name.clone(),
                cpu_millicores: self.cast[one].cpu_millicores(),
                memory_bytes: self.cast[one].memory(),
            };
            self.recorder.event(self.now, usage);
            self.use_up(one);
            if self.cast[one].dead {
                continue;
            }
            let instance = &mut self.cast[one];
            if instance
                .service
                .leak
                .is_some_and(|l| instance.memory() > l.limit)
            {
                self.die(one);
                continue;
            }
            let Some(probe) = instance.service.liveness else {
                continue;
            };
            let late = instance.wait_us(self.now) > probe.timeout_us;
            instance.probes_failed = if late { instance.probes_failed + 1 } else { 0 };
            if instance.probes_failed >= probe.failures {
                self.die(one);
            }
        }
        self.after(S, Next::Tick);
    }

    /// Names of instances by place, for those who look for one.
    pub fn slot_name(&self, slot: usize) -> String {
        format!("{}-{}", service_name(&self.world.scenario.target), slot + 1)
    }
}

pub fn service_name(target: &Target) -> &str {
    match target {
        Target::Local(local) => &local.name,
        Target::Kubernetes(cluster) => &cluster.service,
        Target::Url(_) => "service",
    }
}

/// How many instances there are at the start. A cluster is not asked by the scenario: it has three.
fn instances(target: &Target) -> usize {
    match target {
        Target::Local(local) => local.instances as usize,
        _ => 3,
    }
}
