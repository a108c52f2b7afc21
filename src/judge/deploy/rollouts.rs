//! The rollouts of a record, put together from what its watches told of the workloads behind the Service.

use std::collections::BTreeMap;

use serde_json::Value;

use super::strategy::Strategy;
use crate::judge::injection::Injection;
use crate::judge::timeline::Timeline;
use crate::record::{Incident, InstanceState, Micros, ObjectChange, ObjectEvent, What};
use crate::scenario::{Effect, FaultKind};

/// A rollout that an injection asked for is seen within this; the API server tells at once, a busy one later.
const SEEN_WITHIN: Micros = 5_000_000;

/// One rollout of one workload.
#[derive(Debug, Clone)]
pub(super) struct Rollout {
    pub kind: String,
    pub name: String,
    pub began_us: Micros,
    /// It was under way when squall began to look.
    pub before: bool,
    /// All pods were new and available.
    pub finished_us: Option<Micros>,
    /// The next version, or the end of the workload, came first.
    pub superseded_us: Option<Micros>,
    pub strategy: Strategy,
    pub paused: bool,
    /// The fewest and the most pods that the workload was to have meanwhile.
    pub replicas: (u64, u64),
    pub cause: Cause,
    pub pods: Pods,
}

/// Who asked for a rollout. Numbers are indexes of injections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Somebody else than squall.
    Outside,
    /// The fault `rollout-restart`.
    Restart(usize),
    /// The fault `bad-rollout`: it is not meant to finish.
    Bad(usize),
    /// What takes a `bad-rollout` back.
    Undo(usize),
}

/// What became of a workload's pods.
#[derive(Debug, Clone, Default)]
pub(super) struct Pods {
    /// There when the rollout began.
    pub old: BTreeMap<String, Told>,
    /// Started since.
    pub new: BTreeMap<String, Told>,
}

/// When a pod was seen in a state for the first time since the rollout began.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    pub started: Option<Micros>,
    pub ready: Option<Micros>,
    pub told_to_end: Option<Micros>,
    pub ended: Option<Micros>,
    /// What befell it, in words.
    pub incident: Option<String>,
}

impl Rollout {
    /// `rollout of Deployment web`.
    pub fn describe(&self) -> String {
        format!("rollout of {} {}", self.kind, self.name)
    }
    /// Until when it went on: complete, superseded, or the end of what was seen.
    pub fn until(&self, watched_to: Micros) -> Micros {
        let end = self.finished_us.into_iter().chain(self.superseded_us);
        end.min().unwrap_or(watched_to)
    }
    /// When the last of the pods that were told to end meanwhile was gone; `None` while one is not.
    pub fn old_gone(&self) -> Option<Micros> {
        let ending = self.pods.old.values().filter(|p| p.told_to_end.is_some());
        let times: Option<Vec<Micros>> = ending.map(|p| p.ended).collect();
        Some(times?.into_iter().max().unwrap_or(self.began_us))
    }
}

/// Whether the place is one of the workload's: `web-3` is of `web`.
pub(super) fn is_of(slot: &str, workload: &str) -> bool {
    let number = slot
        .strip_prefix(workload)
        .and_then(|s| s.strip_prefix('-'));
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// All rollouts that began while traffic ran, in order.
pub(super) fn rollouts(timeline: &Timeline<'_>, injections: &[Injection]) -> Vec<Rollout> {
    let mut found: Vec<Rollout> = Vec::new();
    let mut last: BTreeMap<(&str, &str), &ObjectEvent> = BTreeMap::new();
    for event in &timeline.record.events {
        let What::Object(object) = &event.what else {
            continue;
        };
        if object.facts.get("serves") != Some(&Value::Bool(true)) {
            let known = last.remove(&(&*object.object, &*object.name)).is_some();
            if known && object.change == ObjectChange::Deleted {
                supersede(&mut found, object, event.at);
            }
            continue;
        }
        let key = (object.object.as_str(), object.name.as_str());
        let before = last.insert(key, object);
        let template = |o: &ObjectEvent| o.facts.get("template").cloned();
        let is_new = before.is_some_and(|b| template(b) != template(object));
        if is_new || (before.is_none() && progress(object) == Some("under-way")) {
            supersede(&mut found, object, event.at);
            found.push(begun(object, event.at, before.is_none()));
        }
        if let Some(open) = open(&mut found, object) {
            note(open, object, event.at);
        }
    }
    found.retain(|r| r.began_us < timeline.schedule_end.min(timeline.stopping));
    for rollout in &mut found {
        rollout.pods = pods(timeline, rollout);
        rollout.cause = cause(timeline, rollout, injections);
    }
    found
}

fn progress(object: &ObjectEvent) -> Option<&str> {
    object.facts.get("rollout").and_then(Value::as_str)
}

fn number(object: &ObjectEvent, fact: &str) -> Option<u64> {
    object.facts.get(fact).and_then(Value::as_u64)
}

fn begun(object: &ObjectEvent, at: Micros, before: bool) -> Rollout {
    let replicas = number(object, "replicas").unwrap_or(1);
    Rollout {
        kind: object.object.clone(),
        name: object.name.clone(),
        began_us: at,
        before,
        finished_us: None,
        superseded_us: None,
        strategy: Strategy::of(&object.object, object.facts.get("strategy")),
        paused: false,
        replicas: (replicas, replicas),
        cause: Cause::Outside,
        pods: Pods::default(),
    }
}

/// The rollout of this workload that is not over.
fn open<'r>(found: &'r mut [Rollout], object: &ObjectEvent) -> Option<&'r mut Rollout> {
    let mut same = found
        .iter_mut()
        .filter(|r| r.kind == object.object && r.name == object.name && r.superseded_us.is_none());
    same.next_back().filter(|r| r.finished_us.is_none())
}

