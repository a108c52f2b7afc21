//! The hidden command `squall __exec PARENT -- PROGRAM ARGS`: becomes the program, tied to squall's life.
//!
//! The kernel kills a process whose parent died only if the process itself asked for it, so something must run
//! between fork and exec. Code there would need `unsafe`; a program of its own does not.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::Context;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Becomes `command`, to be killed when the thread that started it ends. Returns only if that fails.
///
/// Standard input must hold one byte, sent once the reaper knows of this process: before that it must not start
/// anything that could outlive squall.
pub fn exec(parent: u32, command: Vec<OsString>) -> anyhow::Error {
    match prepare(parent) {
        Err(e) => e,
        Ok(()) => match command.split_first() {
            None => anyhow::anyhow!("no program to run"),
            Some((program, args)) => {
                let failure = Command::new(program).args(args).stdin(Stdio::null()).exec();
                anyhow::Error::new(failure)
                    .context(format!("cannot run {}", program.to_string_lossy()))
            }
        },
    }
}

fn prepare(parent: u32) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .context("cannot ask to be killed with the parent")?;
    // The parent may have died before the request was made: then nobody is left to send the signal.
    let now = getppid().map_or(0, |pid| pid.as_raw_nonzero().get() as u32);
    anyhow::ensure!(now == parent, "the process that started this one is gone");
    let mut go = [0];
    std::io::stdin()
        .read_exact(&mut go)
        .context("the process that started this one is gone")
}
