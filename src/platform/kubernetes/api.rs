//! The way to a cluster: which one, as whom, and which versions of its APIs it serves.
//!
//! Discovery happens here, once, when connecting; everything else asks [`Served`]. Errors of the client become
//! sentences here too, so that each says what to do about it.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroupList, APIResourceList};
use kube::api::{ApiResource, DynamicObject};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config};

use crate::platform::PlatformError;
use crate::scenario::KubernetesTarget;

/// One call may take so long; the API server itself gives up after a minute.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// A cluster that answered, and what it serves.
#[derive(Clone)]
pub struct Cluster {
    /// The client; cheap to clone.
    pub client: Client,
    /// Address of the API server: the cluster's identity in undos.
    pub server: String,
    /// Name of the context, or `in-cluster`.
    pub context: String,
    /// The namespace that the context names.
    pub namespace: String,
    /// The API server's version, as it says: `v1.20.2`.
    pub version: String,
    /// Versions of the APIs.
    pub served: Served,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Cluster({} at {}, {})",
            self.context, self.server, self.version
        )
    }
}

/// Which version of each API this cluster serves; `None` where it does not serve it in a version known here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Served {
    /// `policy`: disruption budgets.
    pub policy: Option<String>,
    /// Version of the Eviction that `pods/eviction` takes; evictions are refused in another.
    pub eviction: Option<String>,
    /// Whether `pods/ephemeralcontainers` takes a pod, as it does from 1.25 on for sure.
    pub ephemeral: bool,
    /// `autoscaling`: HorizontalPodAutoscalers with metrics and behavior.
    pub autoscaling: Option<String>,
    /// `discovery.k8s.io`: EndpointSlices.
    pub discovery: Option<String>,
    /// `networking.k8s.io`: NetworkPolicies and Ingresses.
    pub networking: Option<String>,
    /// `metrics.k8s.io`: CPU and memory per pod.
    pub metrics: Option<String>,
    /// `chaos-mesh.org`.
    pub chaos_mesh: Option<String>,
}

impl Served {
    /// Chooses among what the cluster offers.
    pub fn of(groups: &APIGroupList, core: &APIResourceList) -> Self {
        // In the order of preference; what was beta has the same fields where it is used here.
        let first = |group: &str, known: &[&str]| {
            let offered = &groups.groups.iter().find(|g| g.name == group)?.versions;
            let is_offered = |v: &&&str| offered.iter().any(|o| o.version == ***v);
            Some(known.iter().find(is_offered)?.to_string())
        };
        let resource = |name: &str| core.resources.iter().find(|r| r.name == name);
        Self {
            policy: first("policy", &["v1", "v1beta1"]),
            eviction: resource("pods/eviction").and_then(|r| r.version.clone()),
            // In its alpha days it took an object of its own kind.
            ephemeral: resource("pods/ephemeralcontainers").is_some_and(|r| r.kind == "Pod"),
            autoscaling: first("autoscaling", &["v2", "v2beta2"]),
            discovery: first("discovery.k8s.io", &["v1", "v1beta1"]),
            networking: first("networking.k8s.io", &["v1"]),
            metrics: first("metrics.k8s.io", &["v1", "v1beta1"]),
            chaos_mesh: first("chaos-mesh.org", &["v1alpha1"]),
        }
    }
}

impl Cluster {
    /// Connects to the cluster of a target.
    pub async fn of(target: &KubernetesTarget) -> Result<Self, PlatformError> {
        Self::connect(target.kubeconfig.as_deref(), target.context.as_deref()).await
    }

