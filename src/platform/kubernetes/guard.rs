//! What a run may break in a cluster, decided at the moment of each fault. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::own::Own;
use super::pods::Priority;
use crate::scenario::{Guard, KeepReady, OptIn, Seen};

/// Holds what the cluster itself stands on: broken only where it is named.
const SYSTEM: &str = "kube-system";
/// The priority classes that every cluster has for what it cannot live without.
const CRITICAL: [&str; 2] = ["system-cluster-critical", "system-node-critical"];
/// Priorities from here on are the system's: no class of a user may have one.
const CRITICAL_VALUE: i32 = 2_000_000_000;

/// The part of a scenario's guard that only a cluster can break.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Namespaces whose pods may be broken; the target's own where nothing is said.
    pub namespaces: Option<Vec<String>>,
    /// Critical priority classes whose pods may be broken all the same.
    pub priority_classes: Vec<String>,
    /// The label without which nothing is broken.
    pub opt_in: Option<OptIn>,
    /// How many pods of each workload must stay ready where a node is emptied.
    pub keep_ready: Option<KeepReady>,
    /// What must be seen around the target: conditions that end the run are on it.
    pub looks_at: BTreeSet<Seen>,
    /// The pod that squall itself runs in.
    pub own: Option<Own>,
}

/// A pod that is about to be broken.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its priority.
    pub priority: &'a Priority,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The labels of what makes it, where they are known.
    pub owner_labels: Option<&'a BTreeMap<String, String>>,
}

impl Limits {
    /// Those of a scenario.
    pub fn of(guard: &Guard) -> Self {
        Self {
            namespaces: guard.namespaces.clone(),
            priority_classes: guard.priority_classes.clone(),
            opt_in: guard.opt_in.clone(),
            keep_ready: guard.keep_ready,
            looks_at: guard.looks_at().collect(),
            own: None,
        }
    }

    /// Whether anything in the target's namespace may be broken; if not, why.
    pub fn namespace(&self, namespace: &str) -> Result<(), String> {
        match &self.namespaces {
            Some(named) if named.iter().any(|n| n == namespace) => Ok(()),
            Some(named) => Err(format!(
                "namespace {namespace} is not one of those that may be broken ({}): name it in `guard.namespaces`",
                named.join(", ")
            )),
            None if namespace == SYSTEM => Err(format!(
                "nothing in {SYSTEM} is broken unless `guard.namespaces` names it"
            )),
            None => Ok(()),
        }
    }

    /// Whether this pod may be broken; if not, why.
    pub fn pod(&self, pod: Candidate<'_>) -> Result<(), String> {
        let name = pod.name;
        self.namespace(pod.namespace)?;
        if self.is_own(pod.namespace, name) {
            return Err(format!(
                "squall itself runs in pod {name}: that is never broken"
            ));
        }
        self.opted_in(pod)?;
        let class = pod.priority.class.as_deref().unwrap_or_default();
        let critical =
            CRITICAL.contains(&class) || pod.priority.value.is_some_and(|v| v >= CRITICAL_VALUE);
        if !critical || self.priority_classes.iter().any(|c| c == class) {
            return Ok(());
        }
        Err(format!(
            "pod {name} is critical to the system (priority class {class}): only where `guard.priority-classes` \
             names the class it is broken"
        ))
    }

    /// Whether this node may be lost; if not, why.
    pub fn loss_of(&self, node: &str) -> Result<(), String> {
        match &self.own {
            Some(own) if own.node.as_deref() == Some(node) => Err(format!(
                "squall itself runs on node {node} (pod {}): it is not taken away",
                own.name
            )),
            _ => Ok(()),
        }
    }

    /// Whether it is squall's own pod.
    pub fn is_own(&self, namespace: &str, name: &str) -> bool {
        let own = self.own.as_ref();
        own.is_some_and(|own| (own.namespace.as_str(), own.name.as_str()) == (namespace, name))
    }

