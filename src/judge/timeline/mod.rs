//! A record laid out in time: when traffic began and what of it counts, parts of it merged ([`Slice`]), and windows
//! of one second put in order by when requests were due ([`windows`]). Decides nothing.

use crate::record::{
    Ended, Interval, Micros, Outcome, Record, RunPhase, StepHistograms, StepSecond, What,
};
use crate::scenario::{Flow, Load};

mod gaps;
mod pace;
mod slice;
mod windows;

pub use gaps::{ENDPOINTS, Gap, PODS, gaps};
pub(crate) use slice::merge_into;
pub use slice::{Slice, summary_of};
pub(crate) use windows::longest_timeout;
pub use windows::{Window, WindowState, call, due_between, windows};

/// A record with its landmarks.
#[derive(Debug)]
pub struct Timeline<'a> {
    /// The record.
    pub record: &'a Record,
    /// Its seconds of traffic, in order of their start.
    pub seconds: Vec<&'a Interval>,
    /// Start of traffic: the zero of fault times.
    pub traffic_start: Micros,
    /// End of the warm-up.
    pub judged_from: Micros,
    /// When no further request was due: the start of draining, or the end of the last second.
    pub schedule_end: Micros,
    /// The last moment that the record tells of.
    pub stop: Micros,
    /// When the schedule should have ended.
    pub planned_end: Micros,
    /// When the platform began to stop: what ends after that was ended by squall.
    pub stopping: Micros,
    /// How the run ended.
    pub ended: Option<&'a Ended>,
}

/// A part of the traffic.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scope<'a> {
    /// Only this flow.
    pub flow: Option<&'a str>,
    /// Only this step.
    pub step: Option<&'a str>,
    /// Only these seconds (indexes into [`Timeline::seconds`]); all judged ones when absent.
    pub seconds: Option<&'a [usize]>,
}

impl Scope<'_> {
    /// Whether a step belongs to it.
    pub fn takes(&self, flow: &str, step: &str) -> bool {
        self.flow.is_none_or(|f| f == flow) && self.step.is_none_or(|s| s == step)
    }
}

impl<'a> Timeline<'a> {
    /// Lays a record out.
    pub fn new(record: &'a Record) -> Self {
        let mut seconds: Vec<&Interval> = record.intervals.iter().collect();
        seconds.sort_by_key(|s| (s.second.start_us, s.second.end_us));
        let scenario = &record.header.scenario;
        let first = seconds.first().map(|s| s.second.start_us);
        let last = seconds.iter().map(|s| end_of(s)).max();
        let traffic_start = phase_at(record, RunPhase::Traffic).or(first).unwrap_or(0);
        let stop = record
            .events
            .iter()
            .map(|e| e.at)
            .chain(last)
            .max()
            .unwrap_or(0);
        let after = |d: std::time::Duration| traffic_start.saturating_add(micros(d));
        let draining = phase_at(record, RunPhase::Draining);
        let stopping = phase_at(record, RunPhase::Stopping);
        let ended = record.events.iter().rev().find_map(|e| match &e.what {
            What::End { ended } => Some(ended),
            _ => None,
        });
        Self {
            record,
            traffic_start,
            judged_from: after(scenario.run.warm_up),
            schedule_end: draining.or(stopping).or(last).unwrap_or(traffic_start),
            stop,
            planned_end: after(scenario.duration()),
            stopping: stopping.unwrap_or(Micros::MAX),
            ended,
            seconds,
        }
    }

