use super::*;
use serde_json::json;

/// A pod of Deployment `front` as a cluster would tell of it.
fn pod(name: &str, ready: bool) -> serde_json::Value {
    json!({
        "metadata": {
            "name": name, "uid": format!("uid-{name}"),
            "labels": {"app": "front", "pod-template-hash": "69d"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "front-69d", "uid": "r", "controller": true}],
        },
        "spec": {"nodeName": "n1", "containers": [{"name": "shop"}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
        },
    })
}

fn read(value: serde_json::Value) -> Pod {
    serde_json::from_value(value).expect("a pod")
}

/// `name state` of each instance event, `name incident` of each incident.
fn words(events: &[What]) -> Vec<String> {
    let word = |event: &What| match event {
        What::Instance(e) => Some(format!("{} {:?}", e.name, e.state)),
        What::Incident {
            incident, instance, ..
        } => Some(format!("{instance} {incident:?}")),
        What::Placed { .. } => None,
        other => panic!("unexpected {other:?}"),
    };
    events.iter().filter_map(word).collect()
}

#[test]
fn a_pod_lives_and_dies() {
    let mut pods = Pods::default();
    assert_eq!(words(&pods.applied(&read(pod("a", false)))), ["a Started"]);
    assert!(
        pods.applied(&read(pod("a", false))).is_empty(),
        "no change, no event"
    );
    assert_eq!(words(&pods.applied(&read(pod("a", true)))), ["a Ready"]);
    assert_eq!(words(&pods.applied(&read(pod("a", false)))), ["a NotReady"]);
    assert_eq!(words(&pods.applied(&read(pod("a", true)))), ["a Ready"]);
    let mut ending = pod("a", true);
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(
        words(&pods.applied(&read(ending.clone()))),
        ["a Terminating"]
    );
    assert!(!pods.instances(&BTreeMap::new())[0].alive);
    assert_eq!(words(&pods.deleted(&read(ending.clone()))), ["a Ended"]);
    assert!(pods.deleted(&read(ending)).is_empty());
    assert!(pods.instances(&BTreeMap::new()).is_empty());
}

#[test]
fn where_a_pod_stands_is_told_once_it_is_known() {
    let placed = |events: Vec<What>| {
        let is = |e: &What| matches!(e, What::Placed { instance, node } if instance == "a" && node == "n1");
        events.iter().filter(|e| is(e)).count()
    };
    let mut pods = Pods::default();
    let mut pending = pod("a", false);
    pending["spec"].as_object_mut().unwrap().remove("nodeName");
    assert_eq!(placed(pods.applied(&read(pending))), 0);
    assert_eq!(placed(pods.applied(&read(pod("a", false)))), 1);
    assert_eq!(placed(pods.applied(&read(pod("a", true)))), 0);
}

#[test]
fn a_replacement_takes_the_place_of_the_ending_one() {
    let mut pods = Pods::default();
    pods.relisted(&[read(pod("a", true)), read(pod("b", true))]);
    assert_eq!(pods.get("a").unwrap().slot, "front-1");
    assert_eq!(pods.get("b").unwrap().slot, "front-2");
    let mut ending = pod("a", true);
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    pods.applied(&read(ending));
    pods.applied(&read(pod("c", false)));
    assert_eq!(pods.get("c").unwrap().slot, "front-1");
    // Nobody is going: a surge gets a place of its own.
    pods.applied(&read(pod("d", false)));
    assert_eq!(pods.get("d").unwrap().slot, "front-3");
}

#[test]
fn the_next_of_a_name_is_another_pod() {
    let mut pods = Pods::default();
    pods.applied(&read(pod("db-0", true)));
    let mut next = pod("db-0", false);
    next["metadata"]["uid"] = json!("other");
    assert_eq!(
        words(&pods.applied(&read(next))),
        ["db-0 Ended", "db-0 Started"]
    );
    // A late word of the first does not end the second.
    assert!(pods.deleted(&read(pod("db-0", true))).is_empty());
}

#[test]
fn what_went_while_nobody_looked_has_ended() {
    let mut pods = Pods::default();
    pods.relisted(&[read(pod("a", true)), read(pod("b", true))]);
    let events = pods.relisted(&[read(pod("b", true)), read(pod("c", true))]);
    assert_eq!(words(&events), ["a Ended", "c Started", "c Ready"]);
}

#[test]
fn incidents_are_told_once_and_apart() {
    let with = |status: serde_json::Value| {
        let mut pod = pod("a", true);
        pod["status"]["containerStatuses"] = json!([status]);
        read(pod)
    };
    let base = |n: u32| json!({"name": "shop", "restartCount": n, "ready": true, "image": "", "imageID": ""});
    let ended = |n: u32, how: serde_json::Value| {
        let mut s = base(n);
        s["lastState"] = json!({"terminated": how});
        with(s)
    };
    let mut pods = Pods::default();
    // An old restart is not news.
    assert_eq!(
        words(&pods.applied(&ended(1, json!({"exitCode": 1, "containerID": "c1"})))),
        ["a Started", "a Ready"]
    );
    let oom = ended(
        2,
        json!({"exitCode": 137, "reason": "OOMKilled", "containerID": "c2"}),
    );
    assert_eq!(words(&pods.applied(&oom)), ["a OomKilled"]);
    assert!(pods.applied(&oom).is_empty());
    let killed = ended(
        3,
        json!({"exitCode": 137, "reason": "Error", "containerID": "c3"}),
    );
    let events = pods.applied(&killed);
    assert!(
        matches!(&events[0], What::Incident { incident: Incident::Restarted, detail, .. } if detail.contains("signal 9"))
    );
    let mut waiting = base(3);
    waiting["state"] = json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}});
    assert_eq!(words(&pods.applied(&with(waiting))), ["a ImagePull"]);
}

