//! A network plugin for one namespace, as small as the tests need: it reads NetworkPolicies as they stand in the
//! cluster and cuts with iptables in the nodes, so that a partition that is enforced can be seen to work.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::bed::Bed;

const NODES: [&str; 2] = ["kn1", "kn2"];
const CHAIN: &str = "TEST-POLICIES";

pub struct Enforcer {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Enforcer {
    pub fn start(bed: &Bed, namespace: &str) -> Self {
        for node in NODES {
            iptables(node, &["-N", CHAIN]);
            iptables(node, &["-I", "FORWARD", "1", "-j", CHAIN]);
        }
        let over = Arc::new(AtomicBool::new(false));
        let (ended, kubeconfig, namespace) =
            (over.clone(), bed.kubeconfig.clone(), namespace.to_string());
        let thread = std::thread::spawn(move || {
            let mut last = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                if let Some(rules) = rules(&kubeconfig, &namespace)
                    && rules != last
                {
                    enforce(&rules);
                    last = rules;
                }
                std::thread::sleep(Duration::from_millis(300));
            }
        });
        Self {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Enforcer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for node in NODES {
            iptables(node, &["-D", "FORWARD", "-j", CHAIN]);
            iptables(node, &["-F", CHAIN]);
            iptables(node, &["-X", CHAIN]);
        }
    }
}

fn iptables(node: &str, args: &[&str]) {
    let net = format!("--net=/run/netns/{node}");
    let _ = Command::new("nsenter")
        .args([&net, "iptables", "-w"])
        .args(args)
        .stderr(Stdio::null())
        .status();
}

fn enforce(rules: &[Vec<String>]) {
    for node in NODES {
        iptables(node, &["-F", CHAIN]);
        for rule in rules {
            let mut args = vec!["-A", CHAIN];
            args.extend(rule.iter().map(String::as_str));
            args.extend(["-j", "DROP"]);
            iptables(node, &args);
        }
    }
}

fn get(kubeconfig: &PathBuf, namespace: &str, what: &str) -> Option<Vec<Value>> {
    let out = Command::new("kubectl")
        .args(["-n", namespace, "get", what, "-o", "json"])
        .env("KUBECONFIG", kubeconfig)
        .output()
        .ok()?;
    let all: Value = serde_json::from_slice(&out.stdout).ok()?;
    all["items"].as_array().cloned()
}

/// What each policy drops, as iptables matches.
fn rules(kubeconfig: &PathBuf, namespace: &str) -> Option<Vec<Vec<String>>> {
    let (policies, pods) = (
        get(kubeconfig, namespace, "networkpolicies")?,
        get(kubeconfig, namespace, "pods")?,
    );
    let mut rules = Vec::new();
    for policy in &policies {
        let wanted = policy["spec"]["podSelector"]["matchLabels"].as_object();
        for pod in &pods {
            let matches = wanted.is_none_or(|w| {
                w.iter()
                    .all(|(k, v)| pod["metadata"]["labels"].get(k) == Some(v))
            });
            let Some(ip) = pod["status"]["podIP"].as_str().filter(|_| matches) else {
                continue;
            };
            let sides = [
                ("Ingress", "ingress", "from", "-d", "-s"),
                ("Egress", "egress", "to", "-s", "-d"),
            ];
            for (kind, key, peers, own, other) in sides {
                let types = policy["spec"]["policyTypes"].as_array()?;
                if !types.iter().any(|t| t == kind) {
                    continue;
                }
                // The API server leaves an empty list out.
                match policy["spec"][key].get(0) {
                    None => rules.push(vec![own.to_string(), ip.to_string()]),
                    Some(rule) => {
                        let blocks = rule[peers].as_array()?.iter();
                        let cut = blocks
                            .flat_map(|b| b["ipBlock"]["except"].as_array().into_iter().flatten());
                        let cut = cut
                            .filter_map(Value::as_str)
                            .map(|cidr| [own, ip, other, cidr].map(String::from).to_vec());
                        rules.extend(cut);
                    }
                }
            }
        }
    }
    Some(rules)
}
