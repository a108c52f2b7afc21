//! Squall is killed: whatever it has made or changed in the cluster is taken back without it.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bed::{Bed, DEMO, SERVE, script, until};
use crate::harness::with_bed;
use crate::strain::processes;
use crate::whole::run_of;

/// What is broken, each for longer than the run lives.
const FAULTS: &str =
    "  - { at: 2s, for: 2m, scale: { replicas: 1 } }\n  - { at: 3s, for: 2m, cordon: {} }\n";

/// Each way to leave something behind: a process in a pod, an object, a mark on a pod, a node, a workload. The load
/// tells the stresses of different runs apart.
fn every_fault(n: usize) -> String {
    format!(
        "  - {{ at: 1s, for: 2m, cpu-stress: {{ load: {}% }} }}\n  - {{ at: 1s, for: 2m, partition: {{}} }}\n{FAULTS}",
        n + 1
    )
}

fn stresses(n: usize) -> usize {
    processes(&format!("--load {}%", n + 1)).len()
}

fn scenario(namespace: &str, kubeconfig: Option<&Path>, guardian: &str, faults: &str) -> String {
    let kubeconfig = kubeconfig.map_or(String::new(), |p| format!("kubeconfig: {}, ", p.display()));
    format!(
        "squall: 1\nname: killed in {namespace}\nseed: 7\n\
         target:\n  kubernetes: {{ {kubeconfig}namespace: {namespace}, service: web, guardian: {{ {guardian} }} }}\n\
         traffic:\n  slow:\n    arrivals: {{ rate: 2/s, hold: 3m }}\n    journey: [ get: /index.html ]\n\
         faults:\n{faults}expect: [ errors < 99% ]\n"
    )
}

fn of_demo() -> String {
    format!("image: \"{DEMO}\", pull: never")
}

/// A namespace with a Deployment of three, and the account that runs and guards.
pub fn prepared(bed: &Bed, name: &str) -> String {
    let ns = bed.namespace(name);
    bed.load_demo();
    bed.web_of(&ns, 3, DEMO, SERVE);
    bed.grant(&ns, &["rbac.yaml"]);
    ns
}

/// Squall on this machine.
fn local(bed: &Bed, ns: &str, dir: &Path, guardian: &str, faults: &str) -> Child {
    let text = scenario(ns, Some(&bed.kubeconfig), guardian, faults);
    run_of(dir, &text)
        .stderr(Stdio::piped())
        .spawn()
        .expect("squall")
}

/// Squall as a pod of the cluster, which finds image and account of its guardian by itself.
fn in_pod(bed: &Bed, ns: &str, faults: &str) {
    let scenario = scenario(ns, None, "pull: never", faults);
    bed.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "scenario", "namespace": ns}, "data": {"scenario.yaml": scenario}}));
    bed.apply(&json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "run", "namespace": ns, "labels": {"test": "run"}},
        "spec": {
            "serviceAccountName": "squall", "restartPolicy": "Never",
            "tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}],
            "volumes": [{"name": "scenario", "configMap": {"name": "scenario"}}],
            "containers": [{"name": "squall", "image": DEMO, "imagePullPolicy": "Never",
                "command": ["/bin/squall", "run", "-q", "/scenario/scenario.yaml", "--out", format!("/tmp/{ns}")],
                "volumeMounts": [{"name": "scenario", "mountPath": "/scenario"}]}]}}));
}

/// The process of a pod, as this machine sees it.
fn process_in_pod(ns: &str) -> Option<i32> {
    let marked = format!("\0--out\0/tmp/{ns}\0");
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .find_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            line.contains(&marked).then_some(pid)
        })
}

fn kill_9(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// What a namespace holds, without what changes by itself.
pub fn objects(bed: &Bed, ns: &str) -> Value {
    let kinds = "deployments,statefulsets,daemonsets,jobs,services,configmaps,leases,networkpolicies,\
                 poddisruptionbudgets,serviceaccounts,roles,rolebindings";
    let all = bed.json(&["-n", ns, "get", kinds]);
    let mut kept: Vec<Value> = Vec::new();
    for object in all["items"].as_array().unwrap() {
        let mut object = object.clone();
        let name = object["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_string();
        // The test's own.
        if name == "scenario" {
            continue;
        }
        object.as_object_mut().unwrap().remove("status");
        volatile(&mut object);
        kept.push(object);
    }
    // Pods are replaced when replicas go and come: as many of each kind, and none of squall's.
    let pods = bed.json(&["-n", ns, "get", "pods", "-l", "test!=run"]);
    let mut labels: Vec<String> = pods["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| {
            format!(
                "{} ready={}",
                p["metadata"]["labels"], p["status"]["containerStatuses"][0]["ready"]
            )
        })
        .collect();
    labels.sort();
    json!({"objects": kept, "pods": labels})
}

fn volatile(object: &mut Value) {
    let meta = object["metadata"].as_object_mut().unwrap();
    for field in ["resourceVersion", "generation", "managedFields"] {
        meta.remove(field);
    }
    if let Some(annotations) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|key, _| !key.starts_with("deployment.kubernetes.io/"));
    }
    if meta
        .get("annotations")
        .is_some_and(|a| a.as_object().is_some_and(|a| a.is_empty()))
    {
        meta.remove("annotations");
    }
}

