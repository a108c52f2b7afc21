//! The workloads behind the Service, and whether one is being rolled out. Pure: it is told of changes.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;

use super::pods::Owner;
use super::watch::Change;
use crate::platform::Rollouts;

/// A workload as it was when last told of.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    /// What its pods are made from: a new one is a rollout, whoever asked for it.
    template: Value,
    rolls: bool,
    /// So many of its pods a rollout takes at once.
    taken: usize,
}

/// A workload of the namespace that is none of the Service's.
#[derive(Debug, Default, Clone, Copy)]
struct Other {
    /// It had all its pods ready once.
    was_whole: bool,
    is_whole: bool,
}

/// The workloads of the target's namespace, those whose pods the Service selects apart from the others.
#[derive(Debug, Default)]
pub struct Workloads {
    known: BTreeMap<(&'static str, String), Known>,
    others: BTreeMap<(&'static str, String), Other>,
    labels: BTreeMap<(&'static str, String), BTreeMap<String, String>>,
    begun: u64,
}

/// Whether the Service with this selector leads to pods of the workload.
pub fn serves(object: &DynamicObject, selector: &str) -> bool {
    let labels = object.data.pointer("/spec/template/metadata/labels");
    let has = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        labels.and_then(|l| l.get(key)).and_then(Value::as_str) == Some(value)
    };
    labels.is_some() && selector.split(',').all(has)
}

fn number(object: &DynamicObject, pointer: &str) -> i64 {
    object
        .data
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or(0)
}

/// How many pods the workload is to have, and how many there are of the newest kind, of any kind, and available.
fn counts(kind: &str, o: &DynamicObject) -> [i64; 4] {
    match kind {
        "DaemonSet" => [
            number(o, "/status/desiredNumberScheduled"),
            number(o, "/status/updatedNumberScheduled"),
            number(o, "/status/currentNumberScheduled"),
            number(o, "/status/numberAvailable"),
        ],
        _ => [
            o.data
                .pointer("/spec/replicas")
                .and_then(Value::as_i64)
                .unwrap_or(1),
            number(o, "/status/updatedReplicas"),
            number(o, "/status/replicas"),
            number(
                o,
                match kind {
                    // Clusters of today only count them for a StatefulSet.
                    "StatefulSet" => "/status/readyReplicas",
                    _ => "/status/availableReplicas",
                },
            ),
        ],
    }
}

/// Whether all pods are of the newest kind; with `available`, as `kubectl rollout status` would have it.
fn is_rolled(kind: &str, object: &DynamicObject, available: bool) -> bool {
    let generation = object.metadata.generation.unwrap_or(0);
    let [wanted, updated, all, are_available] = counts(kind, object);
    // A StatefulSet that is rolled out whole no longer counts its pods as updated.
    let revision = |which: &str| object.data.pointer(which);
    let same = revision("/status/updateRevision") == revision("/status/currentRevision");
    let updated = if kind == "StatefulSet" && same {
        all
    } else {
        updated
    };
    number(object, "/status/observedGeneration") >= generation
        && updated >= wanted
        && all <= updated
        && (!available || are_available >= wanted)
}

/// What the record tells of a workload besides its counts: whether the Service leads to it, what its pods are made
/// from (told apart, not told), and how far the newest of that is rolled out.
pub fn facts(kind: &str, object: &DynamicObject, selector: &str) -> [(&'static str, Value); 3] {
    let template = object
        .data
        .pointer("/spec/template")
        .unwrap_or(&Value::Null);
    let mut hasher = DefaultHasher::new();
    template.to_string().hash(&mut hasher);
    let rollout = if is_rolled(kind, object, true) {
        "complete"
    } else if is_rolled(kind, object, false) {
        "replaced"
    } else {
        "under-way"
    };
    [
        ("serves", serves(object, selector).into()),
        ("template", format!("{:016x}", hasher.finish()).into()),
        ("rollout", rollout.into()),
    ]
}

/// What is known of the workload.
fn of<'a, T>(all: &'a BTreeMap<(&'static str, String), T>, owner: &Owner) -> Option<&'a T> {
    let is = |(kind, name): &(&'static str, String)| *kind == owner.kind && *name == owner.name;
    all.iter().find(|(key, _)| is(key)).map(|(_, value)| value)
}

/// So many of the pods a rollout takes before others have come for them, by the workload's strategy.
fn taken_at_once(kind: &str, object: &DynamicObject) -> usize {
    let [wanted, ..] = counts(kind, object);
    let strategy = ["/spec/strategy", "/spec/updateStrategy"];
    let strategy = strategy.iter().find_map(|p| object.data.pointer(p));
    let field = |pointer: &str| strategy.and_then(|s| s.pointer(pointer));
    let is_deployment = kind == "Deployment";
    // Of a Deployment a share of those that may be missing is rounded down, all others up.
    let amount = |name: &str, usual: &str, down: bool| {
        let text = match field(&format!("/rollingUpdate/{name}")) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(n)) => n.to_string(),
            _ => usual.into(),
        };
        match text.strip_suffix('%').map(str::parse::<i64>) {
            Some(Ok(share)) if down => wanted * share / 100,
            Some(Ok(share)) => (wanted * share + 99) / 100,
            _ => text.parse().unwrap_or(wanted),
        }
    };
    let taken = match field("/type").and_then(Value::as_str) {
        Some("Recreate") => wanted,
        Some("OnDelete") => 0,
        _ if is_deployment => {
            let surge = amount("maxSurge", "25%", false);
            // Where both come to nothing, one may be missing: nothing could ever be replaced else.
            amount("maxUnavailable", "25%", true).max(i64::from(surge == 0))
        }
        _ => amount("maxUnavailable", "1", false),
    };
    usize::try_from(taken.min(wanted)).unwrap_or_default()
}

impl Workloads {
    /// Takes in a change of workloads of one kind.
    pub fn told(&mut self, kind: &'static str, change: &Change<DynamicObject>, selector: &str) {
        match change {
            Change::All(all) => {
                let there = |name: &String| all.iter().any(|o| o.name_any() == *name);
                self.others
                    .retain(|(of, name), _| *of != kind || there(name));
                self.labels
                    .retain(|(of, name), _| *of != kind || there(name));
                all.iter().for_each(|o| self.applied(kind, o, selector));
            }
            Change::Applied(one) => self.applied(kind, one, selector),
            Change::Deleted(one) => {
                let key = (kind, one.name_any());
                self.known.remove(&key);
                self.others.remove(&key);
                self.labels.remove(&key);
            }
        }
    }

    fn applied(&mut self, kind: &'static str, object: &DynamicObject, selector: &str) {
        let key = (kind, object.name_any());
        self.labels.insert(key.clone(), object.labels().clone());
        if !serves(object, selector) {
            let [wanted, _, _, ready] = counts(kind, object);
            let other = self.others.entry(key).or_default();
            other.is_whole = ready >= wanted;
            other.was_whole |= other.is_whole;
            return;
        }
        let template = object
            .data
            .pointer("/spec/template")
            .cloned()
            .unwrap_or_default();
        let Some(known) = self.known.get_mut(&key) else {
            // Pods that are not ready at first sight are no sign of a rollout; old ones beside new ones are.
            let known = Known {
                template,
                rolls: !is_rolled(kind, object, false),
                taken: taken_at_once(kind, object),
            };
            self.known.insert(key, known);
            return;
        };
        known.taken = taken_at_once(kind, object);
        if known.template != template {
            known.template = template;
            known.rolls = true;
            self.begun += 1;
        }
        known.rolls &= !is_rolled(kind, object, true);
    }

    /// The labels of a workload; `None` where it was not seen.
    pub fn labels(&self, owner: &Owner) -> Option<BTreeMap<String, String>> {
        of(&self.labels, owner).cloned()
    }

    /// So many of its pods a rollout takes at once; `None` where it was not seen.
    pub fn taken_by_rollout(&self, owner: &Owner) -> Option<usize> {
        of(&self.known, owner).map(|known| known.taken)
    }

    /// The workloads of the namespace, none of the Service's, that had all their pods ready and have no longer. What
    /// was never whole is not of this run's making.
    pub fn others_degraded(&self) -> Vec<String> {
        let degraded = self
            .others
            .iter()
            .filter(|(_, o)| o.was_whole && !o.is_whole);
        degraded
            .map(|((kind, name), _)| format!("{kind}/{name}"))
            .collect()
    }

    /// The rollouts seen.
    pub fn rollouts(&self) -> Rollouts {
        Rollouts {
            begun: self.begun,
            under_way: self.known.values().any(|k| k.rolls),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn web(image: &str, generation: i64, observed: i64, counts: [i64; 4]) -> DynamicObject {
        let [wanted, updated, all, ready] = counts;
        serde_json::from_value(json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "generation": generation},
            "spec": {"replicas": wanted, "template": {"metadata": {"labels": {"app": "web", "x": "y"}}, "spec": {"image": image}}},
            "status": {"observedGeneration": observed, "updatedReplicas": updated, "replicas": all, "readyReplicas": ready, "availableReplicas": ready}}))
        .expect("a Deployment")
    }

    #[test]
    fn a_rollout_begins_with_a_new_template_and_ends_when_all_are_new_and_ready() {
        let mut seen = Workloads::default();
        let mut tell = |object| {
            seen.told("Deployment", &Change::Applied(object), "app=web");
            let Rollouts { begun, under_way } = seen.rollouts();
            (begun, under_way)
        };
        assert_eq!(tell(web("a", 1, 1, [3, 3, 3, 3])), (0, false));
        // A pod has died, the workload was scaled: neither is a rollout.
        assert_eq!(tell(web("a", 1, 1, [3, 3, 3, 2])), (0, false));
        assert_eq!(tell(web("a", 2, 1, [5, 3, 3, 3])), (0, false));
        // Not observed yet: the counts are still the old ones.
        assert_eq!(tell(web("b", 3, 2, [3, 3, 3, 3])), (1, true));
        assert_eq!(tell(web("b", 3, 3, [3, 1, 4, 3])), (1, true));
        assert_eq!(tell(web("b", 3, 3, [3, 3, 4, 3])), (1, true));
        assert_eq!(tell(web("b", 3, 3, [3, 3, 3, 2])), (1, true));
        assert_eq!(tell(web("b", 3, 3, [3, 3, 3, 3])), (1, false));
    }

    #[test]
    fn only_workloads_behind_the_service_count_and_one_that_is_half_rolled_is_seen() {
        let mut seen = Workloads::default();
        seen.told(
            "Deployment",
            &Change::Applied(web("a", 1, 1, [3, 1, 4, 3])),
            "app=other",
        );
        assert_eq!(seen.rollouts(), Rollouts::default());
        assert!(
            serves(&web("a", 1, 1, [1; 4]), "app=web,x=y")
                && !serves(&web("a", 1, 1, [1; 4]), "app=web,x=z")
        );
        seen.told(
            "Deployment",
            &Change::Applied(web("a", 1, 1, [3, 1, 4, 3])),
            "app=web",
        );
        assert!(seen.rollouts().under_way);
        let mut db = web("a", 1, 1, [2, 0, 2, 2]);
        db.data["status"]["updateRevision"] = "r".into();
        db.data["status"]["currentRevision"] = "r".into();
        assert!(is_rolled("StatefulSet", &db, true) && !is_rolled("Deployment", &db, true));
    }

    #[test]
    fn a_rollout_takes_what_the_strategy_lets_it_take() {
        let rolling = |unavailable: Value, surge: Value| json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}});
        for (strategy, replicas, taken) in [
            (Value::Null, 3, 0),
            (Value::Null, 9, 2),
            (json!({"type": "Recreate"}), 3, 3),
            (rolling(json!("50%"), json!(1)), 3, 1),
            (rolling(json!(2), json!(0)), 3, 2),
            (rolling(json!(0), json!(0)), 3, 1),
            (rolling(json!(7), json!(0)), 3, 3),
        ] {
            let mut web = web("a", 1, 1, [replicas; 4]);
            web.data["spec"]["strategy"] = strategy.clone();
            assert_eq!(
                taken_at_once("Deployment", &web),
                taken,
                "{replicas} {strategy}"
            );
        }
        let mut db = web("a", 1, 1, [3; 4]);
        assert_eq!(taken_at_once("StatefulSet", &db), 1);
        db.data["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
        assert_eq!(taken_at_once("StatefulSet", &db), 0);
        let mut seen = Workloads::default();
        seen.told("StatefulSet", &Change::Applied(db), "app=web");
        let owner = |kind: &str| Owner {
            kind: kind.into(),
            name: "web".into(),
        };
        assert_eq!(seen.taken_by_rollout(&owner("StatefulSet")), Some(0));
        assert_eq!(seen.taken_by_rollout(&owner("Deployment")), None);
    }

