//! The record's files as a whole: what is written is read back, whatever happens in between.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::scenario::{
    Flow, Guard, Load, OpenLoad, Process, RunOptions, Scenario, Target, TargetCommon, UrlTarget,
};

mod damage;
mod recorder;

fn header() -> Header {
    let flow = Flow {
        name: "browse".into(),
        start: Duration::ZERO,
        load: Load::Open(OpenLoad {
            process: Process::Poisson,
            stages: vec![],
            max_in_flight: 10,
        }),
        connections: Default::default(),
        protocol: Default::default(),
        transport: Default::default(),
        headers: vec![],
        timeout: Duration::from_secs(1),
        variables: BTreeMap::new(),
        data: vec![],
        journey: vec![],
    };
    Header {
        squall_record: FORMAT,
        version: "0.1.0".into(),
        started: "2026-01-02T03:04:05.678Z".into(),
        seed: 7,
        scenario: Scenario {
            name: "a test".into(),
            description: None,
            seed: Some(7),
            target: Target::Url(UrlTarget {
                url: "http://127.0.0.1:1".into(),
                common: TargetCommon::default(),
            }),
            traffic: vec![flow],
            faults: vec![],
            guard: Guard::default(),
            expect: vec![],
            run: RunOptions::default(),
            capacity: None,
            observe: Default::default(),
            secrets: BTreeMap::new(),
            base_dir: "".into(),
        },
        host: Host::default(),
    }
}

fn end(at: Micros) -> Event {
    let what = What::End {
        ended: Ended::Completed,
    };
    Event { at, what }
}

fn note(at: Micros, text: &str) -> Event {
    let (level, text) = (Level::Info, text.into());
    let what = What::Note { level, text };
    Event { at, what }
}

fn histogram(values: &[u64]) -> Latency {
    let mut h = latency();
    for &v in values {
        h.record(v).unwrap();
    }
    h
}

/// One second of one step: what each request was answered by, and how long it took.
fn second(number: u64, step: &str, requests: &[(Outcome, &str, u64)]) -> Interval {
    let mut counts = StepSecond {
        flow: "browse".into(),
        step: step.into(),
        due: requests.len() as u64,
        in_flight: 3,
        connections: 2,
        sent_bytes: 98_765,
        received_bytes: 1_234_567,
        ..Default::default()
    };
    let start = number * 1_000_000 + 17;
    let mut all = StepHistograms::default();
    for &(outcome, instance, us) in requests {
        *counts.ended.entry(outcome).or_default() += 1;
        let response = all.response.entry(outcome).or_insert_with(latency);
        response.record(us).unwrap();
        let by = counts.instances.entry(instance.into()).or_default();
        if !outcome.answered() {
            by.failed += 1;
            continue;
        }
        *counts.statuses.entry(200).or_default() += 1;
        by.answered += 1;
        by.first_us = Some(start + 123);
        by.last_us = Some(start + 999_321);
        all.service.get_or_insert_with(latency).record(us).unwrap();
        let first_byte = all.first_byte.get_or_insert_with(latency);
        first_byte.record(us).unwrap();
        let of_instance = (all.instances.entry(instance.into())).or_insert_with(coarse_latency);
        of_instance.record(us).unwrap();
    }
    all.connect = Some(histogram(&[120, 140]));
    Interval {
        second: TrafficSecond {
            start_us: start,
            end_us: start + 1_000_000,
            steps: vec![counts],
            generator: GeneratorSecond {
                cpu_millicores: vec![312],
                lag_p50_us: 55,
                lag_p99_us: 180,
                lag_max_us: 950,
                late: 0,
                open_files: 131,
                users: 64,
            },
        },
        histograms: vec![all],
    }
}

fn write(dir: &Path, intervals: &[Interval]) {
    let mut writer = Writer::create(dir, &header()).unwrap();
    for interval in intervals {
        writer.write_interval(interval).unwrap();
    }
    writer.write_durable(&end(u64::MAX >> 12)).unwrap();
    writer.finish().unwrap();
}

/// The sum over all seconds of the histograms that are rolled up.
fn sums<'a>(intervals: impl IntoIterator<Item = &'a Interval>) -> BTreeMap<String, Latency> {
    let mut sums = BTreeMap::new();
    for interval in intervals {
        for (step, all) in interval.second.steps.iter().zip(&interval.histograms) {
            let mut add = |name: &str, h: &Latency| {
                let key = format!("{} {name}", step.step);
                sums.entry(key)
                    .or_insert_with(coarse_latency)
                    .add(h.clone())
                    .unwrap();
            };
            for (name, h) in [
                ("first byte", &all.first_byte),
                ("connect", &all.connect),
                ("tls", &all.tls),
            ] {
                h.iter().for_each(|h| add(name, h));
            }
            for (name, h) in &all.instances {
                add(&format!("at {name}"), h);
            }
        }
    }
    sums
}

fn percentiles(h: &Latency) -> Vec<u64> {
    let mut all = vec![h.len(), h.min(), h.max()];
    all.extend([0.0, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0].map(|q| h.value_at_quantile(q)));
    all
}

