//! What a verdict on an alert rests on.

use super::case::{Case, fired_at};
use super::{Context, named, same};
use crate::judge::words::{count, counted, micros};
use crate::judge::{Evidence, sure};
use crate::record::{AlertEvent, Micros};

/// So many injections are told in full, and so many other alerts and gaps.
const TOLD: usize = 10;

fn fact(what: impl Into<String>, value: impl Into<String>, at_us: Option<Micros>) -> Evidence {
    Evidence {
        what: what.into(),
        value: value.into(),
        at_us,
    }
}

/// The facts, the deciding case first.
pub(super) fn evidence(
    context: &Context<'_>,
    cases: &[Case<'_>],
    subject: Option<usize>,
) -> Vec<Evidence> {
    let mut facts = Vec::new();
    let mut order: Vec<usize> = (0..cases.len()).collect();
    order.sort_by_key(|i| Some(*i) != subject);
    for index in order.iter().take(TOLD) {
        of_case(context, &cases[*index], &mut facts);
    }
    if cases.len() > TOLD {
        facts.push(fact(
            "more",
            format!("{} alerts", count((cases.len() - TOLD) as u64)),
            None,
        ));
    }
    looks(context, &mut facts);
    facts.push(sure::row(format!(
        "a change lies between two looks, exact to about a second; n = {}",
        counted(cases.len() as u64, "alert")
    )));
    others(context, cases, &mut facts);
    facts
}

fn of_case(context: &Context<'_>, case: &Case<'_>, facts: &mut Vec<Evidence>) {
    let injection = case.injection();
    let since = |t: Micros| {
        format!(
            "{} after the injection",
            micros(t.saturating_sub(injection.at()))
        )
    };
    let label = format!("injection {}: {}", injection.number, injection.describe());
    facts.push(fact(label, "injected", Some(injection.at())));
    if let Some(prometheus) = &context.prometheus {
        let began = injection.began_us;
        if let Some(at) = prometheus.pending_after(began, |event| case.wants(event)) {
            facts.push(fact("pending at Prometheus", since(at), Some(at)));
        }
        if let Some(at) = fired_at(prometheus, case).filter(|_| !context.only_prometheus()) {
            facts.push(fact("firing at Prometheus", since(at), Some(at)));
        }
    }
    let source = context.sight.source.name();
    if let Some((seen, event)) = case.fired() {
        let what = format!("firing at {source}");
        let value = format!("{}: {}", since(seen.by), named(&event.name, &event.labels));
        facts.push(fact(what, value, Some(seen.by)));
    }
    match case.over() {
        Ok(over) => facts.push(fact("fault over", since(over), Some(over))),
        Err(why) => facts.push(fact("fault over", format!("not seen: {why}"), None)),
    }
    if let Some(ended) = case.after().filter_map(|e| e.ended).last() {
        let what = format!("resolved at {source}");
        facts.push(fact(what, since(ended.by), Some(ended.by)));
    }
    let times = case.after().filter(|e| e.told.is_some()).count();
    if times > 1 {
        facts.push(fact("warning", format!("it fired {times} times"), None));
    }
}

/// When was looked, and when nothing was seen.
fn looks(context: &Context<'_>, facts: &mut Vec<Evidence>) {
    let (analysis, source) = (context.analysis, context.sight.source.name());
    let Some((first, last)) = context.sight.looks() else {
        facts.push(fact(format!("{source} looked at"), "never", None));
        return;
    };
    let value = format!(
        "once a second, from {} to {}",
        analysis.when(first),
        analysis.when(last)
    );
    facts.push(fact(format!("{source} looked at"), value, None));
    for (from, to, why) in context.sight.gaps().take(TOLD) {
        let value = format!("until {}: {why}", analysis.when(to));
        facts.push(fact("nothing seen", value, Some(from)));
    }
}

/// Other alerts: there before the run, or raised in it.
fn others(context: &Context<'_>, cases: &[Case<'_>], facts: &mut Vec<Evidence>) {
    let others = context.sight.alerts().into_iter();
    let others: Vec<&AlertEvent> = others
        .filter(|alert| !cases.iter().any(|case| case.wants(alert)))
        .collect();
    for alert in others.iter().take(TOLD) {
        let episodes = context.sight.episodes(|event| same(event, alert));
        let Some(episode) = episodes.first() else {
            continue;
        };
        let what = match episode.began.not_before {
            None => "another alert, there before the run",
            Some(_) if episode.told.is_none() => "another alert, suppressed",
            Some(_) => "another alert",
        };
        facts.push(fact(
            what,
            named(&alert.name, &alert.labels),
            Some(episode.began.by),
        ));
    }
    if others.len() > TOLD {
        let more = format!("{} other alerts", count((others.len() - TOLD) as u64));
        facts.push(fact("more", more, None));
    }
}
