//! When a service was well again: the first of so many good windows in a row.

use super::bounds::{Tally, WindowCall, call_window};
use super::timeline::{Window, WindowState, call};
use crate::record::Micros;
use crate::scenario::units::Ratio;
use crate::scenario::{
    Bound, Expectation, LatencyKind, Limit, Metric, Op, RecoveryExpectation, Scenario,
};

/// What "well again" means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Criteria {
    /// All hold in a good window.
    pub bounds: Vec<Bound>,
    /// So many good ones in a row.
    pub windows: usize,
}

/// Good windows in a row where no expectation says how many.
const DEFAULT_WINDOWS: u32 = 3;

/// The criteria of an expectation: its own bounds, else the scenario's unscoped bounds on latency and errors, else
/// fewer than 1 % errors.
pub(crate) fn criteria(scenario: &Scenario, recovery: Option<&RecoveryExpectation>) -> Criteria {
    let mut bounds = recovery.map(|r| r.slo.clone()).unwrap_or_default();
    if bounds.is_empty() {
        bounds = scenario
            .expect
            .iter()
            .filter_map(|expectation| match expectation {
                Expectation::Slo(slo)
                    if slo.flow.is_none()
                        && slo.step.is_none()
                        && slo.phase.is_none()
                        && slo.of == LatencyKind::Response
                        && slo.bound.metric != Metric::Throughput
                        && slo.bound.op.is_upper_bound() =>
                {
                    Some(slo.bound)
                }
                _ => None,
            })
            .collect();
    }
    if bounds.is_empty() {
        bounds.push(Bound {
            metric: Metric::Errors,
            op: Op::Less,
            limit: Limit::Share(Ratio::fraction(0.01)),
        });
    }
    let windows = recovery.map_or(DEFAULT_WINDOWS, |r| r.windows.max(1));
    Criteria {
        bounds,
        windows: windows as usize,
    }
}

/// Windows with their states, ready to be searched.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    windows: &'a [Window],
    states: Vec<WindowState>,
    criteria: &'a Criteria,
    hard: bool,
}

/// Where to search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    /// The injection.
    pub from: Micros,
    /// Windows must end by then: the next injection, or the end of the schedule.
    pub horizon: Micros,
    /// A relapse before this moment takes the restoration back.
    pub watched_until: Micros,
}

/// What a search found.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Found {
    /// Start of the good windows that lasted.
    pub restored_us: Option<Micros>,
    /// Bad windows from the injection on.
    pub bad: usize,
    /// The first bad window's start.
    pub first_bad_us: Option<Micros>,
    /// The end of the last bad window.
    pub last_bad_us: Option<Micros>,
    /// The index of the worst bad window: the least likely by chance.
    pub worst: Option<usize>,
    /// The first windows in a row that are good each and bad together.
    pub pattern: Option<std::ops::Range<usize>>,
    /// Windows that say nothing: no request, a gap, hanging or dropped requests.
    pub blind: usize,
    /// When the service was bad again after good windows.
    pub relapse_us: Option<Micros>,
    /// Good windows in a row at the end of the search, where they were too few.
    pub trailing: usize,
}

/// A relapse takes back a restoration only where chance explains it in fewer cases than this: over many seconds a
/// one-in-twenty second is bound to come.
const RELAPSE_CHANCE: f64 = 0.001;

impl<'a> Search<'a> {
    /// Calls all windows. `hard`: see [`call`].
    pub fn new(windows: &'a [Window], criteria: &'a Criteria, hard: bool) -> Self {
        let states = windows
            .iter()
            .map(|w| call(w, &criteria.bounds, hard))
            .collect();
        Self {
            windows,
            states,
            criteria,
            hard,
        }
    }

