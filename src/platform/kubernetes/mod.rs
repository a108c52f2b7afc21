//! A Kubernetes cluster: traffic goes through a Service, faults go through the API, and what the cluster does is
//! told to the record.
//!
//! Instances are the pods behind the Service. Faults that hit something else (a node, a workload) hit that of the
//! chosen pod. Nothing here needs an agent or more rights than `permissions` lists.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::task::JoinSet;

use self::change::Place;
use self::faults::Faults;
use self::forward::Forward;
use self::guardian::Guardian;
use self::lease::{Lease, Lost};
use self::owned::{Kind, RunOwner};
use self::permissions::Permission;
use self::stress::Sessions;
use self::target::{Found, Way};
use self::view::View;
use super::{Change, Endpoint, Instance, Platform, PlatformError, Rollouts, Undo};
use crate::record::{Level, Sink};
use crate::scenario::{FaultKind, KubernetesTarget, Reach};

pub mod api;
mod change;
mod exec;
mod faults;
mod forward;
mod guard;
pub mod guardian;
mod lazy;
mod lease;
mod leftover;
mod node;
mod observe;
pub mod owned;
mod partition;
pub mod permissions;
pub mod pods;
pub mod runner;
mod signal;
mod stress;
mod survey;
pub mod target;
mod view;
mod watch;
mod workloads;

pub use api::Cluster;
pub use change::UNDO as UNDO_ANNOTATION;
pub use guard::Limits;
pub use lazy::Unconnected;
pub use node::run as run_command;
pub use pods::owner_of;
pub use survey::survey;

/// The first lists of pods and endpoints are there within this.
const LISTED: Duration = Duration::from_secs(20);

/// What a run asks of the platform.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Name of the run: who holds the target, for other runs.
    pub run: String,
    /// The faults it may make.
    pub faults: Vec<FaultKind>,
    /// What it may break.
    pub limits: Limits,
    /// The scenario's folder, where its commands are run.
    pub base_dir: PathBuf,
}

/// A Service of a cluster as the system under test.
pub struct KubernetesPlatform {
    target: KubernetesTarget,
    cluster: Cluster,
    found: Found,
    faults: Faults,
    /// Who undoes what this run has changed, should it be killed.
    guardian: Option<Guardian>,
    calls: Vec<Permission>,
    left_out: Vec<Permission>,
    run: String,
    sink: Sink,
    running: Mutex<Running>,
}

/// What lives from start to stop.
#[derive(Default)]
struct Running {
    watches: Option<JoinSet<()>>,
    forward: Option<Forward>,
    lease: Option<Arc<Lease>>,
    guarded: bool,
    /// Undos of changes that were refused: nothing is to be taken back.
    not_made: HashSet<Undo>,
}

impl KubernetesPlatform {
    /// Connects to the cluster, finds the Service with its pods, and asks whether all that the faults need is
    /// allowed; changes nothing.
    pub async fn connect(
        target: &KubernetesTarget,
        asked: &Asked,
        sink: Sink,
    ) -> Result<Self, PlatformError> {
        let faults = &asked.faults;
        if let Some(fault) = faults.iter().find(|f| !permissions::supports(f)) {
            return Err(PlatformError::Unsupported(format!(
                "a {} cannot be done in a Kubernetes cluster",
                fault.name()
            )));
        }
        let cluster = Cluster::of(target).await?;
        let found = target::find(&cluster, target).await?;
        if !faults.is_empty() {
            let allowed = asked.limits.namespace(&found.namespace);
            allowed.map_err(PlatformError::Unsupported)?;
        }
        let mut calls = permissions::needed(target.reach, faults);
        let guardian = match faults.is_empty() {
            true => None,
            false => Guardian::of(&cluster, target).await,
        };
        calls.extend(guardian.iter().map(|_| permissions::guardian()));
        let denied = permissions::denied(&cluster, &found.namespace, &calls).await?;
        let (missing, left_out): (Vec<_>, Vec<_>) = denied.into_iter().partition(|p| p.required);
        if !missing.is_empty() {
            let missing = missing.iter().map(ToString::to_string).collect::<Vec<_>>();
            return Err(PlatformError::Unreachable(format!(
                "context {} is not allowed in namespace {} to: {}. Grant it; deploy/kubernetes/rbac.yaml holds all \
                 that a run may need",
                cluster.context,
                found.namespace,
                missing.join(", ")
            )));
        }
        let faults = Faults {
            sink: sink.clone(),
            base_dir: asked.base_dir.clone(),
            port: found.pod_port.as_ref().map(|(_, port)| *port),
            sessions: Sessions::default(),
            cluster: cluster.clone(),
            owner: RunOwner::default(),
            namespace: found.namespace.clone(),
            view: View::default(),
            limits: asked.limits.clone(),
            lost: Lost::default(),
        };
        if let Some((pod, _)) = &found.pod_port {
            for fault in &asked.faults {
                faults.can_stress(pod, fault).await?;
            }
        }
        Ok(Self {
            target: target.clone(),
            cluster,
            found,
            faults,
            guardian,
            calls,
            left_out,
            run: asked.run.clone(),
            sink,
            running: Mutex::default(),
        })
    }

