//! Squall is killed with faults in two namespaces: what it left in either is taken back.

use std::time::Instant;

use serde_json::Value;

use crate::bed::{DEMO, until};
use crate::chaos_agent::{Agent, Resources, chaos};
use crate::harness::with_bed;
use crate::killed::{clean_within_a_minute, objects, prepared, replicas};
use crate::strain::processes;
use crate::whole::run_of;

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn killed_with_faults_in_two_namespaces_it_leaves_nothing_in_either() {
    with_bed(|bed| async move {
        let _resources = Resources::install(&bed);
        let (ns, other) = (&*prepared(&bed, "t-two-a"), &*prepared(&bed, "t-two-b"));
        // As docs/kubernetes.md says: the role of that namespace for the account of the target's.
        let account = format!("--serviceaccount={ns}:squall");
        bed.kubectl(&[
            "-n",
            other,
            "create",
            "rolebinding",
            "squall-from-there",
            "--role=squall",
            &account,
        ]);
        let _agent = Agent::start(&bed, other);
        let before = [ns, other].map(|n| objects(&bed, n));
        let there = format!("namespace: {other}");
        let text = format!(
            "squall: 1\nname: killed in two namespaces\nseed: 7\n\
             target:\n  kubernetes: {{ kubeconfig: {}, namespace: {ns}, service: web, \
             guardian: {{ image: \"{DEMO}\", pull: never }} }}\n\
             traffic:\n  slow:\n    arrivals: {{ rate: 2/s, hold: 3m }}\n    journey: [ get: /index.html ]\n\
             guard: {{ namespaces: [{ns}, {other}] }}\n\
             faults:\n  - {{ at: 1s, for: 2m, scale: {{ replicas: 2 }} }}\n  \
             - {{ at: 1s, for: 2m, scale: {{ {there}, replicas: 2 }} }}\n  \
             - {{ at: 4s, for: 2m, cpu-stress: {{ {there}, load: 17% }} }}\n  \
             - {{ at: 4s, for: 2m, delay: {{ {there}, latency: 50ms }} }}\n  \
             - {{ at: 8s, for: 2m, partition: {{ {there} }} }}\n\
             expect: [ errors < 99% ]\n",
            bed.kubeconfig.display()
        );
        let dir = tempfile::tempdir().unwrap();
        let mut child = run_of(dir.path(), &text).spawn().unwrap();
        until("both to be scaled", || {
            replicas(&bed, ns) == 2 && replicas(&bed, other) == 2
        });
        until("the stress and the delay", || {
            let injected =
                |c: &Value| c["status"]["experiment"]["containerRecords"][0]["phase"] == "Injected";
            !processes("--load 17%").is_empty() && chaos(&bed, other).iter().any(injected)
        });
        // Nobody enforces it: it is there for some seconds alone.
        until("the partition", || {
            bed.json(&["-n", other, "get", "networkpolicies"])["items"] != serde_json::json!([])
        });
        let killed = Instant::now();
        child.kill().unwrap();
        child.wait().unwrap();
        for (n, before) in [ns, other].iter().zip(&before) {
            let took = clean_within_a_minute(&bed, n, before, killed);
            eprintln!(
                "{n}: as before {:.1} s after the kill, when looked at",
                took.as_secs_f64()
            );
        }
        assert_eq!(chaos(&bed, other), Vec::<Value>::new());
        until("the stress to be gone", || {
            processes("--load 17%").is_empty()
        });
    });
}