/// 1,000 log-normal requests over 4 instances, as a healthy service on this machine answers them.
fn busy_second(number: u64, step: &str) -> Interval {
    let mut rng = rand_pcg::Pcg64::seed_from_u64(number);
    let names = ["shop-1", "shop-2", "shop-3", "shop-4"];
    let requests: Vec<_> = (0..1000)
        .map(|_| {
            let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
            let z = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
            let us = (1000.0 * (0.5 * z).exp()) as u64;
            (Outcome::Ok, names[rng.random_range(0..4)], us.max(1))
        })
        .collect();
    second(number, step, &requests)
}

fn size(dir: &Path) -> u64 {
    [RECORD_FILE, HISTOGRAM_FILE]
        .map(|f| dir.join(f).metadata().unwrap().len())
        .iter()
        .sum()
}

#[test]
fn a_busy_second_of_a_step_takes_less_than_two_kilobytes() {
    const SECONDS: u64 = 120;
    let grown = |steps: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let intervals: Vec<_> = (0..SECONDS)
            .map(|n| {
                let mut all = busy_second(n, steps[0]);
                for step in &steps[1..] {
                    let more = busy_second(n + 1_000_000, step);
                    all.second.steps.extend(more.second.steps);
                    all.histograms.extend(more.histograms);
                }
                all
            })
            .collect();
        write(dir.path(), &[]);
        let empty = size(dir.path());
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &intervals);
        (size(dir.path()) - empty) / SECONDS
    };
    let one = grown(&["GET /products"]);
    let two = grown(&["GET /products", "POST /cart"]);
    println!("one step: {one} B/s, a second step: {} B/s", two - one);
    assert!(one < 2000, "{one} bytes a second");
    assert!(two - one < 2000, "{} bytes a second more", two - one);
}

#[test]
fn a_new_phase_a_fault_or_an_undo_ends_what_is_rolled_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(dir.path(), &header()).unwrap();
    let fault = FaultEvent {
        injection: 1,
        spec: 0,
        name: "kill".into(),
        fault: "kill".into(),
        stage: FaultStage::Injected,
        instances: vec!["a".into()],
        detail: None,
    };
    for n in 0..70 {
        if n == 4 {
            let what = What::Fault(fault.clone());
            let at = 4_500_000;
            writer.write_event(&Event { at, what }).unwrap();
        }
        writer
            .write_interval(&second(n, "GET /", &[(Outcome::Ok, "a", 500 + n)]))
            .unwrap();
    }
    writer.write_event(&end(71_000_000)).unwrap();
    writer.finish().unwrap();
    let record = Record::load(dir.path()).unwrap();
    assert_eq!(record.damage, Vec::<String>::new());
    let with: Vec<_> = (0..70)
        .filter(|&i| !record.intervals[i].histograms[0].instances.is_empty())
        .map(|i| (i, record.intervals[i].histograms[0].instances["a"].len()))
        .collect();
    // Seconds 0 to 3 are before the fault; then half a minute each, and the rest.
    assert_eq!(with, [(3, 4), (33, 30), (63, 30), (69, 6)]);
}

#[test]
fn a_step_that_pauses_still_gets_what_is_rolled_up() {
    let dir = tempfile::tempdir().unwrap();
    let active = second(0, "GET /", &[(Outcome::Ok, "a", 500)]);
    let idle = Interval {
        second: TrafficSecond {
            start_us: 1_000_017,
            end_us: 2_000_017,
            ..Default::default()
        },
        histograms: vec![],
    };
    write(dir.path(), &[active, idle]);
    let record = Record::load(dir.path()).unwrap();
    assert_eq!(record.damage, Vec::<String>::new());
    assert_eq!(record.intervals[0].histograms[0].instances["a"].len(), 1);
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop::sample::select(Outcome::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn what_is_written_is_read_back(seconds in prop::collection::vec(
        ("[a-z /,;%é]{0,8}", prop::collection::vec((outcome(), "[a-c /;%]{1,2}", 1u64..3_600_000_000), 0..24)), 0..12,
    )) {
        let intervals: Vec<_> = seconds.iter().enumerate().map(|(n, (step, requests))| {
            let requests: Vec<_> = requests.iter().map(|(o, i, us)| (*o, i.as_str(), *us)).collect();
            second(n as u64, step, &requests)
        }).collect();
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &intervals);
        let record = Record::load(dir.path()).unwrap();
        prop_assert_eq!(&record.damage, &Vec::<String>::new());
        prop_assert_eq!(&record.header, &header());
        prop_assert_eq!(record.intervals.len(), intervals.len());
        for (read, written) in record.intervals.iter().zip(&intervals) {
            prop_assert_eq!(&read.second, &written.second);
            let (read, written) = (&read.histograms[0], &written.histograms[0]);
            prop_assert_eq!(read.response.len(), written.response.len());
            for (outcome, h) in &written.response {
                prop_assert_eq!(percentiles(&read.response[outcome]), percentiles(h));
            }
            prop_assert_eq!(read.service.is_some(), written.service.is_some());
            if let (Some(read), Some(written)) = (&read.service, &written.service) {
                let mut coarse = coarse_latency();
                coarse.add(written).unwrap();
                prop_assert_eq!(percentiles(read), percentiles(&coarse));
            }
        }
        let (read, written) = (sums(&record.intervals), sums(&intervals));
        prop_assert_eq!(read.len(), written.len());
        for (key, h) in written {
            prop_assert_eq!(percentiles(&read[&key]), percentiles(&h));
        }
    }
}
