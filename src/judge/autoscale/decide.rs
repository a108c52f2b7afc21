//! One sync: from the metrics' proposals through stabilization, rate limit and the spec's limits to the decision, as
//! `horizontal.go` of Kubernetes 1.36 does it.

use super::replicas::{Tolerances, ceil, propose};
use super::types::*;
use crate::record::Micros;

/// Decides one sync. The memory is as the syncs before left it; see [`Memory::note`].
pub fn decide(controller: &Controller, spec: &Spec, inputs: &Inputs, memory: &Memory) -> Decision {
    let current = inputs.current;
    let mut conditions = Conditions::default();
    conditions.set("AbleToScale", true, "SucceededGetScale");
    let mut decision = Decision {
        path: Path::Metrics,
        current,
        proposals: Vec::new(),
        raw: None,
        stabilized: None,
        rate_limit: None,
        rate_limited: None,
        desired: current,
        rescale: false,
        conditions: Vec::new(),
    };
    if current == 0 && spec.min != 0 {
        decision.path = Path::Disabled;
        conditions.set("ScalingActive", false, "ScalingDisabled");
    } else if current > spec.max {
        decision.path = Path::AboveMax;
        decision.desired = spec.max;
    } else if current < spec.min {
        decision.path = Path::BelowMin;
        decision.desired = spec.min;
    } else {
        by_metrics(
            &mut decision,
            &mut conditions,
            controller,
            spec,
            inputs,
            memory,
        );
    }
    decision.rescale = decision.desired != current;
    if decision.rescale {
        conditions.set("AbleToScale", true, "SucceededRescale");
    }
    decision.conditions = conditions.0;
    decision
}

impl Memory {
    /// What the controller remembers from its first sync on: the count it found, as if it had recommended that.
    pub fn first(now: Micros, current: i32) -> Self {
        Self {
            recommendations: vec![(now, current)],
            ..Self::default()
        }
    }
    /// Takes a decision in. What no window reaches back to any more does no harm and stays.
    pub fn note(&mut self, now: Micros, spec: &Spec, decision: &Decision) {
        if let Some(raw) = decision.raw {
            self.recommendations.push((now, raw));
        }
        if spec.behavior.is_none() || !decision.rescale {
            return;
        }
        let change = decision.desired - decision.current;
        if change > 0 {
            self.ups.push((now, change));
        } else {
            self.downs.push((now, -change));
        }
    }
}

#[derive(Default)]
struct Conditions(Vec<Condition>);

impl Conditions {
    fn set(&mut self, kind: &str, status: bool, reason: &str) {
        let new = Condition {
            kind: kind.into(),
            status,
            reason: reason.into(),
        };
        match self.0.iter_mut().find(|c| c.kind == kind) {
            Some(old) => *old = new,
            None => self.0.push(new),
        }
    }
}

fn by_metrics(
    decision: &mut Decision,
    conditions: &mut Conditions,
    controller: &Controller,
    spec: &Spec,
    inputs: &Inputs,
    memory: &Memory,
) {
    let tolerances = Tolerances::of(spec, controller);
    decision.proposals = inputs
        .metrics
        .iter()
        .map(|m| propose(m, inputs, tolerances, controller))
        .collect();
    let valid = decision.proposals.iter().flatten();
    let most = valid.map(|p| p.replicas).max();
    let invalid = decision.proposals.iter().find_map(|p| p.as_ref().err());
    let raw = match (most, invalid) {
        // A metric that cannot be read might have asked for more: it forbids going down and nothing else.
        (Some(most), Some(invalid)) if most < inputs.current => Err(invalid),
        (Some(most), _) => Ok(most),
        (None, Some(invalid)) => Err(invalid),
        // The API server does not let a spec without metrics through.
        (None, None) => Ok(inputs.current),
    };
    let raw = match raw {
        Ok(raw) => raw.max(0),
        Err(invalid) => {
            decision.path = Path::Failed;
            let reason = invalid.reason;
            conditions.set("ScalingActive", false, reason);
            return;
        }
    };
    conditions.set("ScalingActive", true, "ValidMetricFound");
    decision.raw = Some(raw);
    let current = inputs.current;
    let (stabilized, reason) = match &spec.behavior {
        None => {
            let window = micros(controller.downscale_stabilization);
            // Exactly as old as the window still counts here.
            let recent = memory.recommendations.iter();
            let recent = recent.filter(|(at, _)| at + window >= inputs.now);
            let most = recent.map(|(_, r)| *r).fold(raw, i32::max);
            (most, "ScaleDownStabilized")
        }
        Some(behavior) => {
            let stabilized = stabilize(
                controller,
                behavior,
                inputs.now,
                current,
                raw,
                &memory.recommendations,
            );
            let reason = if raw >= current {
                "ScaleUpStabilized"
            } else {
                "ScaleDownStabilized"
            };
            (stabilized, reason)
        }
    };
    decision.stabilized = Some(stabilized);
    let reason = if stabilized == raw {
        "ReadyForNewScale"
    } else {
        reason
    };
    conditions.set("AbleToScale", true, reason);
    let limit = match &spec.behavior {
        None => legacy_limit(current, stabilized),
        Some(behavior) => behavior_limit(behavior, inputs.now, current, stabilized, memory),
    };
    decision.rate_limit = limit;
    let (rate_limited, desired, reason) = clamp(spec, current, stabilized, limit);
    decision.rate_limited = Some(rate_limited);
    decision.desired = desired;
    conditions.set("ScalingLimited", desired != stabilized, reason);
}

