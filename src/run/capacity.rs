//! The search for capacity: one run after the other, each at the rate that the runs before it ask for.

use std::path::{Path, PathBuf};

use super::series::{Made, Plan, write_plan};
use super::{Interrupts, Options, Progress, RunError, folder, host, plan, run_one, series};
use crate::judge::capacity::{CapacityResult, Level, Trial, judge_capacity, level, next};
use crate::judge::words::rate;
use crate::judge::{judge, summarize};
use crate::record::{Record, RecordError, runs_in};
use crate::say;
use crate::scenario::units::Rate;
use crate::scenario::{Capacity, Scenario};

/// Searches for the capacity that a scenario asks for. A signal, a run that cannot be made or undone end the search;
/// what was seen until then is judged.
pub fn capacity(scenario: Scenario, options: Options) -> Result<series::Series, RunError> {
    let interrupts = Interrupts::listen()?;
    let search = scenario.capacity.clone().ok_or_else(|| {
        RunError::BadInput(
            "the scenario says nothing of capacity: expected `capacity: { from: 100/s, to: 5000/s }` in it".into(),
        )
    })?;
    plan::check(&scenario)?;
    let seed = scenario.seed.unwrap_or_else(host::random_seed);
    let dir = folder::create(&scenario, &options)?;
    write_plan(
        &dir,
        &Plan::Capacity {
            search: search.clone(),
            seed,
        },
    )?;
    let mut made = Made::default();
    let mut levels: Vec<Level> = Vec::new();
    while !made.over(&interrupts) {
        let trials: Vec<Trial> = levels.iter().map(Level::trial).collect();
        let Some(wanted) = next(&search, &trials) else {
            break;
        };
        let number = levels.len() as u32 + 1;
        let place = dir.join(format!("level-{number:02}"));
        let Some(mut at) = scenario.at_level(Rate::per_second(wanted)) else {
            break;
        };
        at.seed = Some(series::seed_of(seed, number));
        let own = Options {
            out: Some(place.clone()),
            ..options.clone()
        };
        let run = run_one(at, own, &interrupts);
        if let Ok(run) = &run {
            let seen = level(&name(&place), &run.record, &run.summary, &run.verdicts);
            say(options.progress, &seen);
            levels.push(seen);
        }
        // An overload may well trip the guard: the rate does not hold then, and the search goes on below it.
        made.add("", run);
        made.stopped = made.stopped.filter(|_| interrupts.heard().is_some());
    }
    made.finish(&dir, &interrupts)
}

fn say(progress: Progress, level: &Level) {
    if progress != Progress::None {
        let seen = serde_json::to_value(level.outcome).unwrap_or_default();
        let seen = seen.as_str().unwrap_or_default();
        say::err(format_args!(
            "{}: {seen} ({})",
            rate(level.rate_per_s),
            level.why
        ));
    }
}

fn name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Judges a search from its folder alone.
pub fn judge_levels(
    dir: &Path,
    search: &Capacity,
    stopped: Option<&str>,
) -> Result<(String, CapacityResult), RecordError> {
    let (mut title, mut holds) = (String::new(), Vec::new());
    let mut levels = Vec::new();
    let runs: Vec<PathBuf> = runs_in(dir)?;
    for run in runs {
        let record = Record::load(&run)?;
        let (summary, verdicts) = (summarize(&record), judge(&record));
        levels.push(level(&name(&run), &record, &summary, &verdicts));
        holds = record
            .header
            .scenario
            .expect
            .iter()
            .map(plan::expectation)
            .collect();
        title = summary.scenario;
    }
    Ok((title, judge_capacity(search, holds, levels, stopped)))
}
