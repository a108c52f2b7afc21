//! Undoing with patience: a few bounded attempts, for the injector of a living run and for the ledger of a dead one.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{Ledger, LedgerError, Pending};
use crate::platform::{PlatformError, Undo};

/// So many attempts to undo, with these waits in milliseconds before them.
const UNDO_WAITS: [u64; 6] = [0, 200, 800, 2000, 4000, 8000];
/// The attempts after these are for what stays when squall is gone, where an API server may be back in a moment.
const AT_LEAST: usize = 3;
/// They are not begun later than this.
const LONGEST: Duration = Duration::from_secs(45);

/// An undo that did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoFailure {
    /// The injection that needs it.
    pub injection: u32,
    /// What is left to be done.
    pub undo: Undo,
    /// How the last attempt failed.
    pub error: String,
}

impl std::fmt::Display for UndoFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            undo,
            injection,
            error,
        } = self;
        write!(f, "{undo} (injection {injection}): {error}")
    }
}

/// A few attempts, each bounded in time; the error of the last.
pub(super) async fn undo_with_retries<F>(undo: &Undo, attempt: impl Fn() -> F) -> Result<(), String>
where
    F: Future<Output = Result<(), PlatformError>>,
{
    let (began, limit) = (Instant::now(), undo.patience());
    let mut error = String::new();
    for (n, wait) in UNDO_WAITS.into_iter().enumerate() {
        if n >= AT_LEAST && (!undo.outlives_run() || began.elapsed() >= LONGEST) {
            break;
        }
        sleep(Duration::from_millis(wait)).await;
        error = match timeout(limit, attempt()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(e)) => e.to_string(),
            Err(_) => format!("no answer within {} s", limit.as_secs()),
        };
    }
    Err(error)
}

/// What undoing a ledger came to.
#[derive(Debug, Default)]
pub struct UndoReport {
    /// What was undone.
    pub done: Vec<Pending>,
    /// What could not be.
    pub failed: Vec<UndoFailure>,
    /// Lines of the ledger that could not be read; what they asked for is not known.
    pub damage: Vec<String>,
}

/// Undoes what a ledger of a run that is over says is pending, latest first, and writes down what was done.
pub async fn undo_ledger(
    path: &Path,
    undo: impl AsyncFn(&Undo) -> Result<(), PlatformError>,
) -> Result<UndoReport, LedgerError> {
    let mut ledger = Ledger::open(path)?;
    let mut report = UndoReport {
        damage: ledger.damage().to_vec(),
        ..Default::default()
    };
    for pending in ledger.pending().into_iter().rev() {
        let result = undo_with_retries(&pending.undo, || undo(&pending.undo)).await;
        // What was done counts, also where the ledger's disk is full: it may be done again, nothing is lost.
        let _ = ledger.settle(pending.id, result.as_ref().copied().map_err(|e| e.as_str()));
        match result {
            Ok(()) => report.done.push(pending),
            Err(error) => report.failed.push(UndoFailure {
                injection: pending.injection,
                undo: pending.undo,
                error,
            }),
        }
    }
    Ok(report)
}
