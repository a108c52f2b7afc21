//! The injector against a platform in memory that notes what is asked of it and can fail; the real platforms are
//! tested where they live. Time is virtual: it jumps to the next timer when nothing else is left to do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::*;
use crate::fault::undo_ledger;
use crate::platform::{Change, Endpoint, Instance, PlatformError};
use crate::record::{Clock, Entry, What};
use crate::scenario::{KeepReady, Op, Pick, Select, When};

mod beside;

pub(crate) fn spec(kind: FaultKind, at: Duration) -> FaultSpec {
    FaultSpec {
        when: None,
        name: kind.name().into(),
        at,
        every: None,
        times: None,
        lasts: None,
        kind,
        select: Select::default(),
    }
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A fault on one instance, at a time, for a time.
fn on(name: &str, kind: FaultKind, at: u64, lasts: Option<u64>) -> FaultSpec {
    let mut spec = spec(kind, secs(at));
    spec.lasts = lasts.map(secs);
    spec.select.names = vec![name.into()];
    spec
}

fn delay(ms: u64) -> FaultKind {
    FaultKind::Delay {
        latency: Duration::from_millis(ms),
        jitter: Duration::ZERO,
    }
}

/// What the platform is to do with the calls that concern an instance.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Fails,
    Panics,
    Hangs,
    TakesSeconds(u64),
    FailsTimes(u32),
}

struct Memory {
    start: Instant,
    ledger: PathBuf,
    apply: BTreeMap<&'static str, Mood>,
    undo: BTreeMap<&'static str, Mood>,
    undos_seen: Mutex<u32>,
    /// Second and call: `3 freeze a`.
    calls: Mutex<Vec<String>>,
    /// Instances under a fault that must be undone, and the ledger at that moment.
    in_force: Mutex<BTreeSet<String>>,
    ledgers: Mutex<Vec<(BTreeSet<String>, Vec<u8>)>>,
}

impl Memory {
    fn call(&self, what: &str, instance: &str) {
        let second = (Instant::now() - self.start).as_secs();
        let call = format!("{second} {what} {instance}");
        self.calls.lock().unwrap().push(call);
        self.snapshot();
    }
    /// Keeps the ledger as a crash right now would leave it.
    fn snapshot(&self) {
        let force = self.in_force.lock().unwrap().clone();
        let ledger = std::fs::read(&self.ledger).unwrap_or_default();
        self.ledgers.lock().unwrap().push((force, ledger));
    }
    async fn feel(&self, mood: Option<Mood>) -> Result<(), PlatformError> {
        match mood {
            None => Ok(()),
            Some(Mood::Fails) => Err(PlatformError::Failed("no such process".into())),
            Some(Mood::Panics) => panic!("a platform that panics"),
            Some(Mood::Hangs) => std::future::pending().await,
            Some(Mood::TakesSeconds(n)) => {
                sleep(secs(n)).await;
                Ok(())
            }
            Some(Mood::FailsTimes(n)) => {
                let mut seen = self.undos_seen.lock().unwrap();
                *seen += 1;
                match *seen > n {
                    true => Ok(()),
                    false => Err(PlatformError::Failed("not yet".into())),
                }
            }
        }
    }
}

