//! What the load did, and how the service followed it: steps, the chain of each step up, and who carried the load
//! after a scale-up.

use super::gather::{Appeared, Gathered};
use super::measures::Chain;
use super::published::ratios;
use super::replicas::Tolerances;
use super::timeline::{GRAIN, Timeline, Write};
use crate::judge::analysis::Analysis;
use crate::judge::restore::{Criteria, Range, criteria};
use crate::judge::timeline::{micros, steps};
use crate::judge::trace::Windows;
use crate::record::{Micros, Record, What};
use crate::scenario::{Load as Shape, Scenario};

/// What the load did, and who carried it: the part of the judgement that the autoscaler's own objects do not tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Load {
    /// Changes of the load.
    pub steps: Vec<Step>,
    /// What else moves an autoscaler: faults and rollouts, from when to when.
    pub stirs: Vec<(Micros, Micros)>,
    /// The chain of each step up.
    pub chains: Vec<Chain>,
    /// What users felt after each step up: seconds in which the goal was missed, and when the last of them ended.
    pub felt: Vec<Felt>,
    /// Requests by pod, and whether it is new, from 60 s after the scale-up on; empty where that is not known.
    pub after: Vec<(u64, bool)>,
}

/// A change of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// When it began.
    pub at: Micros,
    /// When it was complete.
    pub until: Micros,
    /// Whether it went up.
    pub up: bool,
}

/// What users felt of a step up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Felt {
    /// Seconds in which the goal was missed.
    pub bad: usize,
    /// When the last of them ended.
    pub last: Option<Micros>,
}

impl Load {
    /// Times in which the load or what carries it was changed from outside.
    pub fn moving(&self) -> Vec<(Micros, Micros)> {
        let steps = self.steps.iter().map(|s| (s.at, s.until));
        steps.chain(self.stirs.iter().copied()).collect()
    }
}

/// The steps of a scenario's schedule.
fn steps_of(scenario: &Scenario, start: Micros) -> Vec<Step> {
    let mut found = Vec::new();
    for flow in &scenario.traffic {
        let stages: Vec<(f64, Micros, Micros)> = match &flow.load {
            Shape::Open(open) => open
                .stages
                .iter()
                .map(|s| (s.rate.get(), micros(s.ramp), micros(s.hold)))
                .collect(),
            Shape::Closed(closed) => closed
                .stages
                .iter()
                .map(|s| (f64::from(s.users), micros(s.ramp), micros(s.hold)))
                .collect(),
        };
        let (mut at, mut level) = (start + micros(flow.start), 0.0);
        for (target, ramp, hold) in stages {
            if target != level {
                found.push(Step {
                    at,
                    until: at + ramp,
                    up: target > level,
                });
            }
            at += ramp + hold;
            level = target;
        }
        found.push(Step {
            at,
            until: at,
            up: false,
        });
    }
    found.sort_by_key(|s| s.at);
    found
}

/// Looks at a run's load and what followed from it.
pub(super) fn load(analysis: &Analysis<'_>, gathered: &Gathered) -> Load {
    let timeline = &analysis.timeline;
    let record = timeline.record;
    let steps = steps_of(&record.header.scenario, timeline.traffic_start);
    let faults = analysis.injections.iter();
    let faults = faults.map(|i| (i.began_us, i.undone_us.unwrap_or(i.began_us).max(i.at())));
    let rollouts = gathered.rollouts.iter().map(|at| (*at, *at));
    let windows = Windows::new(timeline, goal(record));
    let search = windows.search(false);
    let mut load = Load {
        stirs: faults.chain(rollouts).collect(),
        after: after(analysis, gathered, &steps),
        ..Load::default()
    };
    for (i, step) in steps.iter().enumerate().filter(|(_, s)| s.up) {
        let next = steps[i + 1..].iter().find(|s| s.at > step.at);
        let until = next.map_or(timeline.schedule_end, |s| s.at);
        let range = Range {
            from: step.at,
            horizon: until.saturating_add(100_000),
            watched_until: Micros::MAX,
        };
        let found = search.run(range, false);
        load.felt.push(Felt {
            bad: found.bad,
            last: found.last_bad_us,
        });
        let mut chain = chain(record, gathered, step.at, until);
        chain.held = found.bad == 0;
        chain.restored = found.restored_us.filter(|_| !chain.held);
        load.chains.push(chain);
    }
    load.steps = steps;
    load
}