/// The nodes, without what their kubelets write.
fn nodes(bed: &Bed) -> Vec<Value> {
    let mut nodes = bed.json(&["get", "nodes"])["items"]
        .as_array()
        .unwrap()
        .clone();
    for node in &mut nodes {
        node.as_object_mut().unwrap().remove("status");
        volatile(node);
        // Of a node that was away; the controller takes them off at its own pace.
        let spec = node["spec"].as_object_mut().unwrap();
        spec.remove("taints");
    }
    nodes
}

fn ledger(bed: &Bed, ns: &str) -> String {
    let leases = bed.json(&["-n", ns, "get", "leases"]);
    let ledger = &leases["items"][0]["metadata"]["annotations"]["squall.dev/ledger"];
    ledger.as_str().unwrap_or_default().to_string()
}

pub fn replicas(bed: &Bed, ns: &str) -> Value {
    bed.json(&["-n", ns, "get", "deployment", "web"])["spec"]["replicas"].clone()
}

/// Waits until the objects are as before, for a minute from the kill; how long it took.
pub fn clean_within_a_minute(bed: &Bed, ns: &str, before: &Value, killed: Instant) -> Duration {
    loop {
        let now = objects(bed, ns);
        if now == *before {
            return killed.elapsed();
        }
        assert!(
            killed.elapsed() < Duration::from_secs(60),
            "{ns}: left after a minute: {now:#} instead of {before:#}"
        );
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Numbers that look random and are the same each time.
fn draws(mut state: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) % below
    }
}

/// How squall is killed.
enum Run {
    /// Its process on this machine.
    Local(Child),
    /// Its process in a pod.
    InPod,
    /// The pod it runs in, without grace.
    Pod,
}

