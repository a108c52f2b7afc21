use super::*;
use serde_json::json;

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).expect("an object")
}

fn of(kind: &str) -> &'static Observed {
    OBSERVED.iter().find(|o| o.kind == kind).expect("observed")
}

#[test]
fn a_heartbeat_is_no_change_and_a_lost_node_is() {
    let node = |ready: &str, beat: &str| {
        object(
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {"conditions": [
            {"type": "MemoryPressure", "status": "False", "lastHeartbeatTime": beat},
            {"type": "Ready", "status": ready, "lastHeartbeatTime": beat}]}}),
        )
    };
    let mut teller = Teller {
        observed: of("Node"),
        selector: String::new(),
        last: BTreeMap::new(),
    };
    assert_eq!(teller.told(Change::All(vec![node("True", "1")])).len(), 1);
    assert!(teller.told(Change::Applied(node("True", "2"))).is_empty());
    let events = teller.told(Change::Applied(node("Unknown", "3")));
    let [What::Object(e)] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(e.facts["ready"], "Unknown");
    assert!(!e.facts.contains_key("memorypressure"));
    let gone = teller.told(Change::Deleted(node("Unknown", "4")));
    assert!(matches!(&gone[..], [What::Object(e)] if e.change == ObjectChange::Deleted));
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
    let ready = |what: Option<What>| {
        what.map(|w| match w {
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
fn a_failed_probe_is_told_by_an_event_of_the_cluster() {
    let event = |reason: &str| {
        object(
            json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
        "reason": reason, "message": "Readiness probe failed: 503", "involvedObject": {"kind": "Pod", "name": "a"}}),
        )
    };
    assert_eq!(probe_failure(&event("Unhealthy")).unwrap().0, "a");
    assert_eq!(probe_failure(&event("Killing")), None);
}
