//! The injections of a run, put together from their events. What followed them is for `impact`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::record::{FaultEvent, FaultStage, Micros, Record, UndoEvent, What};
use crate::scenario::{Effect, FaultKind, NAMESPACE_LABEL};

/// One injection of a fault.
#[derive(Debug, Clone)]
pub(crate) struct Injection {
    /// Number in the run, from 1.
    pub number: u32,
    /// Index of its spec in the scenario.
    pub spec: usize,
    /// The spec's name.
    pub name: String,
    /// The kind's name.
    pub fault: String,
    /// What it does to an instance.
    pub effect: Effect,
    /// Whether it is in force until it is taken back.
    pub lasting: bool,
    /// Last stage reached.
    pub stage: FaultStage,
    /// Why it was refused or failed.
    pub detail: Option<String>,
    /// Instances hit.
    pub instances: Vec<String>,
    /// When it was about to be made: effects may show from here on.
    pub began_us: Micros,
    /// When it was made.
    pub injected_us: Option<Micros>,
    /// When all of it was taken back.
    pub undone_us: Option<Micros>,
    /// Undos that failed.
    pub undo_failures: Vec<String>,
    /// It hits all that stands on a node.
    pub of_node: bool,
    /// How long it was to last.
    pub lasts: Option<Duration>,
}

impl Injection {
    /// Whether something was done to the system.
    pub fn effective(&self) -> bool {
        matches!(self.stage, FaultStage::Injected | FaultStage::Injecting)
    }
    /// Whether the instance is gone afterwards.
    pub fn ends_instance(&self) -> bool {
        self.effect.ends_instance()
    }
    /// Whether a balancer that watches readiness must take the instance out: it is gone, or answers nothing.
    pub fn must_leave_endpoints(&self) -> bool {
        self.ends_instance() || self.effect == Effect::Silence
    }
    /// The moment times are counted from.
    pub fn at(&self) -> Micros {
        self.injected_us.unwrap_or(self.began_us)
    }
    /// `kill of shop-2`.
    pub fn describe(&self) -> String {
        match self.instances.is_empty() {
            true => self.fault.clone(),
            false => format!("{} of {}", self.fault, super::words::list(&self.instances)),
        }
    }
}

/// The injections of a record, by number.
pub(crate) fn injections(record: &Record) -> Vec<Injection> {
    let mut found: BTreeMap<u32, Injection> = BTreeMap::new();
    let mut undos: BTreeMap<u32, Vec<(Micros, &UndoEvent)>> = BTreeMap::new();
    for event in &record.events {
        match &event.what {
            What::Fault(fault) => note_stage(&mut found, record, event.at, fault),
            What::Undo(undo) => undos
                .entry(undo.injection)
                .or_default()
                .push((event.at, undo)),
            _ => {}
        }
    }
    for (number, events) in undos {
        if let Some(injection) = found.get_mut(&number) {
            note_undos(injection, &events);
        }
    }
    found.into_values().collect()
}

/// A fault of the scenario of which no injection was made, and why: what was expected under it was not put to the test. Of
/// one that comes again and again the guard may refuse some.
pub(crate) fn unmade<'a>(
    record: &'a Record,
    injections: &'a [Injection],
) -> Option<(&'a str, &'a str)> {
    let faults = &record.header.scenario.faults;
    // A record put together by hand may tell of faults that its scenario does not.
    let others = injections.iter().map(|i| i.spec);
    let others = others.filter(|spec| *spec >= faults.len());
    (0..faults.len()).chain(others).find_map(|spec| {
        let own: Vec<&Injection> = injections.iter().filter(|i| i.spec == spec).collect();
        if own.iter().any(|i| i.effective()) {
            return None;
        }
        let name = match faults.get(spec) {
            Some(fault) => &fault.name,
            None => &own.first()?.name,
        };
        let why = own.iter().find_map(|i| i.detail.as_deref());
        Some((name.as_str(), why.unwrap_or("its time did not come")))
    })
}

/// What an injection does to an instance of the target. One that the scenario does not know, as in a record put together
/// by hand, asks nothing of the system and may have hidden anything; so does one in another namespace: what becomes of
/// those pods is not in the record, and to the target it is something that it can no longer reach.
pub(crate) fn effect_of(record: &Record, event: &FaultEvent) -> Effect {
    let spec = record.header.scenario.faults.get(event.spec);
    let elsewhere = spec.is_some_and(|s| s.select.labels.contains_key(NAMESPACE_LABEL));
    let kind = kind_of(record, event).filter(|_| !elsewhere);
    kind.map_or(Effect::Loss, FaultKind::effect)
}

/// What was injected, where the scenario has such a fault.
fn kind_of<'a>(record: &'a Record, event: &FaultEvent) -> Option<&'a FaultKind> {
    let spec = record.header.scenario.faults.get(event.spec)?;
    (spec.kind.name() == event.fault).then_some(&spec.kind)
}

fn note_stage(
    found: &mut BTreeMap<u32, Injection>,
    record: &Record,
    at: Micros,
    event: &FaultEvent,
) {
    let spec = record.header.scenario.faults.get(event.spec);
    let kind = kind_of(record, event);
    let injection = found.entry(event.injection).or_insert_with(|| Injection {
        number: event.injection,
        spec: event.spec,
        name: event.name.clone(),
        fault: event.fault.clone(),
        effect: effect_of(record, event),
        lasting: kind.is_none_or(FaultKind::is_lasting),
        stage: event.stage,
        detail: None,
        instances: Vec::new(),
        began_us: at,
        injected_us: None,
        undone_us: None,
        undo_failures: Vec::new(),
        of_node: kind.is_some_and(FaultKind::is_of_node),
        lasts: spec.and_then(|s| s.lasts),
    });
    injection.stage = event.stage;
    if !event.instances.is_empty() {
        injection.instances.clone_from(&event.instances);
    }
    if event.detail.is_some() {
        injection.detail.clone_from(&event.detail);
    }
    if event.stage == FaultStage::Injected {
        injection.injected_us = Some(at);
    }
}

/// An injection is undone when each of the undos announced for it was done; the last of them counts.
fn note_undos(injection: &mut Injection, events: &[(Micros, &UndoEvent)]) {
    let mut done: BTreeMap<String, Option<Micros>> = BTreeMap::new();
    for (at, event) in events {
        let entry = done.entry(format!("{:?}", event.undo)).or_default();
        match event.done {
            Some(true) => *entry = entry.or(Some(*at)),
            Some(false) => {
                let why = event.detail.clone().unwrap_or_else(|| "it failed".into());
                let text = format!("{}: {why}", event.undo.instance());
                injection.undo_failures.push(text);
            }
            None => {}
        }
    }
    injection.undone_us = match done.values().all(Option::is_some) {
        true => done.values().flatten().max().copied(),
        false => None,
    };
}
