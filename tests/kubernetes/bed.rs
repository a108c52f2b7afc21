//! The real cluster that the tests run against: brought up by `deploy/testbed`, looked at with kubectl, which
//! knows nothing of squall.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use squall::platform::kubernetes::UNDO_ANNOTATION;

/// A container that serves HTTP on 8080 and ends at SIGTERM.
pub const SERVE: &str = "mkdir -p /tmp/w; hostname >/tmp/w/index.html; trap 'exit 0' TERM; \
    /bin/busybox httpd -f -p 8080 -h /tmp/w & wait";
/// One that ignores SIGTERM: as the first process of its container it has no handler.
pub const DEAF: &str =
    "mkdir -p /tmp/w; hostname >/tmp/w/index.html; exec /bin/busybox httpd -f -p 8080 -h /tmp/w";
/// The image of the program under test.
pub const DEMO: &str = "testbed.local/squall:test";
pub const IMAGE: &str = "testbed.local/tiny:1";

/// The cluster, with this thread inside its network, for one test at a time.
pub struct Bed {
    pub kubeconfig: PathBuf,
    namespaces: std::cell::RefCell<Vec<String>>,
    _alone: MutexGuard<'static, ()>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn script(name: &str, args: &[&str]) {
    script_with(name, args, None);
}

/// The same, with a variable of the environment.
pub fn script_with(name: &str, args: &[&str], variable: Option<(&str, &str)>) {
    let path = root().join("deploy/testbed").join(name);
    let status = Command::new(&path)
        .args(args)
        .envs(variable)
        .stdout(Stdio::null())
        .status();
    let status = status.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(status.success(), "{} {args:?}: {status}", path.display());
}

/// The cluster, brought up by the first test that asks.
pub fn bed() -> Bed {
    static ALONE: Mutex<()> = Mutex::new(());
    static UP: OnceLock<PathBuf> = OnceLock::new();
    assert!(
        rustix::process::geteuid().is_root(),
        "only root can bring a cluster up (see deploy/testbed/README.md)"
    );
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let kubeconfig = UP.get_or_init(|| {
        script("up.sh", &["--no-shop"]);
        let tar = tempfile::tempdir().unwrap();
        let tar = tar.path().join("tiny.tar");
        let tar = tar.to_str().unwrap();
        let files = [
            "/bin/busybox=/bin/busybox",
            "/bin/busybox=/bin/sh",
            "/bin/busybox=/bin/kill",
        ];
        let mut args = vec![tar, IMAGE, r#"["/bin/sh"]"#];
        args.extend(files);
        script("mkimg.py", &args);
        script("cluster.sh", &["load", tar]);
        let state =
            std::env::var("SQUALL_TESTBED_STATE").unwrap_or("/var/lib/squall-testbed".into());
        Path::new(&state).join("kubeconfig")
    });
    // What a test that failed may have left: the API server stopped, a node without power or out of service.
    script("apiserver-start.sh", &[]);
    // This thread, and those it makes, are in the client's network namespace from here on.
    let net = std::fs::File::open("/run/netns/kcp").expect("the client's network namespace");
    let kind = Some(rustix::thread::LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&net), kind)
        .expect("entering it");
    let bed = Bed {
        kubeconfig: kubeconfig.clone(),
        namespaces: Default::default(),
        _alone: alone,
    };
    bed.heal_nodes();
    bed
}

impl Drop for Bed {
    fn drop(&mut self) {
        for name in self.namespaces.take() {
            // Nobody waits for it, and a test that has failed should say so with its own words.
            let _ = Command::new("kubectl")
                .args(["delete", "namespace", &name, "--wait=false"])
                .env("KUBECONFIG", &self.kubeconfig)
                .output();
        }
    }
}

impl Bed {
    /// Every node ready, and in service.
    fn heal_nodes(&self) {
        let nodes = self.json(&["get", "nodes"]);
        for node in nodes["items"].as_array().unwrap() {
            let name = node["metadata"]["name"].as_str().unwrap();
            let conditions = node["status"]["conditions"].as_array().unwrap();
            let ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
            if !conditions.iter().any(ready) {
                script("node-up.sh", &[name]);
            }
            if node["spec"]["unschedulable"] == true {
                self.kubectl(&["uncordon", name]);
            }
            if !node["metadata"]["annotations"][UNDO_ANNOTATION].is_null() {
                let gone = format!("{UNDO_ANNOTATION}-");
                self.kubectl(&["annotate", "node", name, &gone]);
                self.kubectl(&["label", "node", name, "squall.dev/changed-"]);
            }
        }
    }

