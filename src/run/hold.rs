//! Waiting after a run until its record has been taken away: a pod's files are gone with the pod.

use std::path::Path;
use std::time::Duration;

use super::interrupts::signals;
use super::{RunError, runtime};
use crate::platform::kubernetes::runner::WAITS;
use crate::say;

/// The file in a run's folder that says that the record has been taken.
pub const TAKEN: &str = ".taken";

/// Says that the record waits, and returns when it has been taken, the time is over, or a signal comes.
pub fn hold(dir: &Path, time: Duration) -> Result<(), RunError> {
    runtime()?.block_on(async {
        let mut signals = signals()?;
        say::err(format_args!("{WAITS}{}", dir.display()));
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
