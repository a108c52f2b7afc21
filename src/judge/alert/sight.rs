//! What was seen of alerts, and when nothing was.

use std::collections::{BTreeMap, BTreeSet};

use crate::judge::timeline::Timeline;
use crate::record::{AlertEvent, AlertState, Micros, View, What};
use crate::scenario::AlertSource;

/// The last look of a run may be so long before its end: a second, and one that waited in vain.
const UNSURE: Micros = 5_000_000;

/// A change that was seen: it came after one look and by the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// The look that did not show it; `None` where it was there at the first look of all.
    pub not_before: Option<Micros>,
    /// The look that did.
    pub by: Micros,
}

impl Seen {
    /// It is certain that it came at this moment or later.
    pub fn surely_from(&self, at: Micros) -> bool {
        self.not_before.is_some_and(|t| t >= at)
    }
}

/// A time in which at least one of some alerts was there: firing, or suppressed.
#[derive(Debug, Clone)]
pub(super) struct Episode<'a> {
    pub began: Seen,
    /// When it first fired unsuppressed, and with what labels.
    pub told: Option<(Seen, &'a AlertEvent)>,
    pub ended: Option<Seen>,
}

impl Episode<'_> {
    /// Whether it was there at a moment.
    pub fn holds(&self, at: Micros) -> bool {
        self.began.by <= at && self.ended.is_none_or(|ended| ended.by > at)
    }
}

/// All that one source showed.
#[derive(Debug)]
pub(super) struct Sight<'a> {
    pub source: AlertSource,
    events: Vec<(Micros, &'a AlertEvent)>,
    /// From a first look to the last one before a look failed.
    spans: Vec<(Micros, Micros)>,
    /// Why the looks after each span failed.
    why: Vec<&'a str>,
    /// When the watch was over.
    end: Micros,
}

impl<'a> Sight<'a> {
    pub fn of(timeline: &Timeline<'a>, source: AlertSource) -> Self {
        let mut sight = Self {
            source,
            events: Vec::new(),
            spans: Vec::new(),
            why: Vec::new(),
            end: timeline.stopping.min(timeline.stop),
        };
        let mut open = None;
        for event in &timeline.record.events {
            match &event.what {
                What::Alert(alert) if alert.source == source => {
                    sight.events.push((event.at, alert))
                }
                What::Watch(watch) if watch.of == source.key() => match watch.view {
                    View::Lost => {
                        if let Some(from) = open.take() {
                            sight.spans.push((from, event.at));
                            sight.why.push(&watch.detail);
                        }
                    }
                    View::Relisted | View::Resumed => open = open.or(Some(event.at)),
                },
                _ => {}
            }
        }
        if let Some(from) = open {
            // squall was killed: nobody says when the last look was.
            let until = sight.end.saturating_sub(UNSURE);
            sight.spans.push((from, until.max(from)));
            sight.why.push("the record ends");
        }
        sight
    }

    /// The first and the last look of all.
    pub fn looks(&self) -> Option<(Micros, Micros)> {
        Some((self.spans.first()?.0, self.spans.last()?.1))
    }

    /// The times after the first look in which nothing was seen though the watch went on, and why.
    pub fn gaps(&self) -> impl Iterator<Item = (Micros, Micros, &'a str)> {
        let began = self.spans.iter().skip(1).map(|span| span.0);
        let spans = self.spans.iter().zip(began.chain([self.end]));
        let gaps = spans.zip(&self.why).enumerate();
        let last = self.spans.len().saturating_sub(1);
        gaps.map(|(i, ((span, next), why))| (i, (span.1, next, *why)))
            .filter(move |(i, (from, to, _))| *i < last || to.saturating_sub(*from) > UNSURE)
            .map(|(_, gap)| gap)
    }

    /// The first gap that reaches into a time.
    pub fn gap_in(&self, from: Micros, to: Micros) -> Option<(Micros, Micros, &'a str)> {
        self.gaps()
            .find(|(begins, ends, _)| *begins < to && *ends > from)
    }

    /// The times in which some alerts were there, in order.
    pub fn episodes(&self, wanted: impl Fn(&AlertEvent) -> bool) -> Vec<Episode<'a>> {
        let mut episodes: Vec<Episode<'a>> = Vec::new();
        let mut there = BTreeSet::new();
        for (at, event) in self.events.iter().filter(|(_, event)| wanted(event)) {
            let seen = Seen {
                not_before: event.not_before_us,
                by: *at,
            };
            let key = (&event.name, &event.labels);
            match event.state {
                AlertState::Firing | AlertState::Suppressed => {
                    if there.is_empty() {
                        episodes.push(Episode {
                            began: seen,
                            told: None,
                            ended: None,
                        });
                    }
                    there.insert(key);
                    if let (AlertState::Firing, Some(last)) = (event.state, episodes.last_mut()) {
                        last.told.get_or_insert((seen, *event));
                    }
                }
                AlertState::Pending | AlertState::Resolved => {
                    if there.remove(&key)
                        && there.is_empty()
                        && let Some(last) = episodes.last_mut()
                    {
                        last.ended = Some(seen);
                    }
                }
            }
        }
        episodes
    }

    /// The first time after a moment that some alert was pending.
    pub fn pending_after(
        &self,
        at: Micros,
        wanted: impl Fn(&AlertEvent) -> bool,
    ) -> Option<Micros> {
        let pending = self
            .events
            .iter()
            .find(|(t, event)| *t > at && event.state == AlertState::Pending && wanted(event));
        pending.map(|(t, _)| *t)
    }

    /// Whether some alert was pending at a moment: its condition held already.
    pub fn pending_at(&self, at: Micros, wanted: impl Fn(&AlertEvent) -> bool) -> bool {
        let mut state = BTreeMap::new();
        for (_, event) in self
            .events
            .iter()
            .filter(|(t, event)| *t <= at && wanted(event))
        {
            state.insert((&event.name, &event.labels), event.state);
        }
        state.values().any(|state| *state == AlertState::Pending)
    }

    /// Every alert that ever was there, once.
    pub fn alerts(&self) -> Vec<&'a AlertEvent> {
        let mut known = BTreeSet::new();
        let there = self.events.iter().filter(|(_, event)| {
            matches!(event.state, AlertState::Firing | AlertState::Suppressed)
        });
        there
            .filter(|(_, event)| known.insert((&event.name, &event.labels)))
            .map(|(_, event)| *event)
            .collect()
    }
}
