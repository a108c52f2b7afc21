//! Each injection traced to its end, and the run cut into before, during and after faults by it.

use std::time::Duration;

use super::FaultSummary;
use super::impact::{Aftermath, Failures, aftermath, failures, summarize, tail};
use super::injection::Injection;
use super::restore::{Criteria, Found, Range, Search};
use super::timeline::{Scope, Timeline, end_of, micros};
use crate::record::Micros;
use crate::scenario::{Effect, FaultPhase};

/// An injection and what followed.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    /// Index among the injections.
    pub index: usize,
    /// Index of the next injection, whose effects cannot be told from this one's.
    pub next: Option<usize>,
    /// Where it was searched.
    pub range: Range,
    /// When the service must be well again; `None` while the fault has not been undone.
    pub deadline: Option<Micros>,
    /// The restoration seen.
    pub found: Found,
    /// The earliest restoration that cannot be excluded.
    pub earliest: Found,
    /// The events.
    pub after: Aftermath,
    /// Failed requests from the injection until its effects were over.
    pub failures: Failures,
    /// When its effects were over: restored, undone, and nothing left of what hung. [`Micros::MAX`] for never.
    pub over_us: Micros,
}

/// Injections closer than this are one blow: they are restored together or not at all.
const TOGETHER: Micros = 1_000_000;

/// Traces every injection that did something.
pub(crate) fn trace(
    timeline: &Timeline<'_>,
    injections: &[Injection],
    search: &Search<'_>,
    within: Duration,
) -> Vec<Trace> {
    (0..injections.len())
        .filter(|i| injections[*i].effective())
        .map(|i| trace_one(timeline, injections, i, search, within))
        .collect()
}

fn trace_one(
    timeline: &Timeline<'_>,
    injections: &[Injection],
    index: usize,
    search: &Search<'_>,
    within: Duration,
) -> Trace {
    let injection = &injections[index];
    let at = injection.at();
    let next = (0..injections.len())
        .filter(|i| injections[*i].effective())
        .filter(|i| injections[*i].began_us >= at.saturating_add(TOGETHER))
        .min_by_key(|i| injections[*i].began_us);
    let next_us = next.map(|i| injections[i].began_us);
    let deadline = deadline(injection, within);
    let after = aftermath(timeline, injection);
    let missing_until = (after.ready_again_us)
        .filter(|_| injection.ends_instance())
        .unwrap_or(0);
    let range = Range {
        // A change that takes its time (a graceful stop) shows its effects before it is done.
        from: injection.began_us,
        // The last second of a schedule ends some milliseconds late.
        horizon: next_us.unwrap_or_else(|| timeline.schedule_end.saturating_add(100_000)),
        // While what ended is missing the others carry its load: what breaks then is the fault's doing.
        watched_until: deadline.unwrap_or(Micros::MAX).max(missing_until),
    };
    let found = search.run(range, false);
    let limit = next_us.unwrap_or(Micros::MAX);
    let felt_until = match found.restored_us {
        Some(restored) => tail(timeline, restored).min(limit),
        None => limit.min(timeline.stop.saturating_add(1)),
    };
    let failures = failures(
        timeline,
        injection.began_us,
        settled(injection, &after, felt_until).min(limit),
        &injection.instances,
    );
    Trace {
        index,
        next,
        range,
        deadline,
        earliest: search.run(range, true),
        over_us: over(timeline, injection, found.restored_us),
        found,
        after,
        failures,
    }
}

/// When the service must be well again.
fn deadline(injection: &Injection, within: Duration) -> Option<Micros> {
    let from = match injection.lasts {
        Some(_) => injection.undone_us?,
        None => injection.at(),
    };
    Some(from.saturating_add(micros(within)))
}

