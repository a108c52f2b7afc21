//! Faults that Chaos Mesh makes. It cannot be had here: `chaos_agent` stands in for it and says how far.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use squall::platform::{Change, Platform};
use squall::record::What;
use squall::scenario::units::Ratio;
use squall::scenario::{DnsAnswer, Errno, FaultKind, IoFiles};

use crate::bed::{Bed, SERVE, until};
use crate::chaos_agent::{Agent, Resources, chaos};
use crate::harness::{run, target, with_bed};
use crate::killed::{clean_within_a_minute, objects, prepared};
use crate::whole::{ended, run_of};

fn scenario(bed: &Bed, ns: &str, hold: u32, guardian: &str, fault: &str, expect: &str) -> String {
    format!(
        "squall: 1\nname: chaos in {ns}\nseed: 4\ntarget:\n  kubernetes: {{ kubeconfig: {}, namespace: {ns}, service: web, \
         guardian: {{ {guardian} }} }}\n\
         traffic:\n  browse:\n    arrivals: {{ rate: 40/s, hold: {hold}s }}\n    timeout: 5s\n    \
         connections: {{ mode: per-user, max-age: 1s }}\n    journey: [ get: /products ]\n\
         faults:\n  - {fault}\nexpect:\n{expect}",
        bed.kubeconfig.display()
    )
}

