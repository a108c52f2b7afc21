//! Merges the workers' seconds into one interval a second and hands it to the record.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use tokio::sync::watch;

use super::meter::{InstanceMeter, Meter, Second, StepMeter};
use super::plan::Plan;
use super::selfwatch::open_files;
use super::worker::{Message, SECOND, Stop};
use super::{TrafficEnd, TrafficError};
use crate::record::{
    GeneratorSecond, InstanceSecond, Interval, Latency, Micros, Outcome, StepHistograms,
    StepSecond, TrafficSecond,
};

/// Collects until all workers have ended.
pub struct Collector {
    plan: Arc<Plan>,
    start: Micros,
    spare: Vec<mpsc::Sender<Box<Second>>>,
    names: Vec<Vec<Arc<str>>>,
    pending: BTreeMap<u64, Pending>,
    /// Seconds that each worker has handed over; all there ever will be once it is done.
    handed: Vec<u64>,
    next: u64,
    /// Requests due and not ended, by step.
    open: Vec<u64>,
    end: TrafficEnd,
    error: Option<String>,
    stop: watch::Sender<Stop>,
}

/// A second that not all workers have handed over yet.
#[derive(Default)]
struct Pending {
    steps: BTreeMap<usize, (StepSecond, StepHistograms)>,
    lag: Option<Latency>,
    late: u64,
    users: u64,
    cpu: BTreeMap<usize, u64>,
}

fn add(sum: &mut Option<Latency>, meter: &Meter, digits: u8) {
    if let Some(histogram) = meter.get() {
        // The sum grows to what it is given.
        let _ = sum.get_or_insert_with(|| growing(digits)).add(histogram);
    }
}

/// An empty histogram that takes the memory that its values need: one that reaches up to an hour takes 180 kB.
fn growing(digits: u8) -> Latency {
    // Called with 2 and 3 digits, which are within the crate's bounds.
    Latency::new(digits).expect("valid number of digits")
}

fn earliest(a: Option<Micros>, b: Option<Micros>) -> Option<Micros> {
    a.into_iter().chain(b).min()
}

impl Collector {
    /// A collector of a run whose traffic starts at `start`.
    pub fn new(
        plan: Arc<Plan>,
        start: Micros,
        spare: Vec<mpsc::Sender<Box<Second>>>,
        stop: watch::Sender<Stop>,
    ) -> Self {
        let workers = spare.len();
        let end = TrafficEnd {
            started_us: start,
            ended_us: start,
            ..TrafficEnd::default()
        };
        Self {
            open: vec![0; plan.steps.len()],
            plan,
            start,
            spare,
            names: vec![Vec::new(); workers],
            pending: BTreeMap::new(),
            handed: vec![0; workers],
            next: 0,
            end,
            error: None,
            stop,
        }
    }

    /// Runs to the end of the last worker.
    pub fn run(mut self, messages: &mpsc::Receiver<Message>) -> Result<TrafficEnd, TrafficError> {
        let mut working = self.handed.len();
        while working > 0 {
            // Every worker says goodbye, even one that panics; without any sender left nothing more can come.
            let Ok(message) = messages.recv() else {
                break;
            };
            match message {
                Message::Second {
                    worker,
                    index,
                    data,
                } => self.take(worker, index, data),
                Message::Done {
                    worker,
                    last,
                    at,
                    error,
                } => {
                    working -= 1;
                    if let Some((index, data)) = last {
                        self.take(worker, index, data);
                    }
                    self.handed[worker] = u64::MAX;
                    self.end.ended_us = self.end.ended_us.max(at);
                    if error.is_some() {
                        // The others alone would go on with a part of the load.
                        self.stop.send_replace(Stop::Now);
                    }
                    self.error = self.error.take().or(error);
                }
            }
            self.emit_complete();
        }
        self.emit_rest();
        match self.error {
            Some(problem) => Err(TrafficError::Worker(problem)),
            None => Ok(self.end),
        }
    }

    fn take(&mut self, worker: usize, index: u64, mut data: Box<Second>) {
        self.names[worker].append(&mut data.new_instances);
        let names = &self.names[worker];
        let pending = self.pending.entry(index).or_default();
        for (step, meter) in data.steps.iter().enumerate() {
            if !meter.active() {
                continue;
            }
            let (flow, name) = &self.plan.steps[step];
            let (second, histograms) = pending.steps.entry(step).or_insert_with(|| {
                let second = StepSecond {
                    flow: flow.clone(),
                    step: name.clone(),
                    ..StepSecond::default()
                };
                (second, StepHistograms::default())
            });
            merge_step(meter, names, second, histograms);
        }
        add(&mut pending.lag, &data.lag, 3);
        pending.late += data.late;
        pending.users += data.users;
        pending.cpu.insert(worker, data.cpu_millicores);
        self.handed[worker] = self.handed[worker].max(index + 1);
        data.clear();
        // A worker that has ended needs no more seconds.
        let _ = self.spare[worker].send(data);
    }

