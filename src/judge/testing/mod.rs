//! Synthetic records for the judges' tests: requests are listed one by one, then binned into seconds as the
//! collector would do it. Latencies and fates are set by the test, so that the right verdict is known beforehand.

use std::time::Duration;

use crate::record::{
    Ended, Event, FORMAT, FaultEvent, FaultStage, GeneratorSecond, Header, Host, InstanceEvent,
    InstanceState, Interval, Latency, Micros, Outcome, Record, RunPhase, StepHistograms,
    StepSecond, TrafficSecond, UndoEvent, View, WatchEvent, What,
};
use crate::scenario::*;

pub mod autoscaled;
mod make;

pub use make::*;

/// Traffic begins so long after the record, so that a judge that mixes up the two zeros is caught.
pub const START: Micros = 2_000_000;

/// A second in microseconds.
pub const S: Micros = 1_000_000;
/// A millisecond in microseconds.
pub const MS: Micros = 1_000;

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    pub due: Micros,
    pub latency: Micros,
    pub outcome: Outcome,
    pub instance: String,
    pub step: &'static str,
}

impl Request {
    pub fn fail(&mut self, outcome: Outcome, after: Micros) {
        self.outcome = outcome;
        self.latency = after;
    }
}

/// A run in the making. Times given to its methods are seconds since traffic began.
#[derive(Debug, Clone)]
pub struct Sim {
    pub scenario: Scenario,
    pub requests: Vec<Request>,
    pub events: Vec<Event>,
    pub generator: GeneratorSecond,
    pub seconds: u64,
    pub drain: u64,
    pub ended: Option<Ended>,
    /// squall is killed here.
    pub cut: Option<Micros>,
    /// Dropped arrivals in each second.
    pub dropped: Vec<u64>,
    injections: u32,
}

/// Splitmix64: enough randomness for latencies.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
    /// Exponential with this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.next()).ln()
    }
}

pub fn at(seconds: f64) -> Micros {
    (START as f64 + seconds * 1e6).round() as Micros
}

pub fn names() -> Vec<String> {
    (1..=3).map(|i| format!("shop-{i}")).collect()
}

impl Sim {
    /// `rate` requests a second for so many seconds, 10 to 14 ms each, over three ready instances in turn.
    pub fn steady(rate: u64, seconds: u64) -> Self {
        let names = names();
        let total = rate * seconds;
        let requests = (0..total)
            .map(|i| Request {
                due: START + i * S / rate,
                latency: 10 * MS + (i % 5) * MS,
                outcome: Outcome::Ok,
                instance: names[(i % 3) as usize].clone(),
                step: "get",
            })
            .collect();
        let mut sim = Self {
            scenario: scenario(rate, seconds),
            requests,
            events: Vec::new(),
            generator: GeneratorSecond {
                cpu_millicores: vec![200],
                lag_p50_us: 60,
                lag_p99_us: 300,
                lag_max_us: 900,
                ..GeneratorSecond::default()
            },
            seconds,
            drain: 12,
            ended: Some(Ended::Completed),
            cut: None,
            dropped: vec![0; seconds as usize],
            injections: 0,
        };
        sim.push(
            0,
            What::Phase {
                phase: RunPhase::Starting,
            },
        );
        for name in &names {
            sim.push(S, instance(name, name, InstanceState::Ready));
        }
        sim.push(S, What::Endpoints { ready: names });
        sim.push(
            START,
            What::Phase {
                phase: RunPhase::Traffic,
            },
        );
        sim
    }

    /// A view is lost, and comes back.
    pub fn blind(&mut self, of: &str, from: f64, back: Option<f64>) {
        let told = [(Some(from), View::Lost), (back, View::Relisted)];
        for (when, view) in told.into_iter().filter_map(|(t, view)| Some((t?, view))) {
            let watch = WatchEvent {
                of: of.into(),
                view,
                detail: String::new(),
            };
            self.push(at(when), What::Watch(watch));
        }
    }

    pub fn push(&mut self, at: Micros, what: What) {
        self.events.push(Event { at, what });
    }

    pub fn expect(mut self, expectation: Expectation) -> Self {
        self.scenario.expect.push(expectation);
        self
    }

    /// Changes the requests due in a span.
    pub fn change(&mut self, from: f64, to: f64, mut change: impl FnMut(usize, &mut Request)) {
        let (from, to) = (at(from), at(to));
        let due = self
            .requests
            .iter_mut()
            .filter(|r| r.due >= from && r.due < to);
        for (i, request) in due.enumerate() {
            change(i, request);
        }
    }

    /// Changes the requests of an instance due in a span.
    pub fn change_on(
        &mut self,
        name: &str,
        from: f64,
        to: f64,
        mut change: impl FnMut(&mut Request),
    ) {
        self.change(from, to, |_, r| {
            if r.instance == name {
                change(r);
            }
        });
    }

