//! From the Service a scenario names to the address that traffic goes to, and the pods that stand behind it.
//!
//! Which ways there could be is decided by pure functions; which of them works from here is found by connecting.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, Service, ServicePort};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use kube::api::ListParams;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::api::Cluster;
use super::pods::{Owner, is_ready, owner_of, why_not_ready};
use crate::platform::PlatformError;
use crate::scenario::{KubernetesTarget, Reach};

/// An address that does not take a connection within this is not the way.
const PROBE: Duration = Duration::from_secs(2);
/// All ways are tried again and again for so long.
const PROBE_ALL: Duration = Duration::from_secs(5);

/// A Service as found, with what is needed to send traffic and to follow its pods.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Namespace of the Service.
    pub namespace: String,
    /// Its name.
    pub service: String,
    /// Its selector as a label selector: `app=front`.
    pub selector: String,
    /// The chosen port's number.
    pub port: i32,
    /// Pods behind it that are ready, and all of them.
    pub ready: usize,
    /// All pods that the selector matches.
    pub pods: usize,
    /// What makes and replaces them.
    pub owners: BTreeSet<Owner>,
    /// The ways there might be, best first.
    pub ways: Vec<Way>,
    /// A ready pod and its port, for a port-forward.
    pub pod_port: Option<(String, u16)>,
}

/// A way that traffic may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Which kind.
    pub reach: Reach,
    /// Scheme, host and port of the base URL.
    pub scheme: String,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path prefix, empty or beginning with a slash.
    pub path: String,
    /// The node that it leads over, where it leads over one alone.
    pub node: Option<String>,
}

impl Way {
    /// The base URL, without a trailing slash.
    pub fn base_url(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        let usual = matches!((&*self.scheme, self.port), ("http", 80) | ("https", 443));
        let port = if usual {
            String::new()
        } else {
            format!(":{}", self.port)
        };
        format!("{}://{host}{port}{}", self.scheme, self.path)
    }
}

/// Finds the Service, its port and its pods. Fails with a sentence where traffic could not be served.
pub async fn find(cluster: &Cluster, target: &KubernetesTarget) -> Result<Found, PlatformError> {
    let namespace = target
        .namespace
        .as_ref()
        .unwrap_or(&cluster.namespace)
        .clone();
    let name = &target.service;
    let at = format!("namespace {namespace} of context {}", cluster.context);
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), &namespace);
    let doing = format!("read Service {name} in {at}");
    let Some(service) = cluster.call(&doing, services.get_opt(name)).await? else {
        // Which there are is a courtesy: not being allowed to list them is no error.
        let listed = cluster
            .call(&doing, services.list(&ListParams::default()))
            .await;
        let known = listed.map(|l| names(l.items.iter().map(|s| s.metadata.name.as_deref())));
        let known = known.unwrap_or_default();
        let known = if known.is_empty() {
            "none there".into()
        } else {
            format!("there: {known}")
        };
        return Err(PlatformError::Unsupported(format!(
            "there is no Service {name} in {at} ({known})"
        )));
    };
    let port = choose_port(&service, target.port.as_deref()).map_err(PlatformError::Unsupported)?;
    let selector = selector_of(&service).map_err(PlatformError::Unsupported)?;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &namespace);
    let doing = format!("list the pods of Service {name} in {at}");
    let list = ListParams::default().labels(&selector);
    let pods = cluster.call(&doing, pods.list(&list)).await?.items;
    let ready: Vec<&Pod> = pods.iter().filter(|p| is_ready(p)).collect();
    if pods.is_empty() {
        return Err(PlatformError::Unreachable(format!(
            "the selector of Service {name} in {at} matches no pod ({selector}): is its Deployment there, scaled \
             above 0, and does its template carry these labels?"
        )));
    }
    if ready.is_empty() {
        let why = names(pods.iter().take(3).map(|p| p.metadata.name.as_deref()));
        let reason = pods.first().map(why_not_ready).unwrap_or_default();
        return Err(PlatformError::Unreachable(format!(
            "none of the {} pods behind Service {name} in {at} is ready ({why}: {reason})",
            pods.len()
        )));
    }
    let (nodes, ingresses) = surroundings(cluster, &namespace, &service, target.reach).await?;
    let pod_port = ready.iter().find_map(|pod| {
        let number = target_port(pod, &port)?;
        Some((pod.metadata.name.clone()?, number))
    });
    Ok(Found {
        selector,
        port: port.port,
        ready: ready.len(),
        pods: pods.len(),
        owners: pods.iter().map(owner_of).collect(),
        ways: ways(&service, &port, &nodes, &ingresses, target),
        pod_port,
        namespace,
        service: name.clone(),
    })
}