    /// The cluster it is connected to.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Where it is said what object stands for the run: all that is created later belongs to that.
    pub fn run_owner(&self) -> &RunOwner {
        &self.faults.owner
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps other runs off the target; a run without faults does without where it may not.
    async fn take_lease(&self) -> Result<(), PlatformError> {
        if self.left_out.iter().any(|p| p.resource == "leases") {
            let text = "other runs on this target are not kept off: leases are not allowed here";
            self.sink.note(Level::Warning, text);
            return Ok(());
        }
        let Found {
            namespace, service, ..
        } = &self.found;
        let lost = self.faults.lost.clone();
        let lease = Lease::take(
            &self.cluster,
            namespace,
            service,
            &self.run,
            lost,
            &self.sink,
        );
        let lease = Arc::new(lease.await?);
        self.faults.owner.set(lease.owner().await);
        self.running().lease = Some(lease.clone());
        match &self.guardian {
            Some(guardian) => {
                let owner = &self.faults.owner;
                let started = guardian.start(&self.cluster, owner, namespace, &lease, &self.calls);
                started.await?;
                self.running().guarded = true;
                let text = "the guardian watches this run: it undoes what is changed, should squall be killed";
                self.sink.note(Level::Info, text);
            }
            None => {
                if let Some(text) = self.unguarded() {
                    self.sink.note(Level::Warning, text);
                }
            }
        }
        Ok(())
    }

    /// What is not protected without a guardian.
    fn unguarded(&self) -> Option<String> {
        let undone = permissions::undone_by_guardian(&self.calls);
        (self.guardian.is_none() && undone).then(|| {
            "no guardian (target.kubernetes.guardian.image names no image): if squall is killed, what it has changed in \
             the cluster stays until `squall undo` or the next run on this target"
                .to_string()
        })
    }

    /// The Lease, while it is held.
    fn lease(&self) -> Option<Arc<Lease>> {
        self.running().lease.clone()
    }

    /// The way that works from here, or the port-forward where that may be.
    async fn reach(&self) -> Result<Endpoint, PlatformError> {
        let pods = format!(
            "Service {}/{} with {} ready pods",
            self.found.namespace, self.found.service, self.found.ready
        );
        if self.target.reach != Reach::PortForward
            && let Some(way) = target::probe(&self.found.ways).await
        {
            return Ok(Endpoint {
                base_url: way.base_url(),
                describe: format!("{pods}, by its {}", way.reach.name()),
            });
        }
        if !matches!(self.target.reach, Reach::Auto | Reach::PortForward) {
            return Err(PlatformError::Unreachable(self.no_way()));
        }
        let Some((pod, port)) = self.found.pod_port.clone() else {
            return Err(PlatformError::Unreachable(format!(
                "no ready pod of Service {} has the port that it leads to ({})",
                self.found.service, self.found.port
            )));
        };
        let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), &self.found.namespace);
        let view = self.faults.view.pods.clone();
        let forward = Forward::start(api, view, pod.clone(), port, self.sink.clone()).await?;
        let address = forward.address;
        self.running().forward = Some(forward);
        let text = format!(
            "traffic goes by a port-forward to the one pod {pod}: nothing is balanced, the API server carries it all, \
             and balance cannot be judged"
        );
        self.sink.note(Level::Warning, &text);
        Ok(Endpoint {
            base_url: format!("{}://{address}", self.target.scheme),
            describe: format!("{pods}; {text}"),
        })
    }

    fn no_way(&self) -> String {
        let tried = self
            .found
            .ways
            .iter()
            .map(Way::base_url)
            .collect::<Vec<_>>();
        let tried = match tried.as_slice() {
            [] => "the Service has no such address".to_string(),
            tried => format!("no TCP connection to {}", tried.join(", ")),
        };
        format!(
            "Service {} cannot be reached by its {} from here: {tried}. Other ways: `reach: port-forward`, or run \
             inside the cluster",
            self.found.service,
            self.target.reach.name()
        )
    }
}

