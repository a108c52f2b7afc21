//! Stands in for Chaos Mesh, of which no image can be had here: its resources, with the fields that it publishes, in the
//! real API server, and a controller as small as the tests need. It sets finalizer, records, conditions and Events as
//! Chaos Mesh does, and does what a NetworkChaos says for real, in the pod's network namespace: loss by iptables; delay,
//! as this kernel has no netem, by a relay on new connections. Other kinds it fails, and says so.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::bed::Bed;

mod packets;
mod resources;

use packets::{iptables, network_of, relay};
use resources::KINDS;
pub use resources::{Resources, chaos};

const FINALIZER: &str = "chaos-mesh/records";

/// The controller, for one namespace.
pub struct Agent {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Agent {
    pub fn start(bed: &Bed, namespace: &str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let mut controller = Controller {
            kubeconfig: bed.kubeconfig.clone(),
            namespace: namespace.into(),
            over: over.clone(),
            made: HashMap::new(),
        };
        let thread = std::thread::spawn(move || {
            while !controller.over.load(Ordering::Relaxed) {
                controller.look();
                std::thread::sleep(Duration::from_millis(100));
            }
            controller.made.into_values().for_each(Made::take_back);
        });
        Self {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Controller {
    kubeconfig: PathBuf,
    namespace: String,
    over: Arc<AtomicBool>,
    /// By the resource's uid.
    made: HashMap<String, Made>,
}

/// What is done in a pod's network namespace.
struct Made {
    net: PathBuf,
    rule: Vec<String>,
    /// Microseconds that the relay holds bytes back: none any more, once this is taken back.
    delay: Arc<AtomicU64>,
}

impl Made {
    fn take_back(self) {
        let rule: Vec<&str> = self.rule.iter().map(String::as_str).collect();
        iptables(&self.net, "-D", &rule).expect("a rule that is there");
        self.delay.store(0, Ordering::Relaxed);
    }
}

impl Controller {
    fn kubectl(&self, args: &[&str]) -> Option<Value> {
        let out = Command::new("kubectl")
            .args(["-n", &self.namespace])
            .args(args)
            .args(["-o", "json"])
            .env("KUBECONFIG", &self.kubeconfig)
            .output()
            .ok()?;
        if !out.status.success() {
            eprintln!("kubectl {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        }
        serde_json::from_slice(&out.stdout).ok()
    }

    fn look(&mut self) {
        let kinds = KINDS.map(|(_, plural)| plural).join(",");
        let all = self.kubectl(&["get", &kinds]).unwrap_or_default();
        for object in all["items"].as_array().into_iter().flatten() {
            self.reconcile(object);
        }
    }

    fn patch(&self, object: &Value, patch: Value) {
        let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
        let of = format!(
            "{}/{}",
            kind.as_str().unwrap().to_lowercase(),
            name.as_str().unwrap()
        );
        self.kubectl(&["patch", &of, "--type=merge", "-p", &patch.to_string()]);
    }

    fn status(&self, object: &Value, phase: &str, failure: Option<&str>) {
        let mut record = json!({"id": pod_of(object), "selectorKey": ".", "phase": phase});
        if let Some(message) = failure {
            record["events"] =
                json!([{"type": "Failed", "operation": "Apply", "message": message}]);
        }
        let is = |yes: bool| if yes { "True" } else { "False" };
        let conditions = [
            ("Selected", true),
            ("AllInjected", phase == "Injected"),
            ("AllRecovered", phase == "Not Injected"),
            ("Paused", false),
        ];
        let conditions = conditions.map(|(of, yes)| json!({"type": of, "status": is(yes)}));
        let experiment = json!({"desiredPhase": "Run", "containerRecords": [record]});
        self.patch(
            object,
            json!({"status": {"conditions": conditions, "experiment": experiment}}),
        );
    }

    fn reconcile(&mut self, object: &Value) {
        let meta = &object["metadata"];
        let uid = meta["uid"].as_str().unwrap();
        let held = meta["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        if meta["deletionTimestamp"].is_string() {
            if held {
                if let Some(made) = self.made.remove(uid) {
                    made.take_back();
                }
                self.status(object, "Not Injected", None);
                self.patch(object, json!({"metadata": {"finalizers": null}}));
            }
            return;
        }
        if !held {
            return self.patch(object, json!({"metadata": {"finalizers": [FINALIZER]}}));
        }
        let record = &object["status"]["experiment"]["containerRecords"][0];
        if record["phase"] == "Injected" || !record["events"].is_null() {
            return;
        }
        if self.made.contains_key(uid) {
            return self.status(object, "Injected", None);
        }
        match self.inject(object) {
            Ok(made) => {
                self.made.insert(uid.into(), made);
                self.status(object, "Injected", None);
            }
            Err(message) => {
                self.status(object, "Not Injected", Some(&message));
                self.event(object, &format!("Failed to apply chaos: {message}"));
            }
        }
    }

    fn inject(&self, object: &Value) -> Result<Made, String> {
        if object["kind"] != "NetworkChaos" {
            return Err(format!(
                "there is nobody here who does a {}",
                object["kind"]
            ));
        }
        let pod = pod_of(object);
        let (_, name) = pod.split_once('/').ok_or("no pod is named")?;
        let pod = self.kubectl(&["get", "pod", name]).ok_or("no such pod")?;
        let ip = pod["status"]["podIP"].as_str().ok_or("it has no address")?;
        let net = network_of(ip).ok_or("its network is not on this machine")?;
        let spec = &object["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let mut delay = Arc::default();
        let rule = match spec["action"].as_str() {
            Some("loss") => {
                let percent: f64 = text(&spec["loss"]["loss"]).parse().map_err(|_| "no loss")?;
                let share = (percent / 100.0).to_string();
                [
                    "OUTPUT",
                    "-o",
                    "eth0",
                    "-m",
                    "statistic",
                    "--mode",
                    "random",
                    "--probability",
                    &share,
                    "-j",
                    "DROP",
                ]
                .map(String::from)
                .to_vec()
            }
            Some("delay") => {
                let latency =
                    squall::scenario::units::parse_duration(&text(&spec["delay"]["latency"]));
                let latency = latency.map_err(|e| e.to_string())?;
                let port = pod["spec"]["containers"][0]["ports"][0]["containerPort"].as_u64();
                let port = port.ok_or("it has no port")?;
                delay = Arc::new(AtomicU64::new(latency.as_micros() as u64));
                let relay = relay(&net, port as u16, delay.clone(), self.over.clone()).to_string();
                let port = port.to_string();
                [
                    "PREROUTING",
                    "-t",
                    "nat",
                    "-i",
                    "eth0",
                    "-p",
                    "tcp",
                    "--dport",
                    &port,
                    "-j",
                    "REDIRECT",
                    "--to-ports",
                    &relay,
                ]
                .map(String::from)
                .to_vec()
            }
            other => return Err(format!("unknown action {other:?}")),
        };
        let words: Vec<&str> = rule.iter().map(String::as_str).collect();
        iptables(&net, "-I", &words)?;
        Ok(Made { net, rule, delay })
    }

    fn event(&self, object: &Value, message: &str) {
        let meta = &object["metadata"];
        let of = json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "name": meta["name"],
            "namespace": meta["namespace"], "uid": meta["uid"]});
        let event = json!({"apiVersion": "v1", "kind": "Event", "reason": "Failed", "message": message, "type": "Warning",
            "metadata": {"generateName": "chaos-", "namespace": self.namespace}, "involvedObject": of});
        let mut child = Command::new("kubectl")
            .args(["create", "-f", "-"])
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("kubectl");
        serde_json::to_writer(child.stdin.take().unwrap(), &event).unwrap();
        child.wait().expect("kubectl");
    }
}

/// NAMESPACE/NAME of the pod that a resource selects; squall names one.
fn pod_of(object: &Value) -> String {
    let pods = object["spec"]["selector"]["pods"].as_object();
    let named = pods.and_then(|p| p.iter().next());
    named.map_or(String::new(), |(namespace, names)| {
        format!("{namespace}/{}", names[0].as_str().unwrap_or_default())
    })
}
