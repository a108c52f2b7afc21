//! Runs every case with every seed, and tells what came of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use squall::audit::{Harm, Objects, audit};
use squall::judge::{Ruling, Verdict, judge};
use squall::record::Record;

use super::case::{Case, Make, Right, Seen};
use super::sim::{Dice, Truth, run};

/// What came of a case, over its seeds.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Seeds run.
    pub runs: u64,
    /// The right answer was given.
    pub right: u64,
    /// Runs in which something failed that was well.
    pub false_fails: u64,
    /// Runs in which nothing failed, and something could not be told.
    pub inconclusive: u64,
    /// Seeds of wrong answers, with what was wrong.
    pub wrong: Vec<(u64, String)>,
}

/// What one run came to.
enum Outcome {
    Right,
    Inconclusive(String),
    Wrong(String),
}

/// So many wrong answers of a case are told.
const TOLD: usize = 3;

/// All cases with the seeds from 1 on.
pub fn run_all(cases: &[Case], seeds: u64) -> Vec<Tally> {
    let work: Vec<(usize, u64)> = (1..=seeds)
        .flat_map(|seed| (0..cases.len()).map(move |case| (case, seed)))
        .collect();
    let next = AtomicUsize::new(0);
    let tallies = Mutex::new(vec![Tally::default(); cases.len()]);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((index, seed)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = one(&cases[*index], *seed);
                    let mut tallies = tallies.lock().expect("no other thread has panicked");
                    note(&mut tallies[*index], *seed, outcome, &cases[*index].right);
                }
            });
        }
    });
    let mut tallies = tallies.into_inner().expect("no thread has panicked");
    for tally in &mut tallies {
        tally.wrong.sort_by_key(|(seed, _)| *seed);
    }
    tallies
}

/// A case's run with a seed, if it is one.
pub fn simulate(case: &Case, seed: u64) -> Option<(Record, Truth)> {
    let mut dice = Dice::new(seed, 0);
    match case.make {
        Make::Record(make) => Some(make(&mut dice)),
        Make::World(make) => {
            let mut world = make(&mut dice);
            world.seed = seed;
            Some(run(&world))
        }
        Make::Objects(_) => None,
    }
}

/// What is said of a case with a seed, and what was true.
fn judged(case: &Case, seed: u64) -> (Option<Record>, Truth, Vec<Verdict>) {
    if let Make::Objects(make) = case.make {
        let found = audited(&make(&mut Dice::new(seed, 0)));
        return (None, Truth::default(), found);
    }
    let (record, truth) = simulate(case, seed).expect("what is no cluster is a run");
    let verdicts = judge(&record);
    (Some(record), truth, verdicts)
}

/// The findings of an audit as verdicts, or one that nothing was found.
fn audited(objects: &Objects) -> Vec<Verdict> {
    let verdict = |ruling, because| Verdict {
        oracle: "audit".into(),
        expectation: "nothing that would bring the service down".into(),
        verdict: ruling,
        because,
        missing: None,
        evidence: Vec::new(),
    };
    let audit = audit(objects, Some("front")).expect("front stands behind a Service");
    let found = audit.findings.iter().map(|f| {
        let harm = match f.harm {
            Harm::Breaks => "BREAKS",
            Harm::Weakens => "WEAKENS",
        };
        verdict(
            Ruling::Fail,
            format!("{harm} {}: {} {}", f.rule, f.object, f.what),
        )
    });
    let found: Vec<Verdict> = found.collect();
    match found.is_empty() {
        true => vec![verdict(Ruling::Pass, "nothing was found".into())],
        false => found,
    }
}

/// All that is said of a run, and what was true.
pub fn told(case: &Case, seed: u64) -> String {
    let (_, truth, verdicts) = judged(case, seed);
    let mut text = format!("{truth:#?}\n");
    for verdict in verdicts {
        let _ = writeln!(text, "{verdict:#?}");
    }
    text
}

/// One case with one seed.
fn one(case: &Case, seed: u64) -> Outcome {
    let (record, truth, verdicts) = judged(case, seed);
    let seen = Seen {
        truth: &truth,
        record: record.as_ref(),
        verdicts: &verdicts,
    };
    let failed = verdicts.iter().find(|v| v.verdict == Ruling::Fail);
    let unsure = verdicts.iter().find(|v| v.verdict == Ruling::Inconclusive);
    let told = |v: &Verdict| format!("{} {:?}: {}", v.oracle, v.verdict, v.because);
    match &case.right {
        Right::Fails(oracle, check) => match seen.failed(oracle).and_then(|_| check(&seen)) {
            Ok(()) => Outcome::Right,
            Err(why) => Outcome::Wrong(why),
        },
        Right::FailsOrUnsure(oracle) => match seen.of(oracle) {
            Ok(v) if v.verdict == Ruling::Fail => Outcome::Right,
            Ok(v) if v.verdict == Ruling::Inconclusive => Outcome::Inconclusive(told(v)),
            Ok(v) => Outcome::Wrong(told(v)),
            Err(why) => Outcome::Wrong(why),
        },
        Right::Unknown(check) => {
            let sure = verdicts.iter().find(|v| v.verdict != Ruling::Inconclusive);
            match sure {
                Some(sure) => Outcome::Wrong(told(sure)),
                None => check(&seen).map_or_else(Outcome::Wrong, |()| Outcome::Right),
            }
        }
        Right::Healthy | Right::TooLittle => match (failed, unsure) {
            (Some(failed), _) => Outcome::Wrong(told(failed)),
            (None, Some(unsure)) => Outcome::Inconclusive(told(unsure)),
            (None, None) => Outcome::Right,
        },
    }
}

