//! From what happened to the record of it: seconds of traffic as the collector makes them, events as they come.

use std::collections::BTreeMap;
use std::path::Path;

use squall::record::{
    Ended, Event, FORMAT, GeneratorSecond, Header, Host, Interval, Latency, Micros, Outcome,
    Record, RunPhase, StepHistograms, StepSecond, TrafficSecond, What, Writer,
};
use squall::scenario::Scenario;

use super::S;

/// A request that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ending<'a> {
    pub step: usize,
    pub due: Micros,
    pub sent: Micros,
    pub at: Micros,
    pub outcome: Outcome,
    pub status: Option<u16>,
    pub instance: Option<&'a str>,
    pub first_of_connection: bool,
    pub moved: bool,
}

/// A record in the making.
pub struct Recorder {
    start: Micros,
    flow: String,
    steps: Vec<String>,
    seconds: Vec<Second>,
    events: Vec<Event>,
}

#[derive(Default)]
struct Second {
    steps: Vec<Option<(StepSecond, StepHistograms)>>,
    lags: Vec<Micros>,
    users: u64,
    busy: bool,
}

fn histogram(digits: u8) -> Latency {
    Latency::new(digits).expect("a number of digits that the crate knows")
}

impl Recorder {
    pub fn new(start: Micros, flow: &str, steps: Vec<String>) -> Self {
        let mut recorder = Self {
            start,
            flow: flow.into(),
            steps,
            seconds: Vec::new(),
            events: Vec::new(),
        };
        for (at, phase) in [(0, RunPhase::Starting), (start, RunPhase::Traffic)] {
            recorder.event(at, What::Phase { phase });
        }
        recorder
    }

    /// What a cluster would call the next version of an object.
    pub fn next_version(&self) -> String {
        (1_000 + self.events.len()).to_string()
    }

    pub fn event(&mut self, at: Micros, what: What) {
        self.events.push(Event { at, what });
    }

    fn second(&mut self, at: Micros) -> &mut Second {
        let index = (at.saturating_sub(self.start) / S) as usize;
        let steps = self.steps.len();
        while self.seconds.len() <= index {
            self.seconds.push(Second {
                steps: (0..steps).map(|_| None).collect(),
                ..Second::default()
            });
        }
        &mut self.seconds[index]
    }

    fn step(&mut self, at: Micros, step: usize) -> &mut (StepSecond, StepHistograms) {
        let (flow, name) = (self.flow.clone(), self.steps[step].clone());
        self.second(at).steps[step].get_or_insert_with(|| {
            let second = StepSecond {
                flow,
                step: name,
                ..StepSecond::default()
            };
            (second, StepHistograms::default())
        })
    }

    pub fn due(&mut self, at: Micros, step: usize) {
        self.step(at, step).0.due += 1;
    }
    pub fn dropped(&mut self, at: Micros, step: usize) {
        let second = &mut self.step(at, step).0;
        second.due += 1;
        second.dropped += 1;
    }
    pub fn connection(&mut self, at: Micros, step: usize) {
        self.step(at, step).0.connections += 1;
    }
    pub fn sent(&mut self, at: Micros, lag: Micros, users: usize, busy: bool) {
        let second = self.second(at);
        second.lags.push(lag);
        second.users = second.users.max(users as u64);
        second.busy |= busy;
    }

    pub fn end(&mut self, end: Ending<'_>) {
        let (second, histograms) = self.step(end.at, end.step);
        *second.ended.entry(end.outcome).or_default() += 1;
        let response = histograms.response.entry(end.outcome);
        record(response.or_insert_with(|| histogram(3)), end.at - end.due);
        if end.outcome.failed() {
            second.first_error_us.get_or_insert(end.at);
            second.last_error_us = Some(end.at);
        }
        if let Some(status) = end.status {
            *second.statuses.entry(status).or_default() += 1;
            // As a record gives it back: two digits.
            let service = histograms.service.get_or_insert_with(|| histogram(2));
            record(service, end.at - end.sent);
        }
        second.moved += u64::from(end.moved);
        let Some(name) = end.instance else {
            return;
        };
        let counts = second.instances.entry(name.to_string()).or_default();
        counts.last_us = counts.last_us.max(Some(end.sent));
        counts.failed += u64::from(end.outcome.failed());
        counts.connections += u64::from(end.first_of_connection);
        if end.status.is_some() {
            counts.answered += 1;
            counts.first_us = Some(counts.first_us.map_or(end.sent, |f| f.min(end.sent)));
            let own = histograms.instances.entry(name.to_string());
            record(own.or_insert_with(|| histogram(2)), end.at - end.sent);
        }
    }

