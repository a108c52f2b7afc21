//! What is wrong though the algorithm was followed: a maximum that is too low, a metric that does not follow the load,
//! a target or metrics that the autoscaler cannot have.

use super::gather::Gathered;
use super::invariants::{Check, check_all, metrics};
use super::load::{Felt, Load, Step, is_above};
use super::published::Published;
use super::timeline::Timeline;
use crate::judge::timeline::micros;
use crate::judge::words;
use crate::record::Micros;
use crate::scenario::AutoscaleExpectation;

/// Something found.
pub(super) struct Finding {
    /// What kind of thing.
    pub what: &'static str,
    /// When.
    pub at: Micros,
    /// In words.
    pub text: String,
}

/// All that is wrong.
pub(super) fn all(gathered: &Gathered, load: &Load, expect: &AutoscaleExpectation) -> Vec<Finding> {
    let found = [
        no_request(gathered),
        no_target(gathered),
        at_max(&gathered.timeline, expect),
        deaf(&gathered.timeline, load),
    ];
    found.into_iter().flatten().collect()
}

/// Utilization is a part of the request, and there is none.
fn no_request(gathered: &Gathered) -> Option<Finding> {
    let (pod, container, resource) = gathered.no_request.first()?;
    let mut troubles = gathered.troubles.iter();
    // Or `missing pod-level request`, where pods have requests of their own.
    let trouble =
        troubles.find(|t| t.message.contains("missing") && t.message.contains("request"))?;
    let more = match gathered.no_request.len() {
        1 => String::new(),
        n => format!(" and {} more", words::counted(n as u64 - 1, "container")),
    };
    Some(Finding {
        what: "missing request",
        at: trouble.at,
        text: format!(
            "container {container} of pod {pod}{more} requests no {resource}, of which the autoscaler's utilization is \
             a part: {}",
            trouble.message
        ),
    })
}

/// The target cannot be read or written.
fn no_target(gathered: &Gathered) -> Option<Finding> {
    let last = gathered.timeline.syncs.last()?;
    let able = last.conditions.iter().find(|c| c.kind == "AbleToScale")?;
    let mut troubles = gathered.troubles.iter().rev();
    let trouble = troubles.find(|t| t.kind == "AbleToScale" && !able.status)?;
    Some(Finding {
        what: "target",
        at: trouble.at,
        text: format!(
            "the autoscaler cannot scale its target {} ({}): {}",
            gathered.target, trouble.reason, trouble.message
        ),
    })
}

/// When a status stood until.
fn end(timeline: &Timeline, i: usize) -> Micros {
    timeline.syncs.get(i + 1).map_or(timeline.until, |s| s.at)
}

/// Held at the maximum for too long, with a metric above its target.
fn at_max(timeline: &Timeline, expect: &AutoscaleExpectation) -> Option<Finding> {
    let replayed = timeline.replay();
    let mut since: Option<Micros> = None;
    let mut longest: Option<(Micros, Micros, usize)> = None;
    for (i, sync) in timeline.syncs.iter().enumerate() {
        let spec = timeline.spec(sync.at)?;
        if sync.failed() {
            continue;
        }
        if sync.current < spec.max || !is_above(timeline, i) {
            since = None;
            continue;
        }
        let from = *since.get_or_insert(sync.at);
        let lasted = end(timeline, i).saturating_sub(from);
        if longest.is_none_or(|(most, ..)| lasted > most) {
            longest = Some((lasted, from, i));
        }
    }
    let (lasted, from, i) = longest?;
    if lasted <= micros(expect.at_max) {
        return None;
    }
    let sync = &timeline.syncs[i];
    let asks = match replayed[i].raw {
        Some(raw) => format!(", which asks for {raw}"),
        None => String::new(),
    };
    Some(Finding {
        what: "at the maximum",
        at: from,
        text: format!(
            "maxReplicas {} is too low for this load: held there for {} with {}{asks}",
            sync.current,
            words::micros(lasted),
            metrics(&sync.published)
        ),
    })
}

/// A metric needs so long to show a step: a sample's window, its collection, and a few looks.
const PATIENCE: Micros = 90_000_000;

/// The load rose and users felt it for long, and the metric never left its target.
fn deaf(timeline: &Timeline, load: &Load) -> Option<Finding> {
    let ups = load.steps.iter().filter(|s| s.up);
    let mut felt = ups.zip(&load.felt).zip(&load.chains);
    felt.find_map(|((step, felt), chain)| {
        let last = felt.last.filter(|last| *last >= step.at + PATIENCE)?;
        let idle = chain.crossed.is_none() && chain.decided.is_none();
        let known = seen(timeline, step.at + PATIENCE)?;
        let stirred = load.stirs.iter().any(|(from, _)| *from <= last);
        if !idle || stirred || !known.iter().all(|m| *m != Published::Invalid) {
            return None;
        }
        Some(say_deaf(step, felt, last, known))
    })
}

/// What was published at a time.
fn seen(timeline: &Timeline, at: Micros) -> Option<&[Published]> {
    let last = timeline.syncs.iter().rev().find(|s| s.at <= at)?;
    (!last.published.is_empty()).then_some(&last.published)
}

fn say_deaf(step: &Step, felt: &Felt, last: Micros, known: &[Published]) -> Finding {
    Finding {
        what: "wrong metric",
        at: step.at,
        text: format!(
            "the metric does not follow this load: after it rose the goal was missed in {}, until {} later, while the \
             autoscaler saw {}",
            words::counted(felt.bad as u64, "second"),
            words::micros(last - step.at),
            metrics(known)
        ),
    }
}

/// Whether one restart of the controller, which forgets what was recommended, explains all that was broken.
pub(super) fn explained_by_restart(timeline: &Timeline, checks: &[Check]) -> bool {
    let broken = checks.iter().filter(|c| !c.violations.is_empty());
    let broken = broken.flat_map(|c| c.violations.iter().map(move |(at, _)| (c.id, *at)));
    if !broken
        .clone()
        .all(|(id, _)| ["I2", "I3", "I5"].contains(&id))
    {
        return false;
    }
    let Some(first) = broken.map(|(_, at)| at).min() else {
        return false;
    };
    // It came after the oldest recommendation that the first broken decision could rest on, and before that decision
    // or, for a status that stood for too long, before the next.
    let window = timeline.spec(first).map_or(0, |s| timeline.windows(s).1);
    let from = first.saturating_sub(window);
    let next = timeline.syncs.iter().find(|s| s.at > first);
    let until = next.map_or(timeline.until, |s| s.at);
    let step = micros(timeline.controller.sync_period / 2).max((until - from) / 200);
    let mut moments = (1..=200).map(|n| until.saturating_sub(n * step.max(1)));
    moments.any(|at| {
        let mut restarted = timeline.clone();
        restarted.restarts.push(at.max(from));
        restarted.restarts.sort_unstable();
        let checks = check_all(&restarted);
        checks.iter().all(|c| c.violations.is_empty())
    })
}
