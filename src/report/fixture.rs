//! A made-up run for the tests of every output: 40 s, three instances, a kill at 12 s. The record is built second
//! by second and the summary counted from it, so that the two agree as they do for a real run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::judge::{
    Evidence, FaultSummary, GeneratorSummary, InstanceSummary, LatencySummary, PhaseSummary,
    Ruling, StepSummary, Summary, Totals, Verdict,
};
use crate::record::{
    Ended, Event, FaultEvent, FaultStage, GeneratorSecond, Header, Host, InstanceEvent,
    InstanceSecond, InstanceState, Interval, Latency, Level, Micros, Outcome, Record, RunPhase,
    Sample, StepHistograms, StepSecond, TrafficSecond, What, coarse_latency, latency,
};
use crate::scenario::units::Rate;
use crate::scenario::{
    Connections, FaultKind, FaultPhase, FaultSpec, Flow, Guard, Load, LocalTarget, Node, OpenLoad,
    Pick, Probe, Process, Protocol, RateStage, Restart, RunOptions, Scenario, Select, Step, Target,
    TargetCommon, TransportChoice, UrlTarget,
};

use super::Judged;

/// Start of traffic on the run's clock.
pub(super) const ZERO: Micros = 1_500_000;
const KILL: Micros = ZERO + 12_000_000;

/// A run that owns its parts.
pub(super) struct Run {
    pub record: Record,
    pub summary: Summary,
    pub verdicts: Vec<Verdict>,
}

impl Run {
    pub(super) fn judged(&self) -> Judged<'_> {
        Judged {
            record: &self.record,
            summary: &self.summary,
            verdicts: &self.verdicts,
        }
    }
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
    /// A latency with a long tail.
    fn latency(&mut self, typical: f64) -> u64 {
        let normal: f64 = (0..6).map(|_| self.unit()).sum::<f64>() - 3.0;
        let tail = if self.unit() < 0.004 { 4.0 } else { 1.0 };
        (typical * (normal * 0.45).exp() * tail) as u64
    }
}

fn flow(steps: &[&str], stage: RateStage) -> Flow {
    let step = |name: &&str| {
        let (method, path) = name.split_once(' ').unwrap_or(("GET", name));
        Node::Step(Box::new(Step {
            name: name.to_string(),
            method: method.into(),
            path: path.into(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Default::default(),
            timeout: None,
            follow_redirects: false,
            checks: Vec::new(),
            extract: Vec::new(),
        }))
    };
    Flow {
        name: "browse".into(),
        start: Duration::ZERO,
        load: Load::Open(OpenLoad {
            process: Process::Poisson,
            stages: vec![stage],
            max_in_flight: 500,
        }),
        connections: Connections::default(),
        protocol: Protocol::Http1,
        transport: TransportChoice::Auto,
        headers: Vec::new(),
        timeout: Duration::from_secs(5),
        variables: BTreeMap::new(),
        data: Vec::new(),
        journey: steps.iter().map(step).collect(),
    }
}

/// The scenario of [`kill`].
pub(super) fn scenario() -> Scenario {
    let target = LocalTarget {
        name: "shop".into(),
        command: ["squall", "demo", "--port", "{port}"]
            .map(String::from)
            .into(),
        instances: 3,
        env: BTreeMap::new(),
        port: None,
        scheme: "http".into(),
        ready: Probe::default(),
        start_timeout: Duration::from_secs(10),
        stop_grace: Duration::from_secs(5),
        restart: Restart::default(),
        common: TargetCommon::default(),
    };
    let kill = FaultSpec {
        name: "kill one shop".into(),
        at: Duration::from_secs(12),
        every: None,
        times: None,
        lasts: None,
        kind: FaultKind::Kill,
        select: Select {
            pick: Pick::Count(1),
            ..Select::default()
        },
    };
    let stage = RateStage {
        rate: Rate::per_second(500.0),
        ramp: Duration::ZERO,
        hold: Duration::from_secs(40),
    };
    Scenario {
        name: "the shop survives a kill".into(),
        description: Some(
            "Three instances behind a balancer; one of them is killed under steady traffic.".into(),
        ),
        seed: Some(42),
        target: Target::Local(target),
        traffic: vec![flow(&["GET /products", "POST /cart"], stage)],
        faults: vec![kill],
        guard: Guard::default(),
        expect: Vec::new(),
        run: RunOptions::default(),
        secrets: BTreeMap::new(),
        base_dir: PathBuf::new(),
    }
}

fn header(scenario: Scenario) -> Header {
    Header {
        squall_record: crate::record::FORMAT,
        version: "0.1.0".into(),
        started: "2026-03-14T09:26:53.589Z".into(),
        seed: 42,
        scenario,
        host: Host {
            name: "bench-1".into(),
            os: "Linux 6.12.0".into(),
            cores: 8,
            cpu: "Example CPU at 3 GHz".into(),
            memory_bytes: 16 << 30,
            open_files: 1_048_576,
        },
    }
}

/// The instances that serve in a second after the start of traffic.
fn serving(second: u64) -> Vec<&'static str> {
    match second {
        0..12 => vec!["shop-1", "shop-2", "shop-3"],
        12..14 => vec!["shop-1", "shop-3"],
        _ => vec!["shop-1", "shop-2-r1", "shop-3"],
    }
}

