//! Squall run inside the cluster: a Job in the target's namespace, told to this machine line by line, whose record is
//! brought back before it ends. All that is created belongs to the Job and goes with it.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{AttachParams, DeleteParams, DynamicObject, ListParams, Preconditions};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep};

use super::api::Cluster;
use super::exec::{Exec, outcome};
use super::owned::{self, Kind, RunOwner};
use super::permissions::{self, Permission};
use super::pods::why_not_ready;
use crate::platform::PlatformError;
use crate::scenario::KubernetesTarget;

mod follow;
mod manifest;

pub use manifest::{Bundle, Pod};

/// Where the scenario is in the pod.
pub const SCENARIO: &str = "/scenario";
/// Where the record is.
pub const RECORD: &str = "/record";
/// How a line of the pod's begins that says: the run is over and its record waits to be taken.
pub const WAITS: &str = "squall: the record waits in ";

/// The pod runs within this: its image may have to be pulled.
const RUNS: Duration = Duration::from_secs(120);
/// What is wrong with the pod for so long does not mend itself.
const WRONG: Duration = Duration::from_secs(15);
/// Once its record is taken the pod has ended within this.
const ENDS: Duration = Duration::from_secs(30);
/// What was created is gone within this from its removal: the pod may have something to undo.
const GONE: Duration = Duration::from_secs(75);

/// The calls that starting, watching and removing a runner take.
fn calls() -> Vec<Permission> {
    let call = |group, resource, verb| Permission {
        only: None,
        namespaced: true,
        elsewhere: None,
        group,
        resource,
        verb,
        required: true,
        purpose: "run inside the cluster",
    };
    vec![
        call("batch", "jobs", "create"),
        call("batch", "jobs", "delete"),
        call("", "configmaps", "create"),
        call("", "pods", "list"),
        call("", "pods/log", "get"),
        call("", "pods/exec", "create"),
    ]
}

/// How the pod ended, or that it has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A line that it said.
    Line(String),
    /// The run is over, and its record can be fetched.
    RecordWaits,
    /// It ended with this exit code.
    Ended(i32),
}

/// A run inside the cluster.
#[derive(Debug)]
pub struct Runner {
    cluster: Cluster,
    namespace: String,
    name: String,
    uid: String,
    /// The Job, which all else belongs to.
    owner: RunOwner,
    /// Its pod, once there is one that runs.
    pod: String,
    lines: Option<tokio::sync::mpsc::Receiver<String>>,
}

impl Runner {
    /// Connects, and asks whether all that it takes is allowed; changes nothing.
    pub async fn connect(
        target: &KubernetesTarget,
        bundle: &Bundle,
    ) -> Result<Self, PlatformError> {
        let cluster = Cluster::of(target).await?;
        let namespace = target
            .namespace
            .clone()
            .unwrap_or(cluster.namespace.clone());
        let mut calls = calls();
        if bundle.has_secrets() {
            calls.push(Permission {
                resource: "secrets",
                ..calls[2].clone()
            });
        }
        let denied = permissions::denied(&cluster, &namespace, &calls).await?;
        if !denied.is_empty() {
            let missing: Vec<String> = denied.iter().map(ToString::to_string).collect();
            return Err(PlatformError::Unreachable(format!(
                "context {} is not allowed in namespace {namespace} to: {}",
                cluster.context,
                missing.join(", ")
            )));
        }
        let now = jiff::Timestamp::now().as_millisecond();
        Ok(Self {
            cluster,
            namespace,
            name: format!("squall-run-{now:x}"),
            uid: String::new(),
            owner: RunOwner::default(),
            pod: String::new(),
            lines: None,
        })
    }