#[async_trait]
impl Platform for KubernetesPlatform {
    fn plan(&self) -> Result<Vec<String>, PlatformError> {
        let Found {
            namespace,
            service,
            port,
            selector,
            ready,
            pods,
            ..
        } = &self.found;
        let ways = self
            .found
            .ways
            .iter()
            .map(|w| format!("{} ({})", w.base_url(), w.reach.name()));
        let mut ways = ways.collect::<Vec<_>>();
        if matches!(self.target.reach, Reach::Auto | Reach::PortForward) {
            ways.push("a port-forward to one pod".into());
        }
        let mut plan = vec![
            format!(
                "cluster: Kubernetes {} at {} (context {})",
                self.cluster.version, self.cluster.server, self.cluster.context
            ),
            format!(
                "target: Service {namespace}/{service}, port {port}: {ready} of {pods} pods ready ({selector})"
            ),
            format!(
                "reach: the first that takes a connection of {}",
                ways.join(", ")
            ),
        ];
        let calls = self.calls.iter().filter(|p| !self.left_out.contains(p));
        plan.extend(calls.map(|p| format!("allowed call: {p}")));
        plan.extend(self.guardian.iter().map(|g| {
            format!(
                "guardian: a Job with image {} as service account {namespace}/{} undoes what is changed, should squall \
                 be killed",
                g.image, g.account
            )
        }));
        plan.extend(self.unguarded());
        let left_out = self.left_out.iter();
        plan.extend(left_out.map(|p| format!("not allowed, done without: {p}")));
        Ok(plan)
    }

    async fn start(&self) -> Result<Endpoint, PlatformError> {
        self.take_lease().await?;
        let (watches, mut listed) =
            observe::observe(&self.cluster, &self.found, &self.faults.view, &self.sink);
        self.running().watches = Some(watches);
        let seen = listed.wait_for(|seen| seen.0 && seen.1);
        match tokio::time::timeout(LISTED, seen).await {
            Ok(Ok(_)) => {}
            _ => {
                return Err(PlatformError::Unreachable(format!(
                    "the pods and endpoints of Service {} could not be listed in {LISTED:?}",
                    self.found.service
                )));
            }
        }
        self.reach().await
    }

    fn instances(&self) -> Vec<Instance> {
        let view = &self.faults.view;
        let zones = view.zones().clone();
        view.pods().instances(&zones)
    }

    fn rollouts(&self) -> Rollouts {
        self.faults.view.workloads().rollouts()
    }

    fn undo_of(&self, change: &Change) -> Result<Option<Undo>, PlatformError> {
        self.faults.undo_of(change)
    }

