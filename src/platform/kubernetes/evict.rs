//! Faults that take a pod away: it is deleted, or an eviction is asked for until a budget allows it.

use std::time::Duration;

use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::core::Status;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::api::say;
use super::faults::{Faults, Victim};
use super::pods::Owner;
use crate::platform::PlatformError;
use crate::scenario::FaultKind;

/// An eviction that a budget forbids is asked for again so often, or as often as the server says.
const EVICT_AGAIN: Duration = Duration::from_secs(1);

/// Faults that only another pod makes good.
pub(super) fn takes_pod(fault: &FaultKind) -> bool {
    matches!(fault, FaultKind::PodKill { .. } | FaultKind::Evict { .. })
}

/// Whether something makes another pod in its place; if not, why it is not to be taken away.
pub(super) fn replaced(owner: &Owner, pod: &str) -> Result<(), String> {
    match owner.kind.as_str() {
        "Pod" => Err(format!(
            "pod {pod} belongs to no workload: nothing would bring it back"
        )),
        "Node" => Err(format!(
            "pod {pod} is a static pod: what the API has of it is an image, and to take that away does nothing to it"
        )),
        _ => Ok(()),
    }
}

impl Faults {
    pub(super) async fn kill(
        &self,
        victim: &Victim,
        grace: Option<Duration>,
    ) -> Result<(), PlatformError> {
        let params = DeleteParams {
            // The API counts whole seconds; a part of one must not become "at once".
            grace_period_seconds: grace.map(|g| g.as_secs_f64().ceil() as u32),
            preconditions: Some(Preconditions {
                uid: Some(victim.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let doing = format!("delete pod {}", victim.name);
        let pods = self.pods();
        let deleted = async {
            match pods.delete(&victim.name, &params).await {
                Err(kube::Error::Api(s)) if matches!(s.code, 404 | 409) => Ok(false),
                other => other.map(|_| true),
            }
        };
        if self.cluster.call(&doing, deleted).await? {
            return Ok(());
        }
        Err(PlatformError::Failed(format!(
            "pod {} was gone, or another of its name had come: nothing was killed",
            victim.name
        )))
    }

    /// Asks for an eviction until it is granted, or the deadline says that the budget holds.
    pub(super) async fn evict(
        &self,
        pod: &str,
        uid: &str,
        deadline: Duration,
    ) -> Result<(), PlatformError> {
        let Some(version) = &self.cluster.served.eviction else {
            return Err(PlatformError::Unsupported(
                "this cluster does not serve evictions (pods/eviction)".into(),
            ));
        };
        // The client's own eviction leaves the delete options out of what it sends: without the uid, a pod that
        // came after this one could be evicted in its place.
        let eviction = json!({
            "apiVersion": format!("policy/{version}"),
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        });
        let (until, post) = (Instant::now() + deadline, PostParams::default());
        let doing = format!("evict pod {pod}");
        let pods = self.pods();
        loop {
            let ask = async {
                let posted =
                    pods.create_subresource::<Value, Value>("eviction", pod, &post, &eviction);
                Ok(posted.await)
            };
            let status = match self.cluster.call(&doing, ask).await? {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) => status,
                Err(e) => return Err(say(&doing, &self.cluster.context, &self.cluster.server, &e)),
            };
            let again = match status.code {
                429 => EVICT_AGAIN.max(Duration::from_secs(
                    status
                        .details
                        .as_ref()
                        .map_or(0, |d| d.retry_after_seconds)
                        .into(),
                )),
                404 | 409 => {
                    return Err(PlatformError::Failed(format!(
                        "pod {pod} was gone, or another of its name had come: nothing was evicted"
                    )));
                }
                _ => {
                    let error = kube::Error::Api(status);
                    return Err(say(
                        &doing,
                        &self.cluster.context,
                        &self.cluster.server,
                        &error,
                    ));
                }
            };
            if Instant::now() + again > until {
                return Err(not_evicted(pod, deadline, &status));
            }
            tokio::time::sleep(again).await;
        }
    }
}

/// Why an eviction that was asked for until its deadline was not granted: a budget, or a server that has too much to do.
fn not_evicted(pod: &str, deadline: Duration, status: &Status) -> PlatformError {
    let causes = status.details.iter().flat_map(|d| &d.causes);
    let budgets: Vec<_> = causes
        .filter(|c| c.reason == "DisruptionBudget")
        .map(|c| c.message.as_str())
        .collect();
    if budgets.is_empty() {
        return PlatformError::Unreachable(format!(
            "pod {pod} was not evicted in {deadline:?}: the API server has too much to do ({})",
            status.message
        ));
    }
    PlatformError::Held(format!(
        "the disruption budget held: pod {pod} was not evicted in {deadline:?} ({} {})",
        status.message,
        budgets.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_that_holds_is_told_from_a_server_that_has_too_much_to_do() {
        let status = |causes: Value| -> Status {
            serde_json::from_value(
                json!({"status": "Failure", "message": "try later", "reason": "TooManyRequests",
                "code": 429, "details": {"retryAfterSeconds": 1, "causes": causes}}),
            )
            .expect("a status")
        };
        let after = Duration::from_secs(9);
        let budget = "The disruption budget web needs 2 healthy pods and has 2 currently";
        let held = status(json!([{"reason": "DisruptionBudget", "message": budget}]));
        let held = not_evicted("p", after, &held);
        assert!(
            matches!(&held, PlatformError::Held(t) if t.contains(budget)),
            "{held:?}"
        );
        let busy = not_evicted("p", after, &status(json!([])));
        assert!(
            matches!(&busy, PlatformError::Unreachable(t) if t.contains("too much to do")),
            "{busy:?}"
        );
    }

    #[test]
    fn only_what_something_replaces_is_taken_away() {
        let of = |kind: &str| Owner {
            kind: kind.into(),
            name: "o".into(),
        };
        for (kind, is_replaced) in [
            ("Deployment", true),
            ("DaemonSet", true),
            ("Pod", false),
            ("Node", false),
        ] {
            assert_eq!(replaced(&of(kind), "p").is_ok(), is_replaced, "{kind}");
        }
    }
}
