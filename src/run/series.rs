//! Several runs: a scenario again and again, alone or in turn with another one.
//!
//! What is asked for is in `series.json` before the first run begins, so that `squall judge` can tell a whole series
//! from one that was cut short; everything else comes from the records of the runs.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::capacity::judge_levels;
use super::{Finished, Interrupts, Options, Progress, RunError, folder, host, plan, run_one};
use crate::judge::compare::{CompareExpectation, Compared, Wanted, compare_sides, digest, sides};
use crate::judge::series::{SeriesResult, SeriesRun, judge_series, series_run};
use crate::judge::{judge, summarize};
use crate::record::{Ended, Record, RecordError, runs_in};
use crate::report::Sheet;
use crate::say;
use crate::scenario::{Capacity, Scenario};

/// Name of the file that says what a series is.
pub const SERIES_FILE: &str = "series.json";

/// Folders of the two sides.
const SIDES: [&str; 2] = ["baseline", "candidate"];

/// What a series is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Plan {
    /// One scenario, again and again.
    Repeat {
        /// Runs asked for.
        runs: u32,
        /// The seed that the runs' seeds come from.
        seed: u64,
    },
    /// Two scenarios in turn.
    Comparison {
        /// Runs asked for, of each.
        runs: u32,
        /// The seed that the rounds' seeds come from.
        seed: u64,
        /// What is expected of the candidate.
        expect: CompareExpectation,
    },
    /// One scenario at one rate after the other.
    Capacity {
        /// What is searched.
        search: Capacity,
        /// The seed that the runs' seeds come from.
        seed: u64,
    },
}

/// What to repeat.
#[derive(Debug)]
pub struct Repeat {
    /// The scenario; the candidate where there is a baseline.
    pub scenario: Scenario,
    /// So often.
    pub runs: u32,
    /// In turn with this one.
    pub against: Option<(Scenario, CompareExpectation)>,
}

/// A series that was made.
#[derive(Debug)]
pub struct Series {
    /// Its folder.
    pub dir: PathBuf,
    /// What it shows.
    pub sheet: Sheet,
    /// A run was aborted, or the series was.
    pub aborted: bool,
    /// What could not be undone, in sentences.
    pub undo_failures: Vec<String>,
    /// Why a run could not be made at all.
    pub error: Option<RunError>,
}

/// The seed of a round: the same in every series with the same base, and unlike that of any other round. 53 bits, as
/// for every seed: it survives every JSON reader.
pub(super) fn seed_of(base: u64, round: u32) -> u64 {
    let mut z = base.wrapping_add(u64::from(round).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) >> 11
}

/// Runs a series to its verdict. A signal, an aborted run, a run that cannot be made or undone end it; what was made
/// until then is judged.
pub fn repeat(repeat: Repeat, options: Options) -> Result<Series, RunError> {
    let interrupts = Interrupts::listen()?;
    plan::check(&repeat.scenario)?;
    if let Some((baseline, _)) = &repeat.against {
        plan::check(baseline)?;
    }
    let base = repeat.scenario.seed.unwrap_or_else(host::random_seed);
    let dir = folder::create(&repeat.scenario, &options)?;
    write_plan(&dir, &plan_of(&repeat, base))?;
    let mut made = Made::default();
    for round in 1..=repeat.runs {
        for (side, scenario) in sides_of(&repeat, round) {
            if made.over(&interrupts) {
                break;
            }
            let place = dir.join(side).join(format!("run-{round:02}"));
            let mut scenario = scenario.clone();
            scenario.seed = Some(seed_of(base, round));
            say(options.progress, side, round, repeat.runs);
            let own = Options {
                out: Some(place),
                ..options.clone()
            };
            made.add(side, run_one(scenario, own, &interrupts));
        }
    }
    made.finish(&dir, &interrupts)
}

fn plan_of(repeat: &Repeat, seed: u64) -> Plan {
    let runs = repeat.runs;
    match &repeat.against {
        None => Plan::Repeat { runs, seed },
        Some((_, expect)) => Plan::Comparison {
            runs,
            seed,
            expect: expect.clone(),
        },
    }
}

/// The runs of a round. Which side goes first changes from round to round (ABBA), so that neither always comes second.
fn sides_of(repeat: &Repeat, round: u32) -> Vec<(&'static str, &Scenario)> {
    let Some((baseline, _)) = &repeat.against else {
        return vec![("", &repeat.scenario)];
    };
    let mut sides = vec![(SIDES[0], baseline), (SIDES[1], &repeat.scenario)];
    if round.is_multiple_of(2) {
        sides.reverse();
    }
    sides
}

fn say(progress: Progress, side: &str, round: u32, of: u32) {
    if progress != Progress::None {
        let side = if side.is_empty() { "run" } else { side };
        say::err(format_args!("{side} {round} of {of}"));
    }
}

/// What the runs left besides their records.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub stopped: Option<String>,
    undo_failures: Vec<String>,
    error: Option<RunError>,
}

impl Made {
    /// Whether there is to be no further run.
    pub fn over(&self, interrupts: &Interrupts) -> bool {
        let bad = self.error.is_some() || !self.undo_failures.is_empty();
        bad || self.stopped.is_some() || interrupts.heard().is_some()
    }