    async fn apply(&self, change: &Change) -> Result<(), PlatformError> {
        // In the cluster before it is done, as in the ledger on disk: whoever is left can take it back.
        let lease = self.lease();
        if let Some(lease) = &lease
            && let Some(undo) = self.faults.undo_of(change)?.filter(in_cluster)
        {
            self.running().not_made.remove(&undo);
            let new = lease.note(&undo).await?;
            let made = self.faults.apply(change).await;
            // Refused means untouched: what is there is another run's, and an undo of ours would take it back.
            if new && matches!(made, Err(PlatformError::Refused(_))) {
                lease.settled(&undo);
                self.running().not_made.insert(undo);
            }
            return made;
        }
        self.faults.apply(change).await
    }

    async fn undo(&self, undo: &Undo) -> Result<(), PlatformError> {
        if self.running().not_made.remove(undo) {
            return Ok(());
        }
        match undo {
            Undo::RestoreRoute { instance, fault } => self.faults.let_go(fault, instance).await,
            _ => self::undo(&self.cluster, undo).await,
        }?;
        if let Some(lease) = self.lease() {
            lease.settled(undo);
        }
        Ok(())
    }

    async fn stop(&self) -> Result<(), PlatformError> {
        let Running {
            watches,
            forward,
            lease,
            guarded,
            ..
        } = std::mem::take(&mut *self.running());
        drop(forward);
        if let Some(lease) = lease {
            lease.release(guarded, &self.sink).await;
        }
        if let Some(mut watches) = watches {
            watches.shutdown().await;
        }
        Ok(())
    }
}

/// Takes a change of a run that is over back: finds the context that leads to the cluster it was made in.
pub async fn undo_detached(change: &Undo) -> Result<(), PlatformError> {
    let (Undo::Restore { cluster, .. } | Undo::Remove { cluster, .. }) = change else {
        return Err(PlatformError::Failed("not of a Kubernetes cluster".into()));
    };
    let cluster = Cluster::at(cluster).await?;
    undo(&cluster, change).await
}

/// Whether it is the cluster that must be changed back, so that anybody in the cluster can do it.
fn in_cluster(undo: &Undo) -> bool {
    matches!(undo, Undo::Restore { .. } | Undo::Remove { .. })
}

/// An undo is of the cluster that its change was made in.
fn is_in(cluster: &Cluster, server: &str, kind: &str, name: &str) -> Result<(), PlatformError> {
    if server == cluster.server {
        return Ok(());
    }
    Err(PlatformError::Failed(format!(
        "{kind} {name} is in the cluster at {server}, and context {} leads to {}",
        cluster.context, cluster.server
    )))
}

/// Takes a change back; works without the Service, for a ledger whose run is over.
pub async fn undo(cluster: &Cluster, undo: &Undo) -> Result<(), PlatformError> {
    if let Undo::Restore {
        cluster: server,
        kind,
        name,
        ..
    }
    | Undo::Remove {
        cluster: server,
        kind,
        name,
        ..
    } = undo
    {
        is_in(cluster, server, kind, name)?;
    }
    take_back(cluster, undo).await
}

/// Takes a change in this cluster back. From inside, a cluster's address is another than from outside: who knows that
/// it is the same one may do without the check.
async fn take_back(cluster: &Cluster, undo: &Undo) -> Result<(), PlatformError> {
    match undo {
        Undo::Restore {
            kind,
            namespace,
            name,
            ..
        } => {
            let place = Place {
                kind: kind.clone(),
                namespace: namespace.clone(),
                name: name.clone(),
            };
            change::restore(cluster, &place).await
        }
        Undo::Remove {
            api_version,
            kind,
            plural,
            namespace,
            name,
            marked,
            ..
        } => {
            if let Some(pod) = marked {
                let place = Place {
                    kind: "Pod".into(),
                    namespace: Some(namespace.clone()),
                    name: pod.clone(),
                };
                change::restore(cluster, &place).await?;
            }
            let kind = Kind {
                api_version: api_version.clone(),
                kind: kind.clone(),
                plural: plural.clone(),
            };
            owned::remove(cluster, &kind, (namespace, name)).await
        }
        Undo::Run { command, dir, .. } => node::run(command, dir).await,
        other => Err(PlatformError::Failed(format!(
            "not of a Kubernetes cluster: {}",
            other.instance()
        ))),
    }
}
