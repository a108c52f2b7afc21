//! Carries faults out: waits for their time, asks selection and guard, and takes every change back.
//!
//! Before a change is made its undo is in the ledger and the injection in the record, both on disk; if either
//! cannot be written, the change is not made. An undo, once it is needed, is done whatever else fails.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand_pcg::Pcg64;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::undo::{UndoFailure, undo_with_retries};
use super::{Ledger, Occurrence, allow, occurrences, select};
use crate::platform::{Change, Instance, Platform, PlatformError, Undo};
use crate::record::{FaultEvent, FaultStage, Level, Micros, Sink, UndoEvent, What};
use crate::scenario::{FaultKind, FaultSpec, Guard};

/// An injection that begins later than this after its time is noted.
const LATE: Duration = Duration::from_millis(100);
/// A change that takes longer has failed.
const APPLY_LIMIT: Duration = Duration::from_secs(30);
/// What a change under way gets to finish, once the run is over.
const APPLY_GRACE: Duration = Duration::from_secs(2);
/// The record's disk may hang; an undo does not wait for it longer than this.
const RECORD_LIMIT: Duration = Duration::from_secs(2);

/// Injects the faults of one run and undoes them.
///
/// Several injections may hold the same instance by the same fault. Such a fault is lifted once, when the last of
/// them is due, and all are recorded as undone then: each lasts at least as long as it says. Where two would set
/// the same fault differently (a delay of 1 s on top of one of 100 ms), the second is refused.
pub struct Injector {
    specs: Vec<FaultSpec>,
    guard: Guard,
    seed: u64,
    platform: Arc<dyn Platform>,
    sink: Sink,
    ledger: Ledger,
    /// Changes that must be undone, in the order in which they were made.
    active: Vec<Active>,
    /// Changes being made, as tasks of their own: a panic stays there, and they can be ended.
    applying: JoinSet<Applied>,
    /// Number of the last injection.
    injections: u32,
    /// Injections begun, which is what the guard counts.
    made: u32,
    /// The most places seen.
    slots: usize,
}

/// A change that must be undone.
struct Active {
    id: u64,
    injection: u32,
    kind: FaultKind,
    undo: Undo,
    /// When it is to be undone; `None`: at the end.
    due: Option<Instant>,
    /// Its time is over; it waits for others that hold the same.
    over: bool,
}

/// How making one change went.
struct Applied {
    instance: String,
    at: Micros,
    result: Result<(), PlatformError>,
}

/// What makes one injection.
struct Planned {
    injection: u32,
    spec: usize,
    changes: Vec<Change>,
    undos: Vec<Undo>,
}

impl Injector {
    /// An injector that has done nothing yet.
    pub fn new(
        specs: Vec<FaultSpec>,
        guard: Guard,
        seed: u64,
        platform: Arc<dyn Platform>,
        sink: Sink,
        ledger: Ledger,
    ) -> Self {
        Self {
            specs,
            guard,
            seed,
            platform,
            sink,
            ledger,
            active: Vec::new(),
            applying: JoinSet::new(),
            injections: 0,
            made: 0,
            slots: 0,
        }
    }