    pub fn kubectl(&self, args: &[&str]) -> String {
        let out = Command::new("kubectl")
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .output()
            .expect("kubectl");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            out.status.success(),
            "kubectl {args:?}: {}",
            text(&out.stderr)
        );
        text(&out.stdout)
    }

    pub fn json(&self, args: &[&str]) -> Value {
        let args = [args, &["-o", "json"]].concat();
        serde_json::from_str(&self.kubectl(&args)).expect("JSON")
    }

    pub fn apply(&self, manifest: &Value) {
        self.apply_text(&manifest.to_string());
    }

    fn apply_text(&self, manifest: &str) {
        let mut child = Command::new("kubectl")
            .args(["apply", "-f", "-"])
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("kubectl");
        let mut input = child.stdin.take().unwrap();
        input.write_all(manifest.as_bytes()).unwrap();
        drop(input);
        assert!(child.wait().unwrap().success(), "kubectl apply {manifest}");
    }

    /// Deployment and Service `web`, rolled out.
    pub fn web(&self, namespace: &str, replicas: u32, command: &str) {
        self.web_of(namespace, replicas, IMAGE, command);
    }

    /// The same, of this image.
    pub fn web_of(&self, namespace: &str, replicas: u32, image: &str, command: &str) {
        self.apply(&serde_json::json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                    "terminationGracePeriodSeconds": 10,
                    "containers": [{"name": "web", "image": image, "imagePullPolicy": "Never",
                        "command": ["/bin/sh", "-c", command],
                        "ports": [{"name": "http", "containerPort": 8080}],
                        "readinessProbe": {"httpGet": {"path": "/index.html", "port": "http"}, "periodSeconds": 1}}]}}}}));
        self.service(namespace);
    }

    /// Service `web`, and its Deployment rolled out.
    pub fn service(&self, namespace: &str) {
        self.apply(&serde_json::json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}}));
        self.rolled_out(namespace, "deployment/web", 90);
    }

    /// Waits until a workload is rolled out, for so many seconds at most.
    pub fn rolled_out(&self, namespace: &str, workload: &str, seconds: u32) {
        let timeout = format!("--timeout={seconds}s");
        self.kubectl(&["-n", namespace, "rollout", "status", workload, &timeout]);
    }

    /// Gives the nodes the image [`DEMO`].
    pub fn load_demo(&self) {
        static LOADED: OnceLock<()> = OnceLock::new();
        LOADED.get_or_init(|| {
            let dir = tempfile::tempdir().unwrap();
            let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
            let (binary, tar) = (path("squall"), path("squall-test.tar"));
            // What a debugger needs is most of a debug build, and of no use in a pod.
            let strip = Command::new("strip")
                .args(["-o", &binary, env!("CARGO_BIN_EXE_squall")])
                .status();
            if !strip.is_ok_and(|s| s.success()) {
                std::fs::copy(env!("CARGO_BIN_EXE_squall"), &binary).unwrap();
            }
            let file = format!("{binary}=/bin/squall");
            // A shell and `kill`, as for the shop's image: faults that signal a process need them.
            let mut args = vec!["--with-libraries", &tar, DEMO, r#"["/bin/squall"]"#, &file];
            args.extend([
                "/bin/busybox=/bin/busybox",
                "/bin/busybox=/bin/sh",
                "/bin/busybox=/bin/kill",
            ]);
            script("mkimg.py", &args);
            script("cluster.sh", &["load", &tar]);
        });
    }

    /// A new namespace; it goes when the test is over. Its name is new too: the cluster takes its time to delete one.
    pub fn namespace(&self, name: &str) -> String {
        let since = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970");
        let name = format!("{name}-{}", since.as_millis());
        self.kubectl(&["create", "namespace", &name]);
        self.namespaces.borrow_mut().push(name.clone());
        name
    }

    pub fn budget(&self, namespace: &str, max_unavailable: u32) {
        self.apply(&serde_json::json!({"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {"maxUnavailable": max_unavailable, "selector": {"matchLabels": {"app": "web"}}}}));
        until("the budget to be counted", || {
            let budget = self.json(&["-n", namespace, "get", "poddisruptionbudget", "web"]);
            budget
                .pointer("/status/expectedPods")
                .and_then(Value::as_u64)
                .is_some_and(|n| n > 0)
        });
    }

    /// Applies the manifests of `deploy/kubernetes` that give squall an account and what it may do.
    pub fn grant(&self, namespace: &str, manifests: &[&str]) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kubernetes/");
        for name in manifests {
            let text = std::fs::read_to_string(format!("{folder}{name}")).unwrap();
            self.apply_text(&text.replace("shop", namespace));
        }
    }

    /// A kubeconfig, in this folder, for who is a service account and nobody else.
    pub fn kubeconfig_of(&self, namespace: &str, account: &str, folder: &Path) -> PathBuf {
        let admin = std::fs::read_to_string(&self.kubeconfig).unwrap();
        let own = admin.replace("admin-token", &self.token(namespace, account));
        let path = folder.join(account);
        std::fs::write(&path, own).unwrap();
        path
    }

    /// The token of a service account.
    pub fn token(&self, namespace: &str, account: &str) -> String {
        let mut token = String::new();
        until("the account's token", || {
            let secrets = self.json(&["-n", namespace, "get", "secrets"]);
            let prefix = format!("{account}-token");
            let named = |s: &&Value| {
                s["metadata"]["name"]
                    .as_str()
                    .is_some_and(|n| n.starts_with(&prefix))
            };
            let secret = secrets["items"].as_array().unwrap().iter().find(named);
            let Some(data) = secret.and_then(|s| s["data"]["token"].as_str()) else {
                return false;
            };
            let decode = Command::new("sh")
                .args(["-c", "echo \"$0\" | base64 -d", data])
                .output();
            token = String::from_utf8(decode.unwrap().stdout).unwrap();
            true
        });
        token
    }

    /// Uids of the pods of `web`.
    pub fn uids(&self, namespace: &str) -> Vec<String> {
        let pods = self.json(&["-n", namespace, "get", "pods"]);
        let items = pods["items"].as_array().unwrap().iter();
        items
            .map(|p| p["metadata"]["uid"].as_str().unwrap().to_string())
            .collect()
    }
}

/// Waits for a condition that the outside shows.
pub fn until(what: &str, condition: impl FnMut() -> bool) {
    until_within(60, what, condition);
}

/// The same, for what may take longer on a busy machine.
pub fn until_within(seconds: u64, what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !condition() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
