//! Whole runs of the program, against its demo service in the cluster.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::bed::{Bed, script, until};
use crate::harness::with_bed;

/// The demo, four pods that take 400 ms for an answer: some forty requests are always in flight. What it counts is
/// kept on the node, where it outlives its pod.
fn demo(bed: &Bed, namespace: &str, counters: &Path, extra: &[&str]) {
    let slow = ["--defect", "slow:400ms"];
    quick_demo(bed, namespace, counters, &[&slow, extra].concat());
}

/// The same, as quick as it is.
pub fn quick_demo(bed: &Bed, namespace: &str, counters: &Path, extra: &[&str]) {
    bed.load_demo();
    let mut args = vec![
        "--address",
        "0.0.0.0",
        "--port",
        "8080",
        "--drain-delay",
        "3s",
    ];
    args.extend(["--counter-file", "/counters/$(SQUALL_INSTANCE)"]);
    args.extend(extra);
    bed.apply(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": namespace},
        "spec": {"replicas": 4, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                "volumes": [{"name": "counters", "hostPath": {"path": counters}}],
                "containers": [{"name": "web", "image": crate::bed::DEMO, "imagePullPolicy": "Never",
                    "command": ["/bin/squall", "demo"], "args": args,
                    "env": [{"name": "SQUALL_INSTANCE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "volumeMounts": [{"name": "counters", "mountPath": "/counters"}],
                    "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 5}}]}}}}));
    bed.service(namespace);
}

pub fn squall(bed: &Bed, namespace: &str, dir: &Path, hold: u32, faults: &str) -> Child {
    let text = format!(
        "squall: 1\nname: a test of {namespace}\nseed: 4\ntarget:\n  kubernetes: {{ kubeconfig: {}, namespace: {namespace}, service: web }}\n\
         traffic:\n  browse:\n    arrivals: {{ rate: 100/s, hold: {hold}s }}\n    timeout: 5s\n    \
         connections: {{ mode: per-user, max-age: 2s }}\n    journey: [ get: /products ]\n\
         faults:\n{faults}expect: [ errors < 0.2% ]\n",
        bed.kubeconfig.display()
    );
    run_of(dir, &text).spawn().expect("squall")
}

/// `squall run` of a scenario text, file and record in `dir`.
pub fn run_of(dir: &Path, text: &str) -> Command {
    let file = dir.join("scenario.yaml");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command
        .args(["run", "-q"])
        .args([&file, Path::new("--out"), &dir.join("run")])
        .stdout(Stdio::null());
    command
}

/// Exit code and summary of a run.
pub fn ended(mut child: Child, dir: &Path) -> (i32, Value) {
    let code = child.wait().unwrap().code().unwrap_or(-1);
    let text = std::fs::read_to_string(dir.join("run/result.json")).expect("a result");
    let result: Value = serde_json::from_str(&text).unwrap();
    (code, result["summary"].clone())
}

/// What a pod has counted: responses begun, and given to the kernel whole.
pub fn counted(counters: &Path, pod: &str) -> (u64, u64) {
    let bytes = std::fs::read(counters.join(pod)).unwrap_or_else(|e| panic!("{pod}: {e}"));
    let number = |at| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    (number(0), number(8))
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_service_that_drains_passes_and_one_that_does_not_fails() {
    with_bed(|bed| async move {
        let faults = "  - { at: 5s, pod-kill: { grace: 30s } }\n  - { at: 15s, evict: {} }\n";
        // A machine that was busy with something else tells nothing of the service: once more.
        let run = |name: &str, extra: &[&str]| {
            let mut why = String::new();
            for _ in 0..3 {
                let (ns, dir, counters) = (
                    bed.namespace(name),
                    tempfile::tempdir().unwrap(),
                    tempfile::tempdir().unwrap(),
                );
                demo(&bed, &ns, counters.path(), extra);
                let (code, summary) = ended(squall(&bed, &ns, dir.path(), 28, faults), dir.path());
                for fault in summary["faults"].as_array().unwrap() {
                    assert_eq!(fault["stage"], "injected", "{fault:#}");
                }
                why = std::fs::read_to_string(dir.path().join("run/result.json")).unwrap();
                if code != 3 {
                    return (code, summary, counters);
                }
            }
            panic!("inconclusive three times: {why}");
        };
        let (code, summary, counters) = run("t-drains", &[]);
        assert_eq!(code, 0, "{summary:#}");
        assert_eq!(summary["all"]["failed"], 0);
        let (mut answered, mut begun) = (0, 0);
        let instances = summary["instances"].as_array().unwrap();
        assert_eq!(
            instances.len(),
            6,
            "four pods and two that came after: {instances:#?}"
        );
        for instance in instances {
            let name = instance["name"].as_str().unwrap();
            let (b, f) = counted(counters.path(), name);
            let recorded = instance["answered"].as_u64().unwrap();
            assert_eq!((b, f), (recorded, recorded), "{name}: counted, recorded");
            answered += recorded;
            begun += b;
        }
        assert_eq!(summary["all"]["answered"], answered);
        eprintln!("{begun} requests counted by 6 pods, {answered} recorded as answered");

        let (code, summary, _) = run("t-drops", &["--defect", "no-drain"]);
        assert_eq!(code, 1, "{summary:#}");
        eprintln!("without drain {} requests failed", summary["all"]["failed"]);
        assert!(summary["faults"][0]["failed_requests"].as_u64().unwrap() > 0);
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_kill_with_grace_and_one_without_are_told_apart() {
    with_bed(|bed| async move {
        let (ns, dir, counters) = (
            bed.namespace("t-apart"),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        demo(&bed, &ns, counters.path(), &[]);
        let faults =
            "  - { at: 5s, pod-kill: { grace: 30s } }\n  - { at: 18s, pod-kill: { grace: 0s } }\n";
        let (_, summary) = ended(squall(&bed, &ns, dir.path(), 32, faults), dir.path());
        let at = |fault: usize, what: &str| {
            let fault = &summary["faults"][fault];
            let at = fault[what]
                .as_u64()
                .unwrap_or_else(|| panic!("no {what}: {fault:#}"));
            at as f64 / 1e6 - fault["injected_us"].as_u64().unwrap() as f64 / 1e6
        };
        for fault in 0..2 {
            let told = [
                "endpoint_removed_us",
                "last_request_us",
                "ready_again_us",
                "first_served_us",
            ]
            .map(|what| format!("{what} {:.3}", at(fault, what)));
            let failed = &summary["faults"][fault]["failed_requests"];
            eprintln!("{failed} failed; {}", told.join(", "));
            assert!(at(fault, "first_served_us") > at(fault, "ready_again_us") - 1.0);
            assert!(at(fault, "endpoint_removed_us") < 10.0);
        }
        assert_eq!(summary["faults"][0]["failed_requests"], 0);
        // With grace it serves on until its connections are gone; without, the cluster forgets it at once.
        let record = squall::record::Record::load(&dir.path().join("run")).unwrap();
        let gone = |fault: usize| {
            let name = summary["faults"][fault]["instances"][0].as_str().unwrap();
            let is = |e: &&squall::record::Event| {
                matches!(&e.what, squall::record::What::Instance(i)
                if i.name == name && i.state == squall::record::InstanceState::Ended)
            };
            let end = record
                .events
                .iter()
                .find(is)
                .expect("the end of the pod")
                .at;
            let injected = summary["faults"][fault]["injected_us"].as_u64().unwrap();
            end as f64 / 1e6 - injected as f64 / 1e6
        };
        eprintln!("gone after {:.3} s and {:.3} s", gone(0), gone(1));
        assert!(gone(0) > 2.5 && gone(1) < 2.5, "{} {}", gone(0), gone(1));
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_run_outlives_the_api_server_and_undoes_what_it_did() {
    with_bed(|bed| async move {
        let (ns, dir, counters) = (
            bed.namespace("t-away"),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        demo(&bed, &ns, counters.path(), &[]);
        let faults = "  - { at: 3s, for: 16s, scale: { replicas: 3 } }\n";
        let child = squall(&bed, &ns, dir.path(), 50, faults);
        // The fourth may still be draining: on a busy machine for longer than the fault lasts.
        until("the scaled Deployment to be left with three pods", || {
            bed.json(&["-n", &ns, "get", "deployment", "web"])["status"]["replicas"] == 3
        });
        script("apiserver-stop.sh", &[]);
        // How long it is away is what is tried here.
        std::thread::sleep(Duration::from_secs(20));
        script("apiserver-start.sh", &[]);
        let (code, summary) = ended(child, dir.path());
        let web = bed.json(&["-n", &ns, "get", "deployment", "web"]);
        assert_eq!(web["spec"]["replicas"], 4, "undone");
        assert!(code == 0 || code == 3, "{code} {summary:#}");
        assert_eq!(summary["all"]["failed"], 0);
        assert_eq!(summary["all"]["answered"], 5000);
        let record = squall::record::Record::load(&dir.path().join("run")).unwrap();
        let views = |lost: bool| {
            let is = |e: &&squall::record::Event| {
                matches!(&e.what, squall::record::What::Watch(w)
                if w.of == "pods" && (w.view == squall::record::View::Lost) == lost)
            };
            record
                .events
                .iter()
                .filter(is)
                .map(|e| e.at)
                .collect::<Vec<_>>()
        };
        let (lost, back) = (views(true), views(false));
        assert!(
            !lost.is_empty() && lost.len() == back.len(),
            "{lost:?} {back:?}"
        );
        assert!(back.iter().max().unwrap() - lost.iter().min().unwrap() >= 19_000_000);
        let leases = bed.json(&["-n", &ns, "get", "leases"]);
        assert_eq!(leases["items"], json!([]), "given back");
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn two_runs_on_one_target_are_one_too_many() {
    with_bed(|bed| async move {
        let (ns, dir, counters) = (
            bed.namespace("t-two"),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        demo(&bed, &ns, counters.path(), &[]);
        let faults = "  - { at: 2s, pod-kill: {} }\n";
        let first = squall(&bed, &ns, dir.path(), 25, faults);
        let has_lease = || {
            bed.kubectl(&["-n", &ns, "get", "leases"])
                .contains("squall-web")
        };
        until("the first run's lease", has_lease);
        let second = Command::new(env!("CARGO_BIN_EXE_squall"))
            .args(["run", "-q"])
            .arg(dir.path().join("scenario.yaml"))
            .arg("--out")
            .arg(dir.path().join("second"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&second.stderr);
        eprintln!("{said}");
        assert_eq!(second.status.code(), Some(5), "{said}");
        let words = [
            "under test already",
            &format!("`a test of {ns}` (process {} on", first.id()),
        ];
        assert!(words.iter().all(|w| said.contains(w)), "{said}");
        let (code, summary) = ended(first, dir.path());
        assert!(code == 0 || code == 3, "{summary:#}");
        assert!(!has_lease(), "given back");

        // One that is killed cannot give it back: it is taken over once it has run out.
        let (third, fourth) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut killed = squall(&bed, &ns, third.path(), 60, faults);
        until("its lease", has_lease);
        killed.kill().unwrap();
        killed.wait().unwrap();
        let (code, summary) = ended(squall(&bed, &ns, fourth.path(), 8, faults), fourth.path());
        assert!(code == 0 || code == 3, "{summary:#}");
        assert!(!has_lease(), "given back");
    });
}
