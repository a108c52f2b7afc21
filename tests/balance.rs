//! Balance on real processes: a real HAProxy or nginx that favours an instance must FAIL before one that does not may PASS.

mod common;

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Bench, Ends, Run, demo, free_port, within};

/// A real balancer before three shops.
struct Balancer {
    _processes: Vec<Ends>,
    port: u16,
}

fn has(program: &str) -> bool {
    Command::new(program)
        .arg("-v")
        .output()
        .is_ok_and(|v| v.status.success())
}

impl Balancer {
    /// `command` starts it at a port, before these addresses.
    fn start(defects: [&[&str]; 3], command: impl Fn(u16, &[String]) -> Command) -> Self {
        let shops = (1..).zip(defects).map(|(i, defects)| {
            let name = format!("shop-{i}");
            demo(&[], &[&["--instance", name.as_str()], defects].concat())
        });
        let (mut processes, addresses): (Vec<_>, Vec<_>) = shops.unzip();
        // A balancer does not tell which free port it took: another process may be first, so a second and third try.
        for _ in 0..3 {
            let port = free_port();
            let mut child = command(port, &addresses)
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
        panic!("the balancer did not come up in three tries");
    }

    /// HAProxy in TCP mode: how it chooses, and the shops' weights.
    fn haproxy(bench: &Bench, balance: &str, weights: [u32; 3]) -> Self {
        Self::start([&[]; 3], |port, addresses| {
            let servers = addresses.iter().zip(weights).enumerate();
            let servers: String = servers
                .map(|(i, (address, weight))| format!("  server s{i} {address} weight {weight}\n"))
                .collect();
            let config = format!(
                "global\n  maxconn 2000\n\
                 defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
                 listen shop\n  bind 127.0.0.1:{port}\n  balance {balance}\n{servers}"
            );
            let file = bench.path("haproxy.cfg");
            std::fs::write(&file, config).unwrap();
            // -db: in the foreground, in one process.
            let mut command = Command::new("haproxy");
            command.arg("-db").arg("-f").arg(&file);
            command
        })
    }

    /// nginx, which chooses for each request: how, and what is said of each shop.
    fn nginx(bench: &Bench, choice: &str, servers: [&str; 3], defects: [&[&str]; 3]) -> Self {
        Self::start(defects, |port, addresses| {
            let servers = addresses.iter().zip(servers);
            let servers: String = servers
                .map(|(address, more)| format!("server {address} {more};\n"))
                .collect();
            let dir = bench.dir.path().display();
            let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|of| format!("{of}_temp_path {dir}/nginx-{of};\n"))
                .concat();
            // One process, so that one turn is taken by all and the end of it is the end of all.
            let config = format!(
                "daemon off;\nmaster_process off;\nworker_processes 1;\npid {dir}/nginx.pid;\nerror_log {dir}/nginx.log;\n\
                 events {{ worker_connections 2000; }}\n\
                 http {{\naccess_log off;\n{temporary}\
                 upstream shop {{\n{choice}\n{servers}keepalive 64;\n}}\n\
                 server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://shop; proxy_http_version 1.1; \
                 proxy_set_header Connection ''; }} }}\n}}\n"
            );
            let file = bench.path("nginx.conf");
            std::fs::write(&file, config).unwrap();
            let mut command = Command::new("nginx");
            command.arg("-c").arg(&file).arg("-p").arg(bench.dir.path());
            command
        })
    }

    /// A run against it with this traffic and these expectations.
    fn run(&self, bench: &Bench, traffic: &str, expect: &str) -> Run {
        let scenario = format!(
            "squall: 1\nname: balance\nseed: 1\ntarget: {{ url: 'http://127.0.0.1:{}' }}\n{traffic}expect: [ {expect} ]\n",
            self.port
        );
        std::fs::write(bench.path("scenario.yaml"), scenario).unwrap();
        bench.run()
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
    Balancer::haproxy(&bench, balance, weights).run(&bench, TRAFFIC, expect)
}

const OF_THREE: &str = "{ balance: { by: connection, instances: 3 } }";

#[test]
fn all_to_one_instance_fails() {
    if !has("haproxy") {
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
    if !has("haproxy") {
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
    if !has("haproxy") {
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

/// Each user keeps one connection to nginx, which chooses for each request on it.
const REQUESTS: &str = "traffic:
  browse:
    arrivals: { rate: 200/s, hold: 9s }
    journey: [ { get: /products } ]
run: { graceful-stop: 3s }
";

const REQUESTS_OF_THREE: &str = "{ balance: { by: request, instances: 3 } }";

/// A run against nginx: how it chooses, what is said of each shop, and what the second does wrong.
fn behind_nginx(choice: &str, servers: [&str; 3], second: &[&str], expect: &str) -> Run {
    let bench = Bench::new("");
    Balancer::nginx(&bench, choice, servers, [&[], second, &[]]).run(&bench, REQUESTS, expect)
}

#[test]
fn a_starved_or_favoured_server_of_nginx_fails() {
    if !has("nginx") {
        skip!("there is no nginx");
    }
    let starved = behind_nginx("", ["", "", "backup"], &[], REQUESTS_OF_THREE);
    starved.expect_code(1);
    let (verdict, because) = starved.verdict("balance");
    assert_eq!(verdict, "FAIL");
    assert!(
        because.contains("an instance that never answered got none of"),
        "{because}"
    );
    let favoured = behind_nginx("", ["weight=10", "", ""], &[], REQUESTS_OF_THREE);
    favoured.expect_code(1);
    let (verdict, because) = favoured.verdict("balance");
    assert_eq!(verdict, "FAIL");
    assert!(because.contains("fair share"), "{because}");
}

#[test]
fn ip_hash_of_nginx_fails_with_one_client_address_and_says_why() {
    if !has("nginx") {
        skip!("there is no nginx");
    }
    let run = behind_nginx("ip_hash;", [""; 3], &[], REQUESTS_OF_THREE);
    run.expect_code(1);
    assert_eq!(run.verdict("balance").0, "FAIL");
    let result = run.result().to_string();
    assert!(result.contains("client affinity"), "{result}");
}

#[test]
fn in_turn_by_nginx_passes_but_spares_no_slow_server() {
    if !has("nginx") {
        skip!("there is no nginx");
    }
    let run = behind_nginx("", [""; 3], &[], REQUESTS_OF_THREE);
    run.expect_code(0);
    let slow = ["--defect", "slow:60ms"];
    let spared = "{ balance: { by: request, kind: least-request, instances: 3 } }";
    let run = behind_nginx("", [""; 3], &slow, spared);
    run.expect_code(1);
    let (verdict, because) = run.verdict("balance");
    assert_eq!(verdict, "FAIL");
    assert!(because.contains("shop-2"), "{because}");
    // The one that has the fewest requests under way.
    let run = behind_nginx("least_conn;", [""; 3], &slow, spared);
    run.expect_code(0);
}
