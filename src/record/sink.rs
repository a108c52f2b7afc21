//! The way into the record for everything that runs: cheap to clone, never blocks.

use tokio::sync::{mpsc, oneshot};

use super::{Clock, Event, Interval, Level, What};

/// What reaches the recorder.
#[derive(Debug)]
pub enum Entry {
    /// An event.
    Event(Event),
    /// An event that must be on disk before the sender goes on; the answer is the write's error, if any.
    Durable(Event, oneshot::Sender<Result<(), String>>),
    /// A second of traffic.
    Interval(Box<Interval>),
}

/// Sends events, stamped on the run's clock, to the recorder.
#[derive(Debug, Clone)]
pub struct Sink {
    clock: Clock,
    tx: mpsc::UnboundedSender<Entry>,
}

impl Sink {
    /// A sink and the end that the recorder reads.
    pub fn new(clock: Clock) -> (Self, mpsc::UnboundedReceiver<Entry>) {
        let (tx, rx) = mpsc::unbounded_channel();
        (Self { clock, tx }, rx)
    }
    /// The run's clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }
    /// Records an event as of now.
    pub fn emit(&self, what: What) {
        let at = self.clock.now();
        self.emit_at(at, what);
    }
    /// Records an event as of a moment just past.
    pub fn emit_at(&self, at: super::Micros, what: What) {
        // A closed recorder means that the run is over: nobody is left to tell.
        let _ = self.tx.send(Entry::Event(Event { at, what }));
    }
    /// Records a note.
    pub fn note(&self, level: Level, text: impl Into<String>) {
        let text = text.into();
        self.emit(What::Note { level, text });
    }
    /// Records an event and waits until it is on disk.
    pub async fn emit_durable(&self, what: What) -> Result<(), String> {
        let (tx, rx) = oneshot::channel();
        let at = self.clock.now();
        self.tx
            .send(Entry::Durable(Event { at, what }, tx))
            .map_err(|_| "the recorder is gone".to_string())?;
        rx.await
            .unwrap_or_else(|_| Err("the recorder is gone".to_string()))
    }
    /// Hands over a second of traffic.
    pub fn interval(&self, interval: Interval) {
        let _ = self.tx.send(Entry::Interval(Box::new(interval)));
    }
}
