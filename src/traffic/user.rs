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
use crate::record::{Micros, Outcome};
use crate::scenario::{Load, Think};

/// How a journey begins.
pub struct Start {
    rng: Pcg64,
    pc: Option<usize>,
    intended: Micros,
    /// The first request has been counted as due.
    counted: bool,
    /// The intended start was set by a clock, and not by the end of the request before.
    timed: bool,
}

impl Start {
    /// The first request, if it has been counted as due: its step among all steps, and its intended start.
    pub fn counted(&self, flow: &CompiledFlow) -> Option<(usize, Micros)> {
        match flow.program.get(self.pc?)? {
            Op::Step(step) if self.counted => Some((flow.steps[*step].index, self.intended)),
            _ => None,
        }
    }

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
        let start = Start {
            pc: flow.advance(0, &mut rng),
            rng,
            intended,
            counted: false,
            timed,
        };
        self.journey(start, until).await
    }

    /// Walks through the journey once. No request becomes due from `until` on.
    pub async fn journey(&mut self, start: Start, until: Micros) -> JourneyEnd {
        let slot = self.slot.clone();
        let flow = &slot.run.flow;
        let Start {
            mut rng,
            pc,
            mut intended,
            mut counted,
            mut timed,
        } = start;
        self.iteration += 1;
        let mut took_time = false;
        let mut pc = pc;
        while let Some(at) = pc {
            match &flow.program[at] {
                Op::Step(step) => {
                    // Where no clock decides, the request is due at the very end of the one before.
                    let now = (!timed).then_some(intended);
                    if !counted && !self.due(*step, now, until) {
                        break;
                    }
                    counted = false;
                    took_time = true;
                    if timed {
                        self.dispatched(intended);
                    }
                    let end = self.step(*step, intended, &mut rng).await;
                    intended = end.at;
                    // Think time follows every request, whatever became of it.
                    let think = think_time(&self.think, &mut rng);
                    intended += think;
                    timed = think > 0;
                    if think > 0 && !self.pause(intended, until).await {
                        break;
                    }
                    if !end.go_on {
                        // One that fails at once (no port left, a path that is none) has waited for nothing: a user
                        // that goes on and on like that must not keep the worker from everybody else.
                        tokio::task::yield_now().await;
                        break;
                    }
                }
                Op::Think(think) => {
                    took_time = true;
                    intended += think_time(think, &mut rng);
                    timed = true;
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
            timed,
            took_time,
        }
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

    /// Makes one request that is due.
    async fn step(&mut self, index: usize, intended: Micros, rng: &mut Pcg64) -> StepEnd {
        let slot = self.slot.clone();
        let step = &slot.run.flow.steps[index];
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
        // A transport that has just looked at the clock spares another look.
        let at = match self.reply.ended {
            0 => self.shared.clock.now(),
            ended => ended,
        };
        self.shared.roll(at);
        let end = self.finish(index, intended, at, result, rng);
        self.reply.put_down();
        end
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
        let slot = self.slot.clone();
        let step = &slot.run.flow.steps[index];
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
        self.shared.count(|second| second.ended(end, &self.reply));
        let request = self.slot.in_flight.borrow_mut().take();
        if outcome.failed() && self.shared.first_of_kind(step.index, outcome) {
            let error = match &result {
                Err(failure) => failure.cause.describe(),
                Ok(()) => step.expected.describe(finding, &self.reply),
            };
            if let Some(request) = request {
                super::sample::emit(
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
