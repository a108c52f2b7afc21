//! The system under test as child processes of this machine behind a loopback balancer: the embedded default.
//!
//! Behaves as an orchestrator would: readiness probes, crash backoff, graceful stops, one new name for each
//! restart. Nothing survives the run, even one that is killed: see [`shim`] and [`reaper`].

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::task::JoinHandle;

use super::{Change, Endpoint, Instance, Platform, PlatformError, Undo};
use crate::observe::usage::Stat;
use crate::record::{InstanceState, Sink};
use crate::scenario::{FaultKind, LocalTarget};

mod balancer;
mod command;
mod held;
mod plan;
mod port;
mod probe;
mod process;
pub mod reaper;
mod relay;
pub mod shim;
mod state;
mod supervisor;
mod usage;

use balancer::Balancer;
use process::Spawner;
use state::{Slot, State};
use supervisor::{Supervisor, log_file};

/// How many lines of an instance's log go into an error message.
const LOG_LINES: usize = 10;

/// Instances of a command on this machine.
#[derive(Debug)]
pub struct LocalPlatform {
    target: LocalTarget,
    dir: PathBuf,
    logs_dir: PathBuf,
    sink: Sink,
    seed: u64,
    squall: Option<PathBuf>,
    state: Mutex<Option<Arc<State>>>,
    running: Mutex<Option<Running>>,
}

/// What lives from `start` to `stop`.
#[derive(Debug)]
struct Running {
    spawner: Spawner,
    state: Arc<State>,
    supervisors: Vec<JoinHandle<()>>,
    usage: JoinHandle<()>,
}

impl LocalPlatform {
    /// A platform that is not started yet. Relative paths in the command start at `base_dir`; each instance writes
    /// to `logs_dir/INSTANCE.log`.
    pub fn new(
        target: LocalTarget,
        base_dir: PathBuf,
        logs_dir: PathBuf,
        sink: Sink,
        seed: u64,
    ) -> Self {
        let here = std::env::current_dir().unwrap_or_default();
        Self {
            target,
            // Absolute, because instances run in `base_dir` and everything else here.
            dir: here.join(base_dir),
            logs_dir: here.join(logs_dir),
            sink,
            seed,
            squall: std::env::var_os("SQUALL_EXE").map(PathBuf::from),
            state: Mutex::default(),
            running: Mutex::default(),
        }
    }

    /// Uses another squall than the running program for the command `squall` and for its own helpers, as tests need.
    /// The environment variable SQUALL_EXE does the same.
    pub fn with_program(mut self, squall: impl Into<PathBuf>) -> Self {
        self.squall = Some(squall.into());
        self
    }

    fn program(&self) -> Result<PathBuf, PlatformError> {
        if let Some(squall) = &self.squall {
            return Ok(squall.clone());
        }
        match std::env::current_exe() {
            Ok(path) if path.exists() => Ok(path),
            // Replaced while it runs, by a new build for instance; the kernel still has it.
            _ if Path::new("/proc/self/exe").exists() => Ok("/proc/self/exe".into()),
            Ok(path) => Err(PlatformError::Unreachable(format!(
                "the program {} is gone; it is needed to start instances",
                path.display()
            ))),
            Err(e) => Err(PlatformError::Unreachable(format!(
                "cannot tell where this program is: {e}"
            ))),
        }
    }

    fn check_command(&self) -> Result<(), PlatformError> {
        let Some(program) = self.target.command.first() else {
            let text = "the target's command is empty: expected a program and its arguments";
            return Err(PlatformError::Unsupported(text.into()));
        };
        let path = match self.target.env.get("PATH") {
            Some(path) => Some(path.into()),
            None => std::env::var_os("PATH"),
        };
        command::check(program, &self.dir, path.as_deref()).map_err(PlatformError::Unsupported)
    }

    fn state(&self) -> Result<Arc<State>, PlatformError> {
        let state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        let not_started = || PlatformError::Failed("the platform is not started".into());
        state.clone().ok_or_else(not_started)
    }

