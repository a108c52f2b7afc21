//! Scenarios in one line, and what came of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use squall::platform::Endpoint;
use squall::record::{Clock, Entry, Interval, Latency, Outcome, Sample, Sink, What, latency};
use squall::scenario::units::Rate;
use squall::scenario::*;
use squall::traffic::{Engine, Job, TrafficEnd, TrafficError, prepare, start};

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn get(path: &str) -> Step {
    Step {
        name: format!("GET {path}"),
        method: "GET".into(),
        path: path.into(),
        query: vec![],
        headers: vec![],
        body: Body::None,
        timeout: None,
        follow_redirects: false,
        checks: vec![],
        extract: vec![],
    }
}

pub fn journey(steps: impl IntoIterator<Item = Step>) -> Vec<Node> {
    steps
        .into_iter()
        .map(|step| Node::Step(Box::new(step)))
        .collect()
}

/// A flow of `GET /`.
pub fn flow_on(transport: TransportChoice, load: Load) -> Flow {
    Flow {
        name: "main".into(),
        start: Duration::ZERO,
        load,
        connections: Connections::default(),
        protocol: Protocol::Http1,
        transport,
        headers: vec![],
        timeout: Duration::from_secs(10),
        variables: BTreeMap::new(),
        data: vec![],
        journey: journey([get("/")]),
    }
}

/// So many users for so long.
pub fn users(users: u32, hold: Duration, think: Think) -> Load {
    let stages = vec![UserStage {
        users,
        ramp: Duration::ZERO,
        hold,
    }];
    Load::Closed(ClosedLoad { stages, think })
}

/// So many arrivals a second for so long.
pub fn rate(rate: f64, hold: Duration) -> Load {
    let rate = Rate::per_second(rate);
    let stages = vec![RateStage {
        rate,
        ramp: Duration::ZERO,
        hold,
    }];
    Load::Open(OpenLoad {
        process: Process::Constant,
        stages,
        max_in_flight: 1000,
    })
}

pub fn scenario(flow: Flow) -> Scenario {
    Scenario {
        name: "test".into(),
        description: None,
        seed: Some(1),
        target: Target::Url(UrlTarget {
            url: String::new(),
            common: TargetCommon::default(),
        }),
        traffic: vec![flow],
        faults: vec![],
        guard: Guard::default(),
        expect: vec![],
        run: RunOptions {
            threads: Some(1),
            ..RunOptions::default()
        },
        capacity: None,
        observe: Default::default(),
        secrets: BTreeMap::new(),
        base_dir: "/".into(),
    }
}

/// What a run left.
pub struct Run {
    pub end: TrafficEnd,
    pub intervals: Vec<Interval>,
    pub samples: Vec<Sample>,
    pub notes: Vec<String>,
}

pub fn job(scenario: Scenario, url: &str) -> (Job, tokio::sync::mpsc::UnboundedReceiver<Entry>) {
    let (sink, entries) = Sink::new(Clock::start());
    let endpoint = Endpoint {
        base_url: url.into(),
        describe: String::new(),
        routes: None,
    };
    (
        Job {
            scenario: Arc::new(scenario),
            endpoint,
            seed: 1,
            sink,
        },
        entries,
    )
}

/// Runs a scenario to its end and checks that its numbers add up.
pub fn run(scenario: Scenario, url: &str) -> Run {
    run_with(scenario, url, |_| {})
}

/// The same, with something done to the engine once it runs.
pub fn run_with(scenario: Scenario, url: &str, meanwhile: impl FnOnce(&Engine)) -> Run {
    let (job, entries) = job(scenario, url);
    let mut engine = start(prepare(&job).unwrap());
    meanwhile(&engine);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let end = runtime.block_on(engine.finished()).unwrap();
    let run = collect(end, entries);
    run.adds_up();
    run
}

pub fn prepare_error(scenario: Scenario, url: &str) -> TrafficError {
    prepare(&job(scenario, url).0).err().expect("an error")
}

