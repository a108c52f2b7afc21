//! Merging a part of the traffic: counts are added, histograms merged, percentiles never averaged.

use std::collections::BTreeMap;

use super::pace::Pace;
use super::{Scope, Timeline, end_of, steps};
use crate::judge::bounds::{Tally, value_at};
use crate::judge::{LatencySummary, Totals};
use crate::record::{Latency, Outcome, latency};
use crate::scenario::{Bound, LatencyKind};

/// Merged traffic.
#[derive(Debug, Clone)]
pub struct Slice {
    /// Requests due.
    pub due: u64,
    /// Requests that ended, by how.
    pub ended: BTreeMap<Outcome, u64>,
    /// Answered ones by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Arrivals dropped.
    pub dropped: u64,
    /// Connections opened.
    pub connections: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Wall time while requests were due.
    pub seconds: f64,
    /// What throughput is taken over.
    pub pace: Pace,
    /// Response time of outcomes with [`Outcome::in_latency`].
    pub response: Latency,
    /// Service time of answered requests.
    pub service: Latency,
    /// Time to first byte.
    pub first_byte: Latency,
    /// Time to connect.
    pub connect: Latency,
}

impl Slice {
    fn empty() -> Self {
        Self {
            due: 0,
            ended: BTreeMap::new(),
            statuses: BTreeMap::new(),
            dropped: 0,
            connections: 0,
            sent_bytes: 0,
            received_bytes: 0,
            seconds: 0.0,
            pace: Pace::default(),
            response: latency(),
            service: latency(),
            first_byte: latency(),
            connect: latency(),
        }
    }

    /// Merges a scope's seconds and steps.
    pub fn merge(timeline: &Timeline<'_>, scope: &Scope<'_>) -> Self {
        let mut slice = Self::empty();
        let (from, to) = timeline.schedule(scope.flow);
        for index in timeline.within(scope) {
            let Some(interval) = timeline.seconds.get(index) else {
                continue;
            };
            let (start, end) = (interval.second.start_us.max(from), end_of(interval).min(to));
            slice.seconds += end.saturating_sub(start) as f64 / 1e6;
            let (due, answered) = (slice.due, slice.answered());
            for (step, histograms) in steps(interval) {
                if scope.takes(&step.flow, &step.step) {
                    slice.add(step, histograms);
                }
            }
            let (due, answered) = (slice.due - due, slice.answered() - answered);
            slice.pace.add(interval, (from, to), due, answered);
        }
        slice
    }

    fn add(
        &mut self,
        step: &crate::record::StepSecond,
        histograms: Option<&crate::record::StepHistograms>,
    ) {
        self.due = self.due.saturating_add(step.due);
        self.dropped = self.dropped.saturating_add(step.dropped);
        self.connections = self.connections.saturating_add(step.connections);
        self.sent_bytes = self.sent_bytes.saturating_add(step.sent_bytes);
        self.received_bytes = self.received_bytes.saturating_add(step.received_bytes);
        for (outcome, n) in &step.ended {
            let sum = self.ended.entry(*outcome).or_default();
            *sum = sum.saturating_add(*n);
        }
        for (status, n) in &step.statuses {
            let sum = self.statuses.entry(*status).or_default();
            *sum = sum.saturating_add(*n);
        }
        let Some(histograms) = histograms else { return };
        for (outcome, histogram) in &histograms.response {
            if outcome.in_latency() {
                merge_into(&mut self.response, histogram);
            }
        }
        for (sum, part) in [
            (&mut self.service, &histograms.service),
            (&mut self.first_byte, &histograms.first_byte),
            (&mut self.connect, &histograms.connect),
        ] {
            if let Some(part) = part {
                merge_into(sum, part);
            }
        }
    }

