//! From one list of alerts to the next: what changed in between.

use std::collections::BTreeMap;

use super::list::Alert;
use crate::record::{AlertEvent, AlertState, Micros};
use crate::scenario::AlertSource;

type Labels = BTreeMap<String, String>;

/// The alerts of the last look, by name and labels.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    known: BTreeMap<(String, Labels), AlertState>,
}

impl Tracker {
    /// What a list shows that the one before, of `seen`, did not.
    pub fn changes(
        &mut self,
        source: AlertSource,
        listed: Vec<Alert>,
        seen: Option<Micros>,
    ) -> Vec<AlertEvent> {
        let now: BTreeMap<(String, Labels), AlertState> = listed
            .into_iter()
            .map(|alert| ((alert.name, alert.labels), alert.state))
            .collect();
        let before = std::mem::take(&mut self.known);
        let event = |(name, labels): &(String, Labels), state| AlertEvent {
            source,
            name: name.clone(),
            labels: labels.clone(),
            state,
            not_before_us: seen,
        };
        let gone = before.keys().filter(|key| !now.contains_key(*key));
        let gone = gone.map(|key| event(key, AlertState::Resolved));
        let changed = now
            .iter()
            .filter(|(key, state)| before.get(*key) != Some(state));
        let changed = changed.map(|(key, state)| event(key, *state));
        let changes = gone.chain(changed).collect();
        self.known = now;
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(name: &str, state: AlertState) -> Alert {
        Alert {
            name: name.into(),
            labels: Labels::new(),
            state,
        }
    }

    #[test]
    fn only_changes_are_told_with_the_look_that_did_not_show_them() {
        use AlertState::{Firing, Pending, Resolved};
        let mut tracker = Tracker::default();
        let mut look = |listed: Vec<Alert>, seen| {
            let changes = tracker.changes(AlertSource::Prometheus, listed, seen);
            let short = changes
                .into_iter()
                .map(|e| (e.name, e.state, e.not_before_us));
            short.collect::<Vec<_>>()
        };
        let one = |name: &str, state, seen| vec![(name.to_string(), state, seen)];
        // What the first look shows was there already.
        assert_eq!(
            look(vec![alert("old", Firing)], None),
            one("old", Firing, None)
        );
        assert_eq!(look(vec![alert("old", Firing)], Some(5)), []);
        let both = vec![alert("old", Firing), alert("new", Pending)];
        assert_eq!(look(both, Some(6)), one("new", Pending, Some(6)));
        assert_eq!(
            look(vec![alert("new", Firing)], Some(7)),
            [
                ("old".to_string(), Resolved, Some(7)),
                ("new".to_string(), Firing, Some(7))
            ]
        );
        assert_eq!(look(vec![], Some(9)), one("new", Resolved, Some(9)));
    }
}
