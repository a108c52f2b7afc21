//! The record's files as a whole: what is written is read back, whatever happens in between.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::scenario::{
    Flow, Guard, Load, OpenLoad, Process, RunOptions, Scenario, Target, TargetCommon, UrlTarget,
};

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
    assert!(one < 2048, "{one} bytes a second");
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

#[test]
fn a_record_cut_at_any_byte_still_reads_and_says_so() {
    let whole = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(whole.path(), &header()).unwrap();
    writer.write_event(&note(5, "hello")).unwrap();
    for n in 0..2 {
        let requests = [(Outcome::Ok, "a", 500)];
        writer
            .write_interval(&second(n, "GET /", &requests))
            .unwrap();
    }
    writer.write_event(&end(2_000_017)).unwrap();
    writer.finish().unwrap();
    let read = |name| std::fs::read(whole.path().join(name)).unwrap();
    let (events, histograms) = (read(RECORD_FILE), read(HISTOGRAM_FILE));
    let intact = Record::load(&whole.path().join(RECORD_FILE)).unwrap();
    assert_eq!(intact.damage, Vec::<String>::new());
    let head = events.iter().position(|&b| b == b'\n').unwrap();

    let cut = tempfile::tempdir().unwrap();
    let place = |name: &str, bytes: &[u8]| std::fs::write(cut.path().join(name), bytes).unwrap();
    place(HISTOGRAM_FILE, &histograms);
    for length in 0..events.len() {
        place(RECORD_FILE, &events[..length]);
        match Record::load(cut.path()) {
            Err(e) => {
                assert!(length < head, "cut at {length}: {e}");
                let says = e.to_string();
                assert!(says.contains("cut off") || says.contains("empty"), "{says}");
            }
            // Only the very last line end may be missed without loss.
            Ok(record) if length == events.len() - 1 => assert_eq!(record.events, intact.events),
            Ok(record) => {
                assert!(
                    length >= head && !record.damage.is_empty(),
                    "cut at {length}"
                );
                assert!(record.damage.iter().any(|d| d.contains("without an end")));
            }
        }
    }
    place(RECORD_FILE, &events);
    let comments = histograms.windows(4).position(|w| w == b"Tag=").unwrap();
    for length in 0..histograms.len() {
        place(HISTOGRAM_FILE, &histograms[..length]);
        let record = Record::load(cut.path()).unwrap();
        assert_eq!(record.events, intact.events);
        let at_line = length == 0 || histograms[length - 1] == b'\n';
        let lost_roll_up_only = at_line
            && record
                .intervals
                .iter()
                .all(|i| !i.histograms[0].response.is_empty());
        assert!(
            !record.damage.is_empty() || lost_roll_up_only,
            "cut at {length}"
        );
        if length < comments {
            let says = record.damage.join("; ");
            assert!(says.contains("of 2 of 2 seconds are missing"), "{says}");
        }
    }
    std::fs::remove_file(cut.path().join(HISTOGRAM_FILE)).unwrap();
    let record = Record::load(cut.path()).unwrap();
    assert!(
        record.damage[0].contains("intervals.hlog is missing"),
        "{:?}",
        record.damage
    );
}

#[test]
fn a_killed_run_says_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(dir.path(), &header()).unwrap();
    for n in 0..5 {
        writer
            .write_interval(&second(n, "GET /", &[(Outcome::Ok, "a", 500)]))
            .unwrap();
    }
    // As after SIGKILL: no destructor runs.
    std::mem::forget(writer);
    let record = Record::load(dir.path()).unwrap();
    assert_eq!(record.intervals.len(), 5);
    let [cut, roll_up] = &record.damage[..] else {
        panic!("{:?}", record.damage)
    };
    assert!(cut.contains("stops at 5.0 s without an end"), "{cut}");
    assert!(
        roll_up.contains("of the last 5 seconds are missing"),
        "{roll_up}"
    );
}

#[test]
fn what_is_not_understood_is_named_and_the_rest_is_read() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[]);
    let path = dir.path().join(RECORD_FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, tail) = text.split_once('\n').unwrap();
    let middle = [
        r#"{"t_us":10,"kind":"moon","phase":"full"}"#,
        "\0\0\0 rubbish",
        r#"{"t_us":11,"kind":"phase","phase":"of-the-moon"}"#,
        r#"{"t_us":12,"kind":"note","level":"info","text":"kept","new":1}"#,
    ];
    std::fs::write(&path, format!("{head}\n{}\n{tail}", middle.join("\n"))).unwrap();
    let record = Record::load(&path).unwrap();
    let unknown = |at| Event {
        at,
        what: What::Unknown,
    };
    assert_eq!(
        record.events[..3],
        [unknown(10), unknown(11), note(12, "kept")]
    );
    let [rubbish, moon] = &record.damage[..] else {
        panic!("{:?}", record.damage)
    };
    assert!(
        rubbish.starts_with("record.jsonl line 3: not an event"),
        "{rubbish}"
    );
    assert!(
        moon.starts_with("record.jsonl line 4: the event `phase`"),
        "{moon}"
    );
}

#[test]
fn many_damaged_lines_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[]);
    let path = dir.path().join(HISTOGRAM_FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text + &"Tag=x\n".repeat(500)).unwrap();
    let damage = Record::load(dir.path()).unwrap().damage;
    assert_eq!(damage.len(), 21);
    assert_eq!(damage[20], "intervals.hlog: 480 more damaged lines");
}