fn step(dice: &mut Dice, name: &str, second: u64, n: u64) -> (StepSecond, StepHistograms) {
    let mut counts = StepSecond {
        flow: "browse".into(),
        step: name.into(),
        due: n,
        in_flight: 2,
        connections: u64::from(second == 0) * 6,
        sent_bytes: n * 120,
        received_bytes: n * 1800,
        ..StepSecond::default()
    };
    let mut histograms = StepHistograms::default();
    let (mut response, mut service, mut vain) = (latency(), latency(), latency());
    let names = serving(second);
    let typical = match (name.starts_with("POST"), names.len()) {
        (true, 3) => 6_000.0,
        (true, _) => 14_000.0,
        (false, 3) => 3_500.0,
        (false, _) => 9_000.0,
    };
    let broken = if second == 12 { 7 } else { 0 };
    let late = u64::from(second == 12 && name.starts_with("GET")) * 2;
    for i in 0..n - broken - late {
        let at = names[(dice.unit() * names.len() as f64) as usize % names.len()];
        let us = dice.latency(typical);
        response.record(us).unwrap();
        service.record(us - us / 20).unwrap();
        let one = counts.instances.entry(at.into()).or_default();
        one.answered += 1;
        one.connections += u64::from(second == 0 && i < 2);
        let coarse = histograms.instances.entry(at.into());
        coarse.or_insert_with(coarse_latency).record(us).unwrap();
    }
    counts.ended.insert(Outcome::Ok, n - broken - late);
    counts.statuses.insert(200, n - broken - late);
    if broken > 0 {
        counts.ended.insert(Outcome::Reset, 4);
        counts.ended.insert(Outcome::Refused, 3);
        counts.first_error_us = Some(KILL + 3_100);
        counts.last_error_us = Some(KILL + 940_000);
        let mut reset = latency();
        reset.record_n(3_000, 4).unwrap();
        histograms.response.insert(Outcome::Reset, reset);
        let gone = InstanceSecond {
            failed: broken,
            last_us: Some(KILL + 6_000),
            ..InstanceSecond::default()
        };
        counts.instances.insert("shop-2".into(), gone);
    }
    if late > 0 {
        counts.ended.insert(Outcome::Timeout, late);
        vain.record_n(5_000_000, late).unwrap();
        histograms.response.insert(Outcome::Timeout, vain);
    }
    histograms.response.insert(Outcome::Ok, response);
    histograms.service = Some(service);
    (counts, histograms)
}

fn intervals(seconds: u64) -> Vec<Interval> {
    let mut dice = Dice(42);
    let mut out = Vec::new();
    for second in 0..seconds {
        let wobble = (dice.unit() * 16.0) as u64;
        let steps = [
            ("GET /products", 312 + wobble),
            ("POST /cart", 188 - wobble),
        ];
        let (counts, histograms) = steps
            .into_iter()
            .map(|(name, n)| step(&mut dice, name, second, n))
            .unzip();
        let start_us = ZERO + second * 1_000_000;
        out.push(Interval {
            second: TrafficSecond {
                start_us,
                end_us: start_us + 1_000_000,
                steps: counts,
                generator: GeneratorSecond {
                    cpu_millicores: vec![210, 190],
                    lag_p50_us: 40,
                    lag_p99_us: 310,
                    lag_max_us: 1_900,
                    late: 0,
                    open_files: 64,
                    users: 12,
                },
            },
            histograms,
        });
    }
    out
}

fn instance(name: &str, slot: &str, state: InstanceState, detail: Option<&str>) -> What {
    What::Instance(InstanceEvent {
        name: name.into(),
        slot: slot.into(),
        state,
        detail: detail.map(String::from),
    })
}

