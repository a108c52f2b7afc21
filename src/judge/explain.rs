//! What each oracle checks, why, and how it can be wrong: the text of `squall explain`.

/// The names of all oracles.
pub const ORACLES: [&str; 5] = ["slo", "recovery", "balance", "deploy", "generator"];

/// Explains an oracle.
pub fn explain(oracle: &str) -> Option<&'static str> {
    match oracle {
        "slo" => Some(SLO),
        "recovery" => Some(RECOVERY),
        "balance" => Some(BALANCE),
        "deploy" => Some(DEPLOY),
        "generator" => Some(GENERATOR),
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
  The maximum is a fact about this run and no estimate. No answer at all fails every bound on latency.
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
  before the limit takes a restoration back. Seconds without requests, with dropped arrivals or with requests that
  still hang are neither good nor bad: INCONCLUSIVE where they decide. So is a run that ends, or meets the next
  injection, before the good seconds fit.
  An abrupt kill may cost rate x share x (last request to it - kill) + what was in flight; more is a warning.

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
  A run that was cut short passes nothing. A saturated generator sends less, to all alike: it takes back a verdict on
  `least-request` only, which depends on the load.

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

const GENERATOR: &str = "\
generator: whether squall itself, not the service, was the limit. Judged for every run.

What it checks
  Arrivals dropped because `max-in-flight` journeys were under way (over 0.1% of those due); requests sent late
  (p99 of the schedule lag over 100 ms in more than 5% of the seconds, and in two at least); a worker thread without
  CPU (950 thousandths of a core in more than 20% of the seconds in which an open flow runs); requests that found
  no file descriptor or local port (over 0.1%).

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