    /// Indexes of the seconds that count: those that began after the warm-up.
    pub fn judged(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.seconds.len()).filter(|i| self.seconds[*i].second.start_us >= self.judged_from)
    }

    /// The seconds of a scope.
    pub fn within(&self, scope: &Scope<'_>) -> Vec<usize> {
        match scope.seconds {
            Some(chosen) => chosen.to_vec(),
            None => self.judged().collect(),
        }
    }

    /// Merges a part of the traffic.
    pub fn slice(&self, scope: &Scope<'_>) -> Slice {
        Slice::merge(self, scope)
    }

    /// From when to when a flow's schedule runs; all of the traffic for no flow or an unknown one.
    pub fn schedule(&self, flow: Option<&str>) -> (Micros, Micros) {
        let flows = &self.record.header.scenario.traffic;
        match flow.and_then(|name| flows.iter().find(|f| f.name == name)) {
            Some(flow) => {
                let from = self.traffic_start.saturating_add(micros(flow.start));
                let to = from.saturating_add(micros(flow.load.duration()));
                (from, to.min(self.schedule_end))
            }
            None => (self.traffic_start, self.schedule_end),
        }
    }

    /// How many times the traffic seen the whole planned traffic is, by the schedule: 2.0 where half is missing.
    pub fn planned_over_seen(&self, flow: Option<&str>) -> f64 {
        let seen = (self.schedule_end.saturating_sub(self.traffic_start)) as f64 / 1e6;
        let flows = self.record.header.scenario.traffic.iter();
        flows
            .filter(|f| flow.is_none_or(|name| name == f.name))
            .map(|f| {
                let all = volume(f, f64::INFINITY);
                let part = volume(f, seen - f.start.as_secs_f64());
                if part > 0.0 {
                    (all / part).max(1.0)
                } else {
                    f64::INFINITY
                }
            })
            .fold(1.0, f64::max)
    }
}

/// Arrivals (or user seconds) that a flow's schedule holds in its first so many seconds.
fn volume(flow: &Flow, seconds: f64) -> f64 {
    let stages: Vec<(f64, f64, f64)> = match &flow.load {
        Load::Open(open) => open
            .stages
            .iter()
            .map(|s| (s.rate.get(), s.ramp.as_secs_f64(), s.hold.as_secs_f64()))
            .collect(),
        Load::Closed(closed) => closed
            .stages
            .iter()
            .map(|s| {
                (
                    f64::from(s.users),
                    s.ramp.as_secs_f64(),
                    s.hold.as_secs_f64(),
                )
            })
            .collect(),
    };
    let (mut left, mut level, mut sum) = (seconds.max(0.0), 0.0, 0.0);
    for (target, ramp, hold) in stages {
        let in_ramp = left.min(ramp);
        if ramp > 0.0 {
            let reached = level + (target - level) * in_ramp / ramp;
            sum += (level + reached) / 2.0 * in_ramp;
        }
        let in_hold = (left - in_ramp).min(hold);
        sum += target * in_hold;
        left -= in_ramp + in_hold;
        level = target;
    }
    sum
}

/// A duration in microseconds.
pub(crate) fn micros(duration: std::time::Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}

/// When the run entered a phase.
fn phase_at(record: &Record, wanted: RunPhase) -> Option<Micros> {
    record.events.iter().find_map(|e| match e.what {
        What::Phase { phase } if phase == wanted => Some(e.at),
        _ => None,
    })
}

/// A second's end; never before its start, whatever a damaged record says.
pub(crate) fn end_of(interval: &Interval) -> Micros {
    interval.second.end_us.max(interval.second.start_us)
}

/// The steps of a second with their histograms, where the record has them.
pub(crate) fn steps(
    interval: &Interval,
) -> impl Iterator<Item = (&StepSecond, Option<&StepHistograms>)> {
    let histograms = &interval.histograms;
    let steps = interval.second.steps.iter().enumerate();
    steps.map(move |(i, step)| (step, histograms.get(i)))
}

/// Requests that ended, failed, and were answered, in one second of a step.
pub(crate) fn outcomes(step: &StepSecond) -> (u64, u64, u64) {
    let of = |wanted: fn(Outcome) -> bool| sum_where(step, wanted);
    (of(|_| true), of(Outcome::failed), of(Outcome::answered))
}

/// Requests of the outcomes wanted, in one second of a step.
pub(crate) fn sum_where(step: &StepSecond, wanted: impl Fn(Outcome) -> bool) -> u64 {
    let counts = step.ended.iter().filter(|(outcome, _)| wanted(**outcome));
    counts.fold(0u64, |sum, (_, n)| sum.saturating_add(*n))
}
