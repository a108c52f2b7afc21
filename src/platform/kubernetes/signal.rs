//! The fault `container-kill`: a signal to the first process of a container, sent by a command run inside it.
//!
//! It can fail in several ways that must be told apart: no such container, no `kill` in it, a signal it ignores.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachParams;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::faults::{Faults, Victim};
use crate::platform::PlatformError;

/// A signalled process has ended within this, or the signal was ignored.
const ENDS: Duration = Duration::from_secs(30);

impl Faults {
    /// Sends a signal to the first process of a container and waits until the container has ended.
    pub(super) async fn signal(
        &self,
        victim: &Victim,
        container: Option<&str>,
        signal: &str,
    ) -> Result<(), PlatformError> {
        let pod = &victim.name;
        let container = match container {
            Some(name) if !victim.containers.iter().any(|c| c == name) => {
                return Err(PlatformError::Failed(format!(
                    "pod {pod} has no container {name}; it has {}",
                    victim.containers.join(", ")
                )));
            }
            Some(name) => name,
            None => victim
                .containers
                .first()
                .map(String::as_str)
                .unwrap_or_default(),
        };
        if signal == "KILL" || signal == "STOP" {
            return Err(PlatformError::Unsupported(format!(
                "SIG{signal} to a container's first process is ignored when it comes from inside (the kernel protects \
                 it); use TERM, or pod-kill with grace 0s"
            )));
        }
        let before = self.running(pod, container).await?;
        let direct = ["kill", "-s", signal, "1"].map(String::from).to_vec();
        let shell = vec!["/bin/sh".into(), "-c".into(), format!("kill -s {signal} 1")];
        let mut outcome = self.exec(pod, container, direct).await?;
        if matches!(outcome, Exec::NoProgram(_)) {
            outcome = self.exec(pod, container, shell).await?;
        }
        match outcome {
            // The container may end before its own kill is reported.
            Exec::Done | Exec::Unknown => {}
            Exec::NoProgram(text) => {
                return Err(PlatformError::Failed(format!(
                    "container {container} of pod {pod} has neither `kill` nor a shell: {text}"
                )));
            }
            Exec::Exited(text) => {
                return Err(PlatformError::Failed(format!(
                    "`kill` in container {container} of pod {pod} failed: {text}"
                )));
            }
        }
        let until = Instant::now() + ENDS;
        while Instant::now() < until {
            // Gone altogether is ended, too.
            match self.running(pod, container).await {
                Ok(now) if now == before => tokio::time::sleep(Duration::from_millis(200)).await,
                Ok(_) | Err(PlatformError::Failed(_)) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Err(PlatformError::Failed(format!(
            "container {container} of pod {pod} got SIG{signal} and still ran {ENDS:?} later: it ignores the signal"
        )))
    }

    /// Id of the running container.
    async fn running(&self, pod: &str, container: &str) -> Result<String, PlatformError> {
        let found = self
            .cluster
            .call(&format!("read pod {pod}"), self.pods().get(pod))
            .await?;
        let statuses = found
            .status
            .and_then(|s| s.container_statuses)
            .unwrap_or_default();
        let status = statuses.into_iter().find(|s| s.name == container);
        status
            .filter(|s| s.state.as_ref().is_some_and(|s| s.running.is_some()))
            .and_then(|s| s.container_id)
            .ok_or_else(|| {
                PlatformError::Failed(format!("container {container} of pod {pod} does not run"))
            })
    }

    async fn exec(
        &self,
        pod: &str,
        container: &str,
        command: Vec<String>,
    ) -> Result<Exec, PlatformError> {
        let params = AttachParams::default()
            .container(container)
            .stdout(false)
            .stderr(true);
        let doing = format!(
            "run `{}` in container {container} of pod {pod}",
            command.join(" ")
        );
        let pods = self.pods();
        let run = async {
            let mut process = pods.exec(pod, command, &params).await?;
            let status = process.take_status();
            let mut errors = String::new();
            if let Some(mut stderr) = process.stderr() {
                // What it says is for the error's words only.
                let _ = stderr.read_to_string(&mut errors).await;
            }
            let status = match status {
                Some(status) => status.await,
                None => None,
            };
            Ok(outcome(status, errors.trim()))
        };
        self.cluster.call(&doing, run).await
    }
}

/// How a command in a container ended.
#[derive(Debug, PartialEq, Eq)]
enum Exec {
    Done,
    /// It could not be started: no such program.
    NoProgram(String),
    /// It failed.
    Exited(String),
    /// The connection ended before its status came.
    Unknown,
}

fn outcome(status: Option<Status>, errors: &str) -> Exec {
    let Some(status) = status else {
        return Exec::Unknown;
    };
    if status.status.as_deref() == Some("Success") {
        return Exec::Done;
    }
    let message = status.message.unwrap_or_default();
    let text = format!("{message} {errors}").trim().to_string();
    // When the first process ends, the kernel kills all others of the container, `kill` itself among them.
    if text.contains("exit code 137") {
        return Exec::Unknown;
    }
    let missing = [
        "not found",
        "no such file",
        "exit code 126",
        "exit code 127",
    ];
    if missing.iter().any(|m| text.to_lowercase().contains(m)) {
        Exec::NoProgram(text)
    } else {
        Exec::Exited(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_an_exec_can_fail_are_told_apart() {
        let status = |status: &str, message: &str| {
            Some(Status {
                status: Some(status.into()),
                message: Some(message.into()),
                ..Status::default()
            })
        };
        let failed = |message| status("Failure", message);
        assert_eq!(outcome(status("Success", ""), ""), Exec::Done);
        assert_eq!(outcome(None, ""), Exec::Unknown);
        let missing = "OCI runtime exec failed: exec: \"kill\": executable file not found in $PATH";
        assert!(matches!(outcome(failed(missing), ""), Exec::NoProgram(_)));
        let with_it = "command terminated with non-zero exit code: exit code 137";
        assert_eq!(outcome(failed(with_it), ""), Exec::Unknown);
        let ended = outcome(
            failed("command terminated with non-zero exit code: exit code 1"),
            "kill: bad signal",
        );
        assert!(matches!(ended, Exec::Exited(t) if t.contains("bad signal")));
    }
}
