use super::*;
use serde_json::{Value, json};

fn service(spec: Value) -> Service {
    let value = json!({"metadata": {"name": "front"}, "spec": spec});
    serde_json::from_value(value).expect("a service")
}

fn target(reach: Reach) -> KubernetesTarget {
    KubernetesTarget {
        kubeconfig: None,
        context: None,
        namespace: None,
        service: "front".into(),
        port: None,
        scheme: "http".into(),
        reach,
        guardian: Default::default(),
        common: Default::default(),
    }
}

fn node(name: &str, ready: &str, addresses: Value) -> Node {
    let value = json!({"metadata": {"name": name}, "status": {
        "conditions": [{"type": "Ready", "status": ready}], "addresses": addresses}});
    serde_json::from_value(value).expect("a node")
}

#[test]
fn the_port_is_the_only_one_or_must_be_named() {
    let one = service(json!({"ports": [{"port": 80, "name": "http"}]}));
    assert_eq!(choose_port(&one, None).unwrap().port, 80);
    assert_eq!(choose_port(&one, Some("http")).unwrap().port, 80);
    assert_eq!(choose_port(&one, Some("80")).unwrap().port, 80);
    let error = choose_port(&one, Some("grpc")).unwrap_err();
    assert_eq!(error, "Service front has no port grpc; it has http (80)");
    let two = service(
        json!({"ports": [{"port": 80, "name": "http"}, {"port": 9090, "name": "metrics"}]}),
    );
    assert!(
        choose_port(&two, None)
            .unwrap_err()
            .contains("http (80), metrics (9090)")
    );
    assert!(
        choose_port(&service(json!({})), None)
            .unwrap_err()
            .contains("no port")
    );
}

#[test]
fn only_a_service_with_a_selector_has_pods() {
    let plain = service(json!({"selector": {"b": "2", "a": "1"}}));
    assert_eq!(selector_of(&plain).unwrap(), "a=1,b=2");
    assert!(
        selector_of(&service(json!({})))
            .unwrap_err()
            .contains("no selector")
    );
    assert!(selector_of(&service(json!({"selector": {}}))).is_err());
    let external = service(json!({"type": "ExternalName", "externalName": "example.org"}));
    assert!(selector_of(&external).unwrap_err().contains("ExternalName"));
}

#[test]
fn ways_come_in_order_and_only_as_asked() {
    let mut svc =
        service(json!({"clusterIP": "10.96.1.1", "ports": [{"port": 80, "nodePort": 30080}]}));
    svc.status =
        serde_json::from_value(json!({"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}}))
            .unwrap();
    let port = choose_port(&svc, None).unwrap();
    let nodes = [
        node(
            "n0",
            "Unknown",
            json!([{"type": "InternalIP", "address": "10.0.0.9"}]),
        ),
        node(
            "n1",
            "True",
            json!([{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "ExternalIP", "address": "192.0.2.1"}]),
        ),
        node(
            "n2",
            "True",
            json!([{"type": "InternalIP", "address": "10.0.0.2"}]),
        ),
    ];
    let urls = |reach| {
        let found = ways(&svc, &port, &nodes, &[], &target(reach));
        found.iter().map(Way::base_url).collect::<Vec<_>>()
    };
    assert_eq!(
        urls(Reach::Auto),
        [
            "http://10.96.1.1",
            "http://192.0.2.1:30080",
            "http://10.0.0.2:30080",
            "http://lb.example"
        ]
    );
    assert_eq!(urls(Reach::LoadBalancer), ["http://lb.example"]);
    assert_eq!(urls(Reach::Ingress), [""; 0]);
    let headless = service(json!({"clusterIP": "None", "ports": [{"port": 80}]}));
    assert!(ways(&headless, &port, &[], &[], &target(Reach::ClusterIp)).is_empty());
}

#[test]
fn an_ingress_counts_where_it_leads_to_this_port() {
    let svc = service(json!({"ports": [{"port": 80, "name": "http"}]}));
    let port = choose_port(&svc, None).unwrap();
    let backend = |name: &str, port: Value| json!({"service": {"name": name, "port": port}});
    let ingress = |backend: Value| -> Ingress {
        serde_json::from_value(json!({"metadata": {}, "spec": {
            "tls": [{"hosts": ["shop.example"]}],
            "rules": [{"host": "shop.example", "http": {"paths": [{"path": "/api/", "pathType": "Prefix", "backend": backend}]}}],
        }}))
        .expect("an ingress")
    };
    let url = |i: Ingress| ingress_ways(&i, &svc, &port).first().map(Way::base_url);
    let here = Some("https://shop.example/api".to_string());
    assert_eq!(url(ingress(backend("front", json!({"number": 80})))), here);
    assert_eq!(
        url(ingress(backend("front", json!({"name": "http"})))),
        here
    );
    assert_eq!(
        url(ingress(backend("front", json!({"number": 9090})))),
        None
    );
    assert_eq!(url(ingress(backend("cart", json!({"number": 80})))), None);
}

#[test]
fn a_named_target_port_is_the_containers() {
    let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [
        {"name": "a"}, {"name": "b", "ports": [{"name": "http", "containerPort": 8080}]}]}}))
    .unwrap();
    let port = |value: Value| -> ServicePort { serde_json::from_value(value).unwrap() };
    assert_eq!(
        target_port(&pod, &port(json!({"port": 80, "targetPort": "http"}))),
        Some(8080)
    );
    assert_eq!(
        target_port(&pod, &port(json!({"port": 80, "targetPort": 8081}))),
        Some(8081)
    );
    assert_eq!(target_port(&pod, &port(json!({"port": 80}))), Some(80));
    assert_eq!(
        target_port(&pod, &port(json!({"port": 80, "targetPort": "grpc"}))),
        None
    );
}

#[test]
fn an_ipv6_host_is_bracketed() {
    let way = Way {
        reach: Reach::ClusterIp,
        scheme: "https".into(),
        host: "fd00::1".into(),
        port: 8443,
        path: String::new(),
        node: None,
    };
    assert_eq!(way.base_url(), "https://[fd00::1]:8443");
}
