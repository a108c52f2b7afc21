//! The faults `cpu-stress` and `memory-stress`: `squall stress` in a container of the pod, for as long as this process
//! feeds it. It ends with the connection, and when nothing is heard on it any more: a squall that is gone leaves none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::containers;
use super::exec::{Exec, outcome};
use super::faults::{Faults, Victim};
use crate::platform::PlatformError;
use crate::record::{Level, Sink};
use crate::scenario::{FaultKind, StressPlace};
use crate::stress::ON;

/// A word is sent to a stress so often.
const FEED: Duration = Duration::from_secs(3);
/// A stress that hears nothing for so long ends.
const SILENCE: &str = "15s";
/// The longest that a stress can last, whatever else happens.
const LONGEST: &str = "24h";
/// A stress is in force within this, or has failed.
const IN_FORCE: Duration = Duration::from_secs(25);
/// An ephemeral container runs within this: its image may have to be pulled.
const RUNS: Duration = Duration::from_secs(20);
/// A stress that is let go has ended within this.
const ENDS: Duration = Duration::from_secs(4);

/// An ephemeral container has no limit of its own: the kernel looks for whom to kill in all of the pod.
const TOO_MUCH: &str = "the pod may not have so much memory, and its own containers may have been killed for it as well";

/// The stresses in force, by fault and pod.
pub(super) type Sessions = Arc<Mutex<BTreeMap<(String, String), Session>>>;

/// A stress that is fed.
#[derive(Debug)]
pub(super) struct Session {
    over: CancellationToken,
    task: JoinHandle<()>,
}

/// The command of a stress; `None` for other faults.
fn command(kind: &FaultKind) -> Option<(Vec<String>, &StressPlace)> {
    let (what, place) = match kind {
        FaultKind::CpuStress {
            workers,
            load,
            place,
        } => {
            let (cpu, load) = (workers.to_string(), load.to_string());
            (vec!["--cpu".into(), cpu, "--load".into(), load], place)
        }
        FaultKind::MemoryStress { size, place } => (
            vec!["--memory".to_string(), format!("{}B", size.get())],
            place,
        ),
        _ => return None,
    };
    let mut command: Vec<String> = ["squall", "stress"].map(String::from).to_vec();
    command.extend(what);
    command.extend(["--for", LONGEST, "--silence", SILENCE].map(String::from));
    Some((command, place))
}

/// The patch that puts an ephemeral container beside `target`. It may do no more than a namespace allows in which the Pod
/// Security Standard `restricted` is enforced.
fn ephemeral(name: &str, target: &str, image: &str, command: &[String]) -> Value {
    json!({"spec": {"ephemeralContainers": [{
        "name": name, "image": image, "command": command, "targetContainerName": target,
        "stdin": true, "stdinOnce": true,
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}},
    }]}})
}

impl Faults {
    /// Starts a stress and returns once all of it is in force.
    pub(super) async fn stress(
        &self,
        victim: &Victim,
        kind: &FaultKind,
    ) -> Result<(), PlatformError> {
        let Some((command, place)) = command(kind) else {
            return Err(PlatformError::Unsupported(format!(
                "{} is no stress",
                kind.name()
            )));
        };
        let container = victim.container(place.container.as_deref())?;
        let pod = &victim.name;
        let params = AttachParams::default()
            .container(container)
            .stdin(true)
            .stdout(true)
            .stderr(false);
        let doing = format!("start squall in container {container} of pod {pod}");
        let pods = self.pods();
        let process = self
            .cluster
            .call(&doing, pods.exec(pod, command.clone(), &params));
        let mut beside = false;
        let started = match begun(process.await?).await {
            Err(Exec::NoProgram(_)) if self.cluster.served.ephemeral => {
                beside = true;
                let process = self.beside(pod, container, &place.image, &command).await?;
                begun(process).await
            }
            other => other,
        };
        let stress = started.map_err(|why| {
            let what = kind.name();
            PlatformError::Failed(match why {
                Exec::NoProgram(text) => self.no_program(pod, container, &text),
                Exec::Exited(_, text) | Exec::NotRun(text) => format!("the {what} in container {container} of pod {pod} failed: {text}"),
                Exec::Unknown | Exec::Done if beside => format!(
                    "the {what} beside container {container} of pod {pod} was killed before it was in force: {TOO_MUCH}"
                ),
                Exec::Unknown | Exec::Done => format!(
                    "the {what} in container {container} of pod {pod} was killed before it was in force: the container \
                     may not have so much memory"
                ),
            })
        })?;
        let over = CancellationToken::new();
        let words = format!("the {} in pod {pod}", kind.name());
        let task = tokio::spawn(feed(stress, over.clone(), words, self.sink.clone()));
        let key = (kind.name().to_string(), pod.clone());
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.insert(key, Session { over, task });
        Ok(())
    }

