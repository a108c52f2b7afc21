//! `spread`: each instance, or each node, is taken away once while traffic runs, and none of them is missed.

use std::collections::{BTreeMap, BTreeSet};

use super::analysis::Analysis;
use super::bounds::{Decision, Tally, decide};
use super::injection::Injection;
use super::sure;
use super::timeline::{Gap, PODS, Scope, Window, gaps, micros as micros_of, windows};
use super::words::{count, counted, list, micros, percent};
use super::{Evidence, Ruling, Verdict};
use crate::record::{InstanceState, Micros, What};
use crate::scenario::units::format_duration;
use crate::scenario::{Bound, Limit, Metric, Op, SpreadExpectation, SpreadOver};

/// One injection that took something away, and what it cost.
struct Loss<'a> {
    injection: &'a Injection,
    /// The instances' places, or the nodes, that were taken.
    units: BTreeSet<String>,
    tally: Tally,
    decision: Decision,
    /// The same without failures that a slow generator produces by itself.
    hard: Decision,
    /// Seconds that tell nothing: hanging, dropped or unrecorded requests.
    blind: bool,
    /// Traffic ended so long after it, before all of the time that is looked at was over.
    ended_early: Option<Micros>,
    /// Another fault that was in force at the same time.
    beside: Option<&'a Injection>,
}

impl Loss<'_> {
    fn cost(&self) -> f64 {
        self.tally.failed as f64 / self.tally.ended.max(1) as f64
    }
    /// `12 of 1,600 requests failed (0.75%)`.
    fn words(&self) -> String {
        format!(
            "{} of {} failed ({})",
            count(self.tally.failed),
            counted(self.tally.ended, "request"),
            percent(self.cost())
        )
    }
}

/// What the record tells of where instances stand.
struct Places<'a> {
    over: SpreadOver,
    /// The place of each instance, or its node.
    of: BTreeMap<&'a str, &'a str>,
}

/// Judges one expectation.
pub(super) fn judge(analysis: &Analysis<'_>, expected: &SpreadExpectation) -> Verdict {
    let places = Places::new(analysis, expected.over);
    let losses = losses(analysis, expected, &places);
    let due: BTreeSet<String> = match losses.first() {
        Some(first) => places.at(analysis, first.injection.began_us),
        None => BTreeSet::new(),
    };
    let hit: BTreeSet<&String> = losses.iter().flat_map(|l| &l.units).collect();
    let missed: Vec<String> = due.iter().filter(|u| !hit.contains(u)).cloned().collect();
    let mut verdict = ruled(analysis, expected, &losses, &missed, due.len());
    verdict.evidence = evidence(analysis, &losses, &missed);
    verdict
}

impl<'a> Places<'a> {
    fn new(analysis: &Analysis<'a>, over: SpreadOver) -> Self {
        let events = analysis.timeline.record.events.iter();
        let place = |what: &'a What| match (what, over) {
            (What::Instance(i), SpreadOver::Instance) => Some((&*i.name, &*i.slot)),
            (What::Placed { instance, node }, SpreadOver::Node) => Some((&**instance, &**node)),
            _ => None,
        };
        let of = events.filter_map(|e| place(&e.what)).collect();
        Self { over, of }
    }

    fn of(&self, instance: &str) -> Option<String> {
        self.of.get(instance).map(|unit| unit.to_string())
    }

    /// The places, or the nodes, of the instances that were there at a moment.
    fn at(&self, analysis: &Analysis<'_>, moment: Micros) -> BTreeSet<String> {
        let mut there: BTreeSet<&str> = BTreeSet::new();
        for event in &analysis.timeline.record.events {
            if event.at > moment {
                break;
            }
            if let What::Instance(change) = &event.what {
                match change.state {
                    InstanceState::Terminating | InstanceState::Ended => {
                        there.remove(&*change.name);
                    }
                    _ => drop(there.insert(&change.name)),
                }
            }
        }
        there.into_iter().filter_map(|name| self.of(name)).collect()
    }

    /// What an injection took away.
    fn taken(&self, injection: &Injection) -> BTreeSet<String> {
        let right = self.over == SpreadOver::Instance || injection.of_node;
        if !right || !injection.effect.takes_instance() {
            return BTreeSet::new();
        }
        injection
            .instances
            .iter()
            .filter_map(|i| self.of(i))
            .collect()
    }
}

