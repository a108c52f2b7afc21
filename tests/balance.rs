//! Balance on real processes: a real HAProxy that favours an instance must FAIL before one that does not may PASS.

mod common;

use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Bench, Ends, Run, demo, within};

/// HAProxy in TCP mode before three shops: how it chooses, and the shops' weights.
struct Haproxy {
    _processes: Vec<Ends>,
    port: u16,
}

fn has_haproxy() -> bool {
    let version = Command::new("haproxy").arg("-v").output();
    version.is_ok_and(|v| v.status.success())
}

impl Haproxy {
    fn start(bench: &Bench, balance: &str, weights: [u32; 3]) -> Self {
        let mut processes = Vec::new();
        let mut servers = String::new();
        for (i, weight) in weights.into_iter().enumerate() {
            let (process, address) = demo(&[], &["--instance", &format!("shop-{}", i + 1)]);
            processes.push(process);
            servers.push_str(&format!("  server s{i} {address} weight {weight}\n"));
        }
        // HAProxy does not tell which free port it took: another process may be first, so a second and third try.
        for _ in 0..3 {
            let port = TcpListener::bind("127.0.0.1:0")
                .and_then(|l| l.local_addr())
                .unwrap()
                .port();
            let config = format!(
                "global\n  maxconn 2000\n\
                 defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
                 listen shop\n  bind 127.0.0.1:{port}\n  balance {balance}\n{servers}"
            );
            let file = bench.path("haproxy.cfg");
            std::fs::write(&file, config).unwrap();
            // -db: in the foreground, in one process.
            let mut child = Command::new("haproxy")
                .arg("-db")
                .arg("-f")
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let up = within(Duration::from_secs(10), || {
                TcpStream::connect(("127.0.0.1", port)).is_ok()
                    || child.try_wait().is_ok_and(|ended| ended.is_some())
            });
            let alive = child.try_wait().is_ok_and(|ended| ended.is_none());
            let child = Ends(child);
            if up && alive {
                processes.push(child);
                return Self {
                    _processes: processes,
                    port,
                };
            }
        }
        panic!("HAProxy did not come up in three tries");
    }
}

const TRAFFIC: &str = "traffic:
  browse:
    arrivals: { rate: 200/s, hold: 9s }
    connections: per-request
    journey: [ { get: /readyz } ]
run: { graceful-stop: 3s }
";

/// A run against HAProxy with this expectation.
fn behind_haproxy(balance: &str, weights: [u32; 3], expect: &str) -> Run {
    let bench = Bench::new("");
    let haproxy = Haproxy::start(&bench, balance, weights);
    let scenario = format!(
        "squall: 1\nname: balance\nseed: 1\ntarget: {{ url: 'http://127.0.0.1:{}' }}\n{TRAFFIC}expect: [ {expect} ]\n",
        haproxy.port
    );
    std::fs::write(bench.path("scenario.yaml"), scenario).unwrap();
    bench.run()
}

const OF_THREE: &str = "{ balance: { by: connection, instances: 3 } }";

#[test]
fn all_to_one_instance_fails() {
    if !has_haproxy() {
        skip!("there is no haproxy");
    }
    let run = behind_haproxy("source", [1, 1, 1], OF_THREE);
    run.expect_code(1);
    let (verdict, because) = run.verdict("balance");
    assert_eq!(verdict, "FAIL");
    assert!(
        because.contains("an instance that never answered got none of"),
        "{because}"
    );
    let result = run.result().to_string();
    assert!(result.contains("client affinity"), "{result}");
}

#[test]
fn a_favoured_instance_fails_and_is_named() {
    if !has_haproxy() {
        skip!("there is no haproxy");
    }
    let run = behind_haproxy("roundrobin", [10, 1, 1], OF_THREE);
    run.expect_code(1);
    let (verdict, because) = run.verdict("balance");
    assert_eq!(verdict, "FAIL");
    assert!(because.contains("shop-"), "{because}");
    assert!(because.contains("fair share"), "{because}");
}

#[test]
fn in_turn_passes_and_its_number_must_be_said() {
    if !has_haproxy() {
        skip!("there is no haproxy");
    }
    let run = behind_haproxy(
        "roundrobin",
        [1, 1, 1],
        &format!(
            "{OF_THREE}, {{ balance: {{ by: connection, instances: 2 }} }}, {{ balance: connection }}"
        ),
    );
    run.expect_code(3);
    let result = run.result();
    let verdicts: Vec<_> = result["verdicts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|v| v["oracle"] == "balance")
        .map(|v| v["verdict"].as_str().unwrap())
        .collect();
    // Three said and seen; two said, three seen; none said: one that got nothing could not be seen.
    assert_eq!(
        verdicts,
        ["PASS", "INCONCLUSIVE", "INCONCLUSIVE"],
        "{result:#}"
    );
}

#[test]
fn the_local_balancer_passes() {
    let run = Bench::new(&format!(
        "squall: 1\nname: balance\nseed: 1\ntarget:\n  local: {{ name: shop, command: 'squall demo --port {{port}}', \
         instances: 3, env: {{ SQUALL_TEST: MARK }}, ready: {{ http: /readyz, every: 100ms }} }}\n\
         {TRAFFIC}expect: [ balance: connection ]\n"
    ))
    .run();
    run.expect_code(0);
    assert_eq!(run.verdict("balance").0, "PASS");
}
