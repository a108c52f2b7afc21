//! The hidden command `squall __reaper`: outlives squall by a moment and kills what it left.
//!
//! The kernel kills the instances themselves with squall, but not the processes that they started. The reaper holds
//! the other end of a pipe to squall; when that closes, however squall ended, it kills the process groups that it was
//! told of.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};

use crate::observe::usage::Stat;

/// Follows `add PGID STARTTICKS` and `remove PGID` lines, and at their end kills the groups that are left.
pub fn main(input: impl BufRead) -> anyhow::Result<()> {
    // A handler that does nothing is the safe way to ignore a signal; it stays for the life of the process.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _guard = runtime.enter();
    let _ignored = [
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
        signal(SignalKind::quit())?,
    ];
    let mut groups = BTreeMap::new();
    for line in input.lines() {
        // A line that cannot be read is the end, as far as this end can tell.
        let Ok(line) = line else { break };
        note(&mut groups, &line);
    }
    for (group, ticks) in groups {
        kill(group, ticks);
    }
    Ok(())
}

fn note(groups: &mut BTreeMap<i32, u64>, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["add", group, ticks] => {
            if let (Ok(group), Ok(ticks)) = (group.parse(), ticks.parse()) {
                groups.insert(group, ticks);
            }
        }
        ["remove", group] => {
            if let Ok(group) = group.parse::<i32>() {
                groups.remove(&group);
            }
        }
        _ => {}
    }
}

fn kill(group: i32, ticks: u64) {
    // The number of a group is not given to another process while the group has members. If its leader is there it
    // must be the one that was noted: another one means that the whole group is gone and its number is used again.
    if Stat::of(group as u32).is_some_and(|now| now.start_ticks != ticks) {
        return;
    }
    if let Some(group) = Pid::from_raw(group) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// squall's end of the pipe. Dropping it ends the reaper.
#[derive(Debug)]
pub(super) struct Reaper {
    child: Child,
    pipe: Mutex<Option<ChildStdin>>,
}

impl Reaper {
    /// Starts the reaper, out of reach of the terminal's Ctrl-C.
    pub fn start(squall: &Path) -> std::io::Result<Self> {
        let mut child = Command::new(squall)
            .arg("__reaper")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pipe = Mutex::new(child.stdin.take());
        Ok(Self { child, pipe })
    }
    /// A group to kill should squall die.
    pub fn add(&self, group: u32, ticks: u64) -> std::io::Result<()> {
        self.tell(&format!("add {group} {ticks}\n"))
    }
    /// A group that is gone.
    pub fn remove(&self, group: u32) {
        // Without a reaper there is nothing to take back.
        let _ = self.tell(&format!("remove {group}\n"));
    }
    fn tell(&self, line: &str) -> std::io::Result<()> {
        let mut pipe = self.pipe.lock().unwrap_or_else(|e| e.into_inner());
        match pipe.as_mut() {
            // One write: lines of several threads must not mix, and are far below what a pipe takes at once.
            Some(pipe) => pipe.write_all(line.as_bytes()),
            None => Ok(()),
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        *self.pipe.lock().unwrap_or_else(|e| e.into_inner()) = None;
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_added_and_not_removed_is_left() {
        let mut groups = BTreeMap::new();
        for line in [
            "add 10 5",
            "add 11 6",
            "remove 10",
            "add x 1",
            "nonsense",
            "",
        ] {
            note(&mut groups, line);
        }
        assert_eq!(groups, BTreeMap::from([(11, 6)]));
    }

    #[test]
    fn a_group_whose_number_is_used_again_is_left_alone() {
        let mut child = Command::new("sleep")
            .arg("60")
            .process_group(0)
            .spawn()
            .unwrap();
        let ticks = Stat::of(child.id()).unwrap().start_ticks;
        kill(child.id() as i32, ticks + 1);
        assert!(child.try_wait().unwrap().is_none(), "killed a stranger");
        kill(child.id() as i32, ticks);
        assert!(!child.wait().unwrap().success());
    }
}
