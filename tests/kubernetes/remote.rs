//! `squall run --in-cluster`: the run is a pod of the cluster, and its record, its words and its exit code come here.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::bed::{Bed, DEMO, until};
use crate::harness::with_bed;
use crate::killed::{clean_within_a_minute, objects, prepared};

/// A scenario for the service `web` of a namespace, in a file beside its data.
fn written(bed: &Bed, ns: &str, dir: &Path, hold: u32, expect: &str) {
    std::fs::create_dir(dir.join("data")).unwrap();
    std::fs::write(dir.join("data/pages.csv"), "page\nindex.html\n").unwrap();
    let text = format!(
        "squall: 1\nname: from inside\nseed: 5\nsecrets: {{ token: \"${{SQUALL_TEST_TOKEN}}\" }}\n\
         target:\n  kubernetes: {{ kubeconfig: {}, namespace: {ns}, service: web, guardian: {{ image: \"{DEMO}\", pull: never }} }}\n\
         traffic:\n  browse:\n    arrivals: {{ rate: 40/s, hold: {hold}s }}\n    connections: {{ mode: per-user, max-age: 2s }}\n    \
         headers: {{ x-token: \"{{{{ token }}}}\" }}\n    data: {{ pages: {{ csv: data/pages.csv }} }}\n    \
         journey: [ get: \"/{{{{ pages.page }}}}\" ]\n\
         faults:\n  - {{ at: 4s, for: 6s, scale: {{ replicas: 2 }} }}\nexpect: [ {expect} ]\n",
        bed.kubeconfig.display()
    );
    std::fs::write(dir.join("s.yaml"), text).unwrap();
}