fn losses<'a>(
    analysis: &'a Analysis<'_>,
    expected: &SpreadExpectation,
    places: &Places<'_>,
) -> Vec<Loss<'a>> {
    let bound = Bound {
        metric: Metric::Errors,
        op: Op::AtMost,
        limit: Limit::Share(expected.errors),
    };
    let windows = windows(&analysis.timeline, &Scope::default(), &[bound]);
    let effective = || analysis.injections.iter().filter(|i| i.effective());
    effective()
        .filter_map(|injection| {
            let units = places.taken(injection);
            let began = injection.began_us;
            let next = effective()
                .map(|i| i.began_us)
                .filter(|at| *at > began)
                .min();
            let whole = injection.at().saturating_add(micros_of(expected.within));
            let to = whole.min(next.unwrap_or(Micros::MAX));
            // The last second of a schedule ends some milliseconds late.
            let end = analysis.timeline.schedule_end;
            let early = end.saturating_add(100_000) < to;
            let seconds: Vec<&Window> = windows
                .iter()
                .filter(|w| w.end_us > began && w.start_us < to)
                // The second in which the next one begins holds that one's failures too.
                .filter(|w| next.is_none_or(|next| w.end_us <= next))
                .collect();
            let sum = |pick: fn(&Window) -> &Tally| {
                let mut sum = Tally::default();
                seconds.iter().for_each(|w| sum.add(pick(w)));
                sum
            };
            let tally = sum(|w| &w.tallies[0]);
            let beside = effective().find(|i| {
                i.number != injection.number
                    && i.lasting
                    && i.began_us < to
                    && i.undone_us.unwrap_or(Micros::MAX) > began
            });
            (!units.is_empty()).then(|| Loss {
                injection,
                units,
                decision: decide(&bound, &tally),
                hard: decide(&bound, &sum(|w| &w.hard[0])),
                tally,
                blind: seconds
                    .iter()
                    .any(|w| w.gap || w.unresolved > 0 || w.dropped > 0),
                ended_early: early.then(|| end.saturating_sub(injection.at())),
                beside,
            })
        })
        .collect()
}

/// `kill of shop-2 at 20 s`.
fn describe(analysis: &Analysis<'_>, injection: &Injection) -> String {
    let at = analysis.when(injection.at());
    format!("{} at {at}", injection.describe())
}

