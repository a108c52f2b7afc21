//! The fault `node-loss`: the API cannot take a node away, so commands of the user's do, and bring it back.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::platform::PlatformError;

/// What a command says on standard error is read for so long after its end: what it has started may hold it open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The command for this node.
pub(super) fn for_node(command: &str, node: &str) -> String {
    command.replace("{node}", node)
}

/// Ends a command with all that it has started: what goes on by itself would come after the undo.
struct Ending(Option<Pid>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Gone already is as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Runs a command to its end; its exit code decides. Ended with the future that waits for it, and by nothing else: a Ctrl-C
/// at the terminal is for squall.
pub async fn run(command: &str, dir: &Path) -> Result<(), PlatformError> {
    let failed = |why: String| PlatformError::Failed(format!("`{command}` failed: {why}"));
    let dir = match dir.as_os_str().is_empty() {
        true => Path::new("."),
        false => dir,
    };
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let mut ending = Ending(pid.and_then(Pid::from_raw));
    let mut words = Vec::new();
    let mut errors = child.stderr.take();
    let listen = async {
        if let Some(errors) = &mut errors {
            // What it says is for the error's words only.
            let _ = errors.take(2000).read_to_end(&mut words).await;
        }
        std::future::pending::<()>().await
    };
    let ended = tokio::select! {
        ended = child.wait() => ended,
        () = listen => unreachable!("pending for ever"),
    };
    let ended = ended.map_err(|e| failed(e.to_string()))?;
    // What it leaves running is meant to be.
    ending.0 = None;
    if ended.success() {
        return Ok(());
    }
    if let Some(errors) = &mut errors {
        let _ = timeout(LAST_WORDS, errors.read_to_end(&mut words)).await;
    }
    let words = String::from_utf8_lossy(&words);
    Err(failed(format!("{ended}; {}", words.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a process of this number lives; one that has ended and is not waited for does not.
    fn lives(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next());
        !stat.is_empty() && state != Some('Z')
    }

    #[tokio::test]
    async fn a_command_that_is_given_up_is_ended_with_all_that_it_has_started() {
        let dir = tempfile::tempdir().unwrap();
        let running = tokio::spawn({
            let dir = dir.path().to_path_buf();
            async move { run("sleep 600 & echo $! >started; wait", &dir).await }
        });
        let started = loop {
            let text = std::fs::read_to_string(dir.path().join("started")).unwrap_or_default();
            if text.ends_with('\n') {
                break text.trim().to_string();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(lives(&started));
        running.abort();
        let gone = async {
            while lives(&started) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let limit = Duration::from_secs(30);
        timeout(limit, gone)
            .await
            .expect("what it has started ends");
    }

    #[tokio::test]
    async fn what_a_command_leaves_running_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let command = "sleep 600 >/dev/null 2>&1 & echo $! >started";
        run(command, dir.path()).await.unwrap();
        let started = std::fs::read_to_string(dir.path().join("started")).unwrap();
        assert!(lives(started.trim()));
        let pid = started.trim().parse().ok().and_then(Pid::from_raw).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }
}
