//! What a run may break in a cluster, decided at the moment of each fault. Pure.

use super::pods::Priority;
use crate::scenario::Guard;

/// Holds what the cluster itself stands on: broken only where it is named.
const SYSTEM: &str = "kube-system";
/// The priority classes that every cluster has for what it cannot live without.
const CRITICAL: [&str; 2] = ["system-cluster-critical", "system-node-critical"];
/// Priorities from here on are the system's: no class of a user may have one.
const CRITICAL_VALUE: i32 = 2_000_000_000;

/// The part of a scenario's guard that only a cluster can break.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Namespaces whose pods may be broken; the target's own where nothing is said.
    pub namespaces: Option<Vec<String>>,
    /// Critical priority classes whose pods may be broken all the same.
    pub priority_classes: Vec<String>,
}

impl Limits {
    /// Those of a scenario.
    pub fn of(guard: &Guard) -> Self {
        Self {
            namespaces: guard.namespaces.clone(),
            priority_classes: guard.priority_classes.clone(),
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
    pub fn pod(&self, namespace: &str, name: &str, priority: &Priority) -> Result<(), String> {
        self.namespace(namespace)?;
        let class = priority.class.as_deref().unwrap_or_default();
        let critical =
            CRITICAL.contains(&class) || priority.value.is_some_and(|v| v >= CRITICAL_VALUE);
        if !critical || self.priority_classes.iter().any(|c| c == class) {
            return Ok(());
        }
        Err(format!(
            "pod {name} is critical to the system (priority class {class}): only where `guard.priority-classes` \
             names the class it is broken"
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
            let pod = limits(named, &[]).pod(namespace, "p", &Priority::default());
            assert_eq!(pod, result, "and so it is with each pod there");
        }
    }

    #[test]
    fn critical_pods_are_left_alone_unless_their_class_is_named() {
        let pod = |class: &str, value| Priority {
            class: Some(class.into()),
            value: Some(value),
        };
        for (classes, priority, allowed) in [
            (&[][..], Priority::default(), true),
            (&[], pod("gold", 1_000_000_000), true),
            (&[], pod("system-cluster-critical", 2_000_000_000), false),
            (&[], pod("system-node-critical", 2_000_001_000), false),
            // Only the number tells: the class was renamed, or is one of the provider's.
            (&[], pod("provider", 2_000_000_000), false),
            (&["provider"], pod("provider", 2_000_000_000), true),
            (
                &["system-node-critical"],
                pod("system-cluster-critical", 0),
                false,
            ),
            (
                &["system-cluster-critical"],
                pod("system-cluster-critical", 0),
                true,
            ),
        ] {
            let result = limits(None, classes).pod("shop", "p", &priority);
            assert_eq!(
                result.is_ok(),
                allowed,
                "{classes:?} {priority:?}: {result:?}"
            );
        }
    }
}
