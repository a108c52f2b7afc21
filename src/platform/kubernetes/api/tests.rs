use super::*;
use kube::config::NamedContext;
use kube::core::Status;
use serde_json::{Value, json};

/// What `/apis` answers, with these groups and their versions, the preferred first.
fn groups(list: &[(&str, &[&str])]) -> APIGroupList {
    let version =
        |group: &str, v: &str| json!({"groupVersion": format!("{group}/{v}"), "version": v});
    let group = |(name, versions): &(&str, &[&str])| {
        let all: Vec<Value> = versions.iter().map(|v| version(name, v)).collect();
        json!({"name": name, "versions": all, "preferredVersion": all[0]})
    };
    let groups: Vec<Value> = list.iter().map(group).collect();
    let document = json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups});
    serde_json::from_value(document).expect("an APIGroupList")
}

/// What `/api/v1` answers, as far as it is looked at, with the version of evictions and the kind that
/// `pods/ephemeralcontainers` takes.
fn core(eviction: Option<&str>, ephemeral: Option<&str>) -> APIResourceList {
    let resource = |name: &str, kind: &str, verbs: Value| json!({"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": verbs});
    let mut all = vec![
        resource(
            "pods",
            "Pod",
            json!(["create", "delete", "get", "list", "patch", "watch"]),
        ),
        resource("pods/exec", "PodExecOptions", json!(["create", "get"])),
    ];
    if let Some(version) = eviction {
        let mut eviction = resource("pods/eviction", "Eviction", json!(["create"]));
        eviction["group"] = json!("policy");
        eviction["version"] = json!(version);
        all.push(eviction);
    }
    let verbs = json!(["get", "patch", "update"]);
    all.extend(ephemeral.map(|kind| resource("pods/ephemeralcontainers", kind, verbs)));
    let document = json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": all});
    serde_json::from_value(document).expect("an APIResourceList")
}

