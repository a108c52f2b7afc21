//! What matters of each kind of objects, and telling it only when it changed.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::super::pods::owner_of;
use super::super::watch::Change;
use super::super::workloads;
use crate::record::{ObjectChange, ObjectEvent, What};

/// A kind of objects that is told with some of its facts.
pub struct Observed {
    /// Its kind.
    pub kind: &'static str,
    /// API group, empty for the core.
    pub group: &'static str,
    /// Name of the resource.
    pub plural: &'static str,
    /// Whether it lives in a namespace.
    pub namespaced: bool,
    /// Name of a fact and where it is in the object.
    facts: &'static [(&'static str, &'static str)],
}

/// What Deployments and StatefulSets tell of their replicas.
const REPLICATED: &[(&str, &str)] = &[
    ("replicas", "/spec/replicas"),
    ("current", "/status/replicas"),
    ("ready", "/status/readyReplicas"),
    ("updated", "/status/updatedReplicas"),
    ("available", "/status/availableReplicas"),
    ("generation", "/metadata/generation"),
    ("paused", "/spec/paused"),
    // A Deployment has the one, a StatefulSet the other.
    ("strategy", "/spec/strategy"),
    ("strategy", "/spec/updateStrategy"),
];

/// All of them; the permissions are made from this list too.
pub const OBSERVED: [Observed; 8] = [
    Observed {
        kind: "Deployment",
        group: "apps",
        plural: "deployments",
        namespaced: true,
        facts: REPLICATED,
    },
    Observed {
        kind: "StatefulSet",
        group: "apps",
        plural: "statefulsets",
        namespaced: true,
        facts: REPLICATED,
    },
    Observed {
        kind: "DaemonSet",
        group: "apps",
        plural: "daemonsets",
        namespaced: true,
        facts: &[
            ("replicas", "/status/desiredNumberScheduled"),
            ("current", "/status/currentNumberScheduled"),
            ("ready", "/status/numberReady"),
            ("updated", "/status/updatedNumberScheduled"),
            ("available", "/status/numberAvailable"),
            ("generation", "/metadata/generation"),
            ("strategy", "/spec/updateStrategy"),
        ],
    },
    Observed {
        kind: "ReplicaSet",
        group: "apps",
        plural: "replicasets",
        namespaced: true,
        facts: &[
            ("replicas", "/spec/replicas"),
            ("ready", "/status/readyReplicas"),
        ],
    },
    Observed {
        kind: "HorizontalPodAutoscaler",
        group: "autoscaling",
        plural: "horizontalpodautoscalers",
        namespaced: true,
        facts: &[
            ("spec", "/spec"),
            ("created", "/metadata/creationTimestamp"),
            ("current", "/status/currentReplicas"),
            ("desired", "/status/desiredReplicas"),
            ("metrics", "/status/currentMetrics"),
            ("conditions", "/status/conditions"),
            ("last-scale", "/status/lastScaleTime"),
        ],
    },
    Observed {
        kind: "PodDisruptionBudget",
        group: "policy",
        plural: "poddisruptionbudgets",
        namespaced: true,
        facts: &[
            ("allowed", "/status/disruptionsAllowed"),
            ("healthy", "/status/currentHealthy"),
            ("needed", "/status/desiredHealthy"),
            ("expected", "/status/expectedPods"),
        ],
    },
    Observed {
        kind: "Node",
        group: "",
        plural: "nodes",
        namespaced: false,
        facts: &[("unschedulable", "/spec/unschedulable")],
    },
    Observed {
        kind: "Event",
        group: "",
        plural: "events",
        namespaced: true,
        facts: &[
            ("type", "/type"),
            ("reason", "/reason"),
            ("message", "/message"),
            ("count", "/count"),
            ("of", "/involvedObject/kind"),
            ("name", "/involvedObject/name"),
        ],
    },
];

/// Those of them that make pods and are rolled out.
pub const WORKLOADS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

