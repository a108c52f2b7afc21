//! How true the verdicts are: services, balancers, autoscalers and configurations with one defect each, and healthy ones
//! that are awkward, each as hundreds of runs that differ in everything else.
//!
//! A defect must be caught by the verdict that is meant for it, with evidence that is true; a healthy run must not
//! fail. `tests/defects/run.sh` runs the matrix at full size and writes docs/verdict-accuracy.md.

mod case;
mod cases;
mod matrix;
/// A shop in a cluster, for the audit's own tests.
#[path = "../../src/audit/testing.rs"]
mod shop;
mod sim;
/// Records made by hand for the judges' own tests; what is not needed here is theirs.
#[allow(dead_code, unused_imports)]
#[path = "../../src/judge/testing/mod.rs"]
mod testing;

use std::path::Path;

use case::Case;
use squall::judge::judge;
use squall::record::Record;
// Where the records made by hand look for them.
use squall::{audit, judge, platform, record, scenario};

/// Seeds of each case where nobody says how many.
const SEEDS: u64 = 6;

fn seeds() -> u64 {
    let said = std::env::var("SQUALL_DEFECT_SEEDS").ok();
    said.map_or(SEEDS, |n| {
        n.parse().expect("SQUALL_DEFECT_SEEDS is a number")
    })
}

/// Only the cases whose names hold this: to look into one.
fn chosen() -> Vec<Case> {
    let only = std::env::var("SQUALL_DEFECT_CASES").unwrap_or_default();
    let cases = cases::all();
    cases
        .into_iter()
        .filter(|c| c.name.contains(&only))
        .collect()
}

#[test]
fn every_defect_is_caught_and_nothing_healthy_fails() {
    let cases = chosen();
    let tallies = matrix::run_all(&cases, seeds());
    let all = matrix::figures(&cases, &tallies);
    println!(
        "{}\n{}",
        matrix::tables(&cases, &tallies),
        matrix::sentences(&all)
    );
    let complaints = matrix::complaints(&cases, &tallies);
    println!("{complaints}");
    if let Ok(path) = std::env::var("SQUALL_DEFECT_REPORT") {
        write_report(Path::new(&path), &cases, &tallies);
    }
    assert_eq!(all.caught, all.defects, "a defect was missed\n{complaints}");
    assert_eq!(all.failed, 0, "a healthy run failed\n{complaints}");
    assert_eq!(all.passed, 0, "a defect passed\n{complaints}");
    let most = all.sized / 20;
    assert!(
        all.unsure <= most,
        "{} unsure, at most {most}\n{complaints}",
        all.unsure
    );
}

/// All that was said of one run, for who looks into it: SQUALL_DEFECT_CASES chooses the cases, SQUALL_DEFECT_SEED the run.
#[test]
#[ignore = "tells of one run: SQUALL_DEFECT_SEED says which"]
fn one_run_told_in_full() {
    let seed = std::env::var("SQUALL_DEFECT_SEED").expect("SQUALL_DEFECT_SEED is set");
    let seed = seed.parse().expect("SQUALL_DEFECT_SEED is a number");
    for case in chosen() {
        println!("{}\n{}", case.name, matrix::told(&case, seed));
    }
}

fn write_report(path: &Path, cases: &[Case], tallies: &[matrix::Tally]) {
    let runs = tallies.iter().map(|t| t.runs).max().unwrap_or(0);
    let text = format!(
        "{}\n{}\n\n{} cases, {runs} runs each.\n\n{}\n{}",
        include_str!("head.md"),
        matrix::sentences(&matrix::figures(cases, tallies)),
        cases.len(),
        matrix::tables(cases, tallies),
        include_str!("tail.md")
    );
    std::fs::write(path, text).expect("the report can be written");
}

/// The record of the simulation is one that the program can write and read: judged from disk it comes to the same.
#[test]
fn what_is_judged_is_what_a_record_on_disk_says() {
    for case in chosen() {
        let Some((record, _)) = matrix::simulate(&case, 1) else {
            continue;
        };
        let dir = tempfile::tempdir().expect("room for a record");
        let read: Record = sim::write_and_read(&record, dir.path());
        assert_eq!(read.damage, Vec::<String>::new(), "{}", case.name);
        let told = |record: &Record| {
            let all = judge(record).into_iter();
            all.map(|v| (v.oracle, v.verdict, v.because))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&record), told(&read), "{}", case.name);
    }
}
