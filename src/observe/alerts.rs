//! Alerts on the run's clock: what Alertmanager and Prometheus list, looked at once a second.
//!
//! Both tell when an alert began by clocks of their own; here it is when a look first showed it, and the look before
//! that did not. Where a look fails, the record says from when on nothing was seen.

use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, AUTHORIZATION};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::record::{Micros, Sink, View, WatchEvent, What};
use crate::scenario::{AlertApi, AlertSource, Scenario};
use crate::traffic::tls;

mod list;
mod track;

use list::{Alert, read};
use track::Tracker;

/// Time from one look to the next.
const PERIOD: Duration = Duration::from_secs(1);
/// A look that takes longer shows nothing.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How long the first look is tried for, before the run.
const PATIENCE: Duration = Duration::from_secs(5);
/// A list that is longer is not read: it would take the machine's memory.
const LARGEST: usize = 64 << 20;

/// Looks at one API.
#[derive(Debug)]
struct Watcher {
    source: AlertSource,
    url: String,
    authorization: Option<reqwest::header::HeaderValue>,
    client: reqwest::Client,
    sink: Sink,
    tracker: Tracker,
    /// When the last look began that showed something.
    seen: Option<Micros>,
    lost: bool,
}

/// Looks at everything that a scenario wants watched.
#[derive(Debug)]
pub struct Alerts(Vec<Watcher>);

impl Alerts {
    /// Takes a first look at each; fails where one cannot be looked at, before anything is started.
    pub async fn start(scenario: &Scenario, sink: &Sink) -> Result<Self, String> {
        let mut watchers = Vec::new();
        for (source, api) in scenario.observe.alerts() {
            let mut watcher = Watcher::new(source, api, scenario, sink)
                .map_err(|e| format!("cannot look at {} ({}): {e}", source.name(), api.url))?;
            watcher.first_look().await.map_err(|e| {
                format!(
                    "{} at {} does not tell of alerts: {e}; start it, or check `observe`",
                    source.name(),
                    api.url
                )
            })?;
            watchers.push(watcher);
        }
        Ok(Self(watchers))
    }

    /// Looks on until it is told to end.
    pub async fn watch(self, end: CancellationToken) {
        let all = self.0.into_iter().map(|watcher| watcher.watch(end.clone()));
        futures_util::future::join_all(all).await;
    }
}

impl Watcher {
    fn new(
        source: AlertSource,
        api: &AlertApi,
        scenario: &Scenario,
        sink: &Sink,
    ) -> Result<Self, String> {
        let secure = api.url.starts_with("https:");
        let config = tls::client_config(&api.tls, &scenario.base_dir, secure);
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            // What is looked at is beside the target, and traffic goes there without one too.
            .no_proxy()
            .tls_backend_preconfigured(config.map_err(|e| e.to_string())?)
            .build()
            .map_err(|e| causes(&e))?;
        let authorization = api.authorization.as_ref().map(|secret| {
            let value = reqwest::header::HeaderValue::from_str(secret.reveal());
            value.map(|mut value| {
                value.set_sensitive(true);
                value
            })
        });
        Ok(Self {
            source,
            url: format!("{}{}", api.url, list::path(source)),
            authorization: authorization
                .transpose()
                .map_err(|_| "`authorization` cannot be sent in a header".to_string())?,
            client,
            sink: sink.clone(),
            tracker: Tracker::default(),
            seen: None,
            lost: true,
        })
    }

    async fn first_look(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.look().await {
                Ok(()) => return Ok(()),
                Err(e) if Instant::now() >= deadline => return Err(e),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    async fn watch(mut self, end: CancellationToken) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = end.cancelled() => break,
            }
            let result = tokio::select! {
                result = self.look() => result,
                () = end.cancelled() => break,
            };
            if let Err(why) = result {
                self.lose(why);
            }
        }
        self.lose("the watch ended with the run".into());
    }

    /// One look, and what has changed since the one before.
    async fn look(&mut self) -> Result<(), String> {
        let began = self.sink.clock().now();
        let alerts = self.list().await?;
        if std::mem::take(&mut self.lost) {
            self.tell(
                self.sink.clock().now(),
                View::Relisted,
                "the list is there".into(),
            );
        }
        for what in self.tracker.changes(self.source, alerts, self.seen) {
            self.sink.emit(What::Alert(what));
        }
        self.seen = Some(began);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Alert>, String> {
        let mut request = self
            .client
            .get(&self.url)
            .header(ACCEPT, "application/json");
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value.clone());
        }
        let mut response = request.send().await.map_err(|e| causes(&e))?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("GET {} answered {status}", self.url));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| causes(&e))? {
            if body.len() + chunk.len() > LARGEST {
                return Err(format!("its list is longer than {} MiB", LARGEST >> 20));
            }
            body.extend_from_slice(&chunk);
        }
        read(self.source, &body).map_err(|e| format!("GET {}: {e}", self.url))
    }

    /// Nothing is seen since the last look that showed something.
    fn lose(&mut self, why: String) {
        if let (false, Some(seen)) = (self.lost, self.seen) {
            self.tell(seen, View::Lost, why);
            self.lost = true;
        }
    }

    fn tell(&self, at: Micros, view: View, detail: String) {
        let of = self.source.key().to_string();
        self.sink
            .emit_at(at, What::Watch(WatchEvent { of, view, detail }));
    }
}

/// An error with what is behind it: reqwest's own says only that a request failed.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests;
