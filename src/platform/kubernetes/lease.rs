//! One run at a time on one target: a Lease in the target's namespace, renewed while the run lives.
//!
//! Whether another run's lease is alive is told by watching it be renewed, never by comparing clocks: those of two
//! machines differ. What a run that was killed left is taken over once it was not renewed for its whole time.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::api::Cluster;
use crate::platform::PlatformError;
use crate::record::{Level, Sink};

/// A lease that is not renewed for so long is anybody's.
const LASTS: Duration = Duration::from_secs(15);
/// It is renewed so often.
const RENEW: Duration = Duration::from_secs(5);
/// A renewal that failed is tried again so soon, and another run's lease is looked at so often.
const AGAIN: Duration = Duration::from_millis(500);
/// To give it back may take so long; after that it runs out by itself.
const RELEASE: Duration = Duration::from_secs(5);

/// Why a run that had the lease has it no more; shared with those who make faults.
pub type Lost = Arc<OnceLock<String>>;

/// A lease that is held, and renewed by a task of its own.
pub struct Lease {
    ended: CancellationToken,
    task: JoinHandle<()>,
}

/// What to do about a lease that somebody has.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It was renewed while it was looked at: its run lives.
    Alive,
    /// Nobody has renewed it for its whole time.
    Expired,
    /// Not known yet.
    Unknown,
}

/// Judges a lease by its versions: the one seen first, the one seen now, so long after.
fn verdict(first: &str, now: &str, watched: Duration, lasts: Duration) -> Verdict {
    if first != now {
        Verdict::Alive
    } else if watched >= lasts {
        Verdict::Expired
    } else {
        Verdict::Unknown
    }
}

impl Lease {
    /// Takes the lease of a Service, or says which run has it. `lost` is filled if it is lost later.
    pub async fn take(
        cluster: &Cluster,
        namespace: &str,
        service: &str,
        run: &str,
        lost: Lost,
        sink: &Sink,
    ) -> Result<Self, PlatformError> {
        let api: Api<Object> = Api::namespaced(cluster.client.clone(), namespace);
        let name = format!("squall-{service}");
        let holder = holder(run);
        let mut first: Option<(String, Instant)> = None;
        let held = loop {
            let look = cluster.call("look at the target's lease", api.get_opt(&name));
            let Some(found) = look.await? else {
                let fresh = renewed(Object::default(), &name, &holder, true);
                match written(api.create(&PostParams::default(), &fresh)).await {
                    Some(made) => break cluster.call("take the target's lease", made).await?,
                    None => continue,
                }
            };
            let version = found.metadata.resource_version.clone().unwrap_or_default();
            let spec = found.spec.clone().unwrap_or_default();
            let by = spec.holder_identity.clone().unwrap_or_default();
            let lasts = spec.lease_duration_seconds.unwrap_or(15).clamp(1, 60) as u64;
            let (seen, since) = first.get_or_insert_with(|| {
                let text = format!("the target's lease is held by {by}: waiting up to {lasts} s to see whether it lives");
                sink.note(Level::Info, text);
                (version.clone(), Instant::now())
            });
            match verdict(seen, &version, since.elapsed(), Duration::from_secs(lasts)) {
                Verdict::Alive => {
                    return Err(PlatformError::Unreachable(format!(
                        "Service {namespace}/{service} is under test already, by {by}: wait until that run is over \
                         (lease {name})"
                    )));
                }
                Verdict::Expired => {
                    let mine = renewed(found, &name, &holder, true);
                    // Lost against another: look again whose it is.
                    if let Some(made) =
                        written(api.replace(&name, &PostParams::default(), &mine)).await
                    {
                        break cluster.call("take the target's lease", made).await?;
                    }
                }
                Verdict::Unknown => sleep(AGAIN).await,
            }
        };
        let ended = CancellationToken::new();
        let renewing = renew(api, held, holder, ended.clone(), lost, sink.clone());
        let task = tokio::spawn(renewing);
        Ok(Self { ended, task })
    }