fn collect(end: TrafficEnd, mut entries: tokio::sync::mpsc::UnboundedReceiver<Entry>) -> Run {
    let mut run = Run {
        end,
        intervals: vec![],
        samples: vec![],
        notes: vec![],
    };
    while let Ok(entry) = entries.try_recv() {
        match entry {
            Entry::Interval(interval) => run.intervals.push(*interval),
            Entry::Event(event) | Entry::Durable(event, _) => match event.what {
                What::Sample(sample) => run.samples.push(sample),
                // Every run says this of every flow.
                What::Note { text, .. } if text.contains("is carried by the") => {}
                What::Note { text, .. } => run.notes.push(text),
                other => panic!("{other:?}"),
            },
        }
    }
    run
}

impl Run {
    /// Requests that ended in a way.
    pub fn ended(&self, outcome: Outcome) -> u64 {
        self.steps().filter_map(|s| s.ended.get(&outcome)).sum()
    }
    /// Requests of a step that ended in a way.
    pub fn step_ended(&self, step: &str, outcome: Outcome) -> u64 {
        self.steps()
            .filter(|s| s.step == step)
            .filter_map(|s| s.ended.get(&outcome))
            .sum()
    }
    pub fn steps(&self) -> impl Iterator<Item = &squall::record::StepSecond> {
        self.intervals.iter().flat_map(|i| &i.second.steps)
    }
    pub fn connections(&self) -> u64 {
        self.steps().map(|s| s.connections).sum()
    }
    /// All outcomes that occurred, with their counts.
    pub fn outcomes(&self) -> BTreeMap<Outcome, u64> {
        let mut sums = BTreeMap::new();
        for (outcome, count) in self.steps().flat_map(|s| &s.ended) {
            *sums.entry(*outcome).or_default() += count;
        }
        sums
    }
    /// Response times of all that count as latency.
    pub fn response(&self) -> Latency {
        let mut sum = latency();
        let all = self
            .intervals
            .iter()
            .flat_map(|i| &i.histograms)
            .flat_map(|h| &h.response);
        for (_, histogram) in all.filter(|(outcome, _)| outcome.in_latency()) {
            sum.add(histogram).unwrap();
        }
        sum
    }
    pub fn service(&self) -> Latency {
        let mut sum = latency();
        for histogram in self
            .intervals
            .iter()
            .flat_map(|i| &i.histograms)
            .filter_map(|h| h.service.as_ref())
        {
            sum.add(histogram).unwrap();
        }
        sum
    }

    /// What must be true of every run.
    fn adds_up(&self) {
        let end = &self.end;
        assert_eq!(end.due, end.ended + end.dropped, "{end:?}");
        assert_eq!(self.steps().map(|s| s.due).sum::<u64>(), end.due);
        assert_eq!(self.outcomes().values().sum::<u64>(), end.ended);
        assert_eq!(self.intervals.len() as u64, end.intervals);
        let mut at = end.started_us;
        let mut open: BTreeMap<&str, u64> = BTreeMap::new();
        for interval in &self.intervals {
            let second = &interval.second;
            assert_eq!(second.start_us, at);
            assert!(second.end_us > at && second.end_us <= at + 1_000_000);
            at += 1_000_000;
            assert_eq!(second.steps.len(), interval.histograms.len());
            for (step, histograms) in second.steps.iter().zip(&interval.histograms) {
                let open = open.entry(&step.step).or_default();
                *open = *open + step.due - step.dropped - step.ended.values().sum::<u64>();
                assert_eq!(step.in_flight, *open);
                let answered: u64 = step
                    .ended
                    .iter()
                    .filter(|(o, _)| o.answered())
                    .map(|(_, n)| n)
                    .sum();
                assert_eq!(step.statuses.values().sum::<u64>(), answered);
                assert_eq!(histograms.service.as_ref().map_or(0, |h| h.len()), answered);
                let times: BTreeMap<_, _> = histograms
                    .response
                    .iter()
                    .map(|(o, h)| (*o, h.len()))
                    .collect();
                assert_eq!(times, step.ended);
                assert_eq!(
                    histograms.connect.as_ref().map_or(0, |h| h.len()),
                    step.connections
                );
                for (name, instance) in &step.instances {
                    let served = histograms.instances.get(name).map_or(0, |h| h.len());
                    assert_eq!(served, instance.answered, "{name}");
                }
            }
        }
        assert!(open.values().all(|open| *open == 0), "{open:?}");
    }
}
