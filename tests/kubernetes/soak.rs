//! A run that goes on and on: 2,000 requests a second through the Service while a pod is killed each minute. Two minutes,
//! or as long as SQUALL_SOAK says (`30m`); with SQUALL_SOAK_REPORT it writes what it measured there, as Markdown.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use squall::record::{Ended, Record, View, What};
use squall::scenario::units::parse_duration;

use crate::harness::with_bed;
use crate::whole::{counted, quick_demo, run_of};

const RATE: u64 = 2_000;

/// Resident memory over time: seconds since the start, KiB.
type Memory = Vec<(f64, u64)>;

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn memory_stays_flat_watches_stay_alive_and_the_record_is_whole() {
    with_bed(|bed| async move {
        let hold = std::env::var("SQUALL_SOAK").map_or(Duration::from_secs(120), |text| {
            parse_duration(&text).expect("SQUALL_SOAK: a duration, such as 30m")
        });
        let ns = bed.namespace("t-soak");
        let (dir, counters) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        quick_demo(&bed, &ns, counters.path(), &[]);
        // A pool: with a connection for each visitor, of whom there are ten times as many after each stall of a busy machine,
        // so many are opened anew after two seconds that the machine runs out of ports within minutes.
        let text = format!(
            "squall: 1\nname: soak\nseed: 7\ntarget:\n  kubernetes: {{ kubeconfig: {}, namespace: {ns}, service: web }}\n\
             traffic:\n  browse:\n    arrivals: {{ rate: {RATE}/s, hold: {}s }}\n    timeout: 5s\n    \
             connections: {{ pooled: 200, max-age: 2s }}\n    journey: [ get: /products ]\n\
             faults:\n  - {{ at: 20s, every: 60s, pod-kill: {{ grace: 30s }} }}\n\
             expect: [ errors < 0.1%, recovery: {{ within: 15s }} ]\n",
            bed.kubeconfig.display(),
            hold.as_secs(),
        );
        let run = dir.path().join("run");
        let mut child = run_of(dir.path(), &text).spawn().expect("squall");
        let (started, mut memory) = (Instant::now(), Memory::new());
        let code = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status.code();
            }
            memory.extend(resident(child.id()).map(|kib| (started.elapsed().as_secs_f64(), kib)));
            std::thread::sleep(Duration::from_secs(1));
        };
        let kept = std::fs::read_to_string(run.join("result.json")).expect("a result");
        let result: Value = serde_json::from_str(&kept).unwrap();
        let record = Record::load(&run).unwrap();
        let report = describe(hold, &memory, &record, &result, &run);
        eprintln!("{report}");
        if let Ok(path) = std::env::var("SQUALL_SOAK_REPORT") {
            std::fs::write(path, &report).unwrap();
        }
        let summary = &result["summary"];
        assert!(
            code == Some(0) || code == Some(3),
            "{code:?}: {:#}",
            result["verdicts"]
        );
        whole(&record, summary, hold);
        watched(&record, hold);
        served(summary, counters.path());
        let (early, late) = quarters(&memory);
        assert!(
            late < early * 1.15 + 4096.0,
            "memory grew from {early} to {late} KiB"
        );
    });
}

/// Each request that was due ended, each second is there, and the last line says that the run was completed.
fn whole(record: &Record, summary: &Value, hold: Duration) {
    let last = record.events.last().map(|e| &e.what);
    let ended = Ended::Completed;
    assert_eq!(last, Some(&What::End { ended }));
    let due = RATE * hold.as_secs();
    assert_eq!(summary["all"]["due"], due);
    assert_eq!(summary["all"]["ended"], due);
    let seconds = record.intervals.len() as u64;
    assert!(seconds >= hold.as_secs(), "{seconds} seconds");
}

