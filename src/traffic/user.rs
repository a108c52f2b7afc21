//! A user: walks through the journey, sends its requests, judges the responses, counts.
//!
//! What ends a journey early: a request without a response, and a value that could not be extracted, since later steps
//! would make no sense. A response that fails a check does not: the user goes on, as a user would.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use rand_pcg::Pcg64;

use super::check::Finding;
use super::feeder::mix;
use super::journey::{CompiledFlow, Op, think_time};
use super::meter::{End, InstanceId};
use super::reply::{Failure, Reply, SAMPLE_BYTES};
use super::text::Scope;
use super::timer::Alarm;
use super::transport::{Link, Order};
use super::users::{Stay, peak, stays};
use super::worker::{FlowRun, InFlight, Shared, Slot};
use crate::record::{Micros, Outcome, Sample, What};
use crate::scenario::{ClosedLoad, Load, Think};

/// How a journey begins.
pub struct Start {
    rng: Pcg64,
    pc: Option<usize>,
    intended: Micros,
    /// The first request has been counted as due.
    counted: bool,
}

impl Start {
    /// The start of an arrival's journey. Where the journey begins with a request, it is due now, whenever its user
    /// gets to run.
    pub fn new(flow: &CompiledFlow, mut rng: Pcg64, intended: Micros, shared: &Rc<Shared>) -> Self {
        let pc = flow.advance(0, &mut rng);
        let first = pc.and_then(|pc| match &flow.program[pc] {
            Op::Step(step) => Some(flow.steps[*step].index),
            _ => None,
        });
        if let Some(step) = first {
            shared.count(|second| second.due(step));
        }
        Self {
            rng,
            pc,
            intended,
            counted: first.is_some(),
        }
    }
}

/// One user.
pub struct User {
    shared: Rc<Shared>,
    slot: Rc<Slot>,
    link: Link,
    number: u64,
    iteration: u64,
    reply: Reply,
    alarm: Alarm,
    think: Think,
}

/// How a journey ended.
pub struct JourneyEnd {
    /// When the next one may begin.
    pub next: Micros,
    /// Whether it made a request or paused at all.
    pub took_time: bool,
}

/// How a request ended, as far as the journey is concerned.
struct StepEnd {
    at: Micros,
    go_on: bool,
}

impl User {
    /// A user at a place.
    pub fn new(shared: Rc<Shared>, slot: Rc<Slot>, link: Link, number: u64) -> Self {
        let think = match &slot.run.flow.spec.load {
            Load::Closed(closed) => closed.think,
            Load::Open(_) => Think::None,
        };
        let (reply, alarm) = (Reply::default(), Alarm::default());
        Self {
            shared,
            slot,
            link,
            number,
            iteration: 0,
            reply,
            alarm,
            think,
        }
    }

    /// Walks through the journey once. No request becomes due from `until` on.
    pub async fn journey(&mut self, start: Start, until: Micros) -> JourneyEnd {
        let flow = self.slot.run.flow.clone();
        let Start {
            mut rng,
            pc,
            mut intended,
            mut counted,
        } = start;
        self.iteration += 1;
        let mut took_time = false;
        let mut pc = pc;
        while let Some(at) = pc {
            match &flow.program[at] {
                Op::Step(step) => {
                    if !counted && !self.due(*step, until) {
                        break;
                    }
                    counted = false;
                    took_time = true;
                    let end = self.step(*step, intended, &mut rng).await;
                    intended = end.at;
                    // Think time follows every request, whatever became of it.
                    let think = think_time(&self.think, &mut rng);
                    intended += think;
                    if think > 0 && !self.pause(intended, until).await || !end.go_on {
                        break;
                    }
                }
                Op::Think(think) => {
                    took_time = true;
                    intended += think_time(think, &mut rng);
                    if !self.pause(intended, until).await {
                        break;
                    }
                }
                Op::Choose(_) | Op::Jump(_) => {}
            }
            pc = flow.advance(at + 1, &mut rng);
        }
        JourneyEnd {
            next: intended,
            took_time,
        }
    }

    /// Waits; false when nothing more is due.
    async fn pause(&self, at: Micros, until: Micros) -> bool {
        self.shared.timer.until(&self.alarm, at.min(until)).await && at < until
    }

    /// Counts a request as due now, if requests may still be.
    fn due(&self, step: usize, until: Micros) -> bool {
        let now = self.shared.clock.now();
        if now >= until || self.slot.run.over.get() {
            return false;
        }
        self.shared.roll(now);
        let step = self.slot.run.flow.steps[step].index;
        self.shared.count(|second| second.due(step));
        true
    }