    fn sum(&self, wanted: impl Fn(Outcome) -> bool) -> u64 {
        let counts = self.ended.iter().filter(|(outcome, _)| wanted(**outcome));
        counts.fold(0u64, |sum, (_, n)| sum.saturating_add(*n))
    }
    /// Requests that ended.
    pub fn ended(&self) -> u64 {
        self.sum(|_| true)
    }
    /// Requests that failed.
    pub fn failed(&self) -> u64 {
        self.sum(Outcome::failed)
    }
    /// Requests that were answered.
    pub fn answered(&self) -> u64 {
        self.sum(Outcome::answered)
    }
    /// Requests that count for the throughput, and the seconds that they are spread over.
    pub fn paced(&self) -> (u64, f64) {
        let fastest = match self.response.is_empty() {
            true => 0,
            false => self.response.min(),
        };
        let whole = self.pace.answered(fastest);
        whole.unwrap_or_else(|| (self.answered(), self.seconds))
    }
    /// Answered requests per second of schedule; `None` where no time passed.
    pub fn throughput(&self) -> Option<f64> {
        let (answered, seconds) = self.paced();
        (seconds > 0.0).then(|| answered as f64 / seconds)
    }
    /// Requests with this outcome.
    pub fn with(&self, outcome: Outcome) -> u64 {
        self.ended.get(&outcome).copied().unwrap_or(0)
    }
    /// The histogram of a kind of latency.
    pub fn latency(&self, kind: LatencyKind) -> &Latency {
        match kind {
            LatencyKind::Response => &self.response,
            LatencyKind::Service => &self.service,
        }
    }
    /// Latency samples that the counts promise; more than the histogram holds where the record is damaged.
    pub fn promised(&self, kind: LatencyKind) -> u64 {
        match kind {
            LatencyKind::Response => self.sum(Outcome::in_latency),
            LatencyKind::Service => self.answered(),
        }
    }
    /// What a bound is decided on.
    pub fn tally(&self, bound: &Bound, kind: LatencyKind) -> Tally {
        let (answered, seconds) = self.paced();
        let mut tally = Tally {
            ended: self.ended(),
            failed: self.failed(),
            answered,
            seconds,
            ..Tally::default()
        };
        for bucket in self.latency(kind).iter_recorded() {
            tally.sample(bound, bucket.value_iterated_to(), bucket.count_at_value());
        }
        tally
    }
    /// The slice as a report shows it.
    pub fn totals(&self) -> Totals {
        let (ended, failed, answered) = (self.ended(), self.failed(), self.answered());
        let ratio = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        Totals {
            due: self.due,
            ended,
            answered,
            failed,
            dropped: self.dropped,
            errors: self
                .ended
                .iter()
                .filter(|(outcome, n)| outcome.failed() && **n > 0)
                .map(|(outcome, n)| (*outcome, *n))
                .collect(),
            statuses: self.statuses.clone(),
            error_ratio: ratio(failed as f64, ended as f64),
            throughput_per_s: self.throughput().unwrap_or(0.0),
            seconds: self.seconds,
            response: summary_of(&self.response),
            service: summary_of(&self.service),
            first_byte: summary_of(&self.first_byte),
            connect: summary_of(&self.connect),
            connections: self.connections,
            sent_bytes: self.sent_bytes,
            received_bytes: self.received_bytes,
        }
    }
}

/// A histogram in numbers.
pub fn summary_of(histogram: &Latency) -> LatencySummary {
    if histogram.is_empty() {
        return LatencySummary::default();
    }
    LatencySummary {
        count: histogram.len(),
        min_us: histogram.min(),
        mean_us: histogram.mean(),
        p50_us: value_at(histogram, 0.50),
        p90_us: value_at(histogram, 0.90),
        p95_us: value_at(histogram, 0.95),
        p99_us: value_at(histogram, 0.99),
        p999_us: value_at(histogram, 0.999),
        max_us: histogram.max(),
    }
}

/// Adds a histogram to another; one of other bounds is clamped rather than dropped, so that no count is lost.
pub(crate) fn merge_into(sum: &mut Latency, part: &Latency) {
    if sum.add(part).is_err() {
        for bucket in part.iter_recorded() {
            sum.saturating_record_n(bucket.value_iterated_to(), bucket.count_at_value());
        }
    }
}
