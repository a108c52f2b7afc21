//! `deploy`: a new version is rolled out without anybody noticing. Each rollout of a workload behind the Service costs no
//! request, keeps to its own strategy at every moment, and is complete in time; one that cannot work must stop before
//! users notice.

use super::analysis::Analysis;
use super::bounds::{Excess, Losses, excess};
use super::finding::Finding;
use super::impact::tail;
use super::injection::Injection;
use super::timeline::{Gap, PODS, gaps, micros as micros_of};
use super::words::{count, counted, list, micros};
use super::{Evidence, Verdict};
use crate::record::Micros;
use crate::scenario::DeployExpectation;
use crate::scenario::units::format_duration;

mod capacity;
mod cost;
mod evidence;
mod findings;
mod rollouts;
mod strategy;
#[cfg(test)]
pub(super) mod tests;

use capacity::Capacity;
use cost::Cost;
use rollouts::{Cause, Rollout};
use strategy::Limits;

/// A rollout with all that is known of it.
struct Study<'a> {
    analysis: &'a Analysis<'a>,
    expected: &'a DeployExpectation,
    rollout: &'a Rollout,
    limits: Option<Limits>,
    /// Until when it went on.
    until: Micros,
    capacity: Capacity,
    cost: Cost,
    /// What failed before anything was rolled out or broken.
    background: Cost,
    /// Other faults that were in force meanwhile.
    others: Vec<&'a Injection>,
    gaps: Vec<Gap>,
}

impl Study<'_> {
    /// `rollout of Deployment web at 12 s`.
    fn describe(&self) -> String {
        let at = self.analysis.when(self.rollout.began_us);
        match self.rollout.before {
            true => format!("{} from before the run", self.rollout.describe()),
            false => format!("{} at {at}", self.rollout.describe()),
        }
    }
    fn is_bad(&self) -> bool {
        matches!(self.rollout.cause, Cause::Bad(_))
    }
    /// `pod-kill of web-x at 14 s`.
    fn disturbed_by(&self) -> Option<String> {
        let words = self.others.iter().map(|i| {
            let at = self.analysis.when(i.at());
            format!("{} at {at}", i.describe())
        });
        let words: Vec<String> = words.collect();
        (!words.is_empty()).then(|| list(&words))
    }
}

/// Judges every rollout of a run.
pub(super) fn judge(analysis: &Analysis<'_>, expected: &DeployExpectation) -> Verdict {
    let all = rollouts::rollouts(&analysis.timeline, &analysis.injections);
    let studies: Vec<Study<'_>> = (0..all.len())
        .map(|i| study(analysis, expected, &all, i))
        .collect();
    let found = studies.iter().enumerate().flat_map(|(i, study)| {
        let found = findings::of(study).into_iter();
        found.map(move |(reason, finding)| (i, reason, finding))
    });
    let (subject, mut finding) = match Finding::worst(found.collect()) {
        Some((i, finding)) => (Some(i), finding),
        None => passed(analysis, &studies),
    };
    finding.doubt(analysis);
    Verdict {
        oracle: "deploy".into(),
        expectation: format!("deploy within {}", format_duration(expected.within)),
        verdict: finding.ruling,
        because: finding.because,
        missing: finding.missing,
        evidence: evidence::evidence(&studies, subject),
    }
}

