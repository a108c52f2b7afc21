//! The containers of a pod: its own, and the init containers, some of which are sidecars.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec};

use crate::record::Incident;

/// The containers that run as long as the pod does: its own, and then its sidecars, which are init containers that the
/// cluster keeps running.
pub(crate) fn lasting(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|c| c.restart_policy.as_deref() == Some("Always"));
    spec.containers.iter().chain(sidecars)
}

pub(super) fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.iter();
    status.flat_map(|s| &s.container_statuses).flatten()
}

/// Those of its init containers, sidecars among them.
pub(super) fn init_statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.iter();
    status.flat_map(|s| &s.init_container_statuses).flatten()
}

/// The status of a container that lasts, by its name.
pub(super) fn status_of<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let mut all = statuses(pod).chain(init_statuses(pod));
    all.find(|s| s.name == container)
}

/// The containers; a mesh may have put its proxy first, and then says which is meant as it does for kubectl.
pub(super) fn names(pod: &Pod) -> Vec<String> {
    let containers = pod.spec.iter().flat_map(lasting);
    let mut names: Vec<String> = containers.map(|c| c.name.clone()).collect();
    let annotations = pod.metadata.annotations.as_ref();
    let meant = annotations.and_then(|a| a.get("kubectl.kubernetes.io/default-container"));
    names.sort_by_key(|name| Some(name) != meant);
    names
}

/// What the runtime calls the pod's containers (`containerd://ID`), with their names.
pub(super) fn ids(pod: &Pod) -> Vec<(String, String)> {
    let all = statuses(pod).chain(init_statuses(pod));
    let ids = all.filter_map(|status| {
        let (_, id) = status.container_id.as_ref()?.split_once("://")?;
        Some((id.to_string(), status.name.clone()))
    });
    ids.collect()
}

/// What befell the pod's containers: a key that tells one time from the next, what, and how.
pub(super) fn incidents(pod: &Pod) -> impl Iterator<Item = (String, Incident, String)> {
    let spec = pod.spec.as_ref();
    let lasts = move |name: &str| spec.is_some_and(|s| lasting(s).any(|c| c.name == name));
    let all = statuses(pod).chain(init_statuses(pod));
    all.flat_map(move |status| incidents_of(status, lasts(&status.name)))
}

/// What befell a container; one that is to end (`!lasts`) may do so with 0.
fn incidents_of(c: &ContainerStatus, lasts: bool) -> Vec<(String, Incident, String)> {
    let mut found = Vec::new();
    let ends = [&c.state, &c.last_state].into_iter().flatten();
    let ends = ends.filter_map(|s| s.terminated.as_ref());
    for end in ends.filter(|end| lasts || end.exit_code != 0) {
        let id = end
            .container_id
            .clone()
            .unwrap_or_else(|| format!("{} {}", c.name, c.restart_count));
        let (incident, how) = match (end.reason.as_deref(), end.signal, end.exit_code) {
            (Some("OOMKilled"), _, _) => (Incident::OomKilled, "killed for its memory".to_string()),
            (_, Some(signal), _) if signal != 0 => {
                (Incident::Restarted, format!("ended by signal {signal}"))
            }
            (_, _, code) if code > 128 => (
                Incident::Restarted,
                format!("ended by signal {}", code - 128),
            ),
            (_, _, code) => (Incident::Restarted, format!("exited with code {code}")),
        };
        found.push((id, incident, format!("container {}: {how}", c.name)));
    }
    let waiting = c.state.as_ref().and_then(|s| s.waiting.as_ref());
    let message = waiting.and_then(|w| w.message.clone()).unwrap_or_default();
    let detail = format!("container {}: {message}", c.name);
    match waiting.and_then(|w| w.reason.as_deref()) {
        Some("CrashLoopBackOff") => {
            let key = format!("{} crash loop {}", c.name, c.restart_count);
            found.push((key, Incident::CrashLoop, detail));
        }
        Some("ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull") => {
            found.push((format!("{} image", c.name), Incident::ImagePull, detail));
        }
        _ => {}
    }
    found
}
