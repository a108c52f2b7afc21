//! What followed an injection, as one timeline: summary and verdict are both made from it.

use std::collections::BTreeSet;

use super::FaultSummary;
use super::injection::Injection;
use super::timeline::{Timeline, end_of, steps, sum_where};
use crate::record::{InstanceState, Micros, What};

/// The events that followed an injection, without the traffic's restoration.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Aftermath {
    /// Every instance hit was seen not ready or ended.
    pub not_ready_us: Option<Micros>,
    /// Every instance hit has ended.
    pub ended_us: Option<Micros>,
    /// The balancer's set has none of them.
    pub endpoint_removed_us: Option<Micros>,
    /// Last request sent to any of them before it was back.
    pub last_request_us: Option<Micros>,
    /// All of them, or their replacements, were ready again.
    pub ready_again_us: Option<Micros>,
    /// All of those have answered a request.
    pub first_served_us: Option<Micros>,
    /// Instances hit of which no replacement was ready.
    pub missing: Vec<String>,
    /// Instances hit that the balancer never let go.
    pub still_listed: Vec<String>,
    /// The record tells of the balancer's set at all.
    pub has_endpoints: bool,
}

/// What became of one instance.
#[derive(Default)]
struct Fate {
    not_ready: Option<Micros>,
    ended: Option<Micros>,
    removed: Option<Micros>,
    last_request: Option<Micros>,
    ready_again: Option<Micros>,
    first_served: Option<Micros>,
}

/// Follows an injection's instances until `until` (the next injection of the same instance, or the end).
pub(crate) fn aftermath(timeline: &Timeline<'_>, injection: &Injection) -> Aftermath {
    let has_endpoints = timeline
        .record
        .events
        .iter()
        .any(|e| matches!(e.what, What::Endpoints { .. }));
    let fates: Vec<Fate> = injection
        .instances
        .iter()
        .map(|name| follow(timeline, injection, name))
        .collect();
    // "All of them" takes the latest, and nothing where one never came.
    let all = |pick: fn(&Fate) -> Option<Micros>| -> Option<Micros> {
        let times: Option<Vec<Micros>> = fates.iter().map(pick).collect();
        times?.into_iter().max()
    };
    let without = |pick: fn(&Fate) -> Option<Micros>| -> Vec<String> {
        let named = injection.instances.iter().zip(&fates);
        named
            .filter(|(_, fate)| pick(fate).is_none())
            .map(|(name, _)| name.clone())
            .collect()
    };
    Aftermath {
        not_ready_us: all(|f| f.not_ready),
        ended_us: all(|f| f.ended),
        endpoint_removed_us: all(|f| f.removed),
        last_request_us: fates.iter().filter_map(|f| f.last_request).max(),
        ready_again_us: all(|f| f.ready_again),
        first_served_us: all(|f| f.first_served),
        missing: without(|f| f.ready_again),
        still_listed: without(|f| f.removed),
        has_endpoints,
    }
}

fn follow(timeline: &Timeline<'_>, injection: &Injection, name: &str) -> Fate {
    let began = injection.began_us;
    let mut fate = Fate::default();
    let mut slot: Option<&str> = None;
    let mut listed_before: Option<bool> = None;
    let mut heirs: BTreeSet<&str> = BTreeSet::new();
    for event in &timeline.record.events {
        let after = event.at >= began && event.at < timeline.stopping;
        match &event.what {
            What::Instance(change) if change.name == name => {
                slot = Some(&change.slot);
                if !after {
                    continue;
                }
                match change.state {
                    InstanceState::NotReady | InstanceState::Terminating => {
                        fate.not_ready.get_or_insert(event.at);
                    }
                    InstanceState::Ended => {
                        fate.not_ready.get_or_insert(event.at);
                        fate.ended.get_or_insert(event.at);
                    }
                    InstanceState::Ready if fate.not_ready.is_some() => {
                        fate.ready_again.get_or_insert(event.at);
                        heirs.insert(name);
                    }
                    InstanceState::Ready | InstanceState::Started => {}
                }
            }
            // Whoever takes the slot after the injection is the replacement.
            What::Instance(change)
                if after && slot == Some(&change.slot) && change.state == InstanceState::Ready =>
            {
                fate.ready_again.get_or_insert(event.at);
                heirs.insert(&change.name);
            }
            What::Endpoints { ready } => {
                let listed = ready.iter().any(|n| n == name);
                if event.at < began {
                    listed_before = Some(listed);
                } else if after && !listed {
                    // Not the end of the run, when the platform empties the set.
                    fate.removed.get_or_insert(event.at);
                }
            }
            _ => {}
        }
    }
    if listed_before == Some(false) {
        // It was out already: nothing was to be removed.
        fate.removed = Some(fate.removed.map_or(began, |at| at.min(began)));
    }
    requests(timeline, injection, name, &heirs, &mut fate);
    fate
}

/// The last request sent to the instance while it was down, and the first that its heirs answered.
fn requests(
    timeline: &Timeline<'_>,
    injection: &Injection,
    name: &str,
    heirs: &BTreeSet<&str>,
    fate: &mut Fate,
) {
    let back = [fate.ready_again, injection.undone_us];
    let back = back.into_iter().flatten().min().unwrap_or(Micros::MAX);
    for interval in &timeline.seconds {
        if end_of(interval) < injection.began_us {
            continue;
        }
        for (step, _) in steps(interval) {
            for (served_by, counts) in &step.instances {
                if served_by == name {
                    let last = counts.last_us.filter(|at| *at < back);
                    fate.last_request = fate.last_request.max(last);
                }
                let ready = fate
                    .ready_again
                    .filter(|_| heirs.contains(served_by.as_str()));
                if let (Some(ready), Some(first)) = (ready, counts.first_us)
                    && first >= ready
                {
                    fate.first_served = Some(fate.first_served.map_or(first, |f| f.min(first)));
                }
            }
        }
    }
}

