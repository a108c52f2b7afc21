//! The target's pods over time, and how the controller may have grouped them at a moment.
//!
//! The controller and the watches see a change at nearly the same time, and a sample is told up to a look later: what
//! changed so near to a decision may or may not have been seen by it, and every combination is kept. What a decision
//! surely cannot have seen is told by the cluster's versions, which count all its changes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::metrics::{Asked, Pods as Which};
use super::pod::State;
use super::{Appeared, objects};
use crate::judge::autoscale::published::{Groupings, Tally};
use crate::judge::autoscale::types::Controller;
use crate::observe::{POD_SAMPLES, PODS_SAMPLED_EVERY};
use crate::record::{Micros, ObjectEvent, Record, View, What};

/// What is told so near to a decision may have been seen by it or not.
pub(super) const NEAR: Micros = 1_000_000;
/// Where clocks of two machines are compared: seconds, as Kubernetes writes times, and some skew.
const SKEW: i64 = 3_000_000;
/// From so long after it was ready on, a pod has a sample, where samples are not watched.
const SAMPLED: Micros = 90_000_000;
/// More ways than this to group the pods are not looked through.
const WAYS: usize = 5_000;

/// The record's clock as wall time.
#[derive(Debug, Default)]
pub(in crate::judge) struct Wall(jiff::Timestamp);

impl Wall {
    pub fn of(record: &Record) -> Result<Self, String> {
        let started = record.header.started.parse();
        let bad = |_| "the record's start is no time".to_string();
        started.map(Self).map_err(bad)
    }
    /// A time that Kubernetes wrote, on the run's clock; before the run it is negative.
    pub fn micros(&self, text: &Value) -> Option<i64> {
        let at: jiff::Timestamp = text.as_str()?.parse().ok()?;
        i64::try_from(at.duration_since(self.0).as_micros()).ok()
    }
}

/// A sample of a pod: when it was taken, as the cluster writes it, and over how long.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Taken {
    at: i64,
    window: i64,
}

/// How the controller may take a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Ignored,
    Unready,
    Missing,
    Counted,
}

/// What was told over time of one thing: when, in which version of the cluster's state (0 where that is not known).
type History<T> = Vec<(Micros, u64, T)>;

/// A moment: what is later in versions has not been seen then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub at: Micros,
    pub version: u64,
}

/// The cluster's version of an object as a number; 0 for none.
pub(super) fn version(object: &ObjectEvent) -> u64 {
    object.version.parse().unwrap_or(0)
}

/// The pods of a target, and their samples.
#[derive(Debug)]
pub(super) struct Pods {
    pods: BTreeMap<String, History<State>>,
    samples: BTreeMap<String, History<Option<Taken>>>,
    /// Whether samples were watched at all.
    sampled: bool,
    /// Times in which they were not seen.
    gaps: Vec<(Micros, Micros)>,
    initialization: i64,
    readiness_delay: i64,
    /// Every time at which something was told.
    changes: BTreeSet<Micros>,
}

impl Pods {
    pub fn of(record: &Record, target: &str, wall: &Wall, controller: &Controller) -> Self {
        let micros = |d: Duration| d.as_micros() as i64;
        let mut all = Self {
            pods: BTreeMap::new(),
            samples: BTreeMap::new(),
            sampled: false,
            gaps: gaps(record),
            initialization: micros(controller.cpu_initialization),
            readiness_delay: micros(controller.initial_readiness_delay),
            changes: BTreeSet::new(),
        };
        for (at, object) in objects(record, "Pod") {
            let mine = object.facts.get("owner").is_some_and(|o| o == target);
            if mine || all.pods.contains_key(&object.name) {
                let state = State::of(object, wall);
                let history = all.pods.entry(object.name.clone()).or_default();
                history.push((at, version(object), state));
                all.changes.insert(at);
            }
        }
        for (at, object) in objects(record, "PodMetrics") {
            all.sampled = true;
            let taken = taken(object, wall);
            let history = all.samples.entry(object.name.clone()).or_default();
            history.push((at, 0, taken));
            all.changes.insert(at);
        }
        all
    }

    /// Whether samples were not seen at a time.
    pub fn blind(&self, at: Micros) -> bool {
        let mut gaps = self.gaps.iter();
        gaps.any(|(from, until)| *from <= at + look() && at <= until + look())
    }