#[async_trait]
impl Platform for Memory {
    fn plan(&self) -> Result<Vec<String>, PlatformError> {
        Ok(vec![])
    }
    async fn start(&self) -> Result<Endpoint, PlatformError> {
        Err(PlatformError::Unreachable("not in these tests".into()))
    }
    fn instances(&self) -> Vec<Instance> {
        let instance = |name: &&str| Instance {
            name: name.to_string(),
            slot: name.to_string(),
            labels: BTreeMap::new(),
            ready: true,
            alive: true,
        };
        ["a", "b", "c"].iter().map(instance).collect()
    }
    fn undo_of(&self, change: &Change) -> Result<Option<Undo>, PlatformError> {
        let instance = change.instance.clone();
        Ok(match &change.kind {
            FaultKind::Kill | FaultKind::Stop { .. } | FaultKind::RolloutRestart => None,
            FaultKind::BlackHole => {
                return Err(PlatformError::Unsupported("no black holes here".into()));
            }
            FaultKind::Freeze => Some(Undo::Thaw {
                instance,
                pid: 1,
                start_ticks: 1,
            }),
            FaultKind::Cordon => Some(Undo::Restore {
                cluster: "c".into(),
                kind: "Node".into(),
                namespace: None,
                name: "node-1".into(),
            }),
            other => Some(Undo::RestoreRoute {
                instance,
                fault: other.name().into(),
            }),
        })
    }
    async fn apply(&self, change: &Change) -> Result<(), PlatformError> {
        // From here on the change may be in force, whatever becomes of the call.
        if self.undo_of(change)?.is_some() {
            let mut force = self.in_force.lock().unwrap();
            force.insert(change.instance.clone());
        }
        self.call(change.kind.name(), &change.instance);
        self.feel(self.apply.get(&*change.instance).copied()).await
    }
    async fn undo(&self, undo: &Undo) -> Result<(), PlatformError> {
        self.call("undo", undo.instance());
        self.feel(self.undo.get(undo.instance()).copied()).await?;
        self.in_force.lock().unwrap().remove(undo.instance());
        self.snapshot();
        Ok(())
    }
    async fn stop(&self) -> Result<(), PlatformError> {
        Ok(())
    }
}

/// An injector, its platform, and what it told the record.
struct Rig {
    injector: Injector,
    platform: Arc<Memory>,
    events: Arc<Mutex<Vec<String>>>,
    dir: tempfile::TempDir,
    start: Instant,
}

#[derive(Default)]
struct Setup {
    guard: Guard,
    apply: BTreeMap<&'static str, Mood>,
    undo: BTreeMap<&'static str, Mood>,
    disk_full: bool,
    ledger_full: bool,
    seed: u64,
}

fn say(what: &What) -> String {
    match what {
        What::Fault(f) => {
            let detail = f
                .detail
                .as_ref()
                .map_or(String::new(), |d| format!(": {d}"));
            let stage = format!("{:?}", f.stage).to_lowercase();
            let names = f.instances.join(",");
            format!("{} {stage} {} {names}{detail}", f.injection, f.fault)
        }
        What::Undo(u) => {
            let detail = u
                .detail
                .as_ref()
                .map_or(String::new(), |d| format!(": {d}"));
            let done = match u.done {
                None => "undoing",
                Some(true) => "undone",
                Some(false) => "not undone",
            };
            format!("{} {done} {}{detail}", u.injection, u.undo.instance())
        }
        What::Note { text, .. } => format!("note: {text}"),
        other => format!("{other:?}"),
    }
}

/// Takes the recorder's place within virtual time.
async fn record(
    mut rx: mpsc::UnboundedReceiver<Entry>,
    events: Arc<Mutex<Vec<String>>>,
    disk_full: bool,
) {
    while let Some(entry) = rx.recv().await {
        match entry {
            Entry::Event(event) => events.lock().unwrap().push(say(&event.what)),
            Entry::Durable(_, answer) if disk_full => {
                let _ = answer.send(Err("No space left on device".into()));
            }
            Entry::Durable(event, answer) => {
                events.lock().unwrap().push(say(&event.what));
                let _ = answer.send(Ok(()));
            }
            Entry::Interval(_) => {}
        }
    }
}

