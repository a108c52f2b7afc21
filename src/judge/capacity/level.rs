//! A recorded run as one trial of the search.

use serde::Serialize;

use super::{Trial, failed_share};
use crate::judge::timeline::{Timeline, end_of, outcomes, steps};
use crate::judge::words::{self, micros};
use crate::judge::{Ruling, Summary, Verdict};
use crate::record::{Ended, Micros, Record, RunPhase, What};
use crate::scenario::{Flow, Load};

/// What was seen of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything expected held.
    Holds,
    /// Something did not.
    Fails,
    /// It cannot be told: the generator was the limit, samples are missing, the instances changed.
    Unclear,
}

/// A run at one rate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Level {
    /// Its folder's name.
    pub name: String,
    /// Arrivals per second.
    pub rate_per_s: f64,
    /// What was seen.
    pub outcome: Outcome,
    /// Why, in a sentence.
    pub why: String,
    /// Instances that were ready when traffic began; `None` where the target does not tell.
    pub instances: Option<usize>,
    /// Answered requests per second.
    pub answered_per_s: f64,
    /// Mean response time.
    pub mean_us: f64,
    /// Median response time.
    pub p50_us: Micros,
    /// 99th percentile of response time.
    pub p99_us: Micros,
    /// Failed over ended requests.
    pub error_ratio: f64,
}

impl Level {
    /// As the search takes it.
    pub fn trial(&self) -> Trial {
        Trial {
            rate: self.rate_per_s,
            outcome: self.outcome,
            why: self.why.clone(),
        }
    }
}

/// Makes a level of a judged run.
pub fn level(name: &str, record: &Record, summary: &Summary, verdicts: &[Verdict]) -> Level {
    let scenario = &record.header.scenario;
    let own = scenario.capacity.as_ref().and_then(|c| c.level);
    let rate = own.map_or_else(|| scenario.traffic.iter().map(peak).sum(), |r| r.get());
    let (instances, most) = instances(record);
    let answered = answered_per_s(record);
    let (outcome, why) = outcome(summary, verdicts, (instances, most), answered);
    let response = &summary.all.response;
    Level {
        name: name.into(),
        rate_per_s: rate,
        outcome,
        why,
        instances,
        answered_per_s: answered,
        mean_us: response.mean_us,
        p50_us: response.p50_us,
        p99_us: response.p99_us,
        error_ratio: summary.all.error_ratio,
    }
}

fn peak(flow: &Flow) -> f64 {
    match &flow.load {
        Load::Open(open) => open.stages.iter().map(|s| s.rate.get()).fold(0.0, f64::max),
        Load::Closed(_) => 0.0,
    }
}

/// Answers per second while requests were due. What an overloaded service still answers after that says nothing of the
/// rate that it can answer.
fn answered_per_s(record: &Record) -> f64 {
    let timeline = Timeline::new(record);
    let (mut answered, mut us) = (0, 0);
    for index in timeline.judged() {
        let interval = timeline.seconds[index];
        // The last second of a schedule ends some milliseconds late.
        if end_of(interval) <= timeline.schedule_end.saturating_add(100_000) {
            us += end_of(interval) - interval.second.start_us;
            answered += steps(interval).map(|(s, _)| outcomes(s).2).sum::<u64>();
        }
    }
    answered as f64 * 1e6 / us.max(1) as f64
}

/// Instances ready when traffic began, and the most at any time until it ended.
fn instances(record: &Record) -> (Option<usize>, usize) {
    let (mut traffic, mut first, mut most) = (false, None, 0);
    for event in &record.events {
        match &event.what {
            What::Phase {
                phase: RunPhase::Traffic,
            } => traffic = true,
            What::Phase {
                phase: RunPhase::Draining | RunPhase::Stopping,
            } => break,
            What::Endpoints { ready } => {
                if !traffic {
                    first = Some(ready.len());
                }
                most = most.max(ready.len());
            }
            _ => {}
        }
    }
    (first, most)
}

fn outcome(
    summary: &Summary,
    verdicts: &[Verdict],
    (instances, most): (Option<usize>, usize),
    answered_per_s: f64,
) -> (Outcome, String) {
    let find = |ruling: Ruling| verdicts.iter().find(|v| v.verdict == ruling);
    let told = |v: &Verdict| format!("{}: {}", v.expectation, v.because);
    // More instances than it began with: what holds is not what is asked about, nor is what does not.
    if instances.is_some_and(|n| most > n) {
        let n = instances.unwrap_or(0);
        let why = format!("the number of instances went from {n} to {most}");
        return (Outcome::Unclear, why);
    }
    if let Some(failed) = find(Ruling::Fail) {
        return (Outcome::Fails, told(failed));
    }
    if let Some(Ended::Aborted { reason }) = &summary.ended {
        return (Outcome::Unclear, format!("the run was aborted: {reason}"));
    }
    match (find(Ruling::Inconclusive), &summary.ended) {
        (Some(unsure), _) => (Outcome::Unclear, told(unsure)),
        (None, None) => (
            Outcome::Unclear,
            "its record stops in the middle".to_string(),
        ),
        (None, Some(_)) => {
            let all = &summary.all;
            let why = format!(
                "{} answered, p99 {}, {}",
                words::rate(answered_per_s),
                micros(all.response.p99_us),
                failed_share(all.error_ratio)
            );
            (Outcome::Holds, why)
        }
    }
}
