//! Alerts of a real Prometheus at a real Alertmanager: what must FAIL, then what cannot be told, then what may PASS.

mod common;

use std::process::Command;
use std::time::Duration;

use common::monitoring::{Monitoring, installed};
use common::{Bench, Run, signal, within};
use serde_json::Value;

/// Three instances of which the second dies at 12 s and is back at 22 s.
fn scenario(monitoring: &Monitoring, seconds: u32, expect: &str) -> String {
    format!(
        "squall: 1\nname: alerts\nseed: 1\n\
         target:\n  local: {{ name: shop, command: 'squall demo --port {{port}}', instances: 3, \
         first-port: {}, env: {{ SQUALL_TEST: MARK }}, ready: {{ http: /readyz, every: 250ms }}, \
         restart: {{ backoff: 10s }} }}\n\
         traffic: {{ browse: {{ arrivals: {{ rate: 20/s, hold: {seconds}s }}, journey: [ {{ get: /products }} ] }} }}\n\
         faults: [ {{ at: 12s, kill: {{ name: shop-2 }} }} ]\n\
         observe: {{ alertmanager: '{}', prometheus: '{}' }}\n\
         run: {{ warm-up: 8s }}\n\
         expect:\n{expect}",
        monitoring.first_port, monitoring.alertmanager, monitoring.prometheus
    )
}

/// One expectation on an alert for an instance.
fn expect(name: &str, instance: &str, fires: &str) -> String {
    format!(
        "  - alert: {{ name: {name}, labels: {{ instance: '{instance}' }}, fires-within: {fires}, resolves-within: 12s }}\n"
    )
}

fn rule(name: &str, lasts: &str) -> String {
    format!("      - alert: {name}\n        expr: up{{job=\"shop\"}} == 0\n        for: {lasts}\n")
}

fn run(bench: &Bench, text: &str) -> Run {
    std::fs::write(
        bench.path("scenario.yaml"),
        text.replace("MARK", &bench.mark),
    )
    .unwrap();
    bench.run()
}

fn verdicts(run: &Run) -> Vec<(String, String)> {
    let result = run.result();
    let all = result["verdicts"].as_array().unwrap().iter();
    let alerts = all.filter(|v| v["oracle"] == "alert");
    let text = |v: &Value| v.as_str().unwrap().to_string();
    alerts
        .map(|v| (text(&v["verdict"]), text(&v["because"])))
        .collect()
}

#[test]
fn late_wrong_silenced_and_missing_alerts_fail_and_the_right_one_passes() {
    if !installed() {
        skip!("there is no prometheus or prometheus-alertmanager");
    }
    let bench = Bench::new("");
    let rules = rule("TooLong", "40s") + &rule("Late", "6s") + &rule("Silenced", "2s");
    let monitoring = Monitoring::start(&bench, &rules);
    let silence = Command::new("amtool")
        .arg(format!("--alertmanager.url={}", monitoring.alertmanager))
        .args([
            "silence",
            "add",
            "--author=test",
            "--comment=test",
            "alertname=Silenced",
        ])
        .output()
        .unwrap();
    assert!(silence.status.success(), "{silence:?}");
    let expected = [
        expect("TooLong", "shop-2", "20s"),
        expect("Late", "shop-2", "3s"),
        expect("Silenced", "shop-2", "20s"),
        expect("ShopInstanceDown", "shop-1", "20s"),
        expect("NoSuchRule", "shop-2", "20s"),
        expect("ShopInstanceDown", "{instance}", "10s"),
    ];
    let run = run(&bench, &scenario(&monitoring, 40, &expected.concat()));
    run.expect_code(1);
    let verdicts = verdicts(&run);
    let because = [
        ("FAIL", "at Prometheus it was pending"),
        ("FAIL", "fired only"),
        ("FAIL", "silenced or inhibited"),
        ("FAIL", "it fired with {instance=\"shop-2\""),
        ("FAIL", "its condition never held at Prometheus"),
        ("PASS", "after kill of shop-2 at 12 s, limit 10 s; resolved"),
    ];
    for ((verdict, said), (ruling, part)) in verdicts.iter().zip(because) {
        assert_eq!(verdict, ruling, "{verdicts:#?}");
        assert!(said.contains(part), "no `{part}` in {verdicts:#?}");
    }
    assert_eq!(verdicts.len(), because.len());
}

#[test]
fn an_alertmanager_that_hangs_leaves_it_open() {
    if !installed() {
        skip!("there is no prometheus or prometheus-alertmanager");
    }
    let bench = Bench::new("");
    let monitoring = Monitoring::start(&bench, "");
    let pid = monitoring.alertmanager_process.0.id();
    let text = scenario(&monitoring, 24, &expect("ShopInstanceDown", "shop-2", "8s"));
    std::fs::write(
        bench.path("scenario.yaml"),
        text.replace("MARK", &bench.mark),
    )
    .unwrap();
    let child = bench.spawn();
    // The record is there, and so traffic is about to begin; the fault comes 12 s later.
    let begun = || {
        let record = std::fs::read_to_string(bench.path("out/record.jsonl"));
        record.is_ok_and(|text| text.contains("\"phase\":\"traffic\""))
    };
    assert!(within(Duration::from_secs(60), begun));
    std::thread::sleep(Duration::from_secs(5));
    signal(pid, "STOP");
    let run = bench.wait(child);
    signal(pid, "CONT");
    run.expect_code(3);
    let (verdict, because) = run.verdict("alert");
    assert_eq!(verdict, "INCONCLUSIVE");
    assert!(
        because.contains("nothing was seen of Alertmanager from"),
        "{because}"
    );
}

#[test]
fn what_cannot_be_looked_at_is_told_before_anything_starts() {
    let bench = Bench::new(
        "squall: 1\nname: x\ntarget: { local: { command: 'squall demo --port {port}', env: { SQUALL_TEST: MARK } } }\n\
         traffic: { a: { arrivals: { rate: 5/s, hold: 5s }, journey: [ { get: / } ] } }\n\
         observe: { alertmanager: 'http://127.0.0.1:1' }\n",
    );
    let run = bench.run();
    run.expect_code(5);
    assert!(
        run.stderr
            .contains("Alertmanager at http://127.0.0.1:1 does not tell of alerts"),
        "{}",
        run.stderr
    );
    assert!(bench.alive().is_empty());
}
