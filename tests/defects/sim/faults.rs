//! The life of instances: starts, ends, faults and their undo, and what the balancer is told of it.

use std::collections::BTreeMap;

use squall::platform::Undo;
use squall::record::{FaultEvent, FaultStage, InstanceState, UndoEvent, What};
use squall::scenario::{Effect, FaultKind, Target};

use super::cast::Instance;
use super::client::micros;
use super::engine::{Engine, Next};
use super::{MS, Micros, OnTerm, S};

/// The injections made, by number less one: spec, instance, and what is still in force.
#[derive(Default)]
pub struct Injections {
    made: Vec<Made>,
    /// Stops that have not ended yet: instance and number.
    stopping: BTreeMap<usize, usize>,
}

struct Made {
    spec: usize,
    one: usize,
    lasting: bool,
    undone: bool,
}

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
        self.after(spreads, Next::List(one, listed));
        if listed || !balancer.stale {
            self.after(spreads + balancer.follows_us, Next::Follow(one, listed));
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
        if !told {
            self.change_set(one, false, notices);
        }
        if let Some(injection) = self.injections.stopping.remove(&one) {
            self.fault_event(injection, FaultStage::Injected, 0);
        }
        let slot = self.cast[one].slot;
        if self.slots[slot].0 == one && self.cast[one].service.restarts {
            let backoff = match told {
                true => 5 * MS,
                false => self.cast[one].service.backoff_us,
            };
            self.after(notices + backoff, Next::Start(slot));
        }
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

    // ----- faults

    pub fn inject(&mut self, spec: usize) {
        let fault = &self.world.scenario.faults[spec];
        let wanted = fault.select.names.first();
        let alive = |one: &usize| !self.cast[*one].dead && !self.cast[*one].leaving;
        let newest = self.slots.iter().map(|(one, _)| *one).filter(alive);
        let all: Vec<usize> = newest.collect();
        let named = |one: &usize| {
            let instance = &self.cast[*one];
            wanted.is_none_or(|w| *w == instance.name || *w == self.slot_name(instance.slot))
        };
        let matching: Vec<usize> = all.into_iter().filter(named).collect();
        if matching.is_empty() {
            return;
        }
        let one = matching[self.dice.below(matching.len())];
        let kind = fault.kind.clone();
        self.truth.hit.push((self.cast[one].name.clone(), self.now));
        self.injections.made.push(Made {
            spec,
            one,
            lasting: kind.is_lasting(),
            undone: false,
        });
        let injection = self.injections.made.len();
        self.fault_event(injection, FaultStage::Injecting, 0);
        if kind.effect() == Effect::Retirement {
            self.injections.stopping.insert(one, injection);
            let grace = match kind {
                FaultKind::Stop { grace } => micros(grace),
                FaultKind::PodKill { grace: Some(grace) } => micros(grace),
                _ => 30 * S,
            };
            self.after(grace, Next::Die(one));
            return self.terminate(one);
        }
        self.make(one, &kind);
        let took = self.dice.whole(200, 2_000);
        self.fault_event(injection, FaultStage::Injected, took);
        if let Some(lasts) = fault.lasts.filter(|_| kind.is_lasting()) {
            self.after(took + micros(lasts), Next::Undo(injection));
        }
    }

    fn make(&mut self, one: usize, kind: &FaultKind) {
        match *kind {
            FaultKind::Delay { latency, .. } => self.cast[one].delay_us = 2 * micros(latency),
            FaultKind::Drop { share } => self.cast[one].dropped = share.get(),
            FaultKind::Reset { share } => self.cast[one].reset = share.get(),
            FaultKind::Freeze | FaultKind::BlackHole => {
                self.cast[one].hung = true;
                self.hang(one);
                if let Some(finds) = self.world.balancer.finds_hung_us {
                    let finds = (finds as f64 * self.dice.between(0.8, 1.25)) as Micros;
                    self.after(finds, Next::FoundOut(one));
                }
            }
            FaultKind::RolloutRestart => self.begin_rollout(),
            // What kills at once.
            _ => self.die(one),
        }
    }

    pub fn undo(&mut self, injection: usize) {
        let made = &mut self.injections.made[injection - 1];
        if std::mem::replace(&mut made.undone, true) {
            return;
        }
        let one = made.one;
        let instance = self.cast[one].name.clone();
        let fault = self.world.scenario.faults[made.spec]
            .kind
            .name()
            .to_string();
        for (done, later) in [(None, 0), (Some(true), 900)] {
            let event = UndoEvent {
                injection: injection as u32,
                undo: Undo::RestoreRoute {
                    instance: instance.clone(),
                    fault: fault.clone(),
                },
                done,
                detail: None,
            };
            self.recorder.event(self.now + later, What::Undo(event));
        }
        let instance = &mut self.cast[one];
        (instance.delay_us, instance.dropped, instance.reset) = (0, 0.0, 0.0);
        if std::mem::take(&mut instance.hung) && !instance.dead {
            instance.wake(self.now, &mut self.dice);
            let found_out = instance.found_out;
            self.again(one, false);
            if found_out {
                let probe = self.dice.whole(5 * MS, 500 * MS);
                self.after(probe, Next::Ready(one));
            }
        }
    }

    /// At the end of the run all is taken back.
    pub fn undo_rest(&mut self) {
        for injection in 1..=self.injections.made.len() {
            let made = &self.injections.made[injection - 1];
            if made.lasting && !made.undone {
                self.undo(injection);
            }
        }
    }

    fn fault_event(&mut self, injection: usize, stage: FaultStage, later: Micros) {
        let made = &self.injections.made[injection - 1];
        let spec = &self.world.scenario.faults[made.spec];
        let event = FaultEvent {
            injection: injection as u32,
            spec: made.spec,
            name: spec.name.clone(),
            fault: spec.kind.name().into(),
            stage,
            instances: vec![self.cast[made.one].name.clone()],
            detail: None,
        };
        self.recorder.event(self.now + later, What::Fault(event));
    }
}
