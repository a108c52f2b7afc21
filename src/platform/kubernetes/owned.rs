//! What squall creates in the cluster: always for the run that needs it, so that it goes when the run is gone.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, PostParams};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::api::Cluster;
use crate::platform::PlatformError;

/// Finalizers are waited for so long.
const LET_GO: Duration = Duration::from_secs(25);
/// An object that is held is looked at so often.
const LOOK: Duration = Duration::from_millis(200);

/// The label that says whose an object is: `squall`.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The object that stands for the run in the cluster, once there is one. The cluster's garbage collector removes what
/// it owns when it goes, whoever is left to care.
#[derive(Debug, Clone, Default)]
pub struct RunOwner {
    object: Arc<OnceLock<OwnerReference>>,
    /// What is created is in another namespace than the object: it cannot belong to it, only its undo removes it.
    elsewhere: bool,
}

impl RunOwner {
    /// Says which object it is; the first word counts.
    pub fn set(&self, owner: OwnerReference) {
        let _ = self.object.set(owner);
    }

    /// The owner of what is created from now on; `None` while nothing stands for the run.
    pub fn run_owner(&self) -> Option<OwnerReference> {
        self.object.get().filter(|_| !self.elsewhere).cloned()
    }

    /// The same run, for what it creates in other namespaces.
    pub fn elsewhere(&self) -> Self {
        Self {
            elsewhere: true,
            ..self.clone()
        }
    }

    /// Tells what this run creates from what others do, in names.
    pub fn run_id(&self) -> &str {
        let uid = self.object.get().map_or("", |o| o.uid.as_str());
        uid.get(..8).unwrap_or("run")
    }
}

/// A kind of objects that squall creates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// `networking.k8s.io/v1`.
    pub api_version: String,
    /// `NetworkPolicy`.
    pub kind: String,
    /// `networkpolicies`.
    pub plural: String,
}

impl Kind {
    fn api(&self, cluster: &Cluster, namespace: &str) -> Api<DynamicObject> {
        let (group, version) = self
            .api_version
            .split_once('/')
            .unwrap_or(("", &self.api_version));
        let resource = ApiResource {
            group: group.into(),
            version: version.into(),
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            plural: self.plural.clone(),
        };
        Api::namespaced_with(cluster.client.clone(), namespace, &resource)
    }
}

/// The object as it is sent: its content, kind and name, and what it belongs to.
fn owned(
    kind: &Kind,
    namespace: &str,
    name: &str,
    content: &Value,
    owner: Option<&OwnerReference>,
) -> Value {
    let mut object = json!({
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {MANAGED_BY: "squall"},
        },
    });
    if let (Some(object), Some(content)) = (object.as_object_mut(), content.as_object()) {
        object.extend(content.clone());
    }
    if let Some(owner) = owner {
        object["metadata"]["ownerReferences"] = json!([owner]);
    }
    object
}

/// Creates an object for the run, and gives it as the cluster has it. `content` is what stands beside its metadata. One
/// of that name is there already only if a fault is not undone: an error.
pub async fn create(
    cluster: &Cluster,
    owner: &RunOwner,
    kind: &Kind,
    (namespace, name): (&str, &str),
    content: &Value,
) -> Result<DynamicObject, PlatformError> {
    let object = owned(kind, namespace, name, content, owner.run_owner().as_ref());
    let object: DynamicObject = serde_json::from_value(object)
        .map_err(|e| PlatformError::Failed(format!("{} {name}: {e}", kind.kind)))?;
    let api = kind.api(cluster, namespace);
    let doing = format!("create {} {name}", kind.kind);
    let params = PostParams {
        field_manager: Some("squall".into()),
        ..PostParams::default()
    };
    let created = async {
        match api.create(&params, &object).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            other => other.map(Some),
        }
    };
    cluster.call(&doing, created).await?.ok_or_else(|| {
        PlatformError::Refused(format!(
            "{} {name} is there already, of a fault that is not undone: nothing was done",
            kind.kind
        ))
    })
}

/// The object as it is now.
pub async fn get(
    cluster: &Cluster,
    kind: &Kind,
    (namespace, name): (&str, &str),
) -> Result<Option<DynamicObject>, PlatformError> {
    let api = kind.api(cluster, namespace);
    let doing = format!("read {} {name}", kind.kind);
    cluster.call(&doing, api.get_opt(name)).await
}

/// Removes an object, and returns once whoever has set finalizers on it has let it go; one that is gone, or of a kind that
/// is gone, is a success. Whether it was there.
pub async fn remove(
    cluster: &Cluster,
    kind: &Kind,
    (namespace, name): (&str, &str),
) -> Result<bool, PlatformError> {
    let api = kind.api(cluster, namespace);
    let doing = format!("remove {} {name}", kind.kind);
    let until = Instant::now() + LET_GO;
    let mut was_there = false;
    loop {
        let removed = async {
            // Said, as it is not the default for each kind: a Job's pods would stay.
            match api.delete(name, &DeleteParams::background()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
                // The object, where it is still there.
                other => other.map(|answer| Some(answer.left())),
            }
        };
        let answer = cluster.call(&doing, removed).await?;
        was_there |= answer.is_some();
        let left = answer.flatten();
        let held = left.and_then(|o| o.metadata.finalizers).unwrap_or_default();
        if held.is_empty() {
            return Ok(was_there);
        }
        if Instant::now() >= until {
            return Err(PlatformError::Failed(format!(
                "{} {name} is to be removed, and still held by {} after {LET_GO:?}",
                kind.kind,
                held.join(", ")
            )));
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_created_belongs_to_the_run_as_soon_as_something_stands_for_it() {
        let kind = Kind {
            api_version: "networking.k8s.io/v1".into(),
            kind: "NetworkPolicy".into(),
            plural: "networkpolicies".into(),
        };
        let run = RunOwner::default();
        let object = owned(&kind, "shop", "p", &json!({}), run.run_owner().as_ref());
        assert_eq!(object["metadata"].get("ownerReferences"), None);
        run.set(OwnerReference {
            api_version: "batch/v1".into(),
            kind: "Job".into(),
            name: "squall-run".into(),
            uid: "u-1".into(),
            ..OwnerReference::default()
        });
        let object = owned(&kind, "shop", "p", &json!({}), run.run_owner().as_ref());
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "u-1");
        assert_eq!(
            object["metadata"]["labels"]["app.kubernetes.io/managed-by"],
            "squall"
        );
    }
}
