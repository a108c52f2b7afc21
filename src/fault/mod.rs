//! Faults: when (schedule), whom (selection), whether (guard), and that all of it is taken back (ledger, injector).
//!
//! The first three are pure decisions. What a fault does to an instance is the platform's; what it meant for users
//! is for `judge`. Nothing here generates load.

mod abort;
mod guard;
mod injector;
mod ledger;
mod schedule;
mod select;
mod undo;

pub use abort::AbortMonitor;
pub use guard::{Places, allow, places, struck};
pub use injector::Injector;
pub use ledger::{Ledger, LedgerError, Pending};
pub use schedule::{Occurrence, occurrences};
pub use select::{in_turn, select, unit_of};
pub use undo::{UndoFailure, UndoReport, undo_ledger};
