//! The main job, on real processes: traffic, a fault, a verdict. A broken service must FAIL before a healthy one may
//! PASS.

mod common;

use std::time::Duration;

use common::{Bench, read_json};

/// Three instances of the demo with these flags, traffic for so long, these faults and expectations.
fn shop(demo_flags: &str, hold: &str, faults: &str, expect: &str) -> String {
    format!(
        "squall: 1
name: end to end
seed: 7
target:
  local:
    name: shop
    command: squall demo --port {{port}} {demo_flags}
    instances: 3
    env: {{ SQUALL_TEST: MARK }}
    ready: {{ http: /readyz, every: 100ms, timeout: 500ms, failures: 2 }}
    stop-grace: 3s
    restart: {{ backoff: 500ms }}
traffic:
  browse:
    arrivals: {{ rate: 150/s, process: poisson, hold: {hold} }}
    timeout: 2s
    journey:
      - get: /products
        check: {{ status: 200, body: {{ contains: items }} }}
        extract: {{ id: '$.items[0].id' }}
      - get: '/products/{{{{ id }}}}'
      - post: /cart
        json: {{ id: '{{{{ id }}}}' }}
        check: {{ status: 201 }}
faults: {faults}
guard: {{ keep-ready: 1 }}
expect: {expect}
run: {{ graceful-stop: 3s }}
"
    )
}

const KILL: &str = "[ { at: 4s, kill: { name: shop-2 } } ]";

/// Each of the three is killed once.
const EACH: &str = "[ { at: 4s, every: 7s, kill: { pick: each } } ]";

#[test]
fn an_instance_that_cannot_be_lost_fails_by_name_and_three_that_can_pass() {
    let spread = "[ spread: { errors: 3%, within: 6s } ]";
    // None comes back: the first two are not missed, the last one is.
    let text = shop("", "26s", EACH, spread)
        .replace("restart: { backoff: 500ms }", "restart: never")
        .replace("guard: { keep-ready: 1 }", "guard: {}");
    let (verdict, because) = Bench::new(&text)
        .run_conclusive()
        .expect_code(1)
        .verdict("spread");
    eprintln!("{because}");
    assert_eq!(verdict, "FAIL");
    assert!(
        because.contains("instance shop-3 cannot be lost"),
        "{because}"
    );

    let run = Bench::new(&shop("", "26s", EACH, spread)).run_conclusive();
    let (_, because) = run.expect_code(0).verdict("spread");
    eprintln!("{because}");
    assert!(
        because.contains("each of 3 instances was lost and not missed"),
        "{because}"
    );
    // Once each, and no more, though there is time for a fourth.
    let faults = run.result()["summary"]["faults"].clone();
    let hit: Vec<&str> = faults
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["instances"][0].as_str().unwrap())
        .collect();
    assert_eq!(hit, ["shop-1", "shop-2", "shop-3"]);
}

#[test]
fn a_slow_instance_fails_the_latency_bound_and_is_named() {
    let run = Bench::new(&shop(
        "--defect slow:300ms --defect-on shop-3",
        "6s",
        "[]",
        "[ 'p90 < 150ms' ]",
    ))
    .run_conclusive();
    run.expect_code(1);
    let (verdict, because) = run.verdict("p90 < 150ms");
    assert_eq!(verdict, "FAIL");
    assert!(because.contains("shop-3"), "names the slow one: {because}");
    assert!(because.contains("ms"), "says how much: {because}");
}

