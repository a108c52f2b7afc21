//! What the pods use, as `metrics.k8s.io` tells it: the same samples that autoscalers decide by. Where a cluster does not
//! serve that, `kubelets` tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::api::{Cluster, chain};
use super::observe::{Seen, Teller};
use super::target::Found;
use super::{KubernetesPlatform, kubelets, permissions};
use crate::observe::{POD_SAMPLES, PODS_SAMPLED_EVERY, USAGE_NOT_RECORDED};
use crate::record::{Level, ObjectChange, Sink, View, WatchEvent, What, quantity};

/// A look that takes longer has failed.
const ANSWER: Duration = Duration::from_secs(5);

/// A sample of a pod as facts: when it was taken, over how long, and what each container used.
fn facts_of(sample: &DynamicObject) -> BTreeMap<String, Value> {
    let data = &sample.data;
    let containers = data["containers"].as_array().into_iter().flatten();
    let containers: Map<String, Value> = containers
        .filter_map(|c| Some((c["name"].as_str()?.to_string(), c["usage"].clone())))
        .collect();
    BTreeMap::from([
        ("timestamp".to_string(), data["timestamp"].clone()),
        ("window".to_string(), data["window"].clone()),
        ("containers".to_string(), containers.into()),
    ])
}

/// CPU (thousandths of a core) and memory (bytes) of a sample.
fn total(facts: &BTreeMap<String, Value>) -> (u64, u64) {
    let containers = facts["containers"].as_object().into_iter().flatten();
    containers.fold((0, 0), |(cpu, memory), (_, usage)| {
        let of = |name: &str| {
            let value = usage[name].as_str().and_then(quantity::thousandths);
            value.and_then(|v| u64::try_from(v).ok()).unwrap_or(0)
        };
        (cpu + of("cpu"), memory + of("memory") / 1000)
    })
}

/// What a look has to tell: samples that are new, and pods that have none any more.
fn told(teller: &mut Teller, samples: &[DynamicObject]) -> Vec<What> {
    let mut events = Vec::new();
    let here: BTreeSet<&str> = samples
        .iter()
        .filter_map(|s| s.metadata.name.as_deref())
        .collect();
    for gone in teller.names() {
        if !here.contains(gone.as_str()) {
            events.push(teller.deleted(&gone, String::new()));
        }
    }
    for sample in samples {
        let Some(name) = sample.metadata.name.as_deref() else {
            continue;
        };
        let facts = facts_of(sample);
        let (cpu_millicores, memory_bytes) = total(&facts);
        let version = String::new();
        let seen = Seen {
            name,
            version,
            facts,
        };
        if let Some(new) = teller.applied(seen, ObjectChange::Changed) {
            events.push(new);
            events.push(What::Usage {
                instance: name.into(),
                cpu_millicores,
                memory_bytes,
            });
        }
    }
    events
}

impl KubernetesPlatform {
    /// Starts to record what the pods use, by the ways that this cluster has.
    pub(super) fn watch_usage(&self, watches: &mut JoinSet<()>) {
        let (cluster, sink) = (|| self.cluster.clone(), || self.sink.clone());
        if let Some(version) = self.cluster.served.metrics.clone() {
            watches.spawn(sample(cluster(), version, self.found.clone(), sink()));
        }
        let Some(wanted) = self.kubelets else {
            return;
        };
        if !self.left_out.contains(&permissions::kubelets()) {
            let namespace = self.found.namespace.clone();
            let view = self.faults.view.clone();
            watches.spawn(kubelets::sample(cluster(), namespace, view, wanted, sink()));
            return;
        }
        let text = match wanted.usage {
            true => format!(
                "{USAGE_NOT_RECORDED}: the cluster does not serve metrics.k8s.io, and `get nodes/proxy`, to ask its \
                 kubelets, is not allowed here"
            ),
            false => "throttling is not seen: `get nodes/proxy`, to ask the kubelets, is not allowed here".into(),
        };
        self.sink.note(Level::Warning, text);
    }
}

