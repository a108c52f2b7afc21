//! Capacity that is known by arithmetic: a shop of 4 workers at 20 ms takes 200 requests a second. Too little must FAIL
//! before enough may PASS.

mod common;

use std::path::Path;
use std::process::Output;

use common::{Bench, read_json};
use serde_json::Value;

/// What the shop can take.
const TRUE: f64 = 200.0;

fn shipped() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/capacity.yaml");
    std::fs::read_to_string(file).unwrap()
}

fn search(bench: &Bench, args: &[&str]) -> (Output, String) {
    let all = [
        &["capacity", "scenario.yaml", "--quiet", "--out", "out"],
        args,
    ]
    .concat();
    let output = bench.command(&all).output().unwrap();
    let text = [&output.stdout[..], &output.stderr].concat();
    (output, common::squeezed(&text))
}

fn result(bench: &Bench) -> Value {
    read_json(&bench.path("out/result.json"))
}

#[test]
fn too_little_capacity_fails_with_the_command_that_judges_again() {
    // From 240/s on, all of it beyond the truth: the first rate tried fails, and that it does is seen twice.
    let bench = Bench::new(
        &shipped()
            .replace("from: 60/s", "from: 240/s")
            .replace("180/s", "480/s"),
    );
    let (output, text) = search(&bench, &[]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("capacity of at least 480/s"), "{text}");
    assert!(text.contains("not even 240/s holds p95 < 150ms"), "{text}");
    assert!(text.contains("again squall judge out"), "{text}");
    let again = bench.command(&["judge", "out", "--json"]).output().unwrap();
    assert_eq!(again.status.code(), Some(1));
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again, result(&bench));
}

#[test]
fn the_shipped_search_finds_what_arithmetic_says() {
    let bench = Bench::new(&shipped());
    let (code, text) = bench.conclusive(|| {
        let (output, text) = search(&bench, &[]);
        (output.status.code(), text)
    });
    assert_eq!(code, Some(0), "{text}");
    let result = result(&bench);
    let found = &result["capacity"];
    let held = found["held_per_s"].as_f64().unwrap();
    let failed = found["failed_per_s"].as_f64().unwrap();
    assert!(failed <= held * 1.05 + 0.01, "{held} to {failed}");
    assert!(
        held >= TRUE * 0.9 && failed <= TRUE * 1.1,
        "{held} to {failed}: {text}"
    );
    assert!(
        text.contains("at 1 instance ") && text.contains("seen 2 of 2"),
        "{text}"
    );
    let page = std::fs::read_to_string(bench.path("out/report.html")).unwrap();
    assert!(
        page.contains("<svg") && page.contains("knee: "),
        "the curve is drawn"
    );
    assert!(bench.path("out/level-01/record.jsonl").exists());
}

#[test]
fn bad_input_is_refused_before_anything_runs() {
    let without: String = shipped()
        .lines()
        .filter(|l| !l.starts_with("capacity:"))
        .map(|l| format!("{l}\n"))
        .collect();
    for (text, args, part) in [
        (without, vec![], "says nothing of capacity"),
        (
            shipped(),
            vec!["--at-least", "5000/s"],
            "from 60/s to 960/s",
        ),
        (shipped(), vec!["--at-least", "500"], "has no unit"),
        (
            shipped().replace("hold: 5s, res", "hold: 2s, res"),
            vec![],
            "hold: 4s",
        ),
    ] {
        let bench = Bench::new(&text);
        let (output, text) = search(&bench, &args);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(part), "{part}: {text}");
        assert!(!bench.path("out").exists());
    }
}
