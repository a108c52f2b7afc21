//! How many pods were ready, and how many there were, at each moment of a rollout: from the watch of the pods, in which
//! changes come in the order in which they were made.

use std::collections::BTreeMap;

use super::rollouts::{Rollout, is_of};
use crate::judge::timeline::{Gap, Timeline};
use crate::record::{InstanceState, Micros, What};

/// More pods than allowed, for less than this, are two controllers that act beside each other: one makes a new pod
/// before the other has ended the old one that it replaces.
pub(super) const BRIEF: Micros = 2_000_000;

/// The extremes of a rollout.
#[derive(Debug, Clone, Default)]
pub(super) struct Capacity {
    /// Pods ready when it began.
    pub at_first: u64,
    /// The fewest ready at one time, when, and which pods had become not ready without being told to end.
    pub fewest: Option<(u64, Micros, Vec<String>)>,
    /// The most pods at one time that were not ending, for longer than [`BRIEF`], and since when.
    pub most: Option<(u64, Micros)>,
}

/// Counts the pods of a rollout until `until`.
pub(super) fn capacity(
    timeline: &Timeline<'_>,
    rollout: &Rollout,
    until: Micros,
    gaps: &[Gap],
) -> Capacity {
    let mut states: BTreeMap<&str, InstanceState> = BTreeMap::new();
    let mut capacity = Capacity::default();
    let mut seen = Seen::default();
    let mut began = false;
    for event in &timeline.record.events {
        if !began && event.at >= rollout.began_us {
            began = true;
            capacity.at_first = count(&states).0;
            seen.note(&states, rollout.began_us);
        }
        if event.at > until {
            break;
        }
        let What::Instance(change) = &event.what else {
            continue;
        };
        if !is_of(&change.slot, &rollout.name) {
            continue;
        }
        states.insert(&change.name, change.state);
        let blind = gaps.iter().any(|g| event.at >= g.from && event.at < g.to);
        if began && !blind {
            seen.note(&states, event.at);
        }
    }
    seen.end(until);
    capacity.fewest = seen.fewest;
    capacity.most = seen.most;
    capacity
}

/// Ready pods, and those that are not ending.
fn count(states: &BTreeMap<&str, InstanceState>) -> (u64, u64) {
    let of = |is: fn(InstanceState) -> bool| states.values().filter(|s| is(**s)).count() as u64;
    let ready = of(|s| s == InstanceState::Ready);
    let all = of(|s| !matches!(s, InstanceState::Terminating | InstanceState::Ended));
    (ready, all)
}

#[derive(Default)]
struct Seen {
    fewest: Option<(u64, Micros, Vec<String>)>,
    most: Option<(u64, Micros)>,
    /// Since when there have been at least so many pods.
    since: BTreeMap<u64, Micros>,
}

impl Seen {
    fn note(&mut self, states: &BTreeMap<&str, InstanceState>, at: Micros) {
        let (ready, all) = count(states);
        if self.fewest.as_ref().is_none_or(|(n, ..)| ready < *n) {
            let by_itself = states
                .iter()
                .filter(|(_, s)| **s == InstanceState::NotReady);
            let names = by_itself.map(|(name, _)| name.to_string()).collect();
            self.fewest = Some((ready, at, names));
        }
        for n in 1..=all {
            self.since.entry(n).or_insert(at);
        }
        for (n, since) in self.since.split_off(&(all + 1)) {
            self.lasted(n, since, at);
        }
    }

    fn lasted(&mut self, n: u64, since: Micros, to: Micros) {
        let long = to.saturating_sub(since) >= BRIEF;
        if long && self.most.is_none_or(|(most, _)| n > most) {
            self.most = Some((n, since));
        }
    }

    fn end(&mut self, until: Micros) {
        for (n, since) in std::mem::take(&mut self.since) {
            self.lasted(n, since, until);
        }
    }
}
