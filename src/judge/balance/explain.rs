//! Why the shares are what they are, in words: what the connection mode, slow instances and a single client address
//! do to them.

use std::collections::BTreeMap;

use super::least::{SLOW, slowness};
use super::observe::{Counts, Observed};
use super::share::Share;
use super::verdict::sum;
use crate::judge::words;
use crate::scenario::{ConnectionMode, Load, Scenario};

/// From so many requests on a connection on, it is worth telling who holds how many of them.
const LONG: f64 = 5.0;

/// Fewer requests than this for each independent choice are as good as independent.
const FREE: f64 = 1.5;

/// A share of a whole; 0 of nothing.
pub(crate) fn part(n: u64, of: u64) -> f64 {
    n as f64 / of.max(1) as f64
}

fn get(counts: &BTreeMap<String, u64>, name: &str) -> u64 {
    counts.get(name).copied().unwrap_or(0)
}

/// Requests on each connection, or for each time that one was placed anew, where requests follow the connection that
/// they are on, however the balancer is said to choose.
pub(crate) fn pinned(scenario: &Scenario, seen: &Observed) -> Option<f64> {
    let counts = &seen.all;
    let (connections, requests) = (sum(&counts.connections), sum(&counts.requests));
    if !keeps_connections(scenario) || connections == 0 {
        return None;
    }
    if seen.moved > 0 {
        let each = requests as f64 / choices(counts, seen.moved);
        return (each > FREE).then_some(each);
    }
    // No answer came from elsewhere than the one before it on its connection: whatever was kept decided.
    (requests > connections).then_some(requests as f64 / connections as f64)
}

/// How many requests count as one independent choice, where there are `each` of them on a connection: more than that,
/// since they are not the same number on each, and most requests are on the longer ones. Sizes that come by chance
/// (users drawn at random, or a connection that ends at any request) stay below this.
pub(crate) fn thinning(each: Option<f64>) -> f64 {
    each.map_or(1.0, |each| each + (each - 1.0).clamp(0.0, 1.0))
}

/// Independent choices among so many requests: one for each connection, and one for each time that a request on a kept
/// connection was placed anew. Of those only the ones that led to another instance are seen.
fn choices(counts: &Counts, moved: u64) -> f64 {
    let requests = sum(&counts.requests);
    let squares = counts.requests.values().map(|n| part(*n, requests).powi(2));
    let seen = (1.0 - squares.sum::<f64>()).max(1e-6);
    (sum(&counts.connections) as f64 + moved as f64 / seen).max(1.0)
}

fn keeps_connections(scenario: &Scenario) -> bool {
    let modes = scenario.traffic.iter().map(|f| f.connections.mode);
    modes.into_iter().any(|m| m != ConnectionMode::PerRequest)
}

/// What connections that are kept do to the requests: "200 users pinned 200 connections: shop-1 got 31% of requests
/// because it holds 31% of connections".
pub(crate) fn connection_mode(scenario: &Scenario, seen: &Observed) -> Option<String> {
    let (connections, requests) = (sum(&seen.all.connections), sum(&seen.all.requests));
    if !keeps_connections(scenario)
        || connections == 0
        || (requests as f64) < LONG * connections as f64
        // What moves from instance to instance is not held by connections.
        || (seen.moved > 0 && choices(&seen.all, seen.moved) * FREE > requests as f64)
    {
        return None;
    }
    let fair = 1.0 / seen.all.requests.len().max(1) as f64;
    let off = |name: &String| (part(get(&seen.all.requests, name), requests) - fair).abs();
    let names = seen.all.requests.keys();
    let name = names.max_by(|a, b| off(a).total_cmp(&off(b)))?;
    let got = part(get(&seen.all.requests, name), requests);
    let held = part(get(&seen.all.connections, name), connections);
    let lead = format!(
        "{} pinned {}: {name} got {} of requests",
        holders(scenario, seen),
        words::counted(seen.opened.max(connections), "connection"),
        words::percent(got),
    );
    if (got - held).abs() <= (0.1 * held).max(0.01) {
        return Some(format!(
            "{lead} because it holds {} of connections",
            words::percent(held)
        ));
    }
    let slow = slowness(name, &seen.service_us).filter(|times| *times >= SLOW);
    match slow {
        Some(times) if got < held && waits(scenario) => Some(format!(
            "{lead} though it holds {} of connections: its answers take {times:.1} times as long as the others', and \
             users wait for an answer before they ask again",
            words::percent(held)
        )),
        _ => Some(format!(
            "{lead} and holds {} of connections",
            words::percent(held)
        )),
    }
}

fn holders(scenario: &Scenario, seen: &Observed) -> String {
    let pools = scenario
        .traffic
        .iter()
        .filter(|f| matches!(f.connections.mode, ConnectionMode::Pooled(_)))
        .count();
    if pools == scenario.traffic.len() {
        return "pools".into();
    }
    match seen.users {
        0 => "users".into(),
        n => words::counted(n, "user"),
    }
}

fn waits(scenario: &Scenario) -> bool {
    let mut flows = scenario.traffic.iter();
    flows.any(|f| matches!(f.load, Load::Closed(_)))
}

/// Where all goes to one instance of several: what else than a broken balancer does that.
pub(crate) fn single_source(scenario: &Scenario, worst: &Share) -> Option<String> {
    if worst.of == 0 || worst.observed < worst.of {
        return None;
    }
    let sources = scenario
        .traffic
        .iter()
        .map(|f| f.connections.source.len().max(1))
        .max()
        .unwrap_or(1);
    if sources > 1 {
        return Some(format!(
            "{} source addresses were used, so this is not one client's affinity",
            sources
        ));
    }
    Some(
        "all traffic came from one address: a balancer with client affinity (sessionAffinity: ClientIP, source \
         hashing) sends it all to one instance; several `source` addresses tell the two apart"
            .into(),
    )
}