/// What matters of an object: its facts as found, those absent left out.
pub fn facts_of(observed: &Observed, object: &DynamicObject) -> BTreeMap<String, Value> {
    let whole = serde_json::to_value(object).unwrap_or_default();
    let found = observed.facts.iter().filter_map(|(name, pointer)| {
        let value = whole.pointer(pointer)?;
        Some(((*name).to_string(), value.clone()))
    });
    let mut facts: BTreeMap<String, Value> = found.collect();
    if facts.contains_key("replicas")
        && let Some(writer) = replicas_writer(&whole)
    {
        facts.insert("writer".into(), writer);
    }
    // Conditions of a node change with each heartbeat; what they say does not.
    if observed.kind == "Node" {
        let conditions = whole
            .pointer("/status/conditions")
            .and_then(Value::as_array);
        for condition in conditions.into_iter().flatten() {
            let text = |field| condition.get(field).and_then(Value::as_str);
            if let (Some(kind), Some(status)) = (text("type"), text("status"))
                && (kind == "Ready" || status != "False")
            {
                facts.insert(kind.to_lowercase(), status.into());
            }
        }
    }
    facts
}

/// Who last wrote `spec.replicas`, by `managedFields`. Before 1.22 writes through the scale subresource leave no
/// trace there: an entry that stays as it was tells nothing of a change.
fn replicas_writer(whole: &Value) -> Option<Value> {
    let entries = whole.pointer("/metadata/managedFields")?.as_array()?;
    let owners = entries
        .iter()
        .filter(|e| e.pointer("/fieldsV1/f:spec/f:replicas").is_some());
    let last = owners.max_by_key(|e| e["time"].as_str().unwrap_or_default())?;
    Some(json!({"manager": last["manager"], "operation": last["operation"], "time": last["time"]}))
}

/// What an autoscaler's controller looks at in a pod, and what it may use.
pub fn pod_facts(pod: &Pod) -> BTreeMap<String, Value> {
    let whole = serde_json::to_value(pod).unwrap_or_default();
    let mut facts = BTreeMap::from([("owner".to_string(), owner_of(pod).to_string().into())]);
    let mut fact = |name: &str, value: Option<&Value>| {
        if let Some(value) = value.filter(|v| !v.is_null()) {
            facts.insert(name.into(), value.clone());
        }
    };
    fact("phase", whole.pointer("/status/phase"));
    fact("created", whole.pointer("/metadata/creationTimestamp"));
    fact("started", whole.pointer("/status/startTime"));
    fact("deleted", whole.pointer("/metadata/deletionTimestamp"));
    fact("node", whole.pointer("/spec/nodeName"));
    let conditions = whole
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    let ready = conditions.and_then(|all| all.iter().find(|c| c["type"] == "Ready"));
    fact("ready", ready.map(|c| &c["status"]));
    fact("ready-since", ready.map(|c| &c["lastTransitionTime"]));
    let list = |pointer| whole.pointer(pointer).and_then(Value::as_array);
    let sidecars = list("/spec/initContainers").into_iter().flatten();
    let sidecars = sidecars.filter(|c| c["restartPolicy"] == "Always");
    let containers = list("/spec/containers")
        .into_iter()
        .flatten()
        .chain(sidecars);
    let containers = containers.filter_map(|c| {
        let resources =
            json!({"requests": c["resources"]["requests"], "limits": c["resources"]["limits"]});
        Some((c["name"].as_str()?.to_string(), resources))
    });
    facts.insert("containers".into(), Value::Object(containers.collect()));
    // Of the pod as a whole, from 1.34 on.
    if let Some(own) = whole.pointer("/spec/resources").filter(|r| r.is_object()) {
        let own = json!({"requests": own["requests"], "limits": own["limits"]});
        facts.insert("resources".into(), own);
    }
    facts
}

/// Tells objects of one kind, each when its facts changed.
pub struct Teller {
    kind: &'static str,
    last: BTreeMap<String, BTreeMap<String, Value>>,
}

