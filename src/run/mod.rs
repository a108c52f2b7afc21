//! Conducts one run: preflight, start, traffic and faults, abort, undo, judge, report.
//!
//! It neither measures nor decides. What it guarantees is the order of things, and that everything which was
//! changed is undone however the run ends.

mod capacity;
mod conduct;
mod folder;
mod hold;
mod host;
mod in_cluster;
mod interrupts;
mod pack;
mod plan;
mod progress;
mod series;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::judge::{self, Summary, Verdict};
use crate::platform::kubernetes::{Asked, Limits, Unconnected};
use crate::platform::local::LocalPlatform;
use crate::platform::url::UrlPlatform;
use crate::platform::{Platform, PlatformError};
use crate::record::{Record, Sink};
use crate::report::{self, Judged, Style};
use crate::scenario::{Expectation, FaultKind, NAMESPACE_LABEL, Scenario, Target};

pub use capacity::capacity;
pub use hold::{TAKEN, hold};
pub use in_cluster::{InCluster, Remote, run_in_cluster};
pub use interrupts::Interrupts;
pub use pack::pack;
pub use plan::plan;
pub use progress::Progress;
pub use series::{Plan, Repeat, Series, compare_folders, judge_folder, plan_in, repeat};

/// How to carry a run out.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder under which the run's own folder is made.
    pub reports: PathBuf,
    /// The run's own folder instead; it must not exist yet.
    pub out: Option<PathBuf>,
    /// What is shown meanwhile.
    pub progress: Progress,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Nothing was touched.
    #[error("{0}")]
    BadInput(String),
    /// The platform or target could not be reached.
    #[error("{0}")]
    Unreachable(String),
    /// Ended before its time without even a partial report; everything is undone.
    #[error("{0}")]
    Aborted(String),
    /// As `Aborted`, and something could not be undone.
    #[error("{0}")]
    UndoFailed(String),
}

impl RunError {
    /// The same where something could not be undone, which is the first thing to know.
    fn not_undone(self, failures: &[String]) -> Self {
        match failures {
            [] => self,
            failures => {
                RunError::UndoFailed(format!("{self}; not undone: {}", failures.join("; ")))
            }
        }
    }
}

impl From<PlatformError> for RunError {
    fn from(error: PlatformError) -> Self {
        match error {
            PlatformError::Unsupported(text) => RunError::BadInput(text),
            PlatformError::Unreachable(text)
            | PlatformError::Failed(text)
            | PlatformError::Held(text)
            | PlatformError::NoEffect(text)
            | PlatformError::Refused(text) => RunError::Unreachable(text),
        }
    }
}

/// A run with its record, verdicts and pages.
#[derive(Debug)]
pub struct Finished {
    /// The run's folder.
    pub dir: PathBuf,
    /// The record, read back from disk: what judges saw is what anybody can judge again.
    pub record: Record,
    /// The numbers.
    pub summary: Summary,
    /// The verdicts.
    pub verdicts: Vec<Verdict>,
    /// What could not be undone, in sentences.
    pub undo_failures: Vec<String>,
}

impl Finished {
    /// The summary for the terminal.
    pub fn terminal(&self, style: Style) -> String {
        report::terminal(&self.judged(), style, Some(&self.dir))
    }

    /// What reports work from.
    pub fn judged(&self) -> Judged<'_> {
        Judged {
            record: &self.record,
            summary: &self.summary,
            verdicts: &self.verdicts,
        }
    }
}

/// Runs a scenario to its verdicts.
pub fn run(scenario: Scenario, options: Options) -> Result<Finished, RunError> {
    run_one(scenario, options, &Interrupts::listen()?)
}

/// As [`run`], as one of several under the same listener for signals.
fn run_one(
    mut scenario: Scenario,
    options: Options,
    interrupts: &Interrupts,
) -> Result<Finished, RunError> {
    let seed = *scenario.seed.get_or_insert_with(host::random_seed);
    plan::check(&scenario)?;
    let dir = folder::create(&scenario, &options)?;
    let undo_failures = runtime()?.block_on(conduct::conduct(
        Arc::new(scenario),
        seed,
        &dir,
        options.progress,
        interrupts,
    ))?;
    finish(dir, undo_failures)
}

/// On one thread, so that nothing which a platform spawns outlives a thread that is gone before the run.
fn runtime() -> Result<tokio::runtime::Runtime, RunError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| RunError::Aborted(format!("cannot start a runtime: {e}")))
}

/// Reads the record back, judges it and writes the pages.
fn finish(dir: PathBuf, undo_failures: Vec<String>) -> Result<Finished, RunError> {
    let lost = |what: &str, error: &dyn std::fmt::Display| {
        let text = format!("{what} {}: {error}", dir.display());
        RunError::Aborted(text).not_undone(&undo_failures)
    };
    let record = Record::load(&dir).map_err(|e| lost("cannot read the record in", &e))?;
    let finished = Finished {
        summary: judge::summarize(&record),
        verdicts: judge::judge(&record),
        record,
        undo_failures: undo_failures.clone(),
        dir: dir.clone(),
    };
    report::write_all(&dir, &finished.judged())
        .map_err(|e| lost("cannot write the report into", &e))?;
    Ok(finished)
}

/// The faults of the target's namespace, and those of each other.
fn by_namespace(scenario: &Scenario) -> (Vec<FaultKind>, BTreeMap<String, Vec<FaultKind>>) {
    let (mut own, mut elsewhere) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
    for fault in &scenario.faults {
        let list = match fault.select.labels.get(NAMESPACE_LABEL) {
            Some(namespace) => elsewhere.entry(namespace.clone()).or_default(),
            None => &mut own,
        };
        list.push(fault.kind.clone());
    }
    (own, elsewhere)
}

/// The autoscalers that are judged.
fn autoscalers(scenario: &Scenario) -> Vec<String> {
    let all = scenario.expect.iter();
    all.filter_map(|expect| match expect {
        Expectation::Autoscale(expected) => Some(expected.hpa.clone()),
        _ => None,
    })
    .collect()
}

/// The platform that a scenario asks for.
fn platform(scenario: &Scenario, logs: PathBuf, sink: Sink, seed: u64) -> Arc<dyn Platform> {
    match &scenario.target {
        Target::Local(target) => Arc::new(LocalPlatform::new(
            target.clone(),
            scenario.base_dir.clone(),
            logs,
            sink,
            seed,
        )),
        Target::Url(target) => Arc::new(UrlPlatform::new(target.clone(), sink)),
        Target::Kubernetes(target) => {
            let (faults, elsewhere) = by_namespace(scenario);
            let asked = Asked {
                run: scenario.name.clone(),
                faults,
                elsewhere,
                limits: Limits::of(&scenario.guard),
                autoscalers: autoscalers(scenario),
                usage: { scenario.expect.iter() }.any(|e| matches!(e, Expectation::Usage(_))),
                base_dir: scenario.base_dir.clone(),
            };
            Arc::new(Unconnected::new(target.clone(), asked, sink))
        }
    }
}
