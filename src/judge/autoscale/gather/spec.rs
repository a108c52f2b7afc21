//! An autoscaler's spec as the judge reads it.

use std::time::Duration;

use serde_json::Value;

use crate::judge::autoscale::types::{Behavior, Policy, PolicyKind, Rules, Select, Spec};
use crate::record::quantity::thousandths;

/// Reads `spec`.
pub fn of(spec: &Value) -> Spec {
    let number = |key: &str| spec[key].as_i64().map(|n| n as i32);
    let behavior = &spec["behavior"];
    Spec {
        min: number("minReplicas").unwrap_or(1),
        max: number("maxReplicas").unwrap_or(1),
        behavior: behavior.is_object().then(|| Behavior {
            up: rules(&behavior["scaleUp"], Rules::default_up()),
            down: rules(&behavior["scaleDown"], Rules::default_down()),
        }),
    }
}

fn rules(given: &Value, usual: Rules) -> Rules {
    let window = given["stabilizationWindowSeconds"].as_u64();
    let policies = given["policies"].as_array().into_iter().flatten();
    let policies: Vec<Policy> = policies.filter_map(policy).collect();
    let tolerance = given["tolerance"].as_str().and_then(thousandths);
    Rules {
        window: window.map(Duration::from_secs).or(usual.window),
        select: match given["selectPolicy"].as_str() {
            Some("Disabled") => Select::Disabled,
            Some("Min") => Select::Min,
            _ => Select::Max,
        },
        policies: if policies.is_empty() {
            usual.policies
        } else {
            policies
        },
        tolerance: tolerance.map(|t| t as f64 / 1e3),
    }
}

fn policy(given: &Value) -> Option<Policy> {
    let kind = match given["type"].as_str()? {
        "Pods" => PolicyKind::Pods,
        "Percent" => PolicyKind::Percent,
        _ => return None,
    };
    let period = Duration::from_secs(given["periodSeconds"].as_u64()?);
    Some(Policy::new(kind, given["value"].as_i64()? as i32, period))
}
