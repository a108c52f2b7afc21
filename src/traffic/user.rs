//! A user: walks through the journey, sends its requests, judges the responses, counts.
//!
//! What ends a journey early: a request without a response, and a value that could not be extracted, since later steps
//! would make no sense. A response that fails a check does not: the user goes on, as a user would.

use std::rc::Rc;

use rand_pcg::Pcg64;

use super::check::Finding;
use super::feeder::mix;
use super::journey::{CompiledFlow, Op, think_time};
use super::meter::{End, InstanceId};
use super::reply::{Failure, Reply, SAMPLE_BYTES};
use super::shared::{InFlight, Shared, Slot};
use super::text::Scope;
use super::timer::Alarm;
use super::transport::{Link, Order};
use super::worker::after_others;
use crate::record::{Micros, Outcome};
use crate::scenario::{Load, Think};

/// A walk through a journey: where it is, and when its next request is due.
pub struct Walk {
    rng: Pcg64,
    pc: Option<usize>,
    intended: Micros,
    /// The next request has been counted as due.
    counted: bool,
    /// The intended start was set by a clock, and not by the end of the request before.
    timed: bool,
}

impl Walk {
    /// The first request, if it has been counted as due: its step among all steps, and its intended start.
    pub fn counted(&self, flow: &CompiledFlow) -> Option<(usize, Micros)> {
        match flow.program.get(self.pc?)? {
            Op::Step(step) if self.counted => Some((flow.steps[*step].index, self.intended)),
            _ => None,
        }
    }

    /// The walk of an arrival, before its first step. Where the journey begins with a request, it is due now, whenever
    /// its user gets to run.
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
            timed: true,
        }
    }
}

/// The generator of one journey of a flow.
pub fn journey_rng(seed: u64, flow: usize, number: u64) -> Pcg64 {
    let seed = mix(mix(seed, flow as u64), number);
    Pcg64::new(u128::from(seed) << 64 | u128::from(number), flow as u128)
}

/// Who served a request, and what that says of its connection.
#[derive(Default)]
struct Served {
    instance: Option<InstanceId>,
    first_of_connection: bool,
    moved: bool,
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
    /// Whether a clock decides that.
    pub timed: bool,
    /// Whether it made a request or paused at all.
    pub took_time: bool,
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

    /// Its worker, and its place there.
    pub fn place(&self) -> (Rc<Shared>, Rc<Slot>) {
        (self.shared.clone(), self.slot.clone())
    }

    /// Walks through the journey once more, as a closed user does.
    pub async fn again(&mut self, intended: Micros, timed: bool, until: Micros) -> JourneyEnd {
        let flow = &self.slot.run.flow;
        // Unique in the flow, so that a user's choices depend on nothing but the seed.
        let number = self.number << 32 | (self.iteration & 0xffff_ffff);
        let mut rng = journey_rng(self.shared.plan.seed, flow.index, number);
        let mut walk = Walk {
            pc: flow.advance(0, &mut rng),
            rng,
            intended,
            counted: false,
            timed,
        };
        let took_time = self.journey(&mut walk, until).await;
        JourneyEnd {
            next: walk.intended,
            timed: walk.timed,
            took_time,
        }
    }

    /// Walks through the journey once. No request becomes due from `until` on. Tells whether any was made, or a pause.
    ///
    /// What a request needs is handed down by reference, here and below: futures within futures are moved, with all that
    /// they hold, each time one begins.
    pub async fn journey(&mut self, walk: &mut Walk, until: Micros) -> bool {
        let slot = self.slot.clone();
        let flow = &slot.run.flow;
        self.iteration += 1;
        let mut took_time = false;
        while let Some(at) = walk.pc {
            match &flow.program[at] {
                Op::Step(step) => {
                    // Where no clock decides, the request is due at the very end of the one before.
                    let now = (!walk.timed).then_some(walk.intended);
                    if !std::mem::take(&mut walk.counted) && !self.due(*step, now, until) {
                        break;
                    }
                    took_time = true;
                    if walk.timed {
                        self.dispatched(walk.intended);
                    }
                    let go_on = self.step(*step, walk).await;
                    // Think time follows every request, whatever became of it.
                    let think = think_time(&self.think, &mut walk.rng);
                    walk.intended += think;
                    walk.timed = think > 0;
                    if think > 0 && !self.pause(walk.intended, until).await {
                        break;
                    }
                    if !go_on {
                        // One that fails at once (no port left, a path that is none) has waited for nothing: a user
                        // that goes on and on like that must not keep the worker from everybody else.
                        tokio::task::yield_now().await;
                        break;
                    }
                }
                Op::Think(think) => {
                    took_time = true;
                    walk.intended += think_time(think, &mut walk.rng);
                    walk.timed = true;
                    if !self.pause(walk.intended, until).await {
                        break;
                    }
                }
                Op::Choose(_) | Op::Jump(_) => {}
            }
            walk.pc = flow.advance(at + 1, &mut walk.rng);
        }
        took_time
    }