    /// Injects and undoes until nothing is left to do, traffic ends or the run is cancelled. What is still in
    /// force then is for [`Injector::undo_all`], which the caller must call, however this ends.
    pub async fn run(
        &mut self,
        traffic_start: std::time::Instant,
        traffic: Duration,
        cancel: CancellationToken,
    ) {
        let start = Instant::from_std(traffic_start);
        let end = start + traffic;
        self.slots = slots(&self.platform.instances());
        let mut planned = occurrences(&self.specs, traffic).into_iter().peekable();
        while !cancel.is_cancelled() {
            let inject_at = planned.peek().map(|o| start + o.at);
            let undo_at = self.active.iter().filter_map(|a| a.due).min();
            let Some(next) = [inject_at, undo_at].into_iter().flatten().min() else {
                return;
            };
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                () = sleep_until(next.min(end)) => {}
            }
            if next >= end {
                return;
            }
            // At the same moment the old fault goes before the new one comes.
            if undo_at == Some(next) {
                self.undo_due(next).await;
            } else if let Some(occurrence) = planned.next() {
                self.note_if_late(&occurrence, next);
                self.inject(&occurrence, &cancel).await;
            }
        }
    }

    /// Undoes everything that is in force, latest first, and lists what could not be undone. May be called again.
    pub async fn undo_all(&mut self) -> Vec<UndoFailure> {
        // A change still under way would come after its undo.
        self.settle_applying().await;
        let mut failures = Vec::new();
        let mut undos: Vec<Undo> = Vec::new();
        for active in self.active.iter().rev() {
            if !undos.contains(&active.undo) {
                undos.push(active.undo.clone());
            }
        }
        for undo in undos {
            failures.extend(self.undo(&undo).await);
        }
        failures
    }

    fn note_if_late(&self, occurrence: &Occurrence, due: Instant) {
        let late = Instant::now().saturating_duration_since(due);
        if late > LATE {
            self.sink.note(
                Level::Warning,
                format!(
                    "fault `{}` was due {} ms before it was injected: the machine is overloaded, or an earlier \
                     fault took long",
                    self.specs[occurrence.spec].name,
                    late.as_millis()
                ),
            );
        }
    }

    /// One injection, from the choice of whom to hit to the record of what was done.
    async fn inject(&mut self, occurrence: &Occurrence, cancel: &CancellationToken) {
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
            let mut held = self.active.iter().map(|a| a.undo.instance());
            instance.ready &= !held.any(|name| name == instance.name);
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
                .map_err(|e| (FaultStage::Failed, names.clone(), e.to_string()))?;
            let other = undo.as_ref().and_then(|undo| self.conflict(&change, undo));
            if let Some(injection) = other {
                return Err(refused(format!(
                    "{} is under `{}` of injection {injection} already, with other settings",
                    victim.name,
                    spec.kind.name()
                )));
            }
            undos.extend(undo);
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
        for undo in &planned.undos {
            match self.ledger.add(planned.injection, undo) {
                Ok(id) => self.active.push(Active {
                    id,
                    injection: planned.injection,
                    kind: self.specs[planned.spec].kind.clone(),
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
    async fn settle_applying(&mut self) -> Vec<Applied> {
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
                Some(Applied { result: Err(e), .. }) => failures.push((name, e.to_string())),
                None => {
                    let what = "it panicked, or was ended because it took too long";
                    failures.push((name, what.to_string()));
                }
            }
        }
        let detail = failures.iter().map(|(name, e)| format!("{name}: {e}"));
        let detail = (!failures.is_empty()).then(|| detail.collect::<Vec<_>>().join("; "));
        let (stage, instances) = match hit.is_empty() {
            true => (
                FaultStage::Failed,
                failures.iter().map(|f| f.0.clone()).collect(),
            ),
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
            let made = hit.iter().any(|name| name == active.undo.instance());
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

    /// Undoes what is due, unless others that are not due hold the same.
    async fn undo_due(&mut self, now: Instant) {
        let mut undos: Vec<Undo> = Vec::new();
        for active in &mut self.active {
            if active.due.is_some_and(|due| due <= now) {
                active.due = None;
                active.over = true;
                if !undos.contains(&active.undo) {
                    undos.push(active.undo.clone());
                }
            }
        }
        for undo in undos {
            let mut same = self.active.iter().filter(|a| a.undo == undo);
            let Some(holder) = same.find(|a| !a.over) else {
                // A failure is recorded, stays in the ledger, and is tried again at the end.
                self.undo(&undo).await;
                continue;
            };
            self.sink.note(
                Level::Info,
                format!(
                    "`{}` of {} is due to be undone, but injection {} holds it still",
                    holder.kind.name(),
                    undo.instance(),
                    holder.injection
                ),
            );
        }
    }

    /// Undoes one thing for all injections that hold it.
    async fn undo(&mut self, undo: &Undo) -> Vec<UndoFailure> {
        let holders = self.active.iter().filter(|a| a.undo == *undo);
        let holders: Vec<(u64, u32)> = holders.map(|a| (a.id, a.injection)).collect();
        for &(_, injection) in &holders {
            // An undo is done even where it cannot be recorded.
            let event = What::Undo(undo_event(injection, undo, None, None));
            let _ = timeout(RECORD_LIMIT, self.sink.emit_durable(event)).await;
        }
        let result = undo_with_retries(|| {
            let (platform, undo) = (self.platform.clone(), undo.clone());
            async move {
                // A task of its own, so that a panic is an error like any other.
                let task = tokio::spawn(async move { platform.undo(&undo).await });
                let guard = AbortOnDrop(task.abort_handle());
                let joined = task.await;
                drop(guard);
                match joined {
                    Ok(result) => result,
                    Err(e) => Err(PlatformError::Failed(e.to_string())),
                }
            }
        })
        .await;
        let at = self.sink.clock().now();
        let mut failures = Vec::new();
        for (id, injection) in holders {
            let error = result.as_ref().err().cloned();
            let event = undo_event(injection, undo, Some(error.is_none()), error.clone());
            self.sink.emit_at(at, What::Undo(event));
            if let Err(e) = self
                .ledger
                .settle(id, result.as_ref().copied().map_err(|e| e.as_str()))
            {
                self.sink.note(Level::Warning, e.to_string());
            }
            if let Some(error) = error {
                let undo = undo.clone();
                failures.push(UndoFailure {
                    injection,
                    undo,
                    error,
                });
            }
        }
        if failures.is_empty() {
            self.active.retain(|a| a.undo != *undo);
        }
        failures
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

fn undo_event(
    injection: u32,
    undo: &Undo,
    done: Option<bool>,
    detail: Option<String>,
) -> UndoEvent {
    UndoEvent {
        injection,
        undo: undo.clone(),
        done,
        detail,
    }
}

/// Ends a task when the one that waits for it gives up.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Each injection draws for itself, so that what one hits does not depend on whether another was refused.
fn rng(seed: u64, occurrence: &Occurrence) -> Pcg64 {
    let spec = (occurrence.spec as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let nth = u64::from(occurrence.nth).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    Pcg64::seed_from_u64(seed.wrapping_add(spec).wrapping_add(nth))
}

fn slots(instances: &[Instance]) -> usize {
    let slots: std::collections::BTreeSet<_> = instances.iter().map(|i| &i.slot).collect();
    slots.len()
}

#[cfg(test)]
pub(super) mod tests;
