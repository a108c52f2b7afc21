//! The resources of Chaos Mesh, with the fields that it publishes.

use std::process::Command;

use serde_json::{Value, json};

use crate::bed::{Bed, until};

pub(super) const KINDS: [(&str, &str); 4] = [
    ("NetworkChaos", "networkchaos"),
    ("DNSChaos", "dnschaos"),
    ("IOChaos", "iochaos"),
    ("TimeChaos", "timechaos"),
];

/// The resources of Chaos Mesh; they go with this.
pub struct Resources<'a>(&'a Bed);

impl<'a> Resources<'a> {
    pub fn install(bed: &'a Bed) -> Self {
        for (kind, plural) in KINDS {
            bed.apply(&definition(kind, plural));
        }
        until("the resources to be served", || {
            let served =
                bed.kubectl(&["api-resources", "--api-group=chaos-mesh.org", "-o", "name"]);
            KINDS.iter().all(|(_, plural)| served.contains(plural))
        });
        Self(bed)
    }
}

impl Drop for Resources<'_> {
    fn drop(&mut self) {
        let kubectl = |args: &[&str]| {
            let mut command = Command::new("kubectl");
            command.args(args).env("KUBECONFIG", &self.0.kubeconfig);
            command
                .output()
                .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        };
        for (_, plural) in KINDS {
            // What a test that failed has left would hold its definition for good.
            let paths =
                "jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name}{\"\\n\"}{end}";
            for line in kubectl(&["get", plural, "-A", "-o", paths])
                .unwrap_or_default()
                .lines()
            {
                if let Some((namespace, name)) = line.split_once(' ') {
                    let none = r#"{"metadata":{"finalizers":null}}"#;
                    let _ = kubectl(&[
                        "-n",
                        namespace,
                        "patch",
                        plural,
                        name,
                        "--type=merge",
                        "-p",
                        none,
                    ]);
                }
            }
            let crd = format!("{plural}.chaos-mesh.org");
            let _ = kubectl(&["delete", "crd", &crd, "--timeout=30s"]);
        }
    }
}

/// A definition with the fields that Chaos Mesh 2 publishes; what is not among them the API server drops.
fn definition(kind: &str, plural: &str) -> Value {
    let text = || json!({"type": "string"});
    let texts = || json!({"type": "array", "items": text()});
    let map = |of: Value| json!({"type": "object", "additionalProperties": of});
    let object = |fields: Value| json!({"type": "object", "properties": fields});
    let selector = object(json!({
        "pods": map(texts()), "namespaces": texts(), "nodes": texts(), "labelSelectors": map(text()),
        "nodeSelectors": map(text()), "annotationSelectors": map(text()), "podPhaseSelectors": texts(),
    }));
    let mut spec = object(json!({
        "mode": {"type": "string", "enum": ["one", "all", "fixed", "fixed-percent", "random-max-percent"]},
        "value": text(), "duration": text(), "selector": selector,
    }));
    let (fields, required): (Value, &[&str]) = match kind {
        "NetworkChaos" => {
            let delay = json!({"type": "object", "required": ["latency"],
                "properties": {"latency": text(), "jitter": text(), "correlation": text()}});
            let loss = json!({"type": "object", "required": ["loss"], "properties": {"loss": text(), "correlation": text()}});
            let actions = [
                "netem",
                "delay",
                "loss",
                "duplicate",
                "corrupt",
                "partition",
                "bandwidth",
            ];
            let fields = json!({"action": {"type": "string", "enum": actions}, "delay": delay, "loss": loss,
                "direction": {"type": "string", "enum": ["to", "from", "both"]}, "externalTargets": texts()});
            (fields, &["action", "mode", "selector"])
        }
        "DNSChaos" => {
            let action = json!({"type": "string", "enum": ["error", "random"]});
            let fields = json!({"action": action, "patterns": texts(), "containerNames": texts()});
            (fields, &["action", "mode", "selector"])
        }
        "IOChaos" => {
            let actions = ["latency", "fault", "attrOverride", "mistake"];
            let fields = json!({"action": {"type": "string", "enum": actions}, "containerNames": texts(),
                "delay": text(), "errno": {"type": "integer"}, "percent": {"type": "integer"}, "methods": texts(),
                "path": text(), "volumePath": text()});
            (fields, &["action", "mode", "selector", "volumePath"])
        }
        _ => {
            let fields =
                json!({"timeOffset": text(), "clockIds": texts(), "containerNames": texts()});
            (fields, &["mode", "selector", "timeOffset"])
        }
    };
    let all = spec["properties"].as_object_mut().unwrap();
    all.extend(fields.as_object().unwrap().clone());
    spec["required"] = json!(required);
    let event = object(
        json!({"type": text(), "operation": text(), "message": text(), "timestamp": text()}),
    );
    let record = object(json!({"id": text(), "selectorKey": text(), "phase": text(),
        "injectedCount": {"type": "integer"}, "recoveredCount": {"type": "integer"},
        "events": {"type": "array", "items": event}}));
    let experiment = object(
        json!({"desiredPhase": text(), "containerRecords": {"type": "array", "items": record}}),
    );
    let condition = object(json!({"type": text(), "status": text(), "reason": text()}));
    let status = object(
        json!({"conditions": {"type": "array", "items": condition}, "experiment": experiment}),
    );
    let schema = json!({"type": "object", "required": ["spec"], "properties": {"spec": spec, "status": status}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.chaos-mesh.org")},
        "spec": {"group": "chaos-mesh.org", "scope": "Namespaced",
            "names": {"kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": plural},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}})
}

/// All resources of Chaos Mesh in a namespace.
pub fn chaos(bed: &Bed, namespace: &str) -> Vec<Value> {
    let kinds = KINDS.map(|(_, plural)| plural).join(",");
    let all = bed.json(&["-n", namespace, "get", &kinds]);
    all["items"].as_array().unwrap().clone()
}
