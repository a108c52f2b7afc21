//! The manifest `deploy/kubernetes/rbac.yaml`, made from the list of calls.

use std::collections::{BTreeMap, BTreeSet};

use super::{guardian, guardian_leaves, kubelets, leader, needed};
use crate::scenario::units::Size;
use crate::scenario::{Direction, FaultKind, Reach, StressPlace};

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
    all.extend([guardian(), guardian_leaves(), leader(), kubelets()]);
    let rules = |namespaced: bool| {
        type Of<'a> = (&'a str, &'a str, Option<(&'a str, &'a str)>);
        let mut rules: BTreeMap<Of, BTreeSet<&str>> = BTreeMap::new();
        for p in all.iter().filter(|p| p.namespaced == namespaced) {
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
# Nodes are not in a namespace: cordon and drain change them, everything else only reads them. The lease tells when
# the cluster's controllers begin anew, for `expect: autoscale`. `nodes/proxy` leads to all that a kubelet gives away: it is
# for `expect: usage` in clusters without metrics.k8s.io, and for throttling; leave it out where you need neither.
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
