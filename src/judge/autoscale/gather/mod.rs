//! From a record to the timeline of one autoscaler: what the watches told, on the run's clock.

use std::collections::BTreeMap;

use serde_json::Value;

use super::published::{Groupings, Published};
use super::timeline::{GRAIN, Rescale, Sync, Timeline, Write};
use super::types::{Condition, Controller};
use crate::record::{FaultStage, Micros, ObjectChange, ObjectEvent, Record, View, What};
use crate::scenario::AutoscaleExpectation;

mod metrics;
mod pod;
mod pods;
mod spec;

use metrics::Asked;
pub(in crate::judge) use pods::Wall;
use pods::{Moment, NEAR, Pods, version};
pub use spec::of as spec_of;

/// What a record tells of an autoscaler.
#[derive(Debug, Clone)]
pub struct Gathered {
    /// Its decisions, and what they were made from.
    pub timeline: Timeline,
    /// What it scales: `Deployment/checkout`.
    pub target: String,
    /// Whether a restart of its controller would have been seen.
    pub leader_seen: bool,
    /// Containers without the request that a utilization is a part of: pod, container, resource.
    pub no_request: Vec<(String, String, String)>,
    /// Statuses with a condition that is false, with the cluster's words.
    pub troubles: Vec<Trouble>,
    /// Names of the target's pods, with when they were first seen, by when that was.
    pub pods: Vec<Appeared>,
    /// When the target's pods began to be replaced.
    pub rollouts: Vec<Micros>,
}

/// A condition of the autoscaler that says it cannot do its work.
#[derive(Debug, Clone, PartialEq)]
pub struct Trouble {
    /// When.
    pub at: Micros,
    /// `ScalingActive`.
    pub kind: String,
    /// `FailedGetResourceMetric`.
    pub reason: String,
    /// The cluster's words.
    pub message: String,
}

/// A pod of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appeared {
    /// Its name.
    pub name: String,
    /// When it was first seen.
    pub at: Micros,
    /// When it was seen bound to a node.
    pub scheduled: Option<Micros>,
    /// When it was first seen Ready.
    pub ready: Option<Micros>,
    /// When it was seen ending, or gone.
    pub gone: Option<Micros>,
}

/// The declared flags.
pub fn controller(expect: &AutoscaleExpectation) -> Controller {
    Controller {
        sync_period: expect.sync,
        downscale_stabilization: expect.downscale_stabilization,
        cpu_initialization: expect.cpu_initialization,
        initial_readiness_delay: expect.initial_readiness_delay,
        tolerance: expect.tolerance.get(),
    }
}

/// Objects of a kind, in time order.
fn objects<'a>(
    record: &'a Record,
    kind: &'a str,
) -> impl Iterator<Item = (Micros, &'a ObjectEvent)> {
    record.events.iter().filter_map(move |e| match &e.what {
        What::Object(object) if object.object == kind => Some((e.at, object)),
        _ => None,
    })
}

const HPA: &str = "HorizontalPodAutoscaler";

/// Gathers all that the record tells of an autoscaler; an error says what is missing.
pub fn gather(record: &Record, expect: &AutoscaleExpectation) -> Result<Gathered, String> {
    let own: Vec<_> = objects(record, HPA)
        .filter(|(_, o)| o.name == expect.hpa)
        .collect();
    let Some((first_seen, first)) = own.first().copied() else {
        let mut others: Vec<_> = objects(record, HPA).map(|(_, o)| o.name.clone()).collect();
        others.dedup();
        return Err(match others.is_empty() {
            true => "the record tells of no HorizontalPodAutoscaler".into(),
            false => format!(
                "the record tells of no HorizontalPodAutoscaler `{}`, only of {}",
                expect.hpa,
                crate::judge::words::list(&others)
            ),
        });
    };
    let reference = &first.facts.get("spec").unwrap_or(&Value::Null)["scaleTargetRef"];
    let (Some(kind), Some(name)) = (reference["kind"].as_str(), reference["name"].as_str()) else {
        return Err("the autoscaler's spec names no target".into());
    };
    let target = format!("{kind}/{name}");
    let wall = Wall::of(record)?;
    let pods = Pods::of(record, &target, &wall, &controller(expect));
    let (leader_seen, restarts) = leaders(record);
    let mut timeline = Timeline {
        controller: controller(expect),
        created: (first.change == ObjectChange::Changed).then_some(first_seen),
        restarts,
        writes: writes(record, kind, name),
        rescales: rescales(record, &expect.hpa),
        gaps: gaps(record, kind),
        excused: own_scaling(record),
        until: record.events.last().map_or(0, |e| e.at),
        ..Timeline::default()
    };
    let mut statuses = Statuses::default();
    for (at, object) in &own {
        statuses.take(*at, object, &mut timeline, record);
    }
    let scaled = first
        .facts
        .get("last-scale")
        .filter(|_| timeline.created.is_none());
    timeline.scaled_before = scaled.and_then(|at| wall.micros(at));
    let no_request = pods.no_request(&statuses.asked);
    group(&mut timeline, &statuses, &pods);
    Ok(Gathered {
        timeline,
        target,
        leader_seen,
        no_request,
        troubles: statuses.troubles,
        pods: pods.appeared(),
        rollouts: rollouts(record, kind, name),
    })
}

