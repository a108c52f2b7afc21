//! What requests pass through: the workloads behind a Service, and behind those Services that their pods name.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Service;

use super::{Nothing, Objects, Workload};
use crate::platform::kubernetes::lasting;

/// The workloads on the path from this Service on, or behind any Service.
pub(super) fn on_path<'o>(
    objects: &'o Objects,
    service: Option<&str>,
) -> Result<Vec<&'o Workload>, Nothing> {
    let namespace = &objects.namespace;
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&Service> = match service {
        None => objects.services.iter().collect(),
        Some(name) => {
            let named = objects.services.iter().find(|s| name_of(s) == name);
            let missing = || {
                Nothing(format!(
                    "there is no Service {name} in namespace {namespace}"
                ))
            };
            vec![named.ok_or_else(missing)?]
        }
    };
    let mut found: Vec<&Workload> = Vec::new();
    while let Some(service) = open.pop() {
        if !seen.insert(name_of(service)) {
            continue;
        }
        for workload in objects.workloads.iter().filter(|w| leads_to(service, w)) {
            if !found.iter().any(|f| std::ptr::eq(*f, workload)) {
                found.push(workload);
            }
            open.extend(
                objects
                    .services
                    .iter()
                    .filter(|s| names(workload, name_of(s))),
            );
        }
    }
    if found.is_empty() {
        return Err(Nothing(match service {
            Some(name) => format!(
                "no Deployment, StatefulSet or DaemonSet stands behind Service {name} in namespace {namespace}"
            ),
            None => format!(
                "no Deployment, StatefulSet or DaemonSet stands behind a Service in namespace {namespace}"
            ),
        }));
    }
    found.sort_by_key(|w| (&w.kind, &w.name));
    Ok(found)
}

fn name_of(service: &Service) -> &str {
    service.metadata.name.as_deref().unwrap_or_default()
}

fn leads_to(service: &Service, workload: &Workload) -> bool {
    let selector = service.spec.as_ref().and_then(|s| s.selector.as_ref());
    let labels = workload.labels();
    // A Service without a selector is led by somebody else.
    selector.is_some_and(|s| !s.is_empty() && s.iter().all(|(k, v)| labels.get(k) == Some(v)))
}

/// Whether the pods are told of a Service, in a command, an argument or a variable: by its host name, or by the variables
/// that the kubelet sets for it. What they read elsewhere is not seen.
fn names(workload: &Workload, service: &str) -> bool {
    let variable = format!("{}_SERVICE_", service.to_uppercase().replace('-', "_"));
    let spec = workload.template.spec.as_ref();
    let containers = spec.into_iter().flat_map(lasting);
    let mut texts = containers.flat_map(|c| {
        let values = c.env.iter().flatten().filter_map(|e| e.value.as_ref());
        let words = c.command.iter().chain(&c.args).flatten();
        words.chain(values)
    });
    texts.any(|text| text.contains(&variable) || hosts(text, service))
}

/// Whether a text has the name as a host: alone, after `//` or `@`, and before a port, a path, a domain or the end.
fn hosts(text: &str, service: &str) -> bool {
    text.match_indices(service).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + service.len()..].chars().next();
        matches!(before, None | Some('/' | '@' | ',' | '=' | ' '))
            && matches!(after, None | Some(':' | '/' | '.' | ',' | ' '))
            // `/cart` is a path, `http://cart` a host; a bare word is only a host where all of the text is.
            && (before.is_none() && (after.is_none() || after == Some(':') || after == Some('.'))
                || text[..at].ends_with("//")
                || matches!(before, Some('@' | ',' | '=')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_by_its_host_and_not_by_a_word_like_it() {
        for text in [
            "http://cart",
            "cart",
            "cart:80",
            "http://cart:80/x",
            "cart.shop.svc",
            "--upstream=cart:80",
            "redis://u:p@cart/0",
        ] {
            assert!(hosts(text, "cart"), "{text}");
        }
        for text in [
            "/cart",
            "http://x/cart",
            "carts",
            "http://cart-2",
            "http://mycart",
            "a cart of things",
        ] {
            assert!(!hosts(text, "cart"), "{text}");
        }
    }
}