/// Nodes and Ingresses, as far as a way may lead over them.
async fn surroundings(
    cluster: &Cluster,
    namespace: &str,
    service: &Service,
    reach: Reach,
) -> Result<(Vec<Node>, Vec<Ingress>), PlatformError> {
    let list = ListParams::default();
    let has_node_port = service
        .spec
        .as_ref()
        .and_then(|s| s.ports.as_ref())
        .is_some_and(|ports| ports.iter().any(|p| p.node_port.is_some()));
    let mut nodes = Vec::new();
    if has_node_port && matches!(reach, Reach::Auto | Reach::NodePort) {
        let api: Api<Node> = Api::all(cluster.client.clone());
        let listed = cluster
            .call("list the nodes, for the node port", api.list(&list))
            .await;
        nodes = tolerate(listed, reach)?
            .map(|l| l.items)
            .unwrap_or_default();
    }
    let mut ingresses = Vec::new();
    if cluster.served.networking.is_some() && matches!(reach, Reach::Auto | Reach::Ingress) {
        let api: Api<Ingress> = Api::namespaced(cluster.client.clone(), namespace);
        let listed = cluster.call("list the Ingresses", api.list(&list)).await;
        ingresses = tolerate(listed, reach)?
            .map(|l| l.items)
            .unwrap_or_default();
    }
    Ok((nodes, ingresses))
}

/// Where any way will do, one that cannot be looked up is left out.
fn tolerate<T>(result: Result<T, PlatformError>, reach: Reach) -> Result<Option<T>, PlatformError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(_) if reach == Reach::Auto => Ok(None),
        Err(e) => Err(e),
    }
}

/// The port asked for by name or number, or the only one.
pub fn choose_port(service: &Service, asked: Option<&str>) -> Result<ServicePort, String> {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let spec = service.spec.as_ref();
    let ports = spec.and_then(|s| s.ports.clone()).unwrap_or_default();
    let label = |p: &ServicePort| match &p.name {
        Some(name) => format!("{name} ({})", p.port),
        None => p.port.to_string(),
    };
    let known = ports.iter().map(label).collect::<Vec<_>>().join(", ");
    match asked {
        Some(asked) => ports
            .iter()
            .find(|p| p.name.as_deref() == Some(asked) || p.port.to_string() == asked)
            .cloned()
            .ok_or_else(|| format!("Service {name} has no port {asked}; it has {known}")),
        None if ports.len() == 1 => Ok(ports[0].clone()),
        None if ports.is_empty() => Err(format!("Service {name} has no port")),
        None => Err(format!(
            "Service {name} has several ports, name one (target.kubernetes.port): {known}"
        )),
    }
}

/// The selector as text; a Service without one has no pods that squall could know.
fn selector_of(service: &Service) -> Result<String, String> {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let spec = service.spec.as_ref();
    if spec.and_then(|s| s.type_.as_deref()) == Some("ExternalName") {
        return Err(format!(
            "Service {name} is a name for something outside the cluster (ExternalName): use `url:` for it"
        ));
    }
    let selector = spec.and_then(|s| s.selector.as_ref());
    let Some(selector) = selector.filter(|s| !s.is_empty()) else {
        return Err(format!(
            "Service {name} has no selector, so the cluster does not say which pods stand behind it: use `url:`"
        ));
    };
    let pairs: BTreeMap<_, _> = selector.iter().collect();
    let pairs = pairs.into_iter().map(|(k, v)| format!("{k}={v}"));
    Ok(pairs.collect::<Vec<_>>().join(","))
}

/// The port of the pod that a Service port leads to.
fn target_port(pod: &Pod, port: &ServicePort) -> Option<u16> {
    match &port.target_port {
        None => u16::try_from(port.port).ok(),
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok(),
        Some(IntOrString::String(name)) => {
            let containers = &pod.spec.as_ref()?.containers;
            let ports = containers.iter().flat_map(|c| c.ports.iter().flatten());
            let mut named = ports.filter(|p| p.name.as_deref() == Some(name));
            u16::try_from(named.next()?.container_port).ok()
        }
    }
}