    /// Brings everything up; readiness comes later.
    fn launch(&self) -> Result<Arc<State>, PlatformError> {
        let mut running = self.running.lock().unwrap_or_else(|e| e.into_inner());
        if running.is_some() {
            return Err(PlatformError::Failed(
                "the platform is started already".into(),
            ));
        }
        let squall = self.program()?;
        let unreachable = |what: String| {
            move |e: std::io::Error| PlatformError::Unreachable(format!("{what}: {e}"))
        };
        let logs = format!("cannot write to the folder {}", self.logs_dir.display());
        std::fs::create_dir_all(&self.logs_dir).map_err(unreachable(logs))?;
        let port = self.target.port.unwrap_or(0);
        let balancer = Balancer::start(port, self.seed, self.sink.clone())
            .map_err(|e| PlatformError::Unreachable(port_trouble(port, &e)))?;
        let helper = format!("cannot start {}", squall.display());
        let spawner = Spawner::start(squall.clone()).map_err(unreachable(helper))?;
        let orders = spawner.orders();
        let (name, count) = (&self.target.name, self.target.instances);
        let state = Arc::new(State::new(name, count, self.sink.clone(), balancer));
        let supervisor = Arc::new(Supervisor {
            target: self.target.clone(),
            squall,
            dir: self.dir.clone(),
            logs_dir: self.logs_dir.clone(),
            orders,
            ports: Mutex::new(port::Ports::new()),
            prober: probe::Prober::new(self.target.ready.clone(), &self.target.scheme),
            state: state.clone(),
        });
        let supervisors = (0..count as usize).map(|i| tokio::spawn(supervisor.clone().run(i)));
        *running = Some(Running {
            spawner,
            supervisors: supervisors.collect(),
            usage: tokio::spawn(usage::sample(state.clone(), self.sink.clone())),
            state: state.clone(),
        });
        *self.state.lock().unwrap_or_else(|e| e.into_inner()) = Some(state.clone());
        Ok(state)
    }

    /// Waits until all are ready; the error says who is not, and why.
    async fn wait_ready(&self, state: &State) -> Result<(), String> {
        let mut changes = state.changes();
        let timeout = tokio::time::sleep(self.target.start_timeout);
        tokio::pin!(timeout);
        loop {
            let slots = state.slots();
            if let Some(slot) = slots.iter().find(|s| s.state == InstanceState::Ended) {
                let how = slot.trouble.as_deref().unwrap_or("nobody knows how");
                let text = format!("{} ended before it was ready ({how})", slot.name);
                return Err(text + &self.log_tail(slot));
            }
            if slots.iter().all(|s| s.state == InstanceState::Ready) {
                return Ok(());
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = &mut timeout => return Err(self.not_ready(&state.slots())),
            }
        }
    }

    fn not_ready(&self, slots: &[Slot]) -> String {
        let late: Vec<&Slot> = slots
            .iter()
            .filter(|s| s.state != InstanceState::Ready)
            .collect();
        let Some(first) = late.first() else {
            // The last one became ready in the very moment in which time was up.
            return "not all instances were ready in time".into();
        };
        let names: Vec<&str> = late.iter().map(|s| s.name.as_str()).collect();
        let timeout = crate::scenario::units::format_duration(self.target.start_timeout);
        let trouble = first
            .trouble
            .as_deref()
            .unwrap_or("no probe was answered yet");
        format!(
            "{} of {} instances not ready within {timeout}: {}. The last probe of {}: {trouble}{}",
            late.len(),
            slots.len(),
            names.join(", "),
            first.name,
            self.log_tail(first),
        )
    }

    async fn kill_until_ended(&self, running: &mut Running) -> Result<(), PlatformError> {
        // Again and again, because an instance may have been on its way up. A process that SIGKILL does not end is
        // stuck in the kernel: waiting for it longer would not help.
        for _ in 0..50 {
            running.state.kill_all();
            let all = all_done(&mut running.supervisors);
            if tokio::time::timeout(Duration::from_millis(100), all)
                .await
                .is_ok()
            {
                return Ok(());
            }
        }
        let slots = running.state.slots().into_iter();
        let alive = slots.filter(|s| s.state != InstanceState::Ended);
        let alive: Vec<String> = alive.map(|s| s.name).collect();
        Err(PlatformError::Failed(format!(
            "SIGKILL does not end {}",
            alive.join(", ")
        )))
    }

    /// The end of an instance's log, as the end of a message.
    fn log_tail(&self, slot: &Slot) -> String {
        let path = log_file(&self.logs_dir, &slot.name);
        let bytes = std::fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        if lines.is_empty() {
            return format!(". It wrote nothing to {}", path.display());
        }
        let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
        format!(
            ". The end of its log {}:\n  {}",
            path.display(),
            tail.join("\n  ")
        )
    }
}

fn port_trouble(port: u16, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => format!(
            "port {port} of 127.0.0.1 is taken by another program; choose another one in `port:`, or leave it out for \
             a free one"
        ),
        std::io::ErrorKind::PermissionDenied => format!(
            "port {port} of 127.0.0.1 may not be used by this user; choose one above 1023 in `port:`"
        ),
        _ => format!("the balancer cannot listen on port {port} of 127.0.0.1: {error}"),
    }
}

/// A fault that only a cluster can make; a scenario with one on a local target is refused before it gets here.
fn not_here(kind: &FaultKind) -> PlatformError {
    PlatformError::Unsupported(format!("a local target has no {}", kind.name()))
}

#[async_trait]
impl Platform for LocalPlatform {
    fn plan(&self) -> Result<Vec<String>, PlatformError> {
        self.check_command()?;
        Ok(plan::sentences(&self.target, &self.dir))
    }

