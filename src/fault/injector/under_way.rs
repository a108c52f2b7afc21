//! Changes that are being made, and what becomes of an injection once all of its are.

use std::time::Duration;

use tokio::task::{AbortHandle, JoinError};
use tokio::time::{Instant, timeout};

use super::Injector;
use super::inject::{Planned, stage_of};
use crate::platform::PlatformError;
use crate::record::{FaultStage, Micros, What};

/// What a change under way gets to finish, once the run is over.
const APPLY_GRACE: Duration = Duration::from_secs(2);

/// An injection whose changes are being made.
pub(super) struct UnderWay {
    pub(super) planned: Planned,
    pub(super) lasts: Option<Duration>,
    /// What is not made by then has failed.
    pub(super) limit: Instant,
    pub(super) tasks: Vec<AbortHandle>,
    pub(super) applied: Vec<Applied>,
}

/// How making one change went.
pub(super) struct Applied {
    pub(super) injection: u32,
    pub(super) instance: String,
    pub(super) at: Micros,
    pub(super) result: Result<(), PlatformError>,
}

impl Injector {
    /// One change is made or has failed; with the last of an injection it is concluded.
    pub(super) fn note_applied(&mut self, joined: Result<Applied, JoinError>) {
        // One that was ended has been concluded as such.
        let Ok(applied) = joined else {
            return;
        };
        let injection = applied.injection;
        let of = |u: &UnderWay| u.planned.injection == injection;
        let Some(at) = self.under_way.iter().position(of) else {
            return;
        };
        self.under_way[at].applied.push(applied);
        if self.under_way[at].applied.len() == self.under_way[at].tasks.len() {
            let done = self.under_way.remove(at);
            self.conclude(done);
        }
    }

    /// Ends what has taken too long.
    pub(super) fn end_overdue(&mut self, now: Instant) {
        while let Some(at) = self.under_way.iter().position(|u| u.limit <= now) {
            let overdue = self.under_way.remove(at);
            overdue.tasks.iter().for_each(AbortHandle::abort);
            self.conclude(overdue);
        }
    }

    /// Gives what is under way a moment to finish, then ends it.
    pub(super) async fn settle_under_way(&mut self) {
        let finish = async {
            while let Some(joined) = self.applying.join_next().await {
                self.note_applied(joined);
            }
        };
        if timeout(APPLY_GRACE, finish).await.is_err() {
            self.applying.shutdown().await;
        }
        for ended in std::mem::take(&mut self.under_way) {
            self.conclude(ended);
        }
    }

    /// Records what was made and when it is due to be undone; what failed may be half made and is undone at once.
    fn conclude(&mut self, done: UnderWay) {
        let UnderWay {
            planned,
            lasts,
            applied,
            ..
        } = done;
        let now = Instant::now();
        let (mut hit, mut failed, mut words, mut at) = (Vec::new(), Vec::new(), Vec::new(), 0);
        // Refused only if all of it was: half of it made is not nothing.
        let (mut stage, mut effect) = (FaultStage::Refused, true);
        for prepared in &planned.changes {
            let name = &prepared.change.instance;
            let made = applied.iter().find(|a| a.instance == *name);
            let error = match made.map(|a| (a.at, &a.result)) {
                Some((made, Ok(()))) => {
                    at = at.max(made);
                    hit.extend(prepared.hits.clone());
                    if prepared.undo.is_none() {
                        let hits = prepared.hits.iter().cloned();
                        self.struck.extend(hits.map(|name| (name, now)));
                    }
                    continue;
                }
                Some((_, Err(e))) => {
                    effect &= stage_of(e) != FaultStage::Ineffective;
                    if stage_of(e) == FaultStage::Failed {
                        stage = FaultStage::Failed;
                    }
                    e.to_string()
                }
                None => {
                    stage = FaultStage::Failed;
                    "it was ended because it took too long".to_string()
                }
            };
            failed.extend(prepared.hits.clone());
            words.push(format!("{name}: {error}"));
        }
        if !hit.is_empty() {
            stage = FaultStage::Injected;
        }
        // A fault that works on some and not on others is none that a verdict could rest on.
        if !effect {
            stage = FaultStage::Ineffective;
        }
        if stage != FaultStage::Injected {
            self.give_turn_back(planned.injection);
        }
        let instances = if hit.is_empty() { failed } else { hit.clone() };
        let mut event = self.event(planned.injection, planned.spec, stage, instances);
        event.detail = (!words.is_empty()).then(|| words.join("; "));
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
            let made = active.instances.iter().all(|i| hit.contains(i));
            active.due = if made {
                lasts.map(|lasts| now + lasts)
            } else {
                Some(now)
            };
        }
        if !words.is_empty() {
            self.undo_due(now);
        }
    }
}
