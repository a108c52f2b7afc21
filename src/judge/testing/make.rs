//! Scenarios, flows, bounds and expectations for tests.

use std::time::Duration;

use crate::scenario::units::{Rate, Ratio};
use crate::scenario::*;

pub fn bound(metric: Metric, op: Op, limit: Limit) -> Bound {
    Bound { metric, op, limit }
}

pub fn p99_below(ms: u64) -> Bound {
    bound(
        Metric::Percentile(99.0),
        Op::Less,
        Limit::Time(Duration::from_millis(ms)),
    )
}

pub fn errors_below(share: f64) -> Bound {
    bound(
        Metric::Errors,
        Op::Less,
        Limit::Share(Ratio::fraction(share)),
    )
}

pub fn throughput(op: Op, per_second: f64) -> Bound {
    bound(
        Metric::Throughput,
        op,
        Limit::Rate(Rate::per_second(per_second)),
    )
}

pub fn slo(bound: Bound) -> SloExpectation {
    let limit = match bound.limit {
        Limit::Time(t) => units::format_duration(t),
        Limit::Share(s) => s.to_string(),
        Limit::Rate(r) => r.to_string(),
    };
    SloExpectation {
        text: format!("{} {} {limit}", bound.metric, bound.op),
        bound,
        flow: None,
        step: None,
        phase: None,
        of: LatencyKind::Response,
    }
}

pub fn expect_slo(bound: Bound) -> Expectation {
    Expectation::Slo(slo(bound))
}

pub fn expect_recovery(within: u64, windows: u32) -> Expectation {
    Expectation::Recovery(RecoveryExpectation {
        within: Duration::from_secs(within),
        slo: Vec::new(),
        windows,
        endpoint_removed_within: Duration::from_secs(30),
    })
}

pub fn scenario(rate: u64, seconds: u64) -> Scenario {
    Scenario {
        name: "shop".into(),
        description: None,
        seed: Some(1),
        target: Target::Local(LocalTarget {
            name: "shop".into(),
            command: vec!["squall".into(), "demo".into()],
            instances: 3,
            env: Default::default(),
            port: None,
            first_port: None,
            scheme: "http".into(),
            ready: Probe::default(),
            start_timeout: Duration::from_secs(10),
            stop_grace: Duration::from_secs(5),
            restart: Restart::default(),
            common: TargetCommon::default(),
        }),
        traffic: vec![flow("browse", rate, seconds)],
        faults: Vec::new(),
        guard: Guard::default(),
        expect: Vec::new(),
        run: RunOptions::default(),
        capacity: None,
        observe: Default::default(),
        secrets: Default::default(),
        base_dir: Default::default(),
    }
}

/// An open flow at a constant rate with a timeout of 10 s.
pub fn flow(name: &str, rate: u64, seconds: u64) -> Flow {
    Flow {
        name: name.into(),
        start: Duration::ZERO,
        load: Load::Open(OpenLoad {
            process: Process::Constant,
            stages: vec![RateStage {
                rate: Rate::per_second(rate as f64),
                ramp: Duration::ZERO,
                hold: Duration::from_secs(seconds),
            }],
            max_in_flight: 10_000,
        }),
        connections: Connections::default(),
        protocol: Protocol::Http1,
        transport: TransportChoice::Auto,
        headers: Vec::new(),
        timeout: Duration::from_secs(10),
        variables: Default::default(),
        data: Vec::new(),
        journey: Vec::new(),
    }
}
