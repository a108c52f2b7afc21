//! What each oracle checks, why, and how it can be wrong: the text of `squall explain`.

/// The names of all oracles.
pub const ORACLES: [&str; 13] = [
    "slo",
    "recovery",
    "balance",
    "deploy",
    "spread",
    "alert",
    "autoscale",
    "usage",
    "generator",
    "compare",
    "series",
    "budget",
    "capacity",
];

/// Explains an oracle.
pub fn explain(oracle: &str) -> Option<&'static str> {
    match oracle {
        "slo" => Some(SLO),
        "recovery" => Some(RECOVERY),
        "balance" => Some(BALANCE),
        "deploy" => Some(DEPLOY),
        "spread" => Some(SPREAD),
        "alert" => Some(ALERT),
        "autoscale" => Some(AUTOSCALE),
        "usage" => Some(USAGE),
        "generator" => Some(GENERATOR),
        "compare" => Some(COMPARE),
        "series" => Some(SERIES),
        "budget" => Some(BUDGET),
        "capacity" => Some(CAPACITY),
        _ => None,
    }
}

const SLO: &str = "\
slo: what users feel, against a bound: `p99 < 250ms`, `errors < 0.1%`, `throughput >= 500/s`.

What it checks
  A percentile, the mean or the maximum of latency, the share of failed requests, or answered requests per second;
  over all traffic, one flow, one step, or the time before, during or after faults. The warm-up does not count.
  Response time counts from the moment a request was due, so that waiting is part of it; service time from its send.
  Percentiles hold answered requests and those that waited in vain. Refused and reset ones count as errors only.

How it decides
  PASS takes enough requests: a percentile q takes n with q^n <= 0.05 (p99: 299, p99.9: 2,995), an error ratio r
  takes 3/r, since zero failures in n only shows that the ratio is below 3/n. With fewer, FAIL when so many bad
  ones among so few would be chance in less than one of twenty cases, else INCONCLUSIVE with the number needed.
  Throughput is what was answered while requests were due, over that time: a backlog worked off later is none.
  The maximum is a fact about this run and no estimate. No answer at all fails every bound on latency.
  What is in flight when `graceful-stop` is over counts as unfinished, and decides nothing.
  `during` reaches from an injection until the fault is undone, the service is well again and nothing that hung is
  left; it takes whole seconds, so that `before` and `after` hold nothing of a fault.

How it can be wrong
  Requests of one second share their fate, so a few hundred are worth less than as many independent ones.
  Histograms hold three digits: a value within 0.1 % of the limit may fall to the wrong side.
  A run that was cut short passes nothing, and fails only what the missing part could not have mended.";

const RECOVERY: &str = "\
recovery: after each fault the service is well again in time.

What it checks
  For each injection: the first of `windows` good seconds in a row comes within `within` of the injection (of the
  undo, for a fault with `for`); the balancer lets a dead or frozen instance go within `endpoint-removed-within`;
  a dead instance is replaced, where something restarts it; a graceful stop costs no request.

