//! The scenarios that ship for clusters, run as they are against the demo shop as it is deployed.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::bed::{Bed, script, until_within};
use crate::enforcer::Enforcer;
use crate::harness::with_bed;
use crate::strain::processes;

/// The shop of `deploy/kubernetes/shop`, from the binary under test.
fn shop() {
    script("up.sh", &["--binary", env!("CARGO_BIN_EXE_squall")]);
}

/// Runs a shipped scenario; a machine that was too busy for the generator tells nothing, so once or twice more then.
fn run(bed: &Bed, name: &str) -> (i32, Value) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scenarios/kubernetes")
        .join(name);
    for _ in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("run");
        let ran = Command::new(env!("CARGO_BIN_EXE_squall"))
            .args(["run", "-q"])
            .args([&file, Path::new("--out"), &out])
            .env("KUBECONFIG", &bed.kubeconfig)
            // As the test cluster's controller manager has it.
            .env("HPA_SYNC", "5s")
            .output()
            .expect("squall");
        let said = String::from_utf8_lossy(&ran.stdout);
        eprintln!("{said}{}", String::from_utf8_lossy(&ran.stderr));
        let result = std::fs::read_to_string(out.join("result.json")).expect("a result");
        let result: Value = serde_json::from_str(&result).unwrap();
        match ran.status.code() {
            Some(3) => continue,
            code => return (code.unwrap_or(-1), result),
        }
    }
    panic!("{name}: inconclusive three times");
}

/// The shop with a front that takes 200 ms for an answer: one that takes a quarter of a millisecond is seldom caught
/// with a request in hand, whether it drains or not.
fn shop_with(bed: &Bed, defects: &[&str]) {
    shop();
    let add = |value: &str| json!({"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": value});
    let all = ["slow:200ms"].iter().chain(defects);
    let patch: Vec<Value> = all.flat_map(|d| [add("--defect"), add(d)]).collect();
    let patch = serde_json::to_string(&patch).unwrap();
    let front = [
        "-n",
        "shop",
        "patch",
        "deployment",
        "front",
        "--type=json",
        "-p",
    ];
    bed.kubectl(&[&front[..], &[&patch]].concat());
    settled(bed, 4);
}

/// Waits until the front is rolled out and has so many pods: what is still ending would be in the run's first seconds.
fn settled(bed: &Bed, front: usize) {
    bed.rolled_out("shop", "deployment/front", 90);
    until_within(180, "the pods of the front", || {
        pods(bed, "app=front") == front
    });
}

fn pods(bed: &Bed, label: &str) -> usize {
    let pods = bed.kubectl(&["-n", "shop", "get", "pods", "-l", label, "-o", "name"]);
    pods.lines().count()
}

