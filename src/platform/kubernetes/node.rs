//! The fault `node-loss`: the API cannot take a node away, so commands of the user's do, and bring it back.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

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

/// Runs a command to its end; its exit code decides. Ended with the future that waits for it.
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
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
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
    if ended.success() {
        return Ok(());
    }
    if let Some(errors) = &mut errors {
        let _ = timeout(LAST_WORDS, errors.read_to_end(&mut words)).await;
    }
    let words = String::from_utf8_lossy(&words);
    Err(failed(format!("{ended}; {}", words.trim())))
}