    /// Makes one request that is due.
    async fn step(&mut self, index: usize, intended: Micros, rng: &mut Pcg64) -> StepEnd {
        let flow = self.slot.run.flow.clone();
        let step = &flow.steps[index];
        let now = self.shared.clock.now();
        self.shared
            .count(|second| second.dispatched(now.saturating_sub(intended)));
        let request = InFlight {
            step: index,
            intended,
            rng: rng.clone(),
            user: self.number,
            iteration: self.iteration,
        };
        self.slot.progress.started.set(0);
        *self.slot.in_flight.borrow_mut() = Some(request);
        self.reply.clear(
            match (step.expected.needs_body(), step.expected.beyond_status()) {
                (true, _) => usize::MAX,
                (false, true) => SAMPLE_BYTES,
                (false, false) => 0,
            },
        );
        let order = Order {
            step,
            values: &self.slot.values,
            user: self.number,
            iteration: self.iteration,
            rng,
        };
        let result = self
            .link
            .send(order, &self.slot.progress, &mut self.reply)
            .await;
        let at = self.shared.clock.now();
        self.shared.roll(at);
        self.finish(index, intended, at, result, rng)
    }

    /// Judges and counts a request that has ended.
    fn finish(
        &mut self,
        index: usize,
        intended: Micros,
        at: Micros,
        result: Result<(), Failure>,
        rng: &mut Pcg64,
    ) -> StepEnd {
        let flow = self.slot.run.flow.clone();
        let step = &flow.steps[index];
        let response = at.saturating_sub(intended);
        let (outcome, finding, go_on) = match &result {
            Err(failure) => (failure.outcome, Finding::Good, false),
            Ok(()) => {
                let (finding, missing) = self.judge(index, response, rng);
                let outcome = match finding {
                    Finding::Good => Outcome::Ok,
                    Finding::Status => Outcome::Status,
                    Finding::Check(_) | Finding::Missing(_) => Outcome::Check,
                };
                (outcome, finding, !missing)
            }
        };
        let (instance, first_of_connection) = self.instance();
        let sent = if self.reply.sent > 0 {
            self.reply.sent
        } else {
            at
        };
        let end = End {
            step: step.index,
            outcome,
            intended,
            sent,
            at,
            instance,
            first_of_connection,
        };
        self.shared.count(|second| second.ended(end, &self.reply));
        let request = self.slot.in_flight.borrow_mut().take();
        if outcome.failed() && self.shared.first_of_kind(step.index, outcome) {
            let error = match &result {
                Err(failure) => failure.cause.describe(),
                Ok(()) => step.expected.describe(finding, &self.reply),
            };
            if let Some(request) = request {
                emit_sample(
                    &self.shared,
                    &self.slot,
                    &request,
                    &end,
                    &self.reply,
                    &error,
                );
            }
        }
        StepEnd { at, go_on }
    }

    /// Checks an answered request and takes its values; tells whether one is missing.
    fn judge(&mut self, index: usize, response: Micros, rng: &mut Pcg64) -> (Finding, bool) {
        let expected = &self.slot.run.flow.steps[index].expected;
        let mut values = self.slot.values.borrow_mut();
        let (user, iteration) = (self.number, self.iteration);
        let mut scope = Scope {
            values: &values,
            user,
            iteration,
            rng,
        };
        let (finding, parsed) = expected.judge(&self.reply, response, &mut scope);
        let missing = expected.extract(&self.reply, parsed, &mut values, user, iteration, rng);
        match (finding, missing) {
            (Finding::Good, Some(missing)) => (Finding::Missing(missing), true),
            (finding, missing) => (finding, missing.is_some()),
        }
    }

    /// Who served the request, and whether that was the first response on its connection. A request without a
    /// response is put down to the instance that answered on its connection before.
    fn instance(&self) -> (Option<InstanceId>, bool) {
        let memory = self.slot.progress.memory.borrow();
        let Some(memory) = memory
            .as_ref()
            .filter(|_| self.slot.progress.started.get() > 0)
        else {
            return (None, false);
        };
        if self.reply.status == 0 {
            return (memory.last.get(), false);
        }
        let named = self
            .reply
            .header_all(&self.shared.plan.instance_header)
            .next();
        let named = named.map(|name| {
            self.shared
                .instances
                .borrow_mut()
                .id(name, memory.last.get())
        });
        memory.last.set(named);
        let first = memory.fresh.replace(false);
        (named, first && named.is_some())
    }
}

