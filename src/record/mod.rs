//! The record: one append-only timeline on one monotonic clock, written as the run goes.
//!
//! `record.jsonl` holds the header and the events, `intervals.hlog` the histograms of each second. Writing and
//! reading live here; what the record means is for `judge`.

use std::path::PathBuf;

mod clock;
mod event;
mod folder;
mod hlog;
mod interval;
pub mod quantity;
mod reader;
mod recorder;
mod sink;
mod writer;

pub use clock::{Clock, Micros};
pub use event::{
    AlertEvent, AlertState, Ended, Event, FaultEvent, FaultStage, Header, Host, Incident,
    InstanceEvent, InstanceState, Level, ObjectChange, ObjectEvent, RunPhase, Sample, UndoEvent,
    View, WatchEvent, What,
};
pub use folder::runs_in;
pub use interval::{
    GeneratorSecond, InstanceSecond, Interval, Latency, Outcome, StepHistograms, StepSecond,
    TrafficSecond, coarse_latency, latency,
};

pub use recorder::{Recorder, RecorderHandle, Tap, TapEntry};
pub use sink::{Entry, Sink};
pub use writer::Writer;

/// Version of the record's format.
pub const FORMAT: u32 = 1;

/// Name of the file with the header and the events.
pub const RECORD_FILE: &str = "record.jsonl";

/// Name of the file with the histograms.
pub const HISTOGRAM_FILE: &str = "intervals.hlog";

/// What can go wrong with a record's files.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A file or folder cannot be created, read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried: `create`, `write`.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The folder holds a record already; records are never overwritten.
    #[error("{} exists already: a record is never overwritten, choose another folder", .0.display())]
    Exists(PathBuf),
    /// A folder in which no run lies.
    #[error("there is no run in {}: expected a folder with a {RECORD_FILE}, or one with such folders in it", .0.display())]
    NoRuns(PathBuf),
    /// The file does not begin as a record does.
    #[error("{} is not a record of squall: {reason}", path.display())]
    NotARecord {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A later version of the program wrote it.
    #[error(
        "{} has record format {found}, this program reads up to {known}: use the version of squall that wrote it, or a later one",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format that it has.
        found: u64,
        /// The highest format known here.
        known: u32,
    },
    /// The header's start time cannot be used.
    #[error("start time `{0}` in the record's header is not in RFC 3339 form")]
    Started(String),
    /// The recorder's thread ended in a way it must not.
    #[error("the recorder ended unexpectedly: {0}")]
    Recorder(String),
}

/// A record read back: all that judges and reports work from.
#[derive(Debug, Clone)]
pub struct Record {
    /// The header.
    pub header: Header,
    /// Events in time order, without the traffic seconds.
    pub events: Vec<Event>,
    /// Seconds of traffic in time order.
    pub intervals: Vec<Interval>,
    /// What is wrong with the files: a torn last line, a histogram that is missing. Empty for a whole record.
    pub damage: Vec<String>,
}

#[cfg(test)]
mod tests;
