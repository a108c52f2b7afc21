//! The run itself, from the first event to the last.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::interrupts::Interrupts;
use super::progress::{Progress, Shown};
use super::{RunError, host};
use crate::fault::{AbortMonitor, Injector, Ledger};
use crate::observe::alerts::Alerts;
use crate::platform::Platform;
use crate::record::{
    Clock, Ended, FORMAT, Header, Level, Recorder, RecorderHandle, RunPhase, Sink, Tap, TapEntry,
    What, Writer,
};
use crate::scenario::Scenario;
use crate::traffic;

/// What stands around the target is looked at so often.
const LOOK: Duration = Duration::from_secs(1);

/// Runs the scenario and leaves a finished record. Gives what could not be undone.
pub async fn conduct(
    scenario: Arc<Scenario>,
    seed: u64,
    dir: &Path,
    progress: Progress,
    interrupts: &Interrupts,
) -> Result<Vec<String>, RunError> {
    let clock = Clock::start();
    let (sink, entries) = Sink::new(clock);
    let (mut shown, live) = Shown::new(&scenario, progress, clock);
    let (breached, breach) = watch::channel(None);
    let monitor = abort_tap(&scenario, breached.clone());
    let unwritable = |e: &dyn std::fmt::Display| {
        RunError::BadInput(format!("cannot write into {}: {e}", dir.display()))
    };
    let writer =
        Writer::create(dir, &header(&scenario, seed, clock)).map_err(|e| unwritable(&e))?;
    let ledger = Ledger::create(&dir.join("ledger.jsonl")).map_err(|e| unwritable(&e))?;
    interrupts.watch_over(ledger.outliving());
    let recorder = Recorder::spawn(writer, entries, vec![live, monitor]);

    let platform = super::platform(&scenario, dir.join("logs"), sink.clone(), seed);
    let injector = Injector::new(
        scenario.faults.clone(),
        scenario.guard.clone(),
        seed,
        platform.clone(),
        sink.clone(),
        ledger,
    );
    let mut conductor = Conductor {
        scenario,
        seed,
        sink,
        platform,
        injector: Arc::new(Mutex::new(injector)),
        interrupts: interrupts.asked(),
        breached,
        breach,
        record_failed: recorder.failed(),
    };
    let outcome = tokio::select! {
        outcome = conductor.run() => outcome,
        () = shown.keep_drawing() => unreachable!("the display draws for ever"),
    };
    drop(shown);
    finish(recorder, conductor, outcome).await
}

/// Why a run stops early.
enum Stop {
    /// Traffic could not begin.
    Error(RunError),
    /// Asked for, or the guard's condition, or a failed write.
    Abort(String),
}

impl<E: Into<RunError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Error(error.into())
    }
}

struct Conductor {
    scenario: Arc<Scenario>,
    seed: u64,
    sink: Sink,
    platform: Arc<dyn Platform>,
    injector: Arc<Mutex<Injector>>,
    interrupts: watch::Receiver<Option<String>>,
    breached: watch::Sender<Option<String>>,
    breach: watch::Receiver<Option<String>>,
    record_failed: watch::Receiver<Option<String>>,
}

/// What a run leaves to be said at its end.
struct Left {
    stop: Option<Stop>,
    undo_failures: Vec<String>,
}

impl Conductor {
    /// Start, traffic, undo, stop: whatever happens in the middle, the last two are done.
    async fn run(&mut self) -> Left {
        self.phase(RunPhase::Starting);
        let stop = self.start_and_drive().await.err();
        self.phase(RunPhase::Stopping);
        let mut undo_failures: Vec<String> = {
            let mut injector = self.injector.lock().await;
            let failed = injector.undo_all().await;
            failed.iter().map(ToString::to_string).collect()
        };
        if let Err(error) = self.platform.stop().await {
            undo_failures.push(error.to_string());
        }
        Left {
            stop,
            undo_failures,
        }
    }

