//! Times in which a view was lost: what changed meanwhile was told late, or never.

use crate::record::{Micros, Record, View, What};

/// After a gap the changes in between are told at once and in any order: for so long nothing is concluded from them.
const CATCHING_UP: Micros = 1_000_000;

/// The view of pods.
pub const PODS: &str = "pods";
/// The view of who the balancer may choose.
pub const ENDPOINTS: &str = "endpointslices";

/// A span without a view of some kind of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// When it was lost.
    pub from: Micros,
    /// When all was known again; [`Micros::MAX`] for never.
    pub to: Micros,
    /// The kind of objects.
    pub of: String,
    /// Each change was told all the same, late.
    pub told_late: bool,
}

impl Gap {
    /// Whether it reaches into a time.
    pub fn touches(&self, from: Micros, to: Micros) -> bool {
        self.from < to && self.to > from
    }
}

/// The gaps in the views of these kinds, in order of their beginning.
pub fn gaps(record: &Record, kinds: &[&str]) -> Vec<Gap> {
    let mut gaps: Vec<Gap> = Vec::new();
    for event in &record.events {
        let What::Watch(watch) = &event.what else {
            continue;
        };
        if !kinds.contains(&&*watch.of) {
            continue;
        }
        let open = gaps
            .iter_mut()
            .find(|g| g.of == watch.of && g.to == Micros::MAX);
        match (watch.view, open) {
            (View::Lost, None) => gaps.push(Gap {
                from: event.at,
                to: Micros::MAX,
                of: watch.of.clone(),
                told_late: false,
            }),
            (view @ (View::Resumed | View::Relisted), Some(gap)) => {
                gap.to = event.at.saturating_add(CATCHING_UP);
                gap.told_late = view == View::Resumed;
            }
            _ => {}
        }
    }
    gaps
}
