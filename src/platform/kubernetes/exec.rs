//! Commands run inside a container, and the ways they can fail, told apart.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachParams;
use tokio::io::AsyncReadExt;

use super::faults::{Faults, Victim};
use crate::platform::PlatformError;

impl Victim {
    /// The container asked for, or the pod's first.
    pub(super) fn container<'a>(
        &'a self,
        asked: Option<&'a str>,
    ) -> Result<&'a str, PlatformError> {
        match asked {
            Some(name) if !self.containers.iter().any(|c| c == name) => {
                Err(PlatformError::Failed(format!(
                    "pod {} has no container {name}; it has {}",
                    self.name,
                    self.containers.join(", ")
                )))
            }
            Some(name) => Ok(name),
            None => Ok(self
                .containers
                .first()
                .map(String::as_str)
                .unwrap_or_default()),
        }
    }
}

impl Faults {
    /// Runs a command in a container to its end.
    pub(super) async fn exec(
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
pub(super) enum Exec {
    /// Well.
    Done,
    /// It could not be started: no such program.
    NoProgram(String),
    /// It failed, with this exit code.
    Exited(i32, String),
    /// The cluster could not run it, or not to its end: nothing is known of what it would have done.
    NotRun(String),
    /// The connection ended before its status came.
    Unknown,
}

pub(super) fn outcome(status: Option<Status>, errors: &str) -> Exec {
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
        return Exec::NoProgram(text);
    }
    let causes = status.details.and_then(|d| d.causes).unwrap_or_default();
    let code = causes
        .into_iter()
        .find(|c| c.reason.as_deref() == Some("ExitCode"));
    match code.and_then(|c| c.message?.parse().ok()) {
        Some(code) => Exec::Exited(code, text),
        None => Exec::NotRun(text),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{StatusCause, StatusDetails};

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
        let mut exited = failed("command terminated with non-zero exit code: exit code 1");
        if let Some(status) = &mut exited {
            status.details = Some(StatusDetails {
                causes: Some(vec![StatusCause {
                    reason: Some("ExitCode".into()),
                    message: Some("1".into()),
                    ..StatusCause::default()
                }]),
                ..StatusDetails::default()
            });
        }
        let ended = outcome(exited, "kill: bad signal");
        assert!(matches!(ended, Exec::Exited(1, t) if t.contains("bad signal")));
        let broken =
            "Internal error occurred: error executing command in container: container is paused";
        assert_eq!(outcome(failed(broken), ""), Exec::NotRun(broken.into()));
    }
}
