//! The oracle against worked cases: some generated, with the expected count from whole-number arithmetic that shares
//! nothing with the oracle's floats, some worked by hand. Here is what they are made of.

mod by_hand;
mod generated;
mod pods;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::judge::autoscale::decide::decide;
use crate::judge::autoscale::types::*;

pub const NOW: u64 = 100_000_000_000;
pub const S: u64 = 1_000_000;

pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A pod that has been ready for long, requesting one core and 1 GiB.
pub fn pod(i: usize) -> Pod {
    Pod {
        name: format!("pod-{i}"),
        phase: Phase::Running,
        deleted: false,
        ready: Some(Readiness {
            status: Some(true),
            since: NOW - 3_500 * S,
        }),
        started: Some(NOW - 3_600 * S),
        requests: BTreeMap::from([("cpu".to_string(), 1_000), ("memory".to_string(), 1_000)]),
    }
}

pub fn sample(i: usize, value: i64) -> Sample {
    Sample {
        pod: format!("pod-{i}"),
        value,
        at: NOW - 10 * S,
        window: secs(30),
    }
}

/// A pod that is running but was never ready.
pub fn starting(i: usize) -> Pod {
    Pod {
        ready: Some(Readiness {
            status: Some(false),
            since: NOW - 60 * S,
        }),
        started: Some(NOW - 60 * S),
        ..pod(i)
    }
}

pub fn cpu(target: i32, samples: Vec<Sample>) -> Metric {
    Metric::Resource {
        name: "cpu".into(),
        container: None,
        target: ResourceTarget::Utilization(target),
        samples: Some(samples),
    }
}

pub fn inputs(current: i32, pods: Vec<Pod>, metrics: Vec<Metric>) -> Inputs {
    Inputs {
        now: NOW,
        current,
        status_replicas: current,
        pods,
        metrics,
    }
}

pub fn wide() -> Spec {
    Spec {
        min: 1,
        max: 1_000_000,
        behavior: Some(free()),
    }
}

/// No window, no limit: what is left is the metric.
pub fn free() -> Behavior {
    let all = |kind| vec![Policy::new(kind, 1_000_000, secs(15))];
    Behavior {
        up: Rules {
            window: Some(secs(0)),
            policies: all(PolicyKind::Pods),
            ..Rules::default_up()
        },
        down: Rules {
            window: Some(secs(0)),
            policies: all(PolicyKind::Pods),
            ..Rules::default_down()
        },
    }
}

pub fn run(spec: &Spec, inputs: &Inputs, memory: &Memory) -> Decision {
    decide(&Controller::default(), spec, inputs, memory)
}

/// One external metric that asks for `wanted` whatever runs.
pub fn asks(current: i32, wanted: i32) -> Inputs {
    inputs(
        current,
        (0..current.max(0) as usize).map(pod).collect(),
        vec![Metric::External {
            target: Target::AverageValue(1_000),
            values: Some(vec![i64::from(wanted) * 1_000]),
        }],
    )
}
