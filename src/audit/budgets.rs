//! Disruption budgets that forbid every drain, or protect nothing. Shares are rounded up, as the disruption controller
//! does with both of its bounds.

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Finding, Harm, Objects, Workload, selects};

/// How many pods a budget keeps, of so many, with the arithmetic.
struct Kept {
    healthy: u64,
    words: String,
}

pub(super) fn check(objects: &Objects, on_path: &[&Workload], findings: &mut Vec<Finding>) {
    let Some(all) = &objects.budgets else {
        return;
    };
    for budget in all {
        let selected: Vec<&Workload> = (objects.workloads.iter())
            .filter(|w| covers(objects, budget, w))
            .collect();
        if selected.is_empty() {
            let any = objects.pods.iter().any(|p| {
                is_selected(
                    objects,
                    budget,
                    &p.metadata.labels.clone().unwrap_or_default(),
                )
            });
            if !any {
                findings.push(selects_nothing(budget));
            }
            continue;
        }
        // One of something that no request passes is somebody else's.
        if selected
            .iter()
            .any(|w| on_path.iter().any(|p| std::ptr::eq(*p, *w)))
        {
            findings.extend(judged(budget, &selected));
        }
    }
    for workload in on_path {
        let budgets = all.iter().filter(|b| covers(objects, b, workload));
        let names: Vec<String> = budgets.map(name_of).collect();
        match names.len() {
            0 if workload.replicas > 1 && workload.kind != "DaemonSet" => {
                findings.push(without(workload));
            }
            0 | 1 => {}
            _ => findings.push(several(workload, &names)),
        }
    }
}

fn name_of(budget: &PodDisruptionBudget) -> String {
    budget.metadata.name.clone().unwrap_or_default()
}

fn object(budget: &PodDisruptionBudget) -> String {
    format!("PodDisruptionBudget/{}", name_of(budget))
}

fn covers(objects: &Objects, budget: &PodDisruptionBudget, workload: &Workload) -> bool {
    is_selected(objects, budget, &workload.labels())
}

fn is_selected(
    objects: &Objects,
    budget: &PodDisruptionBudget,
    labels: &std::collections::BTreeMap<String, String>,
) -> bool {
    let selector = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
    let Some(selector) = selector else {
        return false;
    };
    let is_empty = selector.match_labels.as_ref().is_none_or(|l| l.is_empty())
        && selector
            .match_expressions
            .as_ref()
            .is_none_or(|e| e.is_empty());
    match is_empty {
        true => objects.empty_selects_all,
        false => selects(selector, labels),
    }
}

fn share(amount: &IntOrString, of: u64) -> Option<(u64, String)> {
    match amount {
        IntOrString::Int(n) => Some((u64::try_from(*n).ok()?, n.to_string())),
        IntOrString::String(text) => {
            let percent: u64 = text.strip_suffix('%')?.parse().ok()?;
            let n = of.saturating_mul(percent).div_ceil(100);
            Some((n, format!("{text} of {of} = {n}")))
        }
    }
}

/// How many of so many pods the budget wants healthy.
fn kept(budget: &PodDisruptionBudget, of: u64) -> Option<Kept> {
    let spec = budget.spec.as_ref()?;
    if let Some(least) = &spec.min_available {
        let (healthy, words) = share(least, of)?;
        let words = format!("minAvailable {words}");
        return Some(Kept { healthy, words });
    }
    let (missing, words) = share(spec.max_unavailable.as_ref()?, of)?;
    Some(Kept {
        healthy: of.saturating_sub(missing),
        words: format!("maxUnavailable {words}"),
    })
}

fn judged(budget: &PodDisruptionBudget, selected: &[&Workload]) -> Option<Finding> {
    let replicas: u64 = selected.iter().map(|w| w.replicas).sum();
    let whose: Vec<String> = selected.iter().map(|w| w.object()).collect();
    let whose = whose.join(", ");
    let kept = kept(budget, replicas)?;
    if replicas == 0 {
        return None;
    }
    if kept.healthy >= replicas {
        return Some(Finding {
            rule: "budget-forbids-drains",
            harm: Harm::Breaks,
            object: object(budget),
            what: format!(
                "{} lets none of the {replicas} pods of {whose} be evicted",
                kept.words
            ),
            why: "No node with one of them can be drained: upgrades hang until somebody takes the pods by force.",
            change: match replicas {
                1 => "give the workload a second replica, and the budget maxUnavailable: 1".into(),
                _ => "set maxUnavailable: 1".into(),
            },
        });
    }
    // Of one pod a budget that lets it go is as it should be.
    (kept.healthy == 0 && replicas > 1).then(|| Finding {
        rule: "budget-protects-nothing",
        harm: Harm::Weakens,
        object: object(budget),
        what: format!(
            "{} lets all {replicas} pods of {whose} be evicted at once",
            kept.words
        ),
        why: "Two nodes that are drained at the same time can take all pods.",
        change: "set maxUnavailable: 1".into(),
    })
}

fn selects_nothing(budget: &PodDisruptionBudget) -> Finding {
    Finding {
        rule: "budget-selects-nothing",
        harm: Harm::Weakens,
        object: object(budget),
        what: "its selector matches no workload and no pod".into(),
        why: "Whoever wrote it believes that something is protected, and nothing is.",
        change: "make its selector that of the workload that it is for, or delete it".into(),
    }
}

fn without(workload: &Workload) -> Finding {
    Finding {
        rule: "no-budget",
        harm: Harm::Weakens,
        object: workload.object(),
        what: format!("no disruption budget covers its {} pods", workload.replicas),
        why: "Two nodes that are drained at the same time can take all pods.",
        change: "add a PodDisruptionBudget with maxUnavailable: 1".into(),
    }
}

fn several(workload: &Workload, names: &[String]) -> Finding {
    Finding {
        rule: "several-budgets",
        harm: Harm::Breaks,
        object: workload.object(),
        what: format!(
            "{} disruption budgets cover its pods: {}",
            names.len(),
            names.join(", ")
        ),
        why: "A pod with more than one budget cannot be evicted at all: no node with one of them can be drained.",
        change: "leave one of them".into(),
    }
}