    /// Waits; false when nothing more is due.
    async fn pause(&self, at: Micros, until: Micros) -> bool {
        self.shared.timer.until(&self.alarm, at.min(until)).await && at < until
    }

    /// Counts a request as due now, if requests may still be. `now` spares a look at the clock.
    fn due(&self, step: usize, now: Option<Micros>, until: Micros) -> bool {
        let now = now.unwrap_or_else(|| self.shared.clock.now());
        if now >= until || self.slot.run.over.get() {
            return false;
        }
        self.shared.roll(now);
        let step = self.slot.run.flow.steps[step].index;
        self.shared.count(|second| second.due(step));
        true
    }

    /// Records how late a request is that a clock had decided on.
    fn dispatched(&self, intended: Micros) {
        let lag = self.shared.clock.now().saturating_sub(intended);
        self.shared.count(|second| second.dispatched(lag));
    }

    /// Makes one request that is due; what follows it begins at its end. Tells whether the journey can go on.
    async fn step(&mut self, index: usize, walk: &mut Walk) -> bool {
        let slot = self.slot.clone();
        let step = &slot.run.flow.steps[index];
        let request = InFlight {
            step: index,
            intended: walk.intended,
            rng: walk.rng.clone(),
            user: self.number,
            iteration: self.iteration,
        };
        self.slot.progress.started.set(0);
        *self.slot.in_flight.borrow_mut() = Some(request);
        if !walk.timed {
            after_others().await;
        }
        self.reply.clear(
            match (step.expected.needs_body(), step.expected.beyond_status()) {
                (true, _) => usize::MAX,
                (false, true) => SAMPLE_BYTES,
                (false, false) => 0,
            },
        );
        let mut order = Order {
            step,
            values: &self.slot.values,
            user: self.number,
            iteration: self.iteration,
            rng: &mut walk.rng,
            progress: &self.slot.progress,
            reply: &mut self.reply,
        };
        let result = self.link.send(&mut order).await;
        // A transport that has just looked at the clock spares another look.
        let at = match self.reply.ended {
            0 => self.shared.clock.now(),
            ended => ended,
        };
        self.shared.roll(at);
        let go_on = self.finish(index, walk, at, result);
        walk.intended = at;
        self.reply.put_down();
        go_on
    }

    /// Judges and counts a request that has ended.
    fn finish(
        &mut self,
        index: usize,
        walk: &mut Walk,
        at: Micros,
        result: Result<(), Failure>,
    ) -> bool {
        let slot = self.slot.clone();
        let step = &slot.run.flow.steps[index];
        let intended = walk.intended;
        let response = at.saturating_sub(intended);
        let (outcome, finding, go_on) = match &result {
            Err(failure) => (failure.outcome, Finding::Good, false),
            Ok(()) => {
                let (finding, missing) = self.judge(index, response, &mut walk.rng);
                let outcome = match finding {
                    Finding::Good => Outcome::Ok,
                    Finding::Status => Outcome::Status,
                    Finding::Check(_) | Finding::Missing(_) => Outcome::Check,
                };
                (outcome, finding, !missing)
            }
        };
        let Served {
            instance,
            first_of_connection,
            moved,
        } = self.served();
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
            moved,
        };
        self.shared.count(|second| second.ended(&end, &self.reply));
        if outcome.failed() && self.shared.first_of_kind(step.index, outcome) {
            let error = match &result {
                Err(failure) => failure.cause.describe(),
                Ok(()) => step.expected.describe(finding, &self.reply),
            };
            if let Some(request) = &*self.slot.in_flight.borrow() {
                super::sample::emit(&self.shared, &self.slot, request, &end, &self.reply, &error);
            }
        }
        *self.slot.in_flight.borrow_mut() = None;
        go_on
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

    /// Who served the request. One without a response is put down to the instance that answered on its connection
    /// before.
    fn served(&self) -> Served {
        let memory = self.slot.progress.memory.borrow();
        let Some(memory) = memory
            .as_ref()
            .filter(|_| self.slot.progress.started.get() > 0)
        else {
            return Served::default();
        };
        let before = memory.last.get();
        if self.reply.status == 0 {
            return Served {
                instance: self.shared.instance_of(memory),
                ..Served::default()
            };
        }
        let named = match self.reply.header(&self.shared.plan.instance_header) {
            Some(name) => Some(self.shared.instance_named(name, before)),
            None => self.shared.routed(memory),
        };
        memory.last.set(named);
        let first = memory.fresh.replace(false);
        Served {
            instance: named,
            first_of_connection: first && named.is_some(),
            moved: named.is_some() && before.is_some() && named != before,
        }
    }
}