fn ruled(
    analysis: &Analysis<'_>,
    expected: &SpreadExpectation,
    losses: &[Loss<'_>],
    missed: &[String],
    all: usize,
) -> Verdict {
    let over = expected.over.name();
    let limit = format!("limit {}", expected.errors);
    let within = format_duration(expected.within);
    let verdict = |ruling, because: String, missing: Option<String>| Verdict {
        oracle: "spread".into(),
        expectation: format!("spread over each {over}, errors <= {}", expected.errors),
        verdict: ruling,
        because,
        missing,
        evidence: Vec::new(),
    };
    let unclear = |because, missing: String| verdict(Ruling::Inconclusive, because, Some(missing));
    let worst = |ruling| {
        let ruled = losses.iter().filter(|l| l.decision.ruling == ruling);
        ruled.max_by(|a, b| a.cost().total_cmp(&b.cost()))
    };
    if let Some(loss) = worst(Ruling::Fail) {
        let units: Vec<String> = loss.units.iter().cloned().collect();
        let because = format!(
            "{over} {} cannot be lost: after {} {} within {within}, {limit}",
            list(&units),
            describe(analysis, loss.injection),
            loss.words()
        );
        if let Some(beside) = loss.beside {
            let because = format!(
                "{because}; but {} was in force too",
                describe(analysis, beside)
            );
            return unclear(
                because,
                "a run in which one thing is taken away at a time".into(),
            );
        }
        if let Some(why) = analysis.generator.makes_errors()
            && loss.hard.ruling != Ruling::Fail
        {
            let because = format!("{because}; but the generator was saturated: {why}");
            return unclear(because, "a run whose generator keeps its schedule".into());
        }
        return verdict(Ruling::Fail, because, None);
    }
    let without = match analysis.not_injected() {
        Some(why) => format!("; {why}"),
        None => String::new(),
    };
    if losses.is_empty() {
        let because = format!("no {over} was taken away{without}");
        return unclear(because, format!("a fault that hits each {over} once"));
    }
    if !missed.is_empty() {
        let because = format!(
            "{} of {} were taken away, and not {}{without}",
            all - missed.len(),
            counted(all as u64, over),
            list(missed)
        );
        return unclear(because, format!("an injection into {}", list(missed)));
    }
    if let Some(loss) = worst(Ruling::Inconclusive) {
        let because = format!(
            "after {} {} within {within}: too few to tell",
            describe(analysis, loss.injection),
            loss.words()
        );
        let missing = format!(
            "{} after each injection",
            counted(loss.decision.needed, "request")
        );
        return unclear(because, missing);
    }
    if let Some(loss) = losses.iter().find(|l| l.blind) {
        let because = format!(
            "after {} requests hung, were dropped or are not in the record",
            describe(analysis, loss.injection)
        );
        return unclear(
            because,
            "a run in which every request's end is known".into(),
        );
    }
    if let Some((loss, after)) = { losses.iter() }.find_map(|l| Some((l, l.ended_early?))) {
        let because = format!(
            "traffic ended {} after {}, and what it costs is looked at for {within}",
            micros(after),
            describe(analysis, loss.injection)
        );
        return unclear(
            because,
            format!("traffic for {within} after each injection"),
        );
    }
    if let Some(gap) = unseen(analysis, losses) {
        let because = format!(
            "the watch of {} was lost at {}, before the first injection: there may be more than is known",
            gap.of,
            analysis.when(gap.from)
        );
        return unclear(because, "a run without a gap in its watches".into());
    }
    let costly = losses.iter().max_by(|a, b| a.cost().total_cmp(&b.cost()));
    let most = costly.map_or(String::new(), |loss| {
        format!(
            "{} after {}",
            loss.words(),
            describe(analysis, loss.injection)
        )
    });
    let because = format!(
        "each of {} was lost and not missed; most: {most}, {limit}",
        counted(all as u64, over)
    );
    if let Some(why) = &analysis.generator.summary.saturated {
        let because = format!("{because}; but the generator was saturated: {why}");
        return unclear(because, "a run whose generator keeps its schedule".into());
    }
    if let Some(cut) = analysis.cut_short() {
        return unclear(
            format!("{because}; but {cut}"),
            format!("the rest of the run: {cut}"),
        );
    }
    verdict(Ruling::Pass, because, None)
}

/// A time without a view of the pods, when those were counted that are to be taken away.
fn unseen(analysis: &Analysis<'_>, losses: &[Loss<'_>]) -> Option<Gap> {
    let first = losses.first()?.injection.began_us;
    let mut gaps = gaps(analysis.timeline.record, &[PODS]).into_iter();
    gaps.find(|gap| gap.touches(first, first + 1))
}

fn evidence(analysis: &Analysis<'_>, losses: &[Loss<'_>], missed: &[String]) -> Vec<Evidence> {
    let fact = |what: String, value: String, at_us| Evidence { what, value, at_us };
    let mut order: Vec<&Loss<'_>> = losses.iter().collect();
    order.sort_by(|a, b| b.cost().total_cmp(&a.cost()));
    let sure = order.first().map(|worst| {
        let share = sure::share(worst.tally.failed, worst.tally.ended, "request");
        sure::row(format!(
            "of the costliest {share}; n = {}",
            counted(losses.len() as u64, "injection")
        ))
    });
    let told = order.into_iter().map(|loss| {
        let units: Vec<String> = loss.units.iter().cloned().collect();
        let value = format!("{}: {}", describe(analysis, loss.injection), loss.words());
        fact(
            format!("{} lost", list(&units)),
            value,
            Some(loss.injection.at()),
        )
    });
    let missed = missed
        .iter()
        .map(|unit| fact(format!("{unit} lost"), "never".into(), None));
    told.chain(missed).chain(sure).collect()
}
