//! Runs that were recorded once, on real processes: judged and reported again they give what they gave, byte for byte.
//! Where a judge or a report is changed on purpose, `squall report FOLDER` writes what is compared here anew.

mod common;

use std::path::Path;
use std::process::Command;

use common::SQUALL;

#[test]
fn a_recorded_kill_that_was_survived_is_judged_as_it_was() {
    judged_as_it_was("reports/sample", 0);
}

#[test]
fn a_recorded_stop_that_lost_requests_is_judged_as_it_was() {
    judged_as_it_was("tests/golden/no-drain", 1);
}

fn judged_as_it_was(folder: &str, exit: i32) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let judged = Command::new(SQUALL)
        .args(["judge", "--json"])
        .arg(&folder)
        .output()
        .unwrap();
    assert_eq!(judged.status.code(), Some(exit), "{judged:?}");
    same(&folder.join("result.json"), &judged.stdout);
    let again = tempfile::tempdir().unwrap();
    let reported = Command::new(SQUALL)
        .arg("report")
        .arg(&folder)
        .arg("--out")
        .arg(again.path())
        .output()
        .unwrap();
    assert!(reported.status.success(), "{reported:?}");
    for name in ["result.json", "summary.md", "junit.xml", "report.html"] {
        let written = std::fs::read(again.path().join(name)).unwrap();
        let stored = folder.join(name);
        // The page is stored once, with the sample.
        if name != "report.html" || stored.exists() {
            same(&stored, &written);
        }
    }
}

fn same(stored: &Path, now: &[u8]) {
    let before = std::fs::read(stored).unwrap_or_else(|e| panic!("{}: {e}", stored.display()));
    let first = before.iter().zip(now).position(|(a, b)| a != b);
    let first = first.unwrap_or(before.len().min(now.len()));
    let near = |all: &[u8]| {
        let part = &all[first.saturating_sub(100)..all.len().min(first + 100)];
        String::from_utf8_lossy(part).into_owned()
    };
    assert!(
        before == now,
        "{} is another from byte {first} on\nstored: {}\nnow:    {}",
        stored.display(),
        near(&before),
        near(now)
    );
}