    /// The Job's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace that all is in.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Creates Job and files, and returns once the pod runs. What was created before an error is there to be removed.
    pub async fn start(&mut self, pod: &Pod, bundle: &Bundle) -> Result<(), PlatformError> {
        let job = json!({"spec": manifest::job(&self.name, pod, bundle)});
        let job = self.create(("batch/v1", "Job", "jobs"), &job).await?;
        self.uid = job.metadata.uid.unwrap_or_default();
        self.owner.set(OwnerReference {
            api_version: "batch/v1".into(),
            kind: "Job".into(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            ..OwnerReference::default()
        });
        let files = ("v1", "ConfigMap", "configmaps");
        self.create(files, &bundle.config()).await?;
        if bundle.has_secrets() {
            let secrets = ("v1", "Secret", "secrets");
            self.create(secrets, &bundle.secret()).await?;
        }
        let began = Instant::now();
        loop {
            let found = self.find().await?;
            if let Some(pod) = found.as_ref().filter(|p| begun(p)) {
                self.pod = pod.metadata.name.clone().unwrap_or_default();
                return Ok(());
            }
            let (why, hopeless) = why_not(found.as_ref(), pod);
            if began.elapsed() > if hopeless { WRONG } else { RUNS } {
                return Err(PlatformError::Unreachable(format!(
                    "squall does not run in namespace {}, and nothing was touched: {why}",
                    self.namespace
                )));
            }
            sleep(Duration::from_millis(300)).await;
        }
    }

    async fn create(
        &self,
        (api_version, kind, plural): (&str, &str, &str),
        content: &Value,
    ) -> Result<DynamicObject, PlatformError> {
        let kind = Kind {
            api_version: api_version.into(),
            kind: kind.into(),
            plural: plural.into(),
        };
        let at = (self.namespace.as_str(), self.name.as_str());
        owned::create(&self.cluster, &self.owner, &kind, at, content).await
    }

    fn pods(&self) -> Api<v1::Pod> {
        Api::namespaced(self.cluster.client.clone(), &self.namespace)
    }

    async fn find(&self) -> Result<Option<v1::Pod>, PlatformError> {
        let list = ListParams::default().labels(&format!("job-name={}", self.name));
        let pods = self.pods();
        let listed = self
            .cluster
            .call("look at squall's pod", pods.list(&list))
            .await?;
        Ok(listed.items.into_iter().next())
    }

    /// Waits for the next thing that the pod tells.
    pub async fn next(&mut self) -> Result<Told, PlatformError> {
        let lines = self.lines.get_or_insert_with(|| {
            let (tx, rx) = tokio::sync::mpsc::channel(1_000);
            tokio::spawn(follow::follow(
                Api::namespaced(self.cluster.client.clone(), &self.namespace),
                self.pod.clone(),
                tx,
            ));
            rx
        });
        match lines.recv().await {
            Some(line) if line.starts_with(WAITS) => Ok(Told::RecordWaits),
            Some(line) => Ok(Told::Line(line)),
            None => self.end().await.map(Told::Ended),
        }
    }

    /// The pod's exit code, once it has ended.
    pub async fn end(&self) -> Result<i32, PlatformError> {
        let began = Instant::now();
        loop {
            let pod = match self.find().await {
                Ok(Some(pod)) => pod,
                Ok(None) => return Err(self.lost("it was removed, by somebody or with its node")),
                Err(error) if began.elapsed() > ENDS => return Err(error),
                Err(_) => {
                    sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            if let Some(code) = exit_code(&pod) {
                return Ok(code);
            }
            if began.elapsed() > ENDS {
                return Err(self.lost("its log has ended, and it has not"));
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    fn lost(&self, why: &str) -> PlatformError {
        PlatformError::Unreachable(format!(
            "pod {} of the run is lost: {why}. What it changed is undone by its guardian",
            self.pod
        ))
    }

    /// The packed record.
    pub async fn fetch(&self) -> Result<Vec<u8>, PlatformError> {
        let record = format!("{RECORD}/run");
        let (status, bytes) = self.exec(&["/bin/squall", "pack", &record]).await?;
        match status {
            Exec::Done => Ok(bytes),
            Exec::NoProgram(text) | Exec::Exited(_, text) | Exec::NotRun(text) => {
                Err(PlatformError::Failed(format!(
                    "the record of pod {} cannot be packed: {text}",
                    self.pod
                )))
            }
            Exec::Unknown => Err(PlatformError::Unreachable(format!(
                "the connection to pod {} ended before its record was here",
                self.pod
            ))),
        }
    }

    /// Says that the record has been taken: the pod ends.
    pub async fn taken(&self) -> Result<(), PlatformError> {
        let record = format!("{RECORD}/run");
        self.exec(&["/bin/squall", "pack", "--taken", &record])
            .await
            .map(drop)
    }

    /// Asks the run to end in order.
    pub async fn interrupt(&self) -> Result<(), PlatformError> {
        self.exec(&["/bin/squall", "__interrupt"]).await.map(drop)
    }

    async fn exec(&self, command: &[&str]) -> Result<(Exec, Vec<u8>), PlatformError> {
        let params = AttachParams::default().stdout(true).stderr(true);
        let doing = format!("run `{}` in pod {}", command.join(" "), self.pod);
        let pods = self.pods();
        let mut process = self
            .cluster
            .call(&doing, pods.exec(&self.pod, command.to_vec(), &params))
            .await?;
        let status = process.take_status();
        let (mut bytes, mut errors) = (Vec::new(), String::new());
        let (stdout, stderr) = (process.stdout(), process.stderr());
        let read = async {
            tokio::join!(
                async {
                    if let Some(mut out) = stdout {
                        let _ = out.read_to_end(&mut bytes).await;
                    }
                },
                async {
                    if let Some(mut err) = stderr {
                        let _ = err.read_to_string(&mut errors).await;
                    }
                },
            );
        };
        // A record of hours is tens of megabytes; a connection that says nothing for long is another matter.
        if tokio::time::timeout(Duration::from_secs(300), read)
            .await
            .is_err()
        {
            return Ok((Exec::Unknown, Vec::new()));
        }
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        Ok((outcome(status, errors.trim()), bytes))
    }

    /// Removes the Job and all that belongs to it, and waits until it is gone.
    pub async fn remove(&self) -> Result<(), PlatformError> {
        if self.uid.is_empty() {
            return Ok(());
        }
        let jobs: Api<Job> = Api::namespaced(self.cluster.client.clone(), &self.namespace);
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: Some(self.uid.clone()),
            ..Preconditions::default()
        });
        let removed = async {
            match jobs.delete(&self.name, &params).await {
                Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
                other => other.map(drop),
            }
        };
        let doing = format!("remove Job {}", self.name);
        self.cluster.call(&doing, removed).await?;
        let began = Instant::now();
        while self.find().await?.is_some() {
            if began.elapsed() > GONE {
                return Err(PlatformError::Failed(format!(
                    "the pod of Job {} is still there {GONE:?} after its removal",
                    self.name
                )));
            }
            sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }
}

fn container(pod: &v1::Pod) -> Option<&v1::ContainerState> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.first()?.state.as_ref()
}

/// Whether its container runs, or has run.
fn begun(pod: &v1::Pod) -> bool {
    container(pod).is_some_and(|s| s.running.is_some() || s.terminated.is_some())
}

fn exit_code(pod: &v1::Pod) -> Option<i32> {
    Some(container(pod)?.terminated.as_ref()?.exit_code)
}

/// Why it does not run, and whether that is for good.
fn why_not(found: Option<&v1::Pod>, pod: &Pod) -> (String, bool) {
    let Some(found) = found else {
        let text = format!(
            "its Job has made no pod: is there a service account {} (deploy/kubernetes/rbac.yaml makes one)?",
            pod.account
        );
        return (text, true);
    };
    let reason = why_not_ready(found);
    match super::guardian::NO_IMAGE.contains(&reason.as_str()) {
        true => (
            format!("its image {} cannot be had ({reason})", pod.image),
            true,
        ),
        false => (format!("its pod does not start ({reason})"), false),
    }
}
