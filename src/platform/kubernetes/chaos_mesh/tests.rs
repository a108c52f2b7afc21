use super::*;
use crate::scenario::Errno;

fn spec(fault: &FaultKind) -> Value {
    content(fault, "shop", "web-1")["spec"].clone()
}

#[test]
fn a_resource_says_what_the_fault_says_of_one_pod_alone() {
    let ms = Duration::from_millis;
    let whom = json!({"pods": {"shop": ["web-1"]}});
    let delay = FaultKind::Delay {
        latency: ms(1500),
        jitter: ms(0),
    };
    assert_eq!(
        spec(&delay),
        json!({"mode": "all", "selector": whom, "action": "delay",
            "delay": {"latency": "1500ms", "jitter": "0s", "correlation": "0"}})
    );
    let loss = |share| {
        spec(&FaultKind::Loss {
            share: Ratio::fraction(share),
        })
    };
    assert_eq!(
        loss(0.125)["loss"],
        json!({"loss": "12.5", "correlation": "0"})
    );
    assert_eq!(loss(0.07)["loss"]["loss"], "7", "not 7.000000000000001");
    assert_eq!(spec(&FaultKind::BlackHole)["loss"]["loss"], "100");
    let dns = FaultKind::DnsFault {
        answer: DnsAnswer::Random,
        domains: vec!["cart.*".into()],
    };
    assert_eq!(
        spec(&dns),
        json!({"mode": "all", "selector": whom, "action": "random", "patterns": ["cart.*"]})
    );
    let files = IoFiles {
        volume: "/data".into(),
        path: Some("/data/*".into()),
        share: Ratio::fraction(0.29),
        container: Some("db".into()),
    };
    let slow = FaultKind::IoDelay {
        latency: ms(100),
        files: files.clone(),
    };
    assert_eq!(
        spec(&slow),
        json!({"mode": "all", "selector": whom, "action": "latency", "delay": "100ms", "volumePath": "/data",
            "path": "/data/*", "percent": 29, "containerNames": ["db"]})
    );
    let full = FaultKind::IoError {
        errno: Errno::Enospc,
        files,
    };
    assert_eq!(
        (&spec(&full)["action"], &spec(&full)["errno"]),
        (&json!("fault"), &json!(28))
    );
    let behind = FaultKind::ClockSkew {
        offset: Duration::from_secs(600),
        behind: true,
        container: None,
    };
    assert_eq!(
        spec(&behind),
        json!({"mode": "all", "selector": whom, "timeOffset": "-10m"})
    );
}

#[test]
fn a_resource_is_in_force_when_its_conditions_say_so_and_else_says_why_not() {
    let object = |status: Value| -> DynamicObject {
        serde_json::from_value(
            json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "NetworkChaos",
            "metadata": {"name": "x"}, "status": status}),
        )
        .unwrap()
    };
    let none = object(json!({}));
    assert!(!is(&none, "AllInjected"));
    assert!(state(&none).contains("no conditions"), "{}", state(&none));
    let failing = object(json!({
        "conditions": [{"type": "Selected", "status": "True", "reason": ""}, {"type": "AllInjected", "status": "False"}],
        "experiment": {"containerRecords": [{"id": "shop/web-1", "phase": "Not Injected", "events": [
            {"type": "Failed", "operation": "Apply", "message": "unable to set tc"}]}]}}));
    assert!(!is(&failing, "AllInjected") && is(&failing, "Selected"));
    assert_eq!(
        state(&failing),
        "Selected is True, AllInjected is False, shop/web-1 is Not Injected (unable to set tc)"
    );
    let injected = object(json!({"conditions": [{"type": "AllInjected", "status": "True"}]}));
    assert!(is(&injected, "AllInjected"));
}