impl Rig {
    fn new(specs: Vec<FaultSpec>, setup: Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.jsonl");
        let ledger = if setup.ledger_full {
            let full = Path::new("/dev/full");
            let file = std::fs::OpenOptions::new().append(true).open(full).unwrap();
            Ledger::locked(full, file).unwrap()
        } else {
            Ledger::create(&path).unwrap()
        };
        let start = Instant::now();
        let platform = Arc::new(Memory {
            start,
            ledger: path,
            apply: setup.apply,
            undo: setup.undo,
            undos_seen: Mutex::default(),
            calls: Mutex::default(),
            in_force: Mutex::default(),
            ledgers: Mutex::default(),
        });
        let (sink, rx) = Sink::new(Clock::start());
        let events = Arc::default();
        tokio::spawn(record(rx, Arc::clone(&events), setup.disk_full));
        let injector = Injector::new(
            specs,
            setup.guard,
            setup.seed,
            platform.clone(),
            sink,
            ledger,
        );
        Self {
            injector,
            platform,
            events,
            dir,
            start,
        }
    }
    async fn run(&mut self, traffic: u64) {
        self.run_until(traffic, CancellationToken::new()).await;
    }
    async fn run_until(&mut self, traffic: u64, cancel: CancellationToken) {
        let start = self.start.into_std();
        self.injector.run(start, secs(traffic), cancel).await;
        // What was sent to the record arrives.
        tokio::task::yield_now().await;
    }
    async fn undo_all(&mut self) -> Vec<UndoFailure> {
        let failures = self.injector.undo_all().await;
        tokio::task::yield_now().await;
        failures
    }
    fn calls(&self) -> Vec<String> {
        self.platform.calls.lock().unwrap().clone()
    }
    fn events(&self) -> Vec<String> {
        self.events.lock().unwrap().clone()
    }
    /// Instances that the ledger on disk still wants undone.
    fn pending(self) -> Vec<String> {
        drop(self.injector);
        pending(&self.dir.path().join("ledger.jsonl"))
    }
}

