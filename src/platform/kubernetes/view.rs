//! What the watches have seen last, shared with those who act on it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::observe::WORKLOADS;
use super::pods::Pods;
use super::watch::Sight;
use super::workloads::Workloads;
use crate::scenario::Seen;

/// The pods, nodes and endpoints as last seen.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The pods behind the Service.
    pub pods: Arc<Mutex<Pods>>,
    /// Whether they are seen.
    pub sight: Sight,
    /// Zone of each node that has one.
    zones: Arc<Mutex<BTreeMap<String, String>>>,
    /// Whether each node is ready.
    nodes: Arc<Mutex<BTreeMap<String, bool>>>,
    /// The workloads behind the Service.
    workloads: Arc<Mutex<Workloads>>,
    /// Whether the other kinds of objects are seen.
    others: Arc<Mutex<BTreeMap<&'static str, Sight>>>,
}

/// A view that is lost for longer is none to decide by.
pub(super) const STALE: Duration = Duration::from_secs(2);

impl View {
    /// Whether objects of this kind are seen.
    pub fn sight_of(&self, kind: &'static str) -> Sight {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.entry(kind).or_default().clone()
    }

    /// What an abort condition may be on and cannot be looked at now, and for how long.
    pub fn unseen(&self) -> BTreeMap<Seen, Duration> {
        let lost = |kinds: &[&'static str]| {
            let lost = kinds
                .iter()
                .filter_map(|kind| self.sight_of(kind).lost_for());
            lost.max().filter(|lost| *lost > STALE)
        };
        let looks = [
            (Seen::NodesNotReady, lost(&["Node"])),
            (Seen::OthersDegraded, lost(&WORKLOADS)),
        ];
        let unseen = looks
            .into_iter()
            .filter_map(|(what, lost)| Some((what, lost?)));
        unseen.collect()
    }

    /// The pods; the lock is held for moments only.
    pub fn pods(&self) -> MutexGuard<'_, Pods> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The workloads behind the Service.
    pub fn workloads(&self) -> MutexGuard<'_, Workloads> {
        self.workloads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
    /// Zone of each node.
    pub fn zones(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.zones.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The nodes that are not ready.
    pub fn nodes_not_ready(&self) -> Vec<String> {
        let nodes = self.nodes();
        let unwell = nodes.iter().filter(|(_, ready)| !**ready);
        unwell.map(|(name, _)| name.clone()).collect()
    }
    /// Whether each node is ready.
    pub fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, bool>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// A view of other pods, on the same nodes.
    pub fn elsewhere(&self) -> Self {
        Self {
            pods: Arc::default(),
            sight: Sight::default(),
            workloads: Arc::default(),
            ..self.clone()
        }
    }
}
