//! A port-forward: a listener on this machine whose connections go through the API server to one pod.
//!
//! It is the way of last resort: every connection ends at the same pod, so that nothing is balanced, and the API
//! server carries the traffic.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::pods::Pods;
use crate::platform::PlatformError;
use crate::record::{Level, Sink};

/// A running port-forward; ends when dropped.
#[derive(Debug)]
pub struct Forward {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Forward {
    /// Listens on a free port of 127.0.0.1 and carries connections to `pod`, or, once that is gone, to the next
    /// ready one.
    pub async fn start(
        api: Api<Pod>,
        pods: Arc<Mutex<Pods>>,
        pod: String,
        port: u16,
        sink: Sink,
    ) -> Result<Self, PlatformError> {
        let failed =
            |e| PlatformError::Failed(format!("no port on 127.0.0.1 for the port-forward: {e}"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let task = tokio::spawn(async move {
            let mut pod = pod;
            // Connections are children of this task: they end with it.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                while connections.try_join_next().is_some() {}
                if let Some(next) =
                    next_pod(&pods.lock().unwrap_or_else(PoisonError::into_inner), &pod)
                {
                    sink.note(
                        Level::Warning,
                        format!("the port-forward to {pod} now leads to {next}"),
                    );
                    pod = next;
                }
                connections.spawn(carry(api.clone(), pod.clone(), port, stream));
            }
        });
        Ok(Self { address, task })
    }
}

/// Another pod, where the one in use is not ready any more and another is.
fn next_pod(pods: &Pods, current: &str) -> Option<String> {
    let instances = pods.instances(&Default::default());
    let ready = |name: &str| instances.iter().any(|i| i.name == name && i.ready);
    if ready(current) {
        return None;
    }
    let next = instances.iter().find(|i| i.ready)?;
    Some(next.name.clone())
}

/// One connection. A failure closes it, which is what the client must see.
async fn carry(api: Api<Pod>, pod: String, port: u16, mut stream: TcpStream) {
    let Ok(mut forwarder) = api.portforward(&pod, &[port]).await else {
        return;
    };
    if let Some(mut upstream) = forwarder.take_stream(port) {
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
    }
}
