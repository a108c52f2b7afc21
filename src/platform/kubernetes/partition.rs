//! The fault `partition`: a NetworkPolicy for one pod, and the check that the cluster enforces it.
//!
//! The API server takes every NetworkPolicy; only a network plugin that knows them cuts anything. So connections that
//! work before are tried again after: where they still work, nothing was cut, and no verdict may rest on it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::change::{InPlace, Place, make};
use super::exec::Exec;
use super::faults::{Faults, Victim};
use super::owned::{self, Kind};
use super::pods::is_ready;
use crate::platform::PlatformError;
use crate::record::Level;
use crate::scenario::Direction;

/// The label by which the policy finds its pod; its value is the pod's uid.
const MARK: &str = "squall.dev/partition";
/// A connection that is not made within this is cut.
const CONNECT: Duration = Duration::from_secs(2);
/// A policy is enforced within this, or nobody does.
const ENFORCED: Duration = Duration::from_secs(12);
/// So many pods are asked to try a connection before none can.
const ASKED: usize = 4;

/// What is cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut<'a> {
    pub direction: Direction,
    pub from: &'a BTreeMap<String, String>,
    pub to: &'a BTreeMap<String, String>,
}

impl Cut<'_> {
    fn ingress(&self) -> bool {
        self.direction != Direction::Egress
    }
    fn egress(&self) -> bool {
        self.direction != Direction::Ingress
    }
}

/// The kind of object that cuts.
pub(super) fn policy_kind() -> Kind {
    Kind {
        api_version: "networking.k8s.io/v1".into(),
        kind: "NetworkPolicy".into(),
        plural: "networkpolicies".into(),
    }
}

/// Name of the policy of a pod: one of its own for each pod, also where a name comes again.
pub(super) fn policy_name(uid: &str) -> String {
    format!("squall-partition-{uid}")
}

/// The policy. What it does not allow is cut; where only some peers are, all others are allowed, as pods by what
/// they are not labelled and as addresses by which they are not: network plugins differ in which of the two they
/// hold against a pod.
fn policy(cut: &Cut, uid: &str, from: &[IpAddr], to: &[IpAddr]) -> Value {
    let mut spec = json!({"podSelector": {"matchLabels": {MARK: uid}}});
    let mut types = Vec::new();
    let sides = [
        (cut.ingress(), "Ingress", "ingress", "from", cut.from, from),
        (cut.egress(), "Egress", "egress", "to", cut.to, to),
    ];
    for (is_cut, kind, rules, peers, labels, addresses) in sides {
        if !is_cut {
            continue;
        }
        types.push(kind);
        spec[rules] = match labels.is_empty() {
            true => json!([]),
            false => json!([{peers: all_but(labels, addresses)}]),
        };
    }
    spec["policyTypes"] = json!(types);
    spec
}

fn all_but(labels: &BTreeMap<String, String>, addresses: &[IpAddr]) -> Vec<Value> {
    let others = labels.iter().map(|(key, value)| {
        json!({"namespaceSelector": {}, "podSelector": {"matchExpressions":
            [{"key": key, "operator": "NotIn", "values": [value]}]}})
    });
    let (four, six): (Vec<&IpAddr>, Vec<&IpAddr>) = addresses.iter().partition(|ip| ip.is_ipv4());
    let blocks = [("0.0.0.0/0", 32, four), ("::/0", 128, six)];
    let blocks = blocks.into_iter().map(|(cidr, bits, except)| {
        let except = except
            .iter()
            .map(|ip| format!("{ip}/{bits}"))
            .collect::<Vec<_>>();
        match except.is_empty() {
            true => json!({"ipBlock": {"cidr": cidr}}),
            false => json!({"ipBlock": {"cidr": cidr, "except": except}}),
        }
    });
    others.chain(blocks).collect()
}

/// From where a connection is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Prober {
    /// From this process.
    Here,
    /// From a container.
    Pod(String, String),
}

impl std::fmt::Display for Prober {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Prober::Here => f.write_str("where squall runs"),
            Prober::Pod(pod, _) => write!(f, "pod {pod}"),
        }
    }
}

/// A connection that worked before the cut.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Probe {
    by: Prober,
    to: SocketAddr,
}

