//! The one list of API calls that a run may make.
//!
//! From it come what `squall plan` prints, what it asks the cluster about before anything starts
//! (SelfSubjectAccessReview), and `deploy/kubernetes/rbac.yaml`: the three cannot disagree.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;

use super::api::Cluster;
use super::observe::OBSERVED;
use crate::platform::PlatformError;
use crate::scenario::units::Size;
use crate::scenario::{Direction, FaultKind, Reach, StressPlace};

/// A kind of call on a kind of resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// Whether it is asked for in the target's namespace, or for the whole cluster.
    pub namespaced: bool,
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
            ..
        } = self;
        let group = if group.is_empty() {
            String::new()
        } else {
            format!(".{group}")
        };
        let scope = if self.namespaced {
            ""
        } else {
            " in the whole cluster"
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
                    group,
                    resource,
                    verb,
                    required,
                    purpose,
                });
            }
        }
    }
}

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
    let faults: Vec<&FaultKind> = faults.into_iter().collect();
    list.add(
        "keep other runs off",
        !faults.is_empty(),
        "coordination.k8s.io",
        "leases",
        &["create", "delete", "get", "update"],
    );
    for fault in faults {
        for (group, resource, verbs) in calls(fault) {
            list.add(fault.name(), true, group, resource, verbs);
        }
        if matches!(
            fault,
            FaultKind::CpuStress { .. } | FaultKind::MemoryStress { .. }
        ) {
            // Only where the pod has no squall of its own.
            let name = fault.name();
            list.add(name, false, "", "pods/ephemeralcontainers", &["patch"]);
            list.add(name, false, "", "pods/attach", &["create", "get"]);
        }
    }
    list.0.into_iter().collect()
}

/// The calls that a fault and its undo make.
fn calls(fault: &FaultKind) -> Vec<(&'static str, &'static str, &'static [&'static str])> {
    let workloads: [(&str, &str, &[&str]); 2] = [
        ("apps", "deployments", &["get", "patch"]),
        ("apps", "statefulsets", &["get", "patch"]),
    ];
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
        FaultKind::Kill
        | FaultKind::Stop { .. }
        | FaultKind::Freeze
        | FaultKind::Delay { .. }
        | FaultKind::Drop { .. }
        | FaultKind::Reset { .. }
        | FaultKind::BlackHole => Vec::new(),
    }
}

/// Where each undo of a change in a cluster needs a call: group, resource, verb. The guardian is asked for those of its
/// run before the first fault.
pub const UNDOING: [(&str, &str, &str); 9] = [
    ("", "nodes", "get"),
    ("", "nodes", "patch"),
    ("", "pods", "get"),
    ("", "pods", "patch"),
    ("apps", "deployments", "get"),
    ("apps", "deployments", "patch"),
    ("apps", "statefulsets", "get"),
    ("apps", "statefulsets", "patch"),
    ("networking.k8s.io", "networkpolicies", "delete"),
];

