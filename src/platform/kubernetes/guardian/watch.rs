//! The guardian's own program: it watches, and takes back. It never gives up: an API server that is away comes back.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use tokio::time::{Instant, sleep, timeout};

use super::{SAYS, WATCHING, job_kind, job_name};
use crate::platform::PlatformError;
use crate::platform::kubernetes::api::Cluster;
use crate::platform::kubernetes::lease::{CLEANING, LASTS};
use crate::platform::kubernetes::leftover::{Looks, take_back, written};
use crate::platform::kubernetes::own;
use crate::platform::kubernetes::owned;
use crate::platform::kubernetes::permissions::{denied, undoing};

/// The Lease is looked at so often.
const LOOK: Duration = Duration::from_secs(1);
/// What failed is tried again so soon.
const AGAIN: Duration = Duration::from_secs(2);
/// An answer that takes longer is none.
const ANSWER: Duration = Duration::from_secs(3);

/// What the guardian watches.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub lease: String,
    /// Its identity: one of the same name may be another run's.
    pub uid: String,
    /// The calls that it must be allowed, as `VERB RESOURCE.GROUP`, and ` in NAMESPACE` where it is another.
    pub needs: Vec<String>,
}

/// Watches until the Lease is gone, or the run is dead and all of it is taken back.
pub async fn watch(watched: &Watched) {
    let cluster = loop {
        match Cluster::connect(None, None).await {
            Ok(cluster) => break cluster,
            Err(e) => say(&e.to_string()),
        }
        sleep(AGAIN).await;
    };
    let guard = Guard {
        api: Api::namespaced(cluster.client.clone(), &watched.namespace),
        cluster,
        watched,
    };
    let mut looks: Option<Looks> = None;
    let mut introduced = false;
    loop {
        match guard.look(&mut looks, &mut introduced).await {
            Ok(true) => return guard.leave().await,
            Ok(false) => sleep(LOOK).await,
            Err(e) => {
                say(&e.to_string());
                sleep(AGAIN).await;
            }
        }
    }
}

/// For `kubectl logs`.
fn say(text: &str) {
    // Whoever takes the log may be gone; what is to be undone is undone all the same.
    let _ = crate::say::out(format_args!("{text}\n"));
}

struct Guard<'a> {
    cluster: Cluster,
    api: Api<Lease>,
    watched: &'a Watched,
}

impl Guard<'_> {
    /// One look at the Lease, and what it calls for. True: nothing is left to do.
    async fn look(
        &self,
        looks: &mut Option<Looks>,
        introduced: &mut bool,
    ) -> Result<bool, PlatformError> {
        let get = self
            .cluster
            .call("look at the lease", self.api.get_opt(&self.watched.lease));
        let found = timeout(ANSWER, get).await.unwrap_or_else(|_| {
            Err(PlatformError::Unreachable(format!(
                "the API server did not answer in {ANSWER:?}"
            )))
        })?;
        let uid = Some(&self.watched.uid);
        let Some(lease) = found.filter(|l| l.metadata.uid.as_ref() == uid) else {
            say("the lease is gone: the run is over");
            return Ok(true);
        };
        if !*introduced {
            *introduced = self.introduce(&lease).await?;
            return Ok(false);
        }
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let now = Instant::now();
        let looks = looks.get_or_insert_with(|| Looks::first(&version, now));
        let (unchanged, _) = looks.again(&version, now);
        if unchanged < LASTS {
            return Ok(false);
        }
        let spec = lease.spec.clone().unwrap_or_default();
        let by = spec.holder_identity.unwrap_or_default();
        let by = by.strip_prefix(CLEANING).unwrap_or(&by);
        say(&format!(
            "not renewed for {unchanged:?} by {by}: taking back what it left"
        ));
        let me = format!("{CLEANING}{by}");
        let done = take_back(&self.cluster, &self.api, &lease, &me, |text| say(&text)).await?;
        if done {
            say("all is taken back");
        }
        Ok(done)
    }

    /// Removes the guardian's own Job, then its own pod at once. The Job first: it would make another pod. What is not
    /// allowed, or fails, the garbage collector does later.
    async fn leave(&self) {
        let Watched { namespace, uid, .. } = self.watched;
        let (kind, job) = (job_kind(), job_name(uid));
        let removed = owned::remove(&self.cluster, &kind, (namespace, &job));
        match timeout(ANSWER, removed).await {
            Ok(Ok(_)) => {}
            Ok(Err(e)) => return say(&e.to_string()),
            Err(_) => return,
        }
        let pods: Api<Pod> = Api::namespaced(self.cluster.client.clone(), namespace);
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::default()
        };
        // Nothing comes after it that could make use of a failure.
        let _ = timeout(ANSWER, pods.delete(&own::hostname(), &params)).await;
    }

    /// Says in the Lease that it is watched, or why that would be in vain. False: somebody else wrote first.
    async fn introduce(&self, lease: &Lease) -> Result<bool, PlatformError> {
        let asked: Vec<_> = self
            .watched
            .needs
            .iter()
            .filter_map(|n| undoing(n))
            .collect();
        let missing = denied(&self.cluster, &self.watched.namespace, &asked).await?;
        let says = match missing.as_slice() {
            [] => format!("{WATCHING}{}", own::hostname()),
            missing => {
                let missing = missing.iter().map(ToString::to_string).collect::<Vec<_>>();
                format!("not allowed to {}", missing.join(", "))
            }
        };
        say(&says);
        let mut mine = lease.clone();
        let annotations = mine.metadata.annotations.get_or_insert_default();
        annotations.insert(SAYS.into(), says);
        let name = &self.watched.lease;
        let wrote = written(&self.cluster, &self.api, name, &mine).await?;
        Ok(wrote.is_some())
    }
}
