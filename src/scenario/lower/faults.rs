//! Faults and the guard.

use std::collections::HashSet;

use super::fault_kind::{fault_kind, labels};
use super::{Lower, duration, one_or_more, parsed, show, text, traffic_end};
use crate::scenario::expression;
use crate::scenario::model::{
    AbortOn, FaultSpec, Flow, Guard, KeepReady, LocalTarget, NAMESPACE_LABEL, NODE_LABEL,
    OWNER_LABEL, OptIn, Pick, Select, Target, When, ZONE_LABEL,
};
use crate::scenario::problem::{Problem, Span};
use crate::scenario::shape::KINDS;
use crate::scenario::tree::{Entry, Node};

impl Lower<'_> {
    pub(super) fn faults(
        &mut self,
        root: &Node,
        target: Option<&Target>,
        traffic: Option<&[Flow]>,
    ) -> Option<Vec<FaultSpec>> {
        let Some(entry) = root.entry("faults") else {
            return Some(Vec::new());
        };
        let nodes = entry.value.list()?;
        if let (Some(Target::Url(_)), false) = (target, nodes.is_empty()) {
            let problem = Problem::new(
                entry.key_at,
                "a `url` target can be loaded and measured, but not broken",
            );
            self.report(problem.expected("no `faults`, or a `local` or `kubernetes` target"));
        }
        let local = match target {
            Some(Target::Local(local)) => Some(local),
            _ => None,
        };
        let mut names = HashSet::new();
        let faults: Vec<_> = nodes
            .iter()
            .map(|node| {
                let kind = node.map()?.iter().find(|e| KINDS.contains(&e.key.as_str()));
                if let (Some(kind), Some(target)) = (kind, target) {
                    self.check_kind(kind, target);
                }
                if let Some(kind) = kind {
                    self.check_settings(kind);
                    self.check_namespace(kind, root, target);
                }
                let at = self.fault_time(node, traffic);
                let name = kind.and_then(|kind| self.fault_name(node, &kind.key, &mut names));
                let own = match target {
                    Some(Target::Kubernetes(target)) => target.namespace.as_deref(),
                    _ => None,
                };
                let select = kind.and_then(|kind| self.select(&kind.value, local, own));
                if let (Some(select), Some(kind), None) = (&select, kind, node.get("every")) {
                    self.check_each(select, &kind.value);
                }
                Some(FaultSpec {
                    name: name?,
                    at: at?,
                    every: duration(node, "every"),
                    times: parsed(node, "times"),
                    lasts: duration(node, "for"),
                    when: self.when(node, target),
                    kind: fault_kind(kind?)?,
                    select: select?,
                })
            })
            .collect();
        faults.into_iter().collect()
    }

    /// What must be seen first.
    fn when(&mut self, node: &Node, target: Option<&Target>) -> Option<When> {
        let (when, after) = (text(node, "when"), text(node, "after"));
        if let (None, None, Some(entry)) = (&when, &after, node.entry("within")) {
            let problem = Problem::new(
                entry.key_at,
                "`within` bounds a wait, and nothing is waited for",
            );
            self.report(problem.expected("`when` or `after` beside it"));
        }
        if let (Some(entry), Some(Target::Local(_)), Some("rollout")) =
            (node.entry("after"), target, after.as_deref())
        {
            let problem = Problem::new(entry.key_at, "a `local` target has no rollouts");
            self.report(problem.expected("no `after`, or a `kubernetes` target"));
        }
        let both = [when.as_deref(), after.as_deref().map(|_| "after rollout")];
        let both: Vec<&str> = both.into_iter().flatten().collect();
        (!both.is_empty()).then(|| When {
            text: both.join(", "),
            ready: when.as_deref().and_then(|text| expression::when(text).ok()),
            after_rollout: after.is_some(),
            within: duration(node, "within"),
        })
    }

    fn fault_time(&mut self, node: &Node, traffic: Option<&[Flow]>) -> Option<std::time::Duration> {
        let at = duration(node, "at")?;
        let end = traffic.map(traffic_end).filter(|end| !end.is_zero());
        if let (Some(end), Some(place)) = (end, node.get("at"))
            && at >= end
        {
            let message = format!(
                "the fault would come after the end of all traffic, at {}",
                show(end)
            );
            self.report(
                Problem::new(place.at, message).expected(format!("a time before {}", show(end))),
            );
        }
        Some(at)
    }

    /// The name as written, or one made from the kind: `kill`, `kill-2`, ...
    fn fault_name(
        &mut self,
        node: &Node,
        kind: &str,
        taken: &mut HashSet<String>,
    ) -> Option<String> {
        if let Some(given) = node.get("name") {
            let name = given.text()?.trim().to_string();
            if !taken.insert(name.clone()) {
                let problem = Problem::new(given.at, format!("a fault is called `{name}` already"));
                self.report(problem.expected("a name of its own for each fault"));
            }
            return Some(name);
        }
        let numbered = (2..).map(|n| format!("{kind}-{n}"));
        let mut names = std::iter::once(kind.to_string()).chain(numbered);
        names.find(|name| taken.insert(name.clone()))
    }

    /// Another namespace is broken only where the guard names it.
    fn check_namespace(&mut self, kind: &Entry, root: &Node, target: Option<&Target>) {
        let Some(Target::Kubernetes(target)) = target else {
            return;
        };
        let Some((node, name)) = kind
            .value
            .get("namespace")
            .and_then(|n| Some((n, n.text()?)))
        else {
            return;
        };
        let Some(own) = &target.namespace else {
            let message =
                format!("whether `{name}` is another namespace than the target's is not said");
            self.report(Problem::new(node.at, message).expected("`namespace` in the target too"));
            return;
        };
        let named = root
            .get("guard")
            .and_then(|g| g.get("namespaces"))
            .and_then(Node::list);
        let named: Vec<&str> = named
            .unwrap_or_default()
            .iter()
            .filter_map(Node::text)
            .collect();
        if name != own && !named.contains(&name) {
            let message = format!("nothing in namespace `{name}` may be broken");
            let problem = Problem::new(node.at, message)
                .expected(format!("`guard: {{ namespaces: [{own}, {name}] }}`"));
            self.report(problem.nearest(name, named));
        }
    }

    /// Whom a fault hits; `own` is the target's namespace.
    fn select(
        &mut self,
        node: &Node,
        local: Option<&LocalTarget>,
        own: Option<&str>,
    ) -> Option<Select> {
        let mut names = Vec::new();
        for name in node.get("name").map(one_or_more).unwrap_or_default() {
            let text = name.text()?.trim().to_string();
            if let Some(local) = local {
                self.check_instance(&text, local, name.at);
            }
            names.push(text);
        }
        let labels = labels(node, "select").into_iter();
        let places = [
            ("node", NODE_LABEL),
            ("zone", ZONE_LABEL),
            ("owner", OWNER_LABEL),
            ("namespace", NAMESPACE_LABEL),
        ];
        let places = places
            .iter()
            .filter_map(|(key, label)| Some((label.to_string(), text(node, key)?)))
            .filter(|(label, value)| label != NAMESPACE_LABEL || Some(value.as_str()) != own);
        let labels = labels.chain(places);
        let pick = match node.get("pick") {
            Some(pick) => expression::pick(pick.text()?).ok()?,
            // Who lists names means all of them.
            None if !names.is_empty() => Pick::All,
            None => Pick::default(),
        };
        let candidates = match (names.len(), local) {
            (0, Some(local)) => Some(local.instances),
            (0, None) => None,
            (listed, _) => u32::try_from(listed).ok(),
        };
        if let (Pick::Count(count), Some(candidates)) = (pick, candidates)
            && count > candidates
        {
            let at = node.get("pick").map(|n| n.at).unwrap_or(node.at);
            let problem = Problem::new(
                at,
                format!("{count} of {candidates} instances cannot be picked"),
            );
            self.report(problem.expected(format!("at most {candidates}, a share, or all")));
        }
        Some(Select {
            names,
            labels: labels.collect(),
            pick,
            ready: text(node, "ready").is_some_and(|ready| ready == "true"),
        })
    }

    /// One after another takes a distance.
    fn check_each(&mut self, select: &Select, kind: &Node) {
        if let (Pick::Each, Some(pick)) = (select.pick, kind.get("pick")) {
            let problem = Problem::new(
                pick.at,
                "`each` hits one after another, and nothing says how far apart",
            );
            self.report(problem.expected("`every` beside the fault"));
        }
    }

    fn check_instance(&mut self, name: &str, local: &LocalTarget, at: Span) {
        let number = name
            .strip_prefix(&format!("{}-", local.name))
            .and_then(|n| n.parse::<u32>().ok());
        let known = number.filter(|n| (1..=local.instances).contains(n));
        if known.is_some_and(|n| format!("{}-{n}", local.name) == name) {
            return;
        }
        let names: Vec<_> = (1..=local.instances.min(100))
            .map(|n| format!("{}-{n}", local.name))
            .collect();
        let expected = match &names[..] {
            [only] => format!("`{only}`"),
            _ => format!("{0}-1 to {0}-{1}", local.name, local.instances),
        };
        let problem =
            Problem::new(at, format!("the target has no instance `{name}`")).expected(expected);
        self.report(problem.nearest(name, names.iter().map(String::as_str)));
    }

    pub(super) fn guard(
        &mut self,
        root: &Node,
        target: Option<&Target>,
        faults: Option<&[FaultSpec]>,
    ) -> Option<Guard> {
        let node = root.get("guard")?;
        let keep_ready = match node.get("keep-ready") {
            Some(keep) => Some(expression::keep_ready(keep.text()?).ok()?),
            None => None,
        };
        if let (Some(keep), Some(entry)) = (keep_ready, node.entry("keep-ready")) {
            match target {
                // With faults it has been said already that there is nothing to break.
                Some(Target::Url(_)) if root.get("faults").is_none() => {
                    let problem = Problem::new(
                        entry.key_at,
                        "a `url` target has no instances that are known",
                    );
                    self.report(problem.expected("no `keep-ready`, or a `local` target"));
                }
                Some(Target::Local(local)) => {
                    self.check_keep_ready(keep, local, faults, root, entry)
                }
                _ => {}
            }
        }
        let no_cluster = matches!(target, Some(Target::Local(_) | Target::Url(_)));
        for (key, what) in [
            ("namespaces", "namespaces"),
            ("priority-classes", "priority-classes"),
            ("opt-in", "pods with labels"),
        ] {
            if let (Some(entry), true) = (node.entry(key), no_cluster) {
                let problem = Problem::new(entry.key_at, format!("only a cluster has {what}"));
                self.report(problem.expected(format!("no `{key}`, or a `kubernetes` target")));
            }
        }
        let names = |key: &str| -> Option<Vec<String>> {
            let names = node.get(key)?.list()?.iter();
            names.map(|n| n.text().map(str::to_string)).collect()
        };
        let mut abort_when = Vec::new();
        for condition in node.get("abort-when").map(one_or_more).unwrap_or_default() {
            let when = expression::abort_when(condition.text()?).ok()?;
            if let (AbortOn::Seen { .. }, true) = (when.on, no_cluster) {
                let message = "only a cluster has nodes and other workloads";
                self.report(Problem::new(condition.at, message).expected(
                    "a metric of the traffic, such as errors > 50% for 10s, or a `kubernetes` target",
                ));
            }
            abort_when.push(when);
        }
        Some(Guard {
            keep_ready,
            max_faults: parsed(node, "max-faults"),
            abort_when,
            namespaces: names("namespaces"),
            priority_classes: names("priority-classes").unwrap_or_default(),
            opt_in: text(node, "opt-in")
                .and_then(|text| expression::label(&text))
                .map(|(key, value)| OptIn { key, value }),
        })
    }

    /// A guard that cannot be kept, or that never lets a fault through, is a mistake.
    fn check_keep_ready(
        &mut self,
        keep: KeepReady,
        local: &LocalTarget,
        faults: Option<&[FaultSpec]>,
        root: &Node,
        entry: &Entry,
    ) {
        let instances = local.instances;
        let required = match keep {
            KeepReady::Count(count) => count,
            KeepReady::Share(share) => (share.get() * f64::from(instances)).ceil() as u32,
        };
        if required > instances {
            let message = format!("{required} instances cannot stay ready: there are {instances}");
            self.report(
                Problem::new(entry.value.at, message).expected(format!("at most {instances}")),
            );
            return;
        }
        let nodes = root.get("faults").and_then(Node::list).unwrap_or_default();
        for (fault, node) in faults.unwrap_or_default().iter().zip(nodes) {
            let hit = hit_count(&fault.select, instances);
            if hit <= instances && hit > instances - required {
                let message = format!(
                    "the guard never lets this fault through: it hits {hit} of {instances} instances, and {required} must stay ready"
                );
                let at = node
                    .entry(fault.kind.name())
                    .map(|e| e.key_at)
                    .unwrap_or(node.at);
                self.report(
                    Problem::new(at, message).expected("a smaller `pick`, or a lower `keep-ready`"),
                );
            }
        }
    }
}

/// How many instances a selection hits at the least, when all are there; labels may leave fewer.
fn hit_count(select: &Select, instances: u32) -> u32 {
    if !select.labels.is_empty() {
        return 0;
    }
    let candidates = match select.names.len() {
        0 => instances,
        listed => listed as u32,
    };
    match select.pick {
        Pick::Count(count) => count,
        Pick::Each => 1,
        Pick::Share(share) => ((share.get() * f64::from(candidates)).floor() as u32).max(1),
        Pick::All => candidates,
    }
}