/// The end of the last second that still holds requests which were due before `until`: what hung then.
pub(crate) fn tail(timeline: &Timeline<'_>, until: Micros) -> Micros {
    let mut tail = until;
    for interval in &timeline.seconds {
        let end = end_of(interval);
        if end <= until {
            continue;
        }
        let middle = interval.second.start_us + (end - interval.second.start_us) / 2;
        let from_before = steps(interval).filter_map(|(_, h)| h).any(|histograms| {
            histograms.response.iter().any(|(outcome, histogram)| {
                let longest = if histogram.is_empty() {
                    0
                } else {
                    histogram.max()
                };
                // A healthy request that straddles the moment is not a sign of the fault.
                (outcome.failed() || longest > 1_000_000)
                    && middle.saturating_sub(longest).saturating_add(500_000) < until
            })
        });
        if from_before {
            tail = tail.max(end);
        }
    }
    tail
}

/// Failed requests in the seconds that touch a span.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Failures {
    /// All.
    pub failed: u64,
    /// All that ended.
    pub ended: u64,
    /// Without a response, and not the generator's own.
    pub unanswered: u64,
    /// Of those, timeouts: a generator at its limit makes them by itself.
    pub timed_out: u64,
    /// Blamed on the instances given: theirs, or nobody's and not blamed on another.
    pub blamed: u64,
    /// First failure.
    pub first_us: Option<Micros>,
    /// Last failure.
    pub last_us: Option<Micros>,
}

/// Adds up the failures from `from` to `to`.
pub(crate) fn failures(
    timeline: &Timeline<'_>,
    from: Micros,
    to: Micros,
    instances: &[String],
) -> Failures {
    let mut sum = Failures::default();
    for interval in &timeline.seconds {
        if end_of(interval) <= from || interval.second.start_us >= to {
            continue;
        }
        for (step, _) in steps(interval) {
            // A second that began before: its failures count if one of them can be later.
            if step.last_error_us.is_some_and(|last| last < from) {
                continue;
            }
            let failed = sum_where(step, |o| o.failed());
            let unanswered = sum_where(step, |o| {
                !o.answered()
                    && !matches!(
                        o,
                        crate::record::Outcome::Local | crate::record::Outcome::Unfinished
                    )
            });
            // The generator's own, and what it ended itself.
            let not_its = sum_where(step, |o| {
                matches!(
                    o,
                    crate::record::Outcome::Local | crate::record::Outcome::Unfinished
                )
            });
            let (mut own, mut others) = (0u64, 0u64);
            for (name, counts) in &step.instances {
                match instances.contains(name) {
                    true => own = own.saturating_add(counts.failed),
                    false => others = others.saturating_add(counts.failed),
                }
            }
            // What names nobody may be theirs: a connection without a response yet, or a proxy that answers for a dead one.
            let blamed = own.max(failed.saturating_sub(not_its).saturating_sub(others));
            sum.failed = sum.failed.saturating_add(failed);
            sum.ended = sum.ended.saturating_add(sum_where(step, |_| true));
            sum.unanswered = sum.unanswered.saturating_add(unanswered);
            let timed_out = sum_where(step, |o| o == crate::record::Outcome::Timeout);
            sum.timed_out = sum.timed_out.saturating_add(timed_out);
            sum.blamed = sum.blamed.saturating_add(blamed);
            if failed > 0 {
                let first = step
                    .first_error_us
                    .filter(|at| *at >= from)
                    .or(step.last_error_us);
                let earliest = [sum.first_us, first].into_iter().flatten().min();
                sum.first_us = earliest;
                sum.last_us = sum.last_us.max(step.last_error_us);
            }
        }
    }
    sum
}

/// What failed on an injection's instances anyway: in the seconds that were over when it began. The second in which it
/// began may hold its own failures, and they would excuse themselves.
pub(crate) fn background(timeline: &Timeline<'_>, injection: &Injection) -> Failures {
    let ends = timeline.seconds.iter().map(|interval| end_of(interval));
    let until = ends.filter(|end| *end <= injection.began_us).max();
    let from = timeline.judged_from;
    failures(timeline, from, until.unwrap_or(from), &injection.instances)
}

/// The public summary of an injection.
pub(crate) fn summarize(
    injection: &Injection,
    after: &Aftermath,
    failures: &Failures,
    restored_us: Option<Micros>,
) -> FaultSummary {
    FaultSummary {
        injection: injection.number,
        name: injection.name.clone(),
        fault: injection.fault.clone(),
        effect: injection.effect,
        stage: injection.stage,
        detail: injection.detail.clone(),
        instances: injection.instances.clone(),
        injected_us: injection.injected_us,
        undone_us: injection.undone_us,
        first_error_us: failures.first_us,
        last_error_us: failures.last_us,
        failed_requests: failures.failed,
        not_ready_us: after.not_ready_us,
        endpoint_removed_us: after.endpoint_removed_us,
        last_request_us: after.last_request_us,
        ready_again_us: after.ready_again_us,
        first_served_us: after.first_served_us,
        restored_us,
    }
}
