//! Instances that cannot serve though the balancer may choose them: a finding where that lasts, and until then a time
//! that says nothing about how the balancer chooses, since what goes to them comes back without a name.

use std::collections::{BTreeMap, BTreeSet};

use crate::judge::injection::effect_of;
use crate::record::{FaultStage, InstanceState, Micros, Record, What};
use crate::scenario::Effect;

/// A time in which an instance was eligible though it had ended or was not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub instance: String,
    /// It ended, rather than being not ready.
    pub ended: bool,
    pub since_us: Micros,
    /// Removed, or the end of traffic.
    pub until_us: Micros,
    /// It was still listed when traffic ended.
    pub to_the_end: bool,
}

/// An instance that stayed in the eligible set though it was not ready, or gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub instance: String,
    /// It ended, rather than being not ready.
    pub ended: bool,
    pub since_us: Micros,
    /// Removed, or the end of traffic.
    pub until_us: Micros,
    /// It was still listed when traffic ended.
    pub to_the_end: bool,
    /// Requests that failed meanwhile, anywhere.
    pub failed: u64,
}

/// Those that lasted longer than the lag.
pub(crate) fn kept(record: &Record, dead: &[Listed], lag: Micros) -> Vec<Kept> {
    let long = dead.iter().filter(|d| d.until_us - d.since_us > lag);
    long.map(|d| Kept {
        instance: d.instance.clone(),
        ended: d.ended,
        since_us: d.since_us,
        until_us: d.until_us,
        to_the_end: d.to_the_end,
        failed: failed_between(record, d.since_us, d.until_us),
    })
    .collect()
}

/// Times in which the record hides who was chosen: an instance that is down and not yet taken out (within the lag;
/// after it, that is a finding), and injected faults that leave connections without an answer. A delayed answer still
/// names its instance.
pub(crate) fn spoiled(
    record: &Record,
    dead: &[Listed],
    end: Micros,
    lag: Micros,
) -> Vec<(Micros, Micros)> {
    let down = dead
        .iter()
        .map(|d| (d.since_us, d.until_us.min(d.since_us.saturating_add(lag))));
    let faults = record.events.iter().filter_map(|event| {
        let What::Fault(fault) = &event.what else {
            return None;
        };
        let effect = effect_of(record, fault);
        let hides = matches!(effect, Effect::Silence | Effect::Loss);
        if fault.stage != FaultStage::Injecting || !hides {
            return None;
        }
        Some((event.at, undone(record, fault.injection).unwrap_or(end)))
    });
    down.chain(faults).collect()
}

/// When the last part of an injection was taken back; `None` for one refused or failed too, as if it were never.
fn undone(record: &Record, injection: u32) -> Option<Micros> {
    let ends = record.events.iter().filter_map(|event| match &event.what {
        What::Undo(undo) if undo.injection == injection && undo.done == Some(true) => {
            Some(event.at)
        }
        // Nothing was done: nothing is hidden from here on.
        What::Fault(fault)
            if fault.injection == injection
                && matches!(
                    fault.stage,
                    FaultStage::Refused | FaultStage::Failed | FaultStage::Ineffective
                ) =>
        {
            Some(event.at)
        }
        _ => None,
    });
    ends.max()
}

/// Each time in which an instance was eligible though it could not serve.
pub(crate) fn listed_dead(record: &Record, start: Micros, end: Micros) -> Vec<Listed> {
    let mut listed: BTreeSet<&str> = BTreeSet::new();
    let mut bad: BTreeMap<&str, bool> = BTreeMap::new();
    let mut open: BTreeMap<&str, (Micros, bool)> = BTreeMap::new();
    let mut found = Vec::new();
    let mut close = |name: &str, (since, ended): (Micros, bool), until: Micros, last: bool| {
        let since_us = since.max(start);
        if until > since_us {
            found.push(Listed {
                instance: name.to_string(),
                ended,
                since_us,
                until_us: until,
                to_the_end: last,
            });
        }
    };
    for event in record.events.iter().filter(|e| e.at <= end) {
        match &event.what {
            What::Endpoints { ready } => {
                listed = ready.iter().map(String::as_str).collect();
            }
            What::Instance(i) => match i.state {
                InstanceState::Ended => {
                    bad.insert(&i.name, true);
                }
                InstanceState::NotReady => {
                    bad.entry(&i.name).or_insert(false);
                }
                InstanceState::Ready => {
                    bad.remove(i.name.as_str());
                }
                // A graceful end is the recovery judge's: it may serve until it has ended.
                InstanceState::Started | InstanceState::Terminating => {}
            },
            _ => continue,
        }
        let now = bad.iter().filter(|(name, _)| listed.contains(*name));
        let now: BTreeMap<&str, (Micros, bool)> = now
            .map(|(name, ended)| {
                let since = open.get(name).map_or(event.at, |(since, _)| *since);
                (*name, (since, *ended))
            })
            .collect();
        for (name, state) in open.iter().filter(|(name, _)| !now.contains_key(*name)) {
            close(name, *state, event.at, false);
        }
        open = now;
    }
    for (name, state) in &open {
        close(name, *state, end, true);
    }
    found
}

fn failed_between(record: &Record, from: Micros, until: Micros) -> u64 {
    let seconds = record.intervals.iter().map(|i| &i.second);
    seconds
        .filter(|s| s.end_us > from && s.start_us < until)
        .flat_map(|s| &s.steps)
        .flat_map(|s| &s.ended)
        .filter(|(outcome, _)| outcome.failed())
        .fold(0, |all: u64, (_, n)| all.saturating_add(*n))
}
