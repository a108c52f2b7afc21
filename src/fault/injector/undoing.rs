//! Undos that are being done, beside each other: one that takes long (an API server that does not answer, a machine that
//! boots) holds up neither the others nor what is still to be injected. Those of one thing go one after the other.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Injector;
use crate::fault::undo::{UndoFailure, undo_with_retries};
use crate::platform::{PlatformError, Undo};
use crate::record::{Level, Micros, UndoEvent, What};

/// So many are done at once: an API server has others to serve.
const AT_ONCE: usize = 32;
/// The record's disk may hang; an undo does not wait for it longer than this.
const RECORD_LIMIT: Duration = Duration::from_secs(2);
/// At the same moment the old fault goes before the new one comes, which waits for it so long.
const OLD_GOES_FIRST: Duration = Duration::from_secs(5);

/// Undos that are due and not done.
#[derive(Default)]
pub(super) struct Undoing {
    tasks: JoinSet<Undone>,
    under_way: Vec<Undo>,
    /// They wait for one of the same thing, or for their turn.
    queue: VecDeque<Undo>,
}

/// How one undo went.
pub(super) struct Undone {
    undo: Undo,
    at: Micros,
    result: Result<(), String>,
}

impl Undoing {
    pub(super) fn has(&self, undo: &Undo) -> bool {
        self.under_way.contains(undo) || self.queue.contains(undo)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The next that ends; `None` where none is under way.
    pub(super) async fn next(&mut self) -> Option<Result<Undone, JoinError>> {
        self.tasks.join_next().await
    }

    /// The first in the queue that may begin.
    fn take(&mut self) -> Option<Undo> {
        let busy = |undo: &Undo| {
            let mut same = self.under_way.iter();
            same.any(|other| other.instance() == undo.instance())
        };
        if self.under_way.len() >= AT_ONCE {
            return None;
        }
        let at = self.queue.iter().position(|undo| !busy(undo))?;
        self.queue.remove(at)
    }
}

impl Injector {
    /// Undoes these, each for all injections that hold it; what is being undone already is not begun again.
    pub(super) fn begin_undos(&mut self, undos: Vec<Undo>) {
        for undo in undos {
            if !self.undoing.has(&undo) {
                self.undoing.queue.push_back(undo);
            }
        }
        while let Some(undo) = self.undoing.take() {
            self.begin_undo(undo);
        }
    }

    fn begin_undo(&mut self, undo: Undo) {
        let holders = self.active.iter().filter(|a| a.undo == undo);
        let holders: Vec<u32> = holders.map(|a| a.injection).collect();
        self.undoing.under_way.push(undo.clone());
        let (platform, sink) = (self.platform.clone(), self.sink.clone());
        self.undoing.tasks.spawn(async move {
            for injection in holders {
                // An undo is done even where it cannot be recorded.
                let event = What::Undo(event(injection, &undo, None, None));
                let _ = timeout(RECORD_LIMIT, sink.emit_durable(event)).await;
            }
            let result = undo_with_retries(&undo, || async {
                let undone = AssertUnwindSafe(platform.undo(&undo)).catch_unwind();
                let panicked = |_| Err(PlatformError::Failed("it panicked".into()));
                undone.await.unwrap_or_else(panicked)
            });
            let result = result.await;
            let at = sink.clock().now();
            Undone { undo, at, result }
        });
    }

    /// Records how an undo went; what failed is returned, stays in the ledger, and is tried again at the end.
    pub(super) fn note_undone(&mut self, joined: Result<Undone, JoinError>) -> Vec<UndoFailure> {
        let Ok(Undone { undo, at, result }) = joined else {
            return Vec::new();
        };
        self.undoing.under_way.retain(|u| *u != undo);
        let error = result.as_ref().err().cloned();
        let holders = self.active.iter().filter(|a| a.undo == undo);
        let holders: Vec<(u64, u32)> = holders.map(|a| (a.id, a.injection)).collect();
        let mut failures = Vec::new();
        for (id, injection) in holders {
            let told = event(injection, &undo, Some(error.is_none()), error.clone());
            self.sink.emit_at(at, What::Undo(told));
            let settled = result.as_ref().copied().map_err(String::as_str);
            if let Err(e) = self.ledger.settle(id, settled) {
                self.sink.note(Level::Warning, e.to_string());
            }
            failures.extend(error.clone().map(|error| UndoFailure {
                injection,
                undo: undo.clone(),
                error,
            }));
        }
        if failures.is_empty() {
            self.active.retain(|a| a.undo != undo);
        }
        self.begin_undos(Vec::new());
        failures
    }

    /// Waits for all that is being undone, and lists what could not be.
    pub(super) async fn finish_undos(&mut self) -> Vec<UndoFailure> {
        let mut failures = Vec::new();
        while let Some(joined) = self.undoing.next().await {
            failures.extend(self.note_undone(joined));
        }
        failures
    }

    /// Waits a while for what is being undone, before something new is done.
    pub(super) async fn let_old_go(&mut self, cancel: &CancellationToken) {
        tokio::select! {
            () = cancel.cancelled() => {}
            _ = timeout(OLD_GOES_FIRST, self.finish_undos()) => {}
        }
    }
}

fn event(injection: u32, undo: &Undo, done: Option<bool>, detail: Option<String>) -> UndoEvent {
    UndoEvent {
        injection,
        undo: undo.clone(),
        done,
        detail,
    }
}
