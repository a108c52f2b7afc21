//! What a run leaves in the cluster when it is killed, and taking it back.
//!
//! The run's Lease carries its ledger: each undo is written into an annotation of the Lease before its change is
//! made. Whoever finds the Lease dead (the guardian, or the next run on the target) needs nothing else.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};
use tokio::time::{Instant, timeout};

use super::api::Cluster;
use crate::platform::{PlatformError, Undo};

/// The annotation of the Lease that holds what is to be undone, in the order of the changes.
pub const LEDGER: &str = "squall.dev/ledger";
/// Looks that are further apart say nothing about the time between them: the API server was away, and the run could
/// not renew its Lease either.
const GAP: Duration = Duration::from_secs(4);
/// So many things are put back at once.
const AT_ONCE: usize = 16;
/// One call may take so long.
const CALL: Duration = Duration::from_secs(5);

/// Tells for how long a Lease was not renewed, from looks at it alone: the clocks of two machines differ.
#[derive(Debug, Clone)]
pub struct Looks {
    version: String,
    since: Instant,
    last: Instant,
}

impl Looks {
    /// The first look.
    pub fn first(version: &str, now: Instant) -> Self {
        Self {
            version: version.into(),
            since: now,
            last: now,
        }
    }

    /// A further look: since when it was seen unchanged without a gap, and whether it is the version of the look before.
    pub fn again(&mut self, version: &str, now: Instant) -> (Duration, bool) {
        let same = self.version == version;
        if !same || now.duration_since(self.last) > GAP {
            self.since = now;
            self.version = version.into();
        }
        self.last = now;
        (now.duration_since(self.since), same)
    }
}

/// The ledger that a Lease carries.
pub fn ledger_of(lease: &Lease) -> Result<Vec<Undo>, String> {
    let annotations = lease.metadata.annotations.as_ref();
    let Some(text) = annotations.and_then(|a| a.get(LEDGER)) else {
        return Ok(Vec::new());
    };
    serde_json::from_str(text)
        .map_err(|e| format!("its annotation {LEDGER} is not what squall wrote ({e}): {text}"))
}

/// The Lease with this ledger.
pub fn with_ledger(mut lease: Lease, ledger: &[Undo]) -> Lease {
    let annotations = lease.metadata.annotations.get_or_insert_default();
    match ledger {
        [] => drop(annotations.remove(LEDGER)),
        // An undo is made of text alone: writing it cannot fail.
        undos => drop(annotations.insert(
            LEDGER.into(),
            serde_json::to_string(undos).unwrap_or_default(),
        )),
    }
    lease
}

/// The Lease with another holder, renewed now.
pub fn held_by(mut lease: Lease, holder: &str) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(holder.into());
    spec.renew_time = Some(MicroTime(k8s_openapi::jiff::Timestamp::now()));
    lease
}

/// Takes back what the run of this Lease left, and removes the Lease; the cluster's garbage collector removes what
/// it owns. Begins with writing oneself into the Lease, so that the run, should it live after all, finds out before
/// its next change. What cannot be taken back keeps nothing else in place: it stays in the Lease, and is the error.
/// `Ok(false)`: somebody else wrote first; look again.
pub async fn take_back(
    cluster: &Cluster,
    api: &Api<Lease>,
    lease: &Lease,
    me: &str,
    said: impl Fn(String),
) -> Result<bool, PlatformError> {
    let name = lease.metadata.name.clone().unwrap_or_default();
    let mut left =
        ledger_of(lease).map_err(|e| PlatformError::Failed(format!("lease {name}: {e}")))?;
    let mut mine = held_by(lease.clone(), me);
    match written(cluster, api, &name, &mine).await? {
        Some(object) => mine = object,
        None => return Ok(false),
    }
    let mut failed = None;
    let chains = stream::iter(by_thing(&left)).map(|chain| undone(cluster, chain));
    let mut chains = chains.buffer_unordered(AT_ONCE).boxed();
    while let Some(done) = chains.next().await {
        for (undo, result) in done {
            match result {
                Ok(words) => {
                    said(format!("undone: {undo}"));
                    words.into_iter().for_each(&said);
                    left.retain(|u| *u != undo);
                }
                Err(e) => failed = Some(e),
            }
        }
        // The next who looks has less to do, and sees that somebody is at it.
        match written(cluster, api, &name, &held_by(with_ledger(mine, &left), me)).await? {
            Some(object) => mine = object,
            None => return Ok(false),
        }
    }
    match failed {
        Some(error) => Err(error),
        None => delete(cluster, api, &mine).await.map(|()| true),
    }
}

