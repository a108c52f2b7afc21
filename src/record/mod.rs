//! The record: one append-only timeline on one monotonic clock, written as the run goes.
//!
//! `record.jsonl` holds the header and the events, `intervals.hlog` the histograms of each second. Writing and
//! reading live here; what the record means is for `judge`.

mod clock;
mod event;
mod interval;
mod sink;

pub use clock::{Clock, Micros};
pub use event::{
    Ended, Event, FaultEvent, FaultStage, Header, Host, Incident, InstanceEvent, InstanceState,
    Level, ObjectChange, ObjectEvent, RunPhase, Sample, UndoEvent, View, WatchEvent, What,
};
pub use interval::{
    GeneratorSecond, InstanceSecond, Interval, Latency, Outcome, StepHistograms, StepSecond,
    TrafficSecond, coarse_latency, latency,
};

pub use sink::{Entry, Sink};

/// Version of the record's format.
pub const FORMAT: u32 = 1;

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
