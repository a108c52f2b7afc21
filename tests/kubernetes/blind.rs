//! The guard looks at a cluster that does not show itself any more.

use std::time::{Duration, Instant};

use squall::platform::Platform;
use squall::record::{View, What};

use crate::bed::{SERVE, script, until, until_within};
use crate::guarded::squall;
use crate::harness::with_bed;
use crate::killed::replicas;
use crate::late::Way;

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn an_api_server_that_falls_silent_is_out_of_sight_soon() {
    with_bed(|bed| async move {
        let (ns, dir) = (&*bed.namespace("t-silent"), tempfile::tempdir().unwrap());
        bed.web(ns, 2, SERVE);
        let way = Way::open(&bed, dir.path()).await;
        let run = way.run(&bed, ns).await;
        // All its watches are renewed once, and none is lost by it.
        tokio::time::sleep(Duration::from_secs(20)).await;
        let lost = |w: &What| matches!(w, What::Watch(w) if w.view == View::Lost);
        assert_eq!(run.count(lost), 0, "{:?}", run.events.lock().unwrap());
        assert_eq!(run.platform.surroundings().unseen.len(), 0);
        way.fall_silent(true);
        let began = Instant::now();
        run.told_now("the nodes to be out of sight", |r| {
            r.platform.surroundings().unseen.len() == 2
        })
        .await;
        let took = began.elapsed().as_secs_f64();
        eprintln!("nodes and workloads were out of sight after {took:.1} s");
        assert!(took < 40.0, "{took}");
        way.fall_silent(false);
        run.told_now("the nodes to be in sight again", |r| {
            r.platform.surroundings().unseen.is_empty()
        })
        .await;
        run.platform.stop().await.unwrap();
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_run_whose_guard_cannot_see_makes_no_fault_and_is_over_in_the_end() {
    with_bed(|bed| async move {
        let (ns, dir) = (&*bed.namespace("t-blind"), tempfile::tempdir().unwrap());
        bed.web(ns, 3, SERVE);
        let faults =
            "  - { at: 1s, for: 3m, scale: { replicas: 2 } }\n  - { at: 40s, pod-kill: {} }\n";
        let guard = "abort-when: nodes-not-ready > 0 for 3s";
        let child = squall(&bed, ns, dir.path(), faults, guard);
        until("the scaled Deployment", || replicas(&bed, ns) == 2);
        script("apiserver-stop.sh", &[]);
        let record = dir.path().join("run/record.jsonl");
        until_within(100, "the run to end", || {
            let text = std::fs::read_to_string(&record).unwrap();
            text.contains("\"stopping\"")
        });
        script("apiserver-start.sh", &[]);
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        eprintln!("{said}");
        let text = std::fs::read_to_string(&record).unwrap();
        assert!(
            text.contains("a guard that cannot see guards nothing"),
            "{text}"
        );
        assert!(
            text.contains("nothing was done"),
            "the kill at 40 s: {text}"
        );
        // In time for the undo, or not: then the ledger has it.
        if ended.status.code() == Some(6) {
            let undo = std::process::Command::new(env!("CARGO_BIN_EXE_squall"))
                .args(["undo".as_ref(), dir.path().join("run").as_os_str()])
                .env("KUBECONFIG", &bed.kubeconfig)
                .status();
            assert!(undo.unwrap().success());
        } else {
            assert_eq!(ended.status.code(), Some(4), "{said}");
        }
        assert_eq!(replicas(&bed, ns), 3, "undone");
    });
}