    /// Searches for the restoration. `optimistic` gives the earliest that cannot be excluded: windows that say
    /// nothing count as good, those beyond the horizon too, and a service is well at the start of its last bad
    /// window, since a window is no finer than a second.
    pub fn run(&self, range: Range, optimistic: bool) -> Found {
        let mut found = Found::default();
        let first = self.windows.partition_point(|w| w.start_us < range.from);
        let last = self.windows.partition_point(|w| w.end_us <= range.horizon);
        let candidates = first..last.max(first);
        let holding = self.holding(first, range.from);
        if let Some(index) = holding {
            self.note_bad(index, &mut found);
        }
        let mut run = 0;
        let mut restored: Option<usize> = None;
        for index in candidates.clone() {
            let state = self.states[index];
            match state {
                WindowState::Bad(_, chance) => {
                    self.note_bad(index, &mut found);
                    let watched = restored.is_some_and(|start| {
                        self.windows[index].start_us < self.watched_until(start, range)
                    });
                    if chance < RELAPSE_CHANCE && watched {
                        found.relapse_us.get_or_insert(self.windows[index].start_us);
                        restored = None;
                    }
                    run = 0;
                }
                WindowState::Good => run += 1,
                WindowState::Empty | WindowState::Unknown => {
                    found.blind += 1;
                    run = if optimistic { run + 1 } else { 0 };
                }
            }
            if restored.is_none() && run >= self.criteria.windows {
                let start = index + 1 - self.criteria.windows;
                if self.together_good(start..index + 1) {
                    restored = Some(start);
                } else {
                    found.pattern.get_or_insert(start..index + 1);
                    run -= 1;
                }
            }
        }
        if restored.is_none() {
            found.trailing = run;
            if optimistic {
                restored = Some(candidates.end - run);
            }
        }
        found.restored_us =
            restored.map(|start| self.start_of(start, first, holding, range, optimistic));
        found
    }

    /// Until when a restoration may be taken back: as long as it was given, and for as long as it took. A pause between
    /// two outages that is shorter than the outages before it is none.
    fn watched_until(&self, start: usize, range: Range) -> Micros {
        let restored = self.windows[start].start_us;
        let took = restored.saturating_sub(range.from);
        match range.watched_until > range.from {
            true => range.watched_until.max(restored.saturating_add(took)),
            false => range.watched_until,
        }
    }

    /// The window that the injection itself lies in.
    fn holding(&self, first: usize, from: Micros) -> Option<usize> {
        let index = first.checked_sub(1)?;
        (self.windows[index].end_us > from).then_some(index)
    }

    fn note_bad(&self, index: usize, found: &mut Found) {
        let WindowState::Bad(_, chance) = self.states[index] else {
            return;
        };
        found.bad += 1;
        found
            .first_bad_us
            .get_or_insert(self.windows[index].start_us);
        found.last_bad_us = Some(self.windows[index].end_us);
        let worse = found.worst.is_none_or(|worst| match self.states[worst] {
            WindowState::Bad(_, before) => chance < before,
            _ => true,
        });
        if worse {
            found.worst = Some(index);
        }
    }

    /// Whether windows that are each good are so together: one failure in each of three seconds may be chance
    /// three times, and is a pattern.
    fn together_good(&self, range: std::ops::Range<usize>) -> bool {
        let windows = &self.windows[range];
        self.criteria.bounds.iter().enumerate().all(|(i, bound)| {
            if self.hard && bound.metric != Metric::Errors {
                return true;
            }
            let mut sum = Tally::default();
            for window in windows {
                let tallies = if self.hard {
                    &window.hard
                } else {
                    &window.tallies
                };
                sum.add(&tallies[i]);
            }
            call_window(bound, &sum) == WindowCall::Good
        })
    }

    /// The moment that a run of good windows stands for.
    fn start_of(
        &self,
        start: usize,
        first: usize,
        holding: Option<usize>,
        range: Range,
        optimistic: bool,
    ) -> Micros {
        let before = if start > first {
            Some(start - 1)
        } else {
            holding
        };
        let bad_before = before.filter(|i| matches!(self.states[*i], WindowState::Bad(..)));
        if start == first && bad_before.is_none() {
            return range.from;
        }
        match bad_before {
            Some(index) if optimistic => self.windows[index].start_us.max(range.from),
            _ => self
                .windows
                .get(start)
                .map_or(range.horizon, |w| w.start_us)
                .max(range.from),
        }
    }
}