#[test]
fn what_befalls_a_sidecar_or_a_container_that_comes_first_is_told_as_well() {
    let with = |name: &str, key: &str, state: serde_json::Value| {
        let mut pod = pod("a", false);
        pod["spec"]["initContainers"] =
            json!([{"name": "migrate"}, {"name": "proxy", "restartPolicy": "Always"}]);
        pod["status"]["containerStatuses"] = json!([{"name": "shop", "restartCount": 0, "ready": false, "image": "",
            "imageID": "", "state": {"waiting": {"reason": "PodInitializing"}}}]);
        pod["status"]["initContainerStatuses"] = json!([{"name": name, "restartCount": 1, "ready": false, "image": "",
            "imageID": "", key: state}]);
        read(pod)
    };
    let told = |then: &Pod| {
        let mut pods = Pods::default();
        pods.applied(&read(pod("a", false)));
        words(&pods.applied(then))
    };
    let ended = |code: i32| json!({"terminated": {"exitCode": code, "containerID": "c1"}});
    let oom = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled", "containerID": "c1"}});
    assert_eq!(
        told(&with("proxy", "lastState", oom.clone())),
        ["a OomKilled"]
    );
    assert_eq!(
        told(&with("proxy", "lastState", ended(0))),
        ["a Restarted"],
        "a sidecar is to run on"
    );
    assert_eq!(told(&with("migrate", "lastState", oom)), ["a OomKilled"]);
    assert_eq!(
        told(&with("migrate", "lastState", ended(1))),
        ["a Restarted"]
    );
    assert!(
        told(&with("migrate", "state", ended(0))).is_empty(),
        "it has done its work"
    );
    let stuck = with(
        "migrate",
        "state",
        json!({"waiting": {"reason": "CrashLoopBackOff"}}),
    );
    assert_eq!(told(&stuck), ["a CrashLoop"]);
    assert_eq!(why_not_ready(&stuck), "CrashLoopBackOff");
    // A sidecar can be meant by a fault, where it is named; one that has ended cannot.
    assert_eq!(containers::names(&stuck), ["shop", "proxy"]);
}

#[test]
fn a_container_that_ends_with_its_pod_is_no_incident() {
    let mut pods = Pods::default();
    pods.applied(&read(pod("a", true)));
    let mut ending = pod("a", true);
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    ending["status"]["containerStatuses"] = json!([{"name": "shop", "restartCount": 0, "ready": false, "image": "", "imageID": "",
        "state": {"terminated": {"exitCode": 143, "containerID": "c1"}}}]);
    assert_eq!(words(&pods.applied(&read(ending))), ["a Terminating"]);
}

#[test]
fn owners_are_told_without_asking() {
    let owner = owner_of(&read(pod("a", true)));
    assert_eq!(owner.to_string(), "Deployment/front");
    let mut bare = pod("a", true);
    bare["metadata"]["ownerReferences"] = json!([]);
    assert_eq!(owner_of(&read(bare)).to_string(), "Pod/a");
    let mut set = pod("a", true);
    set["metadata"]["ownerReferences"][0]["kind"] = json!("StatefulSet");
    assert_eq!(owner_of(&read(set)).to_string(), "StatefulSet/front-69d");
}

#[test]
fn instances_show_where_they_run() {
    let mut pods = Pods::default();
    pods.applied(&read(pod("a", true)));
    let zones = BTreeMap::from([("n1".to_string(), "z1".to_string())]);
    let instance = &pods.instances(&zones)[0];
    assert!(instance.ready && instance.alive);
    assert_eq!(instance.labels[NODE], "n1");
    assert_eq!(instance.labels[ZONE], "z1");
    assert_eq!(instance.labels[OWNER], "Deployment/front");
    assert_eq!(instance.labels["app"], "front");
}

#[test]
fn a_container_is_found_by_what_the_runtime_calls_it_now() {
    let with = |id: &str| {
        let mut pod = pod("a", true);
        let status = |name: &str, id: &str| json!({"name": name, "containerID": id, "restartCount": 0, "ready": true, "image": "", "imageID": ""});
        pod["status"]["containerStatuses"] = json!([status("shop", id)]);
        pod["status"]["initContainerStatuses"] = json!([status("side", "docker://c0")]);
        read(pod)
    };
    let of = |name: &str| ("a".to_string(), name.to_string());
    let mut pods = Pods::default();
    pods.applied(&with("containerd://c1"));
    pods.applied(&with("containerd://c2"));
    let known = pods.by_container_id();
    assert_eq!(
        known,
        [
            ("c0".to_string(), of("side")),
            ("c2".to_string(), of("shop"))
        ]
        .into()
    );
}

#[test]
fn the_container_that_is_meant_where_none_is_named_comes_first() {
    let mut with_proxy = pod("a", true);
    with_proxy["spec"]["containers"] =
        json!([{"name": "proxy"}, {"name": "log"}, {"name": "shop"}]);
    assert_eq!(
        containers::names(&read(with_proxy.clone())),
        ["proxy", "log", "shop"]
    );
    with_proxy["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/default-container": "shop"});
    assert_eq!(
        containers::names(&read(with_proxy)),
        ["shop", "proxy", "log"]
    );
}
