//! A Kubernetes cluster: traffic goes through a Service, faults go through the API, and what the cluster does is
//! told to the record.
//!
//! Instances are the pods behind the Service. Faults that hit something else (a node, a workload) hit that of the
//! chosen pod. Nothing here needs an agent or more rights than `permissions` lists.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;

use self::faults::Faults;
use self::forward::Forward;
use self::guardian::Guardian;
use self::lease::Lease;
use self::owned::RunOwner;
use self::permissions::Permission;
use self::target::Found;
use self::undo::in_cluster;
use super::{Change, Endpoint, Instance, Platform, PlatformError, Rollouts, Surroundings, Undo};
use crate::record::{Level, Sink};
use crate::scenario::{FaultKind, KubernetesTarget, NAMESPACE_LABEL, Reach};

pub mod api;
mod autoscaler;
mod change;
mod chaos_mesh;
mod connect;
mod containers;
mod drain;
mod emptied;
mod evict;
mod exec;
mod faults;
mod forward;
mod guard;
pub mod guardian;
mod kubelets;
mod lazy;
mod lease;
mod leftover;
mod node;
mod observe;
mod own;
pub mod owned;
mod partition;
pub mod permissions;
pub mod pods;
mod reach;
pub mod runner;
mod signal;
mod stress;
mod survey;
pub mod target;
mod undo;
pub mod usage;
mod view;
mod watch;
mod workloads;

pub use api::Cluster;
pub use change::UNDO as UNDO_ANNOTATION;
pub(crate) use containers::lasting;
pub use guard::Limits;
pub use lazy::Unconnected;
pub use node::run as run_command;
pub use pods::owner_of;
pub use survey::survey;
pub use undo::{undo, undo_detached};

/// The first lists of pods and endpoints are there within this.
const LISTED: Duration = Duration::from_secs(20);

/// What a run asks of the platform.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Name of the run: who holds the target, for other runs.
    pub run: String,
    /// The faults it may make to the target.
    pub faults: Vec<FaultKind>,
    /// Those it may make in other namespaces.
    pub elsewhere: BTreeMap<String, Vec<FaultKind>>,
    /// What it may break.
    pub limits: Limits,
    /// The autoscalers that are judged: who leads the cluster's controllers is watched then.
    pub autoscalers: Vec<String>,
    /// Whether it is judged what pods use: throttling is looked for then.
    pub usage: bool,
    /// The scenario's folder, where its commands are run.
    pub base_dir: PathBuf,
}

/// A Service of a cluster as the system under test.
pub struct KubernetesPlatform {
    target: KubernetesTarget,
    cluster: Cluster,
    found: Found,
    faults: Faults,
    /// The same for each other namespace in which faults are made.
    elsewhere: BTreeMap<String, Faults>,
    /// Who undoes what this run has changed, should it be killed.
    guardian: Option<Guardian>,
    calls: Vec<Permission>,
    left_out: Vec<Permission>,
    run: String,
    autoscaler: bool,
    /// What is asked of the kubelets.
    kubelets: Option<kubelets::Wanted>,
    sink: Sink,
    running: Mutex<Running>,
}

/// What lives from start to stop.
#[derive(Default)]
struct Running {
    watches: Option<JoinSet<()>>,
    forward: Option<Forward>,
    /// The node that all traffic comes over.
    enters: Option<String>,
    lease: Option<Arc<Lease>>,
    guarded: bool,
    /// Undos of changes that were refused: nothing is to be taken back.
    not_made: HashSet<Undo>,
    /// The uid of each instance when it was last chosen: a pod of its name may come after it.
    chosen: BTreeMap<String, String>,
}

impl KubernetesPlatform {
    /// The cluster it is connected to.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Where it is said what object stands for the run: all that is created later belongs to that.
    pub fn run_owner(&self) -> &RunOwner {
        &self.faults.owner
    }