    /// Records an injection of `kind` into `instance`.
    pub fn inject(&mut self, kind: FaultKind, name: &str, when: f64, lasts: Option<u64>) -> u32 {
        self.injections += 1;
        let spec = self.scenario.faults.len();
        self.scenario.faults.push(FaultSpec {
            when: None,
            name: format!("{} {name}", kind.name()),
            at: Duration::from_secs_f64(when),
            every: None,
            times: None,
            lasts: lasts.map(Duration::from_secs),
            kind: kind.clone(),
            select: Select::default(),
        });
        for (stage, moment) in [
            (FaultStage::Injecting, at(when) - MS),
            (FaultStage::Injected, at(when)),
        ] {
            let event = FaultEvent {
                injection: self.injections,
                spec,
                name: format!("{} {name}", kind.name()),
                fault: kind.name().into(),
                stage,
                instances: vec![name.to_string()],
                detail: None,
            };
            self.push(moment, What::Fault(event));
        }
        self.injections
    }

    /// Turns the last injection into one that the guard refused.
    pub fn refuse(&mut self, injection: u32) {
        self.events.retain(|e| !matches!(&e.what, What::Fault(f) if f.injection == injection && f.stage == FaultStage::Injecting));
        for event in &mut self.events {
            if let What::Fault(fault) = &mut event.what
                && fault.injection == injection
            {
                fault.stage = FaultStage::Refused;
                fault.detail = Some("keep-ready 100%".into());
            }
        }
    }

    /// Turns the last injection into one that nothing came of.
    pub fn idle(&mut self, injection: u32, why: &str) {
        for event in &mut self.events {
            if let What::Fault(fault) = &mut event.what
                && fault.injection == injection
                && fault.stage == FaultStage::Injected
            {
                fault.stage = FaultStage::Ineffective;
                fault.detail = Some(why.into());
            }
        }
    }

    pub fn undo(&mut self, injection: u32, name: &str, when: f64) {
        for (done, moment) in [(None, at(when) - MS), (Some(true), at(when))] {
            let event = UndoEvent {
                injection,
                undo: crate::platform::Undo::RestoreRoute {
                    instance: name.into(),
                    fault: "any".into(),
                },
                done,
                detail: None,
            };
            self.push(moment, What::Undo(event));
        }
    }

    /// An instance leaves the balancer's set.
    pub fn unlist(&mut self, name: &str, when: f64) {
        let ready = names().into_iter().filter(|n| n != name).collect();
        self.push(at(when), What::Endpoints { ready });
    }

    /// A replacement is ready, takes the slot's traffic from then on, and is listed.
    pub fn replace(&mut self, name: &str, when: f64) {
        let heir = format!("{name}-r1");
        self.push(at(when), instance(&heir, name, InstanceState::Ready));
        let mut ready: Vec<String> = names().into_iter().filter(|n| n != name).collect();
        ready.push(heir.clone());
        self.push(at(when), What::Endpoints { ready });
        self.change_on(name, when, 1e6, |r| r.instance = heir.clone());
    }

    /// Kills `shop-2`: it ends at once, the balancer finds out `detect` later and until then its requests are
    /// refused; from then on the others take them until a replacement is ready (`back`, from the kill).
    pub fn kill(&mut self, when: f64, detect: f64, back: Option<f64>) {
        let name = "shop-2";
        self.inject(FaultKind::Kill, name, when, None);
        self.push(at(when), instance(name, name, InstanceState::Ended));
        self.unlist(name, when + detect);
        self.change_on(name, when, when + detect, |r| r.fail(Outcome::Refused, MS));
        let until = back.map_or(1e6, |b| when + b);
        self.change_on(name, when + detect, until, |r| r.instance = "shop-1".into());
        if let Some(back) = back {
            self.replace(name, when + back);
        }
    }

    /// Makes the record.
    pub fn record(&self) -> Record {
        let stop = at((self.seconds + self.drain) as f64);
        let mut requests = self.requests.clone();
        for request in &mut requests {
            if request.due + request.latency >= stop {
                request.fail(Outcome::Unfinished, stop - 1 - request.due);
            }
        }
        let last = requests.iter().map(|r| r.due + r.latency).max();
        let seconds = last.map_or(self.seconds, |l| ((l - START) / S + 1).max(self.seconds));
        let mut intervals: Vec<Interval> = (0..seconds).map(|k| self.second(k)).collect();
        for request in &requests {
            let due = ((request.due - START) / S) as usize;
            let ended = ((request.due + request.latency - START) / S) as usize;
            step(&mut intervals[due], request.step).second.due += 1;
            for interval in &mut intervals[due..ended] {
                step(interval, request.step).second.in_flight += 1;
            }
            end(step(&mut intervals[ended], request.step), request);
        }
        for (k, dropped) in self.dropped.iter().enumerate().filter(|(_, n)| **n > 0) {
            let entry = step(&mut intervals[k], "get");
            entry.second.dropped += dropped;
            entry.second.due += dropped;
        }
        self.assemble(intervals, stop)
    }

