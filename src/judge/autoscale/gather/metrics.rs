//! The metrics that a spec asks for, and what a status publishes of them.

use serde_json::Value;

use crate::judge::autoscale::published::Published;
use crate::record::quantity::thousandths;

/// A metric of the spec.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    /// `Resource`, `Pods`, ...
    kind: String,
    /// What it measures: `cpu`.
    pub name: String,
    /// The container, for `ContainerResource`.
    pub container: Option<String>,
    /// Which series of its name, and of which object: two queues may have a length each.
    series: [Value; 2],
    /// Its target, as written in the spec.
    target: Value,
}

/// Which pods a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pods {
    /// Those with a sample that are ready, or were: CPU.
    Warm,
    /// Those with a sample.
    Sampled,
    /// Those with a value of the custom metrics API, which is not watched.
    Running,
    /// Those that are ready.
    Ready,
    /// None.
    Nobody,
}

impl Asked {
    /// Which pods it counts.
    pub fn pods(&self) -> Pods {
        match (self.kind.as_str(), self.name.as_str()) {
            ("Resource" | "ContainerResource", "cpu") => Pods::Warm,
            ("Resource" | "ContainerResource", _) => Pods::Sampled,
            ("Pods", _) => Pods::Running,
            _ if self.target["averageValue"].is_string() => Pods::Nobody,
            _ => Pods::Ready,
        }
    }
    /// Whether it is a part of the pods' requests.
    pub fn is_utilization(&self) -> bool {
        !self.target["averageUtilization"].is_null()
    }
}

/// The part of a metric's entry that has its details: `resource` for type `Resource`.
fn details(entry: &Value) -> Option<(String, &Value)> {
    let kind = entry["type"].as_str()?.to_string();
    let mut key = kind.clone();
    // An entry of a metric that could not be read has no type.
    key.get_mut(..1)?.make_ascii_lowercase();
    let details = entry.get(key)?;
    Some((kind, details))
}

fn named(details: &Value) -> String {
    let name = details["name"]
        .as_str()
        .or(details["metric"]["name"].as_str());
    name.unwrap_or_default().into()
}

/// The selector and the object that tell metrics of one name apart.
fn series(details: &Value) -> [Value; 2] {
    [&details["metric"]["selector"], &details["describedObject"]].map(Value::clone)
}

/// The metrics of a spec.
pub(super) fn asked(spec: &Value) -> Vec<Asked> {
    let entries = spec["metrics"].as_array().into_iter().flatten();
    let asked = entries.filter_map(|entry| {
        let (kind, details) = details(entry)?;
        Some(Asked {
            kind,
            name: named(details),
            container: details["container"].as_str().map(String::from),
            series: series(details),
            target: details["target"].clone(),
        })
    });
    asked.collect()
}

/// What a status publishes of the metrics asked for, in their order. They are found by what they are: older
/// versions do not keep the order.
pub(super) fn published(asked: &[Asked], status: Option<&Value>) -> Vec<Published> {
    let entries = status.and_then(Value::as_array);
    // A status that no metric led to has none.
    let Some(entries) = entries.filter(|e| !e.is_empty()) else {
        return Vec::new();
    };
    let one = |metric: &Asked| {
        let current = entries.iter().find_map(|entry| {
            let (kind, details) = details(entry)?;
            let same = kind == metric.kind
                && named(details) == metric.name
                && series(details) == metric.series
                && details["container"].as_str() == metric.container.as_deref();
            same.then(|| &details["current"])
        });
        current
            .and_then(|c| value(metric, c))
            .unwrap_or(Published::Invalid)
    };
    asked.iter().map(one).collect()
}

fn value(metric: &Asked, current: &Value) -> Option<Published> {
    let quantity = |from: &Value, key: &str| from[key].as_str().and_then(thousandths);
    let target = &metric.target;
    if let Some(percent) = target["averageUtilization"].as_i64() {
        return Some(Published::Utilization {
            percent: current["averageUtilization"].as_i64()? as i32,
            target: percent as i32,
        });
    }
    if let Some(target) = quantity(target, "averageValue") {
        let mean = quantity(current, "averageValue")?;
        let per_pod = matches!(metric.pods(), Pods::Warm | Pods::Sampled | Pods::Running);
        return Some(match per_pod {
            true => Published::Average { mean, target },
            false => Published::PerReplica { mean, target },
        });
    }
    Some(Published::Value {
        value: quantity(current, "value")?,
        target: quantity(target, "value")?,
    })
}
