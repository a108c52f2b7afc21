//! Changing an object in place so that anybody can put it back: the patch that restores it is written into an
//! annotation of the object by the same call that changes it.

use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::api::Cluster;
use crate::platform::PlatformError;

/// The annotation that holds what undoes the change.
pub const UNDO: &str = "squall.dev/undo";
/// So often a change is tried again that lost against another writer.
const TRIES: usize = 5;

/// The kinds of objects that squall changes in place, with group and resource: whatever it has changed is one of
/// these that carries the annotation.
pub const KINDS: [(&str, &str, &str); 4] = [
    ("Node", "", "nodes"),
    ("Deployment", "apps", "deployments"),
    ("StatefulSet", "apps", "statefulsets"),
    ("Pod", "", "pods"),
];

/// An object that squall changes in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// One of [`KINDS`].
    pub kind: String,
    /// Its namespace, where it has one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

impl Place {
    fn api(&self, cluster: &Cluster) -> Result<Api<DynamicObject>, PlatformError> {
        let known = KINDS.iter().find(|(kind, _, _)| *kind == self.kind);
        let Some((_, group, plural)) = known.copied() else {
            return Err(PlatformError::Unsupported(format!(
                "{} is a {}: only Deployments and StatefulSets can be scaled and rolled out",
                self.name, self.kind
            )));
        };
        let resource = ApiResource {
            group: group.into(),
            version: "v1".into(),
            api_version: if group.is_empty() {
                "v1".into()
            } else {
                format!("{group}/v1")
            },
            kind: self.kind.clone(),
            plural: plural.into(),
        };
        Ok(match &self.namespace {
            Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &resource),
            None => Api::all_with(cluster.client.clone(), &resource),
        })
    }
}

/// A change and what takes it back, both as strategic merge patches.
pub struct InPlace {
    /// Makes it.
    pub apply: Value,
    /// Takes it back.
    pub restore: Value,
}

/// The patch that changes the object and says how to put it back; it applies to this version of the object only.
fn changing(object: &DynamicObject, change: InPlace) -> Value {
    let mut patch = change.apply;
    let version = object.metadata.resource_version.clone();
    // A patch is always an object: it was made here, from `json!({..})`.
    patch["metadata"]["resourceVersion"] = json!(version);
    patch["metadata"]["annotations"][UNDO] = json!(change.restore.to_string());
    patch
}

/// The patch that puts the object back; `None` where nothing is to be put back.
fn restoring(object: &DynamicObject) -> Result<Option<Value>, String> {
    let annotation = object
        .metadata
        .annotations
        .as_ref()
        .and_then(|a| a.get(UNDO));
    let Some(text) = annotation else {
        return Ok(None);
    };
    let mut patch: Value = serde_json::from_str(text)
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| format!("its annotation {UNDO} is not what squall wrote: {text}"))?;
    patch["metadata"]["resourceVersion"] = json!(object.metadata.resource_version);
    patch["metadata"]["annotations"][UNDO] = Value::Null;
    Ok(Some(patch))
}

/// Changes an object. `plan` looks at it and says how, or why not.
pub async fn make(
    cluster: &Cluster,
    place: &Place,
    plan: impl Fn(&DynamicObject) -> Result<InPlace, String>,
) -> Result<(), PlatformError> {
    let doing = format!("change {place}");
    rewrite(cluster, place, &doing, |object| {
        if object.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(UNDO)) {
            return Err(PlatformError::Refused(format!(
                "{place} is changed already by a fault that is not undone (annotation {UNDO}): nothing was done"
            )));
        }
        let change = plan(object).map_err(PlatformError::Failed)?;
        Ok(Some(changing(object, change)))
    })
    .await
}

/// Puts an object back; one that is back already, or gone, is a success.
pub async fn restore(cluster: &Cluster, place: &Place) -> Result<(), PlatformError> {
    let doing = format!("put {place} back");
    let decide = |object: &DynamicObject| restoring(object).map_err(PlatformError::Failed);
    rewrite(cluster, place, &doing, decide).await
}

/// Patches an object without anything to put back.
pub async fn patch(
    cluster: &Cluster,
    place: &Place,
    doing: &str,
    patch: &Value,
) -> Result<(), PlatformError> {
    let api = place.api(cluster)?;
    let params = PatchParams {
        field_manager: Some("squall".into()),
        ..PatchParams::default()
    };
    let patch = Patch::Strategic(patch);
    let patched = api.patch(&place.name, &params, &patch);
    cluster.call(doing, patched).await.map(drop)
}

/// Reads, decides, patches that very version; again where another writer came between.
async fn rewrite(
    cluster: &Cluster,
    place: &Place,
    doing: &str,
    decide: impl Fn(&DynamicObject) -> Result<Option<Value>, PlatformError>,
) -> Result<(), PlatformError> {
    let api = place.api(cluster)?;
    for _ in 0..TRIES {
        let Some(object) = cluster.call(doing, api.get_opt(&place.name)).await? else {
            return Ok(());
        };
        let Some(patch) = decide(&object)? else {
            return Ok(());
        };
        let params = PatchParams {
            field_manager: Some("squall".into()),
            ..PatchParams::default()
        };
        let patched = async {
            match api
                .patch(&place.name, &params, &Patch::Strategic(&patch))
                .await
            {
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
                other => other.map(|_| true),
            }
        };
        if cluster.call(doing, patched).await? {
            return Ok(());
        }
    }
    Err(PlatformError::Failed(format!(
        "could not {doing}: another writer changed it each of {TRIES} times"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(annotations: Value) -> DynamicObject {
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "n1", "resourceVersion": "7", "annotations": annotations}}))
        .expect("a node")
    }

    #[test]
    fn a_change_carries_its_undo_and_the_undo_takes_itself_away() {
        let change = InPlace {
            apply: json!({"spec": {"unschedulable": true}}),
            restore: json!({"spec": {"unschedulable": null}}),
        };
        let patch = changing(&node(json!({})), change);
        assert_eq!(patch["spec"]["unschedulable"], true);
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        let changed = node(patch["metadata"]["annotations"].clone());
        let back = restoring(&changed).unwrap().expect("something to put back");
        assert_eq!(
            back,
            json!({"spec": {"unschedulable": null}, "metadata": {"resourceVersion": "7", "annotations": {UNDO: null}}})
        );
    }

    #[test]
    fn what_is_back_already_is_left_alone() {
        assert_eq!(restoring(&node(json!({}))), Ok(None));
        assert_eq!(restoring(&node(json!({"other": "x"}))), Ok(None));
        assert!(restoring(&node(json!({UNDO: "[1]"}))).is_err());
        assert!(restoring(&node(json!({UNDO: "{"}))).is_err());
    }
}