    pub fn add(&mut self, side: &str, run: Result<Finished, RunError>) {
        let run = match run {
            Ok(run) => run,
            Err(error) => {
                self.error = Some(error);
                return;
            }
        };
        self.undo_failures.extend(run.undo_failures);
        if let Some(Ended::Aborted { reason }) = run.summary.ended {
            let side = if side.is_empty() { "a run" } else { side };
            self.stopped = Some(format!("{side} was aborted: {reason}"));
        }
    }

    /// Judges what was made, and writes that down.
    pub fn finish(mut self, dir: &Path, interrupts: &Interrupts) -> Result<Series, RunError> {
        let signal = || Some(format!("stopped by {}", interrupts.heard()?));
        self.stopped = self.stopped.or_else(signal);
        let sheet = judge_folder(dir, self.stopped.as_deref());
        let sheet = sheet.map_err(|e| {
            let text = format!("cannot judge the series in {}: {e:#}", dir.display());
            // Without a single record there is nothing but the error of the run itself.
            self.error.take().unwrap_or(RunError::Aborted(text))
        })?;
        let written = sheet.write(dir);
        written.map_err(|e| RunError::Aborted(e.to_string()))?;
        Ok(Series {
            dir: dir.to_path_buf(),
            sheet,
            aborted: self.stopped.is_some(),
            undo_failures: self.undo_failures,
            error: self.error,
        })
    }
}

pub(super) fn write_plan(dir: &Path, plan: &Plan) -> Result<(), RunError> {
    let path = dir.join(SERIES_FILE);
    let text = serde_json::to_vec_pretty(plan).map_err(|e| RunError::Aborted(e.to_string()))?;
    std::fs::write(&path, text)
        .map_err(|e| RunError::BadInput(format!("cannot write {}: {e}", path.display())))
}

/// The plan of a series; `None` where the folder is none of one.
pub fn plan_in(dir: &Path) -> anyhow::Result<Option<Plan>> {
    let path = dir.join(SERIES_FILE);
    match std::fs::read(&path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text).map_err(|e| {
            anyhow::anyhow!("{} is not what a series is: {e}", path.display())
        })?)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(anyhow::anyhow!("cannot read {}: {e}", path.display())),
    }
}

/// Judges a series from its folder alone.
pub fn judge_folder(dir: &Path, stopped: Option<&str>) -> anyhow::Result<Sheet> {
    let again = ["squall".into(), "judge".into(), dir.display().to_string()];
    match plan_in(dir)? {
        None => anyhow::bail!("there is no {SERIES_FILE} in {}", dir.display()),
        Some(Plan::Repeat { runs, .. }) => {
            let (title, series) = judge_runs(dir, runs, stopped)?;
            Ok(Sheet::series(&title, &series, again.into()))
        }
        Some(Plan::Capacity { search, .. }) => {
            let (title, found) = judge_levels(dir, &search, stopped)?;
            Ok(Sheet::capacity(&title, &found, again.into()))
        }
        Some(Plan::Comparison { runs, expect, .. }) => {
            let [baseline, candidate] = SIDES.map(|side| dir.join(side));
            let compared = compare_folders(
                std::slice::from_ref(&baseline),
                std::slice::from_ref(&candidate),
                &Wanted::default(),
                &expect,
            )?;
            let mut sheet = Sheet::comparison(&compared, again.into());
            let (title, series) = judge_runs(&candidate, runs, stopped)?;
            sheet.with_candidate(&title, &series);
            Ok(sheet)
        }
    }
}

fn judge_runs(
    dir: &Path,
    asked: u32,
    stopped: Option<&str>,
) -> Result<(String, SeriesResult), RecordError> {
    let mut title = String::new();
    let mut runs: Vec<SeriesRun> = Vec::new();
    for run in runs_in(dir)? {
        let record = Record::load(&run)?;
        let name = run.file_name().unwrap_or_default().to_string_lossy();
        let (summary, verdicts) = (summarize(&record), judge(&record));
        runs.push(series_run(&name, &record, &summary, &verdicts));
        title = summary.scenario;
    }
    let stopped = stopped.map(String::from);
    Ok((title, judge_series(runs, asked, stopped)))
}

/// Compares the runs in folders. One record at a time is in memory: a long one takes hundreds of megabytes, what is
/// compared of it a few hundred bytes.
pub fn compare_folders(
    baseline: &[PathBuf],
    candidate: &[PathBuf],
    wanted: &Wanted,
    expect: &CompareExpectation,
) -> anyhow::Result<Compared> {
    let read = |folders: &[PathBuf]| -> anyhow::Result<Vec<_>> {
        let mut digests = Vec::new();
        for folder in folders {
            for run in runs_in(folder)? {
                let name = run.display().to_string();
                let name = name.trim_end_matches("/record.jsonl");
                digests.push(digest(name, &Record::load(&run)?, expect.quantile));
            }
        }
        Ok(digests)
    };
    let (baseline, candidate) = sides(read(baseline)?, read(candidate)?, wanted)?;
    Ok(compare_sides(&baseline, &candidate, expect))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_have_seeds_of_their_own_that_a_series_repeats() {
        let seeds: std::collections::BTreeSet<u64> = (1..=1_000).map(|r| seed_of(7, r)).collect();
        assert_eq!(seeds.len(), 1_000);
        assert!(seeds.iter().all(|s| *s < 1 << 53));
        assert_eq!(seed_of(7, 3), seed_of(7, 3));
        assert_ne!(seed_of(7, 3), seed_of(8, 3));
    }
}