fn micros(duration: std::time::Duration) -> Micros {
    duration.as_micros() as Micros
}

/// The windows of a behavior: up, down.
pub fn windows(controller: &Controller, behavior: &Behavior) -> (Micros, Micros) {
    (
        micros(behavior.up.window.unwrap_or_default()),
        micros(
            behavior
                .down
                .window
                .unwrap_or(controller.downscale_stabilization),
        ),
    )
}

/// Keeps to the current count unless all recommendations of the up window are above it, or all of the down window
/// below it.
fn stabilize(
    controller: &Controller,
    behavior: &Behavior,
    now: Micros,
    current: i32,
    raw: i32,
    recommendations: &[(Micros, i32)],
) -> i32 {
    let (up_window, down_window) = windows(controller, behavior);
    // Exactly as old as the window no longer counts.
    let within = |window: Micros| {
        let recent = recommendations
            .iter()
            .filter(move |(at, _)| at + window > now);
        recent.map(|(_, r)| *r)
    };
    let least = within(up_window).fold(raw, i32::min);
    let most = within(down_window).fold(raw, i32::max);
    current.max(least).min(most)
}

/// Without behavior: at most double, or four, going up; no limit going down.
fn legacy_limit(current: i32, wanted: i32) -> Option<i32> {
    let limit = (2.0 * f64::from(current)).max(4.0) as i32;
    (wanted > current).then_some(limit)
}

fn behavior_limit(
    behavior: &Behavior,
    now: Micros,
    current: i32,
    wanted: i32,
    memory: &Memory,
) -> Option<i32> {
    if wanted > current {
        Some(up_limit(&behavior.up, now, current, memory).max(current))
    } else if wanted < current {
        Some(down_limit(&behavior.down, now, current, memory).min(current))
    } else {
        None
    }
}

/// The replicas that a period began with, from the changes since.
fn period_start(period: std::time::Duration, now: Micros, current: i32, memory: &Memory) -> i32 {
    let since = |events: &[(Micros, i32)]| {
        let recent = events.iter().filter(|(at, _)| at + micros(period) > now);
        recent.map(|(_, n)| n).sum::<i32>()
    };
    current - since(&memory.ups) + since(&memory.downs)
}

/// The largest count that the policies of going up allow.
pub fn up_limit(rules: &Rules, now: Micros, current: i32, memory: &Memory) -> i32 {
    let limits = rules.policies.iter().map(|policy| {
        let start = period_start(policy.period, now, current, memory);
        match policy.kind {
            PolicyKind::Pods => start.saturating_add(policy.value),
            PolicyKind::Percent => {
                // Rounded up, or a small percentage of few replicas would never allow one more.
                ceil(f64::from(start) * (1.0 + f64::from(policy.value) / 100.0))
            }
        }
    });
    match rules.select {
        Select::Disabled => current,
        Select::Max => limits.max().unwrap_or(i32::MIN),
        Select::Min => limits.min().unwrap_or(i32::MAX),
    }
}

/// The smallest count that the policies of going down allow.
pub fn down_limit(rules: &Rules, now: Micros, current: i32, memory: &Memory) -> i32 {
    let limits = rules.policies.iter().map(|policy| {
        let start = period_start(policy.period, now, current, memory);
        match policy.kind {
            PolicyKind::Pods => start.saturating_sub(policy.value),
            PolicyKind::Percent => {
                (f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)) as i32
            }
        }
    });
    match rules.select {
        Select::Disabled => current,
        Select::Max => limits.min().unwrap_or(i32::MAX),
        Select::Min => limits.max().unwrap_or(i32::MIN),
    }
}

/// After the rate limit, after the spec's limits, and the reason of ScalingLimited.
fn clamp(spec: &Spec, current: i32, wanted: i32, limit: Option<i32>) -> (i32, i32, &'static str) {
    const FINE: &str = "DesiredWithinRange";
    let legacy = spec.behavior.is_none();
    if wanted > current {
        let limit = limit.unwrap_or(i32::MAX);
        let (most, reason) = if spec.max > limit {
            (limit, "ScaleUpLimit")
        } else {
            (spec.max, "TooManyReplicas")
        };
        let rated = wanted.min(limit);
        if wanted > most {
            (rated, most, reason)
        } else {
            (rated, wanted, FINE)
        }
    } else if wanted < current {
        let limit = limit.unwrap_or(i32::MIN);
        let (least, reason) = if spec.min < limit {
            (limit, "ScaleDownLimit")
        } else {
            (spec.min, "TooFewReplicas")
        };
        let rated = wanted.max(limit);
        if wanted < least {
            (rated, least, reason)
        } else {
            (rated, wanted, FINE)
        }
    } else {
        // Here current lies within the limits: the other paths saw to that.
        debug_assert!(!legacy || (spec.min..=spec.max).contains(&wanted));
        (wanted, wanted, FINE)
    }
}
