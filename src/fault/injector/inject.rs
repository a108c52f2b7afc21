//! One injection: whom to hit, put on disk, made, recorded.

use std::time::Duration;

use rand::SeedableRng;
use rand_pcg::Pcg64;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Active, Applied, Injector, slots};
use crate::fault::{Occurrence, allow, select};
use crate::platform::{Change, PlatformError, Undo};
use crate::record::{FaultEvent, FaultStage, What};

/// A change that takes longer has failed.
const APPLY_LIMIT: Duration = Duration::from_secs(30);
/// What a change under way gets to finish, once the run is over.
const APPLY_GRACE: Duration = Duration::from_secs(2);

/// What makes one injection.
struct Planned {
    injection: u32,
    spec: usize,
    changes: Vec<Change>,
    /// The instance hit, and what takes it back.
    undos: Vec<(String, Undo)>,
}

impl Injector {
    /// One injection, from the choice of whom to hit to the record of what was done.
    pub(super) async fn inject(&mut self, occurrence: &Occurrence, cancel: &CancellationToken) {
        self.injections += 1;
        let planned = match self.plan(occurrence) {
            Ok(planned) => planned,
            Err((stage, instances, reason)) => {
                let event = self.event(self.injections, occurrence.spec, stage, instances);
                self.emit_fault(event, Some(reason));
                return;
            }
        };
        let names: Vec<String> = planned.changes.iter().map(|c| c.instance.clone()).collect();
        let event =
            |stage, instances| self.event(planned.injection, planned.spec, stage, instances);
        let (injecting, failed) = (
            event(FaultStage::Injecting, names.clone()),
            event(FaultStage::Failed, names),
        );
        if let Err(reason) = self.write_down(&planned, injecting, cancel).await {
            self.emit_fault(failed, Some(format!("not made: {reason}")));
            return;
        }
        self.made += 1;
        for change in planned.changes.iter().cloned() {
            let (platform, clock) = (self.platform.clone(), self.sink.clock());
            self.applying.spawn(async move {
                let result = platform.apply(&change).await;
                let (instance, at) = (change.instance, clock.now());
                Applied {
                    instance,
                    at,
                    result,
                }
            });
        }
        let applied = self.collect(cancel).await;
        self.conclude(&planned, applied, occurrence.lasts).await;
    }