/// What was lost of the view came back, and every kill was seen from its first sign to the replacement.
fn watched(record: &Record, hold: Duration) {
    let mut lost = std::collections::BTreeSet::new();
    for event in &record.events {
        if let What::Watch(watch) = &event.what {
            match watch.view {
                View::Lost => lost.insert(watch.of.clone()),
                View::Resumed | View::Relisted => lost.remove(&watch.of),
            };
        }
    }
    assert!(lost.is_empty(), "never came back: {lost:?}");
    let faults = squall::judge::summarize(record).faults;
    let kills = (hold.as_secs() - 20).div_ceil(60);
    assert_eq!(faults.len() as u64, kills);
    for fault in faults {
        assert!(fault.endpoint_removed_us.is_some(), "{fault:?}");
        assert!(fault.ready_again_us.is_some(), "{fault:?}");
        assert!(fault.first_served_us.is_some(), "{fault:?}");
    }
}

/// What the pods counted is what was recorded as answered, pod by pod.
fn served(summary: &Value, counters: &Path) {
    for instance in summary["instances"].as_array().unwrap() {
        let name = instance["name"].as_str().unwrap();
        let (begun, finished) = counted(counters, name);
        let answered = instance["answered"].as_u64().unwrap();
        assert_eq!((begun, finished), (answered, answered), "{name}");
    }
}

fn resident(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// Mean of the second and of the last quarter of the time: in the first one, buffers and tables get their size.
fn quarters(memory: &Memory) -> (f64, f64) {
    let quarter = memory.len() / 4;
    let mean = |part: &[(f64, u64)]| {
        part.iter().map(|(_, kib)| *kib as f64).sum::<f64>() / part.len().max(1) as f64
    };
    (
        mean(&memory[quarter..2 * quarter]),
        mean(&memory[3 * quarter..]),
    )
}

fn describe(
    hold: Duration,
    memory: &Memory,
    record: &Record,
    result: &Value,
    run: &Path,
) -> String {
    let summary = &result["summary"];
    let (early, late) = quarters(memory);
    let most = |of: &dyn Fn(f64) -> bool| {
        let part = memory.iter().filter(|(at, _)| of(*at));
        part.map(|(_, kib)| *kib).max().unwrap_or(0) as f64 / 1024.0
    };
    let traffic = hold.as_secs_f64();
    let size = |name: &str| std::fs::metadata(run.join(name)).map_or(0, |m| m.len());
    let bytes = size("record.jsonl") + size("intervals.hlog");
    let lost = record
        .events
        .iter()
        .filter(|e| matches!(&e.what, What::Watch(w) if w.view == View::Lost))
        .count();
    let mut text =
        String::from("# Soak\n\nWritten by the test `soak` (tests/kubernetes/soak.rs).\n\n");
    let mut row = |what: &str, value: String| writeln!(text, "| {what} | {value} |").unwrap();
    row("what", "measured".into());
    row("---", "---".into());
    row(
        "traffic",
        format!(
            "{RATE}/s for {} s, 4 pods behind kube-proxy",
            hold.as_secs()
        ),
    );
    row(
        "requests due, answered, failed",
        format!(
            "{}, {}, {}",
            summary["all"]["due"], summary["all"]["answered"], summary["all"]["failed"]
        ),
    );
    row(
        "pods killed, one a minute, with grace",
        summary["faults"].as_array().map_or(0, Vec::len).to_string(),
    );
    row(
        "memory, second quarter of the time",
        format!("{:.1} MiB", early / 1024.0),
    );
    row("memory, last quarter", format!("{:.1} MiB", late / 1024.0));
    row(
        "memory, most while traffic ran",
        format!("{:.1} MiB", most(&|at| at < traffic)),
    );
    row(
        "memory, most after it, when the record is judged and shown",
        format!("{:.1} MiB", most(&|at| at >= traffic)),
    );
    row(
        "record",
        format!(
            "{:.2} MB, {} bytes a second",
            bytes as f64 / 1e6,
            bytes / hold.as_secs()
        ),
    );
    row("watches lost", format!("{lost}, all taken up again"));
    row(
        "build",
        if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        }
        .into(),
    );
    for verdict in result["verdicts"].as_array().unwrap() {
        let because = verdict["because"].as_str().unwrap_or_default();
        row(
            verdict["expectation"].as_str().unwrap_or_default(),
            format!(
                "{}: {because}",
                verdict["verdict"].as_str().unwrap_or_default()
            ),
        );
    }
    text
}
