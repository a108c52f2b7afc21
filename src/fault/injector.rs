//! Carries faults out: waits for their time, asks selection and guard, and takes every change back.
//!
//! Before a change is made its undo is in the ledger and the injection in the record, both on disk; if either
//! cannot be written, the change is not made. An undo, once it is needed, is done whatever else fails.
//!
//! Changes and undos are made beside each other: one that takes minutes (an eviction that a budget holds up, a machine that
//! boots) delays no other fault and no undo.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::guard::Places;
use super::undo::UndoFailure;
use super::{Ledger, Occurrence, occurrences, places};
use crate::platform::{Platform, Undo};
use crate::record::{Level, Sink};
use crate::scenario::{FaultKind, FaultSpec, Guard};

mod inject;
mod under_way;
mod undoing;
mod wait;

use under_way::{Applied, UnderWay};
use undoing::Undoing;
use wait::Waiting;

/// An injection that begins later than this after its time is noted.
const LATE: Duration = Duration::from_millis(100);
/// What was killed is seen to be gone within this; until then it looks as ready as before.
const SEEN: Duration = Duration::from_secs(2);

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
    /// Changes being made, as tasks of their own, so that they can be ended.
    applying: JoinSet<Applied>,
    /// The injections that they belong to.
    under_way: Vec<UnderWay>,
    /// Changes being taken back.
    undoing: Undoing,
    /// Instances that were hit for good a moment ago, and when.
    struck: Vec<(String, Instant)>,
    /// Injections whose time has come and whose condition has not.
    waiting: Vec<Waiting>,
    /// Number of the last injection.
    injections: u32,
    /// Injections begun, which is what the guard counts.
    made: u32,
    /// The most places seen of each owner.
    slots: Places,
    /// What faults with `pick: each` have hit, or are about to.
    turns: Vec<Turn>,
}

/// One that a fault with `pick: each` has hit.
struct Turn {
    spec: usize,
    injection: u32,
    /// Its place, or its node.
    unit: String,
}

/// A change that must be undone.
struct Active {
    id: u64,
    injection: u32,
    kind: FaultKind,
    /// The instances hit; the undo may be of something else: their node, their workload.
    instances: Vec<String>,
    undo: Undo,
    /// When it is to be undone; `None`: at the end.
    due: Option<Instant>,
    /// Its time is over; it waits for others that hold the same.
    over: bool,
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
            under_way: Vec::new(),
            undoing: Undoing::default(),
            struck: Vec::new(),
            waiting: Vec::new(),
            injections: 0,
            made: 0,
            slots: Places::new(),
            turns: Vec::new(),
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
        self.slots = places(&self.platform.instances());
        let mut planned = occurrences(&self.specs, traffic).into_iter().peekable();
        while !cancel.is_cancelled() {
            let inject_at = planned.peek().map(|o| start + o.at);
            let undo_at = self.active.iter().filter_map(|a| a.due).min();
            let limit_at = self.under_way.iter().map(|u| u.limit).min();
            let look_at = self.look_at();
            let moments = [inject_at, undo_at, limit_at, look_at];
            let next = moments.into_iter().flatten().min();
            if next.is_none() && self.undoing.is_empty() {
                return;
            }
            let next = next.unwrap_or(end);
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some(joined) = self.applying.join_next(), if !self.applying.is_empty() => {
                    self.note_applied(joined);
                    continue;
                }
                Some(joined) = self.undoing.next(), if !self.undoing.is_empty() => {
                    self.note_undone(joined);
                    continue;
                }
                () = sleep_until(next.min(end)) => {}
            }
            if next >= end {
                break;
            }
            if undo_at == Some(next) {
                self.undo_due(next);
            } else if limit_at == Some(next) {
                self.end_overdue(next);
            } else if look_at == Some(next) {
                self.look(end, &cancel).await;
            } else if let Some(occurrence) = planned.next() {
                match self.specs[occurrence.spec].when.clone() {
                    Some(when) => self.wait_for(occurrence, when, next),
                    None => {
                        self.let_old_go(&cancel).await;
                        self.note_if_late(&occurrence, next);
                        self.inject(&occurrence, &cancel).await;
                    }
                }
            }
        }
        self.give_up_waiting();
        self.settle_under_way().await;
    }

    /// Undoes everything that is in force, the latest of each thing first, and lists what could not be undone. May be
    /// called again.
    pub async fn undo_all(&mut self) -> Vec<UndoFailure> {
        // A change still under way would come after its undo.
        self.settle_under_way().await;
        let mut undos: Vec<Undo> = Vec::new();
        for active in self.active.iter().rev() {
            if !undos.contains(&active.undo) {
                undos.push(active.undo.clone());
            }
        }
        self.begin_undos(undos);
        self.finish_undos().await
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

    /// Undoes what is due, unless others that are not due hold the same.
    fn undo_due(&mut self, now: Instant) {
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
        undos.retain(|undo| {
            let mut same = self.active.iter().filter(|a| a.undo == *undo);
            let Some(holder) = same.find(|a| !a.over) else {
                return true;
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
            false
        });
        self.begin_undos(undos);
    }
}

#[cfg(test)]
pub(super) mod tests;
