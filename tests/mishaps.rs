//! What goes wrong on a user's machine: a clear sentence, the right exit code, nothing left running.

mod common;

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use common::Bench;

fn local(command: &str, extra: &str) -> String {
    format!(
        "squall: 1
name: mishap
target:
  local:
    name: shop
    command: {command}
    instances: 2
    env: {{ SQUALL_TEST: MARK }}
    ready: {{ http: /readyz, every: 100ms }}
    start-timeout: 3s
    stop-grace: 1s
    {extra}
traffic:
  browse:
    arrivals: {{ rate: 50/s, hold: 2s }}
    journey:
      - get: /products
expect: [ 'errors < 50%' ]
"
    )
}

#[track_caller]
fn says(text: &str, code: i32, words: &[&str]) {
    let bench = Bench::new(text);
    let run = bench.run();
    run.expect_code(code);
    for word in words {
        assert!(run.stderr.contains(word), "`{word}` in: {}", run.stderr);
    }
    assert!(
        bench.gone_within(Duration::from_secs(2)),
        "left: {:?}",
        bench.alive()
    );
}

#[test]
fn a_command_that_is_not_there() {
    says(
        &local("no-such-program --port {port}", ""),
        2,
        &["no-such-program"],
    );
}

#[test]
fn an_instance_that_never_becomes_ready() {
    says(
        &local("squall demo --port {port} --defect never-ready", ""),
        5,
        &["shop-", "ready", "3s"],
    );
}

#[test]
fn an_instance_that_dies_at_once_shows_its_last_words() {
    says(
        &local(
            "[sh, -c, 'echo cannot open the database on {port} >&2; exit 7']",
            "",
        ),
        5,
        &["cannot open the database"],
    );
}

#[test]
fn a_port_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    says(
        &local("squall demo --port {port}", &format!("port: {port}")),
        5,
        &[&port.to_string(), "taken"],
    );
}

#[test]
fn a_target_that_refuses() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let text = format!(
        "squall: 1
name: refused
target: {{ url: 'http://127.0.0.1:{port}' }}
traffic:
  browse:
    arrivals: {{ rate: 50/s, hold: 2s }}
    journey: [ {{ get: / }} ]
"
    );
    says(&text, 5, &[&port.to_string(), "refused"]);
}

#[test]
fn a_folder_that_cannot_be_written() {
    let bench = Bench::new(&local("squall demo --port {port}", ""));
    std::fs::write(bench.path("file"), "").unwrap();
    let run = bench
        .command(&["run", "scenario.yaml", "--reports", "file/reports"])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("file/reports"), "{stderr}");
    assert!(bench.alive().is_empty());
}

#[test]
fn a_run_never_writes_over_another() {
    let bench = Bench::new(&local("squall demo --port {port}", ""));
    std::fs::create_dir(bench.path("out")).unwrap();
    let run = bench.run();
    run.expect_code(2);
    assert!(run.stderr.contains("out"), "{}", run.stderr);
}

#[test]
fn a_full_disk_ends_the_run_in_order() {
    let bench = Bench::new(
        &local("squall demo --port {port}", "")
            .replace("hold: 2s", "hold: 60s")
            .replace(
                "traffic:",
                "faults: [ { at: 1s, freeze: { name: shop-1 } } ]\ntraffic:",
            ),
    );
    let disk = bench.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=24k", "squall-test"])
        .arg(&disk)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        skip!("a small file system can only be mounted by root");
    }
    let child = bench
        .command(&["run", "scenario.yaml", "--out", "disk/out", "--quiet"])
        .spawn()
        .unwrap();
    let run = bench.wait(child);
    let unmounted = Command::new("umount")
        .arg("-l")
        .arg(&disk)
        .status()
        .unwrap();
    assert!(unmounted.success());
    run.expect_code(4);
    assert!(
        run.stderr.contains("No space left on device"),
        "{}",
        run.stderr
    );
    assert!(
        bench.gone_within(Duration::from_secs(2)),
        "left: {:?}",
        bench.alive()
    );
}