/// One of [`UNDOING`] as a permission.
pub fn undoing(
    &(group, resource, verb): &(&'static str, &'static str, &'static str),
) -> Permission {
    Permission {
        namespaced: resource != "nodes",
        group,
        resource,
        verb,
        required: true,
        purpose: "undo",
    }
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
        group: "batch",
        resource: "jobs",
        verb: "create",
        required: true,
        purpose: "guardian",
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
                    namespace: p.namespaced.then(|| namespace.to_string()),
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

/// The manifest that grants all that any run may need, for the targets of one namespace.
pub fn rbac() -> String {
    let second = std::time::Duration::from_secs(1);
    let every = [
        FaultKind::PodKill { grace: None },
        FaultKind::Evict { deadline: second },
        FaultKind::ContainerKill {
            container: None,
            signal: String::new(),
        },
        FaultKind::Cordon,
        FaultKind::Drain { deadline: second },
        FaultKind::Scale { replicas: 0 },
        FaultKind::RolloutRestart,
        FaultKind::BadRollout {
            image: String::new(),
        },
        FaultKind::MemoryStress {
            size: Size::bytes(1),
            place: StressPlace {
                container: None,
                image: String::new(),
            },
        },
        FaultKind::Partition {
            direction: Direction::Both,
            from: BTreeMap::new(),
            to: BTreeMap::new(),
        },
        FaultKind::NodeLoss {
            down: String::new(),
            up: String::new(),
        },
    ];
    let mut all = needed(Reach::Auto, &every);
    all.push(guardian());
    let rules = |namespaced: bool| {
        let mut rules: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
        for p in all.iter().filter(|p| p.namespaced == namespaced) {
            rules
                .entry((p.group, p.resource))
                .or_default()
                .insert(p.verb);
        }
        let rule = |((group, resource), verbs): ((&str, &str), BTreeSet<&str>)| {
            let verbs = verbs.into_iter().collect::<Vec<_>>().join(", ");
            format!(
                "  - {{apiGroups: [\"{group}\"], resources: [\"{resource}\"], verbs: [{verbs}]}}\n"
            )
        };
        rules.into_iter().map(rule).collect::<String>()
    };
    RBAC.replace("NAMESPACED\n", &rules(true))
        .replace("CLUSTER\n", &rules(false))
}

const RBAC: &str = r#"# What squall may do to the services of namespace `shop`: all that its faults, their undo and its watches need, and
# no more. Made from the list that `squall plan` checks; do not edit (a test compares). For another namespace replace
# `shop`; leave out what your scenarios do not need: `squall plan` says what is missing before anything starts.
apiVersion: v1
kind: ServiceAccount
metadata: {name: squall, namespace: shop}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: squall, namespace: shop}
rules:
NAMESPACED
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: squall, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: squall}
subjects: [{kind: ServiceAccount, name: squall, namespace: shop}]
---
# Nodes are not in a namespace: cordon and drain change them, everything else only reads them.
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: squall-shop}
rules:
CLUSTER
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: squall-shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: squall-shop}
subjects: [{kind: ServiceAccount, name: squall, namespace: shop}]
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn has(list: &[Permission], verb: &str, resource: &str) -> Option<bool> {
        list.iter()
            .find(|p| p.verb == verb && p.resource == resource)
            .map(|p| p.required)
    }

    #[test]
    fn a_run_asks_for_what_its_faults_need_and_no_more() {
        let quiet = needed(Reach::ClusterIp, &[]);
        assert_eq!(has(&quiet, "watch", "pods"), Some(true));
        assert_eq!(has(&quiet, "watch", "events"), Some(false));
        assert_eq!(has(&quiet, "delete", "pods"), None);
        assert_eq!(has(&quiet, "create", "pods/portforward"), None);
        assert!(
            quiet
                .iter()
                .all(|p| matches!(p.verb, "get" | "list" | "watch") || p.resource == "leases"),
            "{quiet:?}"
        );
        let kill = needed(Reach::ClusterIp, &[FaultKind::PodKill { grace: None }]);
        assert_eq!(has(&kill, "delete", "pods"), Some(true));
        assert_eq!(kill.len(), quiet.len() + 1);
        // Who breaks things must be alone; who only sends traffic may do without.
        assert_eq!(has(&quiet, "update", "leases"), Some(false));
        assert_eq!(has(&kill, "update", "leases"), Some(true));
    }

    #[test]
    fn each_call_is_in_the_list_once_and_required_if_anything_requires_it() {
        // Reading nodes is a courtesy of the watches, and what a node port stands on.
        let list = needed(Reach::NodePort, &[FaultKind::Cordon, FaultKind::Cordon]);
        let reads: Vec<_> = list
            .iter()
            .filter(|p| p.resource == "nodes" && p.verb == "list")
            .collect();
        assert!(matches!(reads[..], [p] if p.required), "{reads:?}");
        let mut calls: Vec<_> = list.iter().map(|p| (p.group, p.resource, p.verb)).collect();
        calls.dedup();
        assert_eq!(calls.len(), list.len());
    }

    #[test]
    fn the_rbac_manifest_is_the_one_that_is_made() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kubernetes/rbac.yaml");
        if std::env::var_os("SQUALL_WRITE_RBAC").is_some() {
            std::fs::write(path, rbac()).expect("written");
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == rbac(),
            "deploy/kubernetes/rbac.yaml is not what the list makes: SQUALL_WRITE_RBAC=1 cargo test --lib rbac writes it"
        );
    }
}
