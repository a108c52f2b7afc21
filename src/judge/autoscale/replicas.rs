//! From one metric's values to the number of replicas that it asks for, as `replica_calculator.go` of Kubernetes 1.36
//! does it. The arithmetic is on the same 64-bit floats, since a product such as 1.1 * 10 is not 11 there.

use std::collections::{BTreeMap, BTreeSet};

use super::types::*;

/// The tolerances in force.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerances {
    /// Below 1.
    pub down: f64,
    /// Above 1.
    pub up: f64,
}

impl Tolerances {
    /// Those of a spec.
    pub fn of(spec: &Spec, controller: &Controller) -> Self {
        let rules = spec.behavior.as_ref();
        let pick = |own: Option<f64>| own.unwrap_or(controller.tolerance);
        Self {
            down: pick(rules.and_then(|b| b.down.tolerance)),
            up: pick(rules.and_then(|b| b.up.tolerance)),
        }
    }
    /// The same, and `None` for a ratio at the very edge, on which versions disagree: older ones look at
    /// `abs(1 - ratio)`, which is more than 0.1 for 1.1.
    pub fn holds(&self, ratio: f64) -> Option<bool> {
        let tolerance = if ratio < 1.0 { self.down } else { self.up };
        let old = (1.0 - ratio).abs() <= tolerance;
        (old == self.hold(ratio)).then_some(old)
    }
    /// Whether a ratio changes nothing.
    pub fn hold(&self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// What a metric asks for.
pub fn propose(
    metric: &Metric,
    inputs: &Inputs,
    tolerances: Tolerances,
    controller: &Controller,
) -> Result<Proposal, Invalid> {
    match metric {
        Metric::Resource {
            name,
            target,
            samples,
            container,
        } => {
            let reason = match container {
                Some(_) => "FailedGetContainerResourceMetric",
                None => "FailedGetResourceMetric",
            };
            let cpu = name == "cpu";
            let view = View::new(inputs, samples.as_deref(), cpu, controller)
                .map_err(|detail| Invalid { reason, detail })?;
            let key = metric.request_key().unwrap_or_default();
            let gauge = match target {
                ResourceTarget::Utilization(percent) => Gauge::Utilization {
                    target: *percent,
                    requests: requests(inputs, &key)
                        .map_err(|detail| Invalid { reason, detail })?,
                },
                ResourceTarget::AverageValue(target) => Gauge::Average(*target),
            };
            per_pod(view, &gauge, inputs.current, tolerances)
                .map_err(|detail| Invalid { reason, detail })
        }
        Metric::Pods { target, samples } => {
            let reason = "FailedGetPodsMetric";
            let view = View::new(inputs, samples.as_deref(), false, controller)
                .map_err(|detail| Invalid { reason, detail })?;
            per_pod(view, &Gauge::Average(*target), inputs.current, tolerances)
                .map_err(|detail| Invalid { reason, detail })
        }
        Metric::Object { target, value } => {
            total(*target, *value, inputs, tolerances, "FailedGetObjectMetric")
        }
        Metric::External { target, values } => {
            let sum = values.as_ref().map(|v| {
                let all = v.iter().copied();
                all.fold(0i64, i64::saturating_add)
            });
            total(*target, sum, inputs, tolerances, "FailedGetExternalMetric")
        }
    }
}

/// Go's conversion of a rounded-up float to a replica count, with the limit that newer versions check for.
pub(super) fn ceil(value: f64) -> i32 {
    // `as` saturates, and turns NaN into 0.
    value.ceil() as i32
}

/// Values by pod, grouped.
struct View<'a> {
    values: BTreeMap<&'a str, i64>,
    unready: BTreeSet<&'a str>,
    missing: BTreeSet<&'a str>,
    groups: Groups,
}

impl<'a> View<'a> {
    fn new(
        inputs: &'a Inputs,
        samples: Option<&'a [Sample]>,
        cpu: bool,
        controller: &Controller,
    ) -> Result<Self, String> {
        let samples = samples.ok_or("unable to get metrics")?;
        if inputs.pods.is_empty() {
            return Err("no pods returned by selector".into());
        }
        let by_pod: BTreeMap<&str, &Sample> = samples.iter().map(|s| (s.pod.as_str(), s)).collect();
        let mut view = Self {
            values: by_pod.iter().map(|(pod, s)| (*pod, s.value)).collect(),
            unready: BTreeSet::new(),
            missing: BTreeSet::new(),
            groups: Groups::default(),
        };
        for pod in &inputs.pods {
            let name = pod.name.as_str();
            if pod.deleted || pod.phase == Phase::Failed {
                view.groups.ignored += 1;
                view.values.remove(name);
            } else if pod.phase == Phase::Pending {
                view.unready.insert(name);
                view.values.remove(name);
            } else if let Some(sample) = by_pod.get(name) {
                if cpu && unready(pod, sample, inputs, controller) {
                    view.unready.insert(name);
                    view.values.remove(name);
                } else {
                    view.groups.ready += 1;
                }
            } else {
                view.missing.insert(name);
            }
        }
        view.groups.unready = view.unready.len();
        view.groups.missing = view.missing.len();
        if view.values.is_empty() {
            return Err("did not receive metrics for targeted pods (pods might be unready)".into());
        }
        Ok(view)
    }
}

/// Whether a running pod's CPU sample says nothing yet.
fn unready(pod: &Pod, sample: &Sample, inputs: &Inputs, controller: &Controller) -> bool {
    let (Some(ready), Some(started)) = (pod.ready, pod.started) else {
        return true;
    };
    let not_ready = ready.status == Some(false);
    let micros = |d: std::time::Duration| d.as_micros() as u64;
    if started + micros(controller.cpu_initialization) > inputs.now {
        // Start-up burns CPU: only a sample that lies wholly after it became ready counts.
        not_ready || sample.at < ready.since + micros(sample.window)
    } else {
        // Unready, and never ready before: the condition has not changed since the pod started.
        not_ready && started + micros(controller.initial_readiness_delay) > ready.since
    }
}

fn requests(inputs: &Inputs, key: &str) -> Result<BTreeMap<String, i64>, String> {
    let each = inputs.pods.iter().map(|pod| {
        let request = pod.requests.get(key).copied();
        let request =
            request.ok_or_else(|| format!("missing request for {key} in {}", pod.name))?;
        Ok((pod.name.clone(), request))
    });
    each.collect()
}

/// How values become a ratio.
enum Gauge {
    Utilization {
        target: i32,
        requests: BTreeMap<String, i64>,
    },
    Average(i64),
}

impl Gauge {
    /// The ratio and the published value.
    fn read(&self, values: &BTreeMap<&str, i64>) -> Result<(f64, i64), String> {
        match self {
            Gauge::Utilization { target, requests } => {
                let known = values.iter().filter_map(|(pod, value)| {
                    let request = requests.get(*pod)?;
                    Some((*value, *request))
                });
                // Memory of many pods, in thousandths of a byte, times 100 is more than 64 bits hold.
                let (used, requested) = known.fold((0i128, 0i128), |(u, r), (value, request)| {
                    (u + i128::from(value), r + i128::from(request))
                });
                if requested == 0 {
                    return Err("no metrics returned matched known pods".into());
                }
                let percent = (used * 100 / requested) as i64;
                Ok((percent as f64 / f64::from(*target), percent))
            }
            Gauge::Average(target) => {
                let mean = values.values().sum::<i64>() / values.len() as i64;
                Ok((mean as f64 / *target as f64, mean))
            }
        }
    }
    /// What a pod without a value counts as when the load seems low: enough not to make it look lower.
    fn assumed(&self, pod: &str) -> i64 {
        match self {
            Gauge::Utilization { target, requests } => {
                let request = requests.get(pod).copied().unwrap_or(0);
                request * i64::from(*target).max(100) / 100
            }
            Gauge::Average(target) => *target,
        }
    }
}

fn per_pod(
    mut view: View<'_>,
    gauge: &Gauge,
    current: i32,
    tolerances: Tolerances,
) -> Result<Proposal, String> {
    let (ratio, published) = gauge.read(&view.values)?;
    let mut proposal = Proposal {
        replicas: current,
        ratio,
        second_ratio: None,
        published,
        groups: view.groups,
        why: Why::Tolerated,
    };
    let up_with_unready = !view.unready.is_empty() && ratio > 1.0;
    if !up_with_unready && view.missing.is_empty() {
        if !tolerances.hold(ratio) {
            proposal.replicas = ceil(ratio * view.groups.ready as f64);
            proposal.why = Why::Scaled;
        }
        return Ok(proposal);
    }
    // Assume of pods without a value what argues against the change.
    if ratio < 1.0 {
        for pod in &view.missing {
            view.values.insert(pod, gauge.assumed(pod));
        }
    } else if ratio > 1.0 {
        for pod in &view.missing {
            view.values.insert(pod, 0);
        }
    }
    if up_with_unready {
        for pod in &view.unready {
            view.values.insert(pod, 0);
        }
    }
    let (second, _) = gauge.read(&view.values)?;
    proposal.second_ratio = Some(second);
    if tolerances.hold(second) {
        proposal.why = Why::ToleratedThen;
        return Ok(proposal);
    }
    if (ratio < 1.0 && second > 1.0) || (ratio > 1.0 && second < 1.0) {
        proposal.why = Why::Reversed;
        return Ok(proposal);
    }
    let replicas = ceil(second * view.values.len() as f64);
    if (second < 1.0 && replicas > current) || (second > 1.0 && replicas < current) {
        proposal.why = Why::Contradicted;
        return Ok(proposal);
    }
    proposal.replicas = replicas;
    proposal.why = Why::Scaled;
    Ok(proposal)
}

fn total(
    target: Target,
    value: Option<i64>,
    inputs: &Inputs,
    tolerances: Tolerances,
    reason: &'static str,
) -> Result<Proposal, Invalid> {
    let invalid = |detail: &str| Invalid {
        reason,
        detail: detail.into(),
    };
    let value = value.ok_or_else(|| invalid("unable to get metric"))? as f64;
    let mut groups = Groups::default();
    let (ratio, published, scaled) = match target {
        Target::Value(target) => {
            let ratio = value / target as f64;
            if inputs.current == 0 {
                // From zero there is nothing to hold on to: no tolerance, no pods.
                (ratio, value as i64, Some(ceil(ratio)))
            } else if tolerances.hold(ratio) {
                (ratio, value as i64, None)
            } else {
                if inputs.pods.is_empty() {
                    return Err(invalid("no pods returned by selector"));
                }
                groups.ready = ready_running(&inputs.pods);
                let replicas = ceil(ratio * groups.ready as f64);
                (ratio, value as i64, Some(replicas))
            }
        }
        Target::AverageValue(target) => {
            let replicas = f64::from(inputs.status_replicas);
            let ratio = value / (target as f64 * replicas);
            let published = (value / replicas).ceil() as i64;
            let scaled = (!tolerances.hold(ratio)).then(|| ceil(value / target as f64));
            (ratio, published, scaled)
        }
    };
    let hold = match target {
        Target::Value(_) => inputs.current,
        Target::AverageValue(_) => inputs.status_replicas,
    };
    Ok(Proposal {
        replicas: scaled.unwrap_or(hold),
        ratio,
        second_ratio: None,
        published,
        groups,
        why: match scaled {
            Some(_) => Why::Scaled,
            None => Why::Tolerated,
        },
    })
}

/// Pods that are running with the Ready condition true: deleted ones included, as the controller does.
fn ready_running(pods: &[Pod]) -> usize {
    let ready = |pod: &&Pod| {
        pod.phase == Phase::Running && pod.ready.is_some_and(|r| r.status == Some(true))
    };
    pods.iter().filter(ready).count()
}
