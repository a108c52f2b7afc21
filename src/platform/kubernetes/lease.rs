//! One run at a time on one target: a Lease in the target's namespace, renewed while the run lives.
//!
//! Whether another run's lease is alive is told by watching it be renewed, never by comparing clocks: those of two
//! machines differ. What a run that was killed left is taken back once it was not renewed for its whole time.
//! The Lease also stands for the run in the cluster: it owns what the run creates there, and carries the run's ledger.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::api::Cluster;
use super::leftover::{self, Looks, take_back, with_ledger, written};
use crate::platform::{PlatformError, Undo};
use crate::record::{Level, Sink};

/// A lease that is not renewed for so long is anybody's.
pub const LASTS: Duration = Duration::from_secs(15);
/// It is renewed so often.
const RENEW: Duration = Duration::from_secs(5);
/// A renewal that failed is tried again so soon, and another run's lease is looked at so often.
const AGAIN: Duration = Duration::from_millis(500);
/// To give it back may take so long; after that it runs out by itself.
const RELEASE: Duration = Duration::from_secs(5);
/// What another is cleaning up is waited for so long.
const CLEANED: Duration = Duration::from_secs(60);
/// A write is tried again so often where others write too.
const TRIES: usize = 5;
/// How the name of a holder begins that only cleans up after a run.
pub const CLEANING: &str = "cleaning up after ";

/// Why a run that had the lease has it no more; shared with those who make faults.
pub type Lost = Arc<OnceLock<String>>;

/// A lease that is held, and renewed by a task of its own.
pub struct Lease {
    held: Arc<Held>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What the run and the renewing task share.
struct Held {
    cluster: Cluster,
    api: Api<Object>,
    holder: String,
    /// The Lease as last read or written; locked while it is written.
    object: tokio::sync::Mutex<Object>,
    /// What is to be undone: written with each renewal.
    ledger: Mutex<Vec<Undo>>,
    /// The ledger has become shorter: to be written soon.
    changed: Notify,
    ended: CancellationToken,
    lost: Lost,
    sink: Sink,
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
        let object = acquire(cluster, &api, &name, &holder, sink)
            .await
            .map_err(|e| match e {
                Busy::By(by) => PlatformError::Unreachable(format!(
                    "Service {namespace}/{service} is under test already, by {by}: wait until that run is over \
                     (lease {name})"
                )),
                Busy::Error(e) => e,
            })?;
        let held = Arc::new(Held {
            cluster: cluster.clone(),
            api,
            holder,
            object: tokio::sync::Mutex::new(object),
            ledger: Mutex::default(),
            changed: Notify::new(),
            ended: CancellationToken::new(),
            lost,
            sink: sink.clone(),
        });
        let task = tokio::spawn(renew(held.clone()));
        Ok(Self {
            held,
            task: Mutex::new(Some(task)),
        })
    }

    /// The Lease as the owner of what the run creates.
    pub async fn owner(&self) -> OwnerReference {
        let object = self.held.object.lock().await;
        OwnerReference {
            api_version: "coordination.k8s.io/v1".into(),
            kind: "Lease".into(),
            name: object.metadata.name.clone().unwrap_or_default(),
            uid: object.metadata.uid.clone().unwrap_or_default(),
            ..OwnerReference::default()
        }
    }

    /// An annotation that somebody else has written into it.
    pub async fn annotation(&self, key: &str) -> Result<Option<String>, PlatformError> {
        let mut object = self.held.object.lock().await;
        self.held.reread(&mut object).await?;
        let annotations = object.metadata.annotations.as_ref();
        Ok(annotations.and_then(|a| a.get(key)).cloned())
    }

    /// Writes an undo into the Lease, before its change is made; whether it was not there yet. A run that has lost its
    /// lease finds out here.
    pub async fn note(&self, undo: &Undo) -> Result<bool, PlatformError> {
        {
            let mut ledger = self.held.ledger();
            if ledger.contains(undo) {
                return Ok(false);
            }
            ledger.push(undo.clone());
        }
        let noted = self.held.write().await;
        if noted.is_err() {
            self.settled(undo);
        }
        noted.map(|()| true)
    }

