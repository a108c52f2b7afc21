//! Every way to get a scenario wrong, one line each.

/// A scenario that is right.
pub const BASE: &str = "\
squall: 1
name: base
target:
  local:
    name: shop
    command: squall demo --port {port}
    instances: 3
traffic:
  browse:
    arrivals: { rate: 50/s, hold: 10s }
    journey:
      - get: /products
        extract: { id: \"$.items[0].id\" }
      - post: /cart
        json: { id: \"{{ id }}\" }
faults:
  - at: 5s
    kill: { pick: 1 }
guard: { keep-ready: 50% }
expect:
  - p99 < 250ms
  - recovery: 10s
";

/// What of it needs a local target: the target itself, and all about faults.
const BASE_LOCAL: &str = "  local:\n    name: shop\n    command: squall demo --port {port}\n    instances: 3\ntraffic:\n  browse:\n    arrivals: { rate: 50/s, hold: 10s }\n    journey:\n      - get: /products\n        extract: { id: \"$.items[0].id\" }\n      - post: /cart\n        json: { id: \"{{ id }}\" }\nfaults:\n  - at: 5s\n    kill: { pick: 1 }\nguard: { keep-ready: 50% }\nexpect:\n  - p99 < 250ms\n  - recovery: 10s\n";

/// What replaces [`BASE_LOCAL`] to make it a run against a cluster, with these expectations on line 13.
macro_rules! on_cluster {
    ($expect:literal) => {
        concat!(
            "  kubernetes: { service: front }\ntraffic:\n  browse:\n    arrivals: { rate: 50/s, hold: 10s }\n    journey:\n      \
             - get: /products\n        extract: { id: \"$.items[0].id\" }\n      - post: /cart\n        json: { id: \"{{ id }}\" }\nexpect: ",
            $expect,
            "\n"
        )
    };
}

/// What of it a search for capacity replaces.
const TAIL: &str = "faults:\n  - at: 5s\n    kill: { pick: 1 }\nguard: { keep-ready: 50% }\nexpect:\n  - p99 < 250ms\n  - recovery: 10s\n";

/// One way to get a scenario wrong: what is replaced in `BASE` by what, and where and how that is told.
pub struct Case {
    pub from: &'static str,
    pub to: &'static str,
    pub line: usize,
    pub column: usize,
    pub message: &'static str,
    /// Part of the expectation or the help.
    pub beside: &'static str,
    /// Whether one place alone tells, so that the JSON Schema must refuse it too.
    pub structural: bool,
}

const fn structural(
    from: &'static str,
    to: &'static str,
    line: usize,
    column: usize,
    message: &'static str,
    beside: &'static str,
) -> Case {
    Case {
        from,
        to,
        line,
        column,
        message,
        beside,
        structural: true,
    }
}

const fn semantic(
    from: &'static str,
    to: &'static str,
    line: usize,
    column: usize,
    message: &'static str,
    beside: &'static str,
) -> Case {
    Case {
        from,
        to,
        line,
        column,
        message,
        beside,
        structural: false,
    }
}

/// One line each, so that they read as a table.
#[rustfmt::skip]
pub const CASES: &[Case] = &[
    // Keys and kinds.
    structural("squall: 1\n", "", 1, 1, "missing key `squall`", "squall: 1"),
    structural("squall: 1", "squall: 2", 1, 9, "2 is out of range", "1"),
    structural("name: base", "nam: base", 2, 1, "unknown key `nam`", "did you mean `name`?"),
    structural("name: base", "name: ''", 2, 7, "an empty text is not a name", "not empty"),
    structural("name: base", "name:", 2, 1, "found nothing", "text"),
    structural("rate: 50/s", "rates: 50/s", 10, 17, "unknown key `rates`", "did you mean `rate`?"),
    structural("rate: 50/s", "maxInFlight: 5, rate: 50/s", 10, 17, "unknown key `maxInFlight`", "did you mean `max-in-flight`?"),
    structural("pick: 1", "grace: 5s", 18, 13, "unknown key `grace`", "stop: { grace"),
    structural("instances: 3", "instances: three", 7, 16, "`three` is not a whole number", "from 1"),
    structural("instances: 3", "instances: '3'", 7, 16, "in quotes is text", "whole number"),
    structural("instances: 3", "instances: 0", 7, 16, "0 is out of range", "from 1"),
    structural("kill: { pick: 1 }", "kill: [1]", 18, 11, "found a list", "a map"),
    structural("kill: { pick: 1 }", "kill: hard", 18, 11, "`hard` is not", "nothing, or a map"),
    structural("kill: { pick: 1 }", "kill: \"\"", 18, 11, "is not a known setting", "nothing, or a map"),
    structural("- p99 < 250ms", "- [p99]", 21, 5, "found a list", "METRIC OP LIMIT"),
    structural("arrivals: { rate: 50/s, hold: 10s }", "arrivals: fast", 10, 15, "expected a map", "rate"),
    structural("    journey:\n      - get: /products\n        extract: { id: \"$.items[0].id\" }\n      - post: /cart\n        json: { id: \"{{ id }}\" }\n", "", 9, 3, "missing key `journey`", "get: /"),
    // Units and ranges.
    structural("50/s", "50", 10, 23, "`50` has no unit", "500/s"),
    structural("50/s", "50/d", 10, 23, "unknown unit `/d`", "500/s"),
    structural("hold: 10s", "hold: 10", 10, 35, "`10` has no unit", "250ms"),
    structural("50%", "150%", 19, 22, "neither a share nor a count", "to 100%"),
    structural("pick: 1", "pick: 0", 18, 19, "picks no instance", "a count from 1"),
    structural("recovery: 10s", "recovery: 0s", 22, 15, "`0s` is not a duration above 0s", "above 0s"),
    structural("- get: /products\n", "- get: /products\n        check: { status: 2x }\n", 13, 26, "`2x` is not an HTTP status", "2xx"),
    structural("- get: /products\n", "- get: /products\n        check: { size: 4 }\n", 13, 24, "is not a comparison with a size", "4KiB"),
    structural("- get: /products\n", "- get: /products\n        check: { time: \"< 4\" }\n", 13, 24, "is not a comparison with a duration", "250ms"),
    structural("- post: /cart\n", "- think: 3\n      - post: /cart\n", 14, 16, "not a duration with its unit", "exp(2s)"),
    structural("- get: /products\n", "- choose: [{ weight: 0, journey: [{ get: /a }] }]\n      - get: /products\n", 12, 28, "`0` is not a number above 0", "above 0"),
    structural("hold: 10s }\n", "hold: 10s }\n    connections: { pooled: 0 }\n", 11, 28, "0 is out of range", "from 1 to"),
    structural("hold: 10s }\n", "hold: 10s }\n    connections: per-users\n", 11, 18, "is not one of the known words", "did you mean `per-user`?"),
    // Conditions, and faults of clusters.
    structural("kill: { pick: 1 }", "when: \"ready >= 0\"\n    kill: { pick: 1 }", 18, 11, "always holds", "ready >= 5"),
    structural("kill: { pick: 1 }", "when: \"redy >= 2\"\n    kill: { pick: 1 }", 18, 11, "`redy` is not something that is waited for", "did you mean `ready`?"),
    structural("kill: { pick: 1 }", "after: rolout\n    kill: { pick: 1 }", 18, 12, "is not one of the known words", "did you mean `rollout`?"),
    semantic("kill: { pick: 1 }", "after: rollout\n    kill: { pick: 1 }", 18, 5, "a `local` target has no rollouts", "kubernetes"),
    semantic("kill: { pick: 1 }", "within: 5s\n    kill: { pick: 1 }", 18, 5, "nothing is waited for", "`when` or `after`"),
    semantic("kill: { pick: 1 }", "cpu-stress: { load: 50% }", 18, 5, "`cpu-stress` cannot be done to a `local` target", "black-hole"),
    structural("kill: { pick: 1 }", "cpu-stress: { load: 0% }", 18, 25, "`0%` is not a share above 0%", "100%"),
    structural("kill: { pick: 1 }", "memory-stress: { size: 64 }", 18, 28, "`64` has no unit", "64MiB"),
    structural("kill: { pick: 1 }", "memory-stress: {}", 18, 5, "missing key `size`", "256MiB"),
    structural("kill: { pick: 1 }", "partition: { direction: in }", 18, 29, "is not one of the known words", "ingress"),
    semantic("kill: { pick: 1 }", "delay: { latency: 1s, zone: z1 }", 18, 27, "a `local` target has no zones", "no `zone`"),
    semantic("kill: { pick: 1 }", "loss: { share: 10% }", 18, 5, "`loss` cannot be done to a `local` target", "a `kubernetes` target, or kill"),
    structural("kill: { pick: 1 }", "loss: {}", 18, 5, "missing key `share`", "10%"),
    structural("kill: { pick: 1 }", "clock-skew: {}", 18, 5, "names none of ahead, behind", "exactly one of"),
    structural("kill: { pick: 1 }", "dns-fault: { answer: eror }", 18, 26, "is not one of the known words", "did you mean `error`?"),
    structural("kill: { pick: 1 }", "io-delay: { latency: 1s }", 18, 5, "missing key `volume`", "/data"),
    structural("kill: { pick: 1 }", "io-error: { volume: /data, errno: ENOSPACE }", 18, 39, "is not one of the known words", "did you mean `ENOSPC`?"),
    structural("kill: { pick: 1 }", "node-loss: { down: x }", 18, 5, "missing key `up`", "power on"),
    // Bounds.
    structural("p99 < 250ms", "p101 < 250ms", 21, 5, "no percentile `p101`", "p0 to p100"),
    structural("p99 < 250ms", "errors < 250ms", 21, 5, "errors are compared with a share", "0.1%"),
    structural("p99 < 250ms", "p99 < 1%", 21, 5, "a latency is compared with a duration", "250ms"),
    structural("p99 < 250ms", "error < 1%", 21, 5, "unknown metric `error`", "did you mean `errors`?"),
    structural("p99 < 250ms", "p99 ~ 250ms", 21, 5, "compares nothing", "METRIC OP LIMIT"),
    semantic("p99 < 250ms", "errors <= 100%", 21, 5, "always holds", "miss"),
    semantic("p99 < 250ms", "errors < 0%", 21, 5, "can never hold", "errors <= 0%"),
    structural("keep-ready: 50%", "abort-when: errors > 50%", 19, 22, "does not say for how long", "for 10s"),
    // Capacity.
    structural(TAIL, "expect: [p99 < 250ms]\ncapacity: { from: 10/s, too: 99/s }\n", 17, 25, "unknown key `too`", "did you mean `to`?"),
    structural("guard: { keep-ready: 50% }", "capacity: { to: 99/s }", 19, 1, "missing key `from`", "100/s"),
    structural("guard: { keep-ready: 50% }", "capacity: { from: 10, to: 99/s }", 19, 19, "`10` has no unit", "500/s"),
    semantic(TAIL, "expect: [p99 < 250ms]\ncapacity: { from: 99/s, to: 10/s }\n", 17, 29, "the search ends at 10/s", "above 99/s"),
    semantic(TAIL, "expect: [p99 < 250ms]\ncapacity: { from: 10/s, to: 99/s, at-least: 5/s }\n", 17, 45, "5/s is not searched", "from 10/s to 99/s"),
    semantic(TAIL, "expect: [p99 < 250ms]\ncapacity: { from: 10/s, to: 99/s, hold: 5s }\n", 17, 41, "a queue of 250ms builds up in 5s", "hold: 6s"),
    semantic(TAIL, "expect: [throughput > 5/s]\ncapacity: { from: 10/s, to: 99/s }\n", 17, 1, "nothing in `expect` would show", "p99 < 250ms"),
    semantic("guard: { keep-ready: 50% }", "capacity: { from: 10/s, to: 99/s }", 19, 1, "and there are faults", "no `faults`"),
    // Combinations.
    structural("    journey:", "    users: { count: 5, hold: 5s }\n    journey:", 11, 5, "`users` cannot stand together with `arrivals`", "exactly one"),
    structural("    arrivals: { rate: 50/s, hold: 10s }\n", "", 9, 3, "names none of arrivals, users", "exactly one"),
    structural("hold: 10s", "stages: [{ rate: 1/s, hold: 10s }]", 10, 29, "cannot stand together with `rate`", "exactly one"),
    structural("    kill: { pick: 1 }", "    for: 5s\n    kill: {}", 18, 5, "`for` makes no sense together with `kill`", "or"),
    structural("    kill: { pick: 1 }", "    times: 5\n    kill: {}", 18, 5, "`times` makes no sense without `every`", "`every`"),
    structural("    kill: { pick: 1 }", "    kill: {}\n    freeze: {}", 19, 5, "`freeze` cannot stand together with `kill`", "exactly one"),
    structural("        json: {", "        body: x\n        json: {", 16, 9, "`json` cannot stand together with `body`", "exactly one"),
    structural("  local:\n", "  url: http://localhost\n  local:\n", 5, 3, "`local` cannot stand together with `url`", "exactly one"),
    structural("- get: /products", "- fetch: /products", 12, 9, "unknown key `fetch`", "get, post"),
    structural("- get: /products", "- url: /products", 12, 9, "unknown key `url`", "`get: /path`"),
    // Time.
    semantic("at: 5s", "at: 5s\n    name: a\n    freeze: {}\n  - at: 6s\n    name: a", 21, 11, "a fault is called `a` already", "a name of its own"),
    semantic("- p99 < 250ms\n  - recovery: 10s", "- { slo: p99 < 1s, phase: before }\nrun: { warm-up: 5s }", 21, 29, "no time before the first fault", "later than 5s"),
    semantic("  - at: 5s\n    kill: { pick: 1 }\nguard: { keep-ready: 50% }\nexpect:\n  - p99 < 250ms\n  - recovery: 10s\n", "  []\nexpect:\n  - { slo: p99 < 1s, phase: after }\n", 19, 29, "there are none", "`faults` in the scenario"),
    semantic("hold: 10s", "hold: 0s", 10, 5, "`arrivals` lasts no time at all", "above 0s"),
    semantic("50/s", "0/s", 10, 5, "`arrivals` never sends anything", "above zero"),
    semantic("at: 5s", "at: 10s", 17, 9, "after the end of all traffic, at 10s", "before 10s"),
    semantic("guard:", "run: { warm-up: 10s }\nguard:", 19, 17, "the warm-up is as long as all traffic", "less than 10s"),
    // Names.
    semantic("pick: 1", "name: shop-4", 18, 19, "the target has no instance `shop-4`", "shop-1 to shop-3"),
    semantic("pick: 1", "pick: 4", 18, 19, "4 of 3 instances cannot be picked", "at most 3"),
    semantic("keep-ready: 50%", "keep-ready: 4", 19, 22, "4 instances cannot stay ready: there are 3", "at most 3"),
    semantic("keep-ready: 50%", "keep-ready: 3", 18, 5, "the guard never lets this fault through", "lower `keep-ready`"),
    semantic("- post: /cart\n", "- post: /cart\n        name: GET /products\n", 15, 15, "called `GET /products` already, on line 12", "a name of its own"),
    semantic("- p99 < 250ms", "- p99 < 250ms\n  - { slo: p99 < 1s, flow: brows }", 22, 28, "there is no flow `brows`", "did you mean `browse`?"),
    semantic("- p99 < 250ms", "- p99 < 250ms\n  - { slo: p99 < 1s, step: GET /product }", 22, 28, "there is no step `GET /product`", "did you mean `GET /products`?"),
    semantic("- p99 < 250ms", "- { slo: p99 < 1s, phase: before }", 22, 5, "nothing says when the service is well again", "`slo` in the recovery"),
    semantic("- p99 < 250ms", "- p99 < 250ms\n  - { slo: errors < 1%, of: service }", 22, 25, "`of` chooses between latencies", "percentile"),
    structural("browse:", "b/rowse:", 9, 3, "`b/rowse` cannot be a key here", "letters"),
    // Balance.
    structural("- p99 < 250ms", "- balance: connections\n  - p99 < 250ms", 21, 14, "`connections` is not one of the known words", "did you mean `connection`?"),
    structural("- p99 < 250ms", "- balance: [connection]\n  - p99 < 250ms", 21, 14, "found a list", "one of connection, request"),
    structural("- p99 < 250ms", "- balance: { by: user }\n  - p99 < 250ms", 21, 20, "`user` is not one of the known words", "connection, request"),
    structural("- p99 < 250ms", "- balance: { tolerance: 25 }\n  - p99 < 250ms", 21, 27, "`25` has no unit", "50%"),
    structural("- p99 < 250ms", "- balance: { tolerance: 0% }\n  - p99 < 250ms", 21, 27, "0%", "above 0%"),
    structural("- p99 < 250ms", "- balance: { lag: 5 }\n  - p99 < 250ms", 21, 21, "`5` has no unit", "30s"),
    structural("- p99 < 250ms", "- balance: { kind: fair }\n  - p99 < 250ms", 21, 22, "`fair` is not one of the known words", "uniform, least-request"),
    structural("- p99 < 250ms", "- balance: { kind: { client-ip: 0s } }\n  - p99 < 250ms", 21, 35, "`0s`", "above 0s"),
    structural("- p99 < 250ms", "- balance: { kind: {} }\n  - p99 < 250ms", 21, 16, "missing key `client-ip`", "client-ip: 3h"),
    structural(BASE_LOCAL, "  kubernetes: { service: front, guardian: { imege: x } }\ntraffic:\n  browse:\n    arrivals: { rate: 50/s, hold: 10s }\n    journey:\n      - get: /products\n        extract: { id: \"$.items[0].id\" }\n      - post: /cart\n        json: { id: \"{{ id }}\" }\nexpect: [ p99 < 250ms ]\n", 4, 45, "unknown key `imege`", "did you mean `image`?"),
    structural(BASE_LOCAL, "  kubernetes: { service: front, guardian: { pull: allways } }\ntraffic:\n  browse:\n    arrivals: { rate: 50/s, hold: 10s }\n    journey:\n      - get: /products\n        extract: { id: \"$.items[0].id\" }\n      - post: /cart\n        json: { id: \"{{ id }}\" }\nexpect: [ p99 < 250ms ]\n", 4, 51, "`allways` is not one", "if-not-present, always, never"),
    structural(BASE_LOCAL, "  kubernetes: { service: front }\ntraffic:\n  browse:\n    arrivals: { rate: 50/s, hold: 10s }\n    journey:\n      - get: /products\n        extract: { id: \"$.items[0].id\" }\n      - post: /cart\n        json: { id: \"{{ id }}\" }\nexpect: [ { autoscale: { hpa: web, sync: 15 } } ]\n", 13, 42, "`15` has no unit", "30s"),
    structural(BASE_LOCAL, "  kubernetes: { service: front }\ntraffic:\n  browse:\n    arrivals: { rate: 50/s, hold: 10s }\n    journey:\n      - get: /products\n        extract: { id: \"$.items[0].id\" }\n      - post: /cart\n        json: { id: \"{{ id }}\" }\nexpect: [ { autoscale: { hpa: web, tolerence: 10% } } ]\n", 13, 36, "unknown key `tolerence`", "did you mean `tolerance`?"),
    structural(BASE_LOCAL, "  kubernetes: { service: front }\ntraffic:\n  browse:\n    arrivals: { rate: 50/s, hold: 10s }\n    journey:\n      - get: /products\n        extract: { id: \"$.items[0].id\" }\n      - post: /cart\n        json: { id: \"{{ id }}\" }\nexpect: [ { autoscale: { sync: 5s } } ]\n", 13, 13, "missing key `hpa`", "hpa: checkout"),
    structural(BASE_LOCAL, "  kubernetes: { service: front }\ntraffic:\n  browse:\n    arrivals: { rate: 50/s, hold: 10s }\n    journey:\n      - get: /products\n        extract: { id: \"$.items[0].id\" }\n      - post: /cart\n        json: { id: \"{{ id }}\" }\nexpect: [ { autoscale: [web] } ]\n", 13, 24, "found a list", ""),
    structural(BASE_LOCAL, "  kubernetes: { service: front }\ntraffic:\n  browse:\n    arrivals: { rate: 50/s, hold: 10s }\n    journey:\n      - get: /products\n        extract: { id: \"$.items[0].id\" }\n      - post: /cart\n        json: { id: \"{{ id }}\" }\nexpect: [ { autoscale: { hpa: web, tolerance: 0% } } ]\n", 13, 47, "0%", "above 0%"),
    structural(BASE_LOCAL, "  kubernetes: { service: front }\ntraffic:\n  browse:\n    arrivals: { rate: 50/s, hold: 10s }\n    journey:\n      - get: /products\n        extract: { id: \"$.items[0].id\" }\n      - post: /cart\n        json: { id: \"{{ id }}\" }\nexpect: [ { autoscale: { hpa: web, max: 5 } } ]\n", 13, 36, "unknown key `max`", "maxReplicas"),
    semantic("- p99 < 250ms", "- autoscale: web\n  - p99 < 250ms", 21, 16, "only a cluster has autoscalers", "`kubernetes` target"),
    structural("- p99 < 250ms", "- balance: { tolerence: 10% }\n  - p99 < 250ms", 21, 16, "unknown key `tolerence`", "did you mean `tolerance`?"),
    semantic("- p99 < 250ms", "- balance: { instances: 3 }\n  - p99 < 250ms", 21, 16, "this target lists its instances itself", "`url` target"),
    // Deploy.
    semantic("- p99 < 250ms", "- deploy: 2m\n  - p99 < 250ms", 21, 5, "a `local` target has no rollouts", "a `kubernetes` target"),
    structural(BASE_LOCAL, on_cluster!("[ deploy: 2 ]"), 13, 19, "`2` has no unit", "30s"),
    structural(BASE_LOCAL, on_cluster!("[ deploy: 0s ]"), 13, 19, "`0s` is not a duration above 0s", "above 0s"),
    structural(BASE_LOCAL, on_cluster!("[ deploy: { settle: 5s } ]"), 13, 11, "missing key `within`", "within: "),
    structural(BASE_LOCAL, on_cluster!("[ deploy: { within: 2m, setle: 5s } ]"), 13, 33, "unknown key `setle`", "did you mean `settle`?"),
    structural(BASE_LOCAL, on_cluster!("[ deploy: { within: 2m, errors: 1% } ]"), 13, 33, "unknown key `errors`", "a bound on all traffic stands beside it"),
    // Usage.
    structural("- p99 < 250ms", "- usage: { cpu: 500 }\n  - p99 < 250ms", 21, 19, "`500` has no unit", "500m or 2 cores"),
    structural("- p99 < 250ms", "- usage: { memory: 200Mi }\n  - p99 < 250ms", 21, 22, "unknown unit `Mi`", "200MiB"),
    structural("- p99 < 250ms", "- usage: { memroy: 200MiB }\n  - p99 < 250ms", 21, 14, "unknown key `memroy`", "did you mean `memory`?"),
    structural("- p99 < 250ms", "- usage: { cpu: 500m, for: 30 }\n  - p99 < 250ms", 21, 30, "`30` has no unit", "30s"),
    structural("- p99 < 250ms", "- usage: { cpu: 500m, oom-kills: none }\n  - p99 < 250ms", 21, 36, "`none` is not a whole number", "at least 0"),
    structural("- p99 < 250ms", "- usage: high\n  - p99 < 250ms", 21, 12, "`high` is not a known setting", "nothing, or a map"),
    structural(BASE_LOCAL, on_cluster!("[ usage: { cpu: 90% of limits } ]"), 13, 25, "a share of `limits` is not known", "did you mean `limit`?"),
    structural(BASE_LOCAL, on_cluster!("[ usage: { cpu: 100% of limit } ]"), 13, 25, "always holds", "150% of request"),
    structural(BASE_LOCAL, on_cluster!("[ usage: { memory: lots } ]"), 13, 28, "neither a share nor an amount", "200MiB"),
    structural(BASE_LOCAL, on_cluster!("[ usage: { throttled: 5 } ]"), 13, 31, "`5` has no unit", "50%"),
    structural(BASE_LOCAL, on_cluster!("[ usage: { oom: 1 } ]"), 13, 20, "unknown key `oom`", "`oom-kills`"),
    semantic("- p99 < 250ms", "- usage:\n  - p99 < 250ms", 21, 5, "nothing says how much is too much", "`memory: 200MiB`"),
    semantic("- p99 < 250ms", "- usage: { cpu: 90%, memory: 1GiB }\n  - p99 < 250ms", 21, 19, "the processes of a `local` target have no limit", "an amount such as 500m"),
    semantic("- p99 < 250ms", "- usage: { cpu: 1 core, throttled: 5% }\n  - p99 < 250ms", 21, 27, "nobody throttles", "a `kubernetes` target"),
    // Spread.
    structural("- p99 < 250ms", "- spread: nodes\n  - p99 < 250ms", 21, 13, "`nodes` is not one of the known words", "did you mean `node`?"),
    structural("- p99 < 250ms", "- spread: { erors: 5% }\n  - p99 < 250ms", 21, 15, "unknown key `erors`", "did you mean `errors`?"),
    structural("- p99 < 250ms", "- spread: { errors: 5 }\n  - p99 < 250ms", 21, 23, "`5` has no unit", "50%"),
    structural("- p99 < 250ms", "- spread: { within: 0s }\n  - p99 < 250ms", 21, 23, "`0s` is not a duration above 0s", "above 0s"),
    semantic("- p99 < 250ms", "- spread: node\n  - p99 < 250ms", 21, 13, "a `local` target has one node", "`instance`"),
    semantic("    kill: { pick: 1 }\nguard: { keep-ready: 50% }\nexpect:\n  - p99 < 250ms", "    delay: { latency: 1s }\nguard: { keep-ready: 50% }\nexpect:\n  - spread: instance\n  - p99 < 250ms", 21, 13, "no fault takes an instance away", "`pick: each`"),
    semantic("pick: 1", "pick: each", 18, 19, "nothing says how far apart", "`every` beside the fault"),
    // The guard of a cluster.
    semantic("keep-ready: 50%", "opt-in: a=b", 19, 10, "only a cluster has pods with labels", "no `opt-in`"),
    structural(BASE_LOCAL, "  kubernetes: { service: front, namespace: shop }\ntraffic:\n  browse:\n    arrivals: { rate: 50/s, hold: 10s }\n    journey:\n      - get: /products\n        extract: { id: \"$.items[0].id\" }\n      - post: /cart\n        json: { id: \"{{ id }}\" }\nguard: { opt-in: allow }\nexpect: [ errors < 1% ]\n", 13, 18, "`allow` is not a label as KEY=VALUE", "squall.dev/allow=true"),
    semantic("keep-ready: 50%", "abort-when: nodes-not-ready > 0 for 5s", 19, 22, "only a cluster has nodes", "`kubernetes` target"),
    structural("keep-ready: 50%", "abort-when: node-not-ready > 0 for 5s", 19, 22, "unknown metric `node-not-ready`", "did you mean `nodes-not-ready`?"),
    structural("keep-ready: 50%", "abort-when: others-degraded < 1 for 5s", 19, 22, "would end a run that is well", "more than a count"),
    semantic(BASE_LOCAL, "  kubernetes: { service: front, namespace: shop }\ntraffic:\n  browse:\n    arrivals: { rate: 50/s, hold: 10s }\n    journey:\n      - get: /products\n        extract: { id: \"$.items[0].id\" }\n      - post: /cart\n        json: { id: \"{{ id }}\" }\nfaults: [ { at: 5s, pod-kill: { namespace: db } } ]\nexpect: [ errors < 1% ]\n", 13, 44, "nothing in namespace `db` may be broken", "namespaces: [shop, db]"),
    semantic(BASE_LOCAL, "  kubernetes: { service: front, namespace: shop }\ntraffic:\n  browse:\n    arrivals: { rate: 50/s, hold: 10s }\n    journey:\n      - get: /products\n        extract: { id: \"$.items[0].id\" }\n      - post: /cart\n        json: { id: \"{{ id }}\" }\nfaults: [ { at: 5s, pod-kill: { namespace: dp } } ]\nguard: { namespaces: [shop, db] }\nexpect: [ errors < 1% ]\n", 13, 44, "nothing in namespace `dp` may be broken", "did you mean `db`?"),
    semantic(BASE_LOCAL, "  kubernetes: { service: front }\ntraffic:\n  browse:\n    arrivals: { rate: 50/s, hold: 10s }\n    journey:\n      - get: /products\n        extract: { id: \"$.items[0].id\" }\n      - post: /cart\n        json: { id: \"{{ id }}\" }\nfaults: [ { at: 5s, pod-kill: { namespace: db } } ]\nguard: { namespaces: [db] }\nexpect: [ errors < 1% ]\n", 13, 44, "is not said", "`namespace` in the target"),
    structural(BASE_LOCAL, "  kubernetes: { service: front, namespace: shop }\ntraffic:\n  browse:\n    arrivals: { rate: 50/s, hold: 10s }\n    journey:\n      - get: /products\n        extract: { id: \"$.items[0].id\" }\n      - post: /cart\n        json: { id: \"{{ id }}\" }\nfaults: [ { at: 5s, pod-kill: { namespaces: db } } ]\nguard: { namespaces: [shop, db] }\nexpect: [ errors < 1% ]\n", 13, 33, "unknown key `namespaces`", "did you mean `namespace`?"),
    // Alerts.
    structural("guard:", "observe: { alertmanger: http://x }\nguard:", 19, 12, "unknown key `alertmanger`", "did you mean `alertmanager`?"),
    structural("guard:", "observe: {}\nguard:", 19, 1, "`observe` is empty", "at least one"),
    structural("guard:", "observe: { prometheus: localhost:9090 }\nguard:", 19, 24, "is not a URL", "https://"),
    structural("guard:", "observe: { prometheus: { url: http://x, token: y } }\nguard:", 19, 41, "unknown key `token`", "Bearer"),
    semantic("guard:", "observe: { prometheus: http://x/?y }\nguard:", 19, 24, "no query and no fragment", "scheme, host"),
    semantic("guard:", "observe: { prometheus: { url: http://x, authorization: \"a\\nb\" } }\nguard:", 19, 56, "no line ends or control characters", "one line"),
    structural("expect:\n", "observe: { prometheus: http://x }\nexpect:\n  - alert: { name: Down }\n", 22, 5, "missing key `fires-within`", "60s"),
    structural("expect:\n", "observe: { prometheus: http://x }\nexpect:\n  - alert: Down\n", 22, 12, "expected a map", "fires-within"),
    structural("expect:\n", "observe: { prometheus: http://x }\nexpect:\n  - alert: { name: Down, fires-within: 5s, within: 5s }\n", 22, 44, "unknown key `within`", "fires-within"),
    structural("expect:\n", "observe: { prometheus: http://x }\nexpect:\n  - alert: { name: Down, fires-within: 60 }\n", 22, 40, "`60` has no unit", "30s"),
    semantic("- p99 < 250ms", "- alert: { name: Down, fires-within: 5s }\n  - p99 < 250ms", 21, 12, "nothing says where alerts are seen", "observe"),
    semantic("expect:\n", "observe: { prometheus: http://x }\nexpect:\n  - alert: { name: Down, fires-within: 5s, fault: kil }\n", 22, 51, "there is no fault `kil`", "did you mean `kill`?"),
    semantic("expect:\n", "observe: { prometheus: http://x }\nexpect:\n  - alert: { name: Down, fires-within: 5s, labels: { alertname: x } }\n", 22, 54, "the alert's name stands beside its labels", "`name`"),
    semantic("faults:\n  - at: 5s\n    kill: { pick: 1 }\nguard: { keep-ready: 50% }\nexpect:\n  - p99 < 250ms\n  - recovery: 10s\n", "observe: { prometheus: http://x }\nexpect: [ alert: { name: Down, fires-within: 5s } ]\n", 17, 18, "alerts are raised by faults, and there are none", "`faults`"),
    structural("instances: 3", "instances: 3\n    first-port: 0", 8, 17, "0 is out of range", "from 1"),
    semantic("instances: 3", "instances: 3\n    first-port: 65534", 8, 17, "not so many ports from here on", "at most 65533"),
    semantic("instances: 3", "instances: 3\n    port: 9002\n    first-port: 9000", 9, 17, "is the balancer's", "other than `port`"),
    // Templates.
    semantic("{{ id }}", "{{ ids }}", 15, 25, "variable `ids` is not defined here", "did you mean `id`?"),
    semantic("{{ id }}", "{{ id", 15, 22, "never closed", "{{ NAME }}"),
    semantic("{{ id }}", "{{ random(5) }}", 15, 22, "two whole numbers", "random(LOW, HIGH)"),
    semantic("get: /products", "get: /products/{{ id }}", 12, 27, "variable `id` is not defined here", "earlier step"),
    semantic("extract: { id:", "extract: { user: $.u, id:", 13, 20, "`user` is built in", "a name other than"),
    semantic("- get: /products\n        extract: { id: \"$.items[0].id\" }\n", "- choose:\n          - journey: [{ get: /a, extract: { id: $.a } }]\n          - journey: [{ get: /b }]\n", 16, 25, "set in some branches only", "whichever branch"),
    // Expressions of others.
    semantic("$.items[0].id", "$.items[", 13, 24, "is not a JSON path", "RFC 9535"),
    structural("$.items[0].id", "items.id", 13, 24, "is not a JSON path", "RFC 9535"),
    semantic("{ id: \"$.items[0].id\" }", "{ id: { regex: 'a(' } }", 13, 33, "is not a regular expression: unclosed group", "a regular expression"),
    semantic("{ id: \"$.items[0].id\" }", "{ id: { regex: 'a(b)', group: 2 } }", 13, 48, "no group 2", "0 (all of the match) to 1"),
    semantic("- post: /cart\n", "- post: /cart\n        headers: { x: \"a\\nb\" }\n", 15, 23, "no line ends or control characters", "one line"),
    structural("- post: /cart\n", "- post: /cart\n        headers: { x y: a }\n", 15, 20, "`x y` cannot be a key here", "a header name"),
    semantic("- post: /cart\n", "- post: /cart\n        headers: { Content-Length: 5 }\n", 15, 20, "set by the program itself", "no such header"),
    semantic("post: /cart", "post: cart", 14, 15, "a path begins with `/`", "did you mean `/cart`?"),
    semantic("post: /cart", "post: http://x/cart", 14, 15, "scheme and host are the target's", "`/`"),
    semantic("post: /cart", "post: /a b", 14, 15, "characters that a request cannot have", "percent-encoded"),
    semantic("squall demo --port {port}", "squall demo 'x", 6, 14, "a quote ' in the command is never closed", "shell"),
    semantic("squall demo --port {port}", "squall demo", 6, 14, "does not tell an instance its port", "{port}"),
    // Transports.
    semantic("hold: 10s }\n", "hold: 10s }\n    transport: lean\n    protocol: http2\n", 11, 16, "lean transport speaks HTTP/1.1 only", "reqwest"),
    semantic("hold: 10s }\n    journey:\n      - get: /products\n", "hold: 10s }\n    transport: lean\n    journey:\n      - get: /products\n        follow-redirects: true\n", 14, 9, "does not follow redirects", "reqwest"),
    semantic("hold: 10s }\n", "hold: 10s }\n    connections: { streams: 5 }\n", 11, 20, "only HTTP/2 has streams", "http2"),
    // Targets and files.
    semantic("  local:\n    name: shop\n    command: squall demo --port {port}\n    instances: 3\n", "  url: http://localhost\n", 13, 1, "not broken", "`kubernetes` target"),
    semantic("kill: { pick: 1 }", "pod-kill: { pick: 1 }", 18, 5, "`pod-kill` cannot be done to a `local` target", "a `kubernetes` target, or kill, stop"),
    semantic("  local:\n    name: shop\n    command: squall demo --port {port}\n    instances: 3\n", "  kubernetes: { service: front }\n", 15, 5, "`kill` cannot be done to a `kubernetes` target", "pod-kill, evict"),
    structural("  local:\n    name: shop\n    command: squall demo --port {port}\n    instances: 3\n", "  url: localhost:80\n", 4, 8, "is not a URL", "https://"),
    semantic("        json: { id: \"{{ id }}\" }\n", "        file: no/such.json\n", 15, 15, "there is no file `./no/such.json`", "relative to"),
    semantic("hold: 10s }\n", "hold: 10s }\n    data: { u: { csv: none.csv } }\n", 11, 23, "there is no file `./none.csv`", "relative to"),
    semantic("    instances: 3\n", "    instances: 3\n    tls: { ca: ca.pem }\n", 8, 16, "there is no file `./ca.pem`", "relative to"),
    semantic("faults:\n  - at: 5s\n    kill: { pick: 1 }\n", "", 19, 15, "recovery is from faults, and there are none", "`faults`"),
    semantic("base", "${NOT_SET}", 2, 7, "environment variable `NOT_SET` is not set", "${NOT_SET:-default}"),
];
