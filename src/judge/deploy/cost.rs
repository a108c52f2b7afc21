//! What a rollout cost: failed requests while it went on, by whose they were.

use super::rollouts::{Pods, Rollout};
use crate::judge::timeline::{Timeline, end_of, sum_where};
use crate::record::{Micros, Outcome};

/// Requests of a span, and those of them that failed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Cost {
    pub ended: u64,
    pub failed: u64,
    /// Of those, without an answer.
    pub unanswered: u64,
    /// On pods that were told to end.
    pub old: u64,
    /// On pods that were started by the rollout.
    pub new: u64,
    /// On other pods.
    pub others: u64,
    /// Of `old` and `new`, on pods that no other fault had hit.
    pub apart: u64,
    /// What a generator at its limit produces by itself: timeouts.
    pub by_generator: u64,
    pub first_us: Option<Micros>,
    pub last_us: Option<Micros>,
}

impl Cost {
    /// Failures that name no pod: nothing had answered on their connection yet.
    pub fn nobodys(&self) -> u64 {
        self.failed
            .saturating_sub(self.old + self.new + self.others)
    }
}

/// Adds up the seconds that touch `from` to `to`; `hit`: the pods that other faults have hit.
pub(super) fn cost(
    timeline: &Timeline<'_>,
    (from, to): (Micros, Micros),
    pods: &Pods,
    hit: &[String],
) -> Cost {
    let mut cost = Cost::default();
    for interval in &timeline.seconds {
        if end_of(interval) <= from || interval.second.start_us >= to {
            continue;
        }
        for step in &interval.second.steps {
            cost.ended = cost.ended.saturating_add(sum_where(step, |_| true));
            // Of a second that began before, the failures count if one of them can be later.
            if step.last_error_us.is_some_and(|last| last < from) {
                continue;
            }
            // For want of a descriptor or a port nothing was asked of the service.
            let its = |o: Outcome| o.failed() && o != Outcome::Local;
            let failed = sum_where(step, its);
            cost.failed = cost.failed.saturating_add(failed);
            let unanswered = sum_where(step, |o| its(o) && !o.answered());
            cost.unanswered = cost.unanswered.saturating_add(unanswered);
            let own = |o: Outcome| matches!(o, Outcome::Timeout | Outcome::Unfinished);
            cost.by_generator = cost.by_generator.saturating_add(sum_where(step, own));
            for (name, counts) in &step.instances {
                let ending = pods.old.get(name).is_some_and(|p| p.told_to_end.is_some());
                let sum = match (ending, pods.new.contains_key(name)) {
                    (true, _) => &mut cost.old,
                    (false, true) => &mut cost.new,
                    (false, false) => &mut cost.others,
                };
                *sum = sum.saturating_add(counts.failed);
                if (ending || pods.new.contains_key(name)) && !hit.contains(name) {
                    cost.apart = cost.apart.saturating_add(counts.failed);
                }
            }
            if failed > 0 {
                let first = step.first_error_us.filter(|at| *at >= from);
                let first = first.or(step.last_error_us);
                cost.first_us = [cost.first_us, first].into_iter().flatten().min();
                cost.last_us = cost.last_us.max(step.last_error_us);
            }
        }
    }
    cost
}

/// What failed anyway: in the judged seconds that were over before anything was rolled out or broken.
pub(super) fn background(timeline: &Timeline<'_>, until: Micros) -> Cost {
    let ends = timeline.seconds.iter().map(|s| end_of(s));
    let whole = ends.filter(|end| *end <= until).max();
    let from = timeline.judged_from;
    cost(
        timeline,
        (from, whole.unwrap_or(from)),
        &Pods::default(),
        &[],
    )
}

/// What a rollout's own pods say of who is to blame, in words.
pub(super) fn blame(rollout: &Rollout, cost: &Cost) -> &'static str {
    match (cost.old, cost.new) {
        (0, 0) => "",
        (old, new) if old >= new && rollout.kind == "StatefulSet" => {
            ": pods do not drain, or are ready too early (old and new have the same name)"
        }
        (old, new) if old >= new => {
            ": pods that are told to end do not drain, or not for long enough"
        }
        _ => ": new pods are called ready too early",
    }
}