    /// Connects: `context` of the kubeconfig, its current one, or the pod's own account inside a cluster.
    pub async fn connect(
        kubeconfig: Option<&Path>,
        context: Option<&str>,
    ) -> Result<Self, PlatformError> {
        // One process may bring several; kube and squall's own traffic use this one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (mut config, context) = configure(kubeconfig, context).await?;
        // An eviction that a budget forbids answers 429: the caller must see it, not a retry layer.
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(5));
        let server = config.cluster_url.to_string();
        let server = server.trim_end_matches('/').to_string();
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config).map_err(|e| {
            PlatformError::Unsupported(format!("context {context} cannot be used: {}", chain(&e)))
        })?;
        let ask = Ask {
            context: &context,
            server: &server,
        };
        let version = ask
            .call("read the version", client.apiserver_version())
            .await?
            .git_version;
        let groups = ask.call("list the APIs", client.list_api_groups()).await?;
        let core = ask
            .call("list the core API", client.list_core_api_resources("v1"))
            .await?;
        Ok(Self {
            client,
            server,
            context,
            namespace,
            version,
            served: Served::of(&groups, &core),
        })
    }

    /// Connects to the cluster at this address: by the current context, or by the first that leads there.
    pub async fn at(server: &str) -> Result<Self, PlatformError> {
        let known = Kubeconfig::read().unwrap_or_default();
        let clusters = known.clusters.iter().filter(|c| {
            let address = c.cluster.as_ref().and_then(|c| c.server.as_deref());
            address.is_some_and(|a| a.trim_end_matches('/') == server)
        });
        let names: Vec<&str> = clusters.map(|c| c.name.as_str()).collect();
        let leads = |context: &&kube::config::NamedContext| {
            let cluster = context.context.as_ref().map(|c| c.cluster.as_str());
            cluster.is_some_and(|c| names.contains(&c))
        };
        let current = known.current_context.as_deref();
        let contexts = || known.contexts.iter().filter(leads);
        let found = contexts().find(|c| Some(c.name.as_str()) == current);
        match found.or_else(|| contexts().next()) {
            Some(context) => Self::connect(None, Some(&context.name)).await,
            // Inside a cluster there is no kubeconfig; whose it is shows when it is asked.
            None if known.contexts.is_empty() => Self::connect(None, None).await,
            None => Err(PlatformError::Failed(format!(
                "no context of the kubeconfig leads to the cluster at {server}: set KUBECONFIG to one that does"
            ))),
        }
    }

    /// Makes one call, with a time limit, and turns what goes wrong into a sentence that starts with `doing`.
    pub async fn call<T>(
        &self,
        doing: &str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, PlatformError> {
        Ask {
            context: &self.context,
            server: &self.server,
        }
        .call(doing, call)
        .await
    }

    /// EndpointSlices of a namespace.
    pub fn endpoint_slices(&self, namespace: &str) -> Option<Api<DynamicObject>> {
        let version = self.served.discovery.as_deref()?;
        Some(self.dynamic(
            namespace,
            "discovery.k8s.io",
            version,
            "EndpointSlice",
            "endpointslices",
        ))
    }

    /// Disruption budgets of a namespace.
    pub fn budgets(&self, namespace: &str) -> Option<Api<DynamicObject>> {
        let version = self.served.policy.as_deref()?;
        let (kind, plural) = ("PodDisruptionBudget", "poddisruptionbudgets");
        Some(self.dynamic(namespace, "policy", version, kind, plural))
    }

    /// HorizontalPodAutoscalers of a namespace.
    pub fn autoscalers(&self, namespace: &str) -> Option<Api<DynamicObject>> {
        let version = self.served.autoscaling.as_deref()?;
        let (kind, plural) = ("HorizontalPodAutoscaler", "horizontalpodautoscalers");
        Some(self.dynamic(namespace, "autoscaling", version, kind, plural))
    }

    fn dynamic(
        &self,
        namespace: &str,
        group: &str,
        version: &str,
        kind: &str,
        plural: &str,
    ) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: group.into(),
            version: version.into(),
            api_version: format!("{group}/{version}"),
            kind: kind.into(),
            plural: plural.into(),
        };
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }
}

/// Whom a call asks; only for the words of its error.
struct Ask<'a> {
    context: &'a str,
    server: &'a str,
}

impl Ask<'_> {
    async fn call<T>(
        &self,
        doing: &str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, PlatformError> {
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(say(doing, self.context, self.server, &error)),
            Err(_) => Err(PlatformError::Unreachable(format!(
                "could not {doing}: the cluster of context {} at {} did not answer in {CALL_TIMEOUT:?}",
                self.context, self.server
            ))),
        }
    }
}

