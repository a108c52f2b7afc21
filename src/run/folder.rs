//! The run's own folder.

use std::path::PathBuf;

use super::{Options, RunError};
use crate::scenario::{Scenario, slug};

/// Makes the folder; a run never writes into one that exists.
pub fn create(scenario: &Scenario, options: &Options) -> Result<PathBuf, RunError> {
    let dir = match &options.out {
        Some(dir) => dir.clone(),
        None => options.reports.join(format!(
            "{}-{}",
            slug(&scenario.name),
            jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ")
        )),
    };
    let fail = |error: std::io::Error| {
        RunError::BadInput(format!(
            "cannot make the run's folder {}: {error}; choose another with --reports or --out",
            dir.display()
        ))
    };
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent).map_err(fail)?;
    }
    // Two runs of one scenario in one second get folders of their own.
    let mut candidate = dir.clone();
    for again in 2..100 {
        match std::fs::create_dir(&candidate) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && options.out.is_none() => {
                candidate = dir.with_file_name(format!(
                    "{}-{again}",
                    dir.file_name().unwrap_or_default().to_string_lossy()
                ));
            }
            Err(e) => return Err(fail(e)),
            Ok(()) => break,
        }
    }
    std::fs::create_dir_all(candidate.join("logs")).map_err(fail)?;
    Ok(candidate)
}
