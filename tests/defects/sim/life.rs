//! The life of instances: starts, ends, and what the balancer is told of it.

use squall::record::{InstanceState, ObjectChange, What};
use squall::scenario::Target;

use super::cast::Instance;
use super::engine::{Engine, Next};
use super::{MS, Micros, OnTerm, S};

impl Engine<'_> {
    /// An instance that is there, and ready, before traffic.
    pub fn begin(&mut self, slot: usize) {
        let one = self.enter(slot);
        self.cast[one].started_us = 0;
        // Warm, and at its best.
        self.cast[one].service.cold = None;
        self.cast[one].service.start_us = 0;
        self.cast[one].followed = true;
        self.cast[one].ready = true;
        self.tell(one, InstanceState::Started, 0);
        self.tell_pod(one, ObjectChange::Present);
        self.tell(one, InstanceState::Ready, S);
        self.listed.push(one);
        self.now = S;
        self.tell_set();
        self.now = 0;
    }

    /// A new process in a place.
    fn enter(&mut self, slot: usize) -> usize {
        let world = self.world;
        let again = self.slots.get(slot).map_or(0, |(_, starts)| *starts);
        let place = self.slot_name(slot);
        let name = match (&world.scenario.target, again) {
            (Target::Kubernetes(_), _) => format!("{place}-{:05x}", self.dice.whole(0, 0xf_ffff)),
            (_, 0) => place,
            (_, n) => format!("{place}-r{n}"),
        };
        let odd = world.odd.get(&slot).cloned();
        let service = match (&world.deployment, &world.later) {
            (Some(deployment), _) if self.rolling.version > 0 => deployment.service.clone(),
            (_, Some(later)) if self.now >= self.start => later.clone(),
            _ => odd.unwrap_or_else(|| world.service.clone()),
        };
        self.truth.instances.push(name.clone());
        if let Some(node) = self.node_of(slot) {
            let (instance, node) = (name.clone(), format!("n{}", node + 1));
            self.recorder
                .event(self.now, What::Placed { instance, node });
        }
        self.cast
            .push(Instance::new(name, slot, service, self.now, &mut self.dice));
        let one = self.cast.len() - 1;
        self.cast[one].version = self.rolling.version;
        match self.slots.get_mut(slot) {
            Some(place) => *place = (one, again + 1),
            None => self.slots.push((one, 1)),
        }
        one
    }

    pub fn start_in(&mut self, slot: usize) {
        let one = self.enter(slot);
        self.tell(one, InstanceState::Started, 0);
        self.tell_pod(one, ObjectChange::Changed);
        let service = &self.cast[one].service;
        let ready = service.says_ready_us.unwrap_or(service.start_us);
        // Probes come every quarter of a second.
        let ready = ready + self.dice.whole(5 * MS, 250 * MS);
        self.after(ready, Next::Ready(one));
    }

    pub fn ready(&mut self, one: usize) {
        if self.cast[one].dead || self.cast[one].leaving || self.cast[one].hung {
            return;
        }
        self.cast[one].found_out = false;
        self.cast[one].ready = true;
        self.tell(one, InstanceState::Ready, 0);
        self.change_set(one, true, 0);
    }

    /// The balancer is told; what it does with that is its own affair.
    fn change_set(&mut self, one: usize, listed: bool, notices: Micros) {
        let balancer = &self.world.balancer;
        if !listed && balancer.keeps_dead {
            return;
        }
        let spreads = balancer.spreads_us;
        let spreads = notices + (spreads as f64 * self.dice.between(0.7, 1.3)) as Micros;
        // One queue: what is told later does not arrive earlier, so that no set is seen that never was.
        let at = (self.now + spreads).max(self.set_by);
        self.set_by = at;
        self.at(at, Next::List(one, listed));
        if listed || !balancer.stale {
            self.at(at + balancer.follows_us, Next::Follow(one, listed));
        }
    }

    pub fn list(&mut self, one: usize, listed: bool) {
        let before = self.listed.clone();
        self.listed.retain(|other| *other != one);
        if listed && !self.cast[one].dead {
            self.listed.push(one);
        }
        if self.listed != before {
            self.tell_set();
        }
    }

    fn tell_set(&mut self) {
        let ready = self.listed.iter().map(|one| self.cast[*one].name.clone());
        let ready = ready.collect();
        let seen = self.now + self.world.balancer.seen_us;
        self.recorder.event(seen, What::Endpoints { ready });
    }

    pub fn follow(&mut self, one: usize, followed: bool) {
        self.cast[one].followed = followed;
        self.check_drained(one);
    }

    /// An instance that has been told to end does so when nothing more comes and all is answered.
    pub fn check_drained(&mut self, one: usize) {
        let instance = &self.cast[one];
        let done = instance.leaving && !instance.dead && instance.in_flight.is_empty();
        let may = match instance.service.on_term {
            OnTerm::Drain => !instance.followed,
            OnTerm::Close => true,
            OnTerm::Exit => false,
        };
        if done && may {
            self.after(3 * MS, Next::Die(one));
        }
    }

    pub fn terminate(&mut self, one: usize) {
        if self.cast[one].dead || self.cast[one].leaving {
            return;
        }
        self.cast[one].leaving = true;
        self.tell(one, InstanceState::Terminating, 0);
        self.change_set(one, false, 0);
        match self.cast[one].service.on_term {
            OnTerm::Drain => {}
            OnTerm::Close => self.cast[one].listens = false,
            OnTerm::Exit => self.after(2 * MS, Next::Die(one)),
        }
        self.check_drained(one);
    }

    pub fn die(&mut self, one: usize) {
        if self.cast[one].dead {
            return;
        }
        let told = self.cast[one].leaving;
        self.cast[one].dead = true;
        self.cast[one].hung = false;
        self.truth
            .died
            .push((self.cast[one].name.clone(), self.now));
        self.again(one, true);
        let notices = self.world.balancer.notices_us;
        self.tell(one, InstanceState::Ended, notices);
        self.tell_pod(one, ObjectChange::Deleted);
        if !told {
            self.change_set(one, false, notices);
        }
        self.stopped(one);
        let slot = self.cast[one].slot;
        if self.slots[slot].0 == one && self.cast[one].service.restarts {
            let backoff = match told {
                true => 5 * MS,
                false => self.backoff(one),
            };
            self.after(notices + backoff, Next::Start(slot));
        }
    }

    fn backoff(&self, one: usize) -> Micros {
        let service = &self.cast[one].service;
        let starts = self.slots[self.cast[one].slot].1;
        let grown = service.backoff_grows.powi(starts.saturating_sub(1) as i32);
        (service.backoff_us as f64 * grown) as Micros
    }

    pub fn found_out(&mut self, one: usize) {
        if self.cast[one].hung && !self.cast[one].dead && !self.cast[one].found_out {
            self.cast[one].found_out = true;
            self.tell(one, InstanceState::NotReady, 0);
            self.change_set(one, false, 0);
        }
    }

    pub fn scale(&mut self, wanted: usize) {
        let now = self.slots.len();
        for slot in now..wanted {
            self.after(self.world.balancer.notices_us, Next::Start(slot));
        }
        for slot in (wanted..now).rev() {
            let (one, _) = self.slots[slot];
            self.cast[one].service.restarts = false;
            self.terminate(one);
            self.slots.truncate(slot);
        }
    }
}