/// Records a failed request as it was.
pub fn emit_sample(
    shared: &Shared,
    slot: &Slot,
    request: &InFlight,
    end: &End,
    reply: &Reply,
    error: &str,
) {
    let flow = &slot.run.flow;
    let step = &flow.steps[request.step];
    let mask = &shared.plan.mask;
    let values = slot.values.borrow();
    let mut rng = request.rng.clone();
    let mut scope = Scope {
        values: &values,
        user: request.user,
        iteration: request.iteration,
        rng: &mut rng,
    };
    let line = step.request.describe(&shared.plan.origin, &mut scope);
    let cut = |text: &str| mask.apply_cut(text, SAMPLE_BYTES, false);
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (
            name.to_string(),
            cut(&String::from_utf8_lossy(value.as_bytes())),
        )
    };
    let headers: BTreeMap<_, _> = reply.headers.iter().map(header).collect();
    let body_was_cut = (reply.body.len() as u64) < reply.body_bytes;
    let body = String::from_utf8_lossy(&reply.body);
    let body = Some(mask.apply_cut(&body, SAMPLE_BYTES, body_was_cut)).filter(|b| !b.is_empty());
    let sample = Sample {
        flow: flow.name.clone(),
        step: step.name.clone(),
        outcome: end.outcome,
        instance: end
            .instance
            .map(|id| cut(shared.instances.borrow().name(id))),
        request: cut(&line),
        error: cut(error),
        status: (reply.status > 0).then_some(reply.status),
        headers,
        body,
    };
    shared.plan.sink.emit_at(end.at, What::Sample(sample));
}

/// The users of a closed flow that one worker has.
pub fn user_numbers(shard: usize, shards: usize, load: &ClosedLoad) -> impl Iterator<Item = usize> {
    (shard..peak(&load.stages) as usize).step_by(shards)
}

/// Starts the users of a closed flow that this worker has.
pub fn launch_closed(shared: &Rc<Shared>, run: &Rc<FlowRun>, load: &ClosedLoad) {
    // The flow lasts as long as its schedule, also while nobody is there.
    let live = shared.live();
    let (keeper, own) = (shared.clone(), run.clone());
    tokio::task::spawn_local(async move {
        let _live = live;
        let alarm = Alarm::default();
        // A flow whose data is used up ends before its time.
        while !own.over.get() && keeper.clock.now() < own.end {
            let look = keeper.clock.now() + 100_000;
            if !keeper.timer.until(&alarm, look.min(own.end)).await {
                return;
            }
        }
    });
    let links = run.links.take();
    for (link, number) in links
        .into_iter()
        .zip(user_numbers(run.shard, run.flow.shards, load))
    {
        let user = User::new(shared.clone(), shared.seat(run), link, number as u64 + 1);
        let stays = stays(&load.stages, number as u32);
        tokio::task::spawn_local(live_through(user, stays, shared.live()));
    }
}

/// A closed user's life: it comes, goes through the journey over and over, and leaves.
async fn live_through(mut user: User, stays: Vec<Stay>, _live: super::worker::Live) {
    let (shared, slot) = (user.shared.clone(), user.slot.clone());
    let run = &slot.run;
    for stay in stays {
        let at = |seconds: f64| run.start + (seconds * 1e6) as Micros;
        let until = at(stay.until).min(run.end);
        if !shared.timer.until(&user.alarm, at(stay.from)).await {
            return;
        }
        let present = Present::enter(&shared.users);
        let mut intended = at(stay.from);
        while shared.clock.now() < until && !run.over.get() {
            if !shared.begin_journey(run, &mut slot.values.borrow_mut()) {
                return;
            }
            let number = user.number << 32 | (user.iteration & 0xffff_ffff);
            let seed = mix(mix(shared.plan.seed, run.flow.index as u64), number);
            let mut rng = Pcg64::new(
                u128::from(seed) << 64 | u128::from(number),
                run.flow.index as u128,
            );
            let pc = run.flow.advance(0, &mut rng);
            let end = user
                .journey(
                    Start {
                        rng,
                        pc,
                        intended,
                        counted: false,
                    },
                    until,
                )
                .await;
            intended = end.next;
            if !end.took_time {
                // A branch with nothing in it must not keep the worker from everybody else.
                intended = shared.clock.now() + 1000;
                shared.timer.until(&user.alarm, intended).await;
            }
        }
        drop(present);
    }
}

/// Counts a user as there while it lives.
struct Present<'a>(&'a Cell<u64>);

impl<'a> Present<'a> {
    fn enter(users: &'a Cell<u64>) -> Self {
        users.set(users.get() + 1);
        Self(users)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
