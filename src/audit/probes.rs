//! Probes that are missing, and ones that kill what is only slow.

use k8s_openapi::api::core::v1::{Container, Probe};

use super::{Finding, Harm, Workload};
use crate::platform::kubernetes::lasting;

/// A liveness probe that gives up sooner than this takes a pod that is busy for a dead one, seconds.
const SHORT: i32 = 3;

pub(super) fn check(workload: &Workload, findings: &mut Vec<Finding>) {
    let spec = workload.template.spec.as_ref();
    let containers: Vec<&Container> = spec.into_iter().flat_map(lasting).collect();
    if containers.iter().all(|c| c.readiness_probe.is_none()) {
        findings.push(Finding {
            rule: "no-readiness-probe",
            harm: Harm::Breaks,
            object: workload.object(),
            what: "none of its containers has a readiness probe".into(),
            why: "A pod gets requests as soon as its process runs, whether it can answer or not: each start, and so each \
                  rollout, costs errors.",
            change: "add a readinessProbe that succeeds once the pod can answer".into(),
        });
    }
    findings.extend(containers.into_iter().filter_map(|c| restless(workload, c)));
}

fn restless(workload: &Workload, container: &Container) -> Option<Finding> {
    let (live, ready) = (
        container.liveness_probe.as_ref()?,
        container.readiness_probe.as_ref()?,
    );
    // The cluster's default.
    let timeout = live.timeout_seconds.unwrap_or(1);
    if asks(live) != asks(ready) || timeout >= SHORT {
        return None;
    }
    let failures = live.failure_threshold.unwrap_or(3);
    Some(Finding {
        rule: "liveness-like-readiness",
        harm: Harm::Breaks,
        object: workload.object(),
        what: format!(
            "the liveness probe of container {} asks what its readiness probe asks, and gives up after {timeout} s \
             ({failures} times in a row)",
            container.name
        ),
        why: "Under load pods answer late, are restarted for it, and leave more load to the others: overload becomes an \
              outage.",
        change: "let liveness ask only whether the process is stuck, with a timeoutSeconds of 5 or more; overload is for \
                 readiness"
            .into(),
    })
}

/// What a probe asks, without how often and how long.
fn asks(probe: &Probe) -> Probe {
    Probe {
        exec: probe.exec.clone(),
        grpc: probe.grpc.clone(),
        http_get: probe.http_get.clone(),
        tcp_socket: probe.tcp_socket.clone(),
        ..Probe::default()
    }
}
