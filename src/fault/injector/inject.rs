//! One injection: whom to hit, put on disk, begun. How it goes on is for `under_way`.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use rand::SeedableRng;
use rand_pcg::Pcg64;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::under_way::{Applied, UnderWay};
use super::{Active, Injector, SEEN, Turn};
use crate::fault::guard::owner;
use crate::fault::{Occurrence, allow, in_turn, places, select, struck, unit_of};
use crate::platform::{Change, Instance, PlatformError, Undo};
use crate::record::{FaultEvent, FaultStage, What};
use crate::scenario::{FaultKind, NODE_LABEL, Pick};

/// What makes one injection.
pub(super) struct Planned {
    pub(super) injection: u32,
    pub(super) spec: usize,
    pub(super) changes: Vec<Prepared>,
}

/// One change, with what takes it back.
pub(super) struct Prepared {
    pub(super) change: Change,
    pub(super) undo: Option<Undo>,
    /// What makes the instance.
    owner: String,
    /// The instances that it hits: several where they stand on the same node or belong to the same workload.
    pub(super) hits: Vec<String>,
}

impl Planned {
    pub(super) fn names(&self) -> Vec<String> {
        self.changes.iter().flat_map(|c| c.hits.clone()).collect()
    }
}

impl Injector {
    /// One injection, from the choice of whom to hit to the beginning of its changes.
    pub(super) async fn inject(&mut self, occurrence: &Occurrence, cancel: &CancellationToken) {
        self.injections += 1;
        let planned = match self.plan(occurrence) {
            Ok(Some(planned)) => planned,
            Ok(None) => {
                self.injections -= 1;
                return;
            }
            Err((stage, instances, reason)) => {
                let event = self.event(self.injections, occurrence.spec, stage, instances);
                self.emit_fault(event, Some(reason));
                return;
            }
        };
        let event = |stage| self.event(planned.injection, planned.spec, stage, planned.names());
        let (injecting, failed) = (event(FaultStage::Injecting), event(FaultStage::Failed));
        if let Err(reason) = self.write_down(&planned, injecting, cancel).await {
            self.give_turn_back(planned.injection);
            self.emit_fault(failed, Some(format!("not made: {reason}")));
            return;
        }
        self.made += 1;
        let mut tasks = Vec::new();
        for change in planned.changes.iter().map(|c| c.change.clone()) {
            let (platform, clock) = (self.platform.clone(), self.sink.clock());
            let injection = planned.injection;
            tasks.push(self.applying.spawn(async move {
                let applied = AssertUnwindSafe(platform.apply(&change))
                    .catch_unwind()
                    .await;
                let panicked = |_| Err(PlatformError::Failed("it panicked".into()));
                Applied {
                    injection,
                    instance: change.instance,
                    at: clock.now(),
                    result: applied.unwrap_or_else(panicked),
                }
            }));
        }
        let limit = Instant::now() + self.specs[planned.spec].kind.patience();
        self.under_way.push(UnderWay {
            planned,
            lasts: occurrence.lasts,
            limit,
            tasks,
            applied: Vec::new(),
        });
    }

    /// Whom to hit and how it is taken back; touches nothing. `None` where each has had its turn.
    fn plan(
        &mut self,
        occurrence: &Occurrence,
    ) -> Result<Option<Planned>, (FaultStage, Vec<String>, String)> {
        let spec = &self.specs[occurrence.spec];
        let mut instances = self.platform.instances();
        for (owner, seen) in places(&instances) {
            let most = self.slots.entry(owner).or_default();
            *most = seen.max(*most);
        }
        let mut rng = rng(self.seed, occurrence);
        let chosen = match spec.select.pick {
            Pick::Each => {
                let own = self.turns.iter().filter(|t| t.spec == occurrence.spec);
                let hit: Vec<&str> = own.map(|t| t.unit.as_str()).collect();
                let next = in_turn(&instances, &spec.select, &spec.kind, &hit);
                next.map(|next| next.into_iter().collect())
            }
            _ => select(&instances, &spec.select, &mut rng),
        };
        let victims = chosen.map_err(|reason| (FaultStage::Failed, vec![], reason))?;
        let Some(first) = victims.first() else {
            return Ok(None);
        };
        let unit = unit_of(&spec.kind, first);
        let rolled = |i: &Instance| self.platform.taken_by_rollout(&i.name);
        let struck = struck(&spec.kind, &victims, &instances, rolled);
        let names: Vec<String> = victims.iter().map(|v| v.name.clone()).collect();
        let refused = |reason| (FaultStage::Refused, names.clone(), reason);
        // One under a fault may look ready for a while, until its probes have failed often enough; one that was killed, until
        // that is seen.
        self.struck.retain(|(_, at)| at.elapsed() < SEEN);
        let under_way = self.under_way.iter().flat_map(|u| &u.planned.changes);
        let held: Vec<&String> = (self.active.iter().flat_map(|a| &a.instances))
            .chain(under_way.flat_map(|c| &c.hits))
            .chain(self.struck.iter().map(|(name, _)| name))
            .collect();
        for instance in &mut instances {
            instance.ready &= !held.contains(&&instance.name);
        }
        allow(&self.guard, &instances, &struck, self.made, &self.slots).map_err(refused)?;
        let mut changes: Vec<Prepared> = Vec::new();
        for victim in &victims {
            let change = Change {
                kind: spec.kind.clone(),
                instance: victim.name.clone(),
            };
            let undo = self
                .platform
                .undo_of(&change)
                .map_err(|e| (stage_of(&e), names.clone(), e.to_string()))?;
            if undo.as_ref().is_some_and(|undo| self.undoing.has(undo)) {
                return Err(refused(format!(
                    "an earlier `{}` of {} is still being undone",
                    spec.kind.name(),
                    victim.name
                )));
            }
            let other = undo.as_ref().and_then(|undo| self.conflict(&change, undo));
            if let Some(injection) = other {
                return Err(refused(format!(
                    "{} is under `{}` of injection {injection} already, with other settings",
                    victim.name,
                    spec.kind.name()
                )));
            }
            // Two pods of one node: the node is cordoned once. Two of one workload: it is restarted once.
            let whole = |c: &Prepared| match undo {
                Some(_) => c.undo == undo,
                None => spec.kind == FaultKind::RolloutRestart && c.owner == owner(victim),
            };
            match changes.iter_mut().find(|c| whole(c)) {
                Some(same) => same.hits.push(victim.name.clone()),
                None => changes.push(Prepared {
                    change,
                    undo,
                    owner: owner(victim),
                    hits: vec![victim.name.clone()],
                }),
            }
        }
        if spec.kind.is_of_node() {
            share_out(&mut changes, &struck, &instances);
        }
        if spec.select.pick == Pick::Each {
            self.turns.push(Turn {
                spec: occurrence.spec,
                injection: self.injections,
                unit,
            });
        }
        Ok(Some(Planned {
            injection: self.injections,
            spec: occurrence.spec,
            changes,
        }))
    }

