//! What a `recovery` verdict rests on: each injection's timeline, and what it cost.

use std::ops::Range;

use super::Evidence;
use super::bounds::{Tally, WindowCall, call_window, is_latency};
use super::impact::background;
use super::recovery::{Context, restarts};
use super::slo::shown;
use super::sure;
use super::timeline::end_of;
use super::trace::Trace;
use super::words::{count, counted, micros, percent, rate};
use crate::record::Micros;
use crate::scenario::{Bound, Effect, Metric};

/// So many injections are told in full besides the one that decided; the rest in one line each.
const TOLD_IN_FULL: usize = 2;
/// So many are told at all.
const TOLD: usize = 20;
/// A balancer that takes longer than this to let a dead instance go is worth a warning.
const SLOW_REMOVAL_US: Micros = 5_000_000;
/// The load before a fault is taken over so long.
const BEFORE_US: Micros = 5_000_000;

/// Bad seconds in words: `from 24 s to 25 s: 170 of 500 requests due then failed (34%), limit 0.1%`.
pub(super) fn window_words(c: &Context<'_>, range: Range<usize>) -> Option<String> {
    let windows = c.windows.windows.get(range)?;
    let (first, last) = (windows.first()?, windows.last()?);
    let missed = c
        .windows
        .criteria
        .bounds
        .iter()
        .enumerate()
        .filter_map(|(i, bound)| {
            let mut sum = Tally::default();
            for window in windows {
                sum.add(window.tallies.get(i)?);
            }
            match call_window(bound, &sum) {
                WindowCall::Bad(chance) => Some((chance, bound, sum)),
                WindowCall::Good => None,
            }
        });
    let (_, bound, tally) = missed.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let span = format!(
        "from {} to {}",
        c.analysis.when(first.start_us),
        c.analysis.when(last.end_us)
    );
    let (_, limit) = shown(bound, -1.0);
    Some(match bound.metric {
        Metric::Errors => format!(
            "{span}: {} of {} due then failed ({}), limit {limit}",
            count(tally.failed),
            counted(tally.ended, "request"),
            percent(tally.failed as f64 / tally.ended.max(1) as f64)
        ),
        metric if is_latency(metric) => format!(
            "{span}: {} of {} due then were not {} {limit}, the limit of {metric}",
            count(tally.bad),
            counted(tally.samples, "request"),
            bound.op
        ),
        _ => format!(
            "{span}: {}, limit {limit}",
            rate(tally.answered as f64 / tally.seconds.max(1e-9))
        ),
    })
}

fn fact(what: impl Into<String>, value: impl Into<String>, at_us: Option<Micros>) -> Evidence {
    Evidence {
        what: what.into(),
        value: value.into(),
        at_us,
    }
}

/// The facts, the deciding injection first.
pub(super) fn evidence(c: &Context<'_>, subject: Option<usize>) -> Vec<Evidence> {
    let mut facts = Vec::new();
    if c.traces.is_empty() {
        return facts;
    }
    facts.push(fact(
        "a second is good when",
        criteria_words(&c.windows.criteria.bounds),
        None,
    ));
    let restored = c.traces.iter().filter(|t| t.found.restored_us.is_some());
    facts.push(sure::row(format!(
        "windows of one second, a restoration is exact to about that; n = {}, {} of them restored",
        counted(c.traces.len() as u64, "injection"),
        count(restored.count() as u64)
    )));
    let mut order: Vec<usize> = (0..c.traces.len()).collect();
    order.sort_by_key(|i| Some(*i) != subject);
    for (place, index) in order.iter().take(TOLD).enumerate() {
        let trace = &c.traces[*index];
        if place <= TOLD_IN_FULL {
            full(c, trace, &mut facts);
        } else {
            let restored = match trace.found.restored_us {
                Some(at) => format!(
                    "restored {} later",
                    micros(at.saturating_sub(c.injection(trace).at()))
                ),
                None => "not restored".into(),
            };
            facts.push(fact(
                label(c, trace),
                restored,
                Some(c.injection(trace).at()),
            ));
        }
    }
    if c.traces.len() > TOLD {
        let more = (c.traces.len() - TOLD) as u64;
        facts.push(fact("more", counted(more, "injection"), None));
    }
    facts
}

fn label(c: &Context<'_>, trace: &Trace) -> String {
    let injection = c.injection(trace);
    format!("injection {}: {}", injection.number, injection.describe())
}

/// `errors < 1%, p99 < 250ms`.
fn criteria_words(bounds: &[Bound]) -> String {
    let each = bounds
        .iter()
        .map(|b| format!("{} {} {}", b.metric, b.op, shown(b, -1.0).1));
    each.collect::<Vec<_>>().join(" and ")
}

