//! The fault `container-kill`: a signal to the first process of a container, sent by a command run inside it.
//!
//! It can fail in several ways that must be told apart: no such container, no `kill` in it, a signal it ignores.

use std::time::Duration;

use tokio::time::Instant;

use super::containers;
use super::exec::Exec;
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
        let container = victim.container(container)?;
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
            Exec::Exited(_, text) | Exec::NotRun(text) => {
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
        containers::status_of(&found, container)
            .filter(|s| s.state.as_ref().is_some_and(|s| s.running.is_some()))
            .and_then(|s| s.container_id.clone())
            .ok_or_else(|| {
                PlatformError::Failed(format!("container {container} of pod {pod} does not run"))
            })
    }
}
