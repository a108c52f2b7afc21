//! Stands in for Chaos Mesh, of which no image can be had here: its resources, with the fields that it publishes, in the
//! real API server, and a controller as small as the tests need. It sets finalizer, records, conditions and Events as
//! Chaos Mesh does, and does what a NetworkChaos says for real, in the pod's network namespace: loss by iptables; delay,
//! as this kernel has no netem, by a relay on new connections. Other kinds it fails, and says so.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

use crate::bed::{Bed, until};

const KINDS: [(&str, &str); 4] = [
    ("NetworkChaos", "networkchaos"),
    ("DNSChaos", "dnschaos"),
    ("IOChaos", "iochaos"),
    ("TimeChaos", "timechaos"),
];
const FINALIZER: &str = "chaos-mesh/records";

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

/// The network namespace of the pod with this address, by the process that holds it.
fn network_of(ip: &str) -> Option<PathBuf> {
    let own = format!(" {ip}/");
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    // As the testbed's image of it says.
    let pauses = processes.filter(|e| {
        let line = std::fs::read_to_string(e.path().join("cmdline")).unwrap_or_default();
        line.ends_with("sleep\x002147483647\0")
    });
    pauses.map(|e| e.path().join("ns/net")).find(|net| {
        let shown = Command::new("nsenter")
            .arg(format!("--net={}", net.display()))
            .args(["ip", "-4", "-o", "address"])
            .output();
        shown.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains(&own))
    })
}

fn iptables(net: &Path, verb: &str, rule: &[&str]) -> Result<(), String> {
    let out = Command::new("nsenter")
        .arg(format!("--net={}", net.display()))
        .args(["iptables", "-w", verb])
        .args(rule)
        .output()
        .map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    out.status.success().then_some(()).ok_or(said)
}

/// A relay in a network namespace that holds back what goes out; the answer is its port.
fn relay(net: &Path, to: u16, delay: Arc<AtomicU64>, over: Arc<AtomicBool>) -> u16 {
    let net = std::fs::File::open(net).expect("the pod's network");
    let (tell, port) = mpsc::channel();
    std::thread::spawn(move || {
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&net), kind)
            .expect("entering it");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))
                .await
                .expect("a port");
            tell.send(listener.local_addr().unwrap().port()).unwrap();
            while !over.load(Ordering::Relaxed) {
                let accepted = tokio::time::timeout(Duration::from_millis(200), listener.accept());
                let Ok(Ok((client, _))) = accepted.await else {
                    continue;
                };
                let delay = delay.clone();
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await else {
                        return;
                    };
                    let ((from, out), (back, into)) = (client.into_split(), server.into_split());
                    tokio::join!(late(from, into, Arc::default()), late(back, out, delay));
                });
            }
        });
    });
    port.recv().expect("the relay's port")
}

async fn late(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Arc<AtomicU64>) {
    let (send, mut due) = tokio::sync::mpsc::unbounded_channel();
    let read = async move {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(n @ 1..) = from.read(&mut buffer).await {
            let at = Instant::now() + Duration::from_micros(delay.load(Ordering::Relaxed));
            let _ = send.send((at, buffer[..n].to_vec()));
        }
    };
    let write = async move {
        while let Some((at, bytes)) = due.recv().await {
            sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}
