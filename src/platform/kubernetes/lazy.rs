//! The platform before it is connected: a run makes it, plans with it and starts it; the cluster is asked only then.

use std::sync::OnceLock;

use async_trait::async_trait;

use super::{Asked, KubernetesPlatform};
use crate::platform::{
    Change, Endpoint, Instance, Platform, PlatformError, Rollouts, Surroundings, Undo,
};
use crate::record::Sink;
use crate::scenario::KubernetesTarget;

/// A Service of a cluster, connected to when it is planned or started.
pub struct Unconnected {
    target: KubernetesTarget,
    asked: Asked,
    sink: Sink,
    connected: OnceLock<KubernetesPlatform>,
}

impl Unconnected {
    /// Knows where to connect and what will be asked for; does nothing yet.
    pub fn new(target: KubernetesTarget, asked: Asked, sink: Sink) -> Self {
        Self {
            target,
            asked,
            sink,
            connected: OnceLock::new(),
        }
    }

    async fn connect(&self) -> Result<KubernetesPlatform, PlatformError> {
        KubernetesPlatform::connect(&self.target, &self.asked, self.sink.clone()).await
    }

    fn connected(&self) -> Result<&KubernetesPlatform, PlatformError> {
        let none = || PlatformError::Failed("the cluster is not connected".into());
        self.connected.get().ok_or_else(none)
    }
}

#[async_trait]
impl Platform for Unconnected {
    fn plan(&self) -> Result<Vec<String>, PlatformError> {
        // A plan is asked for without a runtime at hand, or inside one that must not be blocked on: it gets its own.
        let plan = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|e| PlatformError::Failed(format!("cannot start a runtime: {e}")))?
                .block_on(async { self.connect().await?.plan() })
        };
        let panicked = |_| Err(PlatformError::Failed("planning has panicked".into()));
        std::thread::scope(|scope| scope.spawn(plan).join().unwrap_or_else(panicked))
    }

    async fn start(&self) -> Result<Endpoint, PlatformError> {
        let platform = self.connect().await?;
        self.connected.get_or_init(|| platform).start().await
    }

    fn instances(&self) -> Vec<Instance> {
        let connected = self.connected.get();
        connected.map(Platform::instances).unwrap_or_default()
    }

    fn rollouts(&self) -> Rollouts {
        let connected = self.connected.get();
        connected.map(Platform::rollouts).unwrap_or_default()
    }

    fn taken_by_rollout(&self, instance: &str) -> Option<usize> {
        let connected = self.connected.get();
        connected.and_then(|platform| platform.taken_by_rollout(instance))
    }

    fn surroundings(&self) -> Surroundings {
        let connected = self.connected.get();
        connected.map(Platform::surroundings).unwrap_or_default()
    }

    fn undo_of(&self, change: &Change) -> Result<Option<Undo>, PlatformError> {
        self.connected()?.undo_of(change)
    }

    async fn apply(&self, change: &Change) -> Result<(), PlatformError> {
        self.connected()?.apply(change).await
    }

    async fn undo(&self, undo: &Undo) -> Result<(), PlatformError> {
        self.connected()?.undo(undo).await
    }

    async fn stop(&self) -> Result<(), PlatformError> {
        match self.connected.get() {
            Some(platform) => platform.stop().await,
            None => Ok(()),
        }
    }
}
