//! A platform under test, everything it tells, and waiting for what it must tell.

use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use squall::platform::kubernetes::{Asked, KubernetesPlatform, Limits};
use squall::platform::{Change, Endpoint, Platform, PlatformError, Undo};
use squall::record::{Clock, Entry, Event, InstanceState, Sink, What};
use squall::scenario::{FaultKind, KubernetesTarget, Reach};

use crate::bed::{Bed, bed};

/// Runs a test in the cluster's network.
pub fn with_bed<F: Future<Output = ()>>(test: impl FnOnce(Rc<Bed>) -> F) {
    let bed = bed();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test(Rc::new(bed)));
}

pub fn target(bed: &Bed, namespace: &str) -> KubernetesTarget {
    KubernetesTarget {
        kubeconfig: Some(bed.kubeconfig.clone()),
        context: None,
        namespace: Some(namespace.into()),
        service: "web".into(),
        port: None,
        scheme: "http".into(),
        reach: Reach::Auto,
        guardian: Default::default(),
        common: Default::default(),
    }
}

/// A started platform, and all it has told.
pub struct Running {
    pub platform: KubernetesPlatform,
    pub endpoint: Endpoint,
    pub events: Arc<Mutex<Vec<Event>>>,
}

pub async fn run(target: &KubernetesTarget) -> Running {
    run_within(target, Limits::default()).await
}

/// The same, with something to say about what may be broken.
pub async fn run_within(target: &KubernetesTarget, limits: Limits) -> Running {
    let asked = Asked {
        run: "a test".into(),
        limits,
        ..Asked::default()
    };
    let (sink, mut entries) = Sink::new(Clock::start());
    let platform = KubernetesPlatform::connect(target, &asked, sink)
        .await
        .expect("connect");
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = events.clone();
    tokio::spawn(async move {
        while let Some(entry) = entries.recv().await {
            if let Entry::Event(event) = entry {
                told.lock().unwrap().push(event);
            }
        }
    });
    let endpoint = platform.start().await.expect("start");
    Running {
        platform,
        endpoint,
        events,
    }
}

impl Running {
    pub fn names(&self) -> Vec<String> {
        self.platform
            .instances()
            .into_iter()
            .map(|i| i.name)
            .collect()
    }

    pub async fn apply(
        &self,
        kind: FaultKind,
        instance: &str,
    ) -> Result<Option<Undo>, PlatformError> {
        let change = Change {
            kind,
            instance: instance.into(),
        };
        let undo = self.platform.undo_of(&change)?;
        self.platform.apply(&change).await?;
        Ok(undo)
    }

    /// Takes a change back from the ledger's line alone, as another process would, and then once more.
    pub async fn undo_as_another_process(&self, undo: &Undo) {
        let text = serde_json::to_string(undo).unwrap();
        let undo: Undo = serde_json::from_str(&text).unwrap();
        for _ in 0..2 {
            self.platform
                .undo(&undo)
                .await
                .expect("undo, and undo of what is undone");
        }
    }

    /// Waits until one of the events told is this.
    pub async fn told(&self, what: &str, mut is: impl FnMut(&What) -> bool) -> Event {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let found = self
                .events
                .lock()
                .unwrap()
                .iter()
                .find(|e| is(&e.what))
                .cloned();
            if let Some(event) = found {
                return event;
            }
            assert!(
                Instant::now() < end,
                "never told: {what}; told: {:#?}",
                self.events.lock().unwrap()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until this is so.
    pub async fn told_now(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !is(self) {
            assert!(Instant::now() < end, "waited in vain for {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn state(&self, name: &str, state: InstanceState) -> Event {
        let what = format!("{name} {state:?}");
        self.told(
            &what,
            |w| matches!(w, What::Instance(e) if e.name == name && e.state == state),
        )
        .await
    }

    pub async fn get(&self) -> String {
        let response = reqwest::get(format!("{}/index.html", self.endpoint.base_url))
            .await
            .expect("a response");
        response.text().await.expect("a body").trim().to_string()
    }

    pub fn count(&self, is: impl Fn(&What) -> bool) -> usize {
        self.events
            .lock()
            .unwrap()
            .iter()
            .filter(|e| is(&e.what))
            .count()
    }
}

pub async fn refused(target: &KubernetesTarget) -> PlatformError {
    let (sink, _entries) = Sink::new(Clock::start());
    match KubernetesPlatform::connect(target, &Asked::default(), sink).await {
        Ok(_) => panic!("connected to {target:?}"),
        Err(e) => e,
    }
}

#[track_caller]
pub fn says(error: &PlatformError, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "no '{word}' in: {text}");
    }
}
