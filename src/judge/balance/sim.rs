//! Simulated runs for the tests: who gets each connection is up to the test, so that the right verdict is known.

use crate::judge::balance::observe;
use crate::record::{
    Event, GeneratorSecond, Header, Host, InstanceEvent, InstanceSecond, InstanceState, Interval,
    Micros, Outcome, Record, RunPhase, StepHistograms, StepSecond, TrafficSecond, What,
    coarse_latency,
};
use crate::scenario::units::Rate;
use crate::scenario::*;

/// Traffic begins so long after the record, so that a judge that mixes up the two zeros is caught.
pub const START: Micros = 2_000_000;

/// Splitmix64: enough randomness to choose an instance.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
    pub fn below(&mut self, n: usize) -> usize {
        ((self.next() * n as f64) as usize).min(n - 1)
    }
}

/// `shop-1` to `shop-N`.
pub fn names(n: usize) -> Vec<String> {
    (1..=n).map(|i| format!("shop-{i}")).collect()
}

pub fn at(second: u64) -> Micros {
    START + second * 1_000_000
}

/// A run in the making, second by second.
pub struct Sim {
    pub record: Record,
    pub dice: Dice,
    pub set: Vec<String>,
    pub users: u64,
    pub in_flight: u64,
    /// Answers in each second that came from another instance than the one before on their connection.
    pub moved: u64,
    /// Service time of the instances that are not 10 ms.
    pub slow: Vec<(String, u64)>,
    turn: usize,
}

impl Sim {
    pub fn new(n: usize, mode: ConnectionMode, seed: u64) -> Self {
        let mut sim = Self {
            record: Record {
                header: header(mode),
                events: Vec::new(),
                intervals: Vec::new(),
                damage: Vec::new(),
            },
            dice: Dice(seed.wrapping_mul(0x1234_5678_9abc_def1)),
            set: Vec::new(),
            users: 200,
            in_flight: 0,
            moved: 0,
            slow: Vec::new(),
            turn: 0,
        };
        for name in names(n) {
            let slot = name.clone();
            sim.state(500_000, &name, &slot, InstanceState::Ready);
        }
        sim.endpoints(1_000_000, &names(n));
        sim.event(
            START,
            What::Phase {
                phase: RunPhase::Traffic,
            },
        );
        sim
    }
    pub fn event(&mut self, at: Micros, what: What) {
        self.record.events.push(Event { at, what });
    }
    pub fn endpoints(&mut self, at: Micros, set: &[String]) {
        self.set = set.to_vec();
        self.event(
            at,
            What::Endpoints {
                ready: set.to_vec(),
            },
        );
    }
    pub fn state(&mut self, at: Micros, name: &str, slot: &str, state: InstanceState) {
        self.event(
            at,
            What::Instance(InstanceEvent {
                name: name.into(),
                slot: slot.into(),
                state,
                detail: None,
            }),
        );
    }
    /// One of the set, at random.
    pub fn random(&mut self) -> String {
        let i = self.dice.below(self.set.len());
        self.set[i].clone()
    }
    /// The next of the set.
    pub fn in_turn(&mut self) -> String {
        self.turn += 1;
        self.set[self.turn % self.set.len()].clone()
    }
    /// The second that comes next.
    pub fn now(&self) -> u64 {
        self.record.intervals.len() as u64
    }
    /// One second: connections and requests by instance; `failed` had no answer.
    pub fn second(&mut self, got: &[(String, u64, u64)], failed: u64) {
        let start_us = at(self.now());
        let mut step = StepSecond {
            flow: "browse".into(),
            step: "get".into(),
            in_flight: self.in_flight,
            moved: self.moved,
            ..StepSecond::default()
        };
        let mut histograms = StepHistograms::default();
        for (name, connections, requests) in got {
            step.connections += connections;
            *step.ended.entry(Outcome::Ok).or_default() += requests;
            *step.statuses.entry(200).or_default() += requests;
            let entry: &mut InstanceSecond = step.instances.entry(name.clone()).or_default();
            entry.connections += connections;
            entry.answered += requests;
            if self.slow.is_empty() {
                // Histograms cost most of a simulated run.
                continue;
            }
            let slow = self.slow.iter().find(|(slow, _)| slow == name);
            let us = slow.map_or(10_000, |(_, us)| *us);
            let latency = histograms.instances.entry(name.clone());
            let latency = latency.or_insert_with(coarse_latency);
            latency.record_n(us, *requests).unwrap();
        }
        if failed > 0 {
            step.ended.insert(Outcome::Refused, failed);
        }
        self.record.intervals.push(Interval {
            second: TrafficSecond {
                start_us,
                end_us: start_us + 1_000_000,
                steps: vec![step],
                generator: GeneratorSecond {
                    users: self.users,
                    ..GeneratorSecond::default()
                },
            },
            histograms: vec![histograms],
        });
    }
    /// So many connections in one second, each with so many requests, placed by `choose`.
    pub fn connect(&mut self, n: u64, requests: u64, mut choose: impl FnMut(&mut Self) -> String) {
        let got: Vec<_> = (0..n).map(|_| (choose(self), 1, requests)).collect();
        self.second(&got, 0);
    }
    pub fn run(
        &mut self,
        seconds: u64,
        n: u64,
        requests: u64,
        mut choose: impl FnMut(&mut Self) -> String,
    ) {
        for _ in 0..seconds {
            self.connect(n, requests, &mut choose);
        }
    }
    pub fn observed(&self) -> observe::Observed {
        observe::observe(&self.record, &BalanceExpectation::default(), 0)
    }
}

fn header(mode: ConnectionMode) -> Header {
    let flow = Flow {
        name: "browse".into(),
        start: Default::default(),
        load: Load::Open(OpenLoad {
            process: Process::Constant,
            stages: vec![RateStage {
                rate: Rate::per_second(100.0),
                ramp: Default::default(),
                hold: std::time::Duration::from_secs(60),
            }],
            max_in_flight: 1000,
        }),
        connections: Connections {
            mode,
            ..Connections::default()
        },
        protocol: Protocol::Http1,
        transport: TransportChoice::Auto,
        headers: Vec::new(),
        timeout: std::time::Duration::from_secs(5),
        variables: Default::default(),
        data: Vec::new(),
        journey: Vec::new(),
    };
    Header {
        squall_record: crate::record::FORMAT,
        version: "0.1.0".into(),
        started: "2026-01-01T00:00:00Z".into(),
        seed: 1,
        scenario: Scenario {
            name: "balance".into(),
            description: None,
            seed: Some(1),
            target: Target::Url(UrlTarget {
                url: "http://127.0.0.1:1".into(),
                common: TargetCommon::default(),
            }),
            traffic: vec![flow],
            faults: Vec::new(),
            guard: Guard::default(),
            expect: Vec::new(),
            run: RunOptions::default(),
            capacity: None,
            observe: Default::default(),
            secrets: Default::default(),
            base_dir: Default::default(),
        },
        host: Host::default(),
    }
}
