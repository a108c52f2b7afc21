//! Requests on their way: to whom they go, how they end, and what is told of it.

use squall::record::{Micros, Outcome};
use squall::scenario::ConnectionMode;

use super::cast::Answer;
use super::client::{Connection, Fate, Request, think};
use super::engine::{Engine, Next};
use super::recorder::Ending;
use super::{MS, Policy};

impl Engine<'_> {
    pub fn arrive(&mut self) {
        if self.client.busy >= self.client.max_in_flight {
            return self.recorder.dropped(self.now, 0);
        }
        match self.client.place(&mut self.dice) {
            Some(place) => {
                self.client.places[place].busy = true;
                self.client.busy += 1;
                self.request(0, self.now, place);
            }
            None => {
                self.recorder.due(self.now, 0);
                self.client.waiting.push_back(self.now);
            }
        }
    }

    /// A request that is due at a time (now, but for one that has waited for a connection).
    pub fn request(&mut self, step: usize, due: Micros, place: usize) {
        let (sent, busy) = self.client.send_at(self.now, &mut self.dice);
        if due == self.now {
            self.recorder.due(due, step);
        }
        self.recorder
            .sent(sent, sent - self.now, self.client.places.len(), busy);
        self.requests.push(Request {
            step,
            due,
            sent,
            place,
            at: None,
            version: 0,
            ended: false,
            fate: None,
            deadline: sent + self.client.timeout,
        });
        self.under_way += 1;
        let id = self.requests.len() - 1;
        self.at(sent, Next::Send(id));
    }

    pub fn send(&mut self, id: usize) {
        let place = self.requests[id].place;
        let kept = self.client.places[place]
            .connection
            .filter(|c| self.usable(c));
        if let Some(connection) = kept {
            // With a proxy in between the connection says nothing of the instance.
            let to = match self.world.balancer.by_request {
                true => self.choose(),
                false => Some(connection.to),
            };
            return self.deliver(id, to, false);
        }
        if !self.client.open(self.now) {
            return self.break_off(id, 50, Outcome::Local);
        }
        self.recorder.connection(self.now, self.requests[id].step);
        let to = self.choose();
        self.client.places[place].connection = Some(Connection {
            to: to.unwrap_or(usize::MAX),
            last: None,
            opened: self.now,
        });
        self.deliver(id, to, true);
    }

    /// Whether a kept connection can be used again. The end of one whose instance has gone was seen before.
    fn usable(&self, connection: &Connection) -> bool {
        if self.client.mode == ConnectionMode::PerRequest {
            return false;
        }
        let old = self
            .client
            .max_age
            .is_some_and(|age| connection.opened + age <= self.now);
        let gone = !self.world.balancer.by_request
            && self
                .cast
                .get(connection.to)
                .is_none_or(|i| i.dead || i.leaving || !i.listens);
        !old && !gone
    }

    fn deliver(&mut self, id: usize, to: Option<usize>, new: bool) {
        let mut to = to;
        let mut tries = self.world.balancer.retries;
        let mut late = 0;
        loop {
            let Some(one) = to else {
                return self.refuse(id, late);
            };
            let there = &self.cast[one];
            let fresh = new || self.world.balancer.by_request;
            if there.listens && !there.dead {
                break;
            }
            if !fresh || tries == 0 {
                return self.refuse(id, late);
            }
            (to, tries, late) = (self.choose(), tries - 1, late + 2 * MS);
        }
        let one = to.unwrap_or(usize::MAX);
        if new && self.cast[one].reset > 0.0 && self.dice.chance(self.cast[one].reset) {
            return self.break_off(id, 300, Outcome::Reset);
        }
        let swallowed = new && self.dice.chance(self.cast[one].dropped);
        let closes = self.cast[one].service.closes_idle;
        if !new && self.dice.chance(closes) {
            return self.break_off(id, 200, Outcome::Closed);
        }
        let deadline = self.requests[id].deadline;
        self.requests[id].at = Some(one);
        self.cast[one].in_flight.push(id);
        if self.client.places[self.requests[id].place]
            .connection
            .is_some_and(|c| c.to != one)
            && let Some(connection) = &mut self.client.places[self.requests[id].place].connection
        {
            connection.to = one;
        }
        if self.cast[one].hung || swallowed {
            self.requests[id].fate = None;
            return self.plan_end(id, deadline);
        }
        let (done, answer) =
            self.cast[one].serve(self.now + late, self.requests[id].step, &mut self.dice);
        self.requests[id].fate = Some(Fate::Answered(answer));
        let done = done + self.cast[one].delay_us;
        self.plan_end(id, done);
    }

    /// Nobody takes it: the connection is refused, or the proxy says so.
    fn refuse(&mut self, id: usize, late: Micros) {
        if self.world.balancer.by_request {
            self.requests[id].fate = Some(Fate::Proxy(503));
            return self.plan_end(id, self.now + late + 500);
        }
        self.break_off(id, late + 300, Outcome::Refused);
    }

    fn break_off(&mut self, id: usize, delay: Micros, outcome: Outcome) {
        self.requests[id].fate = Some(Fate::Broken(outcome));
        self.plan_end(id, self.now + delay);
    }

    fn plan_end(&mut self, id: usize, at: Micros) {
        let request = &mut self.requests[id];
        request.version += 1;
        let (at, version) = (at.min(request.deadline), request.version);
        self.at(at, Next::End(id, version));
    }

    /// All that is under way at an instance, again: it has died, or goes on after it has hung.
    pub fn again(&mut self, one: usize, died: bool) {
        for id in self.cast[one].in_flight.clone() {
            if died {
                let outcome = match self.dice.chance(0.5) {
                    true => Outcome::Reset,
                    false => Outcome::Closed,
                };
                self.break_off(id, 200, outcome);
            } else {
                let step = self.requests[id].step;
                let (done, answer) = self.cast[one].serve(self.now, step, &mut self.dice);
                self.requests[id].fate = Some(Fate::Answered(answer));
                self.plan_end(id, done);
            }
        }
    }

    /// What is under way at an instance that hangs from now on gets no answer for the time being.
    pub fn hang(&mut self, one: usize) {
        for id in self.cast[one].in_flight.clone() {
            self.requests[id].fate = None;
            self.plan_end(id, Micros::MAX / 2);
        }
    }

    pub fn end(&mut self, id: usize) {
        let request = self.requests[id].clone();
        self.requests[id].ended = true;
        self.under_way -= 1;
        let timed_out = self.now >= request.deadline;
        let (outcome, status) = match request.fate {
            Some(Fate::Broken(outcome)) => (outcome, None),
            _ if timed_out => (Outcome::Timeout, None),
            Some(Fate::Answered(Answer::Good)) => (Outcome::Ok, Some(200)),
            Some(Fate::Answered(Answer::Empty)) => (Outcome::Check, Some(200)),
            Some(Fate::Answered(Answer::Status(status)) | Fate::Proxy(status)) => {
                (Outcome::Status, Some(status))
            }
            None => (Outcome::Timeout, None),
        };
        let place = &mut self.client.places[request.place];
        let last = place.connection.and_then(|c| c.last);
        let by_proxy = matches!(request.fate, Some(Fate::Proxy(_)));
        let served = match status {
            Some(_) if by_proxy => None,
            Some(_) => request.at,
            None => last,
        };
        match &mut place.connection {
            Some(connection) if status.is_some() => connection.last = served.or(connection.last),
            connection => *connection = None,
        }
        if self.client.mode == ConnectionMode::PerRequest {
            place.connection = None;
        }
        self.recorder.end(Ending {
            step: request.step,
            due: request.due,
            sent: request.sent,
            at: self.now,
            outcome,
            status,
            instance: served.map(|one| self.cast[one].name.as_str()),
            first_of_connection: last.is_none() && status.is_some() && !by_proxy,
            moved: status.is_some() && served.is_some() && last.is_some() && served != last,
        });
        self.note(&request, outcome, last.is_none() && status.is_some());
        if let Some(one) = request.at {
            self.cast[one].left += u64::from(self.cast[one].hung && !self.cast[one].dead);
            self.cast[one].in_flight.retain(|other| *other != id);
            self.check_drained(one);
        }
        let next = request.step + 1;
        if status.is_some() && next < self.client.steps.len() && outcome != Outcome::Unfinished {
            return self.request(next, self.now, request.place);
        }
        self.release(request.place);
    }

    fn note(&mut self, request: &Request, outcome: Outcome, first: bool) {
        self.truth.ended += 1;
        let name = request.at.map(|one| self.cast[one].name.clone());
        if let (true, Some(name)) = (first, &name) {
            *self.truth.connections.entry(name.clone()).or_default() += 1;
        }
        if outcome.failed() {
            *self.truth.failed.entry(name).or_default() += 1;
        }
    }

    pub fn release(&mut self, place: usize) {
        if self.client.closed {
            self.client.places[place].busy = false;
            self.client.busy -= 1;
            let pause = think(&self.world.scenario.traffic[0], &mut self.dice).max(10);
            return self.after(pause, Next::Begin(place));
        }
        match self.client.waiting.pop_front() {
            Some(due) => self.request(0, due, place),
            None => {
                self.client.places[place].busy = false;
                self.client.busy -= 1;
            }
        }
    }

    fn choose(&mut self) -> Option<usize> {
        let set: Vec<usize> = (0..self.cast.len())
            .filter(|i| self.cast[*i].followed)
            .collect();
        if set.is_empty() {
            return None;
        }
        Some(match &self.world.balancer.policy {
            Policy::Random => set[self.dice.below(set.len())],
            Policy::InTurn => {
                self.turn += 1;
                set[self.turn % set.len()]
            }
            Policy::LeastBusy => {
                let (a, b) = (
                    set[self.dice.below(set.len())],
                    set[self.dice.below(set.len())],
                );
                match self.cast[b].in_flight.len() < self.cast[a].in_flight.len() {
                    true => b,
                    false => a,
                }
            }
            Policy::Source => set[self.world.seed as usize % set.len()],
            Policy::Weights(weights) => {
                let weight =
                    |one: &usize| weights.get(&self.cast[*one].slot).copied().unwrap_or(1.0);
                let mut left = self.dice.unit() * set.iter().map(weight).sum::<f64>();
                let chosen = set.iter().find(|one| {
                    left -= weight(one);
                    left < 0.0
                });
                *chosen.or(set.last())?
            }
        })
    }
}