/// What is to be undone, the latest first, apart by the thing concerned: what is done to one must be undone in order, and
/// different things do not wait for each other.
fn by_thing(undos: &[Undo]) -> Vec<Vec<Undo>> {
    let mut chains: Vec<Vec<Undo>> = Vec::new();
    for undo in undos.iter().rev() {
        let same = |chain: &&mut Vec<Undo>| chain[0].instance() == undo.instance();
        match chains.iter_mut().find(same) {
            Some(chain) => chain.push(undo.clone()),
            None => chains.push(vec![undo.clone()]),
        }
    }
    chains
}

/// How undoing each of these went.
async fn undone(
    cluster: &Cluster,
    chain: Vec<Undo>,
) -> Vec<(Undo, Result<Option<String>, PlatformError>)> {
    let mut done = Vec::new();
    for undo in chain {
        let limit = undo.patience() * 2;
        let result = match timeout(limit, super::undo::take_back(cluster, &undo)).await {
            Ok(result) => result,
            Err(_) => Err(PlatformError::Unreachable(format!(
                "could not {undo} in {limit:?}"
            ))),
        };
        done.push((undo, result));
    }
    done
}

/// Replaces the very version that was read; `None` where another writer was first, or has removed it.
pub async fn written(
    cluster: &Cluster,
    api: &Api<Lease>,
    name: &str,
    lease: &Lease,
) -> Result<Option<Lease>, PlatformError> {
    let params = PostParams::default();
    let replaced = async {
        match api.replace(name, &params, lease).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
            other => other.map(Some),
        }
    };
    let doing = format!("write lease {name}");
    match timeout(CALL, cluster.call(&doing, replaced)).await {
        Ok(result) => result,
        Err(_) => Err(PlatformError::Unreachable(format!(
            "could not {doing}: no answer in {CALL:?}"
        ))),
    }
}

/// Removes this very Lease; whoever has one of its name now keeps it.
pub async fn delete(
    cluster: &Cluster,
    api: &Api<Lease>,
    lease: &Lease,
) -> Result<(), PlatformError> {
    let name = lease.metadata.name.clone().unwrap_or_default();
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: lease.metadata.uid.clone(),
            resource_version: lease.metadata.resource_version.clone(),
        }),
        ..DeleteParams::background()
    };
    let deleted = async {
        match api.delete(&name, &params).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            other => other.map(drop),
        }
    };
    cluster.call(&format!("remove lease {name}"), deleted).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undo(name: &str) -> Undo {
        Undo::Restore {
            cluster: "https://10.0.0.1".into(),
            kind: "Node".into(),
            namespace: None,
            name: name.into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_dead_after_its_whole_time_in_looks_without_a_gap() {
        let s = Duration::from_secs;
        let start = Instant::now();
        let mut looks = Looks::first("7", start);
        for n in 1..=15 {
            assert_eq!(looks.again("7", start + s(n)), (s(n), true));
        }
        assert_eq!(looks.again("8", start + s(16)), (s(0), false), "renewed");
        assert_eq!(looks.again("8", start + s(18)), (s(2), true));
        // The API server was away for 20 s: the run could not renew it, and gets its time again.
        assert_eq!(looks.again("8", start + s(38)), (s(0), true));
        assert_eq!(looks.again("8", start + s(40)), (s(2), true));
    }

    #[test]
    fn what_is_done_to_one_thing_is_undone_in_order_and_different_things_apart() {
        let scale = Undo::Restore {
            cluster: "https://10.0.0.1".into(),
            kind: "Deployment".into(),
            namespace: Some("shop".into()),
            name: "n1".into(),
        };
        let chains = by_thing(&[undo("n1"), undo("n2"), scale.clone()]);
        assert_eq!(chains, [vec![scale, undo("n1")], vec![undo("n2")]]);
    }

    #[test]
    fn a_lease_carries_its_ledger_and_none_when_nothing_is_left() {
        let lease = with_ledger(Lease::default(), &[undo("n1"), undo("n2")]);
        assert_eq!(ledger_of(&lease), Ok(vec![undo("n1"), undo("n2")]));
        let lease = with_ledger(lease, &[]);
        assert_eq!(ledger_of(&lease), Ok(vec![]));
        assert_eq!(lease.metadata.annotations, Some(Default::default()));
        let mut damaged = Lease::default();
        let annotations = damaged.metadata.annotations.get_or_insert_default();
        annotations.insert(LEDGER.into(), "[{".into());
        assert!(ledger_of(&damaged).unwrap_err().contains(LEDGER));
    }
}