    /// An undo is done: it leaves the Lease with the next writing.
    pub fn settled(&self, undo: &Undo) {
        self.held.ledger().retain(|u| u != undo);
        self.held.changed.notify_one();
    }

    /// Gives it back, unless there is something left to be undone and `guarded` says that somebody will.
    pub async fn release(&self, guarded: bool, sink: &Sink) {
        let Some(mut task) = self.task() else {
            return;
        };
        let left = self.held.ledger().clone();
        if guarded && !left.is_empty() {
            task.abort();
            let left = left.iter().map(ToString::to_string).collect::<Vec<_>>();
            let text = format!("left to the guardian: {}", left.join(", "));
            return sink.note(Level::Warning, text);
        }
        self.held.ended.cancel();
        if timeout(RELEASE, &mut task).await.is_err() {
            let text = format!(
                "the target's lease could not be given back; it runs out by itself in {LASTS:?}"
            );
            sink.note(Level::Warning, text);
        }
    }
}

impl Lease {
    /// The renewing task, for whoever ends it.
    fn task(&self) -> Option<JoinHandle<()>> {
        self.task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(task) = self.task() {
            task.abort();
        }
    }
}

/// Why a lease was not taken.
enum Busy {
    /// Another run has it.
    By(String),
    /// Something went wrong.
    Error(PlatformError),
}

impl From<PlatformError> for Busy {
    fn from(error: PlatformError) -> Self {
        Busy::Error(error)
    }
}

/// Creates the Lease; one that is there already is watched, and what a dead run left is taken back first.
async fn acquire(
    cluster: &Cluster,
    api: &Api<Object>,
    name: &str,
    holder: &str,
    sink: &Sink,
) -> Result<Object, Busy> {
    let began = Instant::now();
    let mut looked: Option<Looks> = None;
    loop {
        let look = cluster.call("look at the target's lease", api.get_opt(name));
        let Some(found) = look.await? else {
            match create(cluster, api, name, holder).await? {
                Some(made) => return Ok(made),
                None => continue,
            }
        };
        let version = found.metadata.resource_version.clone().unwrap_or_default();
        let spec = found.spec.clone().unwrap_or_default();
        let by = spec.holder_identity.clone().unwrap_or_default();
        let lasts = spec.lease_duration_seconds.unwrap_or(15).clamp(1, 60) as u64;
        let now = Instant::now();
        let looks = looked.get_or_insert_with(|| {
            let text = format!("the target's lease is held by {by}: waiting up to {lasts} s to see whether it lives");
            sink.note(Level::Info, text);
            Looks::first(&version, now)
        });
        let (unchanged, same) = looks.again(&version, now);
        let cleaning = by.starts_with(CLEANING) && began.elapsed() < CLEANED;
        if !same && !cleaning {
            return Err(Busy::By(by));
        }
        if unchanged < Duration::from_secs(lasts) {
            sleep(AGAIN).await;
            continue;
        }
        sink.note(
            Level::Info,
            format!("the run of {by} is dead: taking back what it left"),
        );
        let said = |text| sink.note(Level::Info, text);
        // Lost against another: look again whose it is.
        take_back(cluster, api, &found, &format!("{CLEANING}{by}"), said).await?;
    }
}

/// A new Lease; `None` where another run was first, or it is not known whether it was made.
async fn create(
    cluster: &Cluster,
    api: &Api<Object>,
    name: &str,
    holder: &str,
) -> Result<Option<Object>, PlatformError> {
    let (params, fresh) = (
        PostParams::default(),
        renewed(Object::default(), name, holder),
    );
    let created = async {
        match api.create(&params, &fresh).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            other => other.map(Some),
        }
    };
    let call = cluster.call("take the target's lease", created);
    timeout(RENEW * 2, call).await.unwrap_or(Ok(None))
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