/// What a kill must have found in force at least once, or the test does not test; by words of the ledger.
const IN_FORCE: [&str; 4] = [
    "\"Deployment\"",
    "\"Node\"",
    "\"NetworkPolicy\"",
    "a stress",
];

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn killed_at_ten_random_moments_it_leaves_nothing_in_the_cluster() {
    with_bed(|bed| async move {
        let seed = std::env::var("SQUALL_TEST_SEED")
            .ok()
            .and_then(|s| s.parse().ok())
            .unwrap_or(1);
        let mut draw = draws(seed);
        let dir = tempfile::tempdir().unwrap();
        let nodes_before = nodes(&bed);
        let names: Vec<String> = (0..10)
            .map(|n| prepared(&bed, &format!("t-killed{n}")))
            .collect();
        let before: Vec<Value> = names.iter().map(|ns| objects(&bed, ns)).collect();
        let begun = Instant::now();
        let mut runs: Vec<(usize, Duration, Run)> = Vec::new();
        for (n, ns) in names.iter().enumerate() {
            let moment = Duration::from_millis(500 + draw(40_000));
            let run = if n % 2 == 0 {
                let dir: PathBuf = dir.path().join(ns);
                std::fs::create_dir(&dir).unwrap();
                Run::Local(local(&bed, ns, &dir, &of_demo(), &every_fault(n)))
            } else {
                in_pod(&bed, ns, &every_fault(n));
                if n % 4 == 1 { Run::InPod } else { Run::Pod }
            };
            runs.push((n, begun.elapsed() + moment, run));
        }
        runs.sort_by_key(|r| r.1);
        let (mut killed, mut found) = (Vec::new(), Vec::new());
        for (n, due, run) in runs {
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
            let ns = &names[n];
            let mut in_force = ledger(&bed, ns);
            if stresses(n) > 0 {
                in_force += " and a stress";
            }
            let at = Instant::now();
            match run {
                Run::Local(mut child) => {
                    child.kill().unwrap();
                    child.wait().unwrap();
                }
                Run::InPod => {
                    until("the pod's process", || process_in_pod(ns).is_some());
                    kill_9(process_in_pod(ns).unwrap());
                }
                Run::Pod => drop(bed.kubectl(&[
                    "-n",
                    ns,
                    "delete",
                    "pod",
                    "run",
                    "--grace-period=0",
                    "--force",
                ])),
            }
            eprintln!(
                "{ns}: killed at {:.1} s with {in_force:?} to undo",
                at.duration_since(begun).as_secs_f64()
            );
            killed.push((n, at));
            found.push(in_force);
        }
        let last = killed.last().unwrap().1;
        for (n, at) in killed {
            let took = clean_within_a_minute(&bed, &names[n], &before[n], at);
            assert_eq!(stresses(n), 0, "{}: a stress is left", names[n]);
            eprintln!(
                "{}: clean {:.1} s after the kill, when looked at",
                names[n],
                took.as_secs_f64()
            );
        }
        while nodes(&bed) != nodes_before {
            assert!(
                last.elapsed() < Duration::from_secs(60),
                "{:#?} instead of {nodes_before:#?}",
                nodes(&bed)
            );
            std::thread::sleep(Duration::from_millis(500));
        }
        for word in IN_FORCE {
            let times = found.iter().filter(|f| f.contains(word)).count();
            eprintln!("{word} was in force at {times} of ten kills");
            assert!(times > 0, "no kill found {word} in force");
        }
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_living_run_keeps_its_changes_while_the_api_server_is_away_and_its_guardian_moves() {
    with_bed(|bed| async move {
        let ns = prepared(&bed, "t-lives");
        let dir = tempfile::tempdir().unwrap();
        let before = objects(&bed, &ns);
        let faults = "  - { at: 1s, for: 100s, scale: { replicas: 2 } }\n";
        let mut run = local(&bed, &ns, dir.path(), &of_demo(), faults);
        until("the scaled Deployment", || replicas(&bed, &ns) == 2);
        script("apiserver-stop.sh", &[]);
        // How long it is away is what is tried here: longer than a lease lasts.
        std::thread::sleep(Duration::from_secs(20));
        script("apiserver-start.sh", &[]);
        // Longer than the guardian would need to see a dead run.
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            assert_eq!(replicas(&bed, &ns), 2, "undone while its run lives");
            std::thread::sleep(Duration::from_millis(500));
        }
        // Its pod goes, as when a node is drained or lost: another takes its place.
        let guardian = "app.kubernetes.io/component=guardian";
        let pods = || bed.kubectl(&["-n", &ns, "get", "pods", "-l", guardian, "-o", "name"]);
        let old = pods();
        bed.kubectl(&["-n", &ns, "delete", "pods", "-l", guardian, "--wait=false"]);
        until("another guardian to watch", || {
            let leases = bed.json(&["-n", &ns, "get", "leases"]);
            let says = &leases["items"][0]["metadata"]["annotations"]["squall.dev/guardian"];
            let says = says.as_str().unwrap_or_default().to_string();
            says.starts_with("watching") && !old.contains(says.trim_start_matches("watching, "))
        });
        let killed = Instant::now();
        run.kill().unwrap();
        run.wait().unwrap();
        let took = clean_within_a_minute(&bed, &ns, &before, killed);
        eprintln!("clean {:.1} s after the kill", took.as_secs_f64());
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_guardian_that_cannot_guard_stops_the_run_before_anything_is_broken() {
    with_bed(|bed| async move {
        let ns = prepared(&bed, "t-unable");
        let before = objects(&bed, &ns);
        let run = |guardian: &str, words: &[&str]| {
            let dir = tempfile::tempdir().unwrap();
            let ended = local(&bed, &ns, dir.path(), guardian, FAULTS)
                .wait_with_output()
                .unwrap();
            let said = String::from_utf8_lossy(&ended.stderr);
            eprintln!("{said}");
            assert_eq!(ended.status.code(), Some(5), "{said}");
            assert!(words.iter().all(|w| said.contains(w)), "{said}");
            // The garbage collector takes the Job.
            clean_within_a_minute(&bed, &ns, &before, Instant::now());
        };
        run(
            "image: \"testbed.local/none:1\", pull: never",
            &["testbed.local/none:1", "ErrImageNeverPull"],
        );
        let image = of_demo();
        run(
            &format!("{image}, service-account: nobody"),
            &["service account nobody", "rbac.yaml"],
        );
        bed.kubectl(&["delete", "clusterrolebinding", &format!("squall-{ns}")]);
        run(
            &image,
            &["not allowed to", "patch nodes", "squall", "rbac.yaml"],
        );
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn the_next_run_takes_back_what_a_killed_one_without_guardian_left() {
    with_bed(|bed| async move {
        let ns = prepared(&bed, "t-next");
        let before = objects(&bed, &ns);
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let mut first = local(&bed, &ns, dirs[0].path(), "pull: never", FAULTS);
        until("the scaled Deployment", || replicas(&bed, &ns) == 1);
        first.kill().unwrap();
        first.wait().unwrap();
        let late = "  - { at: 100s, scale: { replicas: 1 } }\n";
        let mut second = local(&bed, &ns, dirs[1].path(), "pull: never", late);
        until("it to be put back", || replicas(&bed, &ns) == 3);
        let pid = rustix::process::Pid::from_child(&second);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert_eq!(second.wait().unwrap().code(), Some(4));
        clean_within_a_minute(&bed, &ns, &before, Instant::now());
    });
}