/// All ways to the Service that its objects promise, best first, without the port-forward.
pub fn ways(
    service: &Service,
    port: &ServicePort,
    nodes: &[Node],
    ingresses: &[Ingress],
    target: &KubernetesTarget,
) -> Vec<Way> {
    let number = u16::try_from(port.port).unwrap_or_default();
    let mut ways = Vec::new();
    let mut push = |reach, host: &str, port, node| {
        ways.push(Way {
            reach,
            scheme: target.scheme.clone(),
            host: host.into(),
            port,
            path: String::new(),
            node,
        });
    };
    let spec = service.spec.as_ref();
    let cluster_ip = spec.and_then(|s| s.cluster_ip.as_deref());
    if let Some(ip) = cluster_ip.filter(|ip| !ip.is_empty() && *ip != "None") {
        push(Reach::ClusterIp, ip, number, None);
    }
    if let Some(node_port) = port.node_port.and_then(|p| u16::try_from(p).ok()) {
        for node in nodes {
            if let Some(address) = address_of(node) {
                let name = node.metadata.name.clone();
                push(Reach::NodePort, &address, node_port, name);
            }
        }
    }
    let balancer = service
        .status
        .as_ref()
        .and_then(|s| s.load_balancer.as_ref());
    for entry in balancer
        .and_then(|b| b.ingress.as_ref())
        .into_iter()
        .flatten()
    {
        if let Some(host) = entry.ip.as_deref().or(entry.hostname.as_deref()) {
            push(Reach::LoadBalancer, host, number, None);
        }
    }
    ways.extend(
        ingresses
            .iter()
            .flat_map(|i| ingress_ways(i, service, port)),
    );
    ways.retain(|way| target.reach == Reach::Auto || target.reach == way.reach);
    ways
}

/// An address of a node: the outer one where it has one. Only of nodes that are ready.
fn address_of(node: &Node) -> Option<String> {
    let status = node.status.as_ref()?;
    let ready = status
        .conditions
        .as_ref()?
        .iter()
        .any(|c| c.type_ == "Ready" && c.status == "True");
    let addresses = status.addresses.as_ref().filter(|_| ready)?;
    let of = |kind: &str| addresses.iter().find(|a| a.type_ == kind);
    Some(
        of("ExternalIP")
            .or_else(|| of("InternalIP"))?
            .address
            .clone(),
    )
}

fn ingress_ways(ingress: &Ingress, service: &Service, port: &ServicePort) -> Vec<Way> {
    let Some(spec) = &ingress.spec else {
        return Vec::new();
    };
    let leads_here = |backend: &k8s_openapi::api::networking::v1::IngressBackend| {
        backend.service.as_ref().is_some_and(|s| {
            let same_port = s.port.as_ref().is_none_or(|p| {
                p.number.is_none_or(|n| n == port.port) && (p.name.is_none() || p.name == port.name)
            });
            Some(&s.name) == service.metadata.name.as_ref() && same_port
        })
    };
    let tls: Vec<&String> = spec
        .tls
        .iter()
        .flatten()
        .flat_map(|t| t.hosts.iter().flatten())
        .collect();
    let mut ways = Vec::new();
    for rule in spec.rules.iter().flatten() {
        // Without a host any would do, but then it is not known which: the load balancer's address is.
        let Some(host) = rule
            .host
            .clone()
            .filter(|h| !h.contains('*'))
            .or_else(|| balancer(ingress))
        else {
            continue;
        };
        let secure = tls.contains(&&host);
        for path in rule
            .http
            .iter()
            .flat_map(|h| &h.paths)
            .filter(|p| leads_here(&p.backend))
        {
            let prefix = path.path.as_deref().unwrap_or("/").trim_end_matches('/');
            ways.push(Way {
                reach: Reach::Ingress,
                scheme: if secure {
                    "https".into()
                } else {
                    "http".into()
                },
                host: host.clone(),
                port: if secure { 443 } else { 80 },
                path: prefix.into(),
                node: None,
            });
        }
    }
    ways
}

fn balancer(ingress: &Ingress) -> Option<String> {
    let status = ingress.status.as_ref()?.load_balancer.as_ref()?;
    let entry = status.ingress.as_ref()?.first()?;
    entry.ip.clone().or_else(|| entry.hostname.clone())
}

/// The first way that takes a TCP connection from here. A Service made a moment ago is not in every node's rules
/// yet, so that all are tried for a while before none will do.
pub async fn probe(ways: &[Way]) -> Option<&Way> {
    let until = Instant::now() + PROBE_ALL;
    loop {
        for way in ways {
            let connect = TcpStream::connect((way.host.as_str(), way.port));
            if let Ok(Ok(_)) = tokio::time::timeout(PROBE, connect).await {
                return Some(way);
            }
        }
        if ways.is_empty() || Instant::now() >= until {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn names<'a>(names: impl Iterator<Item = Option<&'a str>>) -> String {
    names.flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
