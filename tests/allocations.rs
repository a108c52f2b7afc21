//! The whole engine at work (workers, timer, meters, collector) puts nothing on the heap for a request, once it is warm,
//! where the lean transport carries the flow.
//!
//! Every allocation of this process is counted; the server is in one of its own. Two runs differ in nothing but their
//! number of requests: the same seconds, users and connections. What is allocated once, or once a second, cancels out.

mod common;
#[allow(dead_code, reason = "its part of what the engine's tests use")]
#[path = "traffic/harness.rs"]
mod harness;

use std::alloc::System;
use std::sync::Mutex;
use std::time::Duration;

use common::{Ends, demo};
use harness::{get, journey, ms, rate, run, scenario, users};
use squall::scenario::*;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A process has one count: one test after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Users, and places of an open flow, so that its number of connections is given.
const PLACES: u32 = 50;

fn server() -> (Ends, String) {
    let (server, address) = demo(&[], &["--instance", "one"]);
    (server, format!("http://{address}"))
}

/// Allocations, and the requests that they were made for.
#[derive(Debug, Clone, Copy)]
struct Cost {
    allocations: usize,
    requests: u64,
}

/// What a run costs in which every request is answered and checked.
fn cost(transport: TransportChoice, load: Load, url: &str) -> Cost {
    let mut step = get("/healthz");
    step.checks = vec![Check::Status(vec![StatusMatch::Exact(200)])];
    let mut flow = harness::flow_on(transport, load);
    flow.journey = journey([step]);
    let scenario = scenario(flow);
    let region = Region::new(ALLOCATOR);
    let run = run(scenario, url);
    let counted = region.change();
    let answered: u64 = run
        .steps()
        .flat_map(|s| s.instances.get("one"))
        .map(|i| i.answered)
        .sum();
    assert_eq!(
        answered,
        run.end.ended,
        "{:?} {:?}",
        run.outcomes(),
        run.samples
    );
    Cost {
        allocations: counted.allocations + counted.reallocations,
        requests: run.end.ended,
    }
}

/// Allocations of each request more, between a run with few requests and one with many in the same time.
fn per_request(
    transport: TransportChoice,
    load: impl Fn(Duration, bool) -> Load,
    url: &str,
) -> f64 {
    let mut least = f64::INFINITY;
    for attempt in 1..=4 {
        let time = Duration::from_secs(3 * attempt);
        let few = cost(transport, load(time, false), url);
        let many = cost(transport, load(time, true), url);
        println!("{transport:?}, {time:?}: {few:?}, {many:?}");
        // A machine with other things to do gives too few requests to tell; histograms grow to the longest times seen.
        if many.requests < few.requests + 5_000 {
            continue;
        }
        let more = many.allocations as f64 - few.allocations as f64;
        least = least.min(more / (many.requests - few.requests) as f64);
        if least < 0.01 {
            break;
        }
    }
    assert!(
        least.is_finite(),
        "this machine is too busy for any difference to show"
    );
    least
}

fn closed(time: Duration, many: bool) -> Load {
    let think = if many { ms(2) } else { ms(300) };
    users(PLACES, time, Think::Fixed(think))
}

fn open(time: Duration, many: bool) -> Load {
    let mut load = rate(if many { 3_000.0 } else { 200.0 }, time);
    if let Load::Open(open) = &mut load {
        open.max_in_flight = PLACES;
    }
    load
}

#[test]
fn users_on_the_lean_transport_allocate_nothing_for_a_request() {
    let _only = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let (_server, url) = server();
    let each = per_request(TransportChoice::Lean, closed, &url);
    assert!(each < 0.01, "{each} allocations per request");
}

#[test]
fn arrivals_on_the_lean_transport_allocate_nothing_for_a_request() {
    let _only = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let (_server, url) = server();
    let each = per_request(TransportChoice::Lean, open, &url);
    assert!(each < 0.01, "{each} allocations per request");
}

/// The count would show it: reqwest allocates for each request.
#[test]
fn what_allocates_for_each_request_is_seen() {
    let _only = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let (_server, url) = server();
    for load in [closed, open] {
        let few = cost(TransportChoice::Reqwest, load(ms(1500), false), &url);
        let many = cost(TransportChoice::Reqwest, load(ms(1500), true), &url);
        assert!(many.requests > few.requests + 200, "{few:?}, {many:?}");
        let more = many.allocations as f64 - few.allocations as f64;
        let each = more / (many.requests - few.requests) as f64;
        println!("reqwest: {each:.1} allocations per request");
        assert!(each > 1.0, "{few:?}, {many:?}");
    }
}
