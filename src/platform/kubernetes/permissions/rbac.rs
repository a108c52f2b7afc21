//! The manifests `deploy/kubernetes/rbac.yaml` and `rbac-kubelets.yaml`, made from the list of calls.

use std::collections::{BTreeMap, BTreeSet};

use super::{Permission, guardian, guardian_leaves, kubelets, leader, needed};
use crate::scenario::units::{Ratio, Size};
use crate::scenario::{Direction, DnsAnswer, FaultKind, IoFiles, Reach, StressPlace};

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
        FaultKind::BlackHole,
        FaultKind::DnsFault {
            answer: DnsAnswer::Error,
            domains: Vec::new(),
        },
        FaultKind::IoDelay {
            latency: second,
            files: IoFiles {
                volume: String::new(),
                path: None,
                share: Ratio::fraction(1.0),
                container: None,
            },
        },
        FaultKind::ClockSkew {
            offset: second,
            behind: false,
            container: None,
        },
    ];
    let mut all = needed(Reach::Auto, &every);
    all.extend([guardian(), guardian_leaves(), leader()]);
    let of = |namespaced| all.iter().filter(move |p| p.namespaced == namespaced);
    RBAC.replace("NAMESPACED\n", &rules(of(true)))
        .replace("CLUSTER\n", &rules(of(false)))
}

/// The manifest that grants what kubelets tell, for which a run may well do without.
pub fn rbac_kubelets() -> String {
    RBAC_KUBELETS.replace("CLUSTER\n", &rules([kubelets()].iter()))
}

/// The rules of a role, one for each resource.
fn rules<'a>(permissions: impl Iterator<Item = &'a Permission>) -> String {
    type Of<'a> = (&'a str, &'a str, Option<(&'a str, &'a str)>);
    let mut rules: BTreeMap<Of, BTreeSet<&str>> = BTreeMap::new();
    for p in permissions {
        rules
            .entry((p.group, p.resource, p.only))
            .or_default()
            .insert(p.verb);
    }
    let rule = |((group, resource, only), verbs): (Of, BTreeSet<&str>)| {
        let verbs = verbs.into_iter().collect::<Vec<_>>().join(", ");
        let only = only.map_or(String::new(), |(_, name)| {
            format!("resourceNames: [{name}], ")
        });
        format!(
            "  - {{apiGroups: [\"{group}\"], resources: [\"{resource}\"], {only}verbs: [{verbs}]}}\n"
        )
    };
    rules.into_iter().map(rule).collect()
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
# Nodes are not in a namespace: cordon and drain change them, everything else only reads them. The lease tells when
# the cluster's controllers begin anew, for `expect: autoscale`.
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

const RBAC_KUBELETS: &str = r#"# Besides `rbac.yaml`, for `expect: usage` in clusters without metrics.k8s.io, and for throttling anywhere. Think twice: whoever
# may get `nodes/proxy` reads all that kubelets give away, and may run commands in any pod through them. Without it a run
# goes on, and says that use, or throttling, is not seen. Made from the list that `squall plan` checks; do not edit.
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: squall-kubelets-shop}
rules:
CLUSTER
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: squall-kubelets-shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: squall-kubelets-shop}
subjects: [{kind: ServiceAccount, name: squall, namespace: shop}]
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_are_the_ones_that_are_made() {
        for (name, made) in [
            ("rbac.yaml", rbac()),
            ("rbac-kubelets.yaml", rbac_kubelets()),
        ] {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kubernetes/");
            let path = format!("{path}{name}");
            if std::env::var_os("SQUALL_WRITE_RBAC").is_some() {
                std::fs::write(&path, &made).expect("written");
            }
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                committed == made,
                "{path} is not what the list makes: SQUALL_WRITE_RBAC=1 cargo test --lib rbac writes it"
            );
        }
    }

    #[test]
    fn kubelets_are_only_in_the_manifest_of_their_own() {
        assert!(!rbac().contains("nodes/proxy"));
        assert!(rbac_kubelets().contains("nodes/proxy"));
    }
}
