//! The faults, by the API alone. Each is one function; which pod it hits was decided elsewhere.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::api::Cluster;
use super::change::{InPlace, Place, make};
use super::chaos_mesh;
use super::emptied::Emptied;
use super::evict::{replaced, takes_pod};
use super::guard::{Candidate, Limits};
use super::lease::Lost;
use super::node::for_node;
use super::owned::{Kind, RunOwner};
use super::partition::{Cut, policy_kind, policy_name};
use super::pods::Owner;
use super::stress::Sessions;
use super::view::{STALE, View};
use crate::platform::{Change, PlatformError, Undo};
use crate::record::Sink;
use crate::scenario::FaultKind;

/// Makes changes to the pods of one namespace.
#[derive(Debug, Clone)]
pub struct Faults {
    /// Who is told what is found out on the way.
    pub sink: Sink,
    /// Where the scenario's commands are run.
    pub base_dir: PathBuf,
    /// The port at which the pods behind the Service listen, where it is known.
    pub port: Option<u16>,
    /// The nodes that are emptied or taken away.
    pub(super) emptied: Emptied,
    /// The stresses in force.
    pub(super) sessions: Sessions,
    /// The cluster.
    pub cluster: Cluster,
    /// Whose is what it creates.
    pub owner: RunOwner,
    /// The namespace.
    pub namespace: String,
    /// What is known of the pods.
    pub view: View,
    /// What may be broken.
    pub limits: Limits,
    /// Filled once the run has lost its target to another.
    pub lost: Lost,
}

/// The pod meant: its name may belong to another by the time of the call, its uid does not.
pub(super) struct Victim {
    pub(super) name: String,
    pub(super) uid: String,
    owner: Owner,
    node: Option<String>,
    pub(super) containers: Vec<String>,
}

impl Faults {
    /// What undoing the change takes.
    pub fn undo_of(&self, change: &Change) -> Result<Option<Undo>, PlatformError> {
        let Some(place) = self.place_of(change)? else {
            return self.undo_of_own(change);
        };
        // A restart by rollout is over by itself: nothing of it is to be put back.
        if change.kind == FaultKind::RolloutRestart {
            return Ok(None);
        }
        Ok(Some(Undo::Restore {
            cluster: self.cluster.server.clone(),
            kind: place.kind,
            namespace: place.namespace,
            name: place.name,
        }))
    }

    /// Removes an object of the run's own, and puts back the pod that it has marked.
    pub(super) fn removal(&self, kind: Kind, name: String, marked: Option<String>) -> Undo {
        Undo::Remove {
            cluster: self.cluster.server.clone(),
            api_version: kind.api_version,
            kind: kind.kind,
            plural: kind.plural,
            namespace: self.namespace.clone(),
            name,
            marked,
        }
    }

    /// What takes back a fault that changes no object in place.
    fn undo_of_own(&self, change: &Change) -> Result<Option<Undo>, PlatformError> {
        let victim = self.victim(&change.instance)?;
        if takes_pod(&change.kind) {
            replaced(&victim.owner, &victim.name).map_err(PlatformError::Refused)?;
        }
        if let Some(undo) = self.undo_of_chaos(&change.kind, &victim) {
            return Ok(Some(undo));
        }
        Ok(match &change.kind {
            FaultKind::CpuStress { .. } | FaultKind::MemoryStress { .. } => {
                Some(Undo::RestoreRoute {
                    instance: victim.name,
                    fault: change.kind.name().into(),
                })
            }
            FaultKind::Partition { .. } => {
                let name = policy_name(&victim.uid);
                Some(self.removal(policy_kind(), name, Some(victim.name)))
            }
            FaultKind::NodeLoss { up, .. } => {
                let node = victim.node()?;
                Some(Undo::Run {
                    command: for_node(up, node),
                    dir: self.base_dir.clone(),
                    node: node.into(),
                })
            }
            _ => None,
        })
    }

    /// The object that a fault changes in place.
    fn place_of(&self, change: &Change) -> Result<Option<Place>, PlatformError> {
        let victim = self.victim(&change.instance)?;
        Ok(match change.kind {
            FaultKind::Cordon | FaultKind::Drain { .. } => Some(Place {
                kind: "Node".into(),
                namespace: None,
                name: victim.node()?.into(),
            }),
            FaultKind::Scale { .. } | FaultKind::RolloutRestart | FaultKind::BadRollout { .. } => {
                Some(Place {
                    kind: victim.owner.kind.clone(),
                    namespace: Some(self.namespace.clone()),
                    name: victim.owner.name.clone(),
                })
            }
            _ => None,
        })
    }