/// What the service is to hold: the scenario's own bounds.
fn goal(record: &Record) -> Criteria {
    criteria(&record.header.scenario, None)
}

/// Whether a status published a metric above its target, beyond the tolerance.
pub(super) fn is_above(timeline: &Timeline, i: usize) -> bool {
    let sync = &timeline.syncs[i];
    let Some(spec) = timeline.spec(sync.at) else {
        return false;
    };
    let up = 1.0 + Tolerances::of(spec, &timeline.controller).up;
    let mut ratios = sync
        .published
        .iter()
        .filter_map(|m| ratios(m, sync.status_replicas));
    ratios.any(|(low, _)| low > up)
}

fn chain(record: &Record, gathered: &Gathered, from: Micros, until: Micros) -> Chain {
    let timeline = &gathered.timeline;
    let within = |at: Micros| at >= from && at < until;
    let above =
        (0..timeline.syncs.len()).find(|i| within(timeline.syncs[*i].at) && is_above(timeline, *i));
    let own = timeline.own_writes();
    let decided = own
        .iter()
        .find(|w| within(w.at) && w.to > w.from)
        .map(|w| w.at);
    let new = gathered
        .pods
        .iter()
        .filter(|p| decided.is_some_and(|d| p.at + GRAIN >= d && within(p.at)));
    let first: Option<&Appeared> = new.min_by_key(|p| (p.ready.unwrap_or(Micros::MAX), p.at));
    let name = first.map(|p| p.name.as_str());
    Chain {
        load: Some(from),
        crossed: above.map(|i| timeline.syncs[i].at),
        decided,
        scheduled: first.and_then(|p| p.scheduled),
        ready: first.and_then(|p| p.ready),
        endpoint: name.and_then(|name| endpoint(record, name)),
        served: name.and_then(|name| served(record, name)),
        ..Chain::default()
    }
}

/// When a pod was first among those that the balancer may choose.
fn endpoint(record: &Record, name: &str) -> Option<Micros> {
    let mut events = record.events.iter();
    let found = events.find(|e| match &e.what {
        What::Endpoints { ready } => ready.iter().any(|r| r == name),
        _ => false,
    });
    found.map(|e| e.at)
}

/// When a pod was first sent a request that it answered.
fn served(record: &Record, name: &str) -> Option<Micros> {
    let seconds = record.intervals.iter().flat_map(steps);
    seconds
        .filter_map(|(step, _)| step.instances.get(name)?.first_us)
        .min()
}

/// New pods are looked at from so long after a scale-up on.
const WARM: Micros = 60_000_000;

/// Requests by pod in the longest time that began 60 s after a scale-up and ended with the next one, or with the next step
/// of the load. A pod too many that is taken back meanwhile changes nothing between those that stay.
fn after(analysis: &Analysis<'_>, gathered: &Gathered, steps: &[Step]) -> Vec<(u64, bool)> {
    let own = gathered.timeline.own_writes();
    let end = analysis.timeline.schedule_end;
    let span = |write: &&&Write| {
        let from = write.at + WARM;
        let writes = gathered.timeline.writes.iter();
        let ups = writes.filter(|w| w.to > w.from).map(|w| w.at);
        let changes = ups.chain(steps.iter().map(|s| s.at)).chain([end]);
        let until = changes.filter(|at| *at > write.at).min().unwrap_or(end);
        (until.saturating_sub(from), from, until)
    };
    let ups = own.iter().filter(|w| w.to > w.from);
    let Some(write) = ups.max_by_key(span) else {
        return Vec::new();
    };
    let (length, from, until) = span(&write);
    if length < WARM / 4 {
        return Vec::new();
    }
    let ready: Vec<&Appeared> = gathered
        .pods
        .iter()
        .filter(|p| p.ready.is_some_and(|r| r <= from))
        .collect();
    let count = |pod: &Appeared| {
        let seconds = analysis.timeline.seconds.iter();
        let seconds = seconds.filter(|s| s.second.start_us >= from && s.second.end_us <= until);
        let steps = seconds.flat_map(|s| self::steps(s));
        steps
            .filter_map(|(step, _)| step.instances.get(&pod.name))
            .map(|n| n.answered.saturating_add(n.failed))
            .fold(0, u64::saturating_add)
    };
    let alive = ready
        .into_iter()
        .filter(|p| p.gone.is_none_or(|g| g >= until));
    alive
        .map(|p| (count(p), p.at + GRAIN >= write.at))
        .collect()
}