impl Teller {
    /// Has told nothing yet.
    pub fn new(kind: &'static str) -> Self {
        Self {
            kind,
            last: BTreeMap::new(),
        }
    }

    /// All there are.
    pub fn all<'a>(&mut self, all: impl IntoIterator<Item = Seen<'a>>) -> Vec<What> {
        let seen: Vec<Seen> = all.into_iter().collect();
        let names: BTreeSet<&str> = seen.iter().map(|s| s.name).collect();
        self.last.retain(|name, _| names.contains(name.as_str()));
        let told = seen.into_iter();
        told.filter_map(|s| self.applied(s, ObjectChange::Present))
            .collect()
    }

    /// One that is there now.
    pub fn applied(&mut self, seen: Seen<'_>, change: ObjectChange) -> Option<What> {
        if self.last.get(seen.name) == Some(&seen.facts) {
            return None;
        }
        self.last.insert(seen.name.into(), seen.facts.clone());
        Some(self.event(seen, change))
    }

    /// One that is gone.
    pub fn deleted(&mut self, name: &str, version: String) -> What {
        self.last.remove(name);
        let seen = Seen {
            name,
            version,
            facts: BTreeMap::new(),
        };
        self.event(seen, ObjectChange::Deleted)
    }

    /// Names told of and not deleted.
    pub fn names(&self) -> Vec<String> {
        self.last.keys().cloned().collect()
    }

    fn event(&self, seen: Seen<'_>, change: ObjectChange) -> What {
        What::Object(ObjectEvent {
            object: self.kind.into(),
            name: seen.name.into(),
            change,
            version: seen.version,
            facts: seen.facts,
        })
    }
}

/// An object as it was seen.
pub struct Seen<'a> {
    /// Its name.
    pub name: &'a str,
    /// The cluster's version of it.
    pub version: String,
    /// What matters of it.
    pub facts: BTreeMap<String, Value>,
}

/// An object's name; those of the API have one.
fn name(meta: &kube::api::ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

fn seen<'a>(observed: &Observed, object: &'a DynamicObject, selector: &str) -> Seen<'a> {
    let mut facts = facts_of(observed, object);
    if WORKLOADS.contains(&observed.kind) {
        let more = workloads::facts(observed.kind, object, selector);
        facts.extend(more.map(|(name, value)| (name.to_string(), value)));
    }
    Seen {
        name: name(&object.metadata),
        version: object.resource_version().unwrap_or_default(),
        facts,
    }
}

fn seen_pod(pod: &Pod) -> Seen<'_> {
    Seen {
        name: name(&pod.metadata),
        version: pod.resource_version().unwrap_or_default(),
        facts: pod_facts(pod),
    }
}

/// What a change of an observed object is to be told as. The Service's selector tells which workloads stand behind it.
pub fn told(
    teller: &mut Teller,
    observed: &Observed,
    selector: &str,
    change: &Change<DynamicObject>,
) -> Vec<What> {
    match change {
        Change::All(all) => teller.all(all.iter().map(|o| seen(observed, o, selector))),
        Change::Applied(o) => {
            let what = teller.applied(seen(observed, o, selector), ObjectChange::Changed);
            what.into_iter().collect()
        }
        // The cluster forgets its own events after an hour: that is no news.
        Change::Deleted(_) if observed.kind == "Event" => Vec::new(),
        Change::Deleted(o) => {
            let version = o.resource_version().unwrap_or_default();
            vec![teller.deleted(name(&o.metadata), version)]
        }
    }
}

/// The same for a pod.
pub fn told_pod(teller: &mut Teller, change: &Change<Pod>) -> Vec<What> {
    match change {
        Change::All(all) => teller.all(all.iter().map(seen_pod)),
        Change::Applied(pod) => {
            let what = teller.applied(seen_pod(pod), ObjectChange::Changed);
            what.into_iter().collect()
        }
        Change::Deleted(pod) => {
            let version = pod.resource_version().unwrap_or_default();
            vec![teller.deleted(name(&pod.metadata), version)]
        }
    }
}
