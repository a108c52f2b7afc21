//! The set that the Service balances over, told as a whole each time it changes.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;

use super::super::watch::Change;
use crate::record::What;

/// The pods that an EndpointSlice holds and traffic may go to, by name, each with its uid.
fn ready_of(slice: &DynamicObject) -> BTreeMap<String, String> {
    let endpoints = slice.data.get("endpoints").and_then(Value::as_array);
    let ready = endpoints.into_iter().flatten().filter(|e| {
        // Absent means unknown, which proxies treat as ready.
        e.pointer("/conditions/ready")
            .and_then(Value::as_bool)
            .unwrap_or(true)
    });
    let text = |e: &Value, pointer: &str| Some(e.pointer(pointer)?.as_str()?.to_string());
    ready
        .filter_map(|e| {
            let uid = text(e, "/targetRef/uid").unwrap_or_default();
            Some((text(e, "/targetRef/name")?, uid))
        })
        .collect()
}

/// The pods in all slices of the Service, and whether that changed.
#[derive(Default)]
pub struct Endpoints {
    slices: BTreeMap<String, BTreeMap<String, String>>,
    ready: Option<BTreeMap<String, String>>,
}

impl Endpoints {
    /// What a change comes to. A StatefulSet's next pod has its predecessor's name, and the cluster may put it into the
    /// set in the same step in which it takes the other out: then the set without either is told first.
    pub fn told(&mut self, change: Change<DynamicObject>) -> Vec<What> {
        match change {
            Change::All(all) => {
                self.slices = all.iter().map(|s| (s.name_any(), ready_of(s))).collect()
            }
            Change::Applied(s) => drop(self.slices.insert(s.name_any(), ready_of(&s))),
            Change::Deleted(s) => drop(self.slices.remove(&s.name_any())),
        }
        let ready: BTreeMap<String, String> = self.slices.values().flatten().map(own).collect();
        let before = self.ready.replace(ready.clone());
        if before.as_ref() == Some(&ready) {
            return Vec::new();
        }
        let before = before.unwrap_or_default();
        let replaced = |name: &String| before.get(name).is_some_and(|uid| *uid != ready[name]);
        let (new, same): (Vec<_>, Vec<_>) = ready.keys().cloned().partition(|n| replaced(n));
        let mut sets = Vec::new();
        if !new.is_empty() {
            sets.push(same);
        }
        sets.push(ready.into_keys().collect());
        let told = sets.into_iter().map(|ready| What::Endpoints { ready });
        told.collect()
    }
}

fn own((name, uid): (&String, &String)) -> (String, String) {
    (name.clone(), uid.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn endpoints_are_told_when_the_set_changes() {
        let slice = |name: &str, pods: &[(&str, Option<bool>)]| {
            let endpoints: Vec<Value> = pods
            .iter()
            .map(|(pod, ready)| json!({"targetRef": {"name": pod}, "conditions": {"ready": ready}}))
            .collect();
            object(
                json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": name}, "endpoints": endpoints}),
            )
        };
        let mut endpoints = Endpoints::default();
        let ready = |told: Vec<What>| {
            assert!(told.len() <= 1, "{told:?}");
            told.into_iter().next().map(|w| match w {
                What::Endpoints { ready } => ready,
                other => panic!("{other:?}"),
            })
        };
        let told = endpoints.told(Change::All(vec![slice(
            "s1",
            &[("a", Some(true)), ("b", Some(false)), ("c", None)],
        )]));
        assert_eq!(ready(told), Some(vec!["a".into(), "c".into()]));
        // A second slice that holds the same pod (dual stack) changes nothing.
        assert_eq!(
            ready(endpoints.told(Change::Applied(slice("s2", &[("a", Some(true))])))),
            None
        );
        let told = endpoints.told(Change::Applied(slice("s1", &[("b", Some(true))])));
        assert_eq!(ready(told), Some(vec!["a".into(), "b".into()]));
        assert_eq!(
            ready(endpoints.told(Change::Deleted(slice("s1", &[])))),
            Some(vec!["a".into()])
        );
        // An empty Service is said, too.
        assert_eq!(ready(endpoints.told(Change::All(vec![]))), Some(vec![]));
    }

    #[test]
    fn a_pod_that_follows_another_of_its_name_in_one_step_has_left_and_come() {
        let slice = |pods: &[(&str, &str)]| {
            let endpoints: Vec<Value> = pods
                .iter()
                .map(|(pod, uid)| json!({"targetRef": {"name": pod, "uid": uid}}))
                .collect();
            let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "s"}, "endpoints": endpoints});
            Change::Applied(object(slice))
        };
        let mut endpoints = Endpoints::default();
        let mut sets = |change| -> Vec<Vec<String>> {
            let told = endpoints.told(change).into_iter();
            told.map(|w| match w {
                What::Endpoints { ready } => ready,
                other => panic!("{other:?}"),
            })
            .collect()
        };
        assert_eq!(
            sets(slice(&[("db-0", "1"), ("db-1", "2")])),
            [["db-0", "db-1"]]
        );
        assert!(sets(slice(&[("db-1", "2"), ("db-0", "1")])).is_empty());
        let told = sets(slice(&[("db-0", "3"), ("db-1", "2")]));
        assert_eq!(told, [vec!["db-1"], vec!["db-0", "db-1"]]);
        assert_eq!(sets(slice(&[("db-1", "2")])), [["db-1"]]);
        assert_eq!(
            sets(slice(&[("db-0", "3"), ("db-1", "2")])),
            [["db-0", "db-1"]]
        );
    }
}