    /// Hands over the seconds that all workers have handed over, empty ones, too.
    fn emit_complete(&mut self) {
        let complete = self.handed.iter().copied().min().unwrap_or(0);
        // Where all are done, the last second is not whole; emit_rest knows.
        while complete != u64::MAX && self.next < complete {
            let pending = self.pending.remove(&self.next).unwrap_or_default();
            let start = self.start + self.next * SECOND;
            self.next += 1;
            self.emit(start, start + SECOND, pending);
        }
    }

    /// Hands over what is left; the last second ends when the last worker did.
    fn emit_rest(&mut self) {
        let last = self.pending.keys().next_back().copied();
        while last.is_some_and(|last| self.next <= last) {
            let pending = self.pending.remove(&self.next).unwrap_or_default();
            let start = self.start + self.next * SECOND;
            let is_last = Some(self.next) == last;
            self.next += 1;
            let end = if is_last {
                self.end.ended_us.clamp(start + 1, start + SECOND)
            } else {
                start + SECOND
            };
            // The moment between the last border and the last worker's end, in which nothing happened, is none.
            if is_last
                && pending.steps.is_empty()
                && self.open.iter().all(|open| *open == 0)
                && self.next > 1
            {
                return;
            }
            self.emit(start, end, pending);
        }
    }

    fn emit(&mut self, start_us: Micros, end_us: Micros, mut pending: Pending) {
        let mut interval = Interval::default();
        for (index, open) in self.open.iter_mut().enumerate() {
            let entry = pending.steps.remove(&index);
            if entry.is_none() && *open == 0 {
                continue;
            }
            let (mut second, histograms) = entry.unwrap_or_else(|| {
                let (flow, step) = self.plan.steps[index].clone();
                (
                    StepSecond {
                        flow,
                        step,
                        ..StepSecond::default()
                    },
                    StepHistograms::default(),
                )
            });
            let ended: u64 = second.ended.values().sum();
            *open = (*open + second.due).saturating_sub(ended + second.dropped);
            second.in_flight = *open;
            self.end.due += second.due;
            self.end.ended += ended;
            self.end.dropped += second.dropped;
            self.end.unfinished += second.ended.get(&Outcome::Unfinished).copied().unwrap_or(0);
            interval.second.steps.push(second);
            interval.histograms.push(histograms);
        }
        let lag = |quantile: f64| {
            pending
                .lag
                .as_ref()
                .map_or(0, |histogram| histogram.value_at_quantile(quantile))
        };
        let generator = GeneratorSecond {
            cpu_millicores: (0..self.handed.len())
                .map(|worker| pending.cpu.get(&worker).copied().unwrap_or(0))
                .collect(),
            lag_p50_us: lag(0.5),
            lag_p99_us: lag(0.99),
            lag_max_us: pending.lag.as_ref().map_or(0, |histogram| histogram.max()),
            late: pending.late,
            open_files: open_files(),
            users: pending.users,
        };
        let steps = std::mem::take(&mut interval.second.steps);
        interval.second = TrafficSecond {
            start_us,
            end_us,
            steps,
            generator,
        };
        self.end.intervals += 1;
        self.plan.sink.interval(interval);
    }
}

/// Adds a worker's second of a step.
fn merge_step(
    meter: &StepMeter,
    names: &[Arc<str>],
    second: &mut StepSecond,
    histograms: &mut StepHistograms,
) {
    second.due += meter.due;
    second.dropped += meter.dropped;
    second.connections += meter.connections;
    second.moved += meter.moved;
    second.sent_bytes += meter.sent_bytes;
    second.received_bytes += meter.received_bytes;
    for (outcome, count) in Outcome::ALL.into_iter().zip(meter.ended) {
        if count > 0 {
            *second.ended.entry(outcome).or_default() += count;
        }
    }
    for (outcome, meter) in Outcome::ALL.into_iter().zip(&meter.response) {
        if let Some(histogram) = meter.get() {
            // As in add().
            let _ = histograms
                .response
                .entry(outcome)
                .or_insert_with(|| growing(3))
                .add(histogram);
        }
    }
    for (status, count) in &meter.statuses {
        *second.statuses.entry(*status).or_default() += count;
    }
    if let Some((first, last)) = meter.errors {
        second.first_error_us = earliest(second.first_error_us, Some(first));
        second.last_error_us = second.last_error_us.max(Some(last));
    }
    add(&mut histograms.service, &meter.service, 3);
    add(&mut histograms.connect, &meter.connect, 3);
    add(&mut histograms.tls, &meter.tls, 3);
    add(&mut histograms.first_byte, &meter.first_byte, 3);
    for (instance, name) in meter
        .instances
        .iter()
        .zip(names)
        .filter(|(i, _)| i.active())
    {
        merge_instance(
            instance,
            second.instances.entry(name.to_string()).or_default(),
        );
        if let Some(histogram) = instance.service.get() {
            let sum = histograms
                .instances
                .entry(name.to_string())
                .or_insert_with(|| growing(2));
            // As in add().
            let _ = sum.add(histogram);
        }
    }
}

fn merge_instance(meter: &InstanceMeter, second: &mut InstanceSecond) {
    second.answered += meter.answered;
    second.failed += meter.failed;
    second.connections += meter.connections;
    second.first_us = earliest(second.first_us, meter.first);
    second.last_us = second.last_us.max(meter.last);
}
