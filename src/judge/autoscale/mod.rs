//! Did the HorizontalPodAutoscaler decide what it had to decide?
//!
//! [`decide()`] is the controller's algorithm written out in full, as a pure function of what the controller reads and
//! remembers. [`Timeline`] holds what watches saw of a run; its replay gives, for each status, the decision that the
//! published metrics and the memory force, as a range where a clock's grain or a rounding leaves one. [`check_all`]
//! checks the invariants I1 to I8 over it, [`judge`] makes the verdict, and [`Chain`], [`flaps`] and the rest say how
//! well the service followed its load.
//!
//! [`gather()`] makes the timeline from a record. Facts are those of Kubernetes 1.36; where older versions differ, both
//! are allowed for.

mod decide;
mod findings;
mod gather;
mod invariants;
mod load;
mod measures;
mod published;
mod rate;
mod replicas;
mod timeline;
mod types;
mod verdict;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod edge_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod replay_tests;

pub use crate::scenario::AutoscaleExpectation;
pub use decide::{decide, down_limit, up_limit, windows};
pub(super) use gather::Wall;
pub use gather::{Appeared, Gathered, Trouble, controller, gather, spec_of};
pub use invariants::*;
pub use load::{Felt, Load, Step};
pub use measures::*;
pub use published::{Groupings, Published, Range, Raw, Tally, ratios, recommendation};
pub use replicas::{Tolerances, propose};
pub use timeline::{GRAIN, Replayed, Rescale, Sync, Timeline, Write};
pub use types::*;
pub(super) use verdict::judge_run;
pub use verdict::{judge, written};