/// Statuses as they came, and what they were asked by.
#[derive(Default)]
struct Statuses {
    last: Option<BTreeMap<String, Value>>,
    /// The metrics asked for, from each time on.
    asked: Vec<(Micros, Vec<Asked>)>,
    /// The cluster's version of each status.
    versions: Vec<u64>,
    troubles: Vec<Trouble>,
}

/// The facts that a status consists of.
const STATUS: [&str; 5] = ["current", "desired", "metrics", "conditions", "last-scale"];

impl Statuses {
    fn take(&mut self, at: Micros, object: &ObjectEvent, to: &mut Timeline, record: &Record) {
        let facts = &object.facts;
        let Some(text) = facts.get("spec") else {
            return;
        };
        let spec = spec::of(text);
        let edited = to.specs.last().is_none_or(|(_, last)| *last != spec);
        let asked = metrics::asked(text);
        if edited || self.asked.last().is_none_or(|(_, last)| *last != asked) {
            to.specs.push((at, spec));
            self.asked.push((at, asked));
        }
        let last = self.last.replace(facts.clone());
        let same = |key: &&str| last.as_ref().and_then(|l| l.get(*key)) == facts.get(*key);
        if !facts.contains_key("conditions") || (last.is_some() && STATUS.iter().all(same)) {
            return;
        }
        let late = object.change == ObjectChange::Present;
        let number = |key: &str| facts.get(key).and_then(Value::as_i64).unwrap_or(0) as i32;
        let conditions = facts["conditions"].as_array().into_iter().flatten();
        let mut failed = false;
        let mut kept = Vec::new();
        for condition in conditions {
            let text = |key: &str| condition[key].as_str().unwrap_or_default().to_string();
            let status = condition["status"] == "True";
            let kind = text("type");
            let disabled = condition["reason"] == "ScalingDisabled";
            if !status && kind != "ScalingLimited" && !disabled {
                failed = true;
                let (reason, message) = (text("reason"), text("message"));
                self.troubles.push(Trouble {
                    at,
                    kind: kind.clone(),
                    reason,
                    message,
                });
            }
            kept.push(Condition {
                kind,
                status,
                reason: text("reason"),
            });
        }
        let asked = self.asked.last().map_or(&[][..], |(_, a)| a);
        let published = match failed {
            true => vec![Published::Invalid; asked.len().max(1)],
            false => metrics::published(asked, facts.get("metrics")),
        };
        let unclean = match late {
            true if last.is_none() => Some("decided before the run began".to_string()),
            true => Some("seen late, after a gap in the watch".into()),
            false => None,
        };
        self.versions.push(version(object));
        to.syncs.push(Sync {
            at,
            current: number("current"),
            status_replicas: status_replicas(record, &object.facts, at),
            pods: Groupings::default(),
            later: Groupings::default(),
            unclean,
            published,
            desired: number("desired"),
            conditions: kept,
        });
    }
}

/// The target's `status.replicas` as last told.
fn status_replicas(record: &Record, facts: &BTreeMap<String, Value>, at: Micros) -> i32 {
    let reference = &facts["spec"]["scaleTargetRef"];
    let kind = reference["kind"].as_str().unwrap_or_default();
    let told = objects(record, kind)
        .filter(|(t, o)| *t <= at && Some(o.name.as_str()) == reference["name"].as_str());
    let last = told.last().and_then(|(_, o)| o.facts.get("current"));
    last.and_then(Value::as_i64).unwrap_or(0) as i32
}

/// Puts to each status how the pods may have been grouped at its time, and until the next.
fn group(timeline: &mut Timeline, statuses: &Statuses, pods: &Pods) {
    let ends: Vec<Micros> = (1..=timeline.syncs.len())
        .map(|i| timeline.syncs.get(i).map_or(timeline.until, |s| s.at))
        .collect();
    let edits: Vec<Micros> = statuses.asked.iter().skip(1).map(|(at, _)| *at).collect();
    let writes = timeline.writes.clone();
    let statuses_ends = timeline.syncs.iter_mut().zip(&statuses.versions).zip(ends);
    for ((sync, version), end) in statuses_ends {
        // What a write brought about was not there when it was decided.
        let write = writes.iter().find(|w| {
            (w.from, w.to) == (sync.current, sync.desired) && w.at.abs_diff(sync.at) <= 2 * GRAIN
        });
        let moment = Moment {
            at: sync.at,
            version: match write.map_or(0, |w| w.version) {
                0 => *version,
                written => written,
            },
        };
        let before = statuses
            .asked
            .iter()
            .rev()
            .find(|(from, _)| *from <= sync.at);
        let asked = before.map_or(&[][..], |(_, asked)| asked);
        sync.pods = pods.groupings(asked, moment);
        sync.later = pods.groupings_within(asked, sync.at, end, &sync.pods);
        if edits.iter().any(|edit| edit.abs_diff(sync.at) <= NEAR) {
            let why = "the spec was edited at that moment";
            sync.unclean.get_or_insert(why.into());
        }
        if pods.blind(sync.at) {
            let why = "the samples of the pods were not seen then";
            sync.unclean.get_or_insert(why.into());
        }
    }
}

