//! Which charts a run has, and what is on them.

use std::collections::BTreeMap;

use super::{Axis, Chart, Ink, SERIES, Series, Shape, Unit, Window};
use crate::judge::Summary;
use crate::record::Latency;
use crate::report::series::{self, Point};
use crate::report::{Judged, phrases};

/// Every chart of a run. One without data is left out.
pub(in crate::report) fn all(run: &Judged<'_>) -> Vec<Chart> {
    let zero = run.summary.traffic_start_us;
    let points = series::points(run.record, zero);
    let usage = series::usage(&run.record.events, zero);
    let ready = series::ready(&run.record.events, zero);
    let time = time_axis(run.summary, &points);
    let windows = windows(run.summary, time.max);
    let charts = [
        latency(&points),
        traffic(&points),
        instances_ready(&ready, time.max),
        per_instance(&points, run.summary),
        distribution(run),
        cpu(&usage, run.summary),
        memory(&usage, run.summary),
    ];
    let mut charts: Vec<Chart> = charts.into_iter().flatten().collect();
    for chart in charts.iter_mut().filter(|c| c.id != "distribution") {
        chart.x = time.clone();
        chart.windows = windows.clone();
    }
    charts
}

fn time_axis(s: &Summary, points: &[Point]) -> Axis {
    let end = series::seconds(s.traffic_end_us, s.traffic_start_us);
    let last = points.last().map_or(0.0, |p| p.end);
    Axis::time(0.0, end.max(last))
}

/// Each injection from when it was made until it was taken back and the service was well again; to the end of
/// the run where that was not seen.
fn windows(s: &Summary, end: f64) -> Vec<Window> {
    let at = |us| series::seconds(us, s.traffic_start_us);
    let made = s.faults.iter().filter_map(|f| {
        let from = at(f.injected_us?);
        let over = f.restored_us.max(f.undone_us).filter(|_| {
            // An undone fault from which the service did not recover goes on.
            f.restored_us.is_some()
        });
        let to = over.map_or(end, at).clamp(from, end.max(from));
        let label = phrases::fault_title(f);
        Some(Window { from, to, label })
    });
    made.collect()
}

/// An axis to be replaced by the run's time.
fn placeholder() -> Axis {
    Axis::time(0.0, 1.0)
}

/// Points with a gap wherever seconds are missing from the record.
fn spaced(points: &[Point], value: impl Fn(&Point) -> Option<f64>) -> Vec<(f64, Option<f64>)> {
    let mut out = Vec::with_capacity(points.len());
    let mut last: Option<&Point> = None;
    for point in points {
        if let Some(last) = last
            && point.start - last.end > (last.end - last.start).max(1.0)
        {
            out.push(((last.end + point.start) / 2.0, None));
        }
        out.push((point.middle(), value(point)));
        last = Some(point);
    }
    out
}

fn highest(series: &[Series]) -> f64 {
    let values = series.iter().flat_map(|s| &s.points).filter_map(|p| p.1);
    values.fold(0.0, f64::max)
}

fn latency(points: &[Point]) -> Option<Chart> {
    points.iter().find(|p| p.latency.is_some())?;
    let kinds = [
        ("max", Ink::Muted, Shape::Thin),
        ("p99", Ink::Series(5), Shape::Line),
        ("p95", Ink::Series(1), Shape::Line),
        ("p50", Ink::Series(0), Shape::Line),
    ];
    let series: Vec<_> = kinds
        .into_iter()
        .zip([3, 2, 1, 0])
        .map(|((name, ink, shape), i)| Series {
            name: name.into(),
            ink,
            shape,
            points: spaced(points, |p| p.latency.map(|l| l[i])),
            said: None,
        })
        .collect();
    let lowest = points.iter().filter_map(|p| p.latency).map(|l| l[0]);
    let lowest = lowest.fold(f64::INFINITY, f64::min);
    let y = Axis::latency(lowest, highest(&series));
    let scale = if y.log { ", logarithmic scale" } else { "" };
    Some(Chart {
        id: "latency",
        title: "Response time".into(),
        note: format!("from the intended start of each request{scale}"),
        describe: "Lines of the median, 95th and 99th percentile and the longest response time over the run.".into(),
        wide: true,
        x: placeholder(),
        y,
        unit: Unit::Latency,
        series,
        windows: Vec::new(),
    })
}

