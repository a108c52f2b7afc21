//! From the record's seconds to curves: exact counts and merged histograms, percentiles never averaged.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::{
    Event, InstanceState, Interval, Latency, Micros, Outcome, Record, StepHistograms, What, latency,
};

/// A chart has at most so many points in time; longer runs have their seconds merged.
pub(super) const MAX_POINTS: usize = 600;

/// Adds histograms of response time, of the outcomes that count in latency.
fn add_response(into: &mut Latency, histograms: &[StepHistograms]) {
    for (outcome, histogram) in histograms.iter().flat_map(|h| &h.response) {
        if outcome.in_latency() {
            // Both have the same bounds, so nothing can be out of range; a histogram from a foreign record
            // that is wider is left out of the picture.
            let _ = into.add(histogram);
        }
    }
}

/// Response time of all steps of a second, of the outcomes that count in latency.
pub(super) fn response(histograms: &[StepHistograms]) -> Latency {
    let mut all = latency();
    add_response(&mut all, histograms);
    all
}

/// A part of the run: one second, or several merged.
#[derive(Debug, Clone, Default)]
pub(super) struct Point {
    /// Its beginning and end, seconds from the start of traffic.
    pub start: f64,
    pub end: f64,
    pub ended: u64,
    pub failed: u64,
    /// Failed requests by kind.
    pub errors: BTreeMap<Outcome, u64>,
    /// p50, p95, p99 and max of the response time, microseconds.
    pub latency: Option<[f64; 4]>,
    /// Requests answered, by instance.
    pub instances: BTreeMap<String, u64>,
}

impl Point {
    pub(super) fn middle(&self) -> f64 {
        (self.start + self.end) / 2.0
    }
    /// A count of the point as a rate.
    pub(super) fn per_s(&self, n: u64) -> f64 {
        let length = self.end - self.start;
        if length > 0.0 { n as f64 / length } else { 0.0 }
    }
}

/// Seconds from the start of traffic.
pub(super) fn seconds(at: Micros, zero: Micros) -> f64 {
    (at as f64 - zero as f64) / 1e6
}

/// The run in at most [`MAX_POINTS`] points.
pub(super) fn points(record: &Record, zero: Micros) -> Vec<Point> {
    let all = &record.intervals;
    let merged = all.len().div_ceil(MAX_POINTS).max(1);
    let mut groups: Vec<&[Interval]> = all.chunks(merged).collect();
    if let [.., before, last] = &mut groups[..]
        && is_rest(before, last)
    {
        *before = &all[all.len() - before.len() - last.len()..];
        groups.pop();
    }
    groups.into_iter().map(|group| point(group, zero)).collect()
}

/// Whether the last part of the run is so short that a request or two in it would be drawn as a high rate.
fn is_rest(before: &[Interval], last: &[Interval]) -> bool {
    match (before.last(), last) {
        (Some(before), [rest]) => {
            let (start, end) = (rest.second.start_us, rest.second.end_us);
            before.second.end_us == start && end.saturating_sub(start) < 500_000
        }
        _ => false,
    }
}

fn point(group: &[Interval], zero: Micros) -> Point {
    let (first, last) = (group.first(), group.last());
    let mut point = Point {
        start: first.map_or(0.0, |i| seconds(i.second.start_us, zero)),
        end: last.map_or(0.0, |i| seconds(i.second.end_us, zero)),
        ..Point::default()
    };
    let mut all = latency();
    for interval in group {
        add_response(&mut all, &interval.histograms);
        for step in &interval.second.steps {
            for (outcome, n) in &step.ended {
                point.ended += n;
                if outcome.failed() && *n > 0 {
                    point.failed += n;
                    *point.errors.entry(*outcome).or_default() += n;
                }
            }
            for (name, at) in &step.instances {
                *point.instances.entry(name.clone()).or_default() += at.answered;
            }
        }
    }
    if !all.is_empty() {
        let at = |q: f64| all.value_at_quantile(q) as f64;
        point.latency = Some([at(0.5), at(0.95), at(0.99), all.max() as f64]);
    }
    point
}

/// Response and service time over the judged part of the run: what the distribution shows.
pub(super) fn distributions(record: &Record, zero: Micros) -> (Latency, Latency) {
    let warm_up = record.header.scenario.run.warm_up.as_micros() as Micros;
    let (mut response, mut service) = (latency(), latency());
    for interval in &record.intervals {
        if interval.second.start_us < zero.saturating_add(warm_up) {
            continue;
        }
        add_response(&mut response, &interval.histograms);
        for histogram in interval.histograms.iter().flat_map(|h| &h.service) {
            let _ = service.add(histogram);
        }
    }
    (response, service)
}

/// How many instances were ready, as steps: from the balancer's set where it is in the record, else from what
/// the instances said of themselves.
pub(super) fn ready(events: &[Event], zero: Micros) -> Vec<(f64, usize)> {
    let from_balancer: Vec<_> = events
        .iter()
        .filter_map(|e| match &e.what {
            What::Endpoints { ready } => Some((seconds(e.at, zero), ready.len())),
            _ => None,
        })
        .collect();
    if !from_balancer.is_empty() {
        return from_balancer;
    }
    let mut up = BTreeSet::new();
    let mut steps = Vec::new();
    for event in events {
        let What::Instance(instance) = &event.what else {
            continue;
        };
        if instance.state == InstanceState::Ready {
            up.insert(&instance.name);
        } else {
            up.remove(&instance.name);
        }
        steps.push((seconds(event.at, zero), up.len()));
    }
    steps
}

/// Samples of CPU (thousandths of a core) and memory (bytes) by instance: time, CPU, memory.
pub(super) fn usage(events: &[Event], zero: Micros) -> BTreeMap<String, Vec<(f64, u64, u64)>> {
    let mut out: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for event in events {
        if let What::Usage {
            instance,
            cpu_millicores,
            memory_bytes,
        } = &event.what
        {
            let sample = (seconds(event.at, zero), *cpu_millicores, *memory_bytes);
            out.entry(instance.clone()).or_default().push(sample);
        }
    }
    for samples in out.values_mut() {
        thin(samples);
    }
    out
}

/// Keeps at most [`MAX_POINTS`] samples: of each group the one with the highest CPU, so that peaks stay.
fn thin(samples: &mut Vec<(f64, u64, u64)>) {
    let group = samples.len().div_ceil(MAX_POINTS).max(1);
    if group > 1 {
        let peaks = samples.chunks(group);
        *samples = peaks
            .filter_map(|g| g.iter().max_by_key(|s| s.1).copied())
            .collect();
    }
}