fn supersede(found: &mut [Rollout], object: &ObjectEvent, at: Micros) {
    if let Some(open) = open(found, object) {
        open.superseded_us = Some(at);
    }
}

fn note(rollout: &mut Rollout, object: &ObjectEvent, at: Micros) {
    if let Some(replicas) = number(object, "replicas") {
        let (fewest, most) = rollout.replicas;
        rollout.replicas = (fewest.min(replicas), most.max(replicas));
    }
    rollout.paused = object.facts.get("paused") == Some(&Value::Bool(true));
    if progress(object) == Some("complete") {
        rollout.finished_us = Some(at);
    }
}

/// The workload's pods, from the beginning of the rollout until the next one or the end.
fn pods(timeline: &Timeline<'_>, rollout: &Rollout) -> Pods {
    let mut pods = Pods::default();
    for event in &timeline.record.events {
        if event.at >= timeline.stopping || rollout.superseded_us.is_some_and(|s| event.at > s) {
            break;
        }
        let since = event.at >= rollout.began_us;
        match &event.what {
            What::Instance(change) if is_of(&change.slot, &rollout.name) => {
                let name = change.name.clone();
                if change.state == InstanceState::Ended && !since {
                    pods.old.remove(&name);
                    continue;
                }
                // A StatefulSet's new pod has its predecessor's name.
                let anew = since && change.state == InstanceState::Started;
                let known = !anew && !pods.new.contains_key(&name);
                let is_old = !since || (known && pods.old.contains_key(&name));
                let told = match is_old {
                    true => pods.old.entry(name).or_default(),
                    false => pods.new.entry(name).or_default(),
                };
                if since {
                    let moment = match change.state {
                        InstanceState::Started => &mut told.started,
                        InstanceState::Ready => &mut told.ready,
                        InstanceState::Terminating => &mut told.told_to_end,
                        InstanceState::Ended => &mut told.ended,
                        InstanceState::NotReady => continue,
                    };
                    moment.get_or_insert(event.at);
                    if change.state == InstanceState::Ended {
                        told.told_to_end.get_or_insert(event.at);
                    }
                }
            }
            What::Incident {
                incident,
                instance,
                detail,
            } if since && *incident != Incident::ProbeFailed => {
                if let Some(told) = pods.new.get_mut(instance) {
                    told.incident
                        .get_or_insert_with(|| words(*incident, detail));
                }
            }
            _ => {}
        }
    }
    pods
}

fn words(incident: Incident, detail: &str) -> String {
    let what = match incident {
        Incident::OomKilled => "it is killed for its memory",
        Incident::Restarted | Incident::CrashLoop => "its container ends again and again",
        Incident::ImagePull => "its image cannot be pulled",
        Incident::ProbeFailed => "its probe fails",
        Incident::Evicted => "it is evicted",
        Incident::Unschedulable => "no node takes it",
    };
    match detail.is_empty() {
        true => what.into(),
        false => format!("{what} ({detail})"),
    }
}

/// The injection that asked for a rollout, where one did.
fn cause(timeline: &Timeline<'_>, rollout: &Rollout, injections: &[Injection]) -> Cause {
    let near = |from: Micros, to: Micros| {
        let at = rollout.began_us;
        at.saturating_add(SEEN_WITHIN) >= from && at <= to.saturating_add(SEEN_WITHIN)
    };
    let distance = |moment: Micros| rollout.began_us.abs_diff(moment);
    let all = injections.iter().enumerate();
    let candidates = all.filter(|(_, i)| i.effective() && asks_for_rollout(timeline, i));
    candidates
        .flat_map(|(index, injection)| {
            let bad = injection.lasting;
            let made = near(injection.began_us, injection.at()).then(|| {
                let cause = if bad {
                    Cause::Bad(index)
                } else {
                    Cause::Restart(index)
                };
                (distance(injection.at()), cause)
            });
            let undone = injection.undone_us.filter(|_| bad).filter(|u| near(*u, *u));
            let undone = undone.map(|u| (distance(u), Cause::Undo(index)));
            made.into_iter().chain(undone)
        })
        .min_by_key(|(distance, _)| *distance)
        .map_or(Cause::Outside, |(_, cause)| cause)
}

/// Whether the injection is a rollout itself, and no disturbance of one.
pub(super) fn asks_for_rollout(timeline: &Timeline<'_>, injection: &Injection) -> bool {
    let specs = &timeline.record.header.scenario.faults;
    let names = specs.iter().filter(|spec| {
        matches!(
            spec.kind,
            FaultKind::RolloutRestart | FaultKind::BadRollout { .. }
        )
    });
    injection.effect == Effect::Change && names.map(|s| s.kind.name()).any(|n| n == injection.fault)
}