fn pending(path: &Path) -> Vec<String> {
    let all = Ledger::open(path).unwrap().pending();
    all.iter().map(|p| p.undo.instance().to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn each_fault_comes_at_its_time_and_goes_after_its_own() {
    let mut often = on("b", FaultKind::Freeze, 5, Some(2));
    often.every = Some(secs(10));
    often.times = Some(2);
    let specs = vec![often, on("a", FaultKind::Kill, 6, Some(3))];
    let mut rig = Rig::new(specs, Setup::default());
    rig.run(60).await;
    let calls = [
        "5 freeze b",
        "6 kill a",
        "7 undo b",
        "15 freeze b",
        "17 undo b",
    ];
    assert_eq!(rig.calls(), calls);
    let events = [
        "1 injecting freeze b",
        "1 injected freeze b",
        "2 injecting kill a",
        "2 injected kill a",
        "1 undoing b",
        "1 undone b",
        "3 injecting freeze b",
        "3 injected freeze b",
        "3 undoing b",
        "3 undone b",
    ];
    assert_eq!(rig.events(), events);
    assert_eq!(rig.undo_all().await, []);
    assert_eq!(rig.calls().len(), 5);
    assert_eq!(rig.pending(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn traffics_end_ends_the_run_and_the_rest_is_undone_latest_first() {
    let specs = vec![
        on("a", FaultKind::Freeze, 1, None),
        on("b", FaultKind::Freeze, 2, Some(100)),
        on("c", delay(5), 3, Some(7)),
        on("c", FaultKind::Freeze, 10, None),
    ];
    let mut rig = Rig::new(specs, Setup::default());
    rig.run(10).await;
    assert_eq!(rig.start.elapsed().as_secs(), 10);
    assert_eq!(rig.calls(), ["1 freeze a", "2 freeze b", "3 delay c"]);
    assert_eq!(rig.undo_all().await, []);
    assert_eq!(rig.calls()[3..], ["10 undo c", "10 undo b", "10 undo a"]);
    assert_eq!(rig.pending(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_fault_on_what_an_instance_stands_on_lasts_as_long_as_it_says() {
    let specs = vec![on("a", FaultKind::Cordon, 1, Some(5))];
    let mut rig = Rig::new(specs, Setup::default());
    rig.run(60).await;
    assert_eq!(rig.calls(), ["1 cordon a", "6 undo node-1"]);
}

#[tokio::test(start_paused = true)]
async fn whenever_the_program_dies_the_ledger_knows_what_is_in_force() {
    let mut all = on("a", FaultKind::Freeze, 1, Some(5));
    all.select = Select {
        pick: Pick::All,
        ..Default::default()
    };
    let specs = vec![
        all,
        on("a", FaultKind::Freeze, 3, Some(1)),
        on("b", delay(9), 8, None),
    ];
    let setup = Setup {
        undo: BTreeMap::from([("b", Mood::FailsTimes(1))]),
        apply: BTreeMap::from([("c", Mood::Fails)]),
        ..Default::default()
    };
    let mut rig = Rig::new(specs, setup);
    rig.run(20).await;
    rig.undo_all().await;
    let ledgers = rig.platform.ledgers.lock().unwrap().clone();
    assert!(
        ledgers
            .iter()
            .filter(|(force, _)| !force.is_empty())
            .count()
            > 5
    );
    let path = rig.dir.path().join("crashed.jsonl");
    for (in_force, ledger) in ledgers {
        std::fs::write(&path, ledger).unwrap();
        let known: BTreeSet<String> = pending(&path).into_iter().collect();
        assert!(
            known.is_superset(&in_force),
            "{in_force:?}, known {known:?}"
        );
    }
    assert_eq!(rig.pending(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_guard_refuses_and_counts_those_under_a_fault_as_not_ready() {
    let guard = Guard {
        keep_ready: Some(KeepReady::Count(1)),
        max_faults: Some(3),
        ..Default::default()
    };
    let specs = vec![
        on("a", FaultKind::Freeze, 1, Some(10)),
        on("b", delay(7), 2, Some(2)),
        on("c", FaultKind::Kill, 3, None),
        on("c", FaultKind::Kill, 5, None),
        on("a", FaultKind::Kill, 20, None),
    ];
    let setup = Setup {
        guard,
        ..Default::default()
    };
    let mut rig = Rig::new(specs, setup);
    rig.run(60).await;
    let calls = [
        "1 freeze a",
        "2 delay b",
        "4 undo b",
        "5 kill c",
        "11 undo a",
    ];
    assert_eq!(rig.calls(), calls);
    let refused: Vec<_> = rig
        .events()
        .into_iter()
        .filter(|e| e.contains("refused"))
        .collect();
    assert_eq!(
        refused,
        [
            "3 refused kill c: keep-ready 1: 1 are ready and free of faults, 1 of them would be hit, which leaves 0",
            "5 refused kill a: max-faults 3: 3 injections were made already",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_down_is_not_done() {
    for (disk_full, ledger_full) in [(true, false), (false, true)] {
        let setup = Setup {
            disk_full,
            ledger_full,
            ..Default::default()
        };
        let mut rig = Rig::new(vec![on("a", FaultKind::Freeze, 1, None)], setup);
        rig.run(10).await;
        assert_eq!(rig.calls(), Vec::<String>::new());
        let [event] = &rig.events()[..] else {
            panic!("{:?}", rig.events())
        };
        assert!(
            event.starts_with("1 failed freeze a: not made: "),
            "{event}"
        );
        assert!(event.contains("No space left"), "{event}");
        assert_eq!(rig.undo_all().await, []);
        assert_eq!(rig.calls(), Vec::<String>::new());
        if disk_full {
            assert_eq!(rig.pending(), Vec::<String>::new());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_needs_no_undo_needs_the_record_all_the_same() {
    let setup = Setup {
        disk_full: true,
        ..Default::default()
    };
    let mut rig = Rig::new(vec![on("a", FaultKind::Kill, 1, None)], setup);
    rig.run(10).await;
    assert_eq!(rig.calls(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_fault_held_twice_is_lifted_when_the_last_is_due() {
    let specs = vec![
        on("a", FaultKind::Freeze, 1, Some(4)),
        on("a", FaultKind::Freeze, 3, Some(10)),
        // Shorter than the one before: it waits too.
        on("a", FaultKind::Freeze, 6, Some(1)),
        on("b", FaultKind::Freeze, 7, Some(1)),
    ];
    let mut rig = Rig::new(specs, Setup::default());
    rig.run(60).await;
    let calls = [
        "1 freeze a",
        "3 freeze a",
        "6 freeze a",
        "7 freeze b",
        "8 undo b",
        "13 undo a",
    ];
    assert_eq!(rig.calls(), calls);
    let events = rig.events();
    let waits = "note: `freeze` of a is due to be undone, but injection 2 holds it still";
    assert_eq!(events.iter().filter(|e| *e == waits).count(), 2);
    assert_eq!(
        events[events.len() - 3..],
        ["1 undone a", "2 undone a", "3 undone a"]
    );
    assert_eq!(rig.pending(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_same_fault_with_other_settings_is_refused_while_the_first_lasts() {
    let specs = vec![
        on("a", delay(100), 1, Some(5)),
        on("a", delay(900), 3, Some(5)),
        on("a", delay(900), 7, Some(5)),
    ];
    let mut rig = Rig::new(specs, Setup::default());
    rig.run(60).await;
    assert_eq!(
        rig.calls(),
        ["1 delay a", "6 undo a", "7 delay a", "12 undo a"]
    );
    let refused =
        "2 refused delay a: a is under `delay` of injection 1 already, with other settings";
    assert!(
        rig.events().iter().any(|e| e == refused),
        "{:?}",
        rig.events()
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_that_fails_or_panics_may_be_half_made_and_is_undone_at_once() {
    for (mood, says) in [(Mood::Fails, "no such process"), (Mood::Panics, "panicked")] {
        let setup = Setup {
            apply: BTreeMap::from([("a", mood)]),
            ..Default::default()
        };
        let mut both = on("a", FaultKind::Freeze, 5, Some(7));
        both.select.names.push("b".into());
        both.select.pick = Pick::All;
        let specs = vec![on("a", FaultKind::Freeze, 1, None), both];
        let mut rig = Rig::new(specs, setup);
        rig.run(60).await;
        let mut calls = rig.calls();
        calls[2..4].sort();
        let expected = [
            "1 freeze a",
            "1 undo a",
            "5 freeze a",
            "5 freeze b",
            "5 undo a",
            "12 undo b",
        ];
        assert_eq!(calls, expected);
        let events = rig.events();
        assert!(
            events[1].starts_with("1 failed freeze a: a: "),
            "{events:?}"
        );
        assert!(events[1].contains(says), "{events:?}");
        let second = events.iter().find(|e| e.starts_with("2 injected")).unwrap();
        assert!(second.starts_with("2 injected freeze b: a: "), "{second}");
        assert_eq!(rig.undo_all().await, []);
        assert_eq!(rig.pending(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_platform_or_the_selection_does_not_have_fails_and_touches_nothing() {
    let specs = vec![
        on("a", FaultKind::BlackHole, 1, None),
        on("nobody", FaultKind::Kill, 2, None),
    ];
    let mut rig = Rig::new(specs, Setup::default());
    rig.run(10).await;
    assert_eq!(rig.calls(), Vec::<String>::new());
    assert_eq!(
        rig.events(),
        [
            "1 failed black-hole a: no black holes here",
            "2 failed kill : no instance is called `nobody`; there are a, b, c",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_run_ends_a_change_that_hangs_before_it_is_undone() {
    let setup = Setup {
        apply: BTreeMap::from([("a", Mood::Hangs)]),
        ..Default::default()
    };
    let mut rig = Rig::new(vec![on("a", FaultKind::Freeze, 1, None)], setup);
    let cancel = CancellationToken::new();
    tokio::spawn({
        let cancel = cancel.clone();
        async move {
            sleep(secs(5)).await;
            cancel.cancel();
        }
    });
    rig.run_until(60, cancel).await;
    assert_eq!(rig.undo_all().await, []);
    assert_eq!(rig.calls(), ["1 freeze a", "7 undo a"]);
    assert!(
        rig.events()[1].starts_with("1 failed freeze a: "),
        "{:?}",
        rig.events()
    );
    assert_eq!(rig.pending(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_cancelled_injects_nothing_more() {
    let specs = vec![
        on("a", FaultKind::Freeze, 1, Some(30)),
        on("b", FaultKind::Kill, 9, None),
    ];
    let mut rig = Rig::new(specs, Setup::default());
    let cancel = CancellationToken::new();
    let after = sleep(secs(5));
    tokio::spawn({
        let cancel = cancel.clone();
        async move {
            after.await;
            cancel.cancel();
        }
    });
    rig.run_until(60, cancel).await;
    assert_eq!(rig.start.elapsed().as_secs(), 5);
    assert_eq!(rig.undo_all().await, []);
    assert_eq!(rig.calls(), ["1 freeze a", "5 undo a"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_dropped_in_the_middle_of_a_change_is_undone_after_it() {
    let setup = Setup {
        apply: BTreeMap::from([("a", Mood::TakesSeconds(1))]),
        ..Default::default()
    };
    let mut rig = Rig::new(vec![on("a", FaultKind::Freeze, 1, None)], setup);
    let start = rig.start.into_std();
    let run = rig.injector.run(start, secs(60), CancellationToken::new());
    assert!(timeout(Duration::from_millis(1500), run).await.is_err());
    assert_eq!(rig.undo_all().await, []);
    // The change took until second 2, and only then its undo came.
    assert_eq!(rig.calls(), ["1 freeze a", "2 undo a"]);
}

#[tokio::test(start_paused = true)]
async fn an_undo_is_tried_again_and_what_is_left_is_listed_and_stays_in_the_ledger() {
    let setup = Setup {
        undo: BTreeMap::from([
            ("a", Mood::FailsTimes(2)),
            ("b", Mood::Hangs),
            ("c", Mood::Panics),
        ]),
        ..Default::default()
    };
    let at = |name, second| on(name, FaultKind::Freeze, second, None);
    let mut rig = Rig::new(vec![at("a", 1), at("b", 2), at("c", 3)], setup);
    rig.run(10).await;
    let failures = rig.undo_all().await;
    let left: Vec<_> = failures
        .iter()
        .map(|f| (f.injection, f.undo.instance()))
        .collect();
    assert_eq!(left, [(3, "c"), (2, "b")]);
    assert!(failures[0].error.contains("panicked"), "{failures:?}");
    assert_eq!(failures[1].error, "no answer within 5 s");
    let events = rig.events();
    assert!(events.contains(&"1 undone a".to_string()), "{events:?}");
    assert!(
        events.contains(&"2 not undone b: no answer within 5 s".to_string()),
        "{events:?}"
    );
    // Bounded: three attempts each, of five seconds at most.
    assert!(rig.start.elapsed() < secs(10 + 2 * 17 + 2));
    assert_eq!(rig.undo_all().await.len(), 2);

    // Later, in another process: one works, one does not.
    let path = rig.dir.path().join("ledger.jsonl");
    let busy = undo_ledger(&path, async |_| Ok(())).await.unwrap_err();
    assert!(busy.to_string().contains("still going on"), "{busy}");
    drop(rig.injector);
    let report = undo_ledger(&path, async |undo: &Undo| match undo.instance() {
        "b" => Ok(()),
        _ => Err(PlatformError::Failed("still not".into())),
    })
    .await
    .unwrap();
    assert_eq!(report.done.len(), 1);
    assert_eq!(report.done[0].undo.instance(), "b");
    assert_eq!(report.failed[0].error, "still not");
    assert_eq!(pending(&path), ["c"]);
}

#[tokio::test(start_paused = true)]
async fn a_scheduled_undo_that_fails_is_tried_again_at_the_end() {
    let setup = Setup {
        undo: BTreeMap::from([("a", Mood::FailsTimes(4))]),
        ..Default::default()
    };
    let mut rig = Rig::new(vec![on("a", FaultKind::Freeze, 1, Some(2))], setup);
    rig.run(20).await;
    assert!(
        rig.events()
            .contains(&"1 not undone a: not yet".to_string())
    );
    assert_eq!(rig.undo_all().await, []);
    assert_eq!(rig.events().last().unwrap(), "1 undone a");
    assert_eq!(rig.pending(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_injection_that_comes_late_is_noted() {
    let setup = Setup {
        undo: BTreeMap::from([("a", Mood::TakesSeconds(3))]),
        ..Default::default()
    };
    let specs = vec![
        on("a", FaultKind::Freeze, 1, Some(1)),
        on("b", FaultKind::Kill, 3, None),
    ];
    let mut rig = Rig::new(specs, setup);
    rig.run(20).await;
    assert_eq!(rig.calls(), ["1 freeze a", "2 undo a", "5 kill b"]);
    let notes: Vec<_> = rig
        .events()
        .into_iter()
        .filter(|e| e.starts_with("note"))
        .collect();
    assert_eq!(notes.len(), 1);
    assert!(
        notes[0].starts_with("note: fault `kill` was due 2000 ms before"),
        "{notes:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_that_takes_long_delays_no_other_and_no_undo() {
    let setup = Setup {
        apply: BTreeMap::from([("a", Mood::TakesSeconds(100))]),
        ..Default::default()
    };
    let evict = FaultKind::Evict {
        deadline: secs(120),
    };
    let specs = vec![
        on("a", evict.clone(), 1, None),
        on("b", FaultKind::Freeze, 2, Some(3)),
        on("c", FaultKind::Kill, 4, None),
    ];
    let mut rig = Rig::new(specs, setup);
    rig.run(300).await;
    let calls = ["1 evict a", "2 freeze b", "4 kill c", "5 undo b"];
    assert_eq!(rig.calls(), calls);
    assert_eq!(rig.events().last().unwrap(), "1 injected evict a");
    assert_eq!(rig.start.elapsed().as_secs(), 101);

    // One that outlasts its own deadline is ended some time after it.
    let setup = Setup {
        apply: BTreeMap::from([("a", Mood::Hangs)]),
        ..Default::default()
    };
    let mut rig = Rig::new(vec![on("a", evict, 1, None)], setup);
    rig.run(300).await;
    assert!(
        rig.events()[1].contains("took too long"),
        "{:?}",
        rig.events()
    );
    assert_eq!(rig.start.elapsed().as_secs(), 151);
}

#[tokio::test(start_paused = true)]
async fn those_that_a_change_under_way_will_hit_count_as_not_ready() {
    let setup = Setup {
        guard: Guard {
            keep_ready: Some(KeepReady::Count(2)),
            ..Default::default()
        },
        apply: BTreeMap::from([("a", Mood::TakesSeconds(10))]),
        ..Default::default()
    };
    let specs = vec![
        on("a", FaultKind::Kill, 1, None),
        on("b", FaultKind::Kill, 5, None),
        on("b", FaultKind::Kill, 15, None),
    ];
    let mut rig = Rig::new(specs, setup);
    rig.run(60).await;
    assert_eq!(rig.calls(), ["1 kill a", "15 kill b"]);
}

#[tokio::test(start_paused = true)]
async fn an_injection_waits_for_what_must_be_seen_and_is_given_up_at_its_deadline() {
    let when = |count: u32, within: Option<u64>| {
        Some(When {
            text: format!("ready >= {count}"),
            ready: Some((Op::AtLeast, count)),
            after_rollout: false,
            within: within.map(secs),
        })
    };
    let mut met = on("a", FaultKind::Kill, 2, None);
    met.when = when(3, None);
    let mut never = on("b", FaultKind::Kill, 3, None);
    never.when = when(4, Some(5));
    let mut rollout = on("b", FaultKind::Kill, 4, None);
    rollout.when = Some(When {
        text: "after rollout".into(),
        ready: None,
        after_rollout: true,
        within: None,
    });
    let mut rig = Rig::new(vec![met, never, rollout], Setup::default());
    rig.run(20).await;
    assert_eq!(rig.calls(), ["2 kill a"]);
    let events = rig.events();
    assert_eq!(
        events[2..],
        [
            "2 failed kill : `ready >= 4` was not met within 5s: 3 are ready; nothing was done",
            "3 failed kill : `after rollout` was not met: traffic is over; nothing was done",
        ]
    );
    assert_eq!(rig.start.elapsed().as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn the_seed_decides_whom_and_a_refusal_changes_nothing_for_others() {
    let mut hits = BTreeSet::new();
    for seed in 0..10 {
        let mut kill = spec(FaultKind::Kill, secs(1));
        kill.every = Some(secs(1));
        let run = async |max_faults| {
            let guard = Guard {
                max_faults,
                ..Default::default()
            };
            let setup = Setup {
                guard,
                seed,
                ..Default::default()
            };
            let mut rig = Rig::new(vec![kill.clone()], setup);
            rig.run(6).await;
            rig.events()
        };
        let (all, fewer) = (run(None).await, run(Some(2)).await);
        assert_eq!(all, run(None).await);
        let victims = |events: &[String], n: usize| {
            let start = format!("{n} ");
            let event = events.iter().find(|e| e.starts_with(&start)).unwrap();
            let word = event.split([' ', ':']).nth(3);
            word.unwrap().to_string()
        };
        for n in 1..=5 {
            assert_eq!(victims(&all, n), victims(&fewer, n), "injection {n}");
            hits.insert((n, victims(&all, n)));
        }
    }
    // Over ten seeds, each injection hits each instance at least once.
    assert!(hits.len() >= 14, "{hits:?}");
}
