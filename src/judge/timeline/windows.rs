//! Windows of one second by when requests were DUE, not by when they ended.
//!
//! A request is recorded in the second in which it ended. A hung service therefore shows its errors only when the
//! timeouts run out, seconds later, and the seconds of the hang themselves look spotless: few requests, all good.
//! Who judged recovery on those would call a black hole "restored at once". So every sample goes back to the
//! window in which it was due: one of value `v` that ended in a second was due at that second's middle minus `v`,
//! to within half a second. Requests still in flight where the record ends have no outcome yet; a window that they
//! could turn bad is unknown, never good.

use std::collections::BTreeSet;

use super::{Scope, Timeline, end_of, steps};
use crate::judge::bounds::{Tally, WindowCall, call_window, is_latency};
use crate::record::{Interval, Latency, Micros, Outcome, StepHistograms, StepSecond, latency};
use crate::scenario::{Bound, Metric, Node};

/// One window.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Its start.
    pub start_us: Micros,
    /// Its end.
    pub end_us: Micros,
    /// Requests due in it.
    pub due: u64,
    /// Arrivals dropped in it.
    pub dropped: u64,
    /// Requests due in it of which the record does not tell how they ended.
    pub unresolved: u64,
    /// Whether the record holds this time at all.
    pub gap: bool,
    /// Counts, and samples against each bound.
    pub tallies: Vec<Tally>,
    /// As `tallies`, of failures that a slow generator cannot produce.
    pub hard: Vec<Tally>,
}

/// How a window stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WindowState {
    /// Every bound holds.
    Good,
    /// This bound (by index) is missed, and so likely is that by chance.
    Bad(usize, f64),
    /// No request was due.
    Empty,
    /// Requests that hang, were dropped or are not recorded could change it.
    Unknown,
}

/// More dropped arrivals than this share make a window unknown: it was not tested as it should have been.
const DROPPED_SHARE: f64 = 0.001;

/// The windows of a timeline, one a second, in order, tallied against `bounds`. A hole in the record is one window
/// marked as a gap. Of the scope, what it says of seconds is about when requests ended.
pub fn windows(timeline: &Timeline<'_>, scope: &Scope<'_>, bounds: &[Bound]) -> Vec<Window> {
    let mut windows = frame(timeline, bounds.len());
    if windows.is_empty() {
        return windows;
    }
    let chosen: Option<BTreeSet<usize>> = scope.seconds.map(|s| s.iter().copied().collect());
    for (index, interval) in timeline.seconds.iter().enumerate() {
        if chosen
            .as_ref()
            .is_some_and(|chosen| !chosen.contains(&index))
        {
            continue;
        }
        let own = at(&windows, interval.second.start_us);
        for (step, histograms) in steps(interval) {
            if scope.takes(&step.flow, &step.step) {
                windows[own].due = windows[own].due.saturating_add(step.due);
                windows[own].dropped = windows[own].dropped.saturating_add(step.dropped);
                place(&mut windows, bounds, interval, step, histograms);
            }
        }
    }
    mark_unresolved(timeline, &mut windows);
    windows
}

/// Empty windows where the seconds of the record lie.
fn frame(timeline: &Timeline<'_>, bounds: usize) -> Vec<Window> {
    let empty = |start_us: Micros, end_us: Micros, gap| {
        let tally = Tally {
            seconds: end_us.saturating_sub(start_us) as f64 / 1e6,
            ..Tally::default()
        };
        Window {
            start_us,
            end_us,
            due: 0,
            dropped: 0,
            unresolved: 0,
            gap,
            // One more than there are bounds: counts are there even without a bound.
            tallies: vec![tally; bounds + 1],
            hard: vec![tally; bounds + 1],
        }
    };
    let mut windows: Vec<Window> = Vec::with_capacity(timeline.seconds.len());
    for interval in &timeline.seconds {
        let (start, end) = (interval.second.start_us, end_of(interval));
        if let Some(last) = windows.last() {
            if end <= last.end_us {
                continue;
            }
            // The clock of a loaded machine ticks unevenly; half a second without any record is a hole.
            if start.saturating_sub(last.end_us) > 500_000 {
                windows.push(empty(last.end_us, start, true));
            }
        }
        let start = windows.last().map_or(start, |w| w.end_us);
        let nothing_due = interval.second.steps.iter().all(|step| step.due == 0);
        // What is left of the last second, when all of the schedule has been sent, is no time that tells anything.
        if end.saturating_sub(start) < 500_000 && nothing_due && !windows.is_empty() {
            continue;
        }
        windows.push(empty(start, end, false));
    }
    windows
}

/// The window that holds a time; the first or last for one outside.
fn at(windows: &[Window], time: Micros) -> usize {
    windows
        .partition_point(|w| w.start_us <= time)
        .saturating_sub(1)
}

/// Puts a second's samples where they were due.
fn place(
    windows: &mut [Window],
    bounds: &[Bound],
    interval: &Interval,
    step: &StepSecond,
    histograms: Option<&StepHistograms>,
) {
    let (start, end) = (interval.second.start_us, end_of(interval));
    let middle = start + (end - start) / 2;
    for (outcome, n) in &step.ended {
        let mut left = *n;
        if let Some(histogram) = histograms.and_then(|h| h.response.get(outcome)) {
            for bucket in histogram.iter_recorded() {
                let value = bucket.value_iterated_to();
                let times = bucket.count_at_value().min(left);
                left -= times;
                let index = at(windows, middle.saturating_sub(value));
                count(&mut windows[index], bounds, *outcome, times, Some(value));
            }
        }
        // Without a histogram (a damaged record) the second in which they ended is all that is known.
        let own = at(windows, middle);
        count(&mut windows[own], bounds, *outcome, left, None);
    }
}