    /// How the pods may have been grouped at a time, for each metric.
    pub fn groupings(&self, asked: &[Asked], moment: Moment) -> Groupings {
        let ways = asked.iter().map(|metric| self.ways(metric.pods(), moment));
        Groupings {
            ways: ways.collect(),
            even: asked.iter().all(|metric| self.even(metric, moment)),
        }
    }

    /// The same at any time after `from` and before `until`.
    pub fn groupings_within(
        &self,
        asked: &[Asked],
        from: Micros,
        until: Micros,
        first: &Groupings,
    ) -> Groupings {
        let mut all = first.clone();
        let moments = self.changes.range(from.min(until)..until);
        // What is only near to one moment is settled at the next.
        let settled = moments.clone().map(|at| at + look() + 1);
        let moments = moments.copied().chain(settled.filter(|at| *at < until));
        for moment in moments.filter(|at| *at > from) {
            let then = self.groupings(
                asked,
                Moment {
                    at: moment,
                    version: u64::MAX,
                },
            );
            all.even &= then.even;
            for (ways, more) in all.ways.iter_mut().zip(then.ways) {
                ways.extend(more);
                ways.sort_unstable();
                ways.dedup();
            }
        }
        all
    }

    /// Containers without the request that a utilization is a part of: pod, container, resource.
    pub fn no_request(&self, asked: &[(Micros, Vec<Asked>)]) -> Vec<(String, String, String)> {
        let metrics = asked.iter().flat_map(|(_, metrics)| metrics);
        let mut found = BTreeSet::new();
        for metric in metrics.filter(|m| m.is_utilization()) {
            for (pod, history) in &self.pods {
                let states = history.iter().filter(|(.., s)| !s.gone);
                for container in states.flat_map(|(.., s)| s.requests_nothing(metric)) {
                    let names = [pod, container, &metric.name].map(|n| n.to_string());
                    found.insert(<(String, String, String)>::from(names));
                }
            }
        }
        found.into_iter().collect()
    }

    /// The pods by when they were first seen.
    pub fn appeared(&self) -> Vec<Appeared> {
        let when = |history: &History<State>, is: fn(&State) -> bool| {
            history.iter().find(|(.., s)| is(s)).map(|(at, ..)| *at)
        };
        let pods = self.pods.iter().map(|(name, history)| Appeared {
            name: name.clone(),
            at: history.first().map_or(0, |(at, ..)| *at),
            scheduled: when(history, |s| s.scheduled),
            ready: when(history, |s| s.ready.is_some_and(|(r, _)| r == Some(true))),
            gone: when(history, |s| s.gone || s.deleted),
        });
        let mut pods: Vec<Appeared> = pods.collect();
        pods.sort_by_key(|p| p.at);
        pods
    }

    /// Whether all pods request the same of what a metric is a part of.
    fn even(&self, metric: &Asked, moment: Moment) -> bool {
        if !metric.is_utilization() {
            return true;
        }
        let states = self.pods.values().flat_map(|h| near(h, moment, NEAR));
        let live = states.filter(|s| !s.gone && !s.deleted);
        let requests: BTreeSet<i64> = live.map(|s| s.request(metric)).collect();
        requests.len() <= 1
    }

    fn ways(&self, which: Which, moment: Moment) -> Vec<Tally> {
        let mut ways = BTreeSet::from([Tally::counted(0)]);
        if which == Which::Nobody {
            return ways.into_iter().collect();
        }
        for (name, history) in &self.pods {
            let groups = self.groups(name, history, which, moment);
            if groups.is_empty() {
                continue;
            }
            let with = |way: &Tally, group: &Group| match group {
                Group::Ignored => *way,
                Group::Unready => Tally {
                    unready: way.unready + 1,
                    ..*way
                },
                Group::Missing => Tally {
                    missing: way.missing + 1,
                    ..*way
                },
                Group::Counted => Tally {
                    counted: way.counted + 1,
                    ..*way
                },
            };
            let next = ways
                .iter()
                .flat_map(|way| groups.iter().map(|g| with(way, g)));
            ways = next.collect();
            if ways.len() > WAYS {
                return Vec::new();
            }
        }
        ways.into_iter().collect()
    }