/// Changes of the target's `spec.replicas`.
fn writes(record: &Record, kind: &str, name: &str) -> Vec<Write> {
    let mut writes = Vec::new();
    let mut last: Option<(i32, Option<Value>)> = None;
    for (at, object) in objects(record, kind).filter(|(_, o)| o.name == name) {
        let Some(to) = object.facts.get("replicas").and_then(Value::as_i64) else {
            continue;
        };
        let (to, writer) = (to as i32, object.facts.get("writer").cloned());
        if let Some((from, before)) = last.filter(|(from, _)| *from != to) {
            // An entry that stays as it was is of an older write.
            let manager = writer.as_ref().filter(|w| before.as_ref() != Some(*w));
            let manager = manager
                .and_then(|w| w["manager"].as_str())
                .map(String::from);
            writes.push(Write {
                at,
                from,
                to,
                manager,
                version: version(object),
            });
        }
        last = Some((to, writer));
    }
    writes
}

/// When the target was changed otherwise than in its number of replicas.
fn rollouts(record: &Record, kind: &str, name: &str) -> Vec<Micros> {
    let told = objects(record, kind).filter(|(_, o)| o.name == name);
    let told: Vec<_> = told
        .map(|(at, o)| (at, o.facts.get("generation"), o.facts.get("replicas")))
        .collect();
    let pairs = told.windows(2);
    let changed = pairs.filter(|p| p[0].1 != p[1].1 && p[0].2 == p[1].2);
    changed.map(|p| p[1].0).collect()
}

/// The SuccessfulRescale events of the autoscaler: `New size: 5; reason: ...`.
fn rescales(record: &Record, hpa: &str) -> Vec<Rescale> {
    let events = objects(record, "Event").filter(|(_, o)| {
        let is = |key: &str, value: &str| o.facts.get(key).is_some_and(|v| v == value);
        is("reason", "SuccessfulRescale") && is("of", HPA) && is("name", hpa)
    });
    let sizes = events.filter_map(|(at, o)| {
        let message = o.facts.get("message")?.as_str()?;
        let size = message.strip_prefix("New size: ")?;
        let size = size.split(';').next()?.trim().parse().ok()?;
        Some(Rescale { at, size })
    });
    sizes.collect()
}

/// Whether the controllers' lease was seen, and when another process took it.
fn leaders(record: &Record) -> (bool, Vec<Micros>) {
    let mut restarts = Vec::new();
    let mut holder: Option<&Value> = None;
    for (at, lease) in objects(record, "Lease") {
        let Some(next) = lease.facts.get("holderIdentity") else {
            continue;
        };
        if holder.is_some_and(|h| h != next) {
            restarts.push(at);
        }
        holder = Some(next);
    }
    (holder.is_some(), restarts)
}

/// Times in which a view that decisions are judged by was lost.
fn gaps(record: &Record, kind: &str) -> Vec<(Micros, Micros)> {
    let target = format!("{}s", kind.to_lowercase());
    let watched = ["horizontalpodautoscalers", "pods", "events", &target];
    let mut open: BTreeMap<&str, Micros> = BTreeMap::new();
    let mut gaps = Vec::new();
    for event in &record.events {
        let What::Watch(watch) = &event.what else {
            continue;
        };
        if !watched.contains(&watch.of.as_str()) {
            continue;
        }
        match watch.view {
            View::Lost => {
                open.entry(&watch.of).or_insert(event.at);
            }
            View::Resumed | View::Relisted => {
                let from = open.remove(watch.of.as_str());
                gaps.extend(from.map(|from| (from, event.at)));
            }
        }
    }
    gaps.extend(open.into_values().map(|from| (from, Micros::MAX)));
    gaps.sort_unstable();
    gaps
}

/// When this run itself scaled something, and took it back.
fn own_scaling(record: &Record) -> Vec<(Micros, String)> {
    let mut scaling = Vec::new();
    let mut injections = Vec::new();
    for event in &record.events {
        match &event.what {
            What::Fault(fault) if fault.fault == "scale" => {
                injections.push(fault.injection);
                if matches!(fault.stage, FaultStage::Injecting | FaultStage::Injected) {
                    scaling.push((event.at, format!("this run's fault `{}`", fault.name)));
                }
            }
            What::Undo(undo) if injections.contains(&undo.injection) => {
                scaling.push((event.at, "this run's undo of a scale fault".into()));
            }
            _ => {}
        }
    }
    scaling
}

#[cfg(test)]
mod tests;
