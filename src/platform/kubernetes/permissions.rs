//! The one list of API calls that a run may make.
//!
//! From it come what `squall plan` prints, what it asks the cluster about before anything starts
//! (SelfSubjectAccessReview), and `deploy/kubernetes/rbac*.yaml`: the three cannot disagree.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;

mod rbac;

pub use rbac::{rbac, rbac_kubelets};

use super::api::Cluster;
use super::chaos_mesh;
use super::observe::OBSERVED;
use crate::platform::PlatformError;
use crate::scenario::{FaultKind, Reach, Seen};

/// A kind of call on a kind of resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// Whether it is asked for in the target's namespace, or for the whole cluster.
    pub namespaced: bool,
    /// The namespace, where it is another than the target's.
    pub elsewhere: Option<String>,
    /// The one object that it is asked for, with its namespace; all of them when absent.
    pub only: Option<(&'static str, &'static str)>,
    /// API group, empty for the core.
    pub group: &'static str,
    /// Resource, with a subresource after a slash.
    pub resource: &'static str,
    /// The verb.
    pub verb: &'static str,
    /// Whether the run cannot do without; the rest it leaves out with a word.
    pub required: bool,
    /// What for.
    pub purpose: &'static str,
}

impl std::fmt::Display for Permission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Permission {
            verb,
            resource,
            group,
            purpose,
            only,
            ..
        } = self;
        let group = if group.is_empty() {
            String::new()
        } else {
            format!(".{group}")
        };
        let scope = match (only, &self.elsewhere) {
            (Some((namespace, name)), _) => format!(" {namespace}/{name}"),
            (None, Some(namespace)) => format!(" in namespace {namespace}"),
            (None, None) if self.namespaced => String::new(),
            (None, None) => " in the whole cluster".into(),
        };
        write!(f, "{verb} {resource}{group}{scope} ({purpose})")
    }
}

/// Collects permissions for one purpose.
struct List(BTreeSet<Permission>);

impl List {
    fn add(
        &mut self,
        purpose: &'static str,
        required: bool,
        group: &'static str,
        resource: &'static str,
        verbs: &[&'static str],
    ) {
        let namespaced = resource != "nodes";
        for verb in verbs {
            // One that is required for something is required.
            if required {
                self.0.retain(|p| {
                    !(p.group == group && p.resource == resource && p.verb == *verb && !p.required)
                });
            }
            let known = self
                .0
                .iter()
                .any(|p| p.group == group && p.resource == resource && p.verb == *verb);
            if !known {
                self.0.insert(Permission {
                    namespaced,
                    elsewhere: None,
                    only: None,
                    group,
                    resource,
                    verb,
                    required,
                    purpose,
                });
            }
        }
    }

    /// What a fault and its undo take.
    fn add_fault(&mut self, fault: &FaultKind) {
        let name = fault.name();
        for (group, resource, verbs) in calls(fault) {
            self.add(name, true, group, resource, verbs);
        }
        if chaos_mesh::resource(fault).is_some() {
            // To say why one is not injected.
            self.add(name, false, "", "events", &["list"]);
        }
        if matches!(
            fault,
            FaultKind::CpuStress { .. } | FaultKind::MemoryStress { .. }
        ) {
            // Only where the pod has no squall of its own.
            self.add(name, false, "", "pods/ephemeralcontainers", &["patch"]);
            self.add(name, false, "", "pods/attach", &["create", "get"]);
        }
    }
}

/// What the Lease is for.
const LEASE: &str = "keep other runs off";

/// What a run may call: to find the target by this way, to observe, and to make and undo these faults.
pub fn needed<'a>(
    reach: Reach,
    faults: impl IntoIterator<Item = &'a FaultKind>,
) -> Vec<Permission> {
    let mut list = List(BTreeSet::new());
    let find = "find the target";
    list.add(find, true, "", "services", &["get"]);
    list.add(find, true, "", "pods", &["list"]);
    list.add(
        "name the Services there are",
        false,
        "",
        "services",
        &["list"],
    );
    if matches!(reach, Reach::Auto | Reach::NodePort) {
        list.add(
            "node port",
            reach == Reach::NodePort,
            "",
            "nodes",
            &["list"],
        );
    }
    if matches!(reach, Reach::Auto | Reach::Ingress) {
        list.add(
            "Ingress",
            reach == Reach::Ingress,
            "networking.k8s.io",
            "ingresses",
            &["list"],
        );
    }
    if matches!(reach, Reach::Auto | Reach::PortForward) {
        // Over a WebSocket the call is a GET; servers from 1.35 on ask for `create` as well.
        let verbs = ["create", "get"];
        list.add(
            "port-forward",
            reach == Reach::PortForward,
            "",
            "pods/portforward",
            &verbs,
        );
    }
    let watch = "observe";
    list.add(watch, true, "", "pods", &["list", "watch"]);
    list.add(
        watch,
        true,
        "discovery.k8s.io",
        "endpointslices",
        &["list", "watch"],
    );
    for observed in &OBSERVED {
        list.add(
            watch,
            false,
            observed.group,
            observed.plural,
            &["list", "watch"],
        );
    }
    let metrics = "metrics.k8s.io";
    list.add("record what pods use", false, metrics, "pods", &["list"]);
    let faults: Vec<&FaultKind> = faults.into_iter().collect();
    list.add(
        LEASE,
        !faults.is_empty(),
        "coordination.k8s.io",
        "leases",
        &["create", "delete", "get", "update"],
    );
    for fault in faults {
        list.add_fault(fault);
    }
    list.0.into_iter().collect()
}

