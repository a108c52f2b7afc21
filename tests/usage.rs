//! What processes of this machine use: one that leaks must FAIL, and be named, before a healthy one may PASS.

mod common;

use common::Bench;

fn scenario(defect: &str) -> String {
    format!(
        "squall: 1
name: what the shop uses
seed: 7
target:
  local:
    name: shop
    command: squall demo --port {{port}} --drain-delay 0s {defect}
    instances: 2
    env: {{ SQUALL_TEST: MARK }}
    ready: {{ http: /readyz, every: 50ms }}
traffic:
  browse:
    arrivals: {{ rate: 60/s, hold: 8s }}
    journey: [ get: /products ]
expect:
  - usage: {{ cpu: 20 cores, memory: 200MiB, for: 3s }}
"
    )
}

/// Ruling and reason of the verdict on what was used.
fn usage(bench: &Bench, code: i32) -> (String, String) {
    let run = bench.run_conclusive();
    run.expect_code(code);
    run.verdict("usage: { cpu: 20000m, memory: 200MiB, for: 3s, oom-kills: 0 }")
}

#[test]
fn an_instance_that_leaks_fails_and_a_healthy_one_passes() {
    // Half of 480 requests keep 2 MiB each.
    let leaky = Bench::new(&scenario("--defect leak:2MiB --defect-on shop-2"));
    let (verdict, because) = usage(&leaky, 1);
    assert_eq!(verdict, "FAIL", "{because}");
    assert!(because.contains("shop-2 used up to"), "{because}");
    assert!(because.contains("of memory: above 200MiB"), "{because}");
    assert!(!because.contains("shop-1"), "{because}");

    let (verdict, because) = usage(&Bench::new(&scenario("")), 0);
    assert_eq!(verdict, "PASS", "{because}");
    assert!(because.contains("2 instances kept to it"), "{because}");
}