#[test]
fn who_served_is_known_to_squalls_own_balancer_where_no_answer_says_it() {
    let counts = tempfile::tempdir().unwrap();
    let flags = format!("--counter-file {}/{{instance}}", counts.path().display());
    for transport in ["lean", "reqwest"] {
        // The drained shop ends in order: what its processes have counted is all that they answered.
        let text = shop(&flags, "6s", "[ { at: 2s, stop: { name: shop-2 } } ]", "[]")
            .replace(
                "  local:\n",
                "  local:\n    instance-header: x-nobody-sends-this\n",
            )
            .replace(
                "  browse:\n",
                // New connections all the time, so that the replacement gets some.
                &format!(
                    "  browse:\n    transport: {transport}\n    connections: {{ pooled: 20, max-age: 300ms }}\n"
                ),
            );
        let run = Bench::new(&text).run();
        // A busy machine is no matter here: what is counted is counted.
        let result = run.result();
        let summary = &result["summary"];
        let instances = summary["instances"].as_array().unwrap();
        assert_eq!(instances.len(), 4, "shop-2 comes again");
        for instance in instances {
            let name = instance["name"].as_str().unwrap();
            let bytes = std::fs::read(counts.path().join(name)).unwrap();
            let finished = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
            assert!(finished > 0, "{name}");
            assert_eq!(instance["answered"], finished, "{transport}: {name}");
            assert!(instance["connections"].as_u64().unwrap() > 0, "{instance}");
        }
        let fault = &summary["faults"][0];
        assert!(fault["first_served_us"].is_u64(), "{fault}");
    }
}

#[test]
fn a_failing_service_fails_the_error_bound_with_the_status() {
    let run =
        Bench::new(&shop("--defect errors:5%", "6s", "[]", "[ 'errors < 1%' ]")).run_conclusive();
    run.expect_code(1);
    let (verdict, because) = run.verdict("errors < 1%");
    assert_eq!(verdict, "FAIL");
    let result = run.result();
    let ratio = result["summary"]["all"]["error_ratio"].as_f64().unwrap();
    assert!(
        (0.04..0.06).contains(&ratio),
        "one in twenty fails: {ratio}"
    );
    assert!(
        because.contains("status 500"),
        "names the status: {because}"
    );
}

#[test]
fn a_service_that_does_not_come_back_fails_recovery() {
    let marker = tempfile::tempdir().unwrap();
    let flags = format!(
        "--defect dies-on-restart --marker {}/{{instance}}",
        marker.path().display()
    );
    // The marker of a first start is named by the slot, which the instance's name is then.
    let flags = flags.replace("{instance}", "{slot}");
    let run = Bench::new(&shop(
        &flags,
        "14s",
        KILL,
        "[ { recovery: { within: 5s, slo: [ 'errors < 1%' ] } } ]",
    ))
    .run_conclusive();
    run.expect_code(1);
    let (verdict, because) = run.verdict("recovery");
    assert_eq!(verdict, "FAIL");
    assert!(because.contains("shop-2"), "{because}");
}

#[test]
fn a_healthy_service_passes_and_is_judged_the_same_from_its_record() {
    let bench = Bench::new(&shop(
        "",
        "14s",
        KILL,
        "[ 'p50 < 100ms', 'errors < 5%', { recovery: { within: 8s, slo: [ 'errors < 1%' ] } } ]",
    ));
    let run = bench.run_conclusive();
    run.expect_code(0);
    assert_eq!(run.verdict("recovery").0, "PASS");
    for file in [
        "record.jsonl",
        "intervals.hlog",
        "ledger.jsonl",
        "report.html",
        "junit.xml",
        "summary.md",
    ] {
        assert!(run.out.join(file).exists(), "{file}");
    }
    let page = std::fs::read_to_string(run.out.join("report.html")).unwrap();
    assert!(page.contains("<svg"), "charts are in the page");

    let first = read_json(&run.out.join("result.json"));
    let again = bench.command(&["judge", "out", "--json"]).output().unwrap();
    assert_eq!(again.status.code(), Some(0));
    let again: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(first, again, "judged again from the record");
    let before = std::fs::read(run.out.join("report.html")).unwrap();
    let report = bench.command(&["report", "out"]).output().unwrap();
    assert_eq!(report.status.code(), Some(0));
    assert_eq!(before, std::fs::read(run.out.join("report.html")).unwrap());
    assert!(bench.gone_within(Duration::from_secs(2)), "nothing is left");
}

