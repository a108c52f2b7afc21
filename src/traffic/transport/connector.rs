//! Watches reqwest open connections: how many, and how long each part took.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tower::{Layer, Service};

use crate::record::{Clock, Micros};
use crate::traffic::classify::NameError;
use crate::traffic::names::Turns;
use crate::traffic::reply::Opened;
use crate::traffic::tls::HANDSHAKE_BEGINS;

/// What the request whose task is running wants to know and to say.
#[derive(Debug, Default)]
pub struct RequestContext {
    opened: Mutex<Vec<(Opened, Micros)>>,
    any: AtomicBool,
    /// Whether redirects are followed.
    pub follow_redirects: AtomicBool,
}

tokio::task_local! {
    /// Set while a request's future runs. reqwest connects inside of that future.
    pub static REQUEST: Arc<RequestContext>;
}

impl RequestContext {
    /// Takes the connections opened since last asked, each with the time at which it was ready.
    pub fn take(&self, mut each: impl FnMut(Opened, Micros)) {
        // All of this happens on one thread: the lock is never contended, and without a new connection not taken.
        if self.any.swap(false, Ordering::Relaxed) {
            let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
            opened
                .drain(..)
                .for_each(|(opened, ready)| each(opened, ready));
        }
    }
    fn put(&self, opened: Opened, ready: Micros) {
        self.opened
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((opened, ready));
        self.any.store(true, Ordering::Relaxed);
    }
}

/// Puts the watch around reqwest's connector.
#[derive(Clone)]
pub struct Watch {
    /// The run's clock.
    pub clock: Clock,
    /// Whether a connection that is in use may come back and be used instead.
    pub keep_alive: bool,
}

impl<S> Layer<S> for Watch {
    type Service = Watched<S>;
    fn layer(&self, inner: S) -> Watched<S> {
        Watched {
            inner,
            watch: self.clone(),
        }
    }
}

/// A watched connector.
#[derive(Clone)]
pub struct Watched<S> {
    inner: S,
    watch: Watch,
}

impl<S, R> Service<R> for Watched<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let watch = self.watch.clone();
        let context = REQUEST.try_with(Arc::clone).unwrap_or_default();
        let connecting = self.inner.call(request);
        Box::pin(async move {
            if watch.keep_alive {
                // The connection that has just served this user's last request may still be on its way back into
                // the pool, in a task that is about to run. Opening a second one would be a lie about keep-alive.
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
            }
            let mut attempt = Attempt {
                clock: watch.clock,
                context,
                start: watch.clock.now(),
                handshake: Arc::new(AtomicU64::new(0)),
                done: false,
            };
            let (handshake, clock) = (attempt.handshake.clone(), watch.clock);
            let tell: Arc<dyn Fn() + Send + Sync> =
                Arc::new(move || handshake.store(clock.now(), Ordering::Relaxed));
            let result = HANDSHAKE_BEGINS.scope(tell, connecting).await;
            attempt.done = result.is_ok();
            result
        })
    }
}

/// One attempt to connect; counts on its end, however it ends, if TCP got as far as a connection.
struct Attempt {
    clock: Clock,
    context: Arc<RequestContext>,
    start: Micros,
    handshake: Arc<AtomicU64>,
    done: bool,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let handshake = self.handshake.load(Ordering::Relaxed);
        if !self.done && handshake == 0 {
            return;
        }
        let now = self.clock.now();
        let (connected, tls_us) = match handshake {
            0 => (now, None),
            begun => (begun, self.done.then(|| now.saturating_sub(begun))),
        };
        let connect_us = connected.saturating_sub(self.start);
        self.context.put(Opened { connect_us, tls_us }, now);
    }
}

/// The system's resolver, with an error that can be told from a failure to connect.
pub struct SystemResolver(pub Arc<Turns>);

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let turns = self.0.clone();
        Box::pin(async move {
            let host = (name.as_str(), 0);
            let found = tokio::net::lookup_host(host).await;
            let found = found.and_then(|addresses| {
                let mut all: Vec<_> = addresses.collect();
                turns.next(&mut all);
                let none = || io::Error::other("it has no address");
                if all.is_empty() { Err(none()) } else { Ok(all) }
            });
            match found {
                Ok(addresses) => Ok(Box::new(addresses.into_iter()) as Addrs),
                Err(source) => {
                    let name = name.as_str().to_string();
                    Err(NameError { name, source }.into())
                }
            }
        })
    }
}