/// Finds the configuration and the name of its context.
async fn configure(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
) -> Result<(Config, String), PlatformError> {
    let read = match kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let kubeconfig = match read {
        Ok(kubeconfig) => Some(kubeconfig),
        Err(KubeconfigError::FindPath) => None,
        Err(KubeconfigError::ReadConfig(e, _))
            if kubeconfig.is_none() && e.kind() == std::io::ErrorKind::NotFound =>
        {
            None
        }
        Err(e) => {
            return Err(PlatformError::Unsupported(format!(
                "the kubeconfig cannot be read: {}",
                chain(&e)
            )));
        }
    };
    let Some(kubeconfig) = kubeconfig else {
        if let Some(context) = context {
            return Err(PlatformError::Unsupported(format!(
                "context {context} needs a kubeconfig, and there is none: set KUBECONFIG, or write ~/.kube/config"
            )));
        }
        let config = Config::incluster().map_err(|_| {
            PlatformError::Unsupported(
                "no cluster is configured: set KUBECONFIG or write ~/.kube/config (or run inside a cluster, with a \
                 service account)"
                    .into(),
            )
        })?;
        return Ok((config, "in-cluster".into()));
    };
    let name = context_name(&kubeconfig, context).map_err(PlatformError::Unsupported)?;
    let options = KubeConfigOptions {
        context: Some(name.clone()),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|e| {
            PlatformError::Unsupported(format!(
                "context {name} of the kubeconfig cannot be used: {}",
                chain(&e)
            ))
        })?;
    Ok((config, name))
}

/// The context to use: the one asked for or the current one, and it must exist.
fn context_name(kubeconfig: &Kubeconfig, asked: Option<&str>) -> Result<String, String> {
    let known: Vec<&str> = kubeconfig.contexts.iter().map(|c| &*c.name).collect();
    let list = || match known.as_slice() {
        [] => "it has no contexts".to_string(),
        known => format!("it has {}", known.join(", ")),
    };
    let current = kubeconfig.current_context.as_deref();
    let Some(name) = asked.or(current.filter(|c| !c.is_empty())) else {
        return Err(format!(
            "the kubeconfig has no current context: name one in the scenario (target.kubernetes.context); {}",
            list()
        ));
    };
    if known.contains(&name) {
        Ok(name.to_string())
    } else {
        Err(format!(
            "there is no context {name} in the kubeconfig; {}",
            list()
        ))
    }
}

/// An error of the client as a sentence, and as the kind that decides the exit code.
pub fn say(doing: &str, context: &str, server: &str, error: &kube::Error) -> PlatformError {
    if let kube::Error::Api(status) = error {
        return match status.code {
            401 => PlatformError::Unreachable(format!(
                "could not {doing}: the cluster did not accept the credentials of context {context} (401): the token \
                 has expired or is unknown there. Log in again; `kubectl --context {context} get pods` must work"
            )),
            403 => PlatformError::Unreachable(format!(
                "could not {doing}: not allowed (403): {}. Grant it; deploy/kubernetes/rbac.yaml holds all that a \
                 run may need",
                status.message
            )),
            429 | 502..=504 => PlatformError::Unreachable(format!(
                "could not {doing}: the API server has too much to do, or is not there for now: {} ({})",
                status.message, status.code
            )),
            _ => PlatformError::Failed(format!(
                "could not {doing}: {} ({})",
                status.message, status.code
            )),
        };
    }
    let text = chain(error);
    let hint = if text.contains("onnection refused") {
        "nothing listens there: is the cluster up, and is the context the right one?"
    } else if text.contains("timed out")
        || text.contains("deadline")
        || text.contains("unreachable")
    {
        "nothing answers there: is this machine in the right network or VPN?"
    } else if text.contains("certificate") || text.contains("UnknownIssuer") {
        "its certificate is not the one that the kubeconfig trusts"
    } else if text.contains("dns") || text.contains("lookup") || text.contains("resolve") {
        "the name of the API server does not resolve"
    } else {
        "is the context the right one?"
    };
    PlatformError::Unreachable(format!(
        "could not {doing}: the cluster of context {context} at {server} cannot be reached: {hint} ({text})"
    ))
}

/// An error with its causes, without repeating what a cause says already.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(c) = cause {
        let next = c.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = c.source();
    }
    text
}

#[cfg(test)]
mod tests;
