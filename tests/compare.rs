//! Real runs compared: a slower candidate and one that fails more must FAIL before equal programs may do anything else
//! than not FAIL.

mod common;

use std::process::Output;
use std::time::Duration;

use common::{Bench, read_json};

fn scenario(flags: &str) -> String {
    format!(
        "squall: 1
name: shop
target:
  local:
    name: shop
    command: squall demo --port {{port}} --drain-delay 0s {flags}
    instances: 1
    ready: {{ http: /readyz, every: 50ms }}
traffic:
  browse:
    arrivals: {{ rate: 300/s, hold: 2s }}
    journey: [ get: /products ]
expect: [ 'errors < 90%' ]
"
    )
}

/// `squall compare`: its output, and what it printed.
fn compare(bench: &Bench, args: &[&str]) -> (Output, String) {
    let all = [&["compare"], args].concat();
    let output = bench.command(&all).output().unwrap();
    let text = [&output.stdout[..], &output.stderr].concat();
    (output, common::squeezed(&text))
}

#[test]
fn a_slower_and_a_failing_candidate_fail_and_an_equal_one_does_not() {
    let sides = [
        ("base", ""),
        ("same", ""),
        ("slow", "--defect slow:100ms"),
        ("broken", "--defect errors:5%"),
    ];
    let bench = Bench::new(&scenario(""));
    for (name, flags) in sides {
        std::fs::write(bench.path(&format!("{name}.yaml")), scenario(flags)).unwrap();
    }
    // In turn, so that a machine that drifts hits all of them alike.
    for round in 1..=5 {
        for (name, _) in sides {
            let run = bench
                .command(&[
                    "run",
                    &format!("{name}.yaml"),
                    "--quiet",
                    "--out",
                    &format!("{name}/run-{round}"),
                ])
                .output()
                .unwrap();
            let code = run.status.code();
            assert!(matches!(code, Some(0 | 3)), "{name} {round}: {run:?}");
        }
    }

    // The median: a busy machine moves it little, 100 ms move it much.
    let (slow, text) = compare(&bench, &["--percentile", "p50", "base", "--", "slow"]);
    assert_eq!(slow.status.code(), Some(1), "{text}");
    assert!(text.contains("all above the limit"), "{text}");
    assert!(
        text.contains("again squall compare --percentile p50 base -- slow"),
        "says how to judge again: {text}"
    );
    let (broken, text) = compare(&bench, &["base", "--", "broken"]);
    assert_eq!(broken.status.code(), Some(1), "{text}");
    assert!(text.contains("5% of requests failed against 0%"), "{text}");

    // An equal one passes, or the machine is too noisy to tell; it does not FAIL.
    for percentile in ["p50", "p99"] {
        let flags = [
            "--percentile",
            percentile,
            "--out",
            "ab",
            "base",
            "--",
            "same",
        ];
        let (same, text) = compare(&bench, &flags);
        assert!(matches!(same.status.code(), Some(0 | 3)), "{text}");
        let result = read_json(&bench.path("ab/result.json"));
        assert_eq!(result["kind"], "comparison");
        assert_eq!(result["comparison"]["parts"][0]["flow"], "browse");
        assert!(bench.path("ab/report.html").exists() && bench.path("ab/summary.md").exists());
        let (again, _) = compare(&bench, &[&flags[..2], &["--json"], &flags[4..]].concat());
        let again: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
        assert_eq!(result, again, "the same runs give the same verdict");
    }

    // What cannot be compared is refused by name, before anything is judged.
    let (few, text) = compare(&bench, &["base/run-1", "--", "same/run-1"]);
    assert_eq!(few.status.code(), Some(3), "{text}");
    assert!(
        text.contains("4 more baseline runs and 4 more candidate runs"),
        "{text}"
    );
    let (itself, text) = compare(&bench, &["base", "--", "base/run-1"]);
    assert_eq!(itself.status.code(), Some(2), "{text}");
    assert!(text.contains("the same run"), "{text}");
    let other = scenario("").replace("300/s", "200/s");
    std::fs::write(bench.path("other.yaml"), other).unwrap();
    let run = ["run", "other.yaml", "--quiet", "--out", "other"];
    bench.command(&run).output().unwrap();
    let (refused, text) = compare(&bench, &["base", "--", "other"]);
    assert_eq!(refused.status.code(), Some(2), "{text}");
    assert!(
        text.contains("other did something else") && text.contains("200/s, not 300/s"),
        "{text}"
    );
}

#[test]
fn a_run_that_was_cut_short_is_left_out_by_name() {
    let bench = Bench::new(&scenario("").replace("hold: 2s", "hold: 30s"));
    for out in ["a", "b"] {
        let mut run = bench.command(&["run", "scenario.yaml", "--quiet", "--out", out]);
        let child = run.spawn().unwrap();
        let record = bench.path(&format!("{out}/record.jsonl"));
        let flows = || {
            let text = std::fs::read_to_string(&record).unwrap_or_default();
            text.contains("\"kind\":\"traffic\"")
        };
        assert!(common::within(Duration::from_secs(30), flows));
        common::signal(child.id(), "INT");
        bench.wait(child).expect_code(4);
    }
    let (output, text) = compare(&bench, &["a", "--", "b"]);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("a is left out: it was aborted"), "{text}");
    assert!(text.contains("5 runs a side"), "{text}");
}

#[test]
fn a_wrong_flag_or_folder_says_what_is_expected() {
    let bench = Bench::new("");
    for (args, part) in [
        (vec!["nowhere", "--", "there"], "nowhere"),
        (vec![".", "--", "."], "there is no run in ."),
        (
            vec!["--percentile", "99", ".", "--", "."],
            "such as p50, p99",
        ),
        (vec!["--margin", "10", ".", "--", "."], "has no unit"),
        (vec!["."], "CANDIDATE"),
    ] {
        let (output, text) = compare(&bench, &args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains(part), "{args:?}: {text}");
    }
}
