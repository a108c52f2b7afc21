//! Scenario files as users write them: the shipped ones, and every way to get one wrong.

#[path = "scenario_files/cases.rs"]
mod cases;

use std::path::{Path, PathBuf};
use std::time::Duration;

use cases::{BASE, CASES};
use proptest::prelude::*;
use squall::scenario::{
    self, AlertExpectation, Direction, Expectation, FaultKind, InitLoad, InitOptions, InitTarget,
    Op, Problems, Scenario, Secret, Target, parse, units::Rate,
};

fn no_env(_: &str) -> Option<String> {
    None
}

fn read(text: &str) -> Result<Scenario, Problems> {
    parse("test.yaml", text, Path::new("."), &no_env)
}

/// The files in `scenarios/`.
fn shipped() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is part of the project")
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
        .collect();
    files.sort();
    assert!(files.len() >= 5, "{files:?}");
    files
}

/// The file as an editor with a YAML language server would hand it to the schema.
fn as_json(text: &str) -> serde_json::Value {
    scenario::yaml_to_json(text).expect("valid YAML")
}

fn schema() -> jsonschema::Validator {
    jsonschema::validator_for(&scenario::schema()).expect("the schema is a schema")
}

#[test]
fn the_base_of_the_malformed_cases_is_right() {
    read(BASE).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(schema().is_valid(&as_json(BASE)));
}