fn note(tally: &mut Tally, seed: u64, outcome: Outcome, right: &Right) {
    tally.runs += 1;
    match outcome {
        Outcome::Right => tally.right += 1,
        Outcome::Inconclusive(why) => {
            tally.inconclusive += 1;
            if matches!(right, Right::Healthy) {
                tally.wrong.push((seed, why));
            }
        }
        Outcome::Wrong(why) => {
            tally.false_fails += u64::from(matches!(right, Right::Healthy | Right::TooLittle));
            tally.wrong.push((seed, why));
        }
    }
}

/// The figures over all cases.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Runs with a defect, and those in which it was caught.
    pub defects: u64,
    /// See `defects`.
    pub caught: u64,
    /// Runs without one, and those in which something failed.
    pub healthy: u64,
    /// See `healthy`.
    pub failed: u64,
    /// Runs with a defect and too little to tell of it that passed all the same.
    pub passed: u64,
    /// Healthy runs of a usual size, and those that could not be told.
    pub sized: u64,
    /// See `sized`.
    pub unsure: u64,
}

/// Adds up.
pub fn figures(cases: &[Case], tallies: &[Tally]) -> Figures {
    let mut all = Figures::default();
    for (case, tally) in cases.iter().zip(tallies) {
        match case.right {
            Right::Fails(..) | Right::Unknown(_) => {
                all.defects += tally.runs;
                all.caught += tally.right;
            }
            Right::FailsOrUnsure(_) => all.passed += tally.wrong.len() as u64,
            Right::Healthy | Right::TooLittle => {
                all.healthy += tally.runs;
                all.failed += tally.false_fails;
            }
        }
        if matches!(case.right, Right::Healthy) {
            all.sized += tally.runs;
            all.unsure += tally.inconclusive;
        }
    }
    all
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "none".into();
    }
    let share = 100.0 * part as f64 / whole as f64;
    match (part, share) {
        (0, _) => "0 %".into(),
        (part, _) if part == whole => "100 %".into(),
        _ => format!("{share:.2} %"),
    }
}

/// The figures in two sentences.
pub fn sentences(all: &Figures) -> String {
    format!(
        "Defects caught: {} of {} runs ({}). Healthy runs that failed: {} of {} ({}); INCONCLUSIVE among those of a \
         usual size: {} of {} ({}).",
        all.caught,
        all.defects,
        percent(all.caught, all.defects),
        all.failed,
        all.healthy,
        percent(all.failed, all.healthy),
        all.unsure,
        all.sized,
        percent(all.unsure, all.sized),
    )
}

/// The matrix as Markdown tables.
pub fn tables(cases: &[Case], tallies: &[Tally]) -> String {
    let mut text = String::new();
    let rows = || cases.iter().zip(tallies);
    let _ = writeln!(
        text,
        "| defect | verdict | caught | proven for real |\n| --- | --- | --- | --- |"
    );
    for (case, tally) in rows() {
        let oracle = match &case.right {
            Right::Fails("audit", _) => "`squall audit`".into(),
            Right::Fails(oracle, _) => format!("`{oracle}` FAIL"),
            Right::FailsOrUnsure(oracle) => format!("`{oracle}` FAIL, or INCONCLUSIVE"),
            Right::Unknown(_) => "`generator` INCONCLUSIVE, and all others".into(),
            _ => continue,
        };
        let caught = percent(tally.right, tally.runs);
        let rest = match case.right {
            Right::FailsOrUnsure(_) => " (too little to tell)",
            _ => "",
        };
        let _ = writeln!(
            text,
            "| {} | {oracle} | {caught}{rest} | {} |",
            case.name, case.real
        );
    }
    let _ = writeln!(
        text,
        "\n| healthy, but | failed | INCONCLUSIVE | proven for real |\n| --- | --- | --- | --- |"
    );
    for (case, tally) in rows() {
        let note = match case.right {
            Right::Healthy => "",
            Right::TooLittle => " (too little to tell)",
            _ => continue,
        };
        let _ = writeln!(
            text,
            "| {} | {} | {}{note} | {} |",
            case.name,
            percent(tally.false_fails, tally.runs),
            percent(tally.inconclusive, tally.runs),
            case.real
        );
    }
    text
}

/// What went wrong, by case, with the seeds.
pub fn complaints(cases: &[Case], tallies: &[Tally]) -> String {
    let mut text = String::new();
    for (case, tally) in cases.iter().zip(tallies) {
        if tally.wrong.is_empty() {
            continue;
        }
        let _ = writeln!(
            text,
            "{}: {} of {} runs",
            case.name,
            tally.wrong.len(),
            tally.runs
        );
        let mut told: BTreeMap<&str, u64> = BTreeMap::new();
        for (seed, why) in &tally.wrong {
            told.entry(why).or_insert(*seed);
        }
        for (why, seed) in told.iter().take(TOLD) {
            let _ = writeln!(text, "  seed {seed}: {why}");
        }
    }
    text
}