    /// Makes the change.
    pub async fn apply(&self, change: &Change) -> Result<(), PlatformError> {
        let victim = self.victim(&change.instance)?;
        if let Some(kind) = chaos_mesh::kind_of(&change.kind) {
            return self.hand_over(&victim, &change.kind, &kind).await;
        }
        let place = self.place_of(change)?;
        match (&change.kind, place) {
            (FaultKind::PodKill { grace }, _) => self.kill(&victim, *grace).await,
            (FaultKind::Evict { deadline }, _) => {
                self.evict(&victim.name, &victim.uid, *deadline).await
            }
            (FaultKind::ContainerKill { container, signal }, _) => {
                self.signal(&victim, container.as_deref(), signal).await
            }
            (FaultKind::Cordon, Some(node)) => make(&self.cluster, &node, cordon).await,
            (FaultKind::Drain { deadline }, Some(node)) => self.drain(&node, *deadline).await,
            (FaultKind::Scale { replicas }, Some(workload)) => {
                make(&self.cluster, &workload, |object| scale(object, *replicas)).await
            }
            (FaultKind::RolloutRestart, Some(workload)) => self.restart(&workload).await,
            (FaultKind::BadRollout { image }, Some(workload)) => {
                make(&self.cluster, &workload, |object| {
                    change_image(object, image)
                })
                .await
            }
            (kind @ (FaultKind::CpuStress { .. } | FaultKind::MemoryStress { .. }), _) => {
                self.stress(&victim, kind).await
            }
            (
                FaultKind::Partition {
                    direction,
                    from,
                    to,
                },
                _,
            ) => {
                let direction = *direction;
                self.partition(
                    &victim,
                    Cut {
                        direction,
                        from,
                        to,
                    },
                )
                .await
            }
            (FaultKind::NodeLoss { down, .. }, _) => {
                let node = victim.node()?;
                self.limits.loss_of(node).map_err(PlatformError::Refused)?;
                self.begin_to_empty(node).await?;
                super::node::run(&for_node(down, node), &self.base_dir).await
            }
            (kind, _) => Err(PlatformError::Unsupported(format!(
                "a {} cannot be done in a Kubernetes cluster",
                kind.name()
            ))),
        }
    }

    /// The pod as it is now, if it may be broken now.
    fn victim(&self, name: &str) -> Result<Victim, PlatformError> {
        if let Some(why) = self.lost.get() {
            return Err(PlatformError::Refused(why.clone()));
        }
        if let Some(lost) = self.view.sight.lost_for().filter(|lost| *lost > STALE) {
            return Err(PlatformError::Unreachable(format!(
                "the pods have not been seen for {} s, so whom it would hit, and who would be left, is not known: \
                 nothing was done",
                lost.as_secs()
            )));
        }
        let mut unseen = self.view.unseen().into_iter();
        if let Some((what, lost)) = unseen.find(|(what, _)| self.limits.looks_at.contains(what)) {
            return Err(PlatformError::Unreachable(format!(
                "`abort-when` looks at {what}, which the cluster does not show for {} s now: nothing was done",
                lost.as_secs()
            )));
        }
        let pods = self.view.pods();
        let known = pods.get(name).ok_or_else(|| {
            PlatformError::Failed(format!("pod {name} is gone: nothing was done"))
        })?;
        let owner_labels = self.view.workloads().labels(&known.owner);
        let allowed = self.limits.pod(Candidate {
            namespace: &self.namespace,
            name,
            priority: &known.priority,
            labels: &known.labels,
            owner_labels: owner_labels.as_ref(),
        });
        allowed.map_err(PlatformError::Refused)?;
        Ok(Victim {
            name: name.into(),
            uid: known.uid.clone(),
            owner: known.owner.clone(),
            node: known.node.clone(),
            containers: known.containers.clone(),
        })
    }

    pub(super) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client.clone(), &self.namespace)
    }

    async fn restart(&self, workload: &Place) -> Result<(), PlatformError> {
        let now = jiff::Timestamp::now().to_string();
        // Kept by the workload for good, as `kubectl rollout restart` leaves it; so it goes past `make`.
        let patch = json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}}});
        super::change::patch(
            &self.cluster,
            workload,
            &format!("restart {workload}"),
            &patch,
        )
        .await
    }
}

impl Victim {
    fn node(&self) -> Result<&str, PlatformError> {
        self.node
            .as_deref()
            .ok_or_else(|| PlatformError::Failed(format!("pod {} is not on a node yet", self.name)))
    }
}

pub(super) fn cordon(node: &DynamicObject) -> Result<InPlace, String> {
    if node.data.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        return Err(format!("node {name} is cordoned already: nothing was done"));
    }
    Ok(InPlace {
        apply: json!({"spec": {"unschedulable": true}}),
        restore: json!({"spec": {"unschedulable": null}}),
    })
}

fn scale(workload: &DynamicObject, replicas: u32) -> Result<InPlace, String> {
    let old = workload
        .data
        .pointer("/spec/replicas")
        .cloned()
        .unwrap_or(json!(1));
    Ok(InPlace {
        apply: json!({"spec": {"replicas": replicas}}),
        restore: json!({"spec": {"replicas": old}}),
    })
}

fn change_image(workload: &DynamicObject, image: &str) -> Result<InPlace, String> {
    let first = workload.data.pointer("/spec/template/spec/containers/0");
    let text = |field| first.and_then(|c| c.get(field)).and_then(Value::as_str);
    let (Some(name), Some(old)) = (text("name"), text("image")) else {
        return Err("its template has no container with an image".into());
    };
    let with = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": name, "image": image}]}}}});
    Ok(InPlace {
        apply: with(image),
        restore: with(old),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> DynamicObject {
        let mut whole =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "front"}});
        whole["spec"] = value;
        serde_json::from_value(whole).expect("an object")
    }

    #[test]
    fn changes_restore_what_was_there() {
        let change = scale(&object(json!({"replicas": 4})), 0).unwrap();
        assert_eq!(change.restore, json!({"spec": {"replicas": 4}}));
        let containers = json!({"template": {"spec": {"containers": [{"name": "shop", "image": "a:1"}, {"name": "log", "image": "b"}]}}});
        let change = change_image(&object(containers), "a:none").unwrap();
        assert_eq!(
            change
                .apply
                .pointer("/spec/template/spec/containers/0/image"),
            Some(&json!("a:none"))
        );
        assert_eq!(
            change.restore.pointer("/spec/template/spec/containers"),
            Some(&json!([{"name": "shop", "image": "a:1"}]))
        );
        assert!(change_image(&object(json!({})), "x").is_err());
        assert!(cordon(&object(json!({"unschedulable": true}))).is_err());
        assert!(cordon(&object(json!({"unschedulable": false}))).is_ok());
    }
}