/// What a run may call to find pods in another namespace than the target's, and to make and undo these faults there.
pub fn elsewhere(namespace: &str, faults: &[FaultKind]) -> Vec<Permission> {
    let mut list = List(BTreeSet::new());
    list.add("find pods", true, "", "pods", &["list", "watch"]);
    for fault in faults {
        list.add_fault(fault);
    }
    let mut all: Vec<Permission> = list.0.into_iter().collect();
    for call in all.iter_mut().filter(|p| p.namespaced) {
        call.elsewhere = Some(namespace.into());
    }
    all
}

/// Makes what these conditions look at required: a guard that cannot see guards nothing.
pub fn require(calls: &mut [Permission], looks_at: &BTreeSet<Seen>) {
    let resources = looks_at.iter().flat_map(|seen| match seen {
        Seen::NodesNotReady => ["nodes"].as_slice(),
        Seen::OthersDegraded => &["deployments", "statefulsets", "daemonsets"],
    });
    let resources: Vec<&str> = resources.copied().collect();
    for call in calls {
        let is_look = matches!(call.verb, "list" | "watch") && resources.contains(&call.resource);
        call.required |= is_look;
    }
}

/// A judge of autoscalers that cannot see them judges nothing.
pub fn require_autoscalers(calls: &mut [Permission]) {
    for call in calls
        .iter_mut()
        .filter(|c| c.resource == "horizontalpodautoscalers")
    {
        call.required = true;
    }
}

/// Who breaks things must be alone, wherever it breaks them.
pub fn require_lease(calls: &mut [Permission]) {
    for call in calls.iter_mut().filter(|c| c.resource == "leases") {
        call.required = true;
    }
}

/// The calls that a fault and its undo make.
fn calls(fault: &FaultKind) -> Vec<(&'static str, &'static str, &'static [&'static str])> {
    let workloads: [(&str, &str, &[&str]); 2] = [
        ("apps", "deployments", &["get", "patch"]),
        ("apps", "statefulsets", &["get", "patch"]),
    ];
    if let Some((_, plural)) = chaos_mesh::resource(fault) {
        return vec![(chaos_mesh::GROUP, plural, &["create", "delete", "get"])];
    }
    match fault {
        FaultKind::PodKill { .. } => vec![("", "pods", &["delete"])],
        FaultKind::Evict { .. } => vec![("", "pods/eviction", &["create"])],
        FaultKind::ContainerKill { .. } => vec![
            ("", "pods", &["get"]),
            ("", "pods/exec", &["create", "get"]),
        ],
        FaultKind::Cordon => vec![("", "nodes", &["get", "patch"])],
        FaultKind::Drain { .. } => vec![
            ("", "nodes", &["get", "patch"]),
            ("", "pods", &["list"]),
            ("", "pods/eviction", &["create"]),
        ],
        FaultKind::Scale { .. } | FaultKind::RolloutRestart | FaultKind::BadRollout { .. } => {
            workloads.to_vec()
        }
        FaultKind::CpuStress { .. } | FaultKind::MemoryStress { .. } => vec![
            ("", "pods", &["get"]),
            ("", "pods/exec", &["create", "get"]),
        ],
        FaultKind::Partition { .. } => vec![
            ("", "pods", &["get", "list", "patch"]),
            ("", "pods/exec", &["create", "get"]),
            (
                "networking.k8s.io",
                "networkpolicies",
                &["create", "delete"],
            ),
        ],
        // Its commands are not the cluster's; what they need is not known here.
        FaultKind::NodeLoss { .. } => vec![("", "pods", &["list"])],
        // Faults of other platforms.
        _ => Vec::new(),
    }
}