fn traffic(points: &[Point]) -> Option<Chart> {
    if points.is_empty() {
        return None;
    }
    let good = spaced(points, |p| Some(p.per_s(p.ended.saturating_sub(p.failed))));
    let bad = spaced(points, |p| Some(p.per_s(p.failed)));
    let series = vec![
        Series {
            name: "ok".into(),
            ink: Ink::Series(0),
            shape: Shape::Band(vec![0.0; good.len()]),
            points: good,
            said: None,
        },
        Series {
            name: "failed".into(),
            ink: Ink::Bad,
            shape: Shape::Line,
            points: bad,
            said: None,
        },
    ];
    Some(Chart {
        id: "traffic",
        title: "Requests and errors".into(),
        note: "ended per second".into(),
        describe: "Requests that ended well and that failed, per second, over the run.".into(),
        wide: false,
        x: placeholder(),
        y: Axis::from_zero(highest(&series), Unit::Rate),
        unit: Unit::Rate,
        series,
        windows: Vec::new(),
    })
}

fn instances_ready(ready: &[(f64, usize)], end: f64) -> Option<Chart> {
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

fn per_instance(points: &[Point], summary: &Summary) -> Option<Chart> {
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
    let mut base = vec![0.0; spaced(points, |_| None).len()];
    let mut series = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let own = spaced(points, |p| {
            let n = match others && i + 1 == names.len() {
                true => {
                    let rest = p.instances.iter().filter(|(k, _)| !names.contains(k));
                    rest.map(|(_, n)| n).sum()
                }
                false => p.instances.get(name).copied().unwrap_or(0),
            };
            Some(p.per_s(n))
        });
        let top = own
            .iter()
            .zip(&base)
            .map(|((t, v), b)| (*t, v.map(|v| v + b)));
        let top: Vec<_> = top.collect();
        let next = top.iter().map(|p| p.1.unwrap_or(0.0)).collect();
        series.push(Series {
            name: name.clone(),
            ink: Ink::Series(i),
            shape: Shape::Band(std::mem::replace(&mut base, next)),
            points: top,
            said: Some(own.iter().map(|p| p.1.unwrap_or(0.0)).collect()),
        });
    }
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

fn distribution(run: &Judged<'_>) -> Option<Chart> {
    let (response, service) = series::distributions(run.record, run.summary.traffic_start_us);
    if response.is_empty() {
        return None;
    }
    let mut series = vec![curve(
        "response time",
        Ink::Series(0),
        Shape::Line,
        &response,
    )];
    if !service.is_empty() {
        series.push(curve("service time", Ink::Muted, Shape::Thin, &service));
    }
    let lows = series.iter().flat_map(|s| s.points.first()?.1);
    let lowest = lows.fold(f64::INFINITY, f64::min);
    let y = Axis::latency(lowest.max(1.0), highest(&series));
    let scale = if y.log { ", logarithmic scale" } else { "" };
    Some(Chart {
        id: "distribution",
        title: "Latency by percentile".into(),
        note: format!("the share of requests at most so slow{scale}"),
        describe: "Response time by percentile, each further nine with the same width.".into(),
        wide: false,
        x: Axis::nines(response.len()),
        y,
        unit: Unit::Latency,
        series,
        windows: Vec::new(),
    })
}

/// A percentile curve: evenly spaced over 1 / (1 - q).
fn curve(name: &str, ink: Ink, shape: Shape, of: &Latency) -> Series {
    let end = (of.len() as f64).clamp(100.0, 1e6).ln();
    const STEPS: usize = 160;
    let points = (0..=STEPS).map(|i| {
        let x = (end * i as f64 / STEPS as f64).exp();
        let q = (1.0 - 1.0 / x).clamp(0.0, 1.0);
        (x, Some(of.value_at_quantile(q) as f64))
    });
    Series {
        name: name.into(),
        ink,
        shape,
        points: points.collect(),
        said: None,
    }
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
    let lines = names.iter().enumerate().map(|(i, name)| Series {
        name: name.clone(),
        ink: Ink::Series(i),
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

fn cpu(usage: &Usage, summary: &Summary) -> Option<Chart> {
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

fn memory(usage: &Usage, summary: &Summary) -> Option<Chart> {
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