/// The lease as it is to be written.
fn renewed(mut lease: Object, name: &str, holder: &str) -> Object {
    let now = MicroTime(k8s_openapi::jiff::Timestamp::now());
    let old = lease.spec.take().unwrap_or_default();
    let mut labels = lease.metadata.labels.take().unwrap_or_default();
    labels.insert("app.kubernetes.io/managed-by".into(), "squall".into());
    lease.metadata = ObjectMeta {
        name: Some(name.into()),
        labels: Some(labels),
        ..lease.metadata
    };
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(holder.into()),
        lease_duration_seconds: Some(LASTS.as_secs() as i32),
        acquire_time: old.acquire_time.or_else(|| Some(now.clone())),
        renew_time: Some(now),
        ..old
    });
    lease
}

impl Held {
    fn ledger(&self) -> std::sync::MutexGuard<'_, Vec<Undo>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews the Lease, with the ledger as it is now.
    async fn write(&self) -> Result<(), PlatformError> {
        let mut object = self.object.lock().await;
        let name = object.metadata.name.clone().unwrap_or_default();
        for _ in 0..TRIES {
            if let Some(why) = self.lost.get() {
                return Err(PlatformError::Refused(why.clone()));
            }
            let next = renewed(object.clone(), &name, &self.holder);
            let next = with_ledger(next, &self.ledger());
            match written(&self.cluster, &self.api, &name, &next).await? {
                Some(now) => {
                    *object = now;
                    return Ok(());
                }
                // The guardian writes into it too, and a renewal whose answer was lost has been made all the same.
                None => self.reread(&mut object).await?,
            }
        }
        Err(PlatformError::Failed(format!(
            "lease {name} was written by others each of {TRIES} times"
        )))
    }

    /// Looks at it: it may have been lost.
    async fn reread(&self, object: &mut Object) -> Result<(), PlatformError> {
        let name = object.metadata.name.clone().unwrap_or_default();
        let get = self.api.get_opt(&name);
        let now = self.cluster.call("look at the target's lease", get).await?;
        let by = now
            .as_ref()
            .and_then(|l| l.spec.as_ref()?.holder_identity.clone());
        match now {
            Some(now)
                if by.as_ref() == Some(&self.holder) && now.metadata.uid == object.metadata.uid =>
            {
                *object = now;
                Ok(())
            }
            _ => {
                let why = match by {
                    Some(by) => format!("the target's lease was lost to {by}"),
                    None => "the target's lease was taken away".to_string(),
                };
                let text = format!("{why}: this run makes no more faults");
                self.sink.note(Level::Error, text);
                let _ = self.lost.set(why.clone());
                Err(PlatformError::Refused(why))
            }
        }
    }
}

/// Renews until the run ends, then deletes it. An API server that is away is waited for: nobody else can take the
/// lease meanwhile.
async fn renew(held: Arc<Held>) {
    let mut wait = RENEW;
    loop {
        tokio::select! {
            () = held.ended.cancelled() => break,
            () = held.changed.notified() => {}
            () = sleep(wait) => {}
        }
        wait = match held.write().await {
            Ok(()) => RENEW,
            Err(_) if held.lost.get().is_some() => return,
            Err(_) => AGAIN,
        };
    }
    let mut object = held.object.lock().await;
    // Others may have written into it; whoever has it now keeps it, and what is left of ours runs out.
    if held.reread(&mut object).await.is_ok() {
        let _ = leftover::delete(&held.cluster, &held.api, &object).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_keeps_when_it_was_taken_and_whose_it_is() {
        let taken = renewed(Object::default(), "squall-front", "a");
        let again = renewed(taken.clone(), "squall-front", "a");
        let (taken, again) = (taken.spec.unwrap(), again.spec.unwrap());
        assert_eq!(taken.acquire_time, again.acquire_time);
        assert!(again.renew_time >= taken.renew_time);
        assert_eq!(again.holder_identity.as_deref(), Some("a"));
        assert_eq!(again.lease_duration_seconds, Some(15));
    }
}
