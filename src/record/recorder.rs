//! The thread that owns the record's files: takes what the run's parts send, writes it in order, and lets others
//! (the live display, the guard) see what was written.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, watch};

use super::{Entry, Event, Interval, RecordError, What, Writer};

/// What a tap sees, after it was written.
#[derive(Debug, Clone, Copy)]
pub enum TapEntry<'a> {
    /// An event.
    Event(&'a Event),
    /// A second of traffic.
    Interval(&'a Interval),
}

/// Called for each entry on the recorder's thread; must not block.
pub type Tap = Box<dyn FnMut(TapEntry<'_>) + Send>;

/// Starts recorders.
pub struct Recorder {
    writer: Writer,
    taps: Vec<Tap>,
    failed: watch::Sender<Option<String>>,
    first_error: Option<RecordError>,
}

/// A recorder at work.
pub struct RecorderHandle {
    thread: JoinHandle<Result<(), RecordError>>,
    failed: watch::Receiver<Option<String>>,
}

impl RecorderHandle {
    /// The first write error, once there is one. From then on every durable event is answered with it, so that no
    /// further fault is injected; whoever conducts the run should abort it.
    pub fn failed(&self) -> watch::Receiver<Option<String>> {
        self.failed.clone()
    }
    /// Waits (blocking) until [`What::End`] was written or every sink is gone, and both files are on disk. The
    /// first write error, if there was one.
    pub fn join(self) -> Result<(), RecordError> {
        self.thread.join().unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(RecordError::Recorder(text.unwrap_or_default()))
        })
    }
}

impl Recorder {
    /// Starts a thread that writes what comes. It ends with [`What::End`], so that a sink that somebody still
    /// holds cannot keep it; what is sent after that is dropped, and durable events are answered with an error.
    pub fn spawn(
        writer: Writer,
        rx: mpsc::UnboundedReceiver<Entry>,
        taps: Vec<Tap>,
    ) -> RecorderHandle {
        let (sender, failed) = watch::channel(None);
        let recorder = Recorder {
            writer,
            taps,
            failed: sender,
            first_error: None,
        };
        let thread = std::thread::spawn(move || recorder.run(rx));
        RecorderHandle { thread, failed }
    }

    fn run(mut self, mut rx: mpsc::UnboundedReceiver<Entry>) -> Result<(), RecordError> {
        while let Some(entry) = rx.blocking_recv() {
            match entry {
                Entry::Event(event) => {
                    let written = self.writer.write_event(&event);
                    self.note(written);
                    self.tap(TapEntry::Event(&event));
                    if matches!(event.what, What::End { .. }) {
                        break;
                    }
                }
                Entry::Durable(event, answer) => {
                    let written = self.writer.write_durable(&event);
                    self.note(written);
                    // The asker may be gone; the event is written all the same.
                    let _ = answer.send(match &*self.failed.borrow() {
                        Some(error) => Err(error.clone()),
                        None => Ok(()),
                    });
                    self.tap(TapEntry::Event(&event));
                    if matches!(event.what, What::End { .. }) {
                        break;
                    }
                }
                Entry::Interval(interval) => {
                    let written = self.writer.write_interval(&interval);
                    self.note(written);
                    self.tap(TapEntry::Interval(&interval));
                }
            }
        }
        drop(rx);
        let finished = self.writer.finish();
        match self.first_error {
            Some(error) => Err(error),
            None => finished,
        }
    }

    /// Remembers the first error. Writing goes on: undo events and the end are worth a try on a disk that may
    /// have room again.
    fn note(&mut self, written: Result<(), RecordError>) {
        if let Err(error) = written
            && self.first_error.is_none()
        {
            self.failed.send_replace(Some(error.to_string()));
            self.first_error = Some(error);
        }
    }

    /// A tap that panics is not called again; it must not cost the record.
    fn tap(&mut self, entry: TapEntry<'_>) {
        self.taps
            .retain_mut(|tap| catch_unwind(AssertUnwindSafe(|| tap(entry))).is_ok());
    }
}
