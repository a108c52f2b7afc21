//! Faults and their undo: whom they hit, what they do, and what is told of it.

use std::collections::{BTreeMap, BTreeSet};

use squall::platform::Undo;
use squall::record::{FaultEvent, FaultStage, UndoEvent, What};
use squall::scenario::{Effect, FaultKind, FaultSpec, Pick};

use super::client::micros;
use super::engine::{Engine, Next};
use super::{MS, Micros, S};

/// The injections made, by number less one.
#[derive(Default)]
pub struct Injections {
    made: Vec<Made>,
    /// Stops that have not ended yet: instance and number.
    stopping: BTreeMap<usize, usize>,
    /// Of faults that hit each once: the places, or the nodes, that were.
    each: BTreeMap<usize, BTreeSet<usize>>,
}

/// An injection, and whether it is still in force.
struct Made {
    spec: usize,
    hit: Vec<usize>,
    lasting: bool,
    undone: bool,
}

impl Engine<'_> {
    /// The node of a place.
    pub fn node_of(&self, slot: usize) -> Option<usize> {
        let nodes = &self.world.nodes;
        (!nodes.is_empty()).then(|| nodes[slot % nodes.len()])
    }

    pub fn inject(&mut self, spec: usize) {
        let world = self.world;
        let fault = &world.scenario.faults[spec];
        let hit = self.chosen(spec, fault);
        if hit.is_empty() {
            return;
        }
        let kind = fault.kind.clone();
        let names = hit.iter().map(|one| self.cast[*one].name.clone());
        let now = self.now;
        self.truth.hit.extend(names.map(|name| (name, now)));
        self.injections.made.push(Made {
            spec,
            hit: hit.clone(),
            lasting: kind.is_lasting(),
            undone: false,
        });
        let injection = self.injections.made.len();
        self.fault_event(injection, FaultStage::Injecting, 0);
        let took = match kind.effect() {
            Effect::Retirement => {
                self.retire(injection, &hit, &kind);
                0
            }
            _ => {
                hit.iter().for_each(|one| self.make(*one, &kind));
                let took = self.dice.whole(200, 2_000);
                self.fault_event(injection, FaultStage::Injected, took);
                took
            }
        };
        if let Some(lasts) = fault.lasts.filter(|_| kind.is_lasting()) {
            self.after(took + micros(lasts), Next::Undo(injection));
        }
    }

    /// Whom a fault hits: one, or all that stand on its node.
    fn chosen(&mut self, spec: usize, fault: &FaultSpec) -> Vec<usize> {
        let wanted = fault.select.names.first();
        let alive = |one: &usize| !self.cast[*one].dead && !self.cast[*one].leaving;
        let newest = self.slots.iter().map(|(one, _)| *one).filter(alive);
        let named = |one: &usize| {
            let instance = &self.cast[*one];
            wanted.is_none_or(|w| *w == instance.name || *w == self.slot_name(instance.slot))
        };
        let matching: Vec<usize> = newest.filter(named).collect();
        let unit = |e: &Self, one: usize| match fault.kind.is_of_node() {
            true => e.node_of(e.cast[one].slot).unwrap_or(0),
            false => e.cast[one].slot,
        };
        let one = match fault.select.pick {
            Pick::Each => {
                let before = self.injections.each.entry(spec).or_default().clone();
                let mut left = matching.iter().copied();
                left.find(|one| !before.contains(&unit(self, *one)))
            }
            _ if matching.is_empty() => None,
            _ => Some(matching[self.dice.below(matching.len())]),
        };
        let Some(one) = one else {
            return Vec::new();
        };
        let place = unit(self, one);
        self.injections.each.entry(spec).or_default().insert(place);
        match fault.kind.is_of_node() {
            true => (matching.iter().copied())
                .filter(|other| unit(self, *other) == place)
                .collect(),
            false => vec![one],
        }
    }

    /// They are told to end, and have so long for it.
    fn retire(&mut self, injection: usize, hit: &[usize], kind: &FaultKind) {
        let grace = match kind {
            FaultKind::Stop { grace } => micros(*grace),
            FaultKind::PodKill { grace: Some(grace) } => micros(*grace),
            _ => 30 * S,
        };
        for one in hit {
            self.injections.stopping.insert(*one, injection);
        }
        for one in hit {
            self.after(grace, Next::Die(*one));
            self.terminate(*one);
        }
    }

    /// A stop is done when the last that it hit has ended.
    pub fn stopped(&mut self, one: usize) {
        let stopping = &mut self.injections.stopping;
        if let Some(injection) = stopping.remove(&one)
            && !stopping.values().any(|other| *other == injection)
        {
            self.fault_event(injection, FaultStage::Injected, 0);
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
        let (spec, hit) = (made.spec, made.hit.clone());
        let fault = self.world.scenario.faults[spec].kind.name().to_string();
        for one in hit {
            for (done, later) in [(None, 0), (Some(true), 900)] {
                let event = UndoEvent {
                    injection: injection as u32,
                    undo: Undo::RestoreRoute {
                        instance: self.cast[one].name.clone(),
                        fault: fault.clone(),
                    },
                    done,
                    detail: None,
                };
                self.recorder.event(self.now + later, What::Undo(event));
            }
            self.free(one);
        }
    }

    /// An instance is as it was.
    fn free(&mut self, one: usize) {
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
            instances: made
                .hit
                .iter()
                .map(|one| self.cast[*one].name.clone())
                .collect(),
            detail: None,
        };
        self.recorder.event(self.now + later, What::Fault(event));
    }
}