#[test]
fn a_bad_scenario_starts_nothing() {
    let bench = Bench::new(&local("squall demo --port {port}", "colour: red"));
    let run = bench.run();
    run.expect_code(2);
    assert!(run.stderr.contains("scenario.yaml:12:5"), "{}", run.stderr);
    assert!(bench.alive().is_empty() && !run.out.exists());
}

#[test]
fn data_that_lacks_a_field_starts_nothing() {
    let text = local("squall demo --port {port}", "").replace(
        "journey:\n      - get: /products",
        "data: { users: { jsonl: users.jsonl } }\n    journey:\n      - get: /products/{{ users.id }}",
    );
    let bench = Bench::new(&text);
    std::fs::write(bench.path("users.jsonl"), "{\"name\": \"a\"}\n").unwrap();
    let run = bench.run();
    run.expect_code(2);
    assert!(run.stderr.contains("no field `id`"), "{}", run.stderr);
    assert!(bench.alive().is_empty() && !run.out.exists());
}

#[test]
fn nobody_who_listens_is_no_reason_to_fail() {
    let text = local("squall demo --port {port}", "").replace("errors < 50%", "errors < 100%");
    let bench = Bench::new(&text);
    let unheard = |args: &[&str]| {
        // A pipe whose reader has gone, as after `| head`.
        let gone = || std::io::pipe().unwrap().1;
        let mut command = bench.command(args);
        let status = command.stdout(gone()).stderr(gone()).status().unwrap();
        status.code().unwrap_or(-1)
    };
    let series = ["run", "scenario.yaml", "--out", "out", "--repeat", "2"];
    assert_ne!(unheard(&series), 101);
    let runs = [
        "out/run-01/result.json",
        "out/run-02/result.json",
        "out/result.json",
    ];
    for file in runs {
        assert!(bench.path(file).exists(), "{file}");
    }
    let run = ["run", "scenario.yaml", "--out", "one"];
    let code = unheard(&run);
    let judged = bench.command(&["judge", "one"]).output().unwrap();
    assert_eq!(Some(code), judged.status.code());
    for args in [
        &["judge", "one", "--json"][..],
        &["judge", "one"],
        &["judge", "out"],
        &["report", "one"],
    ] {
        assert!([0, 3].contains(&unheard(args)), "{args:?}");
    }
    for args in [
        &["schema"][..],
        &["explain", "slo"],
        &["init"],
        &["plan", "scenario.yaml"],
        &["validate", "scenario.yaml"],
        &["completions", "bash"],
        &["--help"],
        &["undo", "one"],
    ] {
        assert_eq!(unheard(args), 0, "{args:?}");
    }
    assert_eq!(unheard(&["validate", "nowhere.yaml"]), 2);
}

#[test]
fn few_open_files_are_the_generators_limit_and_no_errors_of_the_service() {
    // It serves 200 requests a second of 1,000: those in flight take more files than there are.
    let text = local("squall demo --port {port} --defect queue:4x20ms", "")
        .replace("instances: 2", "instances: 1")
        .replace("rate: 50/s", "rate: 1000/s");
    let bench = Bench::new(&text);
    let limited = "ulimit -n 1000 && exec \"$0\" run scenario.yaml --out out --quiet";
    let mut command = Command::new("sh");
    command.args(["-c", limited, common::SQUALL]);
    let run = command.current_dir(bench.dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert_eq!(run.status.code(), Some(3), "{said}");
    let mut outcomes = std::collections::BTreeSet::new();
    for event in common::events(&bench.path("out")) {
        for step in event["steps"].as_array().into_iter().flatten() {
            outcomes.extend(
                step["ended"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(o, _)| o.clone()),
            );
        }
    }
    assert_eq!(outcomes, ["ok".to_string()].into(), "{said}");
    assert!(said.contains("journeys at once and not 10000"), "{said}");
}