/// Until when a failure may be the injection's doing, even where the windows stayed good. A rollout also answers
/// for the first requests to the replacement.
fn settled(injection: &Injection, after: &Aftermath, felt_until: Micros) -> Micros {
    let replacement = match injection.effect {
        Effect::Retirement => [after.ready_again_us, after.first_served_us],
        _ => [None, None],
    };
    [
        after.not_ready_us,
        after.ended_us,
        after.endpoint_removed_us,
        after.last_request_us,
    ]
    .into_iter()
    .chain(replacement)
    .flatten()
    .map(|at| at.saturating_add(1))
    .fold(felt_until, Micros::max)
}

fn over(timeline: &Timeline<'_>, injection: &Injection, restored: Option<Micros>) -> Micros {
    let Some(restored) = restored else {
        return Micros::MAX;
    };
    let undone = match injection.undone_us {
        Some(undone) => undone,
        None if !injection.lasting => injection.at(),
        None => return Micros::MAX,
    };
    tail(timeline, restored.max(undone))
}

/// The seconds (indexes) of each phase, judged ones only. Aligned to whole seconds to the side of `during`, so
/// that `before` and `after` hold nothing of a fault.
#[derive(Debug, Clone, Default)]
pub(crate) struct Phases {
    /// Before the first injection.
    pub before: Vec<usize>,
    /// Under a fault or its consequences.
    pub during: Vec<usize>,
    /// The rest.
    pub after: Vec<usize>,
}

impl Phases {
    /// The seconds of a phase.
    pub fn of(&self, phase: FaultPhase) -> &[usize] {
        match phase {
            FaultPhase::Before => &self.before,
            FaultPhase::During => &self.during,
            FaultPhase::After => &self.after,
        }
    }

    /// Cuts a run up.
    pub fn cut(timeline: &Timeline<'_>, injections: &[Injection], traces: &[Trace]) -> Self {
        let began = |trace: &Trace| injections[trace.index].began_us;
        let first = traces.iter().map(began).min().unwrap_or(Micros::MAX);
        let spans: Vec<(Micros, Micros)> = traces
            .iter()
            .map(|trace| {
                // Not restored when the next one came: that one's span goes on from there.
                let until = match (trace.over_us, trace.next) {
                    (Micros::MAX, Some(next)) if !injections[trace.index].lasting => {
                        injections[next].began_us
                    }
                    (over, _) => over,
                };
                (began(trace), until)
            })
            .collect();
        let mut phases = Self::default();
        for index in timeline.judged() {
            let interval = timeline.seconds[index];
            let (start, end) = (interval.second.start_us, end_of(interval));
            let hit = |(from, to): &(Micros, Micros)| end > *from && start < (*to).max(*from + 1);
            if spans.iter().any(hit) {
                phases.during.push(index);
            } else if end <= first {
                phases.before.push(index);
            } else {
                phases.after.push(index);
            }
        }
        phases
    }
}

/// Summaries of all injections: those that did something from their traces, the others as they are.
pub(crate) fn summaries(injections: &[Injection], traces: &[Trace]) -> Vec<FaultSummary> {
    let find = |index: usize| traces.iter().find(|t| t.index == index);
    injections
        .iter()
        .enumerate()
        .map(|(index, injection)| match find(index) {
            Some(t) => summarize(injection, &t.after, &t.failures, t.found.restored_us),
            None => summarize(injection, &Aftermath::default(), &Failures::default(), None),
        })
        .collect()
}

/// A search over windows needs its criteria for as long: both are kept here.
#[derive(Debug)]
pub(crate) struct Windows {
    /// The windows.
    pub windows: Vec<super::timeline::Window>,
    /// What they were tallied against.
    pub criteria: Criteria,
}

impl Windows {
    /// Tallies a timeline.
    pub fn new(timeline: &Timeline<'_>, criteria: Criteria) -> Self {
        Self {
            windows: super::timeline::windows(timeline, &Scope::default(), &criteria.bounds),
            criteria,
        }
    }
    /// A search over them.
    pub fn search(&self, hard: bool) -> Search<'_> {
        Search::new(&self.windows, &self.criteria, hard)
    }
}
