//! Several runs: one that fails fails the series, Ctrl-C ends it, two scenarios run in turn and are compared.

mod common;

use std::time::Duration;

use common::{Bench, read_json, signal, within};
use serde_json::Value;

fn scenario(flags: &str, hold: &str) -> String {
    format!(
        "squall: 1
name: shop in a series
seed: 7
target:
  local:
    name: shop
    command: squall demo --port {{port}} --drain-delay 0s {flags}
    instances: 1
    env: {{ SQUALL_TEST: MARK }}
    ready: {{ http: /readyz, every: 50ms }}
traffic:
  browse:
    arrivals: {{ rate: 300/s, hold: {hold} }}
    journey: [ get: /products ]
expect: [ 'errors < 2%', 'p50 < 1s' ]
"
    )
}

fn series(bench: &Bench, args: &[&str]) -> (Option<i32>, String) {
    let all = [&["run", "scenario.yaml", "--quiet", "--out", "out"], args].concat();
    let output = bench.command(&all).output().unwrap();
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code(), common::squeezed(&text))
}

fn because<'a>(result: &'a Value, oracle: &str) -> &'a str {
    let all = result["verdicts"].as_array().unwrap();
    let found = all.iter().find(|v| v["oracle"] == oracle);
    found.unwrap_or_else(|| panic!("no {oracle} in {result:#}"))["because"]
        .as_str()
        .unwrap()
}

