//! Faults that need an agent on the node are handed to Chaos Mesh: squall writes its resource for one pod, waits until
//! Chaos Mesh says that it is injected, and removes it.
//!
//! Whom it hits is squall's choice: each resource names one pod. That the resource was taken says nothing; a fault is in
//! force when its conditions say so, and a resource is gone when Chaos Mesh has let go of it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::api::Cluster;
use super::faults::{Faults, Victim};
use super::owned::{self, Kind};
use crate::platform::{PlatformError, Undo};
use crate::record::{Level, Sink};
use crate::scenario::units::{Ratio, format_duration};
use crate::scenario::{DnsAnswer, FaultKind, IoFiles};

/// The group of its resources.
pub(super) const GROUP: &str = "chaos-mesh.org";
/// A resource that is not injected within this is not injected.
const INJECTED: Duration = Duration::from_secs(30);
/// It is looked at so often: the fault's beginning is known to this.
const LOOK: Duration = Duration::from_millis(100);

/// The resource that makes a fault: its kind and its plural. `None` for faults that need no agent.
pub(super) fn resource(fault: &FaultKind) -> Option<(&'static str, &'static str)> {
    Some(match fault {
        FaultKind::Delay { .. } | FaultKind::BlackHole | FaultKind::Loss { .. } => {
            ("NetworkChaos", "networkchaos")
        }
        FaultKind::DnsFault { .. } => ("DNSChaos", "dnschaos"),
        FaultKind::IoDelay { .. } | FaultKind::IoError { .. } => ("IOChaos", "iochaos"),
        FaultKind::ClockSkew { .. } => ("TimeChaos", "timechaos"),
        _ => return None,
    })
}

/// The kind of the resource that makes a fault.
pub(super) fn kind_of(fault: &FaultKind) -> Option<Kind> {
    let (kind, plural) = resource(fault)?;
    Some(Kind {
        api_version: format!("{GROUP}/v1alpha1"),
        kind: kind.into(),
        plural: plural.into(),
    })
}

/// Fails where one of the faults needs Chaos Mesh and the cluster does not have it.
pub(super) async fn installed<'a>(
    cluster: &Cluster,
    faults: impl IntoIterator<Item = &'a FaultKind>,
) -> Result<(), PlatformError> {
    let needed: Vec<(&FaultKind, Kind)> = faults
        .into_iter()
        .filter_map(|fault| Some((fault, kind_of(fault)?)))
        .collect();
    let Some((_, first)) = needed.first() else {
        return Ok(());
    };
    let served = match &cluster.served.chaos_mesh {
        None => Vec::new(),
        Some(_) => {
            let list = cluster.client.list_api_group_resources(&first.api_version);
            let list = cluster
                .call("list the resources of Chaos Mesh", list)
                .await?;
            list.resources.into_iter().map(|r| r.name).collect()
        }
    };
    match needed
        .iter()
        .find(|(_, kind)| !served.contains(&kind.plural))
    {
        None => Ok(()),
        Some((fault, kind)) => Err(PlatformError::Unsupported(format!(
            "a {} is made by Chaos Mesh in a cluster, and this one does not serve its {} ({}): install Chaos Mesh 2 \
             (https://chaos-mesh.org), or leave the fault out",
            fault.name(),
            kind.kind,
            kind.api_version
        ))),
    }
}

/// What stands in the resource's `spec` beside the selection of the pod.
fn settings(fault: &FaultKind) -> Value {
    match fault {
        FaultKind::Delay { latency, jitter } => json!({"action": "delay", "delay": {
            "latency": format_duration(*latency), "jitter": format_duration(*jitter), "correlation": "0"}}),
        FaultKind::BlackHole => loss(Ratio::fraction(1.0)),
        FaultKind::Loss { share } => loss(*share),
        FaultKind::DnsFault { answer, domains } => {
            let action = match answer {
                DnsAnswer::Error => "error",
                DnsAnswer::Random => "random",
            };
            json!({"action": action, "patterns": domains})
        }
        FaultKind::IoDelay { latency, files } => on_files(
            files,
            json!({"action": "latency", "delay": format_duration(*latency)}),
        ),
        FaultKind::IoError { errno, files } => {
            on_files(files, json!({"action": "fault", "errno": errno.number()}))
        }
        FaultKind::ClockSkew {
            offset,
            behind,
            container,
        } => {
            let sign = if *behind { "-" } else { "" };
            let offset = format!("{sign}{}", format_duration(*offset));
            in_container(container.as_ref(), json!({"timeOffset": offset}))
        }
        _ => Value::Null,
    }
}

/// Without a target it is on what leaves the pod: the only direction that Chaos Mesh has then.
fn loss(share: Ratio) -> Value {
    json!({"action": "loss", "loss": {"loss": percent(share), "correlation": "0"}})
}

fn percent(share: Ratio) -> String {
    format!("{}", (share.get() * 1e6).round() / 1e4)
}

fn on_files(files: &IoFiles, mut spec: Value) -> Value {
    spec["volumePath"] = json!(files.volume);
    // Whole percent, as the scenario was checked.
    spec["percent"] = json!((files.share.get() * 100.0).round() as u32);
    if let Some(path) = &files.path {
        spec["path"] = json!(path);
    }
    in_container(files.container.as_ref(), spec)
}

fn in_container(container: Option<&String>, mut spec: Value) -> Value {
    if let Some(container) = container {
        spec["containerNames"] = json!([container]);
    }
    spec
}