    async fn start_and_drive(&mut self) -> Result<(), Stop> {
        // Before anything starts: what fires then was there already.
        let (scenario, sink) = (self.scenario.clone(), self.sink.clone());
        let alerts = tokio::select! {
            alerts = Alerts::start(&scenario, &sink) => alerts.map_err(RunError::Unreachable)?,
            stop = self.asked_to_stop() => return Err(stop),
        };
        let end = CancellationToken::new();
        let watched = tokio::spawn(alerts.watch(end.clone()));
        let stop = self.drive().await;
        end.cancel();
        if let Err(error) = watched.await {
            self.sink.note(
                Level::Error,
                format!("the watch for alerts failed: {error}"),
            );
        }
        stop
    }

    async fn drive(&mut self) -> Result<(), Stop> {
        let platform = self.platform.clone();
        let endpoint = tokio::select! {
            endpoint = platform.start() => endpoint?,
            stop = self.asked_to_stop() => return Err(stop),
        };
        let prepared = traffic::prepare(&traffic::Job {
            scenario: self.scenario.clone(),
            endpoint,
            seed: self.seed,
            sink: self.sink.clone(),
        })
        .map_err(|e| RunError::BadInput(e.to_string()))?;
        let mut engine = traffic::start(prepared);
        self.phase_at(engine.started_at(), RunPhase::Traffic);
        let cancel = CancellationToken::new();
        let faults = self.spawn_faults(engine.started_at(), cancel.clone());
        let looks = self.spawn_looks();

        let stop = self.watch(&mut engine).await;
        cancel.cancel();
        looks.abort();
        if let Err(error) = faults.await {
            // The ledger has what was begun; undo_all takes it back.
            self.sink
                .note(Level::Error, format!("the fault injector failed: {error}"));
        }
        stop
    }

    /// Waits for the end of traffic; on an abort lets requests in flight go quickly.
    async fn watch(&mut self, engine: &mut traffic::Engine) -> Result<(), Stop> {
        let sink = self.sink.clone();
        let schedule_over = engine.started_at() + self.scenario.duration().as_micros() as u64;
        let draining = async {
            tokio::time::sleep_until(sink.clock().instant(schedule_over).into()).await;
            sink.emit(What::Phase {
                phase: RunPhase::Draining,
            });
            std::future::pending().await
        };
        let stop = tokio::select! {
            done = engine.finished() => return done.map(drop).map_err(|e| Stop::Abort(e.to_string())),
            stop = self.asked_to_stop() => stop,
            () = draining => unreachable!("pending for ever"),
        };
        engine.stop_now();
        // Bounded: a worker that does not end must not keep faults in place.
        let ended = tokio::time::timeout(Duration::from_secs(5), engine.finished()).await;
        if ended.is_err() {
            self.sink
                .note(Level::Error, "traffic did not end within 5 s of the abort");
        }
        Err(stop)
    }

    fn spawn_faults(
        &self,
        traffic_start: u64,
        cancel: CancellationToken,
    ) -> tokio::task::JoinHandle<()> {
        let injector = self.injector.clone();
        let start = self.sink.clock().instant(traffic_start);
        let length = self.scenario.duration();
        tokio::spawn(async move { injector.lock().await.run(start, length, cancel).await })
    }

    /// Looks around the target each second: whether it is still this run's, and for the guard's abort conditions on what is
    /// seen there.
    fn spawn_looks(&self) -> tokio::task::JoinHandle<()> {
        let mut monitor = AbortMonitor::new(&self.scenario.guard.abort_when);
        let (platform, breached) = (self.platform.clone(), self.breached.clone());
        let clock = self.sink.clock();
        tokio::spawn(async move {
            loop {
                let seen = platform.surroundings();
                if let Some(breach) = monitor.look(&seen, clock.now()).or(seen.lost) {
                    breached.send_replace(Some(breach));
                }
                tokio::time::sleep(LOOK).await;
            }
        })
    }