impl Faults {
    /// Cuts a pod off and returns once that was seen to hold.
    pub(super) async fn partition(
        &self,
        victim: &Victim,
        cut: Cut<'_>,
    ) -> Result<(), PlatformError> {
        let (api, all) = (self.pods(), ListParams::default());
        let pods = self
            .cluster
            .call("list the pods", api.list(&all))
            .await?
            .items;
        let me = pods
            .iter()
            .find(|p| p.metadata.uid.as_deref() == Some(&victim.uid));
        let Some(me) = me else {
            return Err(PlatformError::Failed(format!(
                "pod {} is gone: nothing was done",
                victim.name
            )));
        };
        let probes = self.probes(me, &pods, &cut).await?;
        let peers = |labels: &BTreeMap<String, String>| -> Vec<IpAddr> {
            let peers = pods.iter().filter(|p| !labels.is_empty() && has(p, labels));
            peers.filter_map(address).collect()
        };
        let policy = policy(&cut, &victim.uid, &peers(cut.from), &peers(cut.to));
        let policy = json!({"spec": policy});
        let name = policy_name(&victim.uid);
        let at = (self.namespace.as_str(), name.as_str());
        owned::create(&self.cluster, &self.owner, &policy_kind(), at, &policy).await?;
        let place = Place {
            kind: "Pod".into(),
            namespace: Some(self.namespace.clone()),
            name: victim.name.clone(),
        };
        let uid = &victim.uid;
        let marked = make(&self.cluster, &place, |pod| {
            if pod.metadata.uid.as_ref() != Some(uid) {
                return Err("another pod of its name has come: nothing was cut".into());
            }
            Ok(InPlace {
                apply: json!({"metadata": {"labels": {MARK: uid}}}),
                restore: json!({"metadata": {"labels": {MARK: null}}}),
            })
        });
        // No longer a refusal: the policy is there by now.
        marked.await.map_err(|e| match e {
            PlatformError::Refused(text) => PlatformError::Failed(text),
            other => other,
        })?;
        self.enforced(victim, &probes).await
    }

    /// One connection for each direction that is cut, and works now.
    async fn probes(
        &self,
        me: &Pod,
        pods: &[Pod],
        cut: &Cut<'_>,
    ) -> Result<Vec<Probe>, PlatformError> {
        let name = me.metadata.name.clone().unwrap_or_default();
        let mut found = Vec::new();
        let others = |labels: &BTreeMap<String, String>| -> Vec<&Pod> {
            let own = me.metadata.uid.as_ref();
            let others = pods
                .iter()
                .filter(|p| p.metadata.uid.as_ref() != own && is_ready(p));
            others.filter(|p| has(p, labels)).collect()
        };
        let sides = [
            (cut.ingress(), "ingress", "from", cut.from),
            (cut.egress(), "egress", "to", cut.to),
        ];
        for (_, way, key, labels) in sides.into_iter().filter(|s| s.0) {
            let peers = others(labels);
            if peers.is_empty() && !labels.is_empty() {
                return Err(PlatformError::Failed(format!(
                    "no ready pod has the labels of `{key}`: nothing would be cut"
                )));
            }
            let probe = match way {
                "ingress" => self.incoming(me, &peers, labels.is_empty()).await,
                _ => self.outgoing(me, &peers).await,
            };
            found.push(probe.ok_or_else(|| {
                PlatformError::NoEffect(format!(
                    "whether the cluster enforces NetworkPolicies cannot be checked for pod {name} ({way}): no \
                     connection could be made even before, neither by `squall` nor by `nc` in a pod"
                ))
            })?);
        }
        Ok(found)
    }

    /// A peer's connection to the pod. This process's own will do where everybody's is cut and no pod can try; a
    /// node's connections may be exempt, so pods go first.
    async fn incoming(&self, me: &Pod, peers: &[&Pod], anybody: bool) -> Option<Probe> {
        let to = self.socket(me)?;
        for peer in peers.iter().take(ASKED) {
            let Some(by) = prober(peer) else { continue };
            if self.connects(&by, to).await == Some(true) {
                return Some(Probe { by, to });
            }
        }
        let here = anybody && self.connects(&Prober::Here, to).await == Some(true);
        here.then_some(Probe {
            by: Prober::Here,
            to,
        })
    }

    /// The pod's connection to one of the peers.
    async fn outgoing(&self, me: &Pod, peers: &[&Pod]) -> Option<Probe> {
        let by = prober(me)?;
        for peer in peers.iter().take(ASKED) {
            let Some(to) = self.socket(peer) else {
                continue;
            };
            if self.connects(&by, to).await == Some(true) {
                return Some(Probe { by, to });
            }
        }
        None
    }