fn squall(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command
        .args(["run", "--in-cluster", "s.yaml", "--out", "run"])
        .args(args)
        .env("SQUALL_TEST_TOKEN", "hush")
        .current_dir(dir);
    command
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn result(dir: &Path) -> Value {
    let text = std::fs::read_to_string(dir.join("run/result.json")).expect("a result");
    serde_json::from_str(&text).unwrap()
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_run_in_the_cluster_is_told_brought_back_and_leaves_nothing() {
    with_bed(|bed| async move {
        let ns = prepared(&bed, "t-inside");
        let before = objects(&bed, &ns);
        // What fails there fails here.
        for (expect, code) in [("p99 < 1us", 1), ("errors < 50%", 0)] {
            let dir = tempfile::tempdir().unwrap();
            written(&bed, &ns, dir.path(), 14, expect);
            let output = squall(dir.path(), &[]).output().unwrap();
            let said = said(&output);
            eprintln!("{said}");
            assert_eq!(output.status.code(), Some(code), "{said}");
            assert!(said.contains("scale"), "the fault is told: {said}");
            let result = result(dir.path());
            assert_eq!(result["summary"]["all"]["ended"], 40 * 14);
            assert_eq!(result["summary"]["faults"][0]["stage"], "injected");
            for file in ["record.jsonl", "intervals.hlog", "report.html", "junit.xml"] {
                assert!(dir.path().join("run").join(file).exists(), "{file}");
            }
            let record = std::fs::read_to_string(dir.path().join("run/record.jsonl")).unwrap();
            assert!(!record.contains("hush"));
            clean_within_a_minute(&bed, &ns, &before, std::time::Instant::now());
            for kind in ["jobs", "configmaps", "secrets", "pods"] {
                let left = bed.kubectl(&["-n", &ns, "get", kind, "-o", "name"]);
                assert!(!left.contains("squall-run"), "{left}");
            }
        }
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn an_interrupted_run_in_the_cluster_undoes_and_brings_back_what_it_has() {
    with_bed(|bed| async move {
        let ns = prepared(&bed, "t-inside-int");
        let before = objects(&bed, &ns);
        let dir = tempfile::tempdir().unwrap();
        written(&bed, &ns, dir.path(), 90, "errors < 50%");
        let scale = "for: 6s";
        let text = std::fs::read_to_string(dir.path().join("s.yaml")).unwrap();
        std::fs::write(dir.path().join("s.yaml"), text.replace(scale, "for: 80s")).unwrap();
        let child = squall(dir.path(), &[])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        until("the Deployment to be scaled", || {
            bed.json(&["-n", &ns, "get", "deployment", "web"])["spec"]["replicas"] == 2
        });
        let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = said(&output);
        eprintln!("{said}");
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(
            result(dir.path())["summary"]["all"]["ended"]
                .as_u64()
                .unwrap()
                > 0
        );
        clean_within_a_minute(&bed, &ns, &before, std::time::Instant::now());
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn what_keeps_a_run_from_starting_in_the_cluster_is_said_and_nothing_is_left() {
    with_bed(|bed| async move {
        let ns = prepared(&bed, "t-inside-not");
        let before = objects(&bed, &ns);
        let dir = tempfile::tempdir().unwrap();
        written(&bed, &ns, dir.path(), 5, "errors < 50%");
        let cases: [(&[&str], &[&str]); 2] = [
            (
                &["--image", "testbed.local/none:1"],
                &["testbed.local/none:1", "cannot be had"],
            ),
            (
                &["--account", "nobody-here"],
                &["service account nobody-here"],
            ),
        ];
        for (args, words) in cases {
            let output = squall(dir.path(), args).output().unwrap();
            let said = said(&output);
            assert_eq!(output.status.code(), Some(5), "{said}");
            assert!(words.iter().all(|w| said.contains(w)), "{said}");
            assert!(!dir.path().join("run").exists());
        }
        clean_within_a_minute(&bed, &ns, &before, std::time::Instant::now());
    });
}

/// `deploy/kubernetes/runner` as a user applies it, its scenario and image put in as its README says.
#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn the_runner_that_ships_runs_its_scenario_and_keeps_the_record_until_it_is_fetched() {
    with_bed(|bed| async move {
        let ns = prepared(&bed, "t-runner");
        let dir = tempfile::tempdir().unwrap();
        let ships = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kubernetes/runner");
        for file in ["kustomization.yaml", "job.yaml"] {
            std::fs::copy(format!("{ships}/{file}"), dir.path().join(file)).unwrap();
        }
        let scenario = format!(
            "squall: 1\nname: the runner's\ntarget: {{ kubernetes: {{ service: web, namespace: {ns}, guardian: {{ pull: never }} }} }}\n\
             traffic: {{ a: {{ arrivals: {{ rate: 20/s, hold: 5s }}, journey: [ get: /index.html ] }} }}\nexpect: [ errors < 50% ]\n"
        );
        std::fs::write(dir.path().join("scenario.yaml"), scenario).unwrap();
        let kustomization = dir.path().join("kustomization.yaml");
        let text = std::fs::read_to_string(&kustomization).unwrap();
        let (name, tag) = DEMO.rsplit_once(':').unwrap();
        let text = text
            .replace("namespace: shop", &format!("namespace: {ns}"))
            .replace("registry.example/squall", name)
            .replace("0.1.0", tag);
        std::fs::write(&kustomization, text).unwrap();
        bed.kubectl(&["apply", "-k", dir.path().to_str().unwrap()]);
        until("the record to wait", || {
            let log = Command::new("kubectl")
                .args(["-n", &ns, "logs", "job/squall"])
                .env("KUBECONFIG", &bed.kubeconfig)
                .output()
                .unwrap();
            String::from_utf8_lossy(&log.stdout).contains("the record waits in /record/run")
        });
        let to = tempfile::tempdir().unwrap();
        let fetched = Command::new("sh")
            .args([
                "-c",
                "kubectl -n \"$0\" exec job/squall -- squall pack /record/run | tar xz -C \"$1\"",
            ])
            .args([ns.as_str(), to.path().to_str().unwrap()])
            .env("KUBECONFIG", &bed.kubeconfig)
            .output()
            .unwrap();
        assert!(fetched.status.success(), "{}", said(&fetched));
        let judged = Command::new(env!("CARGO_BIN_EXE_squall"))
            .arg("judge")
            .arg(to.path())
            .output()
            .unwrap();
        assert_eq!(judged.status.code(), Some(0), "{}", said(&judged));
        bed.kubectl(&[
            "-n",
            &ns,
            "exec",
            "job/squall",
            "--",
            "squall",
            "pack",
            "--taken",
            "/record/run",
        ]);
        until("the Job to be complete", || {
            bed.json(&["-n", &ns, "get", "job", "squall"])["status"]["succeeded"] == json!(1)
        });
    });
}