fn verdicts(dir: &Path) -> Value {
    let text = std::fs::read_to_string(dir.join("run/result.json")).expect("a result");
    let result: Value = serde_json::from_str(&text).unwrap();
    result["verdicts"].clone()
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_delay_is_felt_while_it_lasts_and_judged() {
    with_bed(|bed| async move {
        let _resources = Resources::install(&bed);
        let ns = &*bed.namespace("t-delay");
        crate::strain::web(&bed, ns, 3, None);
        let _agent = Agent::start(&bed, ns);
        let fault = "{ at: 6s, for: 12s, delay: { latency: 600ms, pick: all } }";
        // A bound that the delay breaks, then one that leaves room for it.
        for (bound, code, verdict) in [("300ms", 1, "FAIL"), ("3s", 0, "PASS")] {
            let dir = tempfile::tempdir().unwrap();
            let expect = format!("  - {{ slo: \"p95 < {bound}\", phase: during }}\n");
            let child = run_of(
                dir.path(),
                &scenario(&bed, ns, 28, "pull: never", fault, &expect),
            )
            .spawn();
            until("a resource for each pod", || chaos(&bed, ns).len() == 3);
            let lease = bed.json(&["-n", ns, "get", "lease", "squall-web"]);
            for resource in chaos(&bed, ns) {
                let owner = &resource["metadata"]["ownerReferences"][0];
                assert_eq!(owner["uid"], lease["metadata"]["uid"], "{resource:#}");
                let run = &lease["metadata"]["uid"].as_str().unwrap()[..8];
                let name = resource["metadata"]["name"].as_str().unwrap();
                assert!(name.contains(run), "{name} of run {run}");
            }
            let (exit, summary) = ended(child.expect("squall"), dir.path());
            let found = &verdicts(dir.path())[0];
            assert_eq!(
                (exit, &found["verdict"]),
                (code, &json!(verdict)),
                "{found:#}"
            );
            let fault = &summary["faults"][0];
            assert_eq!(fault["stage"], "injected", "{fault:#}");
            assert_eq!(fault["instances"].as_array().unwrap().len(), 3);
            let seconds = |of: &Value| of.as_f64().unwrap() / 1e6;
            let injected = seconds(&fault["injected_us"]);
            let took = injected - seconds(&summary["traffic_start_us"]) - 6.0;
            let lasted = seconds(&fault["undone_us"]) - injected;
            let median = |phase: &str| {
                let phases = summary["phases"].as_array().unwrap();
                let of = phases.iter().find(|p| p["phase"] == phase).unwrap();
                of["totals"]["response"]["p50_us"].as_f64().unwrap() / 1e3
            };
            eprintln!(
                "injected after {took:.1} s, gone after {lasted:.1} s; medians {:.0}, {:.0}, {:.0} ms",
                median("before"),
                median("during"),
                median("after")
            );
            assert!((12.0..30.0).contains(&lasted), "{lasted}");
            assert!(median("before") < 300.0 && median("after") < 300.0);
            assert!(median("during") >= 600.0);
            assert_eq!(chaos(&bed, ns), Vec::<Value>::new(), "all are gone");
        }
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn what_is_never_injected_is_inconclusive_and_says_why() {
    with_bed(|bed| async move {
        let _resources = Resources::install(&bed);
        let ns = &*bed.namespace("t-idle-mesh");
        crate::strain::web(&bed, ns, 2, None);
        let inconclusive = |fault: &str, says: &[&str]| {
            let dir = tempfile::tempdir().unwrap();
            let expect = "  - errors < 99%\n";
            let text = scenario(&bed, ns, 42, "pull: never", fault, expect);
            let (code, summary) = ended(run_of(dir.path(), &text).spawn().unwrap(), dir.path());
            let found = &verdicts(dir.path())[0];
            assert_eq!(
                (code, &found["verdict"]),
                (3, &json!("INCONCLUSIVE")),
                "{found:#}"
            );
            assert_eq!(summary["faults"][0]["stage"], "ineffective", "{summary:#}");
            let because = found["because"].as_str().unwrap();
            eprintln!("{because}");
            assert!(says.iter().all(|s| because.contains(s)), "{because}");
            assert_eq!(chaos(&bed, ns), Vec::<Value>::new(), "it is gone");
        };
        inconclusive(
            "{ at: 2s, delay: { latency: 100ms } }",
            &["NetworkChaos", "no conditions", "no events"],
        );
        let _agent = Agent::start(&bed, ns);
        inconclusive(
            "{ at: 2s, io-error: { volume: /data } }",
            &[
                "IOChaos",
                "AllInjected is False",
                "Failed to apply chaos: there is nobody here",
            ],
        );
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn without_chaos_mesh_the_plan_says_so() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-no-mesh");
        bed.web(ns, 1, SERVE);
        let dir = tempfile::tempdir().unwrap();
        let plan = |fault: &str| {
            let file = dir.path().join("scenario.yaml");
            std::fs::write(
                &file,
                scenario(&bed, ns, 10, "pull: never", fault, "  - errors < 99%\n"),
            )
            .unwrap();
            let out = Command::new(env!("CARGO_BIN_EXE_squall"))
                .arg("plan")
                .arg(&file)
                .output()
                .unwrap();
            let text = [out.stdout, out.stderr].concat();
            (out.status.code(), String::from_utf8(text).unwrap())
        };
        let clock = "{ at: 2s, clock-skew: { behind: 10m } }";
        let (code, said) = plan(clock);
        eprintln!("{said}");
        assert_eq!(code, Some(2), "{said}");
        for word in [
            "clock-skew",
            "TimeChaos",
            "chaos-mesh.org/v1alpha1",
            "install Chaos Mesh",
        ] {
            assert!(said.contains(word), "{word}: {said}");
        }
        let (code, said) = plan("{ at: 2s, pod-kill: {} }");
        assert!(code == Some(0) && !said.contains("chaos-mesh"), "{said}");
        let _resources = Resources::install(&bed);
        let (code, said) = plan(clock);
        assert_eq!(code, Some(0), "{said}");
        for verb in ["create", "delete", "get"] {
            let call = format!("allowed call: {verb} timechaos.chaos-mesh.org (clock-skew)");
            assert!(said.contains(&call), "{call}: {said}");
        }
        assert!(!said.contains("networkchaos"), "{said}");
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn killed_under_a_delay_it_leaves_no_chaos() {
    with_bed(|bed| async move {
        let _resources = Resources::install(&bed);
        let ns = &*prepared(&bed, "t-mesh-killed");
        let _agent = Agent::start(&bed, ns);
        let before = objects(&bed, ns);
        let dir = tempfile::tempdir().unwrap();
        let fault = "{ at: 2s, for: 2m, delay: { latency: 200ms, pick: 2 } }";
        let guardian = format!("image: \"{}\", pull: never", crate::bed::DEMO);
        let text = scenario(&bed, ns, 170, &guardian, fault, "  - errors < 99%\n")
            .replace("/products", "/index.html");
        let mut child = run_of(dir.path(), &text).spawn().unwrap();
        until("two delays in force", || {
            let injected =
                |c: &Value| c["status"]["experiment"]["containerRecords"][0]["phase"] == "Injected";
            chaos(&bed, ns).iter().filter(|c| injected(c)).count() == 2
        });
        let killed = Instant::now();
        child.kill().unwrap();
        child.wait().unwrap();
        while !chaos(&bed, ns).is_empty() {
            assert!(
                killed.elapsed() < Duration::from_secs(60),
                "{:#?}",
                chaos(&bed, ns)
            );
            std::thread::sleep(Duration::from_millis(300));
        }
        eprintln!(
            "the resources are gone {:.1} s after the kill",
            killed.elapsed().as_secs_f64()
        );
        let took = clean_within_a_minute(&bed, ns, &before, killed);
        eprintln!(
            "all is as before {:.1} s after the kill",
            took.as_secs_f64()
        );
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_black_hole_lets_nothing_through_until_it_is_undone() {
    with_bed(|bed| async move {
        let _resources = Resources::install(&bed);
        let ns = &*bed.namespace("t-hole");
        bed.web(ns, 2, SERVE);
        let _agent = Agent::start(&bed, ns);
        let run = run(&target(&bed, ns)).await;
        let names = run.names();
        let address = |pod: &str| -> SocketAddr {
            let pod = bed.json(&["-n", ns, "get", "pod", pod]);
            format!("{}:8080", pod["status"]["podIP"].as_str().unwrap())
                .parse()
                .unwrap()
        };
        let reached =
            |to: SocketAddr| TcpStream::connect_timeout(&to, Duration::from_secs(1)).is_ok();
        let (hit, other) = (address(&names[0]), address(&names[1]));
        assert!(reached(hit) && reached(other));
        let undo = run
            .apply(FaultKind::BlackHole, &names[0])
            .await
            .expect("black-hole")
            .unwrap();
        assert!(
            !reached(hit) && reached(other),
            "the one, and not the other"
        );
        run.undo_as_another_process(&undo).await;
        // Gone from the cluster means taken back: no further wait.
        assert!(reached(hit), "well again");
        assert_eq!(chaos(&bed, ns), Vec::<Value>::new());
        let is_over = |w: &What| matches!(w, What::Note { text, .. } if text.contains("not in force any more"));
        let told = run.count(is_over);

        // Somebody else ends it.
        let undo = run
            .apply(FaultKind::BlackHole, &names[1])
            .await
            .expect("black-hole")
            .unwrap();
        assert!(!reached(other));
        bed.kubectl(&["-n", ns, "delete", "networkchaos", "--all"]);
        assert!(reached(other));
        run.platform.undo(&undo).await.expect("undo");
        run.told_now("that it was over", |r| r.count(is_over) == told + 1)
            .await;
        run.platform.stop().await.unwrap();
    });
}

/// Each kind of resource, as the API server has taken it: a field that Chaos Mesh does not know would be missing.
#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn the_api_server_takes_each_resource_whole() {
    with_bed(|bed| async move {
        let _resources = Resources::install(&bed);
        let ns = &*bed.namespace("t-kinds");
        bed.web(ns, 1, SERVE);
        let run = run(&target(&bed, ns)).await;
        let name = run.names()[0].clone();
        let files = || IoFiles {
            volume: "/data".into(),
            path: Some("/data/*".into()),
            share: Ratio::fraction(0.5),
            container: Some("web".into()),
        };
        let second = Duration::from_secs(1);
        let io = json!({"volumePath": "/data", "path": "/data/*", "percent": 50, "containerNames": ["web"]});
        let with = |base: &Value, more: Value| {
            let mut all = base.clone();
            all.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            all
        };
        for (kind, expected) in [
            (
                FaultKind::Delay {
                    latency: second,
                    jitter: second,
                },
                json!({"action": "delay", "delay": {"latency": "1s", "jitter": "1s", "correlation": "0"}}),
            ),
            (
                FaultKind::Loss {
                    share: Ratio::fraction(0.1),
                },
                json!({"action": "loss", "loss": {"loss": "10", "correlation": "0"}}),
            ),
            (
                FaultKind::DnsFault {
                    answer: DnsAnswer::Error,
                    domains: vec!["a.b".into()],
                },
                json!({"action": "error", "patterns": ["a.b"]}),
            ),
            (
                FaultKind::IoDelay {
                    latency: second,
                    files: files(),
                },
                with(&io, json!({"action": "latency", "delay": "1s"})),
            ),
            (
                FaultKind::IoError {
                    errno: Errno::Eio,
                    files: files(),
                },
                with(&io, json!({"action": "fault", "errno": 5})),
            ),
            (
                FaultKind::ClockSkew {
                    offset: second,
                    behind: true,
                    container: Some("web".into()),
                },
                json!({"timeOffset": "-1s", "containerNames": ["web"]}),
            ),
        ] {
            let whom = json!({"mode": "all", "selector": {"pods": {ns: [name]}}});
            let change = Change {
                kind: kind.clone(),
                instance: name.clone(),
            };
            let undo = run.platform.undo_of(&change).unwrap().expect("an undo");
            // Nobody injects it: the call waits while it is looked at.
            let made =
                tokio::time::timeout(Duration::from_secs(3), run.platform.apply(&change)).await;
            assert!(made.is_err(), "{}: {made:?}", kind.name());
            let all = chaos(&bed, ns);
            assert_eq!(all.len(), 1, "{}: {all:#?}", kind.name());
            assert_eq!(all[0]["spec"], with(&expected, whom), "{}", kind.name());
            run.undo_as_another_process(&undo).await;
            assert_eq!(chaos(&bed, ns), Vec::<Value>::new());
        }
        run.platform.stop().await.unwrap();
    });
}