    /// Waits until none of the connections works any more.
    async fn enforced(&self, victim: &Victim, probes: &[Probe]) -> Result<(), PlatformError> {
        let until = Instant::now() + ENFORCED;
        let mut open = probes.to_vec();
        loop {
            let mut still = Vec::new();
            for probe in &open {
                if self.connects(&probe.by, probe.to).await != Some(false) {
                    still.push(probe.clone());
                }
            }
            open = still;
            let Some(first) = open.first() else {
                break;
            };
            if Instant::now() >= until {
                return Err(PlatformError::NoEffect(format!(
                    "nothing in this cluster enforces NetworkPolicies: {:?} after pod {} was cut off, {} still \
                     connects to {}",
                    ENFORCED, victim.name, first.by, first.to
                )));
            }
            sleep(Duration::from_millis(500)).await;
        }
        let held = probes
            .iter()
            .map(|p| format!("{} to {}", p.by, p.to))
            .collect::<Vec<_>>();
        let text = format!(
            "pod {} is cut off: no connection any more from {}",
            victim.name,
            held.join(" and from ")
        );
        self.sink.note(Level::Info, text);
        Ok(())
    }

    /// Whether a connection can be made; `None` where that cannot be told.
    async fn connects(&self, by: &Prober, to: SocketAddr) -> Option<bool> {
        let (pod, container) = match by {
            Prober::Here => {
                let tried = timeout(CONNECT, TcpStream::connect(to)).await;
                return Some(matches!(tried, Ok(Ok(_))));
            }
            Prober::Pod(pod, container) => (pod, container),
        };
        let own = vec!["squall".into(), "__connect".into(), to.to_string()];
        let nc = format!("nc -w 2 {} {} </dev/null", to.ip(), to.port());
        let nc = vec!["/bin/sh".into(), "-c".into(), nc];
        for command in [own, nc] {
            match self.exec(pod, container, command).await {
                Ok(Exec::Done) => return Some(true),
                // So both say that they could not connect; any other end says nothing of the connection.
                Ok(Exec::Exited(1, _)) => return Some(false),
                Ok(Exec::NoProgram(_)) => {}
                Ok(_) | Err(_) => return None,
            }
        }
        None
    }

    /// Where the pod listens: at the Service's port if it is one of those behind it, else at its first.
    fn socket(&self, pod: &Pod) -> Option<SocketAddr> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let behind = self.port.filter(|_| self.view.pods().get(name).is_some());
        let containers = pod.spec.iter().flat_map(|s| &s.containers);
        let first = containers.flat_map(|c| c.ports.iter().flatten()).next();
        let first = first.and_then(|p| u16::try_from(p.container_port).ok());
        Some(SocketAddr::new(address(pod)?, behind.or(first)?))
    }
}

fn prober(pod: &Pod) -> Option<Prober> {
    let container = pod.spec.as_ref()?.containers.first()?.name.clone();
    Some(Prober::Pod(pod.metadata.name.clone()?, container))
}

fn address(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}

fn has(pod: &Pod, labels: &BTreeMap<String, String>) -> bool {
    let own = pod.metadata.labels.as_ref();
    labels
        .iter()
        .all(|(k, v)| own.and_then(|l| l.get(k)) == Some(v))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect()
    }

    #[test]
    fn a_policy_cuts_what_is_said_and_nothing_else() {
        let none = labels(&[]);
        let all = Cut {
            direction: Direction::Both,
            from: &none,
            to: &none,
        };
        assert_eq!(
            policy(&all, "u-1", &[], &[]),
            json!({"podSelector": {"matchLabels": {MARK: "u-1"}}, "policyTypes": ["Ingress", "Egress"],
                "ingress": [], "egress": []})
        );
        let cart = labels(&[("app", "cart"), ("tier", "x")]);
        let from = Cut {
            direction: Direction::Ingress,
            from: &cart,
            to: &none,
        };
        let address: IpAddr = "10.244.1.7".parse().unwrap();
        let spec = policy(&from, "u-1", &[address], &[]);
        assert_eq!(spec["policyTypes"], json!(["Ingress"]));
        assert_eq!(spec.get("egress"), None);
        let peers = spec["ingress"][0]["from"].as_array().unwrap();
        // Whoever lacks one of the labels may come in: the cut is for those with both.
        assert_eq!(peers.len(), 4);
        assert_eq!(
            peers[0]["podSelector"]["matchExpressions"][0],
            json!({"key": "app", "operator": "NotIn", "values": ["cart"]})
        );
        assert_eq!(peers[2]["ipBlock"]["except"], json!(["10.244.1.7/32"]));
        assert_eq!(peers[3]["ipBlock"], json!({"cidr": "::/0"}));
    }
}
