//! What a `deploy` verdict rests on: each rollout's story, the deciding one first.

use super::rollouts::{Cause, Rollout, Told};
use super::strategy::Strategy;
use super::{Study, fact};
use crate::judge::words::{count, counted, list, micros};
use crate::judge::{Evidence, sure};

/// So many rollouts are told.
const TOLD: usize = 5;

pub(super) fn evidence(studies: &[Study<'_>], subject: Option<usize>) -> Vec<Evidence> {
    let mut facts = Vec::new();
    let mut order: Vec<usize> = (0..studies.len()).collect();
    order.sort_by_key(|i| Some(*i) != subject);
    for index in order.iter().take(TOLD) {
        story(&studies[*index], &mut facts);
    }
    if let Some(first) = order.first() {
        facts.push(how_sure(&studies[*first]));
    }
    if studies.len() > TOLD {
        let more = format!("{} rollouts", studies.len() - TOLD);
        facts.push(fact("more", more, None));
    }
    facts
}

fn story(s: &Study<'_>, facts: &mut Vec<Evidence>) {
    let rollout = s.rollout;
    let began = rollout.began_us;
    let since = |at| format!("{} after it began", micros(at - began));
    facts.push(fact(rollout.describe(), asked_by(s), Some(began)));
    facts.push(fact("strategy", strategy(s), None));
    if let (Some(limits), Some((fewest, at, _))) = (&s.limits, &s.capacity.fewest) {
        let text = format!("{fewest}, at least {} asked for", limits.ready);
        facts.push(fact("fewest pods ready", text, Some(*at)));
        if let Some((most, at)) = s.capacity.most {
            let text = format!("{most}, at most {} allowed", limits.pods);
            facts.push(fact("most pods not ending", text, Some(at)));
        }
    }
    let old = rollout.pods.old.values();
    let ended = old.filter(|p| p.told_to_end.is_some()).count();
    let text = format!("{ended} told to end, {} started", rollout.pods.new.len());
    facts.push(fact("pods", text, None));
    if let Some((name, took)) = slowest(rollout) {
        let text = format!("{name}, {} after it was seen first", micros(took));
        facts.push(fact("slowest pod to become ready", text, None));
    }
    match (rollout.finished_us, rollout.superseded_us) {
        (Some(at), _) => facts.push(fact("complete", since(at), Some(at))),
        (None, Some(at)) => facts.push(fact("overtaken by the next", since(at), Some(at))),
        (None, None) => facts.push(fact("complete", format!("not seen{}", s.why_late()), None)),
    }
    if let Some(at) = rollout.old_gone().filter(|at| *at > began) {
        facts.push(fact("last old pod gone", since(at), Some(at)));
    }
    cost(s, facts);
    for other in &s.others {
        facts.push(fact("at the same time", other.describe(), Some(other.at())));
    }
    for gap in &s.gaps {
        let text = format!("the watch of {} was lost", gap.of);
        facts.push(fact("gap", text, Some(gap.from)));
    }
}

/// Requests are a sample; pods and times are counted as they were.
fn how_sure(s: &Study<'_>) -> Evidence {
    sure::row(format!(
        "of failed requests {}; before it {}; pods and times counted from their watch, n = {}",
        sure::share(s.cost.failed, s.cost.ended, "request"),
        sure::share(s.background.failed, s.background.ended, "request"),
        counted(
            (s.rollout.pods.old.len() + s.rollout.pods.new.len()) as u64,
            "pod"
        )
    ))
}

fn asked_by(s: &Study<'_>) -> String {
    let injection = |index: usize| &s.analysis.injections[index];
    match s.rollout.cause {
        Cause::Outside => "asked for by somebody else than squall".into(),
        Cause::Restart(i) => format!("injection {}: rollout-restart", injection(i).number),
        Cause::Bad(i) => format!(
            "injection {}: bad-rollout, which is not meant to finish",
            injection(i).number
        ),
        Cause::Undo(i) => format!("the undo of injection {}", injection(i).number),
    }
}

fn strategy(s: &Study<'_>) -> String {
    match (s.rollout.strategy, &s.limits) {
        (_, Some(limits)) => limits.arithmetic.clone(),
        (Strategy::Recreate, _) => "Recreate: all old pods end before a new one starts".into(),
        (Strategy::OnDelete, _) => "OnDelete: a pod is replaced when somebody deletes it".into(),
        _ => "not told".into(),
    }
}

/// The new pod that took longest.
fn slowest(rollout: &Rollout) -> Option<(&String, u64)> {
    let took = |t: &Told| Some(t.ready? - t.started?);
    let new = rollout.pods.new.iter();
    new.filter_map(|(name, told)| Some((name, took(told)?)))
        .max_by_key(|(_, took)| *took)
}

fn cost(s: &Study<'_>, facts: &mut Vec<Evidence>) {
    let cost = &s.cost;
    let text = format!("{} of {}", count(cost.failed), count(cost.ended));
    facts.push(fact("requests failed until it had settled", text, None));
    if cost.failed == 0 {
        return;
    }
    for (what, n) in [
        ("failed on pods told to end", cost.old),
        ("failed on new pods", cost.new),
        ("failed on other pods", cost.others),
        ("failed and name no pod", cost.nobodys()),
    ] {
        if n > 0 {
            facts.push(fact(what, count(n), None));
        }
    }
    let before = format!(
        "{} of {}",
        count(s.background.failed),
        count(s.background.ended)
    );
    facts.push(fact("failed before it", before, None));
    for (what, at) in [("first error", cost.first_us), ("last error", cost.last_us)] {
        if let Some(at) = at {
            facts.push(fact(
                what,
                format!(
                    "{} after it began",
                    micros(at.saturating_sub(s.rollout.began_us))
                ),
                Some(at),
            ));
        }
    }
    let ending = s.rollout.pods.old.iter();
    let ending = ending.filter(|(_, t)| t.told_to_end.is_some());
    let names: Vec<String> = ending.map(|(name, _)| name.clone()).collect();
    if cost.old > 0 {
        facts.push(fact("pods told to end", list(&names), None));
    }
}