#[test]
fn the_kill_is_seen_on_one_clock() {
    let run = Bench::new(&shop("", "10s", KILL, "[ 'errors < 50%' ]")).run();
    run.expect_completed();
    let events = run.events();
    let at = |find: &dyn Fn(&serde_json::Value) -> bool| {
        events
            .iter()
            .find(|e| find(e))
            .unwrap_or_else(|| panic!("event not found in {events:#?}"))["t_us"]
            .as_u64()
            .unwrap()
    };
    let traffic = at(&|e| e["kind"] == "phase" && e["phase"] == "traffic");
    let injecting = at(&|e| e["kind"] == "fault" && e["stage"] == "injecting");
    let injected = at(&|e| e["kind"] == "fault" && e["stage"] == "injected");
    let ended = at(&|e| e["kind"] == "instance" && e["name"] == "shop-2" && e["state"] == "ended");
    let removed = at(&|e| {
        e["kind"] == "endpoints"
            && e["t_us"].as_u64().unwrap() >= injecting
            && !e["ready"].as_array().unwrap().contains(&"shop-2".into())
    });
    let replaced =
        at(&|e| e["kind"] == "instance" && e["name"] == "shop-2-r1" && e["state"] == "ready");
    assert!(injecting >= traffic + 4_000_000, "not before its time");
    assert!(injecting < traffic + 4_500_000, "nor long after");
    assert!(injecting <= injected && ended >= injecting && removed >= injecting);
    assert!(ended < injecting + 1_000_000 && removed < injecting + 1_000_000);
    assert!(replaced > ended + 400_000, "the backoff is kept");
}

#[test]
fn requests_served_equal_requests_recorded_as_answered() {
    let counters = tempfile::tempdir().unwrap();
    let flags = format!("--counter-file {}/{{instance}}", counters.path().display());
    let run = Bench::new(&shop(
        &flags,
        "12s",
        "[ { at: 3s, kill: { name: shop-2 } }, { at: 6s, stop: { name: shop-3, grace: 5s } } ]",
        "[ 'errors < 50%' ]",
    ))
    .run();
    run.expect_completed();
    let result = run.result();
    let mut seen = 0;
    for instance in result["summary"]["instances"].as_array().unwrap() {
        let name = instance["name"].as_str().unwrap();
        let answered = instance["answered"].as_u64().unwrap();
        let bytes = std::fs::read(counters.path().join(name)).unwrap();
        let word = |i: usize| u64::from_le_bytes(bytes[i * 8..i * 8 + 8].try_into().unwrap());
        let (begun, finished) = (word(0), word(1));
        seen += answered;
        if name == "shop-2" {
            // Killed: a response that was under way is either an answer or an error, never both or neither.
            assert!(
                finished <= answered + instance["failed"].as_u64().unwrap(),
                "{name}"
            );
            assert!(answered <= begun, "{name}: {answered} of {begun}");
        } else {
            assert_eq!(answered, finished, "{name}");
            assert_eq!(begun, finished, "{name}");
        }
    }
    let all = &result["summary"]["all"];
    assert_eq!(
        seen,
        all["answered"].as_u64().unwrap(),
        "every answer is somebody's"
    );
    let failed = all["failed"].as_u64().unwrap();
    assert_eq!(
        all["ended"].as_u64().unwrap(),
        all["answered"].as_u64().unwrap() + failed - answered_failures(all),
    );
    assert_eq!(
        all["due"].as_u64(),
        all["ended"].as_u64(),
        "nothing is lost"
    );
}

/// Failures that were answered (status, check): in both counts.
fn answered_failures(all: &serde_json::Value) -> u64 {
    ["status", "check"]
        .iter()
        .filter_map(|kind| all["errors"][kind].as_u64())
        .sum()
}
