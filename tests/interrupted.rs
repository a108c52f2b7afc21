//! Runs that end before their time leave nothing behind, and say so.

mod common;

use std::time::Duration;

use common::{Bench, events, signal, within};

const SECOND: Duration = Duration::from_secs(1);

fn scenario(extra: &str) -> String {
    format!(
        "squall: 1
name: interrupted
target:
  local:
    name: shop
    command: squall demo --port {{port}}
    instances: 3
    env: {{ SQUALL_TEST: MARK }}
    ready: {{ http: /readyz, every: 100ms }}
    stop-grace: 3s
traffic:
  browse:
    arrivals: {{ rate: 100/s, hold: 60s }}
    timeout: 1s
    journey:
      - get: /products
faults:
  - at: 1s
    freeze: {{ name: shop-1 }}
expect: [ 'errors < 90%' ]
{extra}"
    )
}

/// Waits until the freeze was made and some seconds of traffic are on disk.
fn under_way(bench: &Bench) {
    let record = bench.path("out/record.jsonl");
    let frozen = || {
        let text = std::fs::read_to_string(&record).unwrap_or_default();
        text.contains("\"injected\"") && text.matches("\"kind\":\"traffic\"").count() >= 3
    };
    assert!(
        within(30 * SECOND, frozen),
        "the fault is made and traffic flows"
    );
}

#[test]
fn kill_9_leaves_no_process_and_a_readable_record() {
    let bench = Bench::new(&scenario(""));
    let mut child = bench.spawn();
    under_way(&bench);
    assert!(bench.alive().len() >= 3);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(bench.gone_within(2 * SECOND), "left: {:?}", bench.alive());

    let judged = bench.command(&["judge", "out"]).output().unwrap();
    let text = String::from_utf8_lossy(&judged.stdout).into_owned();
    assert_eq!(judged.status.code(), Some(3), "{text}");
    assert!(
        text.contains("the record stops"),
        "says what is missing: {text}"
    );

    let undo = bench.command(&["undo", "out"]).output().unwrap();
    assert_eq!(undo.status.code(), Some(0), "{undo:?}");
    let again = bench.command(&["undo", "out"]).output().unwrap();
    let text = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(text.contains("nothing"), "nothing is left to undo: {text}");
}

#[test]
fn ctrl_c_undoes_everything_and_reports_what_there_is() {
    let bench = Bench::new(&scenario(""));
    let child = bench.spawn();
    under_way(&bench);
    signal(child.id(), "INT");
    let run = bench.wait(child);
    run.expect_code(4);
    assert!(bench.gone_within(SECOND), "left: {:?}", bench.alive());
    assert!(run.stdout.contains("Ctrl-C"), "{}", run.stdout);
    assert!(run.out.join("report.html").exists());
    let undone = events(&run.out)
        .iter()
        .any(|e| e["kind"] == "undo" && e["done"] == true);
    assert!(undone, "the frozen instance was thawed");
}

#[test]
fn ctrl_c_twice_ends_at_once() {
    // An instance that ignores SIGTERM keeps the first, orderly way busy for its grace.
    let text = scenario("").replace("stop-grace: 3s", "stop-grace: 50s").replace(
        "command: squall demo --port {port}",
        "command: [sh, -c, \"trap '' TERM; squall_exe demo --port {port} & while :; do wait; done\"]",
    );
    let text = text.replace("squall_exe", common::SQUALL);
    let bench = Bench::new(&text);
    let child = bench.spawn();
    under_way(&bench);
    let pid = child.id();
    signal(pid, "INT");
    let stopping = || {
        std::fs::read_to_string(bench.path("out/record.jsonl"))
            .unwrap_or_default()
            .contains("\"stopping\"")
    };
    assert!(within(10 * SECOND, stopping));
    signal(pid, "INT");
    let asked = std::time::Instant::now();
    let run = bench.wait(child);
    assert!(asked.elapsed() < 3 * SECOND, "{:?}", asked.elapsed());
    run.expect_code(4);
    assert!(bench.gone_within(2 * SECOND), "left: {:?}", bench.alive());
}

#[test]
fn under_nohup_a_closed_terminal_ends_nothing_and_elsewhere_it_ends_the_run() {
    for nohup in [true, false] {
        let bench = Bench::new(&scenario("").replace("hold: 60s", "hold: 6s"));
        // These tests themselves may run under nohup.
        let launcher: &[&str] = match nohup {
            true => &["nohup"],
            false => &["env", "--default-signal=HUP"],
        };
        let args = ["run", "scenario.yaml", "--out", "out", "--quiet"];
        let child = std::process::Command::new(launcher[0])
            .args(&launcher[1..])
            .arg(common::SQUALL)
            .args(args)
            .current_dir(bench.dir.path())
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        under_way(&bench);
        // Both have become squall.
        signal(child.id(), "HUP");
        let run = bench.wait(child);
        match nohup {
            true => run.expect_completed(),
            false => run.expect_code(4),
        };
        assert_eq!(run.stdout.contains("SIGHUP"), !nohup, "{}", run.stdout);
        assert!(bench.gone_within(2 * SECOND), "left: {:?}", bench.alive());
    }
}

#[test]
fn the_guard_ends_a_run_that_hurts_too_much() {
    let text = scenario("guard: { abort-when: 'errors > 50% for 2s' }")
        .replace("freeze: { name: shop-1 }", "freeze: { pick: all }");
    let bench = Bench::new(&text);
    let run = bench.run();
    run.expect_code(4);
    assert!(run.stdout.contains("errors > 50% for 2s"), "{}", run.stdout);
    assert!(bench.gone_within(SECOND), "left: {:?}", bench.alive());
}

#[test]
fn the_guard_refuses_what_would_take_too_many() {
    // The freeze makes one of three not ready; the kill a moment later would make it two.
    let text = scenario("guard: { keep-ready: 2 }")
        .replace("hold: 60s", "hold: 4s")
        .replace("faults:", "faults:\n  - at: 2s\n    kill: { name: shop-2 }");
    let run = Bench::new(&text).run();
    let refused = run
        .events()
        .iter()
        .any(|e| e["kind"] == "fault" && e["stage"] == "refused");
    assert!(refused, "{}", run.stdout);
    assert!(
        run.stdout.contains("keep-ready") || run.stdout.contains("ready"),
        "{}",
        run.stdout
    );
}
