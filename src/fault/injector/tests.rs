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
mod injecting;
mod undoing;

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