    fn second(&self, k: u64) -> Interval {
        Interval {
            second: TrafficSecond {
                start_us: START + k * S,
                end_us: START + (k + 1) * S,
                steps: Vec::new(),
                generator: self.generator.clone(),
            },
            histograms: Vec::new(),
        }
    }

    fn assemble(&self, mut intervals: Vec<Interval>, stop: Micros) -> Record {
        let mut events = self.events.clone();
        let draining = at(self.seconds as f64);
        let after = intervals.last().map_or(stop, |i| i.second.end_us);
        for (moment, phase) in [(draining, RunPhase::Draining), (after, RunPhase::Stopping)] {
            events.push(Event {
                at: moment,
                what: What::Phase { phase },
            });
        }
        let listed = |e: &Event| matches!(e.what, What::Endpoints { .. });
        if events.iter().any(listed) {
            // The platform stops the instances, and so empties the set: not a trace of any fault.
            events.push(Event {
                at: after,
                what: What::Endpoints { ready: Vec::new() },
            });
        }
        if let Some(ended) = &self.ended {
            events.push(Event {
                at: after + S,
                what: What::End {
                    ended: ended.clone(),
                },
            });
        }
        if let Some(cut) = self.cut {
            // An aborted run still writes its end; a killed one does not.
            events.retain(|e| e.at <= cut || matches!(e.what, What::End { .. }));
            for event in &mut events {
                event.at = event.at.min(cut);
            }
            intervals.retain(|i| i.second.end_us <= cut);
        }
        events.sort_by_key(|e| e.at);
        Record {
            header: Header {
                squall_record: FORMAT,
                version: "0.1.0".into(),
                started: "2026-01-01T00:00:00Z".into(),
                seed: 1,
                scenario: self.scenario.clone(),
                host: Host::default(),
            },
            events,
            intervals,
            damage: Vec::new(),
        }
    }
}

/// A second's step with its histograms, made when it is not there.
struct StepEntry<'a> {
    second: &'a mut StepSecond,
    histograms: &'a mut StepHistograms,
}

fn step<'a>(interval: &'a mut Interval, name: &str) -> StepEntry<'a> {
    let found = interval.second.steps.iter().position(|s| s.step == name);
    let index = found.unwrap_or_else(|| {
        interval.second.steps.push(StepSecond {
            flow: "browse".into(),
            step: name.into(),
            ..StepSecond::default()
        });
        interval.histograms.push(StepHistograms::default());
        interval.second.steps.len() - 1
    });
    StepEntry {
        second: &mut interval.second.steps[index],
        histograms: &mut interval.histograms[index],
    }
}

/// A histogram that starts small: hundreds of records are made in a test.
fn small(digits: u8) -> Latency {
    Latency::new(digits).unwrap()
}

fn end(entry: StepEntry<'_>, request: &Request) {
    let (second, histograms) = (entry.second, entry.histograms);
    let ended_at = request.due + request.latency;
    *second.ended.entry(request.outcome).or_default() += 1;
    let response = histograms
        .response
        .entry(request.outcome)
        .or_insert_with(|| small(3));
    response.record(request.latency.max(1)).unwrap();
    if request.outcome.failed() {
        second.first_error_us = Some(second.first_error_us.map_or(ended_at, |f| f.min(ended_at)));
        second.last_error_us = second.last_error_us.max(Some(ended_at));
    }
    if request.outcome.answered() {
        let status = if request.outcome == Outcome::Status {
            503
        } else {
            200
        };
        *second.statuses.entry(status).or_default() += 1;
        let service = histograms.service.get_or_insert_with(|| small(3));
        service.record(request.latency.max(1)).unwrap();
    }
    // What was refused never reached an instance: nobody knows whom it was for. Nor is it known of an answer without a
    // name, such as a proxy's own.
    if request.outcome == Outcome::Refused || request.instance.is_empty() {
        return;
    }
    let counts = second
        .instances
        .entry(request.instance.clone())
        .or_default();
    counts.last_us = counts.last_us.max(Some(request.due));
    counts.failed += u64::from(request.outcome.failed());
    if request.outcome.answered() {
        counts.answered += 1;
        counts.first_us = Some(counts.first_us.map_or(request.due, |f| f.min(request.due)));
        let own = histograms.instances.entry(request.instance.clone());
        own.or_insert_with(|| small(2))
            .record(request.latency.max(1))
            .unwrap();
    }
}

pub fn instance(name: &str, slot: &str, state: InstanceState) -> What {
    What::Instance(InstanceEvent {
        name: name.into(),
        slot: slot.into(),
        state,
        detail: None,
    })
}
