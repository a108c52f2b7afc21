//! The guardian: a Job in the target's namespace that watches the run's Lease, and takes back what the run left when
//! that is no longer renewed. It needs nothing of the machine that squall runs on.
//!
//! The Job is owned by the Lease: it goes when the Lease goes. The garbage collector sees to that in its own time, and a
//! kubelet takes another half minute to let go of an ended pod; so the guardian removes both itself as it leaves.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::api::Cluster;
use super::lease::Lease;
use super::own;
use super::owned::{self, Kind, RunOwner};
use super::permissions::{Permission, UNDOING};
use super::pods::why_not_ready;
use crate::platform::PlatformError;
use crate::scenario::{KubernetesTarget, Pull};

mod watch;

pub use watch::{Watched, watch};

/// The annotation of the Lease in which the guardian says that it watches, or why it cannot.
const SAYS: &str = "squall.dev/guardian";
/// How it begins when all is well.
const WATCHING: &str = "watching, ";
/// The guardian watches within this: its image may have to be pulled.
const WATCHES: Duration = Duration::from_secs(90);
/// What is wrong with its pod for so long does not mend itself.
const WRONG: Duration = Duration::from_secs(10);
/// Why a pod's container waits when its image cannot be had.
pub(super) const NO_IMAGE: [&str; 4] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
];

/// How the guardian is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guardian {
    /// Squall's own image.
    pub image: String,
    /// The account that may undo.
    pub account: String,
    /// When the image is pulled.
    pub pull: Pull,
}

impl Guardian {
    /// The one that the scenario asks for. Inside a cluster the image of squall's own pod will do.
    pub fn of(target: &KubernetesTarget, own: Option<&Pod>) -> Option<Self> {
        let settings = &target.guardian;
        let image = settings.image.clone().or_else(|| own::image(own?))?;
        Some(Self {
            image,
            account: settings.service_account.clone(),
            pull: settings.pull,
        })
    }

    /// Creates it and returns once it watches the Lease and may do all that an undo takes.
    pub async fn start(
        &self,
        cluster: &Cluster,
        owner: &RunOwner,
        namespace: &str,
        lease: &Lease,
        calls: &[Permission],
    ) -> Result<(), PlatformError> {
        let of = lease.owner().await;
        let name = job_name(&of.uid);
        let args = arguments(namespace, &of.name, &of.uid, calls);
        let (kind, job) = (job_kind(), json!({"spec": self.job(&args)}));
        owned::create(cluster, owner, &kind, (namespace, &name), &job).await?;
        let began = Instant::now();
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
        loop {
            match lease.annotation(SAYS).await? {
                Some(said) if said.starts_with(WATCHING) => return Ok(()),
                Some(said) => {
                    return Err(PlatformError::Unreachable(format!(
                        "the guardian (service account {namespace}/{}) cannot undo what this run changes: {said}. \
                         Grant it; deploy/kubernetes/rbac.yaml holds all that is needed",
                        self.account
                    )));
                }
                None => {}
            }
            let list = ListParams::default().labels(&format!("job-name={name}"));
            let listed = cluster
                .call("look at the guardian's pod", pods.list(&list))
                .await?;
            let why = self.why_not(namespace, listed.items.first());
            let hopeless = why.hopeless && began.elapsed() > WRONG;
            if hopeless || began.elapsed() > WATCHES {
                return Err(PlatformError::Unreachable(format!(
                    "the guardian does not run, so nothing was broken: {}",
                    why.text
                )));
            }
            sleep(Duration::from_millis(300)).await;
        }
    }

    fn why_not(&self, namespace: &str, pod: Option<&Pod>) -> Why {
        let Some(pod) = pod else {
            return Why {
                text: format!(
                    "its Job has made no pod: is there a service account {} in namespace {namespace} \
                     (deploy/kubernetes/rbac.yaml makes one)?",
                    self.account
                ),
                hopeless: true,
            };
        };
        let reason = why_not_ready(pod);
        let no_image = NO_IMAGE.contains(&reason.as_str());
        let text = match no_image {
            true => format!("its image {} cannot be had ({reason})", self.image),
            false => format!("its pod does not watch within {WATCHES:?} ({reason})"),
        };
        Why {
            text,
            hopeless: no_image,
        }
    }