#[test]
fn every_malformed_kind_is_told_with_its_place() {
    let mut failures = Vec::new();
    for case in CASES {
        assert!(
            BASE.contains(case.from),
            "{:?} is not in the base",
            case.from
        );
        let text = BASE.replacen(case.from, case.to, 1);
        let Err(problems) = read(&text) else {
            failures.push(format!("{:?} was accepted", case.to));
            continue;
        };
        let matching = problems
            .list
            .iter()
            .find(|p| p.message.contains(case.message));
        let Some(problem) = matching else {
            failures.push(format!(
                "{:?}: {:?} is not among\n{problems}",
                case.to, case.message
            ));
            continue;
        };
        let place = (problem.at.line, problem.at.column);
        if place != (case.line, case.column) {
            failures.push(format!(
                "{:?}: expected at {}:{}\n{problems}",
                case.to, case.line, case.column
            ));
        }
        let beside = format!("{:?} {:?}", problem.expected, problem.help);
        if !beside.contains(case.beside) {
            failures.push(format!("{:?}: {beside} has no {:?}", case.to, case.beside));
        }
        if problems.list.len() > 1 {
            failures.push(format!(
                "{:?}: one mistake, several problems\n{problems}",
                case.to
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn what_is_structurally_wrong_fails_the_schema_too() {
    let schema = schema();
    let mut failures = Vec::new();
    for case in CASES {
        let json = as_json(&BASE.replacen(case.from, case.to, 1));
        if schema.is_valid(&json) == case.structural {
            failures.push(format!("{:?}: structural is {}", case.to, case.structural));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn shipped_scenarios_pass_the_parser_and_the_schema() {
    let schema = schema();
    for (path, text) in shipped() {
        scenario::load(&path, &no_env).unwrap_or_else(|problems| panic!("{problems}"));
        let errors: Vec<_> = schema
            .iter_errors(&as_json(&text))
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{}: {errors:?}", path.display());
    }
}

#[test]
fn yaml_that_is_none_is_told_with_its_place() {
    for (text, line, message) in [
        ("squall: 1\nname: [a\n", 3, "not valid YAML"),
        ("squall: 1\n\tname: x\n", 2, "not valid YAML"),
        ("squall: 1\nname: a\nname: b\n", 3, "duplicate key `name`"),
        ("squall: 1\n---\nsquall: 1\n", 2, "second YAML document"),
        ("squall: 1\nname: *nobody\n", 2, "not valid YAML"),
        ("", 0, "the file is empty"),
        ("# nothing\n", 0, "the file is empty"),
        ("- squall: 1\n", 1, "found a list"),
        ("just text", 1, "expected a map"),
        ("a: {{ b }}", 1, "a key must be a single word"),
    ] {
        let problems = read(text).unwrap_err();
        let found = problems.list.iter().find(|p| p.message.contains(message));
        let problem = found.unwrap_or_else(|| panic!("{text:?}: {problems}"));
        assert_eq!(problem.at.line, line, "{text:?}: {problems}");
    }
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let text = BASE
        .replace("instances: 3", "instances: 0")
        .replace("rate: 50/s", "rate: 50")
        // What stands under a misspelt key is looked into all the same.
        .replace("traffic:", "trafic:")
        .replace("{{ id }}", "{{ nothing }}")
        .replace("at: 5s", "at: 5m")
        .replace("p99 < 250ms", "errors < 250ms")
        .replace("guard: { keep-ready: 50% }", "gard: {}\nname: again");
    let problems = read(&text).unwrap_err();
    let lines: Vec<_> = problems.list.iter().map(|p| p.at.line).collect();
    assert_eq!(lines, [7, 8, 10, 15, 19, 20, 22], "{problems}");
    let shown = problems.to_string();
    assert!(shown.contains("7 problems in test.yaml"), "{shown}");
    assert!(
        shown.contains(
            "10 |     arrivals: { rate: 50, hold: 10s }\n   |                       ^^\n"
        ),
        "{shown}"
    );
}

#[test]
fn a_missing_and_an_unreadable_file_are_problems() {
    let folder = tempfile::tempdir().unwrap();
    let missing = scenario::load(&folder.path().join("no.yaml"), &no_env).unwrap_err();
    assert!(
        missing.list[0].message.contains("cannot be read"),
        "{missing}"
    );
    let latin = folder.path().join("latin.yaml");
    std::fs::write(&latin, b"squall: 1\nname: caf\xe9\n").unwrap();
    let problems = scenario::load(&latin, &no_env).unwrap_err();
    assert!(
        problems.list[0]
            .message
            .contains("not UTF-8 text, from line 2"),
        "{problems}"
    );
}

#[test]
fn one_instance_leaves_nothing_to_balance() {
    let text = BASE
        .replace("instances: 3", "instances: 1")
        .replace("guard: { keep-ready: 50% }\n", "")
        .replace("- p99 < 250ms", "- p99 < 250ms\n  - balance: connection");
    let problems = read(&text).unwrap_err();
    let problem = &problems.list[0];
    assert_eq!((problem.at.line, problem.at.column), (21, 14), "{problems}");
    assert!(problem.message.contains("nothing to balance"), "{problems}");
    assert_eq!(problems.list.len(), 1, "{problems}");
    // Behind a URL there may be any number: what cannot be seen is said when it is judged.
    let elsewhere = "squall: 1\nname: x\ntarget: { url: 'http://localhost' }\n\
        traffic: { a: { arrivals: { rate: 5/s, hold: 1m }, journey: [{ get: / }] } }\n\
        expect: [ balance: connection ]";
    assert!(read(elsewhere).is_ok());
}

#[test]
fn data_files_are_looked_into() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("users.csv"), "word,age\ntea,5\n").unwrap();
    std::fs::write(folder.path().join("empty.csv"), "word\n").unwrap();
    std::fs::write(folder.path().join("rows.jsonl"), "{\"a\": 1}\n").unwrap();
    std::fs::write(folder.path().join("bad.jsonl"), "[1]\n").unwrap();
    let try_with = |data: &str, used: &str| {
        let text = BASE
            .replace(
                "    journey:\n",
                &format!("    data: {{ u: {{ {data} }} }}\n    journey:\n"),
            )
            .replace("{{ id }}", used);
        let result = parse("x.yaml", &text, folder.path(), &no_env);
        result.map_err(|problems| problems.list[0].message.clone())
    };
    let scenario = try_with("csv: users.csv, order: shuffled", "{{ u.word }}").unwrap();
    assert_eq!(scenario.traffic[0].data[0].file, Path::new("users.csv"));
    assert!(try_with("jsonl: rows.jsonl", "{{ u.a }}").is_ok());
    assert!(
        try_with("csv: users.csv", "{{ u.wrd }}")
            .unwrap_err()
            .contains("no field `wrd`")
    );
    assert!(
        try_with("csv: users.csv", "{{ u }}")
            .unwrap_err()
            .contains("which of its fields")
    );
    assert!(
        try_with("csv: empty.csv", "{{ id }}")
            .unwrap_err()
            .contains("has no rows")
    );
    assert!(
        try_with("jsonl: bad.jsonl", "{{ id }}")
            .unwrap_err()
            .contains("JSON object")
    );
}

#[test]
fn the_environment_is_put_in_and_never_shown() {
    let env = |name: &str| match name {
        "TOKEN" => Some("hunter2".to_string()),
        "RATE" => Some("70/s".to_string()),
        "COUNT" => Some("4".to_string()),
        _ => None,
    };
    let text = BASE
        .replace("name: base", "name: base\nsecrets: { token: \"${TOKEN}\" }")
        .replace("50/s", "\"${RATE}\"")
        .replace("instances: 3", "instances: ${COUNT}")
        .replace(
            "- post: /cart",
            "- post: /cart\n        headers: { authorization: \"Bearer {{ token }}\" }",
        );
    assert!(schema().is_valid(&as_json(&text)));
    let scenario = parse("x.yaml", &text, Path::new("."), &env).unwrap_or_else(|p| panic!("{p}"));
    assert_eq!(scenario.secrets["token"].reveal(), "hunter2");
    let recorded = serde_json::to_string(&scenario).unwrap();
    assert!(
        !recorded.contains("hunter2") && recorded.contains("***"),
        "{recorded}"
    );
    assert!(recorded.contains("\"rate\":\"70/s\""), "{recorded}");
    assert!(recorded.contains("\"instances\":4"), "{recorded}");

    // What a program is given in its environment is its own.
    let text = BASE.replace(
        "instances: 3",
        "instances: 3\n    env: { PASSWORD: \"${TOKEN}\" }",
    );
    let scenario = parse("x.yaml", &text, Path::new("."), &env).unwrap_or_else(|p| panic!("{p}"));
    let recorded = serde_json::to_string(&scenario).unwrap();
    assert!(
        !recorded.contains("hunter2") && recorded.contains("PASSWORD"),
        "{recorded}"
    );

    // The same values where they do not belong: told, but not shown.
    for (from, to) in [
        ("hold: 10s", "hold: \"${TOKEN}\""),
        ("p99 < 250ms", "\"${TOKEN}\""),
        ("pick: 1", "name: \"${TOKEN}\""),
        ("post: /cart", "post: \"${TOKEN}\""),
        (
            "{ id: \"$.items[0].id\" }",
            "{ id: { regex: \"${TOKEN}(\" } }",
        ),
        (
            "        json: {",
            "        file: \"${TOKEN}\"\n        x: {",
        ),
        ("/products", "/products/{{ ${TOKEN} }}"),
        (
            "- post: /cart",
            "- post: /cart\n        headers: { Authorization: \"Bearer ${TOKEN}\" }",
        ),
        ("command: squall", "command: \"${TOKEN}\"\n    x: squall"),
    ] {
        let problems = parse("x.yaml", &BASE.replacen(from, to, 1), Path::new("."), &env);
        let shown = problems.unwrap_err().to_string();
        assert!(
            !shown.contains("hunter2") && shown.contains("${TOKEN}"),
            "{to}:\n{shown}"
        );
    }
}

#[test]
fn a_secret_written_into_the_file_is_starred_out() {
    let text = BASE.replace("name: base", "name: base\nsecrets:\n  tok en: hunter2");
    let shown = read(&text).unwrap_err().to_string();
    assert!(shown.contains("cannot be a key here"), "{shown}");
    assert!(
        shown.contains("tok en: *******") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn defaults_are_filled_in() {
    let scenario = read(BASE).unwrap();
    let flow = &scenario.traffic[0];
    assert_eq!(flow.timeout.as_secs(), 10);
    assert_eq!(flow.journey.len(), 2);
    let json = serde_json::to_value(&scenario).unwrap();
    let local = &json["target"]["local"];
    assert_eq!(local["ready"]["every"], "500ms");
    assert_eq!(local["restart"]["max-backoff"], "30s");
    assert_eq!(local["stop-grace"], "10s");
    assert_eq!(local["instance-header"], "x-squall-instance");
    assert_eq!(json["traffic"][0]["load"]["open"]["max-in-flight"], 10000);
    assert_eq!(json["faults"][0]["name"], "kill");
    assert_eq!(
        json["expect"][1]["recovery"]["endpoint-removed-within"],
        "30s"
    );
}

#[test]
fn every_way_of_writing_is_read() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("body.bin"), "x").unwrap();
    let text = r#"
squall: 1
name: everything
x-shared: &json { accept: application/json }
target: { url: { url: "https://example.org/api/", instance-header: X-Pod, tls: { insecure: true } } }
traffic:
  a:
    arrivals: { process: poisson, max-in-flight: 50, stages: [{ rate: 30/m, ramp: 5s }, { rate: 2/s, hold: 5s }] }
    connections: { mode: per-user, max-age: 30s, streams: 10, source: [127.0.0.2, "::1"] }
    protocol: http2
    transport: reqwest
    headers: { <<: *json, x-many: [a, b] }
    journey:
      - put: /x?y={{ uuid }}
        query: { q: [1, "{{ random(1, 5) }}"], r: true }
        body: "{{ user }}/{{ iteration }}"
        timeout: 2s
        follow-redirects: true
        check:
          status: [200, 3xx]
          header: { X-A: b, x-c: { matches: "^d" } }
          body: [{ contains: x }, { equals: y }]
          json: { "$.a": exists, $.b: 5, $.c: "> 3", $.d: "!= x", $.e: null, $.f: "5" }
          size: "< 4KiB"
          time: "< 250ms"
        extract: { t: { header: X-Token }, n: { regex: 'id=(\d+)', default: "0" }, j: { json: $.j } }
      - choose:
          - weight: 2.5
            journey: [{ patch: "/{{ t }}", form: { a: "{{ n }}" } }, { think: exp(2s) }]
          - journey: [{ delete: "{{ j }}" }]
      - head: /h
      - options: /o
        file: body.bin
  b:
    start: 1s
    users: { count: 2, ramp: 1s, hold: 1s, think: 1s..2s }
    connections: per-request
    journey: [{ get: / }]
expect:
  - { slo: "p95 < 100ms", flow: a, step: PUT /x, of: service }
  - balance: request
  - balance: {}
  - balance: { by: request, kind: least-request, tolerance: 12.5%, lag: 0s, instances: 3 }
  - balance: { kind: { client-ip: 3h } }
guard: { abort-when: ["errors > 50% for 10s", "p99 > 5s for 30s"] }
run: { threads: 2, warm-up: 1s, graceful-stop: 3s }
"#;
    let scenario = parse("x.yaml", text, folder.path(), &no_env).unwrap_or_else(|p| panic!("{p}"));
    let errors: Vec<_> = schema()
        .iter_errors(&as_json(text))
        .map(|e| e.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    let mut shown = scenario.clone();
    shown.base_dir = PathBuf::new();
    insta::assert_snapshot!(serde_json::to_string_pretty(&shown).unwrap());
    assert_eq!(round_trip(&scenario), scenario);
}

#[test]
fn alerts_and_where_they_are_seen_are_read() {
    let text = BASE
        .replace("    instances: 3\n", "    instances: 3\n    first-port: 9101\n")
        .replace(
            "expect:\n",
            r#"observe:
  alertmanager: { url: "https://alerts.example.org/am/", authorization: "Bearer ${TOKEN}", tls: { insecure: true } }
  prometheus: http://127.0.0.1:9090
expect:
  - alert: { name: Down, fires-within: 30s }
  - alert: { name: Down, labels: { instance: "{instance}" }, fires-within: 30s, resolves-within: 1m, fault: kill, ignore: Watchdog }
"#,
        );
    let env = |name: &str| (name == "TOKEN").then(|| "hunter2".to_string());
    let scenario = parse("x.yaml", &text, Path::new("."), &env).unwrap_or_else(|p| panic!("{p}"));
    let errors: Vec<_> = schema()
        .iter_errors(&as_json(&text))
        .map(|e| e.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    let Target::Local(local) = &scenario.target else {
        panic!("not local");
    };
    assert_eq!(local.first_port, Some(9101));
    let alertmanager = scenario.observe.alertmanager.as_ref().unwrap();
    assert_eq!(alertmanager.url, "https://alerts.example.org/am");
    let authorization = alertmanager.authorization.as_ref().unwrap();
    assert_eq!(authorization.reveal(), "Bearer hunter2");
    assert!(alertmanager.tls.insecure);
    let json = serde_json::to_string(&scenario).unwrap();
    assert!(!json.contains("hunter2"), "{json}");
    let [Expectation::Alert(short), Expectation::Alert(long), ..] = scenario.expect.as_slice()
    else {
        panic!("no alerts in {:?}", scenario.expect);
    };
    assert_eq!((short.resolves_within, &short.fault), (None, &None));
    assert_eq!(long.resolves_within, Some(Duration::from_secs(60)));
    assert_eq!(long.fault.as_deref(), Some("kill"));
    assert_eq!(long.ignore, ["Watchdog"]);
    assert_eq!(long.labels["instance"], AlertExpectation::INSTANCE);
    let mut masked = round_trip(&scenario);
    assert_eq!(masked.expect, scenario.expect);
    masked.observe = scenario.observe.clone();
    assert_eq!(masked, scenario);
}

fn round_trip(scenario: &Scenario) -> Scenario {
    let json = serde_json::to_string(scenario).unwrap();
    serde_json::from_str(&json).unwrap()
}

#[test]
fn shipped_scenarios_survive_the_record() {
    for (path, _) in shipped() {
        let mut scenario = scenario::load(&path, &no_env).unwrap();
        scenario
            .secrets
            .insert("token".into(), Secret::new("hunter2"));
        let mut back = round_trip(&scenario);
        assert_eq!(back.secrets["token"].reveal(), "***");
        back.secrets.clone_from(&scenario.secrets);
        assert_eq!(back, scenario, "{}", path.display());
    }
}

#[test]
fn what_init_writes_is_valid() {
    let targets = [
        InitTarget::Command("squall demo --port {port}".into()),
        InitTarget::Command("python3 -m 'http.server' \"$PORT\"".into()),
        InitTarget::Url("https://example.org/api".into()),
    ];
    let loads = [
        InitLoad::Rate(Rate::per_second(100.0)),
        InitLoad::Rate(Rate::per_second(0.5)),
        InitLoad::Users(20),
    ];
    let schema = schema();
    for target in &targets {
        for load in loads {
            for (seconds, kill) in [(1, true), (30, true), (600, false)] {
                let options = InitOptions {
                    name: "it's \"new\": #1".into(),
                    target: target.clone(),
                    load,
                    duration: std::time::Duration::from_secs(seconds),
                    path: "some path/{{ x }}?q=1".into(),
                    kill,
                };
                let text = scenario::init(&options);
                let made = read(&text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
                assert_eq!(made.name, options.name);
                assert_eq!(made.duration(), options.duration);
                let local = matches!(target, InitTarget::Command(_));
                assert_eq!(made.faults.len(), usize::from(kill && local));
                assert!(schema.is_valid(&as_json(&text)), "{text}");
            }
        }
    }
}

/// A scenario for a cluster with these lines as its fault.
fn in_cluster(fault: &str) -> String {
    let local =
        "  local:\n    name: shop\n    command: squall demo --port {port}\n    instances: 3\n";
    assert!(BASE.contains(local));
    BASE.replace(local, "  kubernetes: { service: front }\n")
        .replace("    kill: { pick: 1 }\n", fault)
}

#[test]
fn faults_of_a_cluster_are_read_and_survive_the_record() {
    let schema = schema();
    let fault = |text: &str| {
        let text = in_cluster(text);
        let made = read(&text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        let errors: Vec<_> = schema
            .iter_errors(&as_json(&text))
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{text}: {errors:?}");
        assert_eq!(round_trip(&made), made);
        made.faults[0].clone()
    };
    let made = fault(
        "    when: ready >= 2\n    after: rollout\n    within: 9s\n    cpu-stress: { owner: StatefulSet/db, ready: true }\n",
    );
    let when = made.when.unwrap();
    assert_eq!(
        (when.ready, when.after_rollout),
        (Some((Op::AtLeast, 2)), true)
    );
    assert_eq!(when.within, Some(std::time::Duration::from_secs(9)));
    assert!(made.select.ready && made.select.labels["squall.owner"] == "StatefulSet/db");
    assert!(matches!(made.kind, FaultKind::CpuStress { workers: 1, .. }));
    for (text, expected) in [
        ("partition:", Direction::Both),
        ("partition: { from: { app: a } }", Direction::Ingress),
        ("partition: { to: { app: a } }", Direction::Egress),
        (
            "partition: { from: { app: a }, to: { app: b } }",
            Direction::Both,
        ),
        (
            "partition: { direction: both, to: { app: b } }",
            Direction::Both,
        ),
    ] {
        let made = fault(&format!("    {text}\n")).kind;
        assert!(
            matches!(made, FaultKind::Partition { direction, .. } if direction == expected),
            "{text}: {made:?}"
        );
    }
    for (text, is) in [
        ("delay: { latency: 200ms, zone: z1 }", "delay"),
        ("black-hole:", "black-hole"),
        ("loss: { share: 12.5%, pick: all }", "loss"),
        ("dns-fault:", "dns-fault"),
        (
            "dns-fault: { answer: random, domains: [ \"cart.*\" ] }",
            "dns-fault",
        ),
        (
            "io-delay: { latency: 1s, volume: /data, share: 7% }",
            "io-delay",
        ),
        (
            "io-error: { errno: ENOSPC, volume: /data, path: /data/wal, container: db }",
            "io-error",
        ),
    ] {
        assert_eq!(fault(&format!("    {text}\n")).kind.name(), is);
    }
    for (text, is_behind) in [("ahead", false), ("behind", true)] {
        let made = fault(&format!("    clock-skew: {{ {text}: 5m }}\n")).kind;
        assert!(
            matches!(made, FaultKind::ClockSkew { offset, behind, .. }
                if behind == is_behind && offset == Duration::from_secs(300)),
            "{made:?}"
        );
    }
    fault("    node-loss: { node: n2, down: \"off {node}\", up: \"on {node}\" }\n");
    for (text, says) in [
        (
            "    partition: { direction: egress, from: { a: b } }\n",
            "`from` says nothing about that direction",
        ),
        (
            "    memory-stress: { size: 0B }\n",
            "`0B` is not a size above 0B",
        ),
        (
            "    kill:\n",
            "`kill` cannot be done to a `kubernetes` target",
        ),
        ("    drop:\n", "black-hole, pod-kill"),
        (
            "    dns-fault: { domains: [ a, \"*.shop\" ] }\n",
            "the `*` is not at the end of the name",
        ),
        ("    io-error: { volume: data }\n", "`data` is not a path"),
        (
            "    clock-skew: { ahead: 1m, behind: 1m }\n",
            "`behind` cannot stand together with `ahead`",
        ),
        (
            "    io-delay: { latency: 1s, volume: /data, share: 0.5% }\n",
            "Chaos Mesh counts whole percent",
        ),
    ] {
        let problems = read(&in_cluster(text)).unwrap_err().to_string();
        assert!(
            problems.contains(says) && problems.contains("1 problem "),
            "{problems}"
        );
    }
}

/// A valid scenario with a few pieces cut out, doubled or replaced.
fn mutated() -> impl Strategy<Value = String> {
    let bases: Vec<String> = shipped()
        .into_iter()
        .map(|(_, text)| text)
        .chain([BASE.to_string()])
        .collect();
    let words = prop::sample::select(vec![
        "",
        " ",
        "\n",
        ":",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        "&a ",
        "*a",
        "<<: *a",
        "!!int ",
        "|\n",
        "{{",
        "}}",
        "${",
        "${X}",
        "$$",
        "0",
        "-1",
        "99999999999999999999",
        "1e400",
        ".nan",
        "500/s",
        "0s",
        "1e9h",
        "9999999h",
        "%",
        "100%",
        "null",
        "true",
        "p99 <",
        "errors",
        "stages: []",
        "choose: [{}]",
        "kill:",
        "\t",
        "\u{feff}",
        "é",
        "\r\n",
        "---\n",
        "#",
        "? ",
        "x-",
        "random(1,2)",
        "random(",
        "1s..",
        "exp(",
    ]);
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, words), 1..6);
    (prop::sample::select(bases), edits).prop_map(|(mut text, edits)| {
        for (place, cut, word) in edits {
            let mut chars: Vec<char> = text.chars().collect();
            let at = place.index(chars.len() + 1);
            let end = (at + cut).min(chars.len());
            chars.splice(at..end, word.chars());
            text = chars.into_iter().collect();
        }
        text
    })
}

/// A valid scenario with a few of its words replaced by others: often valid still, in a way nobody thought of.
fn reworded() -> impl Strategy<Value = String> {
    let bases: Vec<String> = shipped()
        .into_iter()
        .map(|(_, text)| text)
        .chain([BASE.to_string()])
        .collect();
    let word = || regex::Regex::new(r#"[^\s{}\[\],:"'#]+"#).expect("a valid expression");
    let mut words: Vec<String> = [
        "0",
        "1",
        "007",
        "1.5",
        "1.",
        ".5",
        "-1",
        "+1",
        "1e3",
        "0x10",
        "0s",
        "5.s",
        "1m30s",
        "1m 30s",
        "1h",
        "250us",
        "0.0s",
        "100%",
        "100.0%",
        "0%",
        "00.5%",
        "100.1%",
        "30/min",
        "0/s",
        "4KiB",
        "2xx",
        "6xx",
        "99",
        "600",
        "all",
        "tcp",
        "never",
        "true",
        "True",
        "null",
        "~",
        "\"\"",
        "\"5\"",
        "\"< 1s\"",
        "\"== 5kB\"",
        "1s..2s",
        "exp(1s)",
        "p0",
        "p99.99",
        "p100",
        "p1e1",
        "p99<=1s",
        "errors<1%",
        "errors == 0%",
        "max >= 5ms",
        "$.a",
        "$",
        "/",
        "/a?b",
        "https://x",
        "http://",
        "::1",
        "1.1",
        "{}",
        "[]",
        "é",
    ]
    .map(String::from)
    .to_vec();
    for text in &bases {
        words.extend(word().find_iter(text).map(|m| m.as_str().to_string()));
    }
    let edits = prop::collection::vec(
        (any::<prop::sample::Index>(), prop::sample::select(words)),
        1..3,
    );
    (prop::sample::select(bases), edits).prop_map(move |(mut text, edits)| {
        for (place, by) in edits {
            let found: Vec<_> = word().find_iter(&text).map(|m| m.range()).collect();
            text.replace_range(place.get(&found).clone(), &by);
        }
        text
    })
}

/// Parses, prints what is wrong, takes what is right through the record, and holds it against the schema.
fn survives(text: &str) {
    thread_local!(static SCHEMA: jsonschema::Validator = schema());
    match read(text) {
        Ok(scenario) => {
            assert_eq!(round_trip(&scenario), scenario);
            let json = as_json(text);
            let errors: Vec<_> =
                SCHEMA.with(|s| s.iter_errors(&json).map(|e| e.to_string()).collect());
            assert!(errors.is_empty(), "{errors:?}\n{text}");
        }
        Err(problems) => {
            assert!(!problems.list.is_empty());
            let shown = problems.to_string();
            assert!(!shown.contains("its own mistake"), "{shown}\n{text}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn any_text_is_survived(text in "\\PC{0,200}") {
        survives(&text);
    }

    #[test]
    fn any_yaml_like_text_is_survived(text in "([a-c]{1,3}: ?|- |\\{|\\}|\\[|\\]|[\"']|[&*][ab] ?|\n {0,4}|[|>][-+]?|!|#|%|,|\\?|\t|---|<<: ){0,60}") {
        survives(&text);
    }

    #[test]
    fn any_other_word_is_survived(text in reworded()) {
        survives(&text);
    }

    #[test]
    fn any_change_of_a_valid_scenario_is_survived(text in mutated()) {
        survives(&text);
    }
}