    /// An injection that was not made hit nobody: whose turn it was has it again.
    pub(super) fn give_turn_back(&mut self, injection: u32) {
        self.turns.retain(|t| t.injection != injection);
    }

    /// The injection that set the same fault on the same instance differently.
    fn conflict(&self, change: &Change, undo: &Undo) -> Option<u32> {
        let mut same = self.active.iter().filter(|a| a.undo == *undo);
        same.find(|a| a.kind != change.kind).map(|a| a.injection)
    }

    /// Puts the undos and the injection on disk; if that fails, nothing is left pending.
    async fn write_down(
        &mut self,
        planned: &Planned,
        event: FaultEvent,
        cancel: &CancellationToken,
    ) -> Result<(), String> {
        let before = self.active.len();
        let mut written = Ok(());
        for prepared in &planned.changes {
            let Some(undo) = &prepared.undo else {
                continue;
            };
            match self.ledger.add(planned.injection, undo) {
                Ok(id) => self.active.push(Active {
                    id,
                    injection: planned.injection,
                    kind: self.specs[planned.spec].kind.clone(),
                    instances: prepared.hits.clone(),
                    undo: undo.clone(),
                    due: None,
                    over: false,
                }),
                Err(e) => {
                    written = Err(e.to_string());
                    break;
                }
            }
        }
        if written.is_ok() {
            written = tokio::select! {
                written = self.sink.emit_durable(What::Fault(event)) => written,
                () = cancel.cancelled() => Err("the run was ended".to_string()),
            };
        }
        if written.is_err() {
            for active in self.active.split_off(before) {
                // Best effort: an undo of what was never done is harmless.
                let _ = self.ledger.settle(active.id, Ok(()));
            }
        }
        written
    }

    pub(super) fn event(
        &self,
        injection: u32,
        spec: usize,
        stage: FaultStage,
        instances: Vec<String>,
    ) -> FaultEvent {
        FaultEvent {
            injection,
            spec,
            name: self.specs[spec].name.clone(),
            fault: self.specs[spec].kind.name().to_string(),
            stage,
            instances,
            detail: None,
        }
    }

    pub(super) fn emit_fault(&self, mut event: FaultEvent, detail: Option<String>) {
        event.detail = detail;
        self.sink.emit(What::Fault(event));
    }
}

/// A fault of a node hits all that stands on it, whoever of them was chosen.
fn share_out(changes: &mut [Prepared], struck: &[Instance], instances: &[Instance]) {
    let node_of = |name: &str| {
        let instance = instances.iter().find(|i| i.name == name)?;
        instance.labels.get(NODE_LABEL)
    };
    for other in struck {
        let known = changes.iter().any(|c| c.hits.contains(&other.name));
        let node = other.labels.get(NODE_LABEL);
        let same = changes
            .iter_mut()
            .find(|c| node_of(&c.change.instance) == node);
        if let (false, Some(change)) = (known, same) {
            change.hits.push(other.name.clone());
        }
    }
}

/// What became of an injection that the platform did not make.
pub(super) fn stage_of(error: &PlatformError) -> FaultStage {
    match error {
        PlatformError::Refused(_) => FaultStage::Refused,
        PlatformError::NoEffect(_) => FaultStage::Ineffective,
        _ => FaultStage::Failed,
    }
}

/// Each injection draws for itself, so that what one hits does not depend on whether another was refused.
fn rng(seed: u64, occurrence: &Occurrence) -> Pcg64 {
    let spec = (occurrence.spec as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let nth = u64::from(occurrence.nth).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    Pcg64::seed_from_u64(seed.wrapping_add(spec).wrapping_add(nth))
}
