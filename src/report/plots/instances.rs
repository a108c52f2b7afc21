//! The charts of the instances.

use std::collections::BTreeMap;

use super::charts::{highest, placeholder, stacked};
use super::{Axis, Chart, Ink, SERIES, Series, Shape, Unit};
use crate::judge::Summary;
use crate::report::series::Point;

pub(super) fn instances_ready(ready: &[(f64, usize)], end: f64) -> Option<Chart> {
    if ready.is_empty() {
        return None;
    }
    // What was so before traffic began holds at its start.
    let before = ready.iter().rev().find(|(t, _)| *t <= 0.0);
    let mut points: Vec<_> = ready
        .iter()
        .filter(|(t, _)| *t > 0.0 && *t <= end)
        .map(|(t, n)| (*t, Some(*n as f64)))
        .collect();
    points.insert(0, (0.0, before.map(|(_, n)| *n as f64)));
    let last = points.last().and_then(|p| p.1);
    points.push((end, last));
    let series = vec![Series {
        name: "ready".into(),
        ink: Ink::Series(2),
        shape: Shape::Steps,
        points,
        said: None,
    }];
    Some(Chart {
        id: "ready",
        title: "Instances ready".into(),
        note: "that the balancer may choose".into(),
        describe: "The number of ready instances over the run, as steps.".into(),
        wide: false,
        x: placeholder(),
        y: Axis::from_zero(highest(&series), Unit::Count),
        unit: Unit::Count,
        series,
        windows: Vec::new(),
    })
}

/// The names that get a colour of their own: the busiest, in the summary's order; whether others are left.
fn shown(weight: &BTreeMap<String, u64>, summary: &Summary) -> (Vec<String>, bool) {
    let mut names: Vec<_> = weight.keys().cloned().collect();
    let place = |name: &str| summary.instances.iter().position(|i| i.name == name);
    let others = names.len() > SERIES;
    if others {
        names.sort_by_key(|n| std::cmp::Reverse(weight[n]));
        names.truncate(SERIES - 1);
    }
    names.sort_by_key(|n| (place(n).unwrap_or(usize::MAX), n.clone()));
    (names, others)
}

/// A colour for each name: by its place in the summary, so that an instance has one colour in all charts, as long
/// as the colours suffice.
fn inks(names: &[String], summary: &Summary) -> Vec<Ink> {
    let place = |name: &String| summary.instances.iter().position(|i| i.name == *name);
    let places: Option<Vec<usize>> = names.iter().map(place).collect();
    let places = places.filter(|p| p.iter().all(|i| *i < SERIES));
    let places = places.unwrap_or_else(|| (0..names.len()).collect());
    places.into_iter().map(Ink::Series).collect()
}

pub(super) fn per_instance(points: &[Point], summary: &Summary) -> Option<Chart> {
    let mut weight: BTreeMap<String, u64> = BTreeMap::new();
    for (name, n) in points.iter().flat_map(|p| &p.instances) {
        *weight.entry(name.clone()).or_default() += n;
    }
    if weight.is_empty() {
        return None;
    }
    let (mut names, others) = shown(&weight, summary);
    if others {
        names.push("others".into());
    }
    let listed = names.clone();
    let value = |p: &Point, i: usize| {
        if others && i + 1 == listed.len() {
            let rest = p.instances.iter().filter(|(k, _)| !listed.contains(k));
            return rest.map(|(_, n)| n).sum();
        }
        p.instances.get(&listed[i]).copied().unwrap_or(0)
    };
    let inks = inks(&names, summary);
    let series = stacked(points, names.into_iter().zip(inks).collect(), value);
    Some(Chart {
        id: "per-instance",
        title: "Requests per instance".into(),
        note: "answered per second, stacked".into(),
        describe: "Requests answered by each instance per second, stacked, over the run.".into(),
        wide: false,
        x: placeholder(),
        y: Axis::from_zero(highest(&series), Unit::Rate),
        unit: Unit::Rate,
        series,
        windows: Vec::new(),
    })
}

type Usage = BTreeMap<String, Vec<(f64, u64, u64)>>;

/// One line an instance, for what `value` takes from its samples.
fn usage_lines(
    usage: &Usage,
    summary: &Summary,
    value: impl Fn(&(f64, u64, u64)) -> f64,
) -> (Vec<Series>, String) {
    let weight = usage
        .iter()
        .map(|(name, samples)| (name.clone(), samples.iter().map(|s| s.1).sum()))
        .collect();
    let (names, others) = shown(&weight, summary);
    let inks = inks(&names, summary);
    let lines = names.iter().zip(inks).map(|(name, ink)| Series {
        name: name.clone(),
        ink,
        shape: Shape::Line,
        points: usage[name].iter().map(|s| (s.0, Some(value(s)))).collect(),
        said: None,
    });
    let lines: Vec<_> = lines.collect();
    let note = if others {
        format!(", the {} busiest of {}", lines.len(), usage.len())
    } else {
        String::new()
    };
    (lines, note)
}

pub(super) fn cpu(usage: &Usage, summary: &Summary) -> Option<Chart> {
    let (series, note) = usage_lines(usage, summary, |s| s.1 as f64 / 1000.0);
    if series.is_empty() {
        return None;
    }
    Some(Chart {
        id: "cpu",
        title: "CPU per instance".into(),
        note: format!("cores{note}"),
        describe: "CPU use of each instance over the run.".into(),
        wide: false,
        x: placeholder(),
        y: Axis::from_zero(highest(&series), Unit::Cores),
        unit: Unit::Cores,
        series,
        windows: Vec::new(),
    })
}

pub(super) fn memory(usage: &Usage, summary: &Summary) -> Option<Chart> {
    let (series, note) = usage_lines(usage, summary, |s| s.2 as f64);
    if series.is_empty() {
        return None;
    }
    Some(Chart {
        id: "memory",
        title: "Memory per instance".into(),
        note: format!("resident{note}"),
        describe: "Resident memory of each instance over the run.".into(),
        wide: false,
        x: placeholder(),
        y: Axis::from_zero(highest(&series), Unit::Bytes),
        unit: Unit::Bytes,
        series,
        windows: Vec::new(),
    })
}