    /// Gives it back.
    pub async fn release(mut self, sink: &Sink) {
        self.ended.cancel();
        if timeout(RELEASE, &mut self.task).await.is_err() {
            let text = format!(
                "the target's lease could not be given back; it runs out by itself in {LASTS:?}"
            );
            sink.note(Level::Warning, text);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The run's name for others, and for the cluster: two runs of one scenario are two.
fn holder(run: &str) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!(
        "`{run}` (process {} on {})",
        std::process::id(),
        host.trim()
    )
}

/// A write as a call that is made later for its error; `None` where another writer was first.
async fn written(
    call: impl Future<Output = kube::Result<Object>>,
) -> Option<std::future::Ready<kube::Result<Object>>> {
    match timeout(Duration::from_secs(10), call).await {
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => None,
        Ok(result) => Some(std::future::ready(result)),
        // Not known whether it was written: to be looked at again.
        Err(_) => None,
    }
}

/// The lease as it is to be written.
fn renewed(mut lease: Object, name: &str, holder: &str, taken: bool) -> Object {
    let now = MicroTime(k8s_openapi::jiff::Timestamp::now());
    let old = lease.spec.take().unwrap_or_default();
    lease.metadata = ObjectMeta {
        name: Some(name.into()),
        ..lease.metadata
    };
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(holder.into()),
        lease_duration_seconds: Some(LASTS.as_secs() as i32),
        acquire_time: match taken {
            true => Some(now.clone()),
            false => old.acquire_time,
        },
        renew_time: Some(now),
        ..old
    });
    lease
}

/// Renews until the run ends, then deletes it. An API server that is away is waited for: nobody else can take the
/// lease meanwhile.
async fn renew(
    api: Api<Object>,
    mut held: Object,
    holder: String,
    ended: CancellationToken,
    lost: Lost,
    sink: Sink,
) {
    let name = held.metadata.name.clone().unwrap_or_default();
    let mut wait = RENEW;
    loop {
        tokio::select! {
            () = ended.cancelled() => break,
            () = sleep(wait) => {}
        }
        let next = renewed(held.clone(), &name, &holder, false);
        let params = PostParams::default();
        let answer = timeout(RENEW, api.replace(&name, &params, &next)).await;
        wait = RENEW;
        let status = match answer {
            Ok(Ok(object)) => {
                held = object;
                continue;
            }
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => status,
            _ => {
                wait = AGAIN;
                continue;
            }
        };
        // A renewal whose answer was lost has been made all the same.
        let now = match api.get_opt(&name).await {
            Ok(now) => now,
            Err(_) => {
                wait = AGAIN;
                continue;
            }
        };
        let by = now
            .as_ref()
            .and_then(|l| l.spec.as_ref()?.holder_identity.clone());
        match now {
            Some(object) if by.as_ref() == Some(&holder) => held = object,
            _ => {
                let why = match by {
                    Some(by) => format!("the target's lease was lost to {by}"),
                    None => format!("the target's lease was taken away ({})", status.message),
                };
                sink.note(
                    Level::Error,
                    format!("{why}: this run makes no more faults"),
                );
                let _ = lost.set(why);
                return;
            }
        }
    }
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: held.metadata.uid.clone(),
            resource_version: held.metadata.resource_version.clone(),
        }),
        ..DeleteParams::default()
    };
    // Whoever has it now keeps it; what is left of ours runs out.
    let _ = api.delete(&name, &params).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_lives_if_it_is_renewed_and_is_dead_only_after_its_whole_time() {
        let s = Duration::from_secs;
        assert_eq!(verdict("7", "8", s(0), s(15)), Verdict::Alive);
        assert_eq!(verdict("7", "7", s(14), s(15)), Verdict::Unknown);
        assert_eq!(verdict("7", "7", s(15), s(15)), Verdict::Expired);
        assert_eq!(verdict("7", "8", s(60), s(15)), Verdict::Alive);
    }

    #[test]
    fn a_renewal_keeps_when_it_was_taken_and_whose_it_is() {
        let taken = renewed(Object::default(), "squall-front", "a", true);
        let again = renewed(taken.clone(), "squall-front", "a", false);
        let (taken, again) = (taken.spec.unwrap(), again.spec.unwrap());
        assert_eq!(taken.acquire_time, again.acquire_time);
        assert!(again.renew_time >= taken.renew_time);
        assert_eq!(again.holder_identity.as_deref(), Some("a"));
        assert_eq!(again.lease_duration_seconds, Some(15));
    }
}