    /// The record, whole. Traffic's schedule ends at one time, the last request at another.
    pub fn finish(mut self, scenario: &Scenario, schedule: Micros, stop: Micros) -> Record {
        self.second(stop.saturating_sub(1).max(self.start));
        for (at, phase) in [(schedule, RunPhase::Draining), (stop, RunPhase::Stopping)] {
            self.event(at, What::Phase { phase });
        }
        // Nothing is seen of what comes after the end.
        self.events.retain(|e| e.at <= stop);
        self.event(stop + 1_000, What::Endpoints { ready: Vec::new() });
        let ended = Ended::Completed;
        self.event(stop + S, What::End { ended });
        self.events.sort_by_key(|e| e.at);
        let mut under_way = BTreeMap::new();
        let start = self.start;
        let seconds = std::mem::take(&mut self.seconds);
        let intervals = seconds.into_iter().enumerate();
        Record {
            header: Header {
                squall_record: FORMAT,
                version: "0.1.0".into(),
                started: "2026-01-01T00:00:00Z".into(),
                seed: 1,
                scenario: scenario.clone(),
                host: Host::default(),
            },
            intervals: intervals
                .map(|(k, second)| {
                    let from = start + k as Micros * S;
                    // The last second ends when the last request did.
                    let to = stop.clamp(from + 1, from + S);
                    interval(from, to, second, &mut under_way)
                })
                .collect(),
            events: self.events,
            damage: Vec::new(),
        }
    }
}

fn record(histogram: &mut Latency, value: Micros) {
    histogram
        .record(value.max(1))
        .expect("a histogram that grows");
}

fn interval(
    start_us: Micros,
    end_us: Micros,
    mut second: Second,
    under_way: &mut BTreeMap<usize, u64>,
) -> Interval {
    second.lags.sort_unstable();
    let at = |share: f64| {
        let last = second.lags.len().checked_sub(1)?;
        Some(second.lags[(last as f64 * share) as usize])
    };
    let generator = GeneratorSecond {
        cpu_millicores: vec![if second.busy { 995 } else { 180 }],
        lag_p50_us: at(0.5).unwrap_or(0),
        lag_p99_us: at(0.99).unwrap_or(0),
        lag_max_us: at(1.0).unwrap_or(0),
        late: second.lags.iter().filter(|lag| **lag > 10_000).count() as u64,
        open_files: 30 + second.users,
        users: second.users,
    };
    let mut traffic = TrafficSecond {
        start_us,
        end_us,
        steps: Vec::new(),
        generator,
    };
    let mut histograms = Vec::new();
    for (index, step) in second.steps.into_iter().enumerate() {
        let Some((mut step, own)) = step else {
            continue;
        };
        let open = under_way.entry(index).or_default();
        *open = (*open + step.due).saturating_sub(step.ended.values().sum::<u64>() + step.dropped);
        step.in_flight = *open;
        traffic.steps.push(step);
        histograms.push(own);
    }
    Interval {
        second: traffic,
        histograms,
    }
}

/// Writes a record to disk as a run does, and reads it back.
pub fn write_and_read(record: &Record, dir: &Path) -> Record {
    let mut writer = Writer::create(dir, &record.header).expect("a new folder");
    let mut events = record.events.iter().peekable();
    for interval in &record.intervals {
        while let Some(event) = events.next_if(|e| e.at < interval.second.end_us) {
            writer.write_event(event).expect("room on the disk");
        }
        writer.write_interval(interval).expect("room on the disk");
    }
    for event in events {
        writer.write_event(event).expect("room on the disk");
    }
    writer.finish().expect("room on the disk");
    Record::load(dir).expect("what was written can be read")
}
