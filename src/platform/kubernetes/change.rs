//! Changing an object in place so that anybody can put it back: the patch that restores it is written into an
//! annotation of the object by the same call that changes it.

use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use serde::{Deserialize, Serialize};
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

/// What the annotation holds.
#[derive(Serialize, Deserialize)]
struct Note {
    /// What was set: where it stands no longer, somebody else has decided meanwhile.
    set: Value,
    /// What puts it back.
    back: Value,
}

/// The patch that changes the object and says how to put it back; it applies to this version of the object only.
fn changing(object: &DynamicObject, change: InPlace) -> Value {
    let note = Note {
        set: change.apply.clone(),
        back: change.restore,
    };
    let mut patch = change.apply;
    let version = object.metadata.resource_version.clone();
    // A patch is always an object: it was made here, from `json!({..})`.
    patch["metadata"]["resourceVersion"] = json!(version);
    patch["metadata"]["annotations"][UNDO] = json!(json!(note).to_string());
    patch
}

/// Whether the object is as a patch has made it; what the patch does not name may be anything.
fn is_as(object: &Value, patch: &Value) -> bool {
    match patch {
        Value::Object(fields) => fields
            .iter()
            .all(|(name, value)| is_as(&object[name.as_str()], value)),
        // In the lists that are patched each entry has a name.
        Value::Array(entries) => entries.iter().all(|entry| {
            let mut all = object.as_array().into_iter().flatten();
            let found = all.find(|other| other["name"] == entry["name"]);
            found.is_some_and(|found| is_as(found, entry))
        }),
        value => object == value,
    }
}

/// The patch that puts the object back, and whether it does: what somebody else has changed since is theirs, and only the
/// annotation goes. `None` where nothing is to be put back.
fn restoring(object: &DynamicObject) -> Result<Option<(Value, bool)>, String> {
    let annotation = object
        .metadata
        .annotations
        .as_ref()
        .and_then(|a| a.get(UNDO));
    let Some(text) = annotation else {
        return Ok(None);
    };
    let note: Note = serde_json::from_str(text)
        .ok()
        .filter(|n: &Note| n.set.is_object() && n.back.is_object())
        .ok_or_else(|| format!("its annotation {UNDO} is not what squall wrote: {text}"))?;
    let now = serde_json::to_value(object).map_err(|e| e.to_string())?;
    let is_ours = is_as(&now, &note.set);
    let mut patch = if is_ours { note.back } else { json!({}) };
    patch["metadata"]["resourceVersion"] = json!(object.metadata.resource_version);
    patch["metadata"]["annotations"][UNDO] = Value::Null;
    Ok(Some((patch, is_ours)))
}

/// What a patch of an object was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A fault was made.
    Made,
    /// The object was put back.
    Back,
    /// Somebody else has decided meanwhile: the annotation is gone, and no more.
    Theirs,
    /// Nothing was changed, and what was on its way to the object's version of before is refused from now on.
    Outdated,
}

/// The patch that makes a new version of the object and leaves it as it is, but for a note that goes again.
fn outdating(object: &DynamicObject) -> Value {
    let nothing = InPlace {
        apply: json!({}),
        restore: json!({}),
    };
    changing(object, nothing)
}

/// Changes an object. `plan` looks at it and says how, or why not.
pub async fn make(
    cluster: &Cluster,
    place: &Place,
    plan: impl Fn(&DynamicObject) -> Result<InPlace, String>,
) -> Result<(), PlatformError> {
    let doing = format!("change {place}");
    let made = rewrite(cluster, place, &doing, |object| {
        if object
            .metadata
            .annotations
            .as_ref()
            .is_some_and(|a| a.contains_key(UNDO))
        {
            return Err(PlatformError::Refused(format!(
                "{place} is changed already by a fault that is not undone (annotation {UNDO}): nothing was done"
            )));
        }
        let change = plan(object).map_err(PlatformError::Failed)?;
        Ok(Some((changing(object, change), Step::Made)))
    });
    let gone = || PlatformError::Failed(format!("{place} is gone: nothing was done"));
    made.await?.map(drop).ok_or_else(gone)
}