    /// The groups that a pod may have been taken for; none for one that was not there.
    fn groups(
        &self,
        name: &str,
        history: &History<State>,
        which: Which,
        moment: Moment,
    ) -> BTreeSet<Group> {
        let at = moment.at;
        let states: Vec<&State> = near(history, moment, NEAR).collect();
        let before = history
            .first()
            .is_some_and(|(first, ..)| *first + NEAR > at);
        let mut groups = BTreeSet::new();
        if states.is_empty() {
            return groups;
        }
        if before {
            // It may not have been there yet.
            groups.insert(Group::Ignored);
        }
        let none = Vec::new();
        let samples = self.samples.get(name).unwrap_or(&none);
        let mut taken: Vec<Option<Taken>> = near(samples, moment, look()).copied().collect();
        if samples.first().is_none_or(|(first, ..)| *first + NEAR > at) {
            taken.push(None);
        }
        for state in states {
            if state.gone || state.deleted || state.phase == "Failed" {
                groups.insert(Group::Ignored);
                continue;
            }
            match which {
                Which::Nobody => {}
                Which::Ready => {
                    let ready = state.ready.is_some_and(|(r, _)| r == Some(true));
                    groups.insert(match ready && state.phase == "Running" {
                        true => Group::Counted,
                        false => Group::Ignored,
                    });
                }
                _ if state.phase == "Pending" => {
                    groups.insert(Group::Unready);
                }
                Which::Running => {
                    groups.insert(Group::Counted);
                    if !settled(state, at) {
                        groups.insert(Group::Missing);
                    }
                }
                _ if !self.sampled => {
                    groups.insert(Group::Counted);
                    if !settled(state, at) {
                        groups.extend([Group::Missing, Group::Unready]);
                    }
                }
                Which::Sampled => groups.extend(taken.iter().map(|t| match t {
                    Some(_) => Group::Counted,
                    None => Group::Missing,
                })),
                Which::Warm => {
                    for taken in &taken {
                        self.warm(state, *taken, at, &mut groups);
                    }
                }
            }
        }
        groups
    }

    /// The groups for CPU.
    fn warm(&self, state: &State, taken: Option<Taken>, at: Micros, groups: &mut BTreeSet<Group>) {
        let Some(taken) = taken else {
            groups.insert(Group::Missing);
            return;
        };
        let (Some((ready, since)), Some(started)) = (state.ready, state.started) else {
            groups.insert(Group::Unready);
            return;
        };
        let not_ready = ready == Some(false);
        let group = |unready: bool| match unready {
            true => Group::Unready,
            false => Group::Counted,
        };
        let young = started + self.initialization - at as i64;
        // These are written by the cluster alone, and compared as written.
        let fresh = not_ready || taken.at < since + taken.window;
        let never = not_ready && started + self.readiness_delay > since;
        if young > -SKEW {
            groups.insert(group(fresh));
        }
        if young < SKEW {
            groups.insert(group(never));
        }
    }
}

/// A sample is told so much late at most.
fn look() -> Micros {
    PODS_SAMPLED_EVERY.as_micros() as Micros + NEAR
}

/// Ready for so long that it surely has a value.
fn settled(state: &State, at: Micros) -> bool {
    let since = state.ready.filter(|(ready, _)| *ready == Some(true));
    since.is_some_and(|(_, since)| since + SAMPLED as i64 + SKEW < at as i64)
}

/// What may have held at a moment: the last told well before it, and all told near to it that it can have seen.
fn near<T>(history: &History<T>, moment: Moment, after: Micros) -> impl Iterator<Item = &T> {
    let sure = history.partition_point(|(t, ..)| *t + NEAR <= moment.at);
    let until = history.partition_point(|(t, ..)| *t <= moment.at + after);
    let seen = history[sure.saturating_sub(1)..until].iter();
    seen.filter(move |(_, version, _)| *version <= moment.version)
        .map(|(.., v)| v)
}

fn taken(object: &ObjectEvent, wall: &Wall) -> Option<Taken> {
    let window = object.facts.get("window")?.as_str()?;
    Some(Taken {
        at: wall.micros(object.facts.get("timestamp")?)?,
        window: crate::scenario::units::parse_duration(window)
            .ok()?
            .as_micros() as i64,
    })
}

/// Times in which samples were not seen.
fn gaps(record: &Record) -> Vec<(Micros, Micros)> {
    let mut gaps = Vec::new();
    let mut lost = None;
    for event in &record.events {
        match &event.what {
            What::Watch(watch) if watch.of == POD_SAMPLES => match watch.view {
                View::Lost => lost = lost.or(Some(event.at)),
                View::Resumed | View::Relisted => {
                    gaps.extend(lost.take().map(|from| (from, event.at)));
                }
            },
            _ => {}
        }
    }
    gaps.extend(lost.map(|from| (from, Micros::MAX)));
    gaps
}
