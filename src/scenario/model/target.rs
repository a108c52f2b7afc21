//! The system under test, as a scenario describes it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use crate::scenario::units::duration;

/// Where the system under test runs.
// A program holds one of it, so the size of the larger variant costs nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Processes of this machine behind a loopback balancer: the embedded default.
    Local(LocalTarget),
    /// A service that already runs somewhere; it can be loaded and measured, not broken or watched.
    Url(UrlTarget),
    /// A Service of a Kubernetes cluster.
    Kubernetes(KubernetesTarget),
}

impl Target {
    /// The settings that every kind of target has.
    pub fn common(&self) -> &TargetCommon {
        match self {
            Target::Local(t) => &t.common,
            Target::Url(t) => &t.common,
            Target::Kubernetes(t) => &t.common,
        }
    }
}

/// Settings that every kind of target has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TargetCommon {
    /// The response header that names the instance that served a request.
    pub instance_header: String,
    /// How to speak TLS to the target, when its scheme is https.
    #[serde(default)]
    pub tls: Tls,
}

impl Default for TargetCommon {
    fn default() -> Self {
        Self {
            instance_header: "x-squall-instance".into(),
            tls: Tls::default(),
        }
    }
}

/// TLS towards the target.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tls {
    /// PEM file of certificate authorities to trust instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file with the client's certificate chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// PEM file with the client's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Accept any certificate. Said in the report.
    #[serde(default)]
    pub insecure: bool,
}

/// Instances of a command on this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LocalTarget {
    /// Name of the service; its instances are `NAME-1`, `NAME-2`, ...
    pub name: String,
    /// Program and arguments; `{port}` and `{instance}` are replaced for each instance. The program `squall` is
    /// this very program, wherever it is installed.
    pub command: Vec<String>,
    /// How many instances.
    pub instances: u32,
    /// Extra environment. The values are not recorded: passwords are given to programs in this way.
    #[serde(default, serialize_with = "names_only")]
    pub env: BTreeMap<String, String>,
    /// The balancer's port on 127.0.0.1; a free one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The first instance's port, the others have those after it; free ones when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_port: Option<u16>,
    /// What the instances speak: `http` or `https`.
    pub scheme: String,
    /// How an instance shows that it is ready.
    pub ready: Probe,
    /// How long an instance may take to become ready at the start of the run.
    #[serde(with = "duration")]
    pub start_timeout: Duration,
    /// Between SIGTERM and SIGKILL.
    #[serde(with = "duration")]
    pub stop_grace: Duration,
    /// What happens when an instance dies.
    pub restart: Restart,
    /// Common settings.
    #[serde(flatten)]
    pub common: TargetCommon,
}

fn names_only<S: Serializer>(env: &BTreeMap<String, String>, s: S) -> Result<S::Ok, S::Error> {
    s.collect_map(env.keys().map(|name| (name, "***")))
}

/// A readiness probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Probe {
    /// GET this path and expect 200 to 399; with none, a TCP connection is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// Time between probes.
    #[serde(with = "duration")]
    pub every: Duration,
    /// A probe that takes longer has failed.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// So many failures in a row make an instance not ready.
    pub failures: u32,
    /// So many successes in a row make an instance ready.
    pub successes: u32,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            http: None,
            every: Duration::from_millis(500),
            timeout: Duration::from_secs(1),
            failures: 3,
            successes: 1,
        }
    }
}

/// Restarting the dead, as an orchestrator does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Restart {
    /// `false`: the dead stay dead.
    pub enabled: bool,
    /// Wait before the first restart; doubled for each further one within ten minutes.
    #[serde(with = "duration")]
    pub backoff: Duration,
    /// The longest wait.
    #[serde(with = "duration")]
    pub max_backoff: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            enabled: true,
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(30),
        }
    }
}

/// A service somebody else runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct UrlTarget {
    /// Base URL, `http://` or `https://`, with an optional path prefix.
    pub url: String,
    /// Common settings.
    #[serde(flatten)]
    pub common: TargetCommon,
}

/// A Service of a Kubernetes cluster and the pods behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KubernetesTarget {
    /// The kubeconfig; `KUBECONFIG` or `~/.kube/config` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; its current one when absent, or the pod's own account inside a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Namespace; the context's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the Service.
    pub service: String,
    /// Name or number of the Service's port; may be absent where it has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// What the pods speak: `http` or `https`.
    pub scheme: String,
    /// How traffic gets to the Service.
    #[serde(default)]
    pub reach: Reach,
    /// Who undoes what this run changes, when squall is gone.
    #[serde(default)]
    pub guardian: GuardianSettings,
    /// Common settings.
    #[serde(flatten)]
    pub common: TargetCommon,
}

/// The guardian: a Job in the cluster that undoes what a dead run has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GuardianSettings {
    /// Squall's own image; none: no guardian, but inside a cluster, where squall's own pod has the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The service account it runs as, in the target's namespace.
    pub service_account: String,
    /// When its image is pulled.
    #[serde(default)]
    pub pull: Pull,
}

impl Default for GuardianSettings {
    fn default() -> Self {
        Self {
            image: None,
            service_account: "squall".into(),
            pull: Pull::default(),
        }
    }
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pull {
    /// Where the node does not have it.
    #[default]
    IfNotPresent,
    /// Each time.
    Always,
    /// Never: the nodes have it, or it is an error.
    Never,
}

impl Pull {
    /// Its name in Kubernetes.
    pub fn name(self) -> &'static str {
        match self {
            Pull::IfNotPresent => "IfNotPresent",
            Pull::Always => "Always",
            Pull::Never => "Never",
        }
    }
}

/// How traffic gets to a Service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// The first of the others, in their order, that takes a TCP connection from here.
    #[default]
    Auto,
    /// The Service's cluster address: works from inside the cluster's network.
    ClusterIp,
    /// A port of any node.
    NodePort,
    /// The address of its load balancer.
    LoadBalancer,
    /// An Ingress that leads to it.
    Ingress,
    /// A tunnel through the API server to one pod: nothing is balanced.
    PortForward,
}

impl Reach {
    /// Its name in a scenario.
    pub fn name(self) -> &'static str {
        match self {
            Reach::Auto => "auto",
            Reach::ClusterIp => "cluster-ip",
            Reach::NodePort => "node-port",
            Reach::LoadBalancer => "load-balancer",
            Reach::Ingress => "ingress",
            Reach::PortForward => "port-forward",
        }
    }
}