    fn opted_in(&self, pod: Candidate<'_>) -> Result<(), String> {
        let Some(label) = &self.opt_in else {
            return Ok(());
        };
        let has = |labels: &BTreeMap<String, String>| labels.get(&label.key) == Some(&label.value);
        if has(pod.labels) || pod.owner_labels.is_some_and(has) {
            return Ok(());
        }
        Err(format!(
            "pod {} has not the label {label} (`guard.opt-in`), nor has its workload",
            pod.name
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(namespaces: Option<&[&str]>, classes: &[&str]) -> Limits {
        let owned = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        Limits {
            namespaces: namespaces.map(owned),
            priority_classes: owned(classes),
            ..Limits::default()
        }
    }

    fn pod<'a>(namespace: &'a str, priority: &'a Priority) -> Candidate<'a> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        Candidate {
            namespace,
            name: "p",
            priority,
            labels: &NONE,
            owner_labels: None,
        }
    }

    #[test]
    fn the_systems_namespace_must_be_named_and_any_other_not_left_out() {
        for (named, namespace, allowed) in [
            (None, "shop", true),
            (None, "kube-system", false),
            (Some(&["shop"][..]), "shop", true),
            (Some(&["shop"]), "shop-2", false),
            (Some(&["shop"]), "kube-system", false),
            (Some(&["shop", "kube-system"]), "kube-system", true),
        ] {
            let result = limits(named, &[]).namespace(namespace);
            assert_eq!(result.is_ok(), allowed, "{named:?} {namespace}: {result:?}");
            let allowed = limits(named, &[]).pod(pod(namespace, &Priority::default()));
            assert_eq!(allowed, result, "and so it is with each pod there");
        }
    }

    #[test]
    fn critical_pods_are_left_alone_unless_their_class_is_named() {
        let of = |class: &str, value| Priority {
            class: Some(class.into()),
            value: Some(value),
        };
        for (classes, priority, allowed) in [
            (&[][..], Priority::default(), true),
            (&[], of("gold", 1_000_000_000), true),
            (&[], of("system-cluster-critical", 2_000_000_000), false),
            (&[], of("system-node-critical", 2_000_001_000), false),
            // Only the number tells: the class was renamed, or is one of the provider's.
            (&[], of("provider", 2_000_000_000), false),
            (&["provider"], of("provider", 2_000_000_000), true),
            (
                &["system-node-critical"],
                of("system-cluster-critical", 0),
                false,
            ),
            (
                &["system-cluster-critical"],
                of("system-cluster-critical", 0),
                true,
            ),
        ] {
            let result = limits(None, classes).pod(pod("shop", &priority));
            assert_eq!(
                result.is_ok(),
                allowed,
                "{classes:?} {priority:?}: {result:?}"
            );
        }
    }

    #[test]
    fn who_must_opt_in_does_so_by_a_label_of_its_own_or_of_its_owner() {
        let limits = Limits {
            opt_in: Some(OptIn {
                key: "squall.dev/allow".into(),
                value: "true".into(),
            }),
            ..Limits::default()
        };
        let labels = |value: &str| BTreeMap::from([("squall.dev/allow".into(), value.into())]);
        let (yes, no, none) = (labels("true"), labels("false"), BTreeMap::new());
        for (own, owner, allowed) in [
            (&none, None, false),
            (&yes, None, true),
            (&no, None, false),
            (&none, Some(&yes), true),
            (&none, Some(&no), false),
            (&no, Some(&yes), true),
        ] {
            let priority = Priority::default();
            let candidate = Candidate {
                labels: own,
                owner_labels: owner,
                ..pod("shop", &priority)
            };
            let result = limits.pod(candidate);
            assert_eq!(result.is_ok(), allowed, "{own:?} {owner:?}: {result:?}");
        }
    }

    #[test]
    fn squall_does_not_break_itself_nor_its_node() {
        let limits = Limits {
            own: Some(Own {
                namespace: "shop".into(),
                name: "p".into(),
                node: Some("n1".into()),
            }),
            ..Limits::default()
        };
        let priority = Priority::default();
        let error = limits.pod(pod("shop", &priority)).unwrap_err();
        assert!(error.contains("squall itself"), "{error}");
        assert_eq!(limits.pod(pod("shop-2", &priority)), Ok(()));
        assert!(limits.loss_of("n1").is_err() && limits.loss_of("n2").is_ok());
    }
}