    /// Ready when somebody or something wants the run to end.
    async fn asked_to_stop(&mut self) -> Stop {
        let reason = tokio::select! {
            signal = said(&mut self.interrupts) => format!("stopped by {signal}"),
            text = said(&mut self.breach) => format!("guard: {text}"),
            text = said(&mut self.record_failed) => format!("the record cannot be written: {text}"),
        };
        Stop::Abort(reason)
    }

    fn phase(&self, phase: RunPhase) {
        self.sink.emit(What::Phase { phase });
    }

    fn phase_at(&self, at: u64, phase: RunPhase) {
        self.sink.emit_at(at, What::Phase { phase });
    }
}

/// Waits until a watched text is there.
async fn said(rx: &mut watch::Receiver<Option<String>>) -> String {
    match rx.wait_for(Option::is_some).await {
        Ok(text) => text.clone().unwrap_or_default(),
        Err(_) => std::future::pending().await,
    }
}

/// Writes the last line, closes the record and sorts out what there is to say.
async fn finish(
    recorder: RecorderHandle,
    conductor: Conductor,
    left: Left,
) -> Result<Vec<String>, RunError> {
    let (ended, error) = match left.stop {
        None => (Ended::Completed, None),
        Some(Stop::Abort(reason)) => (Ended::Aborted { reason }, None),
        Some(Stop::Error(error)) => {
            let reason = error.to_string();
            (Ended::Aborted { reason }, Some(error))
        }
    };
    let lost = conductor.record_failed.borrow().clone();
    conductor.sink.emit(What::End { ended });
    drop(conductor);
    let closed = recorder.join();
    let unwritten = lost.or(closed.err().map(|e| e.to_string()));
    outcome(error, unwritten, left.undo_failures)
}

/// What could not be undone, where there is a record to judge; else why there is none.
fn outcome(
    error: Option<RunError>,
    unwritten: Option<String>,
    undo_failures: Vec<String>,
) -> Result<Vec<String>, RunError> {
    let unwritten = unwritten.map(|text| {
        RunError::Aborted(format!(
            "the record cannot be written: {text}; traffic was stopped"
        ))
    });
    match error.or(unwritten) {
        None => Ok(undo_failures),
        Some(error) => Err(error.not_undone(&undo_failures)),
    }
}

fn header(scenario: &Scenario, seed: u64, clock: Clock) -> Header {
    let started = jiff::Timestamp::try_from(clock.wall_start())
        .map(|t| t.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
        .unwrap_or_default();
    Header {
        squall_record: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_string(),
        started,
        seed,
        scenario: scenario.clone(),
        host: host::describe(),
    }
}

/// Tells when one of the guard's abort conditions on the traffic holds.
fn abort_tap(scenario: &Scenario, breached: watch::Sender<Option<String>>) -> Tap {
    let mut monitor = AbortMonitor::new(&scenario.guard.abort_when);
    Box::new(move |entry| {
        if let TapEntry::Interval(interval) = entry
            && let Some(breach) = monitor.observe(interval)
        {
            breached.send_replace(Some(breach));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_undone_is_told_whatever_else_went_wrong() {
        let unreachable = || Some(RunError::Unreachable("no pod became ready".into()));
        let full = || Some("disk full".to_string());
        let left = || vec!["Lease squall-x is still there".to_string()];
        for (error, unwritten) in [
            (unreachable(), None),
            (unreachable(), full()),
            (None, full()),
        ] {
            let first = match &error {
                Some(error) => error.to_string(),
                None => "disk full".into(),
            };
            let told = outcome(error, unwritten, left());
            let Err(RunError::UndoFailed(text)) = &told else {
                panic!("{told:?}");
            };
            assert!(
                text.contains(&first) && text.contains("Lease squall-x"),
                "{text}"
            );
        }
        assert!(matches!(
            outcome(unreachable(), full(), vec![]),
            Err(RunError::Unreachable(_))
        ));
        assert!(matches!(
            outcome(None, full(), vec![]),
            Err(RunError::Aborted(_))
        ));
        assert_eq!(outcome(None, None, left()).unwrap(), left());
    }
}