/// Puts an object back; one that is back already, or gone, is a success. What there is to say where it was left as it is.
///
/// Where nothing is to be put back, the change may still be on its way: its answer was lost, or was not waited for. It is
/// for the version that the object had then, so the object gets a new one, and what comes later is refused.
pub async fn restore(cluster: &Cluster, place: &Place) -> Result<Option<String>, PlatformError> {
    let doing = format!("put {place} back");
    let mut outdated = false;
    loop {
        let step = rewrite(cluster, place, &doing, |object| {
            let back = restoring(object).map_err(PlatformError::Failed)?;
            let back = back.map(|(patch, is_ours)| match is_ours {
                true => (patch, Step::Back),
                false => (patch, Step::Theirs),
            });
            let outdate = || (!outdated).then(|| (outdating(object), Step::Outdated));
            Ok(back.or_else(outdate))
        });
        match step.await? {
            Some(Step::Outdated) => outdated = true,
            Some(Step::Theirs) => {
                return Ok(Some(format!(
                    "{place} was changed by somebody else while a fault was in force: it is left as it is now"
                )));
            }
            _ => return Ok(None),
        }
    }
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

/// Reads, decides, patches that very version; again where another writer came between. `None` where the object is gone, or
/// nothing was to be patched.
async fn rewrite(
    cluster: &Cluster,
    place: &Place,
    doing: &str,
    decide: impl Fn(&DynamicObject) -> Result<Option<(Value, Step)>, PlatformError>,
) -> Result<Option<Step>, PlatformError> {
    let api = place.api(cluster)?;
    for _ in 0..TRIES {
        let Some(object) = cluster.call(doing, api.get_opt(&place.name)).await? else {
            return Ok(None);
        };
        let Some((patch, step)) = decide(&object)? else {
            return Ok(None);
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
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
                // Who may not write to it has nothing on its way either.
                Err(kube::Error::Api(status)) if status.code == 403 && step == Step::Outdated => {
                    Ok(true)
                }
                other => other.map(|_| true),
            }
        };
        if cluster.call(doing, patched).await? {
            return Ok(Some(step));
        }
    }
    Err(PlatformError::Failed(format!(
        "could not {doing}: another writer changed it each of {TRIES} times"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(spec: Value, annotations: Value) -> DynamicObject {
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "Node", "spec": spec,
            "metadata": {"name": "n1", "resourceVersion": "7", "annotations": annotations}}))
        .expect("a node")
    }

    fn annotation(set: Value, back: Value) -> Value {
        let change = InPlace {
            apply: set,
            restore: back,
        };
        changing(&node(json!({}), json!({})), change)["metadata"]["annotations"].clone()
    }

    #[test]
    fn a_change_carries_its_undo_and_the_undo_takes_itself_away() {
        let change = InPlace {
            apply: json!({"spec": {"unschedulable": true}}),
            restore: json!({"spec": {"unschedulable": null}}),
        };
        let patch = changing(&node(json!({}), json!({})), change);
        assert_eq!(patch["spec"]["unschedulable"], true);
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        let changed = node(
            patch["spec"].clone(),
            patch["metadata"]["annotations"].clone(),
        );
        let back = restoring(&changed).unwrap().expect("something to put back");
        let patch = json!({"spec": {"unschedulable": null},
            "metadata": {"resourceVersion": "7", "annotations": {UNDO: null}}});
        assert_eq!(back, (patch, true));
    }

    #[test]
    fn what_somebody_else_has_changed_since_is_left_as_it_is() {
        let note = annotation(
            json!({"spec": {"replicas": 1}}),
            json!({"spec": {"replicas": 4}}),
        );
        for (replicas, is_ours) in [(1, true), (8, false), (4, false)] {
            let object = node(json!({"replicas": replicas, "paused": true}), note.clone());
            let (patch, ours) = restoring(&object).unwrap().unwrap();
            assert_eq!(ours, is_ours, "{replicas}");
            assert_eq!(patch["metadata"]["annotations"][UNDO], Value::Null);
            assert_eq!(patch.get("spec").is_some(), is_ours, "{replicas}");
        }
        let pod = |containers: Value| json!({"template": {"spec": {"containers": containers}}});
        let image = |name: &str| json!({"spec": pod(json!([{"name": "web", "image": name}]))});
        let note = annotation(image("a:none"), image("a:1"));
        let log = json!({"name": "log", "image": "b"});
        for (name, is_ours) in [("a:none", true), ("a:2", false)] {
            let web = json!({"name": "web", "image": name, "ports": []});
            let object = node(pod(json!([log, web])), note.clone());
            assert_eq!(
                restoring(&object).unwrap().unwrap().1,
                is_ours,
                "image {name}"
            );
        }
        let object = node(pod(json!([log])), note);
        assert!(!restoring(&object).unwrap().unwrap().1, "it has gone");
    }

    #[test]
    fn what_is_back_already_is_left_alone() {
        let with = |annotations: Value| restoring(&node(json!({}), annotations));
        assert_eq!(with(json!({})), Ok(None));
        assert_eq!(with(json!({"other": "x"})), Ok(None));
        assert!(with(json!({UNDO: "[1]"})).is_err());
        assert!(with(json!({UNDO: "{"})).is_err());
    }
}