    /// What the Job is to run.
    fn job(&self, args: &[String]) -> Value {
        let labels = json!({"app.kubernetes.io/managed-by": "squall", "app.kubernetes.io/component": "guardian"});
        // A node that is lost gives its guardian up soon, and one that a fault has cordoned may still have it.
        let soon = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
        json!({
            // It is started again whatever ends it; what ends its work is the end of the Lease.
            "backoffLimit": 1000,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "serviceAccountName": self.account,
                    "restartPolicy": "OnFailure",
                    "terminationGracePeriodSeconds": 1,
                    "enableServiceLinks": false,
                    "tolerations": [
                        soon("node.kubernetes.io/not-ready"),
                        soon("node.kubernetes.io/unreachable"),
                        {"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"},
                    ],
                    "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [{
                        "name": "guardian",
                        "image": self.image,
                        "imagePullPolicy": self.pull.name(),
                        "command": ["/bin/squall", "__guard"],
                        "args": args,
                        "resources": {
                            "requests": {"cpu": "10m", "memory": "32Mi"},
                            "limits": {"cpu": "500m", "memory": "128Mi"},
                        },
                        "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                            "capabilities": {"drop": ["ALL"]}},
                    }],
                },
            },
        })
    }
}

fn job_kind() -> Kind {
    Kind {
        api_version: "batch/v1".into(),
        kind: "Job".into(),
        plural: "jobs".into(),
    }
}

/// The Job of the guardian of the Lease with this uid.
fn job_name(lease_uid: &str) -> String {
    format!(
        "squall-guardian-{}",
        lease_uid.get(..8).unwrap_or(lease_uid)
    )
}

/// Why the guardian does not watch yet.
struct Why {
    text: String,
    hopeless: bool,
}

/// What the guardian is told: which Lease, and which of the calls that undo something this run may need.
fn arguments(namespace: &str, lease: &str, uid: &str, calls: &[Permission]) -> Vec<String> {
    let mut args = vec![
        format!("--namespace={namespace}"),
        format!("--lease={lease}"),
        format!("--uid={uid}"),
    ];
    let needs: BTreeSet<String> = calls.iter().filter_map(need).collect();
    args.extend(needs.into_iter().map(|need| format!("--needs={need}")));
    args
}

/// How a call that undoes something is told to the guardian: `VERB RESOURCE.GROUP`, and where, if not beside its Lease.
pub(super) fn need(call: &Permission) -> Option<String> {
    let &Permission {
        group,
        resource,
        verb,
        ..
    } = call;
    let place = call.elsewhere.iter().map(|n| format!(" in {n}"));
    UNDOING
        .contains(&(group, resource, verb))
        .then(|| format!("{verb} {resource}.{group}{}", place.collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::kubernetes::permissions::{self, needed};
    use crate::scenario::{FaultKind, Reach};

    #[test]
    fn the_guardian_is_asked_whether_it_may_undo_this_run_and_no_more() {
        let calls = needed(Reach::ClusterIp, &[FaultKind::Cordon]);
        let args = arguments("shop", "squall-front", "u-1", &calls);
        assert_eq!(
            args,
            [
                "--namespace=shop",
                "--lease=squall-front",
                "--uid=u-1",
                "--needs=get nodes.",
                "--needs=patch nodes.",
            ]
        );
        let elsewhere = permissions::elsewhere("backend", &[FaultKind::Scale { replicas: 1 }]);
        let args = arguments("shop", "squall-front", "u-1", &elsewhere);
        assert!(
            args.contains(&"--needs=patch deployments.apps in backend".into()),
            "{args:?}"
        );
    }
}
