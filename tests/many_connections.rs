//! More kept-alive connections to one address than one source address has ports for, and more open files than a process
//! is given by itself.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Bench, SQUALL, demo, peak_memory, wait_bounded};
use rustix::process::{Resource, getrlimit};
use serde_json::Value;

const SOURCES: [&str; 2] = ["127.0.0.2", "127.0.0.3"];

/// So many users, each of whom asks for something at least twice.
fn scenario(address: &str, users: u64, sources: &[&str]) -> Bench {
    let sources = sources.join(", ");
    Bench::new(&format!(
        "squall: 1
name: many connections
seed: 1
target: {{ url: \"http://{address}\" }}
run: {{ threads: 1 }}
traffic:
  main:
    users: {{ count: {users}, ramp: 20s, hold: 25s, think: 10s }}
    connections: {{ source: [{sources}] }}
    timeout: 60s
    journey:
      - get: /healthz
        check: {{ status: 200 }}
"
    ))
}

fn number(file: &str, which: usize) -> u64 {
    let text = std::fs::read_to_string(file).unwrap();
    text.split_whitespace().nth(which).unwrap().parse().unwrap()
}

/// A bit of the capabilities that this process has.
fn may(capability: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    u64::from_str_radix(line.unwrap().trim(), 16).unwrap() & (1 << capability) != 0
}

/// Lets a process make a network of its own.
const CAP_SYS_ADMIN: u32 = 21;
/// Lets a process raise its hard limits.
const CAP_SYS_RESOURCE: u32 = 24;

/// Why so many files cannot be open in one process, if so.
fn no_room_for(files: u64) -> Option<String> {
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let kernel = number("/proc/sys/fs/nr_open", 0);
    let room = files <= hard || may(CAP_SYS_RESOURCE) && files <= kernel;
    (!room).then(|| format!("{files} open files in one process: its hard limit is {hard}, and not even root may raise it here"))
}

/// Connections to the server that are established now, by the address that they come from, as the kernel lists them in
/// the network of a process. It lists them in pieces, and one that moves meanwhile may be in two: each counts once.
fn established(process: u32, address: &str) -> BTreeMap<String, u64> {
    let server: SocketAddrV4 = address.parse().unwrap();
    let port = format!(":{:04X}", server.port());
    let list = std::fs::read_to_string(format!("/proc/{process}/net/tcp")).unwrap_or_default();
    let mut sources = BTreeSet::new();
    for line in list.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().take(4).collect();
        let [_, from, to, "01"] = fields[..] else {
            continue;
        };
        if to.ends_with(&port) {
            sources.insert(from);
        }
    }
    let mut found = BTreeMap::new();
    for from in sources {
        // Little-endian: 0200007F is 127.0.0.2.
        let address = u32::from_str_radix(&from[..8], 16).unwrap().to_le_bytes();
        *found
            .entry(Ipv4Addr::from(address).to_string())
            .or_default() += 1;
    }
    found
}

/// Runs with these words before the command; for what is refused before anything is started.
fn refused(bench: &Bench, before: &[&str]) -> String {
    let child = Command::new(before[0])
        .args(&before[1..])
        .args([SQUALL, "run", "scenario.yaml", "--out", "out"])
        .current_dir(bench.dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = wait_bounded(child, Duration::from_secs(60));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!bench.path("out").exists(), "nothing was begun: {said}");
    said
}

#[test]
fn what_cannot_fit_is_refused_with_what_to_do() {
    let range = "/proc/sys/net/ipv4/ip_local_port_range";
    let users = number(range, 1) - number(range, 0) + 2;
    let said = refused(&scenario("127.0.0.1:1", users, &SOURCES[..1]), &["env"]);
    assert!(
        said.contains(&format!("up to {users} connections")),
        "{said}"
    );
    assert!(
        said.contains("1 source address(es)") && said.contains("add addresses"),
        "{said}"
    );

    // Not even root gets more than the limit without the right to raise it; nobody else ever has that right.
    let limit = ["prlimit", "--nofile=1000:1000"];
    let without = ["setpriv", "--bounding-set=-sys_resource"];
    let words = if may(CAP_SYS_RESOURCE) {
        [limit, without].concat()
    } else {
        limit.to_vec()
    };
    let said = refused(&scenario("127.0.0.1:1", 1_000, &SOURCES), &words);
    assert!(
        said.contains("need 1000 open files") && said.contains("may have 1000"),
        "{said}"
    );
    assert!(said.contains("`ulimit -Hn 1100`"), "{said}");
}

/// Runs users over two sources in a network of their own, whose addresses have so many ports each: fewer than there are
/// users. squall begins with the limit of open files that it is given.
fn stay_open(ports: u64, users: u64, limit: &str) {
    let script = format!(
        "ip link set lo up && echo {} {} >/proc/sys/net/ipv4/ip_local_port_range && ulimit -n {} && exec \"$@\"",
        20_000,
        20_000 + ports - 1,
        users + 500
    );
    let (shop, address) = demo(&["unshare", "--net", "sh", "-c", &script, "sh"], &[]);
    let server = shop.0.id();
    let bench = scenario(&address, users, &SOURCES);
    let child = Command::new("nsenter")
        .args([
            &format!("--net=/proc/{server}/ns/net"),
            "prlimit",
            &format!("--nofile={limit}"),
        ])
        .args([SQUALL, "run", "scenario.yaml", "--quiet", "--out", "out"])
        .current_dir(bench.dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let watch = std::thread::spawn(move || {
        let (mut memory, mut at_once) = (0, BTreeMap::new());
        while let Some(now) = peak_memory(pid) {
            memory = now.max(memory);
            let connections = established(server, &address);
            if connections.values().sum::<u64>() > at_once.values().sum() {
                at_once = connections;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        drop(shop);
        (memory, at_once)
    });
    let run = bench.wait(child);
    let (memory_kib, at_once) = watch.join().unwrap();
    run.expect_completed();

    let all = run.result()["summary"]["all"].clone();
    let count = |key: &str| {
        all[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key} in {all:#}"))
    };
    assert_eq!(count("failed"), 0, "{all:#}");
    let opened: u64 = run.events().iter().filter_map(opened).sum();
    assert_eq!(opened, users, "each user opened one connection, once");
    assert!(count("ended") >= 2 * users, "and used it again: {all:#}");
    // The kernel's own list: all at once, as many from one address as from the other.
    let (even, odd) = (users.div_ceil(2), users / 2);
    let expected = SOURCES.map(str::to_string).into_iter().zip([even, odd]);
    assert_eq!(at_once, expected.collect());

    println!(
        "{users} connections at once: {} MiB at most",
        memory_kib >> 10
    );
    assert!(
        memory_kib < 12 * users,
        "{memory_kib} KiB for {users} users"
    );
}

/// The same as below within the files that a process may have anywhere: with fewer ports instead of more users.
#[test]
fn more_connections_than_an_address_has_ports_stay_open_over_two() {
    let users = 15_000;
    if let Some(why) = no_room_for(users + 500) {
        skip!("{why}");
    }
    if !may(CAP_SYS_ADMIN) {
        skip!("a network of its own needs root (CAP_SYS_ADMIN)");
    }
    let hard = getrlimit(Resource::Nofile)
        .maximum
        .map_or(users + 500, |hard| hard.max(users + 500));
    stay_open(8_000, users, &format!("1000:{hard}"));
}

/// squall raises the hard limit itself. No machine lacks anything when this is not allowed, so that it is left out there
/// even where all tests must run.
#[test]
fn thirty_thousand_connections_stay_open() {
    let users = 30_500;
    if let Some(why) =
        no_room_for(users + 500).or((!may(CAP_SYS_ADMIN)).then(|| "no network of its own".into()))
    {
        eprintln!("SKIPPED thirty_thousand_connections_stay_open: {why}");
        return;
    }
    let limit = if may(CAP_SYS_RESOURCE) {
        "1000:1000"
    } else {
        "1000:"
    };
    stay_open(28_232, users, limit);
}

/// Connections that a second of the record counts.
fn opened(event: &Value) -> Option<u64> {
    let steps = event["steps"]
        .as_array()
        .filter(|_| event["kind"] == "traffic")?;
    Some(
        steps
            .iter()
            .filter_map(|step| step["connections"].as_u64())
            .sum(),
    )
}
