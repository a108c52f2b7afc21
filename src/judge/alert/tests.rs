//! Runs whose alerts are known: what must FAIL first, then what cannot be told, then what may PASS.

mod fails;
mod passes;
mod unclear;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::judge::testing::*;
use crate::judge::{Ruling, Verdict, judge};
use crate::record::{AlertEvent, AlertState, Ended, View, WatchEvent, What};
use crate::scenario::*;

use AlertSource::{Alertmanager, Prometheus};
use AlertState::{Firing, Pending, Resolved, Suppressed};

const DOWN: &str = "Down";

/// The same, and the alert never fires.
pub(in crate::judge) fn silent() -> Sim {
    killed().expect(Expectation::Alert(expected()))
}

fn expected() -> AlertExpectation {
    AlertExpectation {
        name: DOWN.into(),
        labels: BTreeMap::from([("instance".into(), "{instance}".into())]),
        fires_within: Duration::from_secs(15),
        resolves_within: Some(Duration::from_secs(10)),
        fault: None,
        ignore: Vec::new(),
    }
}

fn api() -> Option<AlertApi> {
    Some(AlertApi {
        url: "http://127.0.0.1:9093".into(),
        authorization: None,
        tls: Tls::default(),
    })
}

fn view(source: AlertSource, view: View, when: f64) -> (u64, What) {
    let what = What::Watch(WatchEvent {
        of: source.key().into(),
        view,
        detail: "connection refused".into(),
    });
    (at(when), what)
}

/// A source is seen from then to then.
fn watched(sim: &mut Sim, source: AlertSource, from: f64, to: f64) {
    for (when, seen) in [(from, View::Relisted), (to, View::Lost)] {
        let (moment, what) = view(source, seen, when);
        sim.push(moment, what);
    }
}

/// A minute of traffic in which `shop-2` is killed at 20 s and replaced at 30 s; Alertmanager is seen throughout.
fn killed() -> Sim {
    let mut sim = seen(Sim::steady(20, 60), -1.5, 60.0);
    sim.kill(20.0, 0.2, Some(10.0));
    sim
}

/// Alertmanager is seen between two times.
fn seen(mut sim: Sim, from: f64, to: f64) -> Sim {
    sim.scenario.observe.alertmanager = api();
    watched(&mut sim, Alertmanager, from, to);
    sim
}

/// The alert for an instance changes, seen at `when` and not a second before.
fn change(mut sim: Sim, name: &str, instance: &str, state: AlertState, when: f64) -> Sim {
    push(
        &mut sim,
        Alertmanager,
        name,
        instance,
        state,
        when,
        Some(when - 1.0),
    );
    sim
}

fn push(
    sim: &mut Sim,
    source: AlertSource,
    name: &str,
    instance: &str,
    state: AlertState,
    when: f64,
    not_before: Option<f64>,
) {
    let labels = [("instance", instance), ("job", "shop")];
    let event = AlertEvent {
        source,
        name: name.into(),
        labels: labels.map(|(k, v)| (k.to_string(), v.to_string())).into(),
        state,
        not_before_us: not_before.map(at),
    };
    sim.push(at(when), What::Alert(event));
}

fn verdict_of(sim: Sim, expected: AlertExpectation) -> Verdict {
    judge(&sim.expect(Expectation::Alert(expected)).record()).remove(0)
}

#[track_caller]
fn ruled(sim: Sim, ruling: Ruling, part: &str) {
    let verdict = verdict_of(sim, expected());
    assert_eq!(verdict.verdict, ruling, "{verdict:#?}");
    assert!(verdict.because.contains(part), "{verdict:#?}");
    assert_eq!(verdict.missing.is_some(), ruling == Ruling::Inconclusive);
    assert!(!verdict.evidence.is_empty());
}

#[track_caller]
fn fails(sim: Sim, part: &str) {
    ruled(sim, Ruling::Fail, part);
}

#[track_caller]
fn unclear(sim: Sim, part: &str) {
    ruled(sim, Ruling::Inconclusive, part);
}

#[track_caller]
fn passes(sim: Sim, part: &str) {
    ruled(sim, Ruling::Pass, part);
}

/// As it should be: fires after 8 s, is gone 4 s after the replacement is ready.
fn healthy() -> Sim {
    let sim = change(killed(), DOWN, "shop-2", Firing, 28.0);
    change(sim, DOWN, "shop-2", Resolved, 34.0)
}

/// Only the kill must raise it.
fn of_the_kill() -> AlertExpectation {
    AlertExpectation {
        fault: Some("kill shop-2".into()),
        ..expected()
    }
}
