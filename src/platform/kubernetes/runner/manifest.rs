//! What is created for a run inside the cluster: a Job, and beside it the scenario with its files.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::scenario::Pull;

/// A ConfigMap holds no more; the API server refuses it.
const MOST: usize = 1 << 20;

/// What the pod needs of this machine.
#[derive(Debug, Default)]
pub struct Bundle {
    /// Files by their path under the scenario's folder.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Those that are secret.
    pub secret_files: BTreeMap<String, Vec<u8>>,
    /// Environment variables that the scenario uses, which may be secret too.
    pub env: BTreeMap<String, String>,
}

impl Bundle {
    /// Whether it goes into objects of the cluster; what is wrong, in a sentence.
    pub fn check(&self) -> Result<(), String> {
        let total: usize = self.files.values().map(Vec::len).sum();
        if total > MOST {
            return Err(format!(
                "the scenario and its files are {total} bytes, and a ConfigMap holds {MOST}: put the data into an image of \
                 yours, or run squall from outside the cluster"
            ));
        }
        Ok(())
    }

    /// Whether anything of it is secret.
    pub fn has_secrets(&self) -> bool {
        !self.env.is_empty() || !self.secret_files.is_empty()
    }

    /// The ConfigMap's content.
    pub fn config(&self) -> Value {
        json!({"binaryData": encoded(&self.files)})
    }

    /// The Secret's content.
    pub fn secret(&self) -> Value {
        let mut data = encoded(&self.secret_files);
        data.extend(
            self.env
                .iter()
                .map(|(k, v)| (k.clone(), STANDARD.encode(v))),
        );
        json!({"data": data})
    }

    fn volume(&self, name: &str) -> Value {
        let items = |files: &BTreeMap<String, Vec<u8>>| -> Vec<Value> {
            let path = |(i, path): (usize, &String)| json!({"key": key(i), "path": path});
            files.keys().enumerate().map(path).collect()
        };
        let mut sources = vec![json!({"configMap": {"name": name, "items": items(&self.files)}})];
        if !self.secret_files.is_empty() {
            sources.push(json!({"secret": {"name": name, "items": items(&self.secret_files)}}));
        }
        json!({"name": "scenario", "projected": {"sources": sources}})
    }

    fn environment(&self, name: &str) -> Vec<Value> {
        let from = |key: &String| json!({"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}});
        self.env.keys().map(from).collect()
    }
}

/// Paths may hold what a key may not.
fn key(index: usize) -> String {
    format!("file-{index}")
}

fn encoded(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, String> {
    let entry = |(i, bytes): (usize, &Vec<u8>)| (key(i), STANDARD.encode(bytes));
    files.values().enumerate().map(entry).collect()
}

/// How the pod is to be run.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Squall's own image.
    pub image: String,
    /// The account that may do what the scenario asks.
    pub account: String,
    /// When the image is pulled.
    pub pull: Pull,
    /// Arguments of squall.
    pub args: Vec<String>,
    /// The Job is ended by the cluster after so many seconds, whoever is left to care.
    pub deadline_s: u64,
}

/// The Job.
pub fn job(name: &str, pod: &Pod, bundle: &Bundle) -> Value {
    let labels =
        json!({"app.kubernetes.io/managed-by": "squall", "app.kubernetes.io/component": "runner"});
    json!({
        // A run is not repeated behind the user's back.
        "backoffLimit": 0,
        "activeDeadlineSeconds": pod.deadline_s,
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "serviceAccountName": pod.account,
                "restartPolicy": "Never",
                // A run that is told to end first undoes what it did.
                "terminationGracePeriodSeconds": 60,
                "enableServiceLinks": false,
                "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                    "seccompProfile": {"type": "RuntimeDefault"}},
                "volumes": [bundle.volume(name), {"name": "record", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
                "containers": [{
                    "name": "squall",
                    "image": pod.image,
                    "imagePullPolicy": pod.pull.name(),
                    "command": ["/bin/squall"],
                    "args": pod.args,
                    "env": bundle.environment(name),
                    // No limit of CPU: a generator that is throttled measures itself.
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                    "volumeMounts": [
                        {"name": "scenario", "mountPath": super::SCENARIO, "readOnly": true},
                        {"name": "record", "mountPath": super::RECORD},
                        {"name": "tmp", "mountPath": "/tmp"},
                    ],
                    "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                        "capabilities": {"drop": ["ALL"]}},
                }],
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_in_the_secret_alone_and_every_file_is_mounted_under_its_path() {
        let mut bundle = Bundle::default();
        bundle
            .files
            .insert("scenario.yaml".into(), b"squall: 1".to_vec());
        bundle
            .files
            .insert("data/users.csv".into(), b"id\n1\n".to_vec());
        bundle
            .secret_files
            .insert("key.pem".into(), b"private".to_vec());
        bundle.env.insert("TOKEN".into(), "hush".into());
        let pod = Pod {
            image: "squall:1".into(),
            account: "squall".into(),
            pull: Pull::Never,
            args: vec!["run".into()],
            deadline_s: 60,
        };
        let job = job("squall-run-1", &pod, &bundle);
        let shown = job.to_string() + &bundle.config().to_string();
        for hidden in [
            "hush",
            &STANDARD.encode("hush"),
            &STANDARD.encode("private"),
        ] {
            assert!(!shown.contains(hidden), "{hidden} in {shown}");
        }
        let spec = &job["template"]["spec"];
        let sources = &spec["volumes"][0]["projected"]["sources"];
        // In the order of the keys' numbers.
        assert_eq!(
            sources[0]["configMap"]["items"][0],
            json!({"key": "file-0", "path": "data/users.csv"})
        );
        assert_eq!(
            bundle.config()["binaryData"]["file-0"],
            STANDARD.encode("id\n1\n")
        );
        assert_eq!(sources[1]["secret"]["items"][0]["path"], "key.pem");
        assert_eq!(
            spec["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"]["key"],
            "TOKEN"
        );
        assert_eq!(bundle.secret()["data"]["TOKEN"], STANDARD.encode("hush"));
    }

    #[test]
    fn what_no_configmap_holds_is_refused() {
        let mut bundle = Bundle::default();
        bundle.files.insert("big.csv".into(), vec![0; MOST + 1]);
        assert!(bundle.check().unwrap_err().contains("1048577 bytes"));
    }
}
