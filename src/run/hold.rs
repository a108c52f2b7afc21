//! Waiting after a run until its record has been taken away: a pod's files are gone with the pod.

use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::RunError;
use crate::platform::kubernetes::runner::WAITS;

/// The file in a run's folder that says that the record has been taken.
pub const TAKEN: &str = ".taken";

/// Says that the record waits, and returns when it has been taken, the time is over, or a signal comes.
pub fn hold(dir: &Path, time: Duration) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| RunError::Aborted(format!("cannot start a runtime: {e}")))?;
    runtime.block_on(async {
        let mut signals = signals()?;
        eprintln!("{WAITS}{}", dir.display());
        let taken = async {
            while !dir.join(TAKEN).exists() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::select! {
            _ = tokio::time::timeout(time, taken) => {}
            _ = signals.recv() => {}
        }
        Ok(())
    })
}

/// Ctrl-C, SIGTERM and SIGHUP, by name, as often as they come.
pub fn signals() -> Result<mpsc::UnboundedReceiver<&'static str>, RunError> {
    let open = |kind| signal(kind).map_err(|e| RunError::Aborted(format!("no signals: {e}")));
    let mut int = open(SignalKind::interrupt())?;
    let mut term = open(SignalKind::terminate())?;
    let mut hup = open(SignalKind::hangup())?;
    let (tx, rx) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = int.recv() => "Ctrl-C",
                _ = term.recv() => "SIGTERM",
                _ = hup.recv() => "SIGHUP",
            };
            if tx.send(name).is_err() {
                return;
            }
        }
    });
    Ok(rx)
}
