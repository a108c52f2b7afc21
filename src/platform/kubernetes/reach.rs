//! How traffic gets to the Service from where squall runs.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;

use super::KubernetesPlatform;
use super::forward::Forward;
use super::target::{self, Way};
use crate::platform::{Change, Endpoint, PlatformError};
use crate::record::Level;
use crate::scenario::{FaultKind, Reach};

impl KubernetesPlatform {
    /// The way that works from here, or the port-forward where that may be.
    pub(super) async fn reach(&self) -> Result<Endpoint, PlatformError> {
        let pods = format!(
            "Service {}/{} with {} ready pods",
            self.found.namespace, self.found.service, self.found.ready
        );
        if self.target.reach != Reach::PortForward
            && let Some(way) = target::probe(&self.found.ways).await
        {
            self.running().enters = way.node.clone();
            return Ok(Endpoint {
                base_url: way.base_url(),
                describe: format!("{pods}, by its {}", way.reach.name()),
                routes: None,
            });
        }
        if !matches!(self.target.reach, Reach::Auto | Reach::PortForward) {
            return Err(PlatformError::Unreachable(self.no_way()));
        }
        let Some((pod, port)) = self.found.pod_port.clone() else {
            return Err(PlatformError::Unreachable(format!(
                "no ready pod of Service {} has the port that it leads to ({})",
                self.found.service, self.found.port
            )));
        };
        let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), &self.found.namespace);
        let view = self.faults.view.pods.clone();
        let forward = Forward::start(api, view, pod.clone(), port, self.sink.clone()).await?;
        let address = forward.address;
        self.running().forward = Some(forward);
        let text = format!(
            "traffic goes by a port-forward to the one pod {pod}: nothing is balanced, the API server carries it all, \
             and balance cannot be judged"
        );
        self.sink.note(Level::Warning, &text);
        Ok(Endpoint {
            base_url: format!("{}://{address}", self.target.scheme),
            describe: format!("{pods}; {text}"),
            routes: None,
        })
    }

    /// Refuses to take away the one node that traffic comes over: it would be missed whatever the service does.
    pub(super) fn keeps_way(&self, change: &Change) -> Result<(), PlatformError> {
        let (faults, name) = self.faults_of(&change.instance);
        let node = faults.view.pods().get(name).and_then(|p| p.node.clone());
        let enters = self.running().enters.clone();
        match (&change.kind, enters) {
            (FaultKind::NodeLoss { .. }, Some(way)) if node.as_ref() == Some(&way) => {
                Err(PlatformError::Refused(format!(
                    "traffic comes over node {way}, by its node port: without it nothing would arrive, whatever the service \
                     does. Another `reach`, or pods of another node"
                )))
            }
            _ => Ok(()),
        }
    }

    fn no_way(&self) -> String {
        let tried = self
            .found
            .ways
            .iter()
            .map(Way::base_url)
            .collect::<Vec<_>>();
        let tried = match tried.as_slice() {
            [] => "the Service has no such address".to_string(),
            tried => format!("no TCP connection to {}", tried.join(", ")),
        };
        format!(
            "Service {} cannot be reached by its {} from here: {tried}. Other ways: `reach: port-forward`, or run \
             inside the cluster",
            self.found.service,
            self.target.reach.name()
        )
    }
}
