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
/// The label that says that the annotation counts: what of the object it is for. An annotation alone may be an old one: those
/// of a Deployment are copied to its ReplicaSets, and `kubectl rollout undo` puts them back from there.
const CHANGED: &str = "squall.dev/changed";
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
    /// The version of the object that was changed, as the label has it too.
    of: String,
    /// What was set: where it stands no longer, somebody else has decided meanwhile.
    set: Value,
    /// What puts it back.
    back: Value,
}

/// The patch that changes the object and says how to put it back; it applies to this version of the object only.
fn changing(object: &DynamicObject, change: InPlace) -> Value {
    let version = object.metadata.resource_version.clone().unwrap_or_default();
    let note = Note {
        of: version.clone(),
        set: change.apply.clone(),
        back: change.restore,
    };
    let mut patch = change.apply;
    // A patch is always an object: it was made here, from `json!({..})`.
    patch["metadata"]["annotations"][UNDO] = json!(json!(note).to_string());
    patch["metadata"]["labels"][CHANGED] = json!(version);
    patch["metadata"]["resourceVersion"] = json!(version);
    patch
}

/// Whether a fault is in force on the object.
fn is_changed(object: &DynamicObject) -> bool {
    let labels = object.metadata.labels.as_ref();
    labels.is_some_and(|l| l.contains_key(CHANGED))
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
    if !is_changed(object) {
        return Ok(None);
    }
    let now = serde_json::to_value(object).map_err(|e| e.to_string())?;
    let mut back = None;
    if let Some(text) = now["metadata"]["annotations"][UNDO].as_str() {
        let note: Note = serde_json::from_str(text)
            .ok()
            .filter(|n: &Note| n.set.is_object() && n.back.is_object())
            .ok_or_else(|| format!("its annotation {UNDO} is not what squall wrote: {text}"))?;
        let is_of_this = now["metadata"]["labels"][CHANGED] == note.of;
        back = (is_of_this && is_as(&now, &note.set)).then_some(note.back);
    }
    let is_ours = back.is_some();
    let mut patch = back.unwrap_or_else(|| json!({}));
    patch["metadata"]["annotations"][UNDO] = Value::Null;
    patch["metadata"]["labels"][CHANGED] = Value::Null;
    patch["metadata"]["resourceVersion"] = json!(object.metadata.resource_version);
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
        if is_changed(object) {
            return Err(PlatformError::Refused(format!(
                "{place} is changed already by a fault that is not undone (label {CHANGED}, annotation {UNDO}): nothing \
                 was done"
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

    /// A node with the rest of its metadata.
    fn node(spec: Value, metadata: Value) -> DynamicObject {
        let mut node =
            json!({"apiVersion": "v1", "kind": "Node", "spec": spec, "metadata": metadata});
        node["metadata"]["name"] = json!("n1");
        node["metadata"]["resourceVersion"] = json!("7");
        serde_json::from_value(node).expect("a node")
    }

    /// Annotations and labels of an object that is changed.
    fn noted(set: Value, back: Value) -> Value {
        let change = InPlace {
            apply: set,
            restore: back,
        };
        changing(&node(json!({}), json!({})), change)["metadata"].clone()
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
        let changed = node(patch["spec"].clone(), patch["metadata"].clone());
        let back = restoring(&changed).unwrap().expect("something to put back");
        let patch = json!({"spec": {"unschedulable": null}, "metadata":
            {"resourceVersion": "7", "annotations": {UNDO: null}, "labels": {CHANGED: null}}});
        assert_eq!(back, (patch, true));
    }

    #[test]
    fn what_somebody_else_has_changed_since_is_left_as_it_is() {
        let note = noted(
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
        let note = noted(image("a:none"), image("a:1"));
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
    fn a_note_counts_with_its_label_and_for_the_change_that_it_was_written_for() {
        let one = json!({"replicas": 1});
        let mut note = noted(
            json!({"spec": {"replicas": 1}}),
            json!({"spec": {"replicas": 4}}),
        );
        let with = |metadata: &Value| restoring(&node(one.clone(), metadata.clone()));
        assert!(with(&note).unwrap().unwrap().1);
        // Taken away with the other annotations, or an older one in its place: what it was is not known any more.
        let label = note["labels"].clone();
        let (patch, is_ours) = with(&json!({"labels": label})).unwrap().unwrap();
        assert!(!is_ours && patch["metadata"]["labels"][CHANGED].is_null());
        note["labels"][CHANGED] = json!("9");
        assert!(!with(&note).unwrap().unwrap().1);
        // An old one that was put back: no fault is in force.
        note["labels"] = json!({});
        assert_eq!(with(&note), Ok(None));
        for spoilt in ["[1]", "{"] {
            assert!(with(&json!({"labels": label, "annotations": {UNDO: spoilt}})).is_err());
        }
        assert_eq!(with(&json!({"annotations": {"other": "x"}})), Ok(None));
    }
}
