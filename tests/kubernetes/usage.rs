//! What pods use, read from the kubelets, since the cluster serves no metrics.k8s.io: held against the kernel's own
//! accounts of the pods, and judged.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use squall::record::{Record, What};

use crate::bed::{Bed, DEMO, until};
use crate::harness::with_bed;
use crate::whole::run_of;

/// Deployment and Service `web`: two pods that may use a fifth of a core, and so much memory.
fn web(bed: &Bed, namespace: &str, memory: &str, defect: &[&str]) {
    bed.load_demo();
    let command = [
        "/bin/squall",
        "demo",
        "--address",
        "0.0.0.0",
        "--port",
        "8080",
    ];
    let command = [&command[..], defect].concat();
    bed.apply(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": namespace},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                "terminationGracePeriodSeconds": 5,
                "containers": [{"name": "web", "image": DEMO, "imagePullPolicy": "Never",
                    "command": command,
                    "resources": {"requests": {"cpu": "20m", "memory": "16Mi"},
                        "limits": {"cpu": "200m", "memory": memory}},
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 2,
                        "timeoutSeconds": 5}}]}}}}));
    bed.service(namespace);
}

fn scenario(kubeconfig: &Path, namespace: &str, hold: u32, faults: &str, expect: &str) -> String {
    format!(
        "squall: 1\nname: what {namespace} uses\nseed: 4\ntarget:\n  kubernetes: {{ kubeconfig: {}, namespace: {namespace}, \
         service: web }}\ntraffic:\n  browse:\n    arrivals: {{ rate: 5/s, hold: {hold}s }}\n    timeout: 5s\n    \
         journey: [ get: /products ]\n{faults}expect: [ {expect} ]\n",
        kubeconfig.display()
    )
}

/// Runs a scenario beside what is done meanwhile; exit code, verdict on what was used, and record.
fn run<T>(text: &str, meanwhile: impl FnOnce(&Path) -> T) -> (i32, Value, Record, T) {
    let dir = tempfile::tempdir().unwrap();
    let mut child = run_of(dir.path(), text).spawn().expect("squall");
    let told = meanwhile(dir.path());
    let code = child.wait().unwrap().code().unwrap_or(-1);
    let result = std::fs::read_to_string(dir.path().join("run/result.json")).expect("a result");
    let result: Value = serde_json::from_str(&result).unwrap();
    let verdicts = result["verdicts"].as_array().unwrap();
    let verdict = verdicts.iter().find(|v| v["oracle"] == "usage");
    let verdict = verdict.expect("a verdict").clone();
    eprintln!("{code}: {verdict:#}");
    (
        code,
        verdict,
        Record::load(&dir.path().join("run")).unwrap(),
        told,
    )
}

/// The kernel's accounts of a pod, by its uid.
struct Accounts {
    cpu: PathBuf,
    memory: PathBuf,
}

impl Accounts {
    fn of(uid: &str) -> Self {
        let find = |controller: &str| {
            let out = std::process::Command::new("find")
                .args([
                    &format!("/sys/fs/cgroup/{controller}"),
                    "-type",
                    "d",
                    "-name",
                ])
                .arg(format!("*pod{uid}"))
                .output();
            let out = String::from_utf8(out.expect("find").stdout).unwrap();
            PathBuf::from(out.lines().next().expect("the pod's cgroup"))
        };
        Self {
            cpu: find("cpuacct"),
            memory: find("memory"),
        }
    }
    fn cpu_nanos(&self) -> f64 {
        let text = std::fs::read_to_string(self.cpu.join("cpuacct.usage")).unwrap();
        text.trim().parse().unwrap()
    }
    /// The working set, as kubelets have it: what is charged, less files that were not used lately.
    fn memory_bytes(&self) -> f64 {
        let read = |file: &str| std::fs::read_to_string(self.memory.join(file)).unwrap();
        let used: f64 = read("memory.usage_in_bytes").trim().parse().unwrap();
        let stat = read("memory.stat");
        let idle = stat
            .lines()
            .find_map(|l| l.strip_prefix("total_inactive_file "));
        used - idle.unwrap().parse::<f64>().unwrap()
    }
}

/// The pod that the run's first fault was made to, once it was.
fn stressed(dir: &Path) -> String {
    let mut name = None;
    until("the stress", || {
        let record = std::fs::read_to_string(dir.join("run/record.jsonl")).unwrap_or_default();
        let events = record
            .lines()
            .filter_map(|l| serde_json::from_str::<Value>(l).ok());
        let made = { events }.find(|e| e["kind"] == "fault" && e["stage"] == "injected");
        name = made.and_then(|e| Some(e["instances"][0].as_str()?.to_string()));
        name.is_some()
    });
    name.unwrap()
}

fn uid(bed: &Bed, namespace: &str, pod: &str) -> String {
    let pod = bed.json(&["-n", namespace, "get", "pod", pod]);
    pod["metadata"]["uid"].as_str().unwrap().to_string()
}

/// What a pod used by the kernel's account over half a minute: CPU (thousandths of a core) and memory (bytes) at its
/// end; and the seconds between which that was, before the run's end.
fn measured(bed: &Bed, namespace: &str, dir: &Path) -> (String, f64, f64) {
    let pod = stressed(dir);
    let accounts = Accounts::of(&uid(bed, namespace, &pod));
    // Past what it took to start.
    std::thread::sleep(Duration::from_secs(12));
    let (before, began) = (accounts.cpu_nanos(), Instant::now());
    std::thread::sleep(Duration::from_secs(30));
    let used = (accounts.cpu_nanos() - before) / began.elapsed().as_nanos() as f64;
    (pod, used * 1e3, accounts.memory_bytes())
}