#[test]
fn only_a_record_of_a_format_known_here_is_read() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[]);
    let path = dir.path().join(RECORD_FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    for (from, to, says) in [
        ("\"squall_record\":1", "\"squall_record\":2", "a later one"),
        ("\"squall_record\":1", "\"other\":1", "no `squall_record`"),
        ("{\"squall_record\":1", "squall", "not JSON"),
        (
            "\"seed\":7,\"scenario\"",
            "\"s\":7,\"scenario\"",
            "missing field `seed`",
        ),
    ] {
        assert!(text.contains(from));
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let error = Record::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    std::fs::write(
        &path,
        text.replacen("\"squall_record\":1", "\"squall_record\":0", 1),
    )
    .unwrap();
    assert_eq!(Record::load(dir.path()).unwrap().header.squall_record, 0);
    let nowhere = Record::load(&dir.path().join("none")).unwrap_err();
    assert!(nowhere.to_string().contains("cannot read"), "{nowhere}");
}

#[test]
fn a_record_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[]);
    let again = Writer::create(dir.path(), &header());
    assert!(matches!(again.err(), Some(RecordError::Exists(_))));
    assert!(Record::load(dir.path()).unwrap().damage.is_empty());
}

#[test]
fn the_recorder_ends_with_the_end_though_a_sink_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let writer = Writer::create(dir.path(), &header()).unwrap();
    let (sink, rx) = Sink::new(Clock::start());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let tap: Tap = Box::new({
        let seen = seen.clone();
        let path = dir.path().join(RECORD_FILE);
        move |entry| {
            let lines = std::fs::read_to_string(&path).unwrap().lines().count();
            let what = match entry {
                TapEntry::Event(_) => "event",
                TapEntry::Interval(_) => "interval",
            };
            seen.lock().unwrap().push((what, lines));
        }
    });
    let mut calls = 0;
    let bad: Tap = Box::new(move |_| {
        calls += 1;
        assert!(calls < 2, "a tap that panics");
    });
    let handle = Recorder::spawn(writer, rx, vec![bad, tap]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    sink.interval(second(0, "GET /", &[(Outcome::Ok, "a", 500)]));
    let phase = What::Phase {
        phase: RunPhase::Draining,
    };
    runtime.block_on(sink.emit_durable(phase)).unwrap();
    sink.emit(end(0).what);
    let left = sink.clone();
    handle.join().unwrap();
    // Each entry was on file before the tap saw it.
    assert_eq!(
        *seen.lock().unwrap(),
        [("interval", 2), ("event", 3), ("event", 4)]
    );
    assert!(
        runtime
            .block_on(left.emit_durable(note(0, "late").what))
            .is_err()
    );
    let record = Record::load(dir.path()).unwrap();
    assert_eq!((record.events.len(), record.intervals.len()), (2, 1));
    assert_eq!(record.damage, Vec::<String>::new());
}

#[test]
fn the_recorder_ends_when_every_sink_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let writer = Writer::create(dir.path(), &header()).unwrap();
    let (sink, rx) = Sink::new(Clock::start());
    let handle = Recorder::spawn(writer, rx, vec![]);
    sink.note(Level::Info, "all there is");
    drop(sink);
    handle.join().unwrap();
    assert_eq!(Record::load(dir.path()).unwrap().events.len(), 1);
}

/// A file system of 64 KiB that is unmounted in the end.
struct TinyDisk(tempfile::TempDir);

impl TinyDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]);
        let mounted = mount.arg(dir.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(dir)),
            other => {
                let must = std::env::var_os("SQUALL_TESTS_MUST_RUN").is_some_and(|v| v == "1");
                assert!(!must, "cannot mount a tmpfs: {other:?}");
                println!("skipped: it takes root to mount a tmpfs ({other:?})");
                None
            }
        }
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_told_and_no_durable_event_passes_after_it() {
    let Some(disk) = TinyDisk::mount() else {
        return;
    };
    let dir = disk.0.path().join("run");
    let writer = Writer::create(&dir, &header()).unwrap();
    let (sink, rx) = Sink::new(Clock::start());
    let handle = Recorder::spawn(writer, rx, vec![]);
    let mut failed = handle.failed();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime
        .block_on(sink.emit_durable(note(0, "there is room").what))
        .unwrap();
    for n in 0..200 {
        sink.note(Level::Info, format!("{n} {}", "x".repeat(1000)));
    }
    runtime
        .block_on(failed.wait_for(|f| f.is_some()))
        .expect("the recorder tells of its error");
    let told = failed.borrow().clone().unwrap();
    assert!(
        told.contains("No space left") && told.contains(RECORD_FILE),
        "{told}"
    );
    let answer = runtime.block_on(sink.emit_durable(note(0, "no room").what));
    assert_eq!(answer, Err(told.clone()));
    // Room again, as after a clean-up: the record goes on behind the torn line, and what came is readable.
    std::fs::remove_file(dir.join(HISTOGRAM_FILE)).unwrap();
    let path = dir.join(RECORD_FILE);
    let length = path.metadata().unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(length - 8192).unwrap();
    sink.emit(end(0).what);
    let error = handle.join().unwrap_err();
    assert_eq!(error.to_string(), told);
    let record = Record::load(&dir).unwrap();
    assert!(matches!(
        record.events.last().unwrap().what,
        What::End { .. }
    ));
    assert!(record.events.len() > 20, "{}", record.events.len());
    assert!(
        record.damage.iter().any(|d| d.contains("not an event")),
        "{:?}",
        record.damage
    );
}