/// The resource for one pod, without its metadata.
fn content(fault: &FaultKind, namespace: &str, pod: &str) -> Value {
    let mut spec = settings(fault);
    spec["mode"] = json!("all");
    spec["selector"] = json!({"pods": {namespace: [pod]}});
    json!({"spec": spec})
}

impl Faults {
    /// What takes the fault back; `None` for faults that Chaos Mesh does not make.
    pub(super) fn undo_of_chaos(&self, fault: &FaultKind, victim: &Victim) -> Option<Undo> {
        let kind = kind_of(fault)?;
        Some(self.removal(kind, self.name_of(fault, victim), None))
    }

    /// Each fault of each pod in each run has a resource of its own.
    fn name_of(&self, fault: &FaultKind, victim: &Victim) -> String {
        format!(
            "squall-{}-{}-{}",
            fault.name(),
            self.owner.run_id(),
            victim.uid
        )
    }

    /// Hands a fault to Chaos Mesh and returns once it is injected.
    pub(super) async fn hand_over(
        &self,
        victim: &Victim,
        fault: &FaultKind,
        kind: &Kind,
    ) -> Result<(), PlatformError> {
        let name = self.name_of(fault, victim);
        let at = (self.namespace.as_str(), name.as_str());
        let content = content(fault, &self.namespace, &victim.name);
        owned::create(&self.cluster, &self.owner, kind, at, &content).await?;
        let began = Instant::now();
        loop {
            let object = owned::get(&self.cluster, kind, at).await?;
            let Some(object) = object else {
                return Err(PlatformError::Failed(format!(
                    "{} {name} was removed by somebody else before it was injected",
                    kind.kind
                )));
            };
            if is(&object, "AllInjected") && !is(&object, "Paused") {
                let text = format!(
                    "{} {name}: injected {:.1} s after it was created",
                    kind.kind,
                    began.elapsed().as_secs_f64()
                );
                self.sink.note(Level::Info, text);
                return Ok(());
            }
            if began.elapsed() >= INJECTED {
                return Err(PlatformError::NoEffect(format!(
                    "Chaos Mesh has not injected {} {name} in {INJECTED:?}: {}",
                    kind.kind,
                    self.why_not_injected(&object).await
                )));
            }
            sleep(LOOK).await;
        }
    }

    /// What the resource itself and its latest Event say.
    async fn why_not_injected(&self, object: &DynamicObject) -> String {
        let events: Api<Event> = Api::namespaced(self.cluster.client.clone(), &self.namespace);
        let uid = object.metadata.uid.as_deref().unwrap_or_default();
        let list = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
        let listed = self
            .cluster
            .call("list its events", events.list(&list))
            .await;
        let last = match listed {
            Ok(mut list) => {
                // The API's order is not that of time.
                list.items
                    .sort_by_key(|e| e.last_timestamp.as_ref().map(|t| t.0));
                list.items.pop().map_or("it has no events".into(), |e| {
                    let words = [e.reason, e.message]
                        .into_iter()
                        .flatten()
                        .collect::<Vec<_>>();
                    format!("its last event is {}", words.join(": "))
                })
            }
            Err(_) => "its events may not be listed".into(),
        };
        format!("{}; {last}", state(object))
    }
}

/// Says so where a fault that is to be taken back is not in force any more: Chaos Mesh, or somebody else, has ended it.
pub(super) async fn note_if_over(cluster: &Cluster, sink: &Sink, undo: &Undo) {
    let Undo::Remove {
        api_version,
        kind,
        plural,
        namespace,
        name,
        ..
    } = undo
    else {
        return;
    };
    if !api_version.starts_with(GROUP) {
        return;
    }
    let of = Kind {
        api_version: api_version.clone(),
        kind: kind.clone(),
        plural: plural.clone(),
    };
    // Whether it can be read or not, it is removed next.
    let Ok(object) = owned::get(cluster, &of, (namespace, name)).await else {
        return;
    };
    let found = match object {
        None => "it was gone".to_string(),
        Some(o) if o.metadata.deletion_timestamp.is_some() || is(&o, "AllInjected") => return,
        Some(object) => state(&object),
    };
    let text =
        format!("{kind} {name} was not in force any more when it was to be removed: {found}");
    sink.note(Level::Warning, text);
}

/// Whether a condition is true.
fn is(object: &DynamicObject, condition: &str) -> bool {
    let of = |c: &&Value| c["type"] == condition;
    conditions(object)
        .iter()
        .find(of)
        .is_some_and(|c| c["status"] == "True")
}

fn conditions(object: &DynamicObject) -> &[Value] {
    let conditions = object
        .data
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    conditions.map_or(&[], Vec::as_slice)
}

/// The conditions, and the latest failure of each record, in words.
fn state(object: &DynamicObject) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let mut words: Vec<String> = conditions(object)
        .iter()
        .map(|c| match text(&c["reason"]) {
            reason if reason.is_empty() => {
                format!("{} is {}", text(&c["type"]), text(&c["status"]))
            }
            reason => format!("{} is {} ({reason})", text(&c["type"]), text(&c["status"])),
        })
        .collect();
    if words.is_empty() {
        words.push("it has no conditions, so no controller of Chaos Mesh has looked at it".into());
    }
    let records = object.data.pointer("/status/experiment/containerRecords");
    for record in records.and_then(Value::as_array).into_iter().flatten() {
        let mut events = record["events"].as_array().into_iter().flatten();
        let failure = events.rfind(|e| e["type"] == "Failed");
        let failure = failure.map_or(String::new(), |e| format!(" ({})", text(&e["message"])));
        words.push(format!(
            "{} is {}{failure}",
            text(&record["id"]),
            text(&record["phase"])
        ));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests;
