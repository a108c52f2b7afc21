//! A pod as it was told of at some time.

use std::collections::BTreeMap;

use serde_json::Value;

use super::metrics::Asked;
use super::pods::Wall;
use crate::record::quantity::{thousandths, without_request};
use crate::record::{ObjectChange, ObjectEvent};

/// A pod at some time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    pub gone: bool,
    pub phase: String,
    pub deleted: bool,
    /// The Ready condition: its status (`None` for unknown) and since when, as the cluster writes it.
    pub ready: Option<(Option<bool>, i64)>,
    pub started: Option<i64>,
    pub scheduled: bool,
    /// Requests of all containers: container, resource, thousandths.
    requests: Vec<(String, BTreeMap<String, i64>)>,
    /// Those of the pod as a whole, where it has any.
    own: BTreeMap<String, i64>,
}

impl State {
    /// What was told of it.
    pub fn of(object: &ObjectEvent, wall: &Wall) -> Self {
        let fact = |key: &str| object.facts.get(key).unwrap_or(&Value::Null);
        let containers = fact("containers").as_object().into_iter().flatten();
        let requests = |resources: &Value| -> BTreeMap<String, i64> {
            let requests = resources["requests"].as_object().into_iter().flatten();
            let requests =
                requests.filter_map(|(key, v)| Some((key.clone(), thousandths(v.as_str()?)?)));
            requests.collect()
        };
        let own = requests(fact("resources"));
        let requests = containers.map(|(name, resources)| (name.clone(), requests(resources)));
        let status = match fact("ready").as_str() {
            Some("True") => Some(Some(true)),
            Some("False") => Some(Some(false)),
            Some(_) => Some(None),
            None => None,
        };
        Self {
            gone: object.change == ObjectChange::Deleted,
            phase: fact("phase").as_str().unwrap_or_default().into(),
            deleted: !fact("deleted").is_null(),
            ready: status.and_then(|s| Some((s, wall.micros(fact("ready-since"))?))),
            started: wall.micros(fact("started")),
            scheduled: !fact("node").is_null(),
            requests: requests.collect(),
            own,
        }
    }

    /// What a utilization is a part of: the pod's own request where it has one and no container is named.
    pub fn request(&self, metric: &Asked) -> i64 {
        match (self.own.get(&metric.name), &metric.container) {
            (Some(own), None) => *own,
            _ => self
                .meant(metric)
                .filter_map(|(_, r)| r.get(&metric.name))
                .sum(),
        }
    }

    /// Containers without the request that a utilization is a part of.
    pub fn requests_nothing(&self, metric: &Asked) -> Vec<&str> {
        let containers = self.meant(metric);
        let containers = containers.map(|(c, r)| (c.as_str(), r.contains_key(&metric.name)));
        let is_of_pod = metric.container.is_none() && !self.own.is_empty();
        let own = is_of_pod.then(|| self.own.contains_key(&metric.name));
        without_request(containers, own)
    }

    fn meant(&self, metric: &Asked) -> impl Iterator<Item = &(String, BTreeMap<String, i64>)> {
        let container = metric.container.clone();
        let all = self.requests.iter();
        all.filter(move |(name, _)| container.as_ref().is_none_or(|c| c == name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::metrics::asked;
    use super::*;

    /// A pod with these requests of its own, and containers `web` and `log` with these.
    fn pod(own: Value, web: Value, log: Value) -> State {
        let facts = json!({"phase": "Running", "resources": {"requests": own},
            "containers": {"web": {"requests": web}, "log": {"requests": log}}});
        let object = ObjectEvent {
            object: "Pod".into(),
            name: "web-1".into(),
            change: ObjectChange::Present,
            version: String::new(),
            facts: serde_json::from_value(facts).unwrap(),
        };
        State::of(&object, &Wall::default())
    }

    /// CPU utilization of the pod, and of its container `web`.
    fn cpu() -> (Asked, Asked) {
        let target = json!({"type": "Utilization", "averageUtilization": 50});
        let spec = json!({"metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": target}},
            {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "web", "target": target}}]});
        let mut both = asked(&spec).into_iter();
        (both.next().unwrap(), both.next().unwrap())
    }

    #[test]
    fn a_utilization_is_a_part_of_what_all_containers_request() {
        let (pod_cpu, web_cpu) = cpu();
        let both = pod(Value::Null, json!({"cpu": "1"}), json!({"cpu": "100m"}));
        assert_eq!(
            (both.request(&pod_cpu), both.request(&web_cpu)),
            (1_100, 1_000)
        );
        assert!(both.requests_nothing(&pod_cpu).is_empty());
        let one = pod(Value::Null, json!({"cpu": "1"}), json!({"memory": "1Mi"}));
        assert_eq!(one.requests_nothing(&pod_cpu), ["log"]);
        assert!(one.requests_nothing(&web_cpu).is_empty());
    }

    #[test]
    fn requests_of_the_pod_itself_stand_for_those_of_its_containers() {
        let (pod_cpu, web_cpu) = cpu();
        let own = pod(json!({"cpu": "2"}), json!({"cpu": "1"}), json!({}));
        assert_eq!(
            (own.request(&pod_cpu), own.request(&web_cpu)),
            (2_000, 1_000)
        );
        assert!(own.requests_nothing(&pod_cpu).is_empty());
        // What it has none of, the containers' are summed up for, and none of them has to have one.
        let memory = pod(json!({"memory": "1Gi"}), json!({"cpu": "1"}), json!({}));
        assert_eq!(memory.request(&pod_cpu), 1_000);
        assert!(memory.requests_nothing(&pod_cpu).is_empty());
        let nobody = pod(json!({"memory": "1Gi"}), json!({}), json!({}));
        assert_eq!(nobody.requests_nothing(&pod_cpu), ["log", "web"]);
        // A container that is named is not helped by the pod's.
        assert_eq!(
            pod(json!({"cpu": "2"}), json!({}), json!({})).requests_nothing(&web_cpu),
            ["web"]
        );
    }
}