/// Where each undo of a change in a cluster needs a call: group, resource, verb. The guardian is asked for those of its
/// run before the first fault.
pub const UNDOING: [(&str, &str, &str); 13] = [
    ("", "nodes", "get"),
    ("", "nodes", "patch"),
    ("", "pods", "get"),
    ("", "pods", "patch"),
    ("apps", "deployments", "get"),
    ("apps", "deployments", "patch"),
    ("apps", "statefulsets", "get"),
    ("apps", "statefulsets", "patch"),
    ("networking.k8s.io", "networkpolicies", "delete"),
    (chaos_mesh::GROUP, "networkchaos", "delete"),
    (chaos_mesh::GROUP, "dnschaos", "delete"),
    (chaos_mesh::GROUP, "iochaos", "delete"),
    (chaos_mesh::GROUP, "timechaos", "delete"),
];

/// A call that undoes something, as the guardian is told of it: `VERB RESOURCE.GROUP`, and ` in NAMESPACE` where that
/// is not the guardian's own.
pub fn undoing(need: &str) -> Option<Permission> {
    let (call, place) = match need.split_once(" in ") {
        Some((call, place)) => (call, Some(place)),
        None => (need, None),
    };
    let known = |p: &&(&str, &str, &str)| format!("{} {}.{}", p.2, p.1, p.0) == call;
    let &(group, resource, verb) = UNDOING.iter().find(known)?;
    Some(Permission {
        namespaced: resource != "nodes",
        elsewhere: place.map(str::to_string),
        only: None,
        group,
        resource,
        verb,
        required: true,
        purpose: "undo",
    })
}

/// Whether a run that makes these calls changes what a guardian could undo.
pub fn undone_by_guardian(calls: &[Permission]) -> bool {
    let undoes =
        |p: &Permission| UNDOING.contains(&(p.group, p.resource, p.verb)) && p.verb != "get";
    calls.iter().any(undoes)
}

/// What starting the guardian takes.
pub fn guardian() -> Permission {
    Permission {
        namespaced: true,
        elsewhere: None,
        only: None,
        group: "batch",
        resource: "jobs",
        verb: "create",
        required: true,
        purpose: "guardian",
    }
}

/// What the guardian's end takes; where it is not allowed, the cluster's garbage collector does the same later.
fn guardian_leaves() -> Permission {
    Permission {
        verb: "delete",
        required: false,
        purpose: "the guardian's end",
        ..guardian()
    }
}

/// What seeing a restart of the cluster's controllers takes.
pub fn leader() -> Permission {
    Permission {
        namespaced: false,
        elsewhere: None,
        only: Some(("kube-system", super::usage::LEADER)),
        group: "coordination.k8s.io",
        resource: "leases",
        verb: "get",
        required: false,
        purpose: "see a restart of the autoscaler's controller",
    }
}

/// What asking the kubelets what pods use takes.
pub fn kubelets() -> Permission {
    Permission {
        namespaced: false,
        elsewhere: None,
        only: None,
        group: "",
        resource: "nodes/proxy",
        verb: "get",
        required: false,
        purpose: "ask kubelets what pods use",
    }
}

/// Whether this platform can make the fault at all.
pub fn supports(fault: &FaultKind) -> bool {
    !calls(fault).is_empty()
}

/// Asks the cluster which of these it would not allow.
pub async fn denied(
    cluster: &Cluster,
    namespace: &str,
    asked: &[Permission],
) -> Result<Vec<Permission>, PlatformError> {
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let reviews = asked.iter().map(|p| {
        let (resource, subresource) = match p.resource.split_once('/') {
            Some((resource, sub)) => (resource, Some(sub.to_string())),
            None => (p.resource, None),
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    namespace: match (p.only, &p.elsewhere) {
                        (Some((place, _)), _) => Some(place.into()),
                        (None, Some(place)) => Some(place.clone()),
                        (None, None) => p.namespaced.then(|| namespace.to_string()),
                    },
                    name: p.only.map(|(_, name)| name.into()),
                    group: Some(p.group.into()),
                    resource: Some(resource.into()),
                    subresource,
                    verb: Some(p.verb.into()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let api = api.clone();
        async move {
            let params = PostParams::default();
            let create = api.create(&params, &review);
            let answer = cluster.call("ask what is allowed", create).await?;
            let allowed = answer.status.is_some_and(|s| s.allowed);
            Ok::<_, PlatformError>((!allowed).then(|| p.clone()))
        }
    });
    Ok(try_join_all(reviews).await?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests;