fn study<'a>(
    analysis: &'a Analysis<'a>,
    expected: &'a DeployExpectation,
    all: &'a [Rollout],
    index: usize,
) -> Study<'a> {
    let timeline = &analysis.timeline;
    let rollout = &all[index];
    let next = all[index + 1..].iter().map(|r| r.began_us).min();
    let watched_to = timeline.stopping.min(timeline.stop);
    let until = rollout.until(watched_to);
    let settled = rollout
        .old_gone()
        .unwrap_or(watched_to)
        .max(until)
        .saturating_add(micros_of(expected.settle));
    let limit = next.unwrap_or(Micros::MAX).min(timeline.schedule_end);
    // Errors until then are put down to it.
    let felt_until = match settled < limit {
        true => tail(timeline, settled).min(next.unwrap_or(Micros::MAX)),
        // What hung at the end shows only while the last requests are waited for.
        false => next.unwrap_or(timeline.stop.saturating_add(1)),
    };
    let others: Vec<&Injection> = analysis
        .injections
        .iter()
        .filter(|i| i.effective() && !rollouts::asks_for_rollout(timeline, i))
        .filter(|i| i.began_us < felt_until && over(analysis, i) > rollout.began_us)
        .collect();
    let hit: Vec<String> = others.iter().flat_map(|i| i.instances.clone()).collect();
    let first = analysis.injections.iter().map(|i| i.began_us);
    let first = first.chain([all[0].began_us]).min().unwrap_or(0);
    let views = [PODS, "deployments", "statefulsets", "daemonsets"];
    let gaps: Vec<Gap> = gaps(timeline.record, &views)
        .into_iter()
        .filter(|g| g.touches(rollout.began_us, settled.min(watched_to)))
        .collect();
    Study {
        analysis,
        expected,
        rollout,
        limits: rollout.strategy.limits(rollout.replicas),
        until,
        capacity: capacity::capacity(timeline, rollout, until, &gaps),
        cost: cost::cost(
            timeline,
            (rollout.began_us, felt_until),
            &rollout.pods,
            &hit,
        ),
        background: cost::background(timeline, first),
        others,
        gaps,
    }
}

/// When another fault can no longer be what hurts.
fn over(analysis: &Analysis<'_>, injection: &Injection) -> Micros {
    let summary = analysis
        .faults
        .iter()
        .find(|f| f.injection == injection.number);
    let Some(summary) = summary else {
        return Micros::MAX;
    };
    let undone = match injection.lasting {
        true => injection.undone_us.unwrap_or(Micros::MAX),
        false => injection.at(),
    };
    let restored = summary.restored_us.unwrap_or(Micros::MAX);
    let back = match injection.ends_instance() {
        true => summary.ready_again_us.unwrap_or(Micros::MAX),
        false => 0,
    };
    undone.max(restored).max(back)
}

/// Nothing found against any.
fn passed(analysis: &Analysis<'_>, studies: &[Study<'_>]) -> (Option<usize>, Finding) {
    let took = |s: &Study<'_>| s.until - s.rollout.began_us;
    let slowest = (0..studies.len()).max_by_key(|i| took(&studies[*i]));
    let Some(slowest) = slowest else {
        let mut because =
            "no rollout of the target's workload was seen while traffic ran".to_string();
        if let Some(without) = analysis.not_injected() {
            because = format!("{because}; {without}");
        }
        let finding =
            Finding::unclear(because, "a rollout: `rollout-restart`, or one from outside");
        return (None, finding);
    };
    let study = &studies[slowest];
    let requests = counted(study.cost.ended, "request");
    let mut because = match study.rollout.finished_us {
        Some(_) => format!(
            "{} was complete after {}",
            study.describe(),
            micros(took(study))
        ),
        None => format!("{} stopped by itself", study.describe()),
    };
    because.push_str(&format!(" and cost none of {requests}"));
    if study.cost.failed > 0 {
        because.push_str(&format!(
            " more than before ({} of {}, {} of {} before)",
            count(study.cost.failed),
            count(study.cost.ended),
            count(study.background.failed),
            count(study.background.ended)
        ));
    }
    if let (Some(limits), Some((fewest, ..))) = (&study.limits, &study.capacity.fewest) {
        because.push_str(&format!(
            "; never fewer than {fewest} pods ready, at least {} asked for",
            limits.ready
        ));
    }
    if studies.len() > 1 {
        let n = counted(studies.len() as u64, "rollout");
        because = format!("{n} cost nothing; longest: {because}");
    }
    (Some(slowest), Finding::pass(because))
}

/// Whether more failed than before: so many of all that ended, of which so many at most had no answer.
fn more_than_before(failed: u64, study: &Study<'_>) -> Excess {
    let losses = |failed: u64, cost: &Cost| Losses {
        failed,
        unanswered: cost.unanswered.min(failed),
        ended: cost.ended,
    };
    let before = &study.background;
    excess(losses(failed, &study.cost), losses(before.failed, before))
}

fn fact(what: impl Into<String>, value: impl Into<String>, at_us: Option<Micros>) -> Evidence {
    Evidence {
        what: what.into(),
        value: value.into(),
        at_us,
    }
}
