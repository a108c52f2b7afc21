//! The ledger: what must be undone, on disk before it is done.
//!
//! Append-only JSON Lines. An undo is written as pending and synced before its change is made, and written again
//! when it is done or has failed; the last line of an id counts. Whatever kills the program, the file says what
//! is left, and `squall undo LEDGER` does it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::platform::Undo;

/// Version of the ledger's format.
const FORMAT: u32 = 1;

/// What can go wrong with a ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file cannot be created, read or written.
    #[error("cannot {what} the ledger {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file is something else.
    #[error("{} is not a ledger of squall, or not one that this version can read: {reason}", path.display())]
    NotALedger {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The run that writes it is still going on.
    #[error("{} belongs to a run that is still going on: end it (Ctrl-C undoes everything)", .0.display())]
    InUse(PathBuf),
}

/// An undo that is not done yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Number in the ledger.
    pub id: u64,
    /// The injection that needs it.
    pub injection: u32,
    /// What is to be done.
    pub undo: Undo,
    /// How it failed, where it was tried.
    pub detail: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    squall_ledger: u32,
}

#[derive(Serialize, Deserialize)]
struct Line {
    id: u64,
    injection: u32,
    undo: Undo,
    state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Pending,
    Done,
    Failed,
}

/// A ledger that is being written. While it lives, nobody else can open the file as a ledger.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: File,
    next: u64,
    pending: BTreeMap<u64, Pending>,
    damage: Vec<String>,
    /// The file does not end with a line end: a crash or a failed write cut its last line.
    torn: bool,
    /// How many of those pending stay when squall is gone, for whoever must tell without the ledger at hand.
    outliving: Arc<AtomicUsize>,
}

impl Ledger {
    /// Creates an empty ledger; when this returns, it exists on disk.
    pub fn create(path: &Path) -> Result<Self, LedgerError> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)
            .map_err(io("create", path))?;
        let mut ledger = Self::locked(path, file)?;
        ledger.append(&Head {
            squall_ledger: FORMAT,
        })?;
        // Without this, the file's name may be gone after a power cut. A path without a parent is in `.`.
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        let folder = File::open(parent.unwrap_or(Path::new("."))).map_err(io("sync", path))?;
        folder.sync_all().map_err(io("sync", path))?;
        Ok(ledger)
    }

    /// Opens a ledger of a run that is over.
    ///
    /// A last line that is cut off is no loss: a change is made only after its line is on disk whole, and an undo
    /// may be done twice. A damaged line elsewhere is named in [`Ledger::damage`].
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(path)
            .map_err(io("open", path))?;
        let mut ledger = Self::locked(path, file)?;
        let bytes = std::fs::read(path).map_err(io("read", path))?;
        ledger.torn = bytes.last().is_some_and(|&last| last != b'\n');
        let mut lines = bytes.split_inclusive(|&b| b == b'\n').enumerate();
        let bad = |reason: String| LedgerError::NotALedger {
            path: path.to_path_buf(),
            reason,
        };
        match lines
            .next()
            .map(|(_, line)| (line, serde_json::from_slice::<Head>(line)))
        {
            // The crash came while the ledger was made: nothing was injected yet.
            None => return Ok(ledger),
            Some((line, Err(_))) if cut_head(line) => return Ok(ledger),
            Some((_, Err(e))) => return Err(bad(e.to_string())),
            Some((_, Ok(head))) if head.squall_ledger > FORMAT => {
                let found = head.squall_ledger;
                return Err(bad(format!("it has format {found}, expected {FORMAT}")));
            }
            Some((_, Ok(_))) => {}
        }
        for (i, bytes) in lines {
            match serde_json::from_slice::<Line>(bytes) {
                Ok(line) => ledger.take(line),
                Err(_) if !bytes.ends_with(b"\n") => {}
                Err(_) if bytes == b"\n" => {}
                Err(e) => ledger.damage.push(format!("line {}: {e}", i + 1)),
            }
        }
        Ok(ledger)
    }

    pub(super) fn locked(path: &Path, file: File) -> Result<Self, LedgerError> {
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|e| {
            if e == rustix::io::Errno::WOULDBLOCK {
                LedgerError::InUse(path.to_path_buf())
            } else {
                io("lock", path)(e.into())
            }
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            next: 1,
            pending: BTreeMap::new(),
            damage: Vec::new(),
            torn: false,
            outliving: Arc::default(),
        })
    }

    fn take(&mut self, line: Line) {
        self.next = self.next.max(line.id.saturating_add(1));
        if line.state == State::Done {
            self.pending.remove(&line.id);
        } else {
            let pending = Pending {
                id: line.id,
                injection: line.injection,
                undo: line.undo,
                detail: line.detail,
            };
            self.pending.insert(line.id, pending);
        }
        let outliving = self.pending.values().filter(|p| p.undo.outlives_run());
        self.outliving.store(outliving.count(), Ordering::SeqCst);
    }

    /// How many of the pending changes stay when squall is gone; kept up to date.
    pub fn outliving(&self) -> Arc<AtomicUsize> {
        self.outliving.clone()
    }

    /// Writes down an undo before its change is made; it is on disk when this returns. The answer is its number.
    pub fn add(&mut self, injection: u32, undo: &Undo) -> Result<u64, LedgerError> {
        let id = self.next;
        let line = Line {
            id,
            injection,
            undo: undo.clone(),
            state: State::Pending,
            detail: None,
        };
        self.append(&line)?;
        self.take(line);
        Ok(id)
    }

    /// Writes down that an undo was done, or how it failed; a failed one stays pending. An unknown number is
    /// ignored: it was settled before.
    pub fn settle(&mut self, id: u64, result: Result<(), &str>) -> Result<(), LedgerError> {
        let Some(pending) = self.pending.get(&id) else {
            return Ok(());
        };
        let line = Line {
            id,
            injection: pending.injection,
            undo: pending.undo.clone(),
            state: if result.is_ok() {
                State::Done
            } else {
                State::Failed
            },
            detail: result.err().map(str::to_string),
        };
        self.append(&line)?;
        self.take(line);
        Ok(())
    }

    /// What is not undone yet, in the order of the changes.
    pub fn pending(&self) -> Vec<Pending> {
        self.pending.values().cloned().collect()
    }

    /// Lines that could not be read; what they asked for is not known.
    pub fn damage(&self) -> &[String] {
        &self.damage
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn append(&mut self, line: &impl Serialize) -> Result<(), LedgerError> {
        let mut bytes = Vec::new();
        if self.torn {
            bytes.push(b'\n');
        }
        serde_json::to_writer(&mut bytes, line)
            .map_err(|e| io("write to", &self.path)(std::io::Error::other(e)))?;
        bytes.push(b'\n');
        let written = self.file.write_all(&bytes);
        self.torn = written.is_err();
        written.map_err(io("write to", &self.path))?;
        self.file.sync_data().map_err(io("sync", &self.path))
    }
}

