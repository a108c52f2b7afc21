use super::*;
use kube::config::NamedContext;
use kube::core::Status;

fn groups(list: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
    list.iter()
        .map(|(g, v)| (g.to_string(), v.iter().map(|v| v.to_string()).collect()))
        .collect()
}

#[test]
fn an_old_cluster_serves_betas_and_a_new_one_does_not() {
    let old = groups(&[
        ("policy", &["v1beta1"]),
        ("autoscaling", &["v1", "v2beta1", "v2beta2"]),
        ("discovery.k8s.io", &["v1beta1"]),
        ("networking.k8s.io", &["v1", "v1beta1"]),
    ]);
    let served = Served::choose(&old, Some("v1beta1".into()), false);
    assert_eq!(served.policy.as_deref(), Some("v1beta1"));
    assert_eq!(served.autoscaling.as_deref(), Some("v2beta2"));
    assert_eq!(served.discovery.as_deref(), Some("v1beta1"));
    assert_eq!(served.metrics, None);
    // 1.21 to 1.24 serve both: the stable one is taken, wherever it stands in the list.
    let both = groups(&[
        ("policy", &["v1beta1", "v1"]),
        ("autoscaling", &["v2beta2", "v2"]),
    ]);
    let served = Served::choose(&both, None, true);
    assert_eq!(served.policy.as_deref(), Some("v1"));
    assert_eq!(served.autoscaling.as_deref(), Some("v2"));
    assert_eq!(served.discovery, None);
    // autoscaling/v1 alone cannot say what the judge needs.
    let v1 = groups(&[("autoscaling", &["v1"])]);
    assert_eq!(Served::choose(&v1, None, true).autoscaling, None);
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
}