    /// Ends a stress of this run; one that is over already is a success.
    pub(super) async fn let_go(&self, fault: &str, pod: &str) -> Result<(), PlatformError> {
        let session = {
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.remove(&(fault.to_string(), pod.to_string()))
        };
        let Some(Session { over, task }) = session else {
            return Ok(());
        };
        over.cancel();
        let abort = task.abort_handle();
        if timeout(ENDS, task).await.is_err() {
            // The connection goes with the task; the stress ends when it hears nothing more.
            abort.abort();
            let text = format!(
                "the {fault} in pod {pod} did not say that it has ended; it ends within {SILENCE}"
            );
            self.sink.note(Level::Warning, text);
        }
        Ok(())
    }

    /// Whether the stress could be started at all, asked of one pod before anything begins.
    pub(super) async fn can_stress(
        &self,
        pod: &str,
        kind: &FaultKind,
    ) -> Result<(), PlatformError> {
        let Some((_, place)) = command(kind) else {
            return Ok(());
        };
        if self.cluster.served.ephemeral {
            return Ok(());
        }
        let doing = format!("read pod {pod}");
        let found = self.cluster.call(&doing, self.pods().get(pod)).await?;
        let all = containers::names(&found);
        let names: Vec<&str> = all.iter().map(String::as_str).collect();
        let container = match place.container.as_deref() {
            Some(name) if !names.contains(&name) => {
                return Err(PlatformError::Unsupported(format!(
                    "pod {pod} has no container {name}; it has {}",
                    names.join(", ")
                )));
            }
            Some(name) => name,
            None => names.first().copied().unwrap_or_default(),
        };
        let ask = ["squall", "stress", "--help"].map(String::from).to_vec();
        match self.exec(pod, container, ask).await? {
            Exec::Done => Ok(()),
            Exec::NoProgram(text) | Exec::Exited(_, text) | Exec::NotRun(text) => Err(
                PlatformError::Unsupported(self.no_program(pod, container, &text)),
            ),
            Exec::Unknown => Err(PlatformError::Unreachable(format!(
                "whether container {container} of pod {pod} has squall cannot be told: the connection ended"
            ))),
        }
    }

    fn no_program(&self, pod: &str, container: &str, text: &str) -> String {
        let beside = match self.cluster.served.ephemeral {
            true => "and nor has the image of the ephemeral container".to_string(),
            false => format!(
                "and Kubernetes {} has no ephemeral containers to bring it (1.25 and later do)",
                self.cluster.version
            ),
        };
        format!(
            "a stress needs squall in the pod: container {container} of pod {pod} has none that knows `stress` \
             ({text}), {beside}. Put the program into the image"
        )
    }

    /// Puts an ephemeral container with squall beside one of the pod's own and attaches to it.
    async fn beside(
        &self,
        pod: &str,
        container: &str,
        image: &str,
        command: &[String],
    ) -> Result<AttachedProcess, PlatformError> {
        // They cannot be removed, so each needs a name that no earlier one has.
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        let name = format!("squall-stress-{}", since.as_millis());
        let pods = self.pods();
        let patch = Patch::Strategic(ephemeral(&name, container, image, command));
        let params = PatchParams::default();
        let added = pods.patch_ephemeral_containers(pod, &params, &patch);
        let doing = format!("put an ephemeral container into pod {pod}");
        self.cluster.call(&doing, added).await?;
        self.until_it_runs(&pods, pod, &name, image).await?;
        let params = AttachParams::default()
            .container(&name)
            .stdin(true)
            .stdout(true)
            .stderr(false);
        let doing = format!("attach to the ephemeral container of pod {pod}");
        self.cluster.call(&doing, pods.attach(pod, &params)).await
    }

    async fn until_it_runs(
        &self,
        pods: &Api<Pod>,
        pod: &str,
        name: &str,
        image: &str,
    ) -> Result<(), PlatformError> {
        let until = Instant::now() + RUNS;
        let mut why = "it has not been started".to_string();
        while Instant::now() < until {
            let found = self
                .cluster
                .call(&format!("read pod {pod}"), pods.get(pod))
                .await?;
            let all = found.status.and_then(|s| s.ephemeral_container_statuses);
            let state = all
                .into_iter()
                .flatten()
                .find(|s| s.name == name)
                .and_then(|s| s.state);
            if let Some(state) = state {
                if state.running.is_some() {
                    return Ok(());
                }
                if let Some(ended) = state.terminated {
                    let mut reason = ended.message.or(ended.reason).unwrap_or_default();
                    if reason == "OOMKilled" {
                        reason = format!("{reason}: {TOO_MUCH}");
                    }
                    return Err(PlatformError::Failed(format!(
                        "the ephemeral container of pod {pod} ({image}) has ended: {reason}"
                    )));
                }
                if let Some(waiting) = state.waiting {
                    why = waiting.message.or(waiting.reason).unwrap_or(why);
                }
            }
            sleep(Duration::from_millis(300)).await;
        }
        Err(PlatformError::Failed(format!(
            "the ephemeral container of pod {pod} ({image}) did not run within {RUNS:?}: {why}"
        )))
    }
}