fn endpoints(names: &[&str]) -> What {
    What::Endpoints {
        ready: names.iter().map(|n| n.to_string()).collect(),
    }
}

fn fault(stage: FaultStage) -> What {
    What::Fault(FaultEvent {
        injection: 1,
        spec: 0,
        name: "kill one shop".into(),
        fault: "kill".into(),
        stage,
        instances: vec!["shop-2".into()],
        detail: None,
    })
}

/// What happened to the instances, in order.
pub(super) fn events(seconds: u64) -> Vec<Event> {
    use InstanceState::{Ended as Gone, Ready, Started};
    let all = ["shop-1", "shop-2", "shop-3"];
    let starting = RunPhase::Starting;
    let mut list = vec![(0, What::Phase { phase: starting })];
    for (i, name) in all.iter().enumerate() {
        list.push((20_000 + i as u64, instance(name, name, Started, None)));
    }
    for (i, name) in all.iter().enumerate() {
        list.push((900_000 + i as u64, instance(name, name, Ready, None)));
    }
    list.push((901_000, endpoints(&all)));
    let phase = RunPhase::Traffic;
    list.push((ZERO, What::Phase { phase }));
    let ended = Some("killed by signal 9");
    list.extend([
        (KILL - 400, fault(FaultStage::Injecting)),
        (KILL, fault(FaultStage::Injected)),
        (KILL + 4_000, instance("shop-2", "shop-2", Gone, ended)),
        (KILL + 5_000, endpoints(&["shop-1", "shop-3"])),
        (
            KILL + 1_010_000,
            instance("shop-2-r1", "shop-2", Started, None),
        ),
        (
            KILL + 1_600_000,
            instance("shop-2-r1", "shop-2", Ready, None),
        ),
        (
            KILL + 1_601_000,
            endpoints(&["shop-1", "shop-2-r1", "shop-3"]),
        ),
    ]);
    for second in 0..seconds {
        for (i, name) in serving(second).into_iter().enumerate() {
            let busy = if serving(second).len() == 2 { 420 } else { 280 };
            let usage = What::Usage {
                instance: name.into(),
                cpu_millicores: busy + (second * 7 + i as u64 * 13) % 40,
                memory_bytes: (38 << 20) + second * 40_000 + (i as u64) * 700_000,
            };
            list.push((ZERO + second * 1_000_000 + 500_000, usage));
        }
    }
    let end = ZERO + seconds * 1_000_000;
    for (phase, at) in [
        (RunPhase::Draining, end),
        (RunPhase::Stopping, end + 20_000),
    ] {
        list.push((at, What::Phase { phase }));
    }
    let ended = Ended::Completed;
    list.push((end + 300_000, What::End { ended }));
    list.sort_by_key(|(at, _)| *at);
    let event = |(at, what)| Event { at, what };
    list.into_iter().map(event).collect()
}

fn numbers(of: &Latency) -> LatencySummary {
    if of.is_empty() {
        return LatencySummary::default();
    }
    let at = |q| of.value_at_quantile(q);
    LatencySummary {
        count: of.len(),
        min_us: of.min(),
        mean_us: of.mean().round(),
        p50_us: at(0.5),
        p90_us: at(0.9),
        p95_us: at(0.95),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: of.max(),
    }
}

/// Counts the steps of a name (all for none) in some seconds.
fn totals(intervals: &[Interval], name: Option<&str>) -> Totals {
    let mut t = Totals {
        seconds: intervals.len() as f64,
        ..Totals::default()
    };
    let (mut response, mut service) = (latency(), latency());
    for interval in intervals {
        let steps = interval.second.steps.iter().zip(&interval.histograms);
        for (step, histograms) in steps.filter(|(s, _)| name.is_none_or(|n| s.step == n)) {
            t.due += step.due;
            t.connections += step.connections;
            t.sent_bytes += step.sent_bytes;
            t.received_bytes += step.received_bytes;
            for (outcome, n) in &step.ended {
                t.ended += n;
                t.answered += if outcome.answered() { *n } else { 0 };
                if outcome.failed() {
                    t.failed += n;
                    *t.errors.entry(*outcome).or_default() += n;
                }
            }
            for (status, n) in &step.statuses {
                *t.statuses.entry(*status).or_default() += n;
            }
            for (outcome, h) in &histograms.response {
                if outcome.in_latency() {
                    response.add(h).unwrap();
                }
            }
            service.add(histograms.service.as_ref().unwrap()).unwrap();
        }
    }
    if t.ended > 0 {
        t.error_ratio = t.failed as f64 / t.ended as f64;
    }
    if t.seconds > 0.0 {
        t.throughput_per_s = t.answered as f64 / t.seconds;
    }
    t.response = numbers(&response);
    t.service = numbers(&service);
    t
}