/// The whole timeline of an injection.
fn full(c: &Context<'_>, trace: &Trace, facts: &mut Vec<Evidence>) {
    let injection = c.injection(trace);
    let (at, after) = (injection.at(), &trace.after);
    let since =
        |moment: Micros| format!("{} after the injection", micros(moment.saturating_sub(at)));
    facts.push(fact(label(c, trace), "injected", Some(at)));
    let events = [
        ("fault undone", injection.undone_us),
        ("first error", trace.failures.first_us),
        ("not ready", after.not_ready_us),
        ("endpoint removed", after.endpoint_removed_us),
        ("last request to the instance", after.last_request_us),
        ("ready again", after.ready_again_us),
        ("first request served again", after.first_served_us),
        ("last error", trace.failures.last_us),
        ("restored", trace.found.restored_us),
    ];
    for (what, moment) in events {
        if let Some(moment) = moment {
            facts.push(fact(what, since(moment), Some(moment)));
        }
    }
    if trace.found.restored_us.is_none() {
        facts.push(fact("restored", "not seen", None));
    }
    if let Some(relapse) = trace.found.relapse_us {
        facts.push(fact(
            "bad again after good seconds",
            since(relapse),
            Some(relapse),
        ));
    }
    let failed = format!(
        "{} of {}",
        count(trace.failures.failed),
        count(trace.failures.ended)
    );
    facts.push(fact("requests failed until then", failed, None));
    warnings(c, trace, facts);
}

fn warnings(c: &Context<'_>, trace: &Trace, facts: &mut Vec<Evidence>) {
    let injection = c.injection(trace);
    for failure in &injection.undo_failures {
        facts.push(fact("warning", format!("an undo failed: {failure}"), None));
    }
    if injection.must_leave_endpoints() {
        let lag = trace
            .after
            .endpoint_removed_us
            .map(|r| r.saturating_sub(injection.at()));
        if !trace.after.has_endpoints {
            facts.push(fact(
                "endpoint removal",
                "not judged: the platform shows no endpoints",
                None,
            ));
        } else if let Some(lag) = lag.filter(|lag| *lag > SLOW_REMOVAL_US) {
            let text = format!(
                "the balancer let the instance go only after {}",
                micros(lag)
            );
            facts.push(fact("warning", text, trace.after.endpoint_removed_us));
        }
    }
    if injection.ends_instance() && !restarts(c) {
        facts.push(fact(
            "replacement",
            "not judged: nothing restarts the dead here",
            None,
        ));
    }
    if injection.effect == Effect::Death {
        cost(c, trace, facts);
    }
    if injection.effect == Effect::Retirement && trace.failures.blamed > 0 {
        let before = background(&c.analysis.timeline, injection);
        let text = format!(
            "{} of {} on it or its connections; before the fault {} of {}",
            count(trace.failures.blamed),
            count(trace.failures.ended),
            count(before.blamed),
            count(before.ended)
        );
        facts.push(fact("failed by the stop", text, None));
    }
}

/// What an abrupt kill may cost: what was sent to the instance until the last request to it, and what was in
/// flight. More means that errors come from elsewhere too; the bound on errors judges that.
fn cost(c: &Context<'_>, trace: &Trace, facts: &mut Vec<Evidence>) {
    let injection = c.injection(trace);
    let t = &c.analysis.timeline;
    let (mut due, mut seconds, mut in_flight) = (0u64, 0.0, 0u64);
    let (mut own, mut all) = (0u64, 0u64);
    for interval in &t.seconds {
        let (start, end) = (interval.second.start_us, end_of(interval));
        if end > injection.began_us || start < injection.began_us.saturating_sub(BEFORE_US) {
            continue;
        }
        seconds += (end - start) as f64 / 1e6;
        in_flight = 0;
        for step in &interval.second.steps {
            due = due.saturating_add(step.due);
            in_flight = in_flight.saturating_add(step.in_flight);
            for (name, counts) in &step.instances {
                all = all.saturating_add(counts.answered);
                if injection.instances.contains(name) {
                    own = own.saturating_add(counts.answered);
                }
            }
        }
    }
    if seconds <= 0.0 || all == 0 {
        return;
    }
    let per_second = due as f64 / seconds;
    let share = own as f64 / all as f64;
    // A refused request names no instance: until the balancer let it go, the dead one may have been asked.
    let last = trace
        .after
        .last_request_us
        .max(trace.after.endpoint_removed_us);
    let last = last.unwrap_or(injection.at()).max(injection.at());
    let exposed = (last - injection.at()) as f64 / 1e6;
    let most = (per_second * share * exposed).ceil() + in_flight as f64;
    let arithmetic = format!(
        "{} x {} x {exposed:.3} s + {} in flight = at most {}; {} failed",
        rate(per_second),
        percent(share),
        count(in_flight),
        counted(most as u64, "request"),
        count(trace.failures.failed)
    );
    facts.push(fact("cost of the kill", arithmetic, None));
    if trace.failures.failed as f64 > most {
        let text = "more requests failed than the dead instance explains";
        facts.push(fact("warning", text, None));
    }
}
