//! The pods behind the Service as squall knows them, and what each change of one means. Pure: it is told of
//! changes and answers with events for the record.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;

use super::containers;
use super::watch::Change;
use crate::platform::Instance;
use crate::record::{Incident, InstanceEvent, InstanceState, What};
use crate::scenario::{NODE_LABEL as NODE, OWNER_LABEL as OWNER, ZONE_LABEL as ZONE};

/// What makes and replaces a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `ReplicaSet`, `Job`, or `Pod` for one that nothing owns.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// The owner of a pod. A Deployment's ReplicaSet is called like the Deployment and the hash that its pods carry
/// as a label, so that no further call is needed to tell the Deployment.
pub fn owner_of(pod: &Pod) -> Owner {
    let references = pod.metadata.owner_references.iter().flatten();
    let Some(owner) = references.into_iter().find(|r| r.controller == Some(true)) else {
        return Owner {
            kind: "Pod".into(),
            name: pod.metadata.name.clone().unwrap_or_default(),
        };
    };
    let hash = pod
        .metadata
        .labels
        .as_ref()
        .and_then(|l| l.get("pod-template-hash"));
    let deployment = hash
        .filter(|_| owner.kind == "ReplicaSet")
        .and_then(|hash| owner.name.strip_suffix(hash.as_str()))
        .and_then(|name| name.strip_suffix('-'));
    match deployment {
        Some(name) => Owner {
            kind: "Deployment".into(),
            name: name.into(),
        },
        None => Owner {
            kind: owner.kind.clone(),
            name: owner.name.clone(),
        },
    }
}

/// How important the cluster holds a pod to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Priority {
    /// Name of its priority class.
    pub class: Option<String>,
    /// The number.
    pub value: Option<i32>,
}

/// The priority of a pod.
pub fn priority_of(pod: &Pod) -> Priority {
    let spec = pod.spec.as_ref();
    Priority {
        class: spec.and_then(|s| s.priority_class_name.clone()),
        value: spec.and_then(|s| s.priority),
    }
}

/// Whether its Ready condition is true.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|c| c.status == "True")
}

/// Why a pod is not ready, in the cluster's words; for messages.
pub fn why_not_ready(pod: &Pod) -> String {
    let status = pod.status.as_ref();
    // The pod's own containers only wait (`PodInitializing`) while one that comes first does not get on.
    let mut all = containers::init_statuses(pod).chain(containers::statuses(pod));
    let waiting = all.find_map(|c| c.state.as_ref()?.waiting.as_ref()?.reason.clone());
    let scheduled = condition(pod, "PodScheduled").filter(|c| c.status == "False");
    waiting
        .or_else(|| scheduled.and_then(|c| c.message.clone()))
        .or_else(|| status.and_then(|s| s.reason.clone()))
        .unwrap_or_else(|| "its readiness probe does not succeed".into())
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a k8s_openapi::api::core::v1::PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|c| c.type_ == kind)
}

/// A pod as it was when last told of.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its identity: a pod of the same name may come after it.
    pub uid: String,
    /// The place it fills.
    pub slot: String,
    /// What replaces it.
    pub owner: Owner,
    /// Where it runs, once scheduled.
    pub node: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its containers, the one that is meant where none is named first.
    pub containers: Vec<String>,
    /// What the node's runtime calls those that were started, with their names here.
    ids: Vec<(String, String)>,
    /// Its priority, as a class and as the number that the cluster made of it.
    pub priority: Priority,
    /// Its state.
    pub state: InstanceState,
    /// Terminations told already, by container id; waiting reasons, by container and reason.
    told: BTreeSet<String>,
}

/// All pods of the Service.
#[derive(Debug, Default)]
pub struct Pods {
    known: BTreeMap<String, Known>,
}

impl Pods {
    /// A pod by name.
    pub fn get(&self, name: &str) -> Option<&Known> {
        self.known.get(name)
    }

    /// The pod and the name of each container that was started, by what the node's runtime calls it.
    pub fn by_container_id(&self) -> BTreeMap<String, (String, String)> {
        let pods = self.known.iter();
        let all = pods.flat_map(|(pod, known)| {
            let ids = known.ids.iter();
            ids.map(|(id, name)| (id.clone(), (pod.clone(), name.clone())))
        });
        all.collect()
    }

    /// The pods as instances; `zones` are those of the nodes.
    pub fn instances(&self, zones: &BTreeMap<String, String>) -> Vec<Instance> {
        let instance = |(name, pod): (&String, &Known)| {
            let mut labels = pod.labels.clone();
            labels.insert(OWNER.into(), pod.owner.to_string());
            if let Some(node) = &pod.node {
                labels.insert(NODE.into(), node.clone());
                if let Some(zone) = zones.get(node) {
                    labels.insert(ZONE.into(), zone.clone());
                }
            }
            Instance {
                name: name.clone(),
                slot: pod.slot.clone(),
                labels,
                ready: pod.state == InstanceState::Ready,
                alive: !matches!(pod.state, InstanceState::Terminating | InstanceState::Ended),
            }
        };
        self.known.iter().map(instance).collect()
    }

    /// Takes in a change, and says what it means.
    pub fn told(&mut self, change: Change<Pod>) -> Vec<What> {
        match change {
            Change::All(all) => self.relisted(&all),
            Change::Applied(pod) => self.applied(&pod),
            Change::Deleted(pod) => self.deleted(&pod),
        }
    }