fn instance_summaries(intervals: &[Interval], all: u64) -> Vec<InstanceSummary> {
    let names = ["shop-1", "shop-2", "shop-3", "shop-2-r1"];
    let summary = |name: &str| {
        let steps = intervals.iter().flat_map(|i| &i.second.steps);
        let mine: Vec<_> = steps.filter_map(|s| s.instances.get(name)).collect();
        let mut service = coarse_latency();
        for h in intervals.iter().flat_map(|i| &i.histograms) {
            if let Some(h) = h.instances.get(name) {
                service.add(h).unwrap();
            }
        }
        let answered: u64 = mine.iter().map(|i| i.answered).sum();
        InstanceSummary {
            name: name.into(),
            slot: Some(name.trim_end_matches("-r1").into()),
            answered,
            failed: mine.iter().map(|i| i.failed).sum(),
            share: answered as f64 / all as f64,
            connections: mine.iter().map(|i| i.connections).sum(),
            service: numbers(&service),
            cpu_mean_millicores: 297,
            cpu_max_millicores: 455,
            memory_max_bytes: 41 << 20,
        }
    };
    names.into_iter().map(summary).collect()
}

fn fault_summary() -> FaultSummary {
    FaultSummary {
        injection: 1,
        name: "kill one shop".into(),
        fault: "kill".into(),
        stage: FaultStage::Injected,
        detail: None,
        instances: vec!["shop-2".into()],
        injected_us: Some(KILL),
        undone_us: None,
        first_error_us: Some(KILL + 3_100),
        last_error_us: Some(KILL + 940_000),
        failed_requests: 16,
        not_ready_us: Some(KILL + 4_000),
        endpoint_removed_us: Some(KILL + 5_000),
        last_request_us: Some(KILL + 6_000),
        ready_again_us: Some(KILL + 1_600_000),
        first_served_us: Some(KILL + 1_700_000),
        restored_us: Some(KILL + 2_000_000),
    }
}

fn sample(outcome: Outcome, request: &str, error: &str) -> Sample {
    Sample {
        flow: "browse".into(),
        step: "GET /products".into(),
        outcome,
        instance: Some("shop-2".into()),
        request: request.into(),
        error: error.into(),
        status: None,
        headers: BTreeMap::new(),
        body: None,
    }
}

fn summary(record: &Record) -> Summary {
    let seconds = &record.intervals;
    let all = totals(seconds, None);
    let part = |phase, range: std::ops::Range<usize>| PhaseSummary {
        phase,
        totals: totals(&seconds[range], None),
    };
    let step = |name: &str| StepSummary {
        flow: "browse".into(),
        step: name.into(),
        totals: totals(seconds, Some(name)),
    };
    let header = &record.header;
    let url = "http://127.0.0.1:40123";
    Summary {
        scenario: header.scenario.name.clone(),
        started: header.started.clone(),
        version: header.version.clone(),
        seed: header.seed,
        host: header.host.clone(),
        ended: Some(Ended::Completed),
        traffic_start_us: ZERO,
        traffic_end_us: ZERO + seconds.len() as u64 * 1_000_000,
        steps: vec![step("GET /products"), step("POST /cart")],
        phases: vec![
            part(FaultPhase::Before, 0..12),
            part(FaultPhase::During, 12..14),
            part(FaultPhase::After, 14..seconds.len()),
        ],
        instances: instance_summaries(seconds, all.answered),
        faults: vec![fault_summary()],
        generator: GeneratorSummary {
            workers: 2,
            cpu_max_millicores: 260,
            cpu_typical_millicores: 210,
            lag_p99_us: 310,
            lag_max_us: 1_900,
            dropped: 0,
            late: 0,
            open_files_max: 64,
            saturated: None,
        },
        samples: vec![
            sample(
                Outcome::Reset,
                &format!("GET {url}/products"),
                "connection reset by peer",
            ),
            sample(
                Outcome::Refused,
                &format!("GET {url}/products"),
                "connection refused",
            ),
            sample(
                Outcome::Timeout,
                &format!("GET {url}/products"),
                "no response within 5s",
            ),
        ],
        notes: vec![(
            Level::Warning,
            "the open-file limit was raised from 1,024 to 1,048,576".into(),
        )],
        all,
    }
}

