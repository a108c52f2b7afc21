//! Where runs lie on disk: a run's own folder, or one that holds the folders of several.

use std::path::{Path, PathBuf};

use super::{RECORD_FILE, RecordError};

/// The runs at a path: itself, where it is a run's folder (or its `record.jsonl`), else those directly in it, by name.
pub fn runs_in(path: &Path) -> Result<Vec<PathBuf>, RecordError> {
    if path.is_file() || path.join(RECORD_FILE).exists() {
        return Ok(vec![path.to_path_buf()]);
    }
    let io = |source| RecordError::Io {
        what: "read",
        path: path.to_path_buf(),
        source,
    };
    let mut runs = Vec::new();
    for entry in std::fs::read_dir(path).map_err(io)? {
        let folder = entry.map_err(io)?.path();
        if folder.join(RECORD_FILE).exists() {
            runs.push(folder);
        }
    }
    if runs.is_empty() {
        return Err(RecordError::NoRuns(path.to_path_buf()));
    }
    runs.sort();
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_itself_and_a_series_is_its_runs_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let record = |name: &str| {
            let folder = dir.path().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(RECORD_FILE), "").unwrap();
            folder
        };
        let (b, a) = (record("run-02"), record("run-01"));
        std::fs::create_dir(dir.path().join("logs")).unwrap();
        assert_eq!(runs_in(dir.path()).unwrap(), [a.clone(), b]);
        assert_eq!(runs_in(&a).unwrap(), std::slice::from_ref(&a));
        let file = a.join(RECORD_FILE);
        assert_eq!(runs_in(&file).unwrap(), [file]);
        let error = runs_in(&dir.path().join("logs")).unwrap_err().to_string();
        assert!(error.contains("no run"), "{error}");
        assert!(runs_in(&dir.path().join("nowhere")).is_err());
    }
}
