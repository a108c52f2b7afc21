//! What the service counts itself, so that a run's record can be held against it, request for request.
//!
//! `begun` goes up just before a response is written, `finished` once the kernel has all of it: what a client saw
//! answered lies between the two, even when the process is killed at any moment.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;

/// Counts of application requests, kept in memory and, if asked for, in a file.
#[derive(Debug)]
pub(super) struct Counters {
    counts: Mutex<Counts>,
    file: Option<File>,
    /// Connections accepted.
    pub connections: AtomicU64,
}

/// The two counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub begun: u64,
    pub finished: u64,
}

impl Counters {
    /// Counters from zero; a file of an earlier run is started again.
    pub fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let file = path
            .map(|path| {
                let file = File::create(path)?;
                file.write_all_at(&[0; 16], 0)?;
                std::io::Result::Ok(file)
            })
            .transpose()
            .with_context(|| {
                let path = path.unwrap_or(Path::new(""));
                format!("cannot write the counter file {}", path.display())
            })?;
        Ok(Self {
            counts: Mutex::default(),
            file,
            connections: AtomicU64::new(0),
        })
    }
    /// A response is about to be written.
    pub fn begin(&self) {
        self.change(|counts| counts.begun += 1);
    }
    /// So many responses are with the kernel.
    pub fn finish(&self, responses: u64) {
        self.change(|counts| counts.finished += responses);
    }
    /// The counts now.
    pub fn get(&self) -> Counts {
        self.change(|_| {})
    }
    /// A connection was accepted.
    pub fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) -> Counts {
        // Plain numbers cannot be left half changed: a poisoned lock still holds good ones.
        let mut counts = self.counts.lock().unwrap_or_else(|e| e.into_inner());
        let before = *counts;
        change(&mut counts);
        if let (Some(file), true) = (&self.file, before != *counts) {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&counts.begun.to_le_bytes());
            bytes[8..].copy_from_slice(&counts.finished.to_le_bytes());
            // The page cache outlives the process, which is all that is needed here. A full disk must not turn
            // into a failed request: the size is fixed at start, so there is nothing left to allocate.
            let _ = file.write_all_at(&bytes, 0);
        }
        *counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_what_was_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("counters");
        let counters = Counters::open(Some(&path)).unwrap();
        for _ in 0..3 {
            counters.begin();
        }
        counters.finish(2);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(
            bytes,
            [&3u64.to_le_bytes()[..], &2u64.to_le_bytes()].concat()
        );
        assert_eq!(
            counters.get(),
            Counts {
                begun: 3,
                finished: 2
            }
        );
    }
}