#[test]
fn a_failing_service_fails_the_series_and_its_budget() {
    let bench = Bench::new(&scenario("--defect errors:5%", "2s"));
    let (code, text) = series(&bench, &["--repeat", "2"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("held in 0 of 2 runs; failed in run-01 and run-02"),
        "{text}"
    );
    assert!(text.contains("again squall judge out"), "{text}");
    let result = read_json(&bench.path("out/result.json"));
    assert_eq!(result["verdict"], "FAIL");
    let burnt = because(&result, "budget");
    assert!(burnt.contains("burn rate 2.5"), "{burnt}");
}

#[test]
fn a_healthy_service_passes_each_run_with_a_seed_of_its_own() {
    let bench = Bench::new(&scenario("", "2s"));
    let (code, text) = series(&bench, &["--repeat", "3"]);
    assert!(matches!(code, Some(0 | 3)), "{text}");
    let result = read_json(&bench.path("out/result.json"));
    assert_eq!(result["kind"], "series");
    let runs = result["series"]["runs"].as_array().unwrap();
    let mut seeds: Vec<u64> = runs.iter().map(|r| r["seed"].as_u64().unwrap()).collect();
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!((runs.len(), seeds.len()), (3, 3), "{result:#}");
    for file in [
        "summary.md",
        "junit.xml",
        "report.html",
        "run-02/report.html",
        "run-03/record.jsonl",
    ] {
        assert!(bench.path("out").join(file).exists(), "{file}");
    }
    // Judged again from the records alone it is the same, in whole and in part.
    let again = bench.command(&["judge", "out", "--json"]).output().unwrap();
    assert_eq!(again.status.code(), code);
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(result, again);
    let one = ["judge", "out/run-01/record.jsonl"];
    let one = bench.command(&one).output().unwrap();
    assert!(matches!(one.status.code(), Some(0 | 3)), "{one:?}");
    std::fs::remove_dir_all(bench.path("out/run-02")).unwrap();
    let again = bench.command(&["judge", "out"]).output().unwrap();
    assert_eq!(again.status.code(), Some(3), "{again:?}");
    let text = common::squeezed(&again.stdout);
    assert!(text.contains("2 of 3 runs were made"), "{text}");
}

#[test]
fn recovery_is_told_over_all_injections() {
    let text = scenario("", "10s")
        .replace("instances: 1", "instances: 2\n    restart: { backoff: 200ms }")
        .replace(
            "expect: [",
            "faults: [ { at: 2s, kill: { pick: 1 } } ]\nexpect: [ { recovery: { within: 7s, slo: [ 'errors < 5%' ] } }, ",
        )
        .replace("errors < 2%", "errors < 30%");
    let bench = Bench::new(&text);
    let (code, text) = series(&bench, &["--repeat", "2"]);
    assert!(matches!(code, Some(0 | 3)), "{text}");
    let result = read_json(&bench.path("out/result.json"));
    let told = because(&result, "recovery");
    assert!(
        told.contains("2 injections in all, restored after"),
        "{told}"
    );
    let runs = result["series"]["runs"].as_array().unwrap();
    for run in runs {
        let took = run["recovered_us"][0].as_u64().unwrap();
        assert!(took < 7_000_000, "{run:#}");
    }
}

#[test]
fn ctrl_c_ends_the_whole_series() {
    let bench = Bench::new(&scenario("", "20s"));
    let mut run = bench.command(&[
        "run",
        "scenario.yaml",
        "--quiet",
        "--out",
        "out",
        "--repeat",
        "5",
    ]);
    let child = run.spawn().unwrap();
    let record = bench.path("out/run-01/record.jsonl");
    let flows = || {
        let text = std::fs::read_to_string(&record).unwrap_or_default();
        text.contains("\"kind\":\"traffic\"")
    };
    assert!(within(Duration::from_secs(60), flows));
    signal(child.id(), "INT");
    let run = bench.wait(child);
    run.expect_code(4);
    assert!(!bench.path("out/run-02").exists(), "no further run began");
    let text = common::squeezed(run.stdout.as_bytes());
    assert!(text.contains("1 of 5 runs were made"), "{text}");
    assert!(text.contains("stopped by Ctrl-C"), "{text}");
    assert!(
        bench.gone_within(Duration::from_secs(2)),
        "{:?}",
        bench.alive()
    );
}

#[test]
fn a_slow_candidate_fails_against_its_baseline() {
    let bench = Bench::new(&scenario("--defect slow:200ms", "1s"));
    std::fs::write(bench.path("base.yaml"), scenario("", "1s")).unwrap();
    let (code, text) =
        bench.conclusive(|| series(&bench, &["--repeat", "5", "--against", "base.yaml"]));
    assert_eq!(code, Some(1), "{text}");
    let result = read_json(&bench.path("out/result.json"));
    assert_eq!(result["verdict"], "FAIL");
    let slower = because(&result, "compare");
    assert!(slower.contains("all above the limit"), "{slower}");
    // In turn, the side that goes first changing: the third run is the candidate's again.
    let started = |run: &str| {
        let text = std::fs::read_to_string(bench.path(run).join("record.jsonl")).unwrap();
        let header: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        (
            header["started"].as_str().unwrap().to_string(),
            header["seed"].clone(),
        )
    };
    let (first, second) = (
        started("out/baseline/run-01"),
        started("out/candidate/run-01"),
    );
    let (fourth, third) = (
        started("out/baseline/run-02"),
        started("out/candidate/run-02"),
    );
    assert!(first.0 < second.0 && second.0 < third.0 && third.0 < fourth.0);
    assert_eq!(first.1, second.1, "the same round, the same seed");
    assert_ne!(first.1, third.1);
    let again = bench.command(&["judge", "out", "--json"]).output().unwrap();
    assert_eq!(again.status.code(), Some(1));
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(result, again);
    let compared = ["compare", "out/baseline", "--", "out/candidate"];
    let compared = bench.command(&compared).output().unwrap();
    assert_eq!(compared.status.code(), Some(1), "{compared:?}");
}

#[test]
fn bad_input_is_refused_before_anything_runs() {
    let bench = Bench::new(&scenario("", "1s"));
    for (args, part) in [
        (vec!["--repeat", "0"], "1..=999"),
        (vec!["--against", "scenario.yaml"], "--repeat"),
        (
            vec!["--repeat", "2", "--against", "nowhere.yaml"],
            "nowhere.yaml",
        ),
    ] {
        let (code, text) = series(&bench, &args);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(part), "{text}");
        assert!(!bench.path("out").exists());
    }
}