fn evidence(what: &str, value: &str, at: Option<Micros>) -> Evidence {
    Evidence {
        what: what.into(),
        value: value.into(),
        at_us: at,
    }
}

fn verdict(oracle: &str, expectation: &str, verdict: Ruling, because: &str) -> Verdict {
    Verdict {
        oracle: oracle.into(),
        expectation: expectation.into(),
        verdict,
        because: because.into(),
        missing: None,
        evidence: Vec::new(),
    }
}

fn verdicts() -> Vec<Verdict> {
    let mut slow = verdict(
        "slo",
        "p99 < 25ms during faults",
        Ruling::Fail,
        "p99 was 41 ms over 982 requests during faults, 16 ms over the limit of 25 ms",
    );
    slow.evidence = vec![
        evidence("worst second", "p99 43 ms, 498 requests", Some(KILL)),
        evidence("slowest step", "POST /cart, p99 46 ms", None),
    ];
    let mut good = verdict(
        "slo",
        "p99 < 250ms",
        Ruling::Pass,
        "p99 was 19 ms over 19,986 requests",
    );
    good.evidence = vec![evidence("worst second", "p99 43 ms", Some(KILL))];
    let mut back = verdict(
        "recovery",
        "recovery within 5s",
        Ruling::Pass,
        "kill shop-2 was over after 2.00 s: 16 requests failed, replacement ready after 1.60 s",
    );
    back.evidence = vec![
        evidence("first error", "+3.1 ms", Some(KILL + 3_100)),
        evidence("service restored", "+2.00 s", Some(KILL + 2_000_000)),
    ];
    let mut unsure = verdict(
        "slo",
        "p99.9 < 100ms after faults",
        Ruling::Inconclusive,
        "p99.9 needs 2,995 samples for a bound, and the part has 1,204",
    );
    unsure.missing = Some("1,791 more requests: run about 4 s longer".into());
    vec![good, slow, back, unsure]
}

/// The run with the kill.
pub(super) fn kill() -> Run {
    let record = Record {
        header: header(scenario()),
        events: events(40),
        intervals: intervals(40),
        damage: Vec::new(),
    };
    Run {
        summary: summary(&record),
        record,
        verdicts: verdicts(),
    }
}

/// A run against a URL that ended before any request: nothing in it but its header.
pub(super) fn empty() -> Run {
    let mut run = kill();
    run.record.events.clear();
    run.record.intervals.clear();
    run.record.header.scenario.target = Target::Url(UrlTarget {
        url: "https://example.invalid".into(),
        common: TargetCommon::default(),
    });
    run.record.header.scenario.faults.clear();
    let s = &mut run.summary;
    s.all = Totals {
        error_ratio: f64::NAN,
        throughput_per_s: f64::INFINITY,
        ..Totals::default()
    };
    s.host = Host::default();
    s.ended = None;
    s.traffic_start_us = 0;
    s.traffic_end_us = 0;
    s.steps.clear();
    s.phases.clear();
    s.instances.clear();
    s.faults.clear();
    s.samples.clear();
    s.notes.clear();
    s.generator = GeneratorSummary::default();
    run.verdicts.clear();
    run
}

/// The run with the kill, with text from outside that tries to be markup.
pub(super) fn hostile() -> Run {
    const EVIL: &str = "</script><script>alert(1)</script>\u{1b}[2J|`@all`\n\"'";
    let mut run = kill();
    let s = &mut run.summary;
    s.scenario = EVIL.into();
    s.steps[0].step = EVIL.into();
    s.samples[0].body = Some(EVIL.into());
    s.samples[0].error = EVIL.into();
    s.samples[0].headers.insert(EVIL.into(), EVIL.into());
    s.faults[0].name = EVIL.into();
    s.faults[0].instances = vec![EVIL.into()];
    s.instances[0].name = EVIL.into();
    s.notes.push((Level::Error, EVIL.into()));
    run.verdicts[1].expectation = EVIL.into();
    run.verdicts[1].because = EVIL.into();
    run.verdicts[1].evidence[0].what = EVIL.into();
    run.verdicts[3].missing = Some(EVIL.into());
    run.record.header.scenario.description = Some(EVIL.into());
    for interval in &mut run.record.intervals {
        for step in &mut interval.second.steps {
            if let Some(one) = step.instances.remove("shop-1") {
                step.instances.insert(EVIL.into(), one);
            }
        }
    }
    run
}