    /// Where an instance of this name is broken, and what it is called there.
    fn faults_of<'a>(&self, instance: &'a str) -> (&Faults, &'a str) {
        let foreign = instance.split_once('/');
        let known =
            foreign.and_then(|(namespace, pod)| Some((self.elsewhere.get(namespace)?, pod)));
        known.unwrap_or((&self.faults, instance))
    }

    /// What undoing the change takes.
    fn undo_for(&self, change: &Change) -> Result<Option<Undo>, PlatformError> {
        let (faults, name) = self.faults_of(&change.instance);
        let undo = faults.undo_of(&there(change, name))?;
        Ok(undo.map(|undo| match undo {
            // The run itself must find it again.
            Undo::RestoreRoute { fault, .. } => Undo::RestoreRoute {
                instance: change.instance.clone(),
                fault,
            },
            undo => undo,
        }))
    }

    /// The uid of the pod that an instance is now.
    fn uid_of(&self, instance: &str) -> Option<String> {
        let (faults, name) = self.faults_of(instance);
        faults.view.pods().get(name).map(|known| known.uid.clone())
    }

    /// Whether the instance is still the pod that was chosen, not its successor by name.
    fn still_is(&self, instance: &str) -> Result<(), PlatformError> {
        let chosen = self.running().chosen.get(instance).cloned();
        match (chosen, self.uid_of(instance)) {
            (Some(chosen), Some(now)) if chosen != now => Err(PlatformError::Failed(format!(
                "pod {instance} was replaced by another of its name: nothing was done"
            ))),
            _ => Ok(()),
        }
    }

    async fn make(&self, change: &Change) -> Result<(), PlatformError> {
        let (faults, name) = self.faults_of(&change.instance);
        faults.apply(&there(change, name)).await
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps other runs off the target; a run without faults does without where it may not.
    async fn take_lease(&self) -> Result<(), PlatformError> {
        if self
            .left_out
            .iter()
            .any(|p| p.resource == "leases" && p.namespaced)
        {
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
}

/// The change, with the instance by the name that it has in its namespace.
fn there(change: &Change, name: &str) -> Change {
    Change {
        kind: change.kind.clone(),
        instance: name.into(),
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
        let (mut watches, mut listed) =
            observe::observe(&self.cluster, &self.found, &self.faults.view, &self.sink);
        for (namespace, faults) in &self.elsewhere {
            observe::elsewhere(
                &mut watches,
                &self.cluster,
                namespace,
                &faults.view,
                &self.sink,
            );
        }
        self.watch_usage(&mut watches);
        if self.autoscaler {
            watches.spawn(usage::leader(self.cluster.clone(), self.sink.clone()));
        }
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
        let mut all = view.pods().instances(&zones);
        for (namespace, faults) in &self.elsewhere {
            let foreign = faults.view.pods().instances(&zones);
            all.extend(foreign.into_iter().map(|mut instance| {
                instance.name = format!("{namespace}/{}", instance.name);
                instance.slot = format!("{namespace}/{}", instance.slot);
                let label = (NAMESPACE_LABEL.into(), namespace.clone());
                instance.labels.extend([label]);
                instance
            }));
        }
        all
    }

    fn surroundings(&self) -> Surroundings {
        let view = &self.faults.view;
        Surroundings {
            nodes_not_ready: view.nodes_not_ready(),
            others_degraded: view.workloads().others_degraded(),
            unseen: view.unseen(),
            lost: self.faults.lost.get().cloned(),
        }
    }

    fn rollouts(&self) -> Rollouts {
        self.faults.view.workloads().rollouts()
    }

    fn taken_by_rollout(&self, instance: &str) -> Option<usize> {
        let (faults, name) = self.faults_of(instance);
        let owner = faults.view.pods().get(name)?.owner.clone();
        faults.view.workloads().taken_by_rollout(&owner)
    }

    fn undo_of(&self, change: &Change) -> Result<Option<Undo>, PlatformError> {
        self.keeps_way(change)?;
        let undo = self.undo_for(change)?;
        if let Some(uid) = self.uid_of(&change.instance) {
            let chosen = (change.instance.clone(), uid);
            self.running().chosen.extend([chosen]);
        }
        Ok(undo)
    }

    async fn apply(&self, change: &Change) -> Result<(), PlatformError> {
        self.still_is(&change.instance)?;
        // In the cluster before it is done, as in the ledger on disk: whoever is left can take it back.
        let lease = self.lease();
        if let Some(lease) = &lease
            && let Some(undo) = self.undo_for(change)?.filter(in_cluster)
        {
            self.running().not_made.remove(&undo);
            let new = lease.note(&undo).await?;
            let made = self.make(change).await;
            // Refused means untouched: what is there is another run's, and an undo of ours would take it back.
            if new && matches!(made, Err(PlatformError::Refused(_))) {
                lease.settled(&undo);
                self.running().not_made.insert(undo);
            }
            return made;
        }
        self.make(change).await
    }

    async fn undo(&self, undo: &Undo) -> Result<(), PlatformError> {
        if self.running().not_made.remove(undo) {
            return Ok(());
        }
        match undo {
            Undo::RestoreRoute { instance, fault } => {
                let (faults, name) = self.faults_of(instance);
                faults.let_go(fault, name).await?;
            }
            _ => {
                chaos_mesh::note_if_over(&self.cluster, &self.sink, undo).await;
                if let Some(text) = undo::undo(&self.cluster, undo).await? {
                    self.sink.note(Level::Warning, text);
                }
            }
        }
        self.faults.emptied.is_back(undo);
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