    #[test]
    fn the_record_tells_whether_it_serves_what_it_is_made_from_and_how_far_it_is() {
        let of =
            |object: &DynamicObject| facts("Deployment", object, "app=web").map(|(_, value)| value);
        let [serves, before, rollout] = of(&web("a", 1, 1, [3, 3, 3, 3]));
        assert_eq!((serves, rollout), (true.into(), "complete".into()));
        let [_, same, rollout] = of(&web("a", 2, 2, [5, 5, 5, 3]));
        assert_eq!((&same, rollout), (&before, "replaced".into()));
        let [_, after, rollout] = of(&web("b", 3, 3, [5, 2, 6, 5]));
        assert!(after != before && rollout == "under-way");
    }

    #[test]
    fn others_are_degraded_once_they_were_whole_and_while_they_are_not() {
        let mut seen = Workloads::default();
        let mut tell = |change| {
            seen.told("Deployment", &change, "app=other");
            seen.others_degraded()
        };
        let ready = |n| web("a", 1, 1, [3, 3, 3, n]);
        assert!(tell(Change::All(vec![ready(2)])).is_empty(), "never whole");
        assert!(tell(Change::Applied(ready(3))).is_empty());
        assert_eq!(tell(Change::Applied(ready(2))), ["Deployment/web"]);
        assert!(tell(Change::Applied(ready(3))).is_empty());
        assert_eq!(tell(Change::All(vec![ready(0)])), ["Deployment/web"]);
        assert!(tell(Change::Deleted(ready(0))).is_empty());
        // The Service's own are what the faults are meant for.
        seen.told(
            "Deployment",
            &Change::Applied(web("a", 1, 1, [3, 3, 3, 3])),
            "app=web",
        );
        seen.told(
            "Deployment",
            &Change::Applied(web("a", 1, 1, [3, 3, 3, 1])),
            "app=web",
        );
        assert!(seen.others_degraded().is_empty());
        let owner = |name: &str| Owner {
            kind: "Deployment".into(),
            name: name.into(),
        };
        assert!(seen.labels(&owner("web")).is_some() && seen.labels(&owner("db")).is_none());
    }
}