fn count(window: &mut Window, bounds: &[Bound], outcome: Outcome, times: u64, value: Option<u64>) {
    if times == 0 {
        return;
    }
    let soft = matches!(
        outcome,
        Outcome::Timeout | Outcome::Unfinished | Outcome::Local
    );
    for (tallies, failed) in [
        (&mut window.tallies, outcome.failed()),
        (&mut window.hard, outcome.failed() && !soft),
    ] {
        for (i, tally) in tallies.iter_mut().enumerate() {
            tally.ended = tally.ended.saturating_add(times);
            if failed {
                tally.failed = tally.failed.saturating_add(times);
            }
            if outcome.answered() {
                tally.answered = tally.answered.saturating_add(times);
            }
            match (bounds.get(i), value) {
                (Some(bound), Some(value)) if outcome.in_latency() => {
                    tally.sample(bound, value, times);
                }
                _ => {}
            }
        }
    }
}

/// The response times of the requests of a scope that were due from `from` to `to`.
pub fn due_between(
    timeline: &Timeline<'_>,
    scope: &Scope<'_>,
    from: Micros,
    to: Micros,
) -> Latency {
    let mut sum = latency();
    for index in timeline.within(scope) {
        let Some(interval) = timeline.seconds.get(index) else {
            continue;
        };
        let (start, end) = (interval.second.start_us, end_of(interval));
        if end <= from {
            continue;
        }
        let middle = start + (end - start) / 2;
        let taken = steps(interval).filter(|(step, _)| scope.takes(&step.flow, &step.step));
        for (outcome, histogram) in taken.filter_map(|(_, h)| h).flat_map(|h| &h.response) {
            if !outcome.in_latency() {
                continue;
            }
            for bucket in histogram.iter_recorded() {
                let due = middle.saturating_sub(bucket.value_iterated_to());
                if due >= from && due < to {
                    sum.saturating_record_n(bucket.value_iterated_to(), bucket.count_at_value());
                }
            }
        }
    }
    sum
}

/// Finds the windows whose requests may still hang where the record ends.
fn mark_unresolved(timeline: &Timeline<'_>, windows: &mut [Window]) {
    let Some(last) = timeline.seconds.last() else {
        return;
    };
    let hanging = last.second.steps.iter().map(|s| s.in_flight);
    let hanging = hanging.fold(0u64, u64::saturating_add);
    if hanging == 0 {
        return;
    }
    // No request hangs for longer than its timeout; two seconds more for sorting it into the wrong window.
    let oldest = end_of(last).saturating_sub(longest_timeout(timeline).saturating_add(2_000_000));
    for window in windows.iter_mut().filter(|w| w.end_us > oldest) {
        let known = window.tallies.last().map_or(0, |t| t.ended);
        let missing = window
            .due
            .saturating_sub(window.dropped)
            .saturating_sub(known);
        window.unresolved = missing.min(hanging);
    }
}

/// The longest timeout of any step.
pub(crate) fn longest_timeout(timeline: &Timeline<'_>) -> Micros {
    fn of_nodes(nodes: &[Node]) -> Micros {
        let longest = nodes.iter().map(|node| match node {
            Node::Step(step) => step.timeout.map_or(0, super::micros),
            Node::Choose(branches) => {
                let each = branches.iter().map(|b| of_nodes(&b.journey));
                each.max().unwrap_or(0)
            }
            Node::Think(_) => 0,
        });
        longest.max().unwrap_or(0)
    }
    let flows = timeline.record.header.scenario.traffic.iter();
    let longest = flows.map(|f| super::micros(f.timeout).max(of_nodes(&f.journey)));
    longest.max().unwrap_or(0)
}

/// Calls a window by all its bounds. `hard` looks only at what a slow generator cannot produce: errors other than
/// timeouts.
pub fn call(window: &Window, bounds: &[Bound], hard: bool) -> WindowState {
    if window.gap {
        return WindowState::Unknown;
    }
    let tallies = if hard { &window.hard } else { &window.tallies };
    let bad = |pessimistic: bool| {
        let calls = bounds.iter().zip(tallies).enumerate();
        calls
            .filter(|(_, (bound, _))| !hard || bound.metric == Metric::Errors)
            .filter_map(|(i, (bound, tally))| {
                match call_window(bound, &with_hanging(bound, tally, window, pessimistic)) {
                    WindowCall::Bad(chance) => Some((i, chance)),
                    WindowCall::Good => None,
                }
            })
            .min_by(|a, b| a.1.total_cmp(&b.1))
    };
    if let Some((bound, chance)) = bad(false) {
        return WindowState::Bad(bound, chance);
    }
    if hard {
        return WindowState::Good;
    }
    let ended = window.tallies.last().map_or(0, |t| t.ended);
    // At a request or two a second the half second of sorting may leave a window without its only one.
    if ended == 0 && window.unresolved == 0 && window.dropped == 0 {
        return WindowState::Empty;
    }
    let dropped = window.dropped as f64 > DROPPED_SHARE * window.due.max(1) as f64;
    if dropped || ended == 0 || (window.unresolved > 0 && bad(true).is_some()) {
        return WindowState::Unknown;
    }
    WindowState::Good
}

/// The tally as it would be if all that still hang failed, each slower than the limit.
fn with_hanging(bound: &Bound, tally: &Tally, window: &Window, pessimistic: bool) -> Tally {
    let mut tally = *tally;
    if pessimistic {
        let n = window.unresolved;
        tally.ended = tally.ended.saturating_add(n);
        tally.failed = tally.failed.saturating_add(n);
        if is_latency(bound.metric) {
            tally.samples = tally.samples.saturating_add(n);
            tally.bad = tally.bad.saturating_add(n);
        }
    }
    tally
}
