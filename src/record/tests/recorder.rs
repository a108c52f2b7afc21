//! The recorder's thread: how it ends, and what it does when the disk is full.

use std::process::Command;
use std::sync::{Arc, Mutex};

use super::*;

#[test]
fn the_recorder_ends_with_the_end_though_a_sink_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let writer = Writer::create(dir.path(), &header()).unwrap();
    let (sink, rx) = Sink::new(Clock::start());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let tap: Tap = Box::new({
        let seen = seen.clone();
        let path = dir.path().join(RECORD_FILE);
        move |entry| {
            let lines = std::fs::read_to_string(&path).unwrap().lines().count();
            let what = match entry {
                TapEntry::Event(_) => "event",
                TapEntry::Interval(_) => "interval",
            };
            seen.lock().unwrap().push((what, lines));
        }
    });
    let mut calls = 0;
    let bad: Tap = Box::new(move |_| {
        calls += 1;
        assert!(calls < 2, "a tap that panics");
    });
    let handle = Recorder::spawn(writer, rx, vec![bad, tap]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    sink.interval(second(0, "GET /", &[(Outcome::Ok, "a", 500)]));
    let phase = What::Phase {
        phase: RunPhase::Draining,
    };
    runtime.block_on(sink.emit_durable(phase)).unwrap();
    sink.emit(end(0).what);
    let left = sink.clone();
    handle.join().unwrap();
    // Each entry was on file before the tap saw it.
    assert_eq!(
        *seen.lock().unwrap(),
        [("interval", 2), ("event", 3), ("event", 4)]
    );
    assert!(
        runtime
            .block_on(left.emit_durable(note(0, "late").what))
            .is_err()
    );
    let record = Record::load(dir.path()).unwrap();
    assert_eq!((record.events.len(), record.intervals.len()), (2, 1));
    assert_eq!(record.damage, Vec::<String>::new());
}

#[test]
fn the_recorder_ends_when_every_sink_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let writer = Writer::create(dir.path(), &header()).unwrap();
    let (sink, rx) = Sink::new(Clock::start());
    let handle = Recorder::spawn(writer, rx, vec![]);
    sink.note(Level::Info, "all there is");
    drop(sink);
    handle.join().unwrap();
    assert_eq!(Record::load(dir.path()).unwrap().events.len(), 1);
}

/// A file system of 64 KiB that is unmounted in the end.
struct TinyDisk(tempfile::TempDir);

impl TinyDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]);
        let mounted = mount.arg(dir.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(dir)),
            other => {
                let must = std::env::var_os("SQUALL_TESTS_MUST_RUN").is_some_and(|v| v == "1");
                assert!(!must, "cannot mount a tmpfs: {other:?}");
                println!("skipped: it takes root to mount a tmpfs ({other:?})");
                None
            }
        }
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_told_and_no_durable_event_passes_after_it() {
    let Some(disk) = TinyDisk::mount() else {
        return;
    };
    let dir = disk.0.path().join("run");
    let writer = Writer::create(&dir, &header()).unwrap();
    let (sink, rx) = Sink::new(Clock::start());
    let handle = Recorder::spawn(writer, rx, vec![]);
    let mut failed = handle.failed();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime
        .block_on(sink.emit_durable(note(0, "there is room").what))
        .unwrap();
    for n in 0..200 {
        sink.note(Level::Info, format!("{n} {}", "x".repeat(1000)));
    }
    runtime
        .block_on(failed.wait_for(|f| f.is_some()))
        .expect("the recorder tells of its error");
    let told = failed.borrow().clone().unwrap();
    assert!(
        told.contains("No space left") && told.contains(RECORD_FILE),
        "{told}"
    );
    let answer = runtime.block_on(sink.emit_durable(note(0, "no room").what));
    assert_eq!(answer, Err(told.clone()));
    // Room again, as after a clean-up: the record goes on behind the torn line, and what came is readable.
    std::fs::remove_file(dir.join(HISTOGRAM_FILE)).unwrap();
    let path = dir.join(RECORD_FILE);
    let length = path.metadata().unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(length - 8192).unwrap();
    sink.emit(end(0).what);
    let error = handle.join().unwrap_err();
    assert_eq!(error.to_string(), told);
    let record = Record::load(&dir).unwrap();
    assert!(matches!(
        record.events.last().unwrap().what,
        What::End { .. }
    ));
    assert!(record.events.len() > 20, "{}", record.events.len());
    assert!(
        record.damage.iter().any(|d| d.contains("not an event")),
        "{:?}",
        record.damage
    );
}