/// The shop's pods made anew, on all nodes: where a node was drained they are all elsewhere.
fn spread_out(bed: &Bed) {
    bed.kubectl(&["-n", "shop", "delete", "pods", "--all"]);
    for name in ["front", "catalog", "cart"] {
        let deployment = format!("deployment/{name}");
        bed.rolled_out("shop", &deployment, 90);
    }
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn pod_kill() {
    with_bed(|bed| async move {
        shop_with(&bed, &["no-drain"]);
        let (code, result) = run(&bed, "pod-kill.yaml");
        assert_eq!(code, 1);
        let verdicts = result["verdicts"].as_array().unwrap();
        let recovery = verdicts.iter().find(|v| v["oracle"] == "recovery").unwrap();
        assert_eq!(recovery["verdict"], "FAIL");
        let because = recovery["because"].as_str().unwrap();
        assert!(
            because.contains("a graceful stop must cost no request"),
            "{because}"
        );

        shop_with(&bed, &[]);
        let (code, result) = run(&bed, "pod-kill.yaml");
        assert_eq!(code, 0);
        let faults = result["summary"]["faults"].as_array().unwrap();
        assert_eq!(faults.len(), 2);
        for fault in faults {
            for what in [
                "endpoint_removed_us",
                "last_request_us",
                "ready_again_us",
                "first_served_us",
            ] {
                assert!(fault[what].is_u64(), "{what}: {fault:#}");
            }
        }
        assert_eq!(faults[0]["failed_requests"], 0);
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn node_drain() {
    with_bed(|bed| async move {
        shop_with(&bed, &["no-drain"]);
        spread_out(&bed);
        let (code, result) = run(&bed, "node-drain.yaml");
        assert_eq!(code, 1);
        let failed = &result["summary"]["faults"][0]["failed_requests"];
        assert!(failed.as_u64().unwrap() > 0, "{failed}");

        shop_with(&bed, &[]);
        spread_out(&bed);
        let (code, result) = run(&bed, "node-drain.yaml");
        assert_eq!(code, 0, "{:#}", result["verdicts"]);
        let fault = &result["summary"]["faults"][0];
        assert_eq!(fault["stage"], "injected", "{fault:#}");
        assert!(fault["undone_us"].is_u64(), "{fault:#}");
        assert!(
            fault["instances"].as_array().unwrap().len() > 1,
            "{fault:#}"
        );
        let nodes = bed.json(&["get", "nodes"]);
        for node in nodes["items"].as_array().unwrap() {
            assert_ne!(node["spec"]["unschedulable"], true, "{node:#}");
        }
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn node_loss() {
    with_bed(|bed| async move {
        shop_with(&bed, &[]);
        spread_out(&bed);
        let (code, result) = run(&bed, "node-loss.yaml");
        let fault = &result["summary"]["faults"][0];
        let after = |what: &str| {
            let at = fault[what]
                .as_u64()
                .unwrap_or_else(|| panic!("no {what}: {fault:#}"));
            (at - fault["injected_us"].as_u64().unwrap()) as f64 / 1e6
        };
        eprintln!(
            "endpoints went away {:.1} s after the node, {} requests failed",
            after("endpoint_removed_us"),
            fault["failed_requests"]
        );
        assert_eq!(code, 0, "{:#}", result["verdicts"]);
        assert!((5.0..25.0).contains(&after("endpoint_removed_us")));
        assert!(fault["failed_requests"].as_u64().unwrap() > 0, "{fault:#}");
    });
}

/// The front's autoscaler, with this maximum, once it has come down to two pods.
fn autoscaler(bed: &Bed, max: u32) {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/deploy/kubernetes/shop/autoscaler.yaml"
    );
    // Debian's 1.20 serves v2beta2; its fields are the same.
    let manifest = { std::fs::read_to_string(file).unwrap() }
        .replace("autoscaling/v2\n", "autoscaling/v2beta2\n")
        .replace("maxReplicas: 8", &format!("maxReplicas: {max}"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("autoscaler.yaml");
    std::fs::write(&file, manifest).unwrap();
    bed.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(180);
    while pods(bed, "app=front") != 2 {
        assert!(std::time::Instant::now() < end, "the front stays large");
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn autoscale_ramp() {
    with_bed(|bed| async move {
        shop();
        let _metrics = crate::metrics_api::serve(bed.clone()).await;
        autoscaler(&bed, 2);
        let (code, result) = run(&bed, "autoscale-ramp.yaml");
        let verdict = |result: &Value| {
            let verdicts = result["verdicts"].as_array().unwrap();
            let autoscale = verdicts.iter().find(|v| v["oracle"] == "autoscale");
            autoscale.unwrap().clone()
        };
        let low = verdict(&result);
        assert_eq!(
            (code, low["verdict"].as_str()),
            (1, Some("FAIL")),
            "{low:#}"
        );
        let because = low["because"].as_str().unwrap();
        assert!(because.contains("maxReplicas 2 is too low"), "{because}");

        autoscaler(&bed, 8);
        let (code, result) = run(&bed, "autoscale-ramp.yaml");
        assert_eq!(code, 0, "{:#}", result["verdicts"]);
        bed.kubectl(&["-n", "shop", "delete", "hpa", "front"]);
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn cpu_stress() {
    with_bed(|bed| async move {
        shop();
        let front = ["-n", "shop", "set", "resources", "deployment", "front"];
        bed.kubectl(&[&front[..], &["--limits=cpu=25m,memory=128Mi"]].concat());
        settled(&bed, 4);
        let (code, result) = run(&bed, "cpu-stress.yaml");
        assert_eq!(code, 1, "{:#}", result["verdicts"]);
        let latency = &result["verdicts"][0];
        assert_eq!(latency["verdict"], "FAIL", "{latency:#}");

        shop();
        settled(&bed, 4);
        let (code, result) = run(&bed, "cpu-stress.yaml");
        assert_eq!(code, 0, "{:#}", result["verdicts"]);
        let fault = &result["summary"]["faults"][0];
        assert_eq!(fault["stage"], "injected", "{fault:#}");
        assert_eq!(fault["instances"].as_array().unwrap().len(), 2);
        assert!(processes("--load 25%").is_empty(), "a stress is left");
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn partition() {
    with_bed(|bed| async move {
        let _enforcer = Enforcer::start(&bed, "shop");
        shop();
        bed.kubectl(&["-n", "shop", "scale", "deployment", "front", "--replicas=1"]);
        settled(&bed, 1);
        let (code, result) = run(&bed, "partition.yaml");
        assert_eq!(code, 1, "{:#}", result["verdicts"]);
        let errors = &result["verdicts"][0];
        assert_eq!(errors["verdict"], "FAIL", "{errors:#}");

        shop();
        settled(&bed, 4);
        let (code, result) = run(&bed, "partition.yaml");
        assert_eq!(code, 0, "{:#}", result["verdicts"]);
        let fault = &result["summary"]["faults"][0];
        assert_eq!(fault["stage"], "injected", "{fault:#}");
        assert!(fault["failed_requests"].as_u64().unwrap() > 0, "{fault:#}");
        let policies = bed.json(&["-n", "shop", "get", "networkpolicies"]);
        assert_eq!(policies["items"], json!([]));
    });
}

#[test]
fn none_is_left_out_and_all_are_valid() {
    let here = include_str!("shipped.rs");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/kubernetes");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".yaml") {
            let tested = here.contains(&format!("run(&bed, \"{name}\")"));
            assert!(tested, "{name} has no test");
            squall::scenario::load(&path, &|_| None)
                .unwrap_or_else(|problems| panic!("{problems}"));
        }
    }
}