    /// The state of all pods, at the beginning or after a gap.
    pub fn relisted(&mut self, pods: &[Pod]) -> Vec<What> {
        let mut events = Vec::new();
        let uids: BTreeSet<&str> = pods
            .iter()
            .filter_map(|p| p.metadata.uid.as_deref())
            .collect();
        let gone: Vec<String> = self
            .known
            .iter()
            .filter(|(_, k)| !uids.contains(k.uid.as_str()))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            events.extend(self.end(&name, Some("gone while the view was lost".into())));
        }
        for pod in pods {
            events.extend(self.applied(pod));
        }
        events
    }

    /// A pod is new or changed.
    pub fn applied(&mut self, pod: &Pod) -> Vec<What> {
        let (Some(name), Some(uid)) = (&pod.metadata.name, &pod.metadata.uid) else {
            return Vec::new();
        };
        let mut events = Vec::new();
        // A StatefulSet's next pod has its predecessor's name.
        if self.known.get(name).is_some_and(|k| &k.uid != uid) {
            events.extend(self.end(name, None));
        }
        let state = state_of(pod);
        let first = !self.known.contains_key(name);
        if first {
            if state == InstanceState::Ended {
                return events;
            }
            let owner = owner_of(pod);
            let known = Known {
                uid: uid.clone(),
                slot: self.free_slot(&owner, name),
                owner,
                node: None,
                labels: pod.metadata.labels.clone().unwrap_or_default(),
                containers: containers::names(pod),
                ids: Vec::new(),
                priority: priority_of(pod),
                state: InstanceState::Started,
                told: BTreeSet::new(),
            };
            events.push(event(name, &known, InstanceState::Started, None));
            self.known.insert(name.clone(), known);
        }
        let Some(known) = self.known.get_mut(name) else {
            return events;
        };
        let node = pod.spec.as_ref().and_then(|s| s.node_name.clone());
        if let Some(node) = node.clone().filter(|_| known.node.is_none()) {
            let instance = name.clone();
            events.push(What::Placed { instance, node });
        }
        known.node = node;
        known.ids = containers::ids(pod);
        known.labels = pod.metadata.labels.clone().unwrap_or_default();
        // What happened before squall looked is not news.
        let incidents = incidents(name, pod, &mut known.told);
        if !first {
            events.extend(incidents);
        }
        if state != known.state
            && (known.state, state) != (InstanceState::Started, InstanceState::NotReady)
        {
            known.state = state;
            let detail = (state == InstanceState::NotReady).then(|| why_not_ready(pod));
            events.push(event(name, known, state, detail));
        }
        if state == InstanceState::Ended {
            self.known.remove(name);
        }
        events
    }

    /// A pod is gone from the cluster.
    pub fn deleted(&mut self, pod: &Pod) -> Vec<What> {
        let (Some(name), Some(uid)) = (&pod.metadata.name, &pod.metadata.uid) else {
            return Vec::new();
        };
        if self.known.get(name).is_some_and(|k| &k.uid == uid) {
            self.end(name, None)
        } else {
            Vec::new()
        }
    }

    fn end(&mut self, name: &str, detail: Option<String>) -> Vec<What> {
        let ended = self.known.remove(name);
        ended
            .map(|known| event(name, &known, InstanceState::Ended, detail))
            .into_iter()
            .collect()
    }

    /// The place a new pod fills: that of one of its owner's that is ending or gone, or a new one.
    fn free_slot(&self, owner: &Owner, name: &str) -> String {
        // These names are places already.
        if owner.kind == "StatefulSet" || owner.kind == "Pod" {
            return name.into();
        }
        let taken: BTreeSet<&str> = self
            .known
            .values()
            .filter(|k| &k.owner == owner && k.state != InstanceState::Terminating)
            .map(|k| k.slot.as_str())
            .collect();
        let slots = (1..).map(|n| format!("{}-{n}", owner.name));
        let mut free = slots.filter(|slot| !taken.contains(slot.as_str()));
        free.next().expect("the slots are endless")
    }
}

fn event(name: &str, known: &Known, state: InstanceState, detail: Option<String>) -> What {
    What::Instance(InstanceEvent {
        name: name.into(),
        slot: known.slot.clone(),
        state,
        detail,
    })
}

fn state_of(pod: &Pod) -> InstanceState {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    if matches!(phase, Some("Failed" | "Succeeded")) {
        InstanceState::Ended
    } else if pod.metadata.deletion_timestamp.is_some() {
        InstanceState::Terminating
    } else if is_ready(pod) {
        InstanceState::Ready
    } else {
        InstanceState::NotReady
    }
}

/// What befell the pod that was not told yet.
fn incidents(name: &str, pod: &Pod, told: &mut BTreeSet<String>) -> Vec<What> {
    let mut found = Vec::new();
    let mut tell = |key: String, incident, detail: String| {
        if told.insert(key) {
            found.push(What::Incident {
                incident,
                instance: name.into(),
                detail,
            });
        }
    };
    let status = pod.status.as_ref();
    if let Some("Evicted") = status.and_then(|s| s.reason.as_deref()) {
        let message = status.and_then(|s| s.message.clone());
        tell(
            "evicted".into(),
            Incident::Evicted,
            message.unwrap_or_default(),
        );
    }
    if let Some(c) = condition(pod, "DisruptionTarget").filter(|c| c.status == "True") {
        let detail = c.message.clone().unwrap_or_default();
        tell("evicted".into(), Incident::Evicted, detail);
    }
    let unscheduled = condition(pod, "PodScheduled")
        .filter(|c| c.status == "False" && c.reason.as_deref() == Some("Unschedulable"));
    if let Some(c) = unscheduled {
        let detail = c.message.clone().unwrap_or_default();
        tell("unschedulable".into(), Incident::Unschedulable, detail);
    }
    // A container that ends because its pod was told to is no incident.
    let ending = pod.metadata.deletion_timestamp.is_some();
    for (key, incident, detail) in containers::incidents(pod) {
        if !ending || incident == Incident::OomKilled {
            tell(key, incident, detail);
        }
    }
    found
}

#[cfg(test)]
mod tests;
