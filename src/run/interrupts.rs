//! Ctrl-C, SIGTERM and SIGHUP, heard from the first run of a session to the last: a signal between two runs ends the
//! session too.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

use super::RunError;
use crate::say;

/// Listens until dropped.
#[derive(Debug)]
pub struct Interrupts {
    asked: watch::Receiver<Option<String>>,
    outliving: Arc<Mutex<Arc<AtomicUsize>>>,
    _open: oneshot::Sender<()>,
}

impl Interrupts {
    /// Begins to listen, on a thread of its own: neither a run that computes nor the end of a run's runtime makes it
    /// deaf.
    pub fn listen() -> Result<Self, RunError> {
        let (told, asked) = watch::channel(None);
        let (open, closed) = oneshot::channel();
        let (started, begun) = std::sync::mpsc::channel();
        let outliving: Arc<Mutex<Arc<AtomicUsize>>> = Arc::default();
        let left = outliving.clone();
        let thread = std::thread::Builder::new().name("signals".into());
        let spawned = thread.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let work = async |signals: std::io::Result<Signals>| match signals {
                Ok(signals) => {
                    let _ = started.send(Ok(()));
                    tokio::select! {
                        () = signals.hear(told, left) => {}
                        _ = closed => {}
                    }
                }
                Err(e) => drop(started.send(Err(e))),
            };
            match runtime {
                Ok(runtime) => runtime.block_on(async { work(Signals::open()).await }),
                Err(e) => drop(started.send(Err(e))),
            }
        });
        let failed = |e: &dyn std::fmt::Display| RunError::Aborted(format!("no signals: {e}"));
        spawned.map_err(|e| failed(&e))?;
        let begun = begun.recv().map_err(|e| failed(&e))?;
        begun.map_err(|e| failed(&e))?;
        Ok(Self {
            asked,
            outliving,
            _open: open,
        })
    }

    /// From now on this counts what stays when squall is gone.
    pub fn watch_over(&self, outliving: Arc<AtomicUsize>) {
        *self
            .outliving
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = outliving;
    }

    /// Ready with the signal's name when one has come, now or before.
    pub fn asked(&self) -> watch::Receiver<Option<String>> {
        self.asked.clone()
    }

    /// The signal that has come.
    pub fn heard(&self) -> Option<String> {
        self.asked.borrow().clone()
    }
}

/// The signals that end a run in order, by name, as often as they come.
pub fn signals() -> Result<mpsc::UnboundedReceiver<&'static str>, RunError> {
    let mut signals = Signals::open().map_err(|e| RunError::Aborted(format!("no signals: {e}")))?;
    let (tx, rx) = mpsc::unbounded_channel();
    tokio::spawn(async move { while tx.send(signals.next().await).is_ok() {} });
    Ok(rx)
}

/// Whether whoever started this program wants it to ignore a signal: `nohup` does. To listen would undo that.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (kind.as_raw_value() - 1) & 1 == 1)
}

/// The signals that end a run in order.
struct Signals {
    int: Signal,
    term: Signal,
    /// None under `nohup`.
    hup: Option<Signal>,
}

impl Signals {
    fn open() -> std::io::Result<Self> {
        Ok(Self {
            int: signal(SignalKind::interrupt())?,
            term: signal(SignalKind::terminate())?,
            hup: match is_ignored(SignalKind::hangup()) {
                true => None,
                false => Some(signal(SignalKind::hangup())?),
            },
        })
    }

    /// The next one's name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.int.recv() => "Ctrl-C",
            _ = self.term.recv() => "SIGTERM",
            Some(_) = async { self.hup.as_mut()?.recv().await } => "SIGHUP",
        }
    }

    /// The first signal asks for an orderly end; a second one ends the program at once: the instances die with it,
    /// and the ledger holds what else there is to undo.
    async fn hear(
        mut self,
        told: watch::Sender<Option<String>>,
        outliving: Arc<Mutex<Arc<AtomicUsize>>>,
    ) {
        loop {
            let name = self.next().await;
            if told.borrow().is_none() {
                told.send_replace(Some(name.into()));
                continue;
            }
            let left = outliving.lock().unwrap_or_else(PoisonError::into_inner);
            let left = left.load(Ordering::SeqCst);
            if left == 0 {
                say::err("stopped at once; nothing is left to undo");
                std::process::exit(4);
            }
            say::err(format_args!(
                "stopped at once; {left} changes are left: `squall undo` with the run's folder takes them back"
            ));
            std::process::exit(6);
        }
    }
}