/// The groups that matter here, of clusters as they are without any settings of their own.
#[test]
fn each_release_of_kubernetes_is_asked_for_what_it_serves() {
    type Groups<'a> = &'a [(&'a str, &'a [&'a str])];
    let old: Groups = &[
        ("apps", &["v1"]),
        ("autoscaling", &["v1", "v2beta1", "v2beta2"]),
        ("policy", &["v1beta1"]),
        ("networking.k8s.io", &["v1", "v1beta1"]),
        ("discovery.k8s.io", &["v1beta1"]),
    ];
    let both: Groups = &[
        ("apps", &["v1"]),
        ("autoscaling", &["v1", "v2beta1", "v2beta2"]),
        ("policy", &["v1", "v1beta1"]),
        ("networking.k8s.io", &["v1", "v1beta1"]),
        ("discovery.k8s.io", &["v1", "v1beta1"]),
    ];
    let stable: Groups = &[
        ("apps", &["v1"]),
        ("autoscaling", &["v2", "v1", "v2beta2"]),
        ("policy", &["v1"]),
        ("networking.k8s.io", &["v1"]),
        ("discovery.k8s.io", &["v1"]),
        ("metrics.k8s.io", &["v1beta1"]),
        ("chaos-mesh.org", &["v1alpha1"]),
    ];
    let new: Groups = &[
        ("apps", &["v1"]),
        ("autoscaling", &["v2", "v1"]),
        ("policy", &["v1"]),
        ("networking.k8s.io", &["v1"]),
        ("discovery.k8s.io", &["v1"]),
        ("metrics.k8s.io", &["v1beta1"]),
    ];
    // policy, evictions, autoscaling, discovery, ephemeral containers, metrics.
    let expected = [
        (
            "1.20",
            old,
            core(Some("v1beta1"), None),
            ["v1beta1", "v1beta1", "v2beta2", "v1beta1", "no", "-"],
        ),
        // The first with policy/v1; its evictions are still of v1beta1, and refused as v1.
        (
            "1.21",
            both,
            core(Some("v1beta1"), Some("EphemeralContainers")),
            ["v1", "v1beta1", "v2beta2", "v1", "no", "-"],
        ),
        (
            "1.25",
            stable,
            core(Some("v1"), Some("Pod")),
            ["v1", "v1", "v2", "v1", "yes", "v1beta1"],
        ),
        (
            "1.29",
            new,
            core(Some("v1"), Some("Pod")),
            ["v1", "v1", "v2", "v1", "yes", "v1beta1"],
        ),
        (
            "1.33",
            new,
            core(Some("v1"), Some("Pod")),
            ["v1", "v1", "v2", "v1", "yes", "v1beta1"],
        ),
    ];
    for (release, offered, core, asked) in expected {
        let served = Served::of(&groups(offered), &core);
        let version = |v: &Option<String>| v.clone().unwrap_or("-".into());
        let found = [
            version(&served.policy),
            version(&served.eviction),
            version(&served.autoscaling),
            version(&served.discovery),
            if served.ephemeral { "yes" } else { "no" }.into(),
            version(&served.metrics),
        ];
        assert_eq!(found, asked, "{release}");
        assert_eq!(served.networking.as_deref(), Some("v1"), "{release}");
        assert_eq!(served.chaos_mesh.is_some(), release == "1.25", "{release}");
    }
}

#[test]
fn what_a_cluster_does_not_serve_is_not_asked_for() {
    // autoscaling/v1 alone cannot say what the judge needs.
    let few = groups(&[("autoscaling", &["v1"]), ("policy", &["v2"])]);
    assert_eq!(Served::of(&few, &core(None, None)), Served::default());
    // The stable one is taken, wherever it stands in the list.
    let both = groups(&[("policy", &["v1beta1", "v1"])]);
    assert_eq!(
        Served::of(&both, &core(None, None)).policy.as_deref(),
        Some("v1")
    );
}

fn kubeconfig(current: Option<&str>, contexts: &[&str]) -> Kubeconfig {
    Kubeconfig {
        current_context: current.map(Into::into),
        contexts: contexts
            .iter()
            .map(|name| NamedContext {
                name: name.to_string(),
                ..NamedContext::default()
            })
            .collect(),
        ..Kubeconfig::default()
    }
}

#[test]
fn a_context_must_exist() {
    let both = kubeconfig(Some("dev"), &["dev", "prod"]);
    assert_eq!(context_name(&both, None).as_deref(), Ok("dev"));
    assert_eq!(context_name(&both, Some("prod")).as_deref(), Ok("prod"));
    let error = context_name(&both, Some("stage")).unwrap_err();
    assert_eq!(
        error,
        "there is no context stage in the kubeconfig; it has dev, prod"
    );
    let error = context_name(&kubeconfig(Some(""), &["dev"]), None).unwrap_err();
    assert!(error.contains("no current context") && error.contains("dev"));
    assert!(context_name(&kubeconfig(Some("gone"), &[]), None).is_err());
}

#[test]
fn errors_say_what_to_do() {
    let api = |code, message: &str| {
        let mut status = Status::failure(message, "");
        status.code = code;
        kube::Error::Api(status.boxed())
    };
    let expired = say("list pods", "dev", "https://x", &api(401, "Unauthorized"));
    assert!(matches!(&expired, PlatformError::Unreachable(t) if t.contains("expired")));
    let message = "pods is forbidden: User \"u\" cannot delete resource \"pods\"";
    let forbidden = say("kill a pod", "dev", "https://x", &api(403, message));
    assert!(forbidden.to_string().contains(message));
    assert!(forbidden.to_string().contains("rbac.yaml"));
    let gone = say("kill a pod", "dev", "https://x", &api(409, "uid differs"));
    assert!(matches!(gone, PlatformError::Failed(_)));
    for code in [429, 503] {
        let busy = say(
            "read a pod",
            "dev",
            "https://x",
            &api(code, "try again later"),
        );
        assert!(matches!(&busy, PlatformError::Unreachable(t) if t.contains("too much to do")));
    }
}