const STRESS: &str =
    "faults:\n  - { at: 5s, for: 60s, cpu-stress: { pick: 1, workers: 1, load: 100% } }\n";

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn what_kubelets_tell_agrees_with_the_kernel_and_a_stressed_pod_fails_and_calm_ones_pass() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-usage");
        web(&bed, ns, "128Mi", &[]);
        let usage = "usage: { cpu: 80% of limit }";
        let text = scenario(&bed.kubeconfig, ns, 75, STRESS, usage);
        let (code, verdict, record, (pod, cpu, memory)) = run(&text, |dir| measured(&bed, ns, dir));
        let told = record.events.iter().filter_map(|e| match &e.what {
            What::Usage {
                instance,
                cpu_millicores,
                memory_bytes,
            } if *instance == pod => Some((*cpu_millicores as f64, *memory_bytes as f64)),
            _ => None,
        });
        let told: Vec<(f64, f64)> = told.collect();
        let mut busy: Vec<f64> = told.iter().map(|(cpu, _)| *cpu).collect();
        busy.sort_by(f64::total_cmp);
        // The stress lasted for most of the run.
        let (median, last) = (busy[busy.len() * 2 / 3], told[told.len() * 2 / 3].1);
        eprintln!(
            "{pod}: {cpu:.0}m and {:.1} MiB by the kernel, {median:.0}m and {:.1} MiB by its kubelet ({busy:?})",
            memory / 1048576.0,
            last / 1048576.0
        );
        assert!((median / cpu - 1.0).abs() < 0.2, "{median} and {cpu}");
        assert!((last / memory - 1.0).abs() < 0.25, "{last} and {memory}");
        assert_eq!((code, verdict["verdict"].as_str()), (1, Some("FAIL")));
        let rows = verdict["evidence"].as_array().unwrap();
        let failed = |what: &str| match rows
            .iter()
            .filter(|row| row["what"] == what)
            .collect::<Vec<_>>()[..]
        {
            [row] => row["value"].as_str().unwrap(),
            ref rows => panic!("the stressed pod alone: {rows:?}"),
        };
        let throttled = format!("container web of {pod} was throttled in up to ");
        assert!(
            failed("throttling").starts_with(&throttled),
            "{}",
            failed("throttling")
        );
        let one = failed("CPU");
        assert!(
            one.starts_with(&format!("container web of {pod} used up to ")),
            "{one}"
        );
        for words in [
            "of its limit of 200m: above 80% of limit for ",
            "with cpu-stress of",
        ] {
            assert!(one.contains(words), "{one}");
        }

        let text = scenario(&bed.kubeconfig, ns, 60, "", "usage: {}");
        let (code, verdict, ..) = run(&text, |_| ());
        assert_eq!((code, verdict["verdict"].as_str()), (0, Some("PASS")));
        let because = verdict["because"].as_str().unwrap();
        assert!(because.contains("throttled in "), "{because}");
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn pods_that_leak_until_they_are_killed_fail_as_metrics_k8s_io_tells_it() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-usage");
        let _metrics = crate::metrics_api::serve(bed.clone()).await;
        // Half of five requests a second keep a quarter of a MiB each, in either pod: 45 s to the limit.
        web(&bed, ns, "32Mi", &["--defect", "leak:256KiB"]);
        let text = scenario(&bed.kubeconfig, ns, 75, "", "usage: {}");
        let (code, verdict, record, ()) = run(&text, |_| ());
        assert_eq!((code, verdict["verdict"].as_str()), (1, Some("FAIL")));
        let rows = verdict["evidence"].as_array().unwrap();
        let of = |what: &str| rows.iter().find(|row| row["what"] == what);
        let kill = of("OOM kill").expect("a kill")["value"].as_str().unwrap();
        assert!(
            kill.contains("container web: killed for its memory at "),
            "{kill}"
        );
        let most = of("at most").expect("samples")["value"].as_str().unwrap();
        assert!(most.contains("of its limit of 32 MiB"), "{most}");
        let samples = |kind: &str| {
            let told = record.events.iter().filter(|e| match &e.what {
                What::Object(o) if o.object == kind => {
                    { o.facts.get("containers") }.is_some_and(|all| all["web"]["cpu"].is_string())
                }
                _ => false,
            });
            told.count()
        };
        assert!(samples("PodMetrics") > 10, "{}", samples("PodMetrics"));
        assert_eq!(
            samples("PodUsage"),
            0,
            "kubelets tell of throttling alone then"
        );
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn without_leave_to_ask_kubelets_the_run_goes_on_and_says_what_is_missing() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-usage");
        web(&bed, ns, "128Mi", &[]);
        let dir = tempfile::tempdir().unwrap();
        bed.grant(ns, &["rbac.yaml"]);
        let config = bed.kubeconfig_of(ns, "squall", dir.path());
        let text = scenario(&config, ns, 8, "", "usage: { for: 5s }");
        let (code, verdict, record, ()) = run(&text, |_| ());
        assert_eq!(
            (code, verdict["verdict"].as_str()),
            (3, Some("INCONCLUSIVE"))
        );
        let because = verdict["because"].as_str().unwrap();
        assert!(
            because.contains("`get nodes/proxy`, to ask its kubelets, is not allowed"),
            "{because}"
        );
        let samples = { record.events.iter() }.filter(|e| matches!(e.what, What::Usage { .. }));
        assert_eq!(samples.count(), 0);
    });
}