/// A stress that has said that it is in force.
struct Begun {
    process: AttachedProcess,
    lines: tokio::io::Lines<BufReader<Box<dyn tokio::io::AsyncRead + Send + Unpin>>>,
    input: Box<dyn tokio::io::AsyncWrite + Send + Unpin>,
}

/// Waits until it is in force; how it ended if it never was.
async fn begun(mut process: AttachedProcess) -> Result<Begun, Exec> {
    let (Some(input), Some(output)) = (process.stdin(), process.stdout()) else {
        return Err(Exec::NotRun("no connection to its input and output".into()));
    };
    let output: Box<dyn tokio::io::AsyncRead + Send + Unpin> = Box::new(output);
    let mut input: Box<dyn tokio::io::AsyncWrite + Send + Unpin> = Box::new(input);
    let mut lines = BufReader::new(output).lines();
    let in_force = async {
        loop {
            tokio::select! {
                line = lines.next_line() => match line {
                    Ok(Some(line)) if line.starts_with(ON) => return true,
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return false,
                },
                // One that was attached to has said so before anybody listened: a word is answered.
                () = sleep(Duration::from_secs(1)) => {
                    let _ = input.write_all(b"\n").await;
                    let _ = input.flush().await;
                }
            }
        }
    };
    match timeout(IN_FORCE, in_force).await {
        Ok(true) => Ok(Begun {
            process,
            lines,
            input,
        }),
        Ok(false) => {
            let status = match process.take_status() {
                Some(status) => timeout(ENDS, status).await.ok().flatten(),
                None => None,
            };
            Err(outcome(status, ""))
        }
        Err(_) => Err(Exec::NotRun(format!(
            "it was not in force within {IN_FORCE:?}"
        ))),
    }
}

/// Feeds a stress until it is let go, then closes its input and hears it out. One that ends by itself is told.
async fn feed(stress: Begun, over: CancellationToken, words: String, sink: Sink) {
    let Begun {
        process,
        mut lines,
        mut input,
    } = stress;
    let began = Instant::now();
    let mut said = String::new();
    let by_itself = loop {
        tokio::select! {
            () = over.cancelled() => break false,
            line = lines.next_line() => match line {
                Ok(Some(line)) => said = line,
                Ok(None) | Err(_) => break true,
            },
            () = sleep(FEED) => {
                let fed = async { input.write_all(b"\n").await?; input.flush().await };
                if !matches!(timeout(FEED, fed).await, Ok(Ok(()))) {
                    break true;
                }
            }
        }
    };
    if !by_itself {
        // What it came to, before it goes; no answer is no reason to keep it.
        let last = async {
            input.write_all(b"\n").await?;
            input.flush().await?;
            lines.next_line().await
        };
        if let Ok(Ok(Some(line))) = timeout(ENDS / 2, last).await {
            said = line;
        }
    }
    drop(input);
    process.abort();
    let (level, how) = match by_itself {
        true => (Level::Warning, "ended by itself"),
        false => (Level::Info, "was ended"),
    };
    let lasted = began.elapsed().as_secs_f64();
    sink.note(level, format!("{words} {how} after {lasted:.1} s ({said})"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::units::{Ratio, Size};

    fn place() -> StressPlace {
        StressPlace {
            container: None,
            image: "squall:1".into(),
        }
    }

    #[test]
    fn the_command_says_what_the_fault_says_and_ends_by_itself() {
        let cpu = FaultKind::CpuStress {
            workers: 2,
            load: Ratio::fraction(0.5),
            place: place(),
        };
        let (words, _) = command(&cpu).unwrap();
        assert_eq!(
            words.join(" "),
            "squall stress --cpu 2 --load 50% --for 24h --silence 15s"
        );
        let memory = FaultKind::MemoryStress {
            size: Size::bytes(64 << 20),
            place: place(),
        };
        let (words, _) = command(&memory).unwrap();
        assert!(words.join(" ").contains("--memory 67108864B"), "{words:?}");
        assert!(command(&FaultKind::Cordon).is_none());
    }

    #[test]
    fn an_ephemeral_container_is_beside_its_target_and_ends_when_nobody_is_attached() {
        let patch = ephemeral("s-1", "web", "squall:1", &["squall".into()]);
        let container = &patch["spec"]["ephemeralContainers"][0];
        assert_eq!(container["targetContainerName"], "web");
        assert_eq!(
            (&container["stdin"], &container["stdinOnce"]),
            (&json!(true), &json!(true))
        );
        // What `restricted` asks of each container.
        let security = &container["securityContext"];
        assert_eq!(security["runAsNonRoot"], true);
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
        assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
    }
}