/// Whether this is the beginning of a head that a crash cut off.
fn cut_head(line: &[u8]) -> bool {
    !line.ends_with(b"\n") && b"{\"squall_ledger\":".starts_with(&line[..line.len().min(17)])
}

fn io<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> LedgerError + 'a {
    move |source| LedgerError::Io {
        what,
        path: path.to_path_buf(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thaw(n: u32) -> Undo {
        Undo::Thaw {
            instance: format!("shop-{n}"),
            pid: n,
            start_ticks: 7,
        }
    }

    /// A process that another test is about to start holds a copy of every open file for a moment, and the lock with it.
    fn open(path: &Path) -> Ledger {
        loop {
            match Ledger::open(path) {
                Err(LedgerError::InUse(_)) => std::thread::yield_now(),
                other => return other.unwrap(),
            }
        }
    }

    fn pending(path: &Path) -> Vec<(u64, u32)> {
        open(path)
            .pending()
            .iter()
            .map(|p| (p.id, p.injection))
            .collect()
    }

    #[test]
    fn only_what_stays_without_squall_outlives_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::create(&dir.path().join("ledger.jsonl")).unwrap();
        let outliving = ledger.outliving();
        ledger.add(1, &thaw(1)).unwrap();
        assert_eq!(outliving.load(Ordering::SeqCst), 0, "the process dies too");
        let cordon = Undo::Restore {
            cluster: "https://10.0.0.1".into(),
            kind: "Node".into(),
            namespace: None,
            name: "n1".into(),
        };
        let id = ledger.add(2, &cordon).unwrap();
        assert_eq!(outliving.load(Ordering::SeqCst), 1);
        ledger.settle(id, Err("unreachable")).unwrap();
        assert_eq!(outliving.load(Ordering::SeqCst), 1, "still to be done");
        ledger.settle(id, Ok(())).unwrap();
        assert_eq!(outliving.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn what_is_added_is_pending_until_it_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.jsonl");
        let mut ledger = Ledger::create(&path).unwrap();
        assert_eq!(ledger.add(1, &thaw(1)).unwrap(), 1);
        assert_eq!(ledger.add(1, &thaw(2)).unwrap(), 2);
        assert_eq!(ledger.add(2, &thaw(3)).unwrap(), 3);
        ledger.settle(1, Ok(())).unwrap();
        ledger.settle(2, Err("no such process")).unwrap();
        ledger.settle(99, Ok(())).unwrap();
        drop(ledger);
        let mut again = open(&path);
        let left = again.pending();
        assert_eq!(left.len(), 2);
        assert_eq!(left[0].detail.as_deref(), Some("no such process"));
        assert_eq!(
            (left[1].id, left[1].injection, &left[1].undo),
            (3, 2, &thaw(3))
        );
        // A retry that succeeds, in another process.
        again.settle(2, Ok(())).unwrap();
        assert_eq!(again.add(3, &thaw(4)).unwrap(), 4);
        drop(again);
        assert_eq!(pending(&path), [(3, 2), (4, 3)]);
    }

    #[test]
    fn a_crash_at_any_byte_leaves_every_synced_undo_pending() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.jsonl");
        let mut ledger = Ledger::create(&path).unwrap();
        let mut synced = vec![(path.metadata().unwrap().len(), vec![])];
        let mut note = |open: &[(u64, u32)]| {
            synced.push((path.metadata().unwrap().len(), open.to_vec()));
        };
        ledger.add(1, &thaw(1)).unwrap();
        note(&[(1, 1)]);
        ledger.add(2, &thaw(2)).unwrap();
        note(&[(1, 1), (2, 2)]);
        ledger.settle(1, Ok(())).unwrap();
        note(&[(2, 2)]);
        ledger.settle(2, Err("x")).unwrap();
        note(&[(2, 2)]);
        ledger.settle(2, Ok(())).unwrap();
        note(&[]);
        drop(ledger);
        let bytes = std::fs::read(&path).unwrap();
        let cut = dir.path().join("cut.jsonl");
        for length in 0..=bytes.len() {
            std::fs::write(&cut, &bytes[..length]).unwrap();
            let found = pending(&cut);
            let before = synced.iter().rev().find(|(end, _)| *end <= length as u64);
            // A line that lacks nothing but its line end may count already.
            let next = synced.iter().find(|(end, _)| *end == length as u64 + 1);
            let expected = before.map_or(&[][..], |(_, open)| open);
            let early = next.is_some_and(|(_, open)| found == *open);
            assert!(found == expected || early, "cut at {length}: {found:?}");
            // And it can still be written to.
            let mut ledger = open(&cut);
            if length as u64 >= synced[0].0 {
                let id = ledger.add(9, &thaw(9)).unwrap();
                drop(ledger);
                assert!(pending(&cut).contains(&(id, 9)), "cut at {length}");
            }
        }
    }

    #[test]
    fn a_damaged_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.jsonl");
        let mut ledger = Ledger::create(&path).unwrap();
        ledger.add(1, &thaw(1)).unwrap();
        ledger.add(2, &thaw(2)).unwrap();
        drop(ledger);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("\"id\":1", "\"id\":", 1)).unwrap();
        let ledger = open(&path);
        assert_eq!(ledger.pending().len(), 1);
        assert!(
            ledger.damage()[0].starts_with("line 2: "),
            "{:?}",
            ledger.damage()
        );
    }

    #[test]
    fn another_file_is_not_an_empty_ledger() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for text in [
            "hello\n",
            "hello",
            "{}\n",
            "{\"squall_record\":1}\n",
            "{\"squall_ledger\":2}\n",
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Ledger::open(&path).unwrap_err();
            assert!(
                matches!(error, LedgerError::NotALedger { .. }),
                "{text}: {error}"
            );
        }
        let missing = Ledger::open(&dir.path().join("none")).unwrap_err();
        assert!(
            missing.to_string().starts_with("cannot open the ledger"),
            "{missing}"
        );
        let exists = Ledger::create(&path).unwrap_err();
        assert!(
            exists.to_string().starts_with("cannot create the ledger"),
            "{exists}"
        );
    }

    #[test]
    fn a_ledger_of_a_living_run_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.jsonl");
        let ledger = Ledger::create(&path).unwrap();
        assert!(matches!(Ledger::open(&path), Err(LedgerError::InUse(_))));
        drop(ledger);
        drop(open(&path));
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let path = Path::new("/dev/full");
        let file = OpenOptions::new().append(true).open(path).unwrap();
        let mut ledger = Ledger::locked(path, file).unwrap();
        let error = ledger.add(1, &thaw(1)).unwrap_err();
        assert!(error.to_string().contains("No space left"), "{error}");
        assert_eq!(ledger.pending(), []);
    }
}