How it decides
  Seconds are put in order by when requests were DUE, not by when they ended: a hang shows its errors only when
  timeouts run out, and must not look well until then. A second is good when each bound of `slo` holds (without
  `slo`: the scenario's own unscoped bounds on latency and errors, else errors < 1%) or is missed by no more than
  chance explains in so few requests; the good seconds in a row must also hold together. A clearly bad second
  before the limit, or before what ended was replaced, takes a restoration back. Seconds without requests, with
  dropped arrivals or with requests that still hang are neither good nor bad: INCONCLUSIVE where they decide. So is
  a run that ends, or meets the next injection, before the good seconds fit; and what a lost watch of the cluster may
  have told too late.
  An abrupt kill may cost rate x share x (last request to it - kill) + what was in flight; more is a warning.
  A fault of the scenario that was never made (refused by the guard, held by a disruption budget, nobody to hit) lets
  no verdict of any oracle pass, but on the time before the first fault. One that comes again and again need be made
  only once.

How it can be wrong
  Windows are one second, and a sample is put back to within half a second: the restoration is exact to about one
  second, and a result that close to the limit is INCONCLUSIVE.
  Injections less than a second apart are one blow. Effects that come after the next injection are taken for its.
  A failure is blamed on an instance by the connection's last response; on a connection that never had one it is
  blamed on the fault.";

const BALANCE: &str = "\
balance: whether the load balancer spreads what it should spread.

What it checks
  `by: connection` (layer 4) or `by: request` (layer 7): each instance's count against its fair share, over stretches
  of time in which the set of instances stays the same, without the first `lag` after each change.
  `kind: uniform`: every instance gets 1/(1+tolerance) to 1+tolerance times its share (25%: 0.8 to 1.25 times).
  `kind: least-request`: each gets some, and a slow one (median twice the others') at most 0.9 shares.
  `kind: { client-ip: 3h }`: the client stays with its instance while that may be chosen.
  In all of them: a dead instance that stays listed, and connections to one that had left, are failures.

How it decides
  FAIL when an instance's 95% interval, corrected for the number of instances, lies outside the band, PASS when all
  lie inside, else INCONCLUSIVE with the number still needed. A fair random balancer takes about 570, 1,300, 2,800 and
  7,200 connections for 2, 3, 5 and 10 instances at 25%. Requests on kept connections follow their connection: where
  they do, the connections are what counts. Chi-square and Jain's index are shown, and nothing is judged by them.
  Answers that name no instance could be anybody's: INCONCLUSIVE where they would turn it. A time in which the set was
  not watched is left out. A run that was cut short passes nothing. A saturated generator sends less, to all alike: it
  takes back a verdict on `least-request` only, which depends on the load.

How it can be wrong
  Connections count by the instance that first answered on them; those without an answer are left out and said.
  Behind a `url` target only responses tell of instances: `instances` says how many there are all the time, and one
  that was down looks starved. All traffic comes from one address unless `source` has more: client affinity then
  looks like a broken balancer, and the evidence says so.";

const DEPLOY: &str = "\
deploy: a new version is rolled out without anybody noticing.

What it checks
  Each rollout of a Deployment, StatefulSet or DaemonSet behind the Service while traffic runs, whoever asked for it
  (`rollout-restart`, `bad-rollout`, its undo, a pipeline): it costs no request, from the change of the workload until
  `settle` after the last old pod is gone; it keeps to its own maxUnavailable and maxSurge at every moment; it is
  complete `within` (all pods new and available, as `kubectl rollout status` has it). A `bad-rollout` need not finish:
  it must stop while the old pods go on serving.

How it decides
  FAIL when requests failed, more than before anything was rolled out or broken; by whose they were: pods told to end
  (they do not drain), new pods (called ready too early), others, or no pod (nothing had answered on the connection).
  Ready pods are counted from the watch of the pods, in the order in which they changed; a share of maxUnavailable is
  rounded down (of a DaemonSet up), one of maxSurge up. Pods beyond maxSurge count from 2 s on: two controllers act
  beside each other. With replicas changed meanwhile the more lenient number holds. `Recreate` has no such bounds,
  and ends all pods first: with traffic it fails for its errors.
  INCONCLUSIVE: no rollout; a gap in a watch; fewer than 100 requests; traffic that ends before `settle`; pods that
  were not ready beforehand; one from before the run; another fault at the same time, where errors are not on pods of
  the rollout alone and where fewer pods, or a late end, may be its doing.

How it can be wrong
  Whose a failure was is told by the connection's last response: the first request on a connection names no pod.
  A pod is old or new by when it was seen first; those of a StatefulSet keep their names. What a rollout of another
  workload costs (one that the target calls) is judged by the bounds on errors, not here.";

const SPREAD: &str = "\
spread: no single instance, or node, is one that users need: proven by taking each away under load.

What it checks
  Each instance (by the place that it fills, which its replacement takes over), or each node that has instances, is
  hit at least once by a fault that takes it away: kill, stop, freeze, pod-kill, evict, container-kill; drain and
  node-loss for nodes. `pick: each` with `every` hits one after another. Of the requests due `within` after each such
  injection, at most `errors` fail.

How it decides
  Requests are put where they were DUE, as for recovery; the seconds of an injection end where the next one begins.
  FAIL when one costs more than is allowed, naming it, with enough requests to be sure (3/errors) or so many failures
  that chance explains them in less than one of twenty cases. INCONCLUSIVE: one was not hit (refused by the guard, not
  reached before the traffic ended, without effect), too few requests, requests that still hang, traffic that ends
  before `within`, a lost watch of the pods at the first injection, or another fault in force at the same time. What
  counts is who was there at the first injection.

How it can be wrong
  It says that each one alone can be lost, not two at a time; and only under the load of this run. Losing one of many
  for a moment may cost less than `errors` although nothing else takes over: see that `errors` is below the share that
  one instance serves, or that `recovery` is expected too.";
const ALERT: &str = "\
alert: whether a fault raises the alert that it must raise, in time, for the right target, and its end clears it.

What it checks
  For each injection (or those of `fault`): an alert of this `name` with all these `labels` is seen firing within
  `fires-within`; `{instance}` in a label stands for each instance that was hit. With `resolves-within`: it is gone so
  long after the fault is over: undone, what ended replaced, the service well again (as `recovery` takes it).
  Neither it nor any other alert begins to fire between the warm-up and the first fault; those of `ignore` may.

How it decides
  What counts is what Alertmanager lists, as active: a silenced or inhibited alert tells nobody, and fails. Without
  `observe: { alertmanager: ... }` the firing alerts of Prometheus count. With both, what Prometheus had explains.
  Both are looked at once a second, from before the target is started; a change lies between two looks. FAIL takes a
  change that is surely late, or none at all up to the limit. INCONCLUSIVE where it may lie on either side of the
  limit, nothing was seen for a time that decides (also when the fault was made), the run ended too early, the alert
  was firing or pending already when the fault was made, or the next fault came before it fired or resolved.

How it can be wrong
  An alert that comes and goes between two looks is not seen. `firing` is not `somebody was told`: grouping, routes
  and receivers come after it. An alert is taken for the fault's because it came after it and carries the labels:
  give labels that nothing else has. One that was raised by something else at that moment looks the same.";

const AUTOSCALE: &str = "\
autoscale: whether a HorizontalPodAutoscaler decided what its metrics give, and whether that helped.

What it checks
  Each decision is computed anew from what the autoscaler published, the pods and samples as they were, and all that
  its controller remembers; and of its writes:
  I1 within minReplicas and maxReplicas       I2 each decision is the one that the algorithm gives
  I3 none below what the stabilization window still holds    I4 none down too soon after the controller began
  I5 all changes of a period within the policies             I6 the conditions say what was done
  I7 none while the metrics are within tolerance             I8 nobody else writes spec.replicas
  Also: two turns or more at constant load (flapping); new pods that get less than half of their share of requests,
  60 s after a scale-up; longer than `at-max` at maxReplicas with a metric above its target; a metric that does not
  move while the load rises and the scenario's bounds are missed; a target that cannot be scaled; containers without
  the request that a utilization is a part of.
  Shown, not judged: the chain of times from each step of the load to the bounds held again, overshoot, settling.

How it decides
  The controller publishes the very numbers it used, so most decisions have one right answer. Where pods were starting
  or ending at that moment, or an edge lies within 2 s, several are right, and only what is none of them is a FAIL.
  A status that stands for more than three sync periods has been decided again each time, and is checked so.
  PASS takes one decision to scale, or more, that could be checked. New pods idle where chance explains it in less
  than one of a thousand runs; else so few requests leave it open. INCONCLUSIVE, too, where a watch had a gap, the
  metrics could not be read, or a restart of the controller would explain all that is wrong and the lease
  kube-system/kube-controller-manager could not be read to see one.

How it can be wrong
  The controller's flags cannot be asked for: `sync`, `tolerance`, `downscale-stabilization`, `cpu-initialization` and
  `initial-readiness-delay` must be those of the cluster. What was recommended, and changed, before the run began
  is not known, so the first window and period allow more. Values of custom metrics per pod are not watched: pods
  count from 90 s on. Before Kubernetes 1.22 a write through the scale subresource (kubectl scale) names no writer.";

const USAGE: &str = "\
usage: no instance uses more of its machine than it should.

What it checks
  Of each container behind the Service, while traffic is judged: CPU is not above `cpu` for as long as `for` (30s) in
  a row, memory at no time above `memory`; not throttled in more than `throttled` (25%) of its scheduling periods for
  as long as `for`, in 100 of them at least; no more than `oom-kills` (0) containers are killed for their memory.
  A bound is a share of the container's limit (`90% of limit`, the default), of its request (`150% of request`), an
  amount (`500m`, `200MiB`) or `any`. A local target is judged by instance, in amounts: processes have no limits.

How it decides
  CPU and throttling are means over the window of each sample (4 to 15 s of a kubelet, 1 s of a process), and samples
  above the bound in a row are added up; memory is the working set (of a process: resident) at each sample.
  FAIL names container, when, how much of what, and for how long; and the faults that were in force on it meanwhile: a
  `cpu-stress` uses up CPU too.
  INCONCLUSIVE: no samples; a container without the limit or request that its bound is a share of, which could never
  fail; a gap in its samples as long as `for`; windows longer than `for`; less traffic than `for`; `throttled` given
  and not seen. Containers that ran for less than 35 s need no samples.
  Samples come from metrics.k8s.io where the cluster serves it, else from the kubelets; throttling from the kubelets
  alone (`get nodes/proxy`): where it is not seen and not asked for, that is said and nothing more.

How it can be wrong
  A peak between two samples, or within a window, does not show. The last 35 s of a run may have been told too late.
  When a sample was taken is the cluster's clock. The working set counts files that the kernel keeps in memory and
  would give up. A kill for memory of a process that is not its container's first is not always told.";

const GENERATOR: &str = "\
generator: whether squall itself, not the service, was the limit. Judged for every run.

What it checks
  Arrivals dropped because `max-in-flight` journeys were under way (over 0.1% of those due); requests sent late
  (p99 of the schedule lag over 100 ms in more than 5% of the seconds, and in two at least); a worker thread without
  CPU (950 thousandths of a core in more than 20% of the seconds in which an open flow runs); requests that it could
  not send (over 0.1%), for want of a file descriptor or local port, or since a value put into one made it none.

How it decides
  Saturated is INCONCLUSIVE, with the rate it could have held, and puts the other verdicts in doubt. What stays:
  a throughput that was reached; errors that a slow generator cannot produce (anything but timeouts and its own);
  latencies over the limit even after twice the longest lag is taken off; any failed latency or error bound where
  arrivals were dropped only, since less load makes nothing worse.
  Less lag than that spoils nothing but a latency FAIL that it alone explains, which becomes INCONCLUSIVE too.
  In a closed loop a busy generator sends fewer requests and none late: said, and no reason for doubt.

How it can be wrong
  The rate it could have held is what it reached in its saturated seconds; on a machine shared with the service, or
  with others, a quiet hour may give more. Delays outside the process (the kernel, the network) are the service's
  as far as squall can see.";

const COMPARE: &str = "\
compare: whether a candidate is slower than a baseline, or fails more of its requests. `squall compare`.

What it checks
  For each step: a percentile of response time (p99), and the share of failed requests, of runs of both sides with the
  same traffic, faults and warm-up. At least five runs a side, in turn, on one machine.

How it decides
  The unit is the run: runs of one program differ by more than chance allows between requests, so a test over requests
  finds differences between equal programs (65% of the time at 10,000 samples and a shift of 2% from run to run).
  Whole runs are drawn again and again for an interval of the ratio of the sides' means, widened by what Student's t
  says of so few; with several steps the intervals are surer, so that all of them hold together at 95%.
  PASS when the interval lies below 1 + margin (10%, or 5 ms where that is more). FAIL when it lies above that and
  above the noise that the baseline shows against itself. Else INCONCLUSIVE, with the runs still needed.
  Errors alike: the difference of the shares, margin 0.1% of requests; PASS takes 3/margin requests of the candidate.
  Runs that were cut short, damaged or whose generator was saturated are left out by name. A candidate whose arrivals
  were dropped since it cannot keep up had less to do: it may FAIL, and is INCONCLUSIVE else. Runs of different plans,
  and a run given twice, are refused. Where a side fails clearly more, its latencies are not compared.

How it can be wrong
  A machine that drifts: runs in turn (`squall run CANDIDATE --repeat 5 --against BASELINE`) share the drift.
  A change that shows only under other load, or after longer than a run.";

const SERIES: &str = "\
series: several runs of one scenario, judged together. `squall run --repeat`.

What it checks
  Each expectation in each run, and that all runs asked for were made to their end. Each round has its own seed, which
  comes from the scenario's: the same series again makes the same choices.

How it decides
  An expectation has the worst verdict of its runs. One that holds in all n runs may still fail in others: none in n
  leaves a share of up to about 3/n possible at 95% (exactly 1 - 0.05^(1/n): 45% for 5 runs, 9.5% for 30). For
  recovery n counts injections. Requests are never the n: those of one run, or of one fault, share their luck.
  A series that is not whole passes nothing. An aborted run, a signal or a failed undo ends the series.

How it can be wrong
  Runs one after the other share the machine and the hour; a weekly backup is in none of them.";

const BUDGET: &str = "\
budget: how much of the requests that may fail did fail, over a whole series.

What it checks
  Each bound `errors < X` of the scenario over all runs together. Burn rate = error ratio / X: 1 burns the budget
  exactly, 2 burns a month's budget in half a month.

How it decides
  As `slo` does, on the requests of all runs: PASS takes 3/X requests, FAIL that so many failures are not chance.
  The burn rate of each run is shown: errors come in clusters, and one bad run may have burnt it all.

How it can be wrong
  A series under faults burns faster than days without: it says what these faults cost, not what a month will.";

const CAPACITY: &str = "\
capacity: the highest rate at which all of `expect` holds, at a fixed number of instances. `squall capacity`.

What it checks
  Each rate is a run of its own, with arrivals that do not wait for the service: beyond its capacity its queue grows
  by the excess, second by second, and latency with it. `hold` x `resolution` must be more than the limit on latency,
  or an overload by the resolution would not show; a scenario in which it is not is refused.

How it decides
  Doubling from `from` (or `at-least`) until a rate fails, then halving the gap until it is as narrow as `resolution`
  (5%), then either side again: both must be seen twice, and runs that disagree are made again, up to five.
  A rate holds if every verdict of its run passes, and does not if one fails. Anything else cannot be told: a
  saturated generator is the end of what can be measured, not of the service, and makes INCONCLUSIVE, with what was
  seen to hold.
  FAIL: a rate up to `at-least` (without it: `from`) was twice seen not to hold. PASS: one from there on was twice
  seen to hold. Instances that came or went between runs make INCONCLUSIVE.
  The Universal Scalability Law is fitted to six rates or more that hold, and explains only; a peak beyond 1.5 times
  the requests under way that were tested is not reported.

How it can be wrong
  What holds for `hold` may not for an hour: caches fill, logs rotate, memory leaks.
  A local target is started anew for each run; a `url` or `kubernetes` one may still be busy with the overload before
  it: a warm-up (`run`) longer than it takes to calm down keeps that out of what is judged.
  A service that holds a higher rate than one that fails is not monotone: the lowest that fails counts, and that is
  said.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_oracle_explains_itself_and_others_do_not() {
        for oracle in ORACLES {
            let text = explain(oracle).unwrap();
            assert!(text.starts_with(&format!("{oracle}: ")), "{oracle}");
            for part in ["What it checks", "How it decides", "How it can be wrong"] {
                assert!(text.contains(part), "{oracle} lacks `{part}`");
            }
            assert!(
                text.lines().all(|line| line.len() <= 118),
                "{oracle} is too wide"
            );
        }
        assert_eq!(explain("weather"), None);
    }
}
