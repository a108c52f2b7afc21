//! One process of an instance: started through the shim, waited for, signalled as a whole group.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::sync::oneshot;

use super::reaper::Reaper;
use crate::observe::usage::Stat;

/// A process group that squall started, named by its leader.
#[derive(Debug)]
pub(super) struct Group {
    pid: Pid,
    /// With the pid it names the process for good.
    pub start_ticks: u64,
    /// `false` from the moment at which the number may belong to another process.
    alive: Mutex<bool>,
}

impl Group {
    /// The number of the leader and of the group.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get() as u32
    }
    /// Signals every process of the group; `false` if it is gone.
    pub fn signal(&self, signal: Signal) -> bool {
        // Held while signalling: the leader is not waited for meanwhile, so its number cannot be used again.
        let alive = self.alive.lock().unwrap_or_else(|e| e.into_inner());
        *alive && kill_process_group(self.pid, signal).is_ok()
    }
    fn ended(&self) {
        let mut alive = self.alive.lock().unwrap_or_else(|e| e.into_inner());
        // As in a container, nothing outlives the first process. The leader is still a zombie here.
        let _ = kill_process_group(self.pid, Signal::KILL);
        *alive = false;
    }
}

/// How and when a process ended.
#[derive(Debug)]
pub(super) struct Exit {
    /// When it was noticed.
    pub at: Instant,
    /// In words: `exit status 1`, `killed by SIGKILL`.
    pub how: String,
}

/// A started process and its end to come.
#[derive(Debug)]
pub(super) struct Started {
    pub group: Arc<Group>,
    pub exit: oneshot::Receiver<Exit>,
}

/// What to start.
#[derive(Debug)]
pub(super) struct Spec {
    pub command: Vec<OsString>,
    pub env: BTreeMap<String, String>,
    pub dir: PathBuf,
    pub log: PathBuf,
}

type Order = (Spec, oneshot::Sender<io::Result<Started>>);

/// The thread that starts all processes. They are killed by the kernel when it ends, so it lives as long as the
/// platform and does nothing else.
#[derive(Debug)]
pub(super) struct Spawner {
    orders: Orders,
    thread: Option<JoinHandle<()>>,
}

impl Spawner {
    /// Starts the thread, and the reaper beside it.
    pub fn start(squall: PathBuf) -> io::Result<Self> {
        let reaper = Arc::new(Reaper::start(&squall)?);
        let (orders, inbox) = mpsc::channel::<Order>();
        let thread = std::thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                for (spec, answer) in inbox {
                    // Whoever gave up waiting gets a process that nobody knows: it must not stay.
                    if let Err(Ok(started)) = answer.send(spawn(&squall, spec, &reaper)) {
                        started.group.signal(Signal::KILL);
                    }
                }
            })?;
        Ok(Self {
            orders: Orders(Arc::new(Mutex::new(Some(orders)))),
            thread: Some(thread),
        })
    }

    /// A way to give orders.
    pub fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// Ends the thread, and with it whatever it started that still runs.
    pub fn close(&mut self) {
        self.orders.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.close();
    }
}

/// Gives orders to the spawner, as long as it is open.
#[derive(Debug, Clone)]
pub(super) struct Orders(Arc<Mutex<Option<mpsc::Sender<Order>>>>);

impl Orders {
    /// The thread ends when its last sender is gone: there is only the one in here.
    fn close(&self) {
        *self.0.lock().unwrap_or_else(|e| e.into_inner()) = None;
    }
    fn send(&self, order: Order) -> bool {
        let orders = self.0.lock().unwrap_or_else(|e| e.into_inner());
        orders.as_ref().is_some_and(|tx| tx.send(order).is_ok())
    }

    /// Starts a process.
    pub async fn spawn(&self, spec: Spec) -> io::Result<Started> {
        let (tx, rx) = oneshot::channel();
        let gone = || io::Error::other("the platform has stopped");
        if !self.send((spec, tx)) {
            return Err(gone());
        }
        rx.await.map_err(|_| gone())?
    }
}

fn spawn(squall: &std::path::Path, spec: Spec, reaper: &Arc<Reaper>) -> io::Result<Started> {
    let log = open_log(&spec.log)?;
    let mut child = Command::new(squall)
        .arg("__exec")
        .arg(std::process::id().to_string())
        .arg("--")
        .args(&spec.command)
        .envs(&spec.env)
        .current_dir(&spec.dir)
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()?;
    let pid = Pid::from_child(&child);
    // The child is not waited for yet, so that even one that has failed already has its entry.
    let ticks = Stat::of(child.id()).map_or(0, |s| s.start_ticks);
    let group = Arc::new(Group {
        pid,
        start_ticks: ticks,
        alive: Mutex::new(true),
    });
    let known = reaper.add(group.id(), ticks);
    if let (Some(mut go), Ok(())) = (child.stdin.take(), known) {
        // A shim that failed before has closed its end: its exit says so.
        let _ = go.write_all(&[1]);
    }
    let (tx, exit) = oneshot::channel();
    std::thread::Builder::new().name("waiter".into()).spawn({
        let (group, reaper) = (group.clone(), reaper.clone());
        move || {
            let exit = wait(child, &group);
            reaper.remove(group.id());
            // Before the news: whoever has heard all ends may rely on the reaper ending with the spawner.
            drop(reaper);
            let _ = tx.send(exit);
        }
    })?;
    Ok(Started { group, exit })
}

fn open_log(path: &std::path::Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

fn wait(mut child: Child, group: &Group) -> Exit {
    // First only look: while the process is a zombie its number stays taken, and its group can be ended safely.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(group.pid), look) {}
    let at = Instant::now();
    group.ended();
    let how = match child.wait() {
        Ok(status) => describe(status),
        Err(e) => format!("cannot be waited for: {e}"),
    };
    Exit { at, how }
}

/// An exit status in words.
fn describe(status: ExitStatus) -> String {
    if let Some(code) = status.code() {
        return format!("exit status {code}");
    }
    let number = status.signal().unwrap_or(0);
    let names = [
        (Signal::KILL, "SIGKILL"),
        (Signal::TERM, "SIGTERM"),
        (Signal::INT, "SIGINT"),
        (Signal::HUP, "SIGHUP"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::ILL, "SIGILL"),
        (Signal::PIPE, "SIGPIPE"),
    ];
    let name = names.iter().find(|(s, _)| s.as_raw() == number);
    match name {
        Some((_, name)) => format!("killed by {name}"),
        None => format!("killed by signal {number}"),
    }
}
