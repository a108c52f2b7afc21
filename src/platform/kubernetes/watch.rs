//! Following the objects of one kind: a list, then a watch from its version on, for as long as the run goes.
//!
//! A watch that ends is taken up again where it ended; one that cannot be (410: the server has forgotten that
//! version) begins with a new list. Every loss of the view is told, with its end: changes in between are seen late
//! or not at all, and a judge must know.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, pin_mut};
use kube::api::{ListParams, WatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::api::chain;
use crate::record::{Level, Sink, View, What};

/// A watch is renewed so often, whether it is alive or not: a connection that died without a word is noticed then. It goes on
/// where it ended, by the bookmark that the server sends before: nothing is listed again.
const RENEW: Duration = Duration::from_secs(15);
/// A server that says nothing for so long after the time is up is gone.
const OVERDUE: Duration = Duration::from_secs(5);
/// A call that begins a list or a watch is answered within this, or has failed.
const ANSWER: Duration = Duration::from_secs(10);
/// First pause after a failure; doubled for each further one.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest pause: what the view may be late after an outage.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// What the follower is told.
#[derive(Debug)]
pub enum Change<K> {
    /// All objects: at the beginning, and after changes may have been missed.
    All(Vec<K>),
    /// One is new or changed.
    Applied(K),
    /// One is gone.
    Deleted(K),
}

/// Whether a view is lost, shared with those who act on it.
#[derive(Debug, Clone, Default)]
pub struct Sight(Arc<Mutex<Option<Instant>>>);

impl Sight {
    /// For how long it is lost.
    pub fn lost_for(&self) -> Option<Duration> {
        self.since().map(|since| since.elapsed())
    }
    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is followed.
pub struct Followed<K> {
    /// Where.
    pub api: Api<K>,
    /// In words: `pods`.
    pub of: &'static str,
    /// Which of them.
    pub labels: Option<String>,
    /// Told when the view is lost, and when it is back.
    pub sight: Sight,
}

/// The pause after so many failures in a row.
fn pause(failures: u32) -> Duration {
    (PAUSE * 2u32.saturating_pow(failures.saturating_sub(1).min(8))).min(MAX_PAUSE)
}

/// Whether the server has forgotten the version that a watch would begin at.
fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410)
}

/// Whether asking again cannot help.
fn is_refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 403 | 404))
}

/// Remembers whether the view is lost, and tells the record once each way.
struct Gap<'a> {
    sink: &'a Sink,
    of: &'static str,
    sight: Sight,
    failures: u32,
}

impl Gap<'_> {
    async fn failed(&mut self, why: String) {
        if self.failures == 0 {
            *self.sight.since() = Some(Instant::now());
            self.tell(View::Lost, why);
        }
        self.failures += 1;
        tokio::time::sleep(pause(self.failures)).await;
    }
    fn over(&mut self, view: View, how: &str) {
        if self.failures > 0 {
            self.failures = 0;
            *self.sight.since() = None;
            self.tell(view, how.into());
        }
    }
    fn tell(&self, view: View, detail: String) {
        self.sink.emit(What::Watch(crate::record::WatchEvent {
            of: self.of.into(),
            view,
            detail,
        }));
    }
}

/// Follows until the task is ended. Returns only where the cluster refuses for good.
pub async fn follow<K>(followed: Followed<K>, sink: Sink, mut tell: impl FnMut(Change<K>))
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let Followed {
        api,
        of,
        labels,
        sight,
    } = followed;
    let mut gap = Gap {
        sink: &sink,
        of,
        sight,
        failures: 0,
    };
    let list = ListParams {
        label_selector: labels.clone(),
        ..ListParams::default()
    };
    let watch = WatchParams {
        label_selector: labels,
        timeout: Some(RENEW.as_secs() as u32),
        bookmarks: true,
        ..WatchParams::default()
    };
    let mut version: Option<String> = None;
    loop {
        let Some(from) = version.clone() else {
            match answered(api.list(&list)).await {
                Ok(all) => {
                    version = Some(all.metadata.resource_version.clone().unwrap_or_default());
                    gap.over(View::Relisted, "listed again");
                    tell(Change::All(all.items));
                }
                Err(Trouble::Client(e)) if is_refused(&e) => {
                    let text = format!("{of} are not observed: {}", chain(&e));
                    gap.sight.since().get_or_insert_with(Instant::now);
                    return sink.note(Level::Warning, text);
                }
                Err(e) => gap.failed(e.text()).await,
            }
            continue;
        };
        let stream = match answered(api.watch(&watch, &from)).await {
            Ok(stream) => stream,
            Err(Trouble::Client(e)) if is_gone(&e) => {
                gap.failed("the server has forgotten the last version seen (410)".into())
                    .await;
                version = None;
                continue;
            }
            Err(e) => {
                gap.failed(e.text()).await;
                continue;
            }
        };
        gap.over(View::Resumed, "taken up where it was lost");
        pin_mut!(stream);
        let began = Instant::now();
        loop {
            let next = match tokio::time::timeout(RENEW + OVERDUE, stream.next()).await {
                Ok(Some(next)) => next,
                Ok(None) => {
                    // A proxy that ends every watch at once must not make this a busy loop.
                    tokio::time::sleep(PAUSE.saturating_sub(began.elapsed())).await;
                    break;
                }
                Err(_) => {
                    gap.failed("the server has fallen silent".into()).await;
                    break;
                }
            };
            use kube::core::WatchEvent as E;
            match next {
                Ok(E::Added(k) | E::Modified(k)) => {
                    version = k.meta().resource_version.clone().or(version);
                    tell(Change::Applied(k));
                }
                Ok(E::Deleted(k)) => {
                    version = k.meta().resource_version.clone().or(version);
                    tell(Change::Deleted(k));
                }
                Ok(E::Bookmark(b)) => version = Some(b.metadata.resource_version),
                Ok(E::Error(status)) => {
                    if status.code == 410 {
                        version = None;
                    }
                    gap.failed(status.message.clone()).await;
                    break;
                }
                Err(e) => {
                    gap.failed(chain(&e)).await;
                    break;
                }
            }
        }
    }
}

enum Trouble {
    Client(kube::Error),
    Silence,
}

impl Trouble {
    fn text(&self) -> String {
        match self {
            Trouble::Client(e) => chain(e),
            Trouble::Silence => format!("no answer in {ANSWER:?}"),
        }
    }
}

async fn answered<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Trouble> {
    match tokio::time::timeout(ANSWER, call).await {
        Ok(result) => result.map_err(Trouble::Client),
        Err(_) => Err(Trouble::Silence),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        assert_eq!(pause(1), PAUSE);
        assert_eq!(pause(2), PAUSE * 2);
        assert_eq!(pause(4), PAUSE * 8);
        assert_eq!(pause(5), MAX_PAUSE);
        assert_eq!(pause(u32::MAX), MAX_PAUSE);
    }
}
