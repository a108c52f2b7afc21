use super::*;

fn has(list: &[Permission], verb: &str, resource: &str) -> Option<bool> {
    list.iter()
        .find(|p| p.verb == verb && p.resource == resource)
        .map(|p| p.required)
}

#[test]
fn a_run_asks_for_what_its_faults_need_and_no_more() {
    let quiet = needed(Reach::ClusterIp, &[]);
    assert_eq!(has(&quiet, "watch", "pods"), Some(true));
    assert_eq!(has(&quiet, "watch", "events"), Some(false));
    assert_eq!(has(&quiet, "delete", "pods"), None);
    assert_eq!(has(&quiet, "create", "pods/portforward"), None);
    assert!(
        quiet
            .iter()
            .all(|p| matches!(p.verb, "get" | "list" | "watch") || p.resource == "leases"),
        "{quiet:?}"
    );
    let kill = needed(Reach::ClusterIp, &[FaultKind::PodKill { grace: None }]);
    assert_eq!(has(&kill, "delete", "pods"), Some(true));
    assert_eq!(kill.len(), quiet.len() + 1);
    // Who breaks things must be alone; who only sends traffic may do without.
    assert_eq!(has(&quiet, "update", "leases"), Some(false));
    assert_eq!(has(&kill, "update", "leases"), Some(true));
}

#[test]
fn each_call_is_in_the_list_once_and_required_if_anything_requires_it() {
    // Reading nodes is a courtesy of the watches, and what a node port stands on.
    let list = needed(Reach::NodePort, &[FaultKind::Cordon, FaultKind::Cordon]);
    let reads: Vec<_> = list
        .iter()
        .filter(|p| p.resource == "nodes" && p.verb == "list")
        .collect();
    assert!(matches!(reads[..], [p] if p.required), "{reads:?}");
    let mut calls: Vec<_> = list.iter().map(|p| (p.group, p.resource, p.verb)).collect();
    calls.dedup();
    assert_eq!(calls.len(), list.len());
}

#[test]
fn what_the_guard_looks_at_and_what_is_broken_elsewhere_is_required() {
    let mut calls = needed(Reach::ClusterIp, &[]);
    assert_eq!(has(&calls, "watch", "nodes"), Some(false));
    require(&mut calls, &BTreeSet::from([Seen::NodesNotReady]));
    assert_eq!(has(&calls, "watch", "nodes"), Some(true));
    assert_eq!(has(&calls, "watch", "deployments"), Some(false));
    require(&mut calls, &BTreeSet::from([Seen::OthersDegraded]));
    assert_eq!(has(&calls, "watch", "deployments"), Some(true));
    let there = elsewhere("backend", &[FaultKind::PodKill { grace: None }]);
    assert_eq!(has(&there, "delete", "pods"), Some(true));
    assert!(
        there
            .iter()
            .all(|p| p.to_string().contains("in namespace backend"))
    );
}

#[test]
fn the_guardian_reads_what_it_is_told() {
    let there = undoing("patch deployments.apps in backend").unwrap();
    assert_eq!(there.elsewhere.as_deref(), Some("backend"));
    assert_eq!((there.verb, there.group), ("patch", "apps"));
    assert_eq!(undoing("patch nodes.").unwrap().elsewhere, None);
    assert_eq!(undoing("delete pods."), None, "no undo takes that");
}