    /// Whom to hit and how it is taken back; touches nothing.
    fn plan(
        &mut self,
        occurrence: &Occurrence,
    ) -> Result<Planned, (FaultStage, Vec<String>, String)> {
        let spec = &self.specs[occurrence.spec];
        let mut instances = self.platform.instances();
        self.slots = self.slots.max(slots(&instances));
        let mut rng = rng(self.seed, occurrence);
        let victims = select(&instances, &spec.select, &mut rng)
            .map_err(|reason| (FaultStage::Failed, vec![], reason))?;
        let names: Vec<String> = victims.iter().map(|v| v.name.clone()).collect();
        let refused = |reason| (FaultStage::Refused, names.clone(), reason);
        // One under a fault may look ready for a while, until its probes have failed often enough.
        for instance in &mut instances {
            let mut held = self.active.iter().map(|a| &a.instance);
            instance.ready &= !held.any(|name| *name == instance.name);
        }
        allow(&self.guard, &instances, &victims, self.made, self.slots).map_err(refused)?;
        let (mut changes, mut undos) = (Vec::new(), Vec::new());
        for victim in &victims {
            let change = Change {
                kind: spec.kind.clone(),
                instance: victim.name.clone(),
            };
            let undo = self
                .platform
                .undo_of(&change)
                .map_err(|e| (stage_of(&e), names.clone(), e.to_string()))?;
            let other = undo.as_ref().and_then(|undo| self.conflict(&change, undo));
            if let Some(injection) = other {
                return Err(refused(format!(
                    "{} is under `{}` of injection {injection} already, with other settings",
                    victim.name,
                    spec.kind.name()
                )));
            }
            undos.extend(undo.map(|undo| (victim.name.clone(), undo)));
            changes.push(change);
        }
        Ok(Planned {
            injection: self.injections,
            spec: occurrence.spec,
            changes,
            undos,
        })
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
        for (instance, undo) in &planned.undos {
            match self.ledger.add(planned.injection, undo) {
                Ok(id) => self.active.push(Active {
                    id,
                    injection: planned.injection,
                    kind: self.specs[planned.spec].kind.clone(),
                    instance: instance.clone(),
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

    /// Waits for the changes under way. One that hangs, or outlasts the run, is ended and missing in the answer.
    async fn collect(&mut self, cancel: &CancellationToken) -> Vec<Applied> {
        let mut applied = Vec::new();
        let limit = sleep(APPLY_LIMIT);
        tokio::pin!(limit);
        loop {
            tokio::select! {
                biased;
                next = self.applying.join_next() => match next {
                    None => return applied,
                    // A panic: the change counts as failed, since it is missing.
                    Some(Err(_)) => {}
                    Some(Ok(one)) => applied.push(one),
                },
                () = &mut limit => break,
                () = cancel.cancelled() => break,
            }
        }
        applied.extend(self.settle_applying().await);
        applied
    }

    /// Gives what is under way a moment to finish, then ends it.
    pub(super) async fn settle_applying(&mut self) -> Vec<Applied> {
        let mut applied = Vec::new();
        let finish = async {
            while let Some(joined) = self.applying.join_next().await {
                applied.extend(joined);
            }
        };
        if timeout(APPLY_GRACE, finish).await.is_err() {
            self.applying.shutdown().await;
        }
        applied
    }

    /// Records what was made and when it is due to be undone; what failed may be half made and is undone at once.
    async fn conclude(
        &mut self,
        planned: &Planned,
        applied: Vec<Applied>,
        lasts: Option<Duration>,
    ) {
        let now = Instant::now();
        let (mut hit, mut failures, mut at) = (Vec::new(), Vec::new(), 0);
        // Refused only if all of it was: half of it made is not nothing.
        let mut stage = FaultStage::Refused;
        for change in &planned.changes {
            let name = &change.instance;
            match applied.iter().find(|a| a.instance == *name) {
                Some(Applied {
                    result: Ok(()),
                    at: made,
                    ..
                }) => {
                    at = at.max(*made);
                    hit.push(name.clone());
                }
                Some(Applied { result: Err(e), .. }) => {
                    if stage_of(e) == FaultStage::Failed {
                        stage = FaultStage::Failed;
                    }
                    failures.push((name, e.to_string()));
                }
                None => {
                    stage = FaultStage::Failed;
                    let what = "it panicked, or was ended because it took too long";
                    failures.push((name, what.to_string()));
                }
            }
        }
        let detail = failures.iter().map(|(name, e)| format!("{name}: {e}"));
        let detail = (!failures.is_empty()).then(|| detail.collect::<Vec<_>>().join("; "));
        let (stage, instances) = match hit.is_empty() {
            true => (stage, failures.iter().map(|f| f.0.clone()).collect()),
            false => (FaultStage::Injected, hit.clone()),
        };
        let mut event = self.event(planned.injection, planned.spec, stage, instances);
        event.detail = detail;
        let at = if hit.is_empty() {
            self.sink.clock().now()
        } else {
            at
        };
        self.sink.emit_at(at, What::Fault(event));
        for active in &mut self.active {
            if active.injection != planned.injection {
                continue;
            }
            let made = hit.contains(&active.instance);
            active.due = if made {
                lasts.map(|lasts| now + lasts)
            } else {
                Some(now)
            };
        }
        if !failures.is_empty() {
            self.undo_due(now).await;
        }
    }

    fn event(
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

    fn emit_fault(&self, mut event: FaultEvent, detail: Option<String>) {
        event.detail = detail;
        self.sink.emit(What::Fault(event));
    }
}

/// What became of an injection that the platform did not make.
fn stage_of(error: &PlatformError) -> FaultStage {
    match error {
        PlatformError::Refused(_) => FaultStage::Refused,
        _ => FaultStage::Failed,
    }
}

/// Each injection draws for itself, so that what one hits does not depend on whether another was refused.
fn rng(seed: u64, occurrence: &Occurrence) -> Pcg64 {
    let spec = (occurrence.spec as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let nth = u64::from(occurrence.nth).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    Pcg64::seed_from_u64(seed.wrapping_add(spec).wrapping_add(nth))
}