    async fn start(&self) -> Result<Endpoint, PlatformError> {
        self.check_command()?;
        let state = self.launch()?;
        if let Err(why) = self.wait_ready(&state).await {
            self.stop().await?;
            return Err(PlatformError::Unreachable(why));
        }
        let (count, name) = (self.target.instances, &self.target.name);
        let plural = if count == 1 { "" } else { "s" };
        Ok(Endpoint {
            base_url: format!("{}://{}", self.target.scheme, state.balancer().address()),
            describe: format!("balancer over {count} instance{plural} of {name}"),
            routes: Some(state.balancer().routes()),
        })
    }

    fn instances(&self) -> Vec<Instance> {
        let state = self.state();
        state.map_or_else(|_| Vec::new(), |s| s.instances(&self.target.name))
    }

    fn undo_of(&self, change: &Change) -> Result<Option<Undo>, PlatformError> {
        let instance = change.instance.clone();
        Ok(match change.kind {
            FaultKind::Kill | FaultKind::Stop { .. } => None,
            FaultKind::Freeze => {
                let group = self.state()?.group(&instance)?;
                Some(Undo::Thaw {
                    instance,
                    pid: group.id(),
                    start_ticks: group.start_ticks,
                })
            }
            FaultKind::Delay { .. }
            | FaultKind::Drop { .. }
            | FaultKind::Reset { .. }
            | FaultKind::BlackHole => Some(Undo::RestoreRoute {
                instance,
                fault: change.kind.name().to_string(),
            }),
            _ => return Err(not_here(&change.kind)),
        })
    }

    async fn apply(&self, change: &Change) -> Result<(), PlatformError> {
        let state = self.state()?;
        let name = &change.instance;
        let group = state.group(name)?;
        let signal = |signal| match group.signal(signal) {
            true => Ok(()),
            false => Err(PlatformError::Failed(format!("{name} has just ended"))),
        };
        match change.kind {
            FaultKind::Kill => signal(Signal::KILL),
            FaultKind::Freeze => signal(Signal::STOP),
            FaultKind::Stop { grace } => {
                state.tell_to_end(name);
                tokio::spawn(async move {
                    tokio::time::sleep(grace).await;
                    // Harmless if it has ended: the group knows.
                    group.signal(Signal::KILL);
                });
                Ok(())
            }
            _ if change.kind.is_of_cluster() => Err(not_here(&change.kind)),
            _ => match state.balancer().fault(name, &change.kind) {
                true => Ok(()),
                false => Err(PlatformError::Failed(format!("{name} has just ended"))),
            },
        }
    }

    async fn undo(&self, undo: &Undo) -> Result<(), PlatformError> {
        if let (Undo::RestoreRoute { instance, fault }, Ok(state)) = (undo, self.state()) {
            // An instance that has ended took its route with it.
            state.balancer().lift(instance, fault);
            return Ok(());
        }
        undo_detached(undo)
    }

    async fn stop(&self) -> Result<(), PlatformError> {
        let running = self
            .running
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .take();
        let Some(mut running) = running else {
            return Ok(());
        };
        running.usage.abort();
        // It must let go of the state, or the balancer would outlive this call.
        let _ = (&mut running.usage).await;
        running.state.tell_all_to_end();
        // `Running` kills what is left if this future is dropped half way, by a second Ctrl-C.
        let all = all_done(&mut running.supervisors);
        if tokio::time::timeout(self.target.stop_grace, all)
            .await
            .is_err()
        {
            self.kill_until_ended(&mut running).await?;
        }
        *self.state.lock().unwrap_or_else(|e| e.into_inner()) = None;
        Ok(())
    }
}

/// Waits for all tasks, and can be given up and called again.
async fn all_done(tasks: &mut Vec<JoinHandle<()>>) {
    while let Some(task) = tasks.last_mut() {
        let _ = task.await;
        tasks.pop();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.state.stopping.cancel();
        self.state.kill_all();
        self.usage.abort();
        for task in &self.supervisors {
            task.abort();
        }
        self.spawner.close();
    }
}

/// Takes a change back from outside the run that made it. What does not exist any more needs no undo.
pub fn undo_detached(undo: &Undo) -> Result<(), PlatformError> {
    let Undo::Thaw {
        instance,
        pid,
        start_ticks,
    } = undo
    else {
        // The balancer died with the run.
        return Ok(());
    };
    if Stat::of(*pid).is_none_or(|stat| stat.start_ticks != *start_ticks) {
        return Ok(());
    }
    let group = i32::try_from(*pid).ok().and_then(Pid::from_raw);
    match group.map(|group| kill_process_group(group, Signal::CONT)) {
        None | Some(Ok(()) | Err(rustix::io::Errno::SRCH)) => Ok(()),
        Some(Err(e)) => Err(PlatformError::Failed(format!(
            "cannot send SIGCONT to {instance} (process group {pid}): {e}"
        ))),
    }
}
