//! What a record tells of each container of the target (of each instance, where there are no containers): when it ran,
//! what it may use, and what it used.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::judge::autoscale::Wall;
use crate::record::quantity::thousandths;
use crate::record::{InstanceState, Micros, ObjectChange, ObjectEvent, Record, What};
use crate::scenario::Target;
use crate::scenario::units::parse_duration;

/// A cluster's sample is told so much late at most; one that seems older or younger comes from another clock.
const LATE: i64 = 120_000_000;
/// Clocks of a cluster and of this machine differ by so much at most.
const SKEW: i64 = 2_000_000;
/// Time between two samples of a process of this machine.
const TICK: Micros = 1_000_000;

/// CPU in thousandths of a core and memory in bytes, where there is a number.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Amounts {
    pub cpu: Option<f64>,
    pub memory: Option<f64>,
}

/// What was used: CPU and throttling from one time to another, memory at the second of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    pub from: Micros,
    pub to: Micros,
    pub used: Amounts,
    /// The scheduling periods in which it ran, and in how many of them it was throttled.
    pub throttled: Option<(f64, f64)>,
}

/// One container, or one instance.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    pub instance: String,
    pub container: Option<String>,
    pub limits: Amounts,
    pub requests: Amounts,
    /// When it ran, within the time that is judged.
    pub lives: Vec<(Micros, Micros)>,
    /// In time order.
    pub samples: Vec<Sample>,
}

impl Series {
    /// `container web of shop-1`, or `shop-1`.
    pub fn name(&self) -> String {
        match &self.container {
            Some(container) => format!("container {container} of {}", self.instance),
            None => self.instance.clone(),
        }
    }

    fn runs(&mut self, at: Micros) {
        if self.lives.last().is_none_or(|(_, end)| *end != Micros::MAX) {
            self.lives.push((at, Micros::MAX));
        }
    }

    fn ended(&mut self, at: Micros) {
        if let Some((_, end)) = self.lives.last_mut().filter(|(_, end)| *end == Micros::MAX) {
            *end = at;
        }
    }

    /// Leaves what lies within a span of time.
    fn clip(&mut self, (from, until): (Micros, Micros)) {
        for life in &mut self.lives {
            *life = (life.0.max(from), life.1.min(until));
        }
        self.lives.retain(|(from, until)| from < until);
        self.samples.retain(|s| s.to > from && s.from < until);
        self.samples.sort_by_key(|s| (s.to, s.from));
    }
}

type All = BTreeMap<(String, Option<String>), Series>;

/// All containers, or instances, that ran within a span of time.
pub fn collect(record: &Record, span: (Micros, Micros)) -> Vec<Series> {
    let mut all = match record.header.scenario.target {
        Target::Local(_) => instances(record),
        _ => containers(record),
    };
    all.values_mut().for_each(|series| series.clip(span));
    let ran = all.into_values().filter(|series| !series.lives.is_empty());
    ran.collect()
}

fn of<'a>(all: &'a mut All, instance: &str, container: Option<&str>) -> &'a mut Series {
    let key = (instance.to_string(), container.map(str::to_string));
    all.entry(key.clone()).or_insert_with(|| Series {
        instance: key.0,
        container: key.1,
        ..Series::default()
    })
}

fn instances(record: &Record) -> All {
    let mut all = All::new();
    for event in &record.events {
        match &event.what {
            What::Instance(instance) => {
                let series = of(&mut all, &instance.name, None);
                match instance.state {
                    InstanceState::Ended => series.ended(event.at),
                    _ => series.runs(event.at),
                }
            }
            What::Usage {
                instance,
                cpu_millicores,
                memory_bytes,
            } => {
                let series = of(&mut all, instance, None);
                let last = series.samples.last().map(|s| s.to);
                let last = last.filter(|to| (*to..to.saturating_add(3 * TICK)).contains(&event.at));
                series.samples.push(Sample {
                    from: last.unwrap_or(event.at.saturating_sub(TICK)),
                    to: event.at,
                    used: Amounts {
                        cpu: Some(*cpu_millicores as f64),
                        memory: Some(*memory_bytes as f64),
                    },
                    throttled: None,
                });
            }
            _ => {}
        }
    }
    all
}

fn containers(record: &Record) -> All {
    let wall = Wall::of(record).ok();
    let mut all = All::new();
    for event in &record.events {
        let What::Object(object) = &event.what else {
            continue;
        };
        match object.object.as_str() {
            "Pod" => pod(&mut all, event.at, object),
            "PodMetrics" | "PodUsage" => {
                for (name, told) in parts(object) {
                    if let Some(sample) = sample(object, told, event.at, wall.as_ref()) {
                        of(&mut all, &object.name, Some(name)).samples.push(sample);
                    }
                }
            }
            _ => {}
        }
    }
    all
}

fn parts(object: &ObjectEvent) -> impl Iterator<Item = (&String, &Value)> {
    let containers = object.facts.get("containers").and_then(Value::as_object);
    containers.into_iter().flatten()
}

fn pod(all: &mut All, at: Micros, object: &ObjectEvent) {
    let fact = |key: &str| object.facts.get(key).and_then(Value::as_str);
    let runs = object.change != ObjectChange::Deleted
        && fact("phase") == Some("Running")
        && fact("deleted").is_none();
    for (name, resources) in parts(object) {
        let series = of(all, &object.name, Some(name));
        series.limits = amounts(&resources["limits"]);
        series.requests = amounts(&resources["requests"]);
        if runs {
            series.runs(at);
        }
    }
    if !runs {
        let own = all.iter_mut().filter(|((pod, _), _)| *pod == object.name);
        own.for_each(|(_, series)| series.ended(at));
    }
}

/// CPU in thousandths of a core and memory in bytes, from quantities as Kubernetes writes them.
fn amounts(told: &Value) -> Amounts {
    let number = |key: &str| Some(thousandths(told[key].as_str()?)? as f64);
    Amounts {
        cpu: number("cpu"),
        memory: number("memory").map(|thousandths| thousandths / 1e3),
    }
}

/// A sample as told at a time. When it was taken the cluster says by its own clock, which is held against that time.
fn sample(object: &ObjectEvent, told: &Value, at: Micros, wall: Option<&Wall>) -> Option<Sample> {
    let none = &Value::Null;
    // A kubelet samples each container by itself, metrics.k8s.io the pod.
    let fact = |key: &str| match &told[key] {
        Value::Null => object.facts.get(key).unwrap_or(none),
        own => own,
    };
    let window = parse_duration(fact("window").as_str()?).ok()?;
    let taken = wall.and_then(|wall| wall.micros(fact("timestamp")));
    let now = i64::try_from(at).unwrap_or(i64::MAX);
    let right = |taken: &i64| (now - LATE..=now.saturating_add(SKEW)).contains(taken);
    let to = taken
        .filter(right)
        .map_or(at, |taken| taken.max(0) as Micros);
    let number = |key: &str| told[key].as_f64();
    Some(Sample {
        from: to.saturating_sub(window.as_micros() as Micros),
        to,
        used: amounts(told),
        throttled: number("periods").zip(number("throttled-periods")),
    })
}
