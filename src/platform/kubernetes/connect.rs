//! From a scenario's target to a platform that may do all that the run will need; nothing is changed yet.

use std::sync::Mutex;

use super::api::Cluster;
use super::emptied::Emptied;
use super::faults::Faults;
use super::guard::Limits;
use super::guardian::Guardian;
use super::kubelets::Wanted;
use super::lease::Lost;
use super::owned::RunOwner;
use super::permissions::{self, Permission};
use super::stress::Sessions;
use super::target::{self, Found};
use super::view::View;
use super::{Asked, KubernetesPlatform, autoscaler, chaos_mesh, own};
use crate::platform::PlatformError;
use crate::record::Sink;
use crate::scenario::KubernetesTarget;

impl KubernetesPlatform {
    /// Connects to the cluster, finds the Service with its pods, and asks whether all that the faults need is
    /// allowed; changes nothing.
    pub async fn connect(
        target: &KubernetesTarget,
        asked: &Asked,
        sink: Sink,
    ) -> Result<Self, PlatformError> {
        let all = || {
            asked
                .faults
                .iter()
                .chain(asked.elsewhere.values().flatten())
        };
        if let Some(fault) = all().find(|f| !permissions::supports(f)) {
            return Err(PlatformError::Unsupported(format!(
                "a {} cannot be done in a Kubernetes cluster",
                fault.name()
            )));
        }
        let cluster = Cluster::of(target).await?;
        chaos_mesh::installed(&cluster, all()).await?;
        let found = target::find(&cluster, target).await?;
        let own = own::pod(&cluster).await;
        let limits = Limits {
            own: own.as_ref().and_then(own::Own::of),
            ..asked.limits.clone()
        };
        let own_namespace = (!asked.faults.is_empty()).then_some(&found.namespace);
        for namespace in own_namespace.into_iter().chain(asked.elsewhere.keys()) {
            let allowed = limits.namespace(namespace);
            allowed.map_err(PlatformError::Unsupported)?;
        }
        let guardian = match all().next() {
            None => None,
            Some(_) => Guardian::of(target, own.as_ref()),
        };
        let kubelets = Wanted {
            usage: cluster.served.metrics.is_none(),
            throttling: asked.usage,
        };
        let kubelets = Some(kubelets).filter(|wanted| wanted.usage || wanted.throttling);
        let also = guardian.as_ref().map(|_| permissions::guardian());
        let also = also
            .into_iter()
            .chain(kubelets.map(|_| permissions::kubelets()));
        let (calls, left_out) = may(&cluster, &found, target, asked, also).await?;
        autoscaler::check(&cluster, &found, &asked.autoscalers).await?;
        let faults = Faults {
            sink: sink.clone(),
            base_dir: asked.base_dir.clone(),
            port: found.pod_port.as_ref().map(|(_, port)| *port),
            emptied: Emptied::default(),
            sessions: Sessions::default(),
            cluster: cluster.clone(),
            owner: RunOwner::default(),
            namespace: found.namespace.clone(),
            view: View::default(),
            limits,
            lost: Lost::default(),
        };
        let elsewhere = asked.elsewhere.keys().map(|namespace| {
            let faults = Faults {
                namespace: namespace.clone(),
                view: faults.view.elsewhere(),
                owner: faults.owner.elsewhere(),
                port: None,
                ..faults.clone()
            };
            (namespace.clone(), faults)
        });
        let elsewhere = elsewhere.collect();
        if let Some((pod, _)) = &found.pod_port {
            for fault in &asked.faults {
                faults.can_stress(pod, fault).await?;
            }
        }
        Ok(Self {
            target: target.clone(),
            cluster,
            found,
            faults,
            elsewhere,
            guardian,
            calls,
            left_out,
            run: asked.run.clone(),
            autoscaler: !asked.autoscalers.is_empty(),
            kubelets,
            sink,
            running: Mutex::default(),
        })
    }
}

/// What the run may call, and what it does without; an error where it may not do what it must.
async fn may(
    cluster: &Cluster,
    found: &Found,
    target: &KubernetesTarget,
    asked: &Asked,
    also: impl Iterator<Item = Permission>,
) -> Result<(Vec<Permission>, Vec<Permission>), PlatformError> {
    let mut calls = permissions::needed(target.reach, &asked.faults);
    permissions::require(&mut calls, &asked.limits.looks_at);
    calls.extend(also);
    if !asked.autoscalers.is_empty() {
        permissions::require_autoscalers(&mut calls);
        calls.push(permissions::leader());
    }
    if !asked.elsewhere.is_empty() {
        permissions::require_lease(&mut calls);
    }
    for (namespace, faults) in &asked.elsewhere {
        calls.extend(permissions::elsewhere(namespace, faults));
    }
    let denied = permissions::denied(cluster, &found.namespace, &calls).await?;
    let (missing, left_out): (Vec<_>, Vec<_>) = denied.into_iter().partition(|p| p.required);
    if missing.is_empty() {
        return Ok((calls, left_out));
    }
    let missing = missing.iter().map(ToString::to_string).collect::<Vec<_>>();
    Err(PlatformError::Unreachable(format!(
        "context {} is not allowed in namespace {} to: {}. Grant it; deploy/kubernetes/rbac.yaml holds all that a run \
         may need",
        cluster.context,
        found.namespace,
        missing.join(", ")
    )))
}