/// Looks until the task is ended; returns only where the cluster refuses for good.
async fn sample(cluster: Cluster, version: String, found: Found, sink: Sink) {
    let resource = ApiResource {
        group: "metrics.k8s.io".into(),
        api_version: format!("metrics.k8s.io/{version}"),
        version,
        kind: "PodMetrics".into(),
        plural: "pods".into(),
    };
    let client = cluster.client.clone();
    let api: Api<DynamicObject> = Api::namespaced_with(client, &found.namespace, &resource);
    let list = ListParams::default().labels(&found.selector);
    let mut teller = Teller::new("PodMetrics");
    let mut ticks = tokio::time::interval(PODS_SAMPLED_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut lost = false;
    let tell = |view, detail: String| {
        let of = POD_SAMPLES.into();
        sink.emit(What::Watch(WatchEvent { of, view, detail }));
    };
    loop {
        ticks.tick().await;
        let why = match tokio::time::timeout(ANSWER, api.list(&list)).await {
            Ok(Ok(samples)) => {
                if std::mem::take(&mut lost) {
                    tell(View::Relisted, "listed again".into());
                }
                let at = sink.clock().now();
                for event in told(&mut teller, &samples.items) {
                    sink.emit_at(at, event);
                }
                continue;
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                let text = format!("{USAGE_NOT_RECORDED}: {}", status.message);
                return sink.note(Level::Warning, text);
            }
            Ok(Err(e)) => chain(&e),
            Err(_) => format!("no answer in {ANSWER:?}"),
        };
        if !std::mem::replace(&mut lost, true) {
            tell(View::Lost, why);
        }
    }
}

/// Tells which process leads the controllers: an autoscaler's memory begins anew with a new one.
pub async fn leader(cluster: Cluster, sink: Sink) {
    use k8s_openapi::api::coordination::v1::Lease;
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), "kube-system");
    let mut teller = Teller::new("Lease");
    let mut ticks = tokio::time::interval(PODS_SAMPLED_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match tokio::time::timeout(ANSWER, api.get(LEADER)).await {
            Ok(Ok(lease)) => {
                let spec = serde_json::to_value(&lease.spec).unwrap_or_default();
                let version = lease.metadata.resource_version.unwrap_or_default();
                let facts = ["holderIdentity", "acquireTime"];
                let facts = facts.map(|f| (f.to_string(), json!(spec[f])));
                let seen = Seen {
                    name: LEADER,
                    version,
                    facts: facts.into(),
                };
                let told = teller.applied(seen, ObjectChange::Changed);
                told.into_iter().for_each(|e| sink.emit(e));
            }
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 403 | 404) => {
                let text = format!(
                    "a restart of the cluster's controllers would not be seen: {}",
                    status.message
                );
                return sink.note(Level::Info, text);
            }
            // The next look tells; what leads does not change unseen, since each leader has a name of its own.
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// The Lease of the controller manager, in `kube-system`.
pub const LEADER: &str = "kube-controller-manager";

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str, at: &str, cpu: &str) -> DynamicObject {
        serde_json::from_value(
            json!({"apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics",
            "metadata": {"name": name}, "timestamp": at, "window": "15s",
            "containers": [{"name": "web", "usage": {"cpu": cpu, "memory": "2Mi"}},
                {"name": "side", "usage": {"cpu": "1m", "memory": "1Ki"}}]}),
        )
        .unwrap()
    }

    #[test]
    fn a_sample_is_told_once_and_its_loss_too() {
        let mut teller = Teller::new("PodMetrics");
        let first = told(&mut teller, &[sample("a", "1", "12345678n")]);
        let [
            What::Object(object),
            What::Usage {
                cpu_millicores,
                memory_bytes,
                ..
            },
        ] = &first[..]
        else {
            panic!("{first:?}")
        };
        assert_eq!((*cpu_millicores, *memory_bytes), (14, (2 << 20) + 1024));
        assert_eq!(object.facts["window"], "15s");
        assert_eq!(object.facts["containers"]["web"]["cpu"], "12345678n");
        assert!(told(&mut teller, &[sample("a", "1", "12345678n")]).is_empty());
        // A new sample is told even if nothing but its time is new.
        assert_eq!(told(&mut teller, &[sample("a", "2", "12345678n")]).len(), 2);
        let gone = told(&mut teller, &[]);
        assert!(matches!(&gone[..], [What::Object(o)] if o.change == ObjectChange::Deleted));
    }
}
