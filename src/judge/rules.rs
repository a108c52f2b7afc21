//! The rule of each oracle in one sentence, with where it comes from.

/// What a verdict holds a run against; `None` for an oracle that there is not.
pub(super) fn rule(oracle: &str) -> Option<&'static str> {
    Some(match oracle {
        "slo" => {
            "the bound holds over the requests that were due in its scope (source: the scenario; how many it takes: the \
             rule of three, and q^n <= 5% for a percentile q)"
        }
        "recovery" => {
            "after a fault the service is well again in time, the balancer lets the dead go, they are replaced, and a \
             graceful stop costs no request (source: the scenario; 30 s for an endpoint: Kubernetes' own tests)"
        }
        "balance" => {
            "each instance gets its share of what the balancer chooses for (source: the scenario's `by`, `kind` and \
             `tolerance`; how kube-proxy chooses: Kubernetes, pkg/proxy)"
        }
        "deploy" => {
            "a rollout costs no request, keeps to its own strategy at every moment and is complete in time (source: the \
             scenario, and maxUnavailable and maxSurge of the workload)"
        }
        "spread" => {
            "each instance, or node, can be lost without more failed requests than allowed (source: the scenario)"
        }
        "alert" => {
            "a fault raises its alert in time, its end clears it, and nothing fires before (source: the scenario)"
        }
        "autoscale" => {
            "each decision is the one that the algorithm gives, and it helps (source: Kubernetes, \
             pkg/controller/podautoscaler, horizontal.go and replica_calculator.go; I1 to I8: `squall explain autoscale`)"
        }
        "usage" => {
            "no container uses more of its machine than it should, for longer than it may (source: the scenario, and \
             limits and requests of the pods)"
        }
        "generator" => {
            "the generator keeps its schedule (source: squall's own thresholds, `squall explain generator`)"
        }
        "compare" => {
            "the candidate is slower, or fails more, by no more than the margin (source: the settings of the comparison; \
             the unit is the run)"
        }
        "series" => "every run that was asked for is made to its end (source: `--repeat`)",
        "budget" => {
            "no more requests fail over the whole series than the bound allows (source: the scenario; burn rate = error \
             ratio / bound)"
        }
        "capacity" => {
            "the lowest rate asked for holds all that is expected, seen twice (source: the scenario's `capacity`)"
        }
        _ => return None,
    })
}
