//! Which charts a run has, and what is on them.

use super::instances::{cpu, instances_ready, memory, per_instance};
use super::{Axis, Chart, Ink, Series, Shape, Unit, Window};
use crate::judge::Summary;
use crate::record::{Latency, Outcome};
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
        errors(&points),
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
    pair(&mut charts);
    charts
}

/// Charts stand two beside each other; the distribution takes a whole line where one would be left alone.
fn pair(charts: &mut [Chart]) {
    let narrow = charts.iter().filter(|c| !c.wide).count();
    if narrow % 2 == 0 {
        return;
    }
    if let Some(at) = charts.iter().position(|c| c.id == "distribution") {
        charts[at].wide = true;
        let after = charts.iter().position(|c| c.id != "latency").unwrap_or(0);
        charts[after..=at].rotate_right(1);
    }
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
pub(super) fn placeholder() -> Axis {
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

pub(super) fn highest(series: &[Series]) -> f64 {
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

/// Bands on top of each other, one a name, of counts per second.
pub(super) fn stacked(
    points: &[Point],
    names: Vec<(String, Ink)>,
    value: impl Fn(&Point, usize) -> u64,
) -> Vec<Series> {
    let mut base = vec![0.0; spaced(points, |_| None).len()];
    let mut series = Vec::new();
    for (i, (name, ink)) in names.into_iter().enumerate() {
        let own = spaced(points, |p| Some(p.per_s(value(p, i))));
        let top: Vec<_> = own
            .iter()
            .zip(&base)
            .map(|((t, v), b)| (*t, v.map(|v| v + b)))
            .collect();
        let next = top.iter().map(|p| p.1.unwrap_or(0.0)).collect();
        series.push(Series {
            name,
            ink,
            shape: Shape::Band(std::mem::replace(&mut base, next)),
            points: top,
            said: Some(own.iter().map(|p| p.1.unwrap_or(0.0)).collect()),
        });
    }
    series
}

fn errors(points: &[Point]) -> Option<Chart> {
    let mut kinds: Vec<Outcome> = points
        .iter()
        .flat_map(|p| p.errors.keys().copied())
        .collect();
    kinds.sort();
    kinds.dedup();
    if kinds.is_empty() {
        return None;
    }
    let names = kinds.iter().enumerate();
    let names = names
        .map(|(i, k)| (k.name().to_string(), Ink::Series(i)))
        .collect();
    let value = |p: &Point, i: usize| p.errors.get(&kinds[i]).copied().unwrap_or(0);
    let series = stacked(points, names, value);
    Some(Chart {
        id: "errors-by-kind",
        title: "Errors by kind".into(),
        note: "failed per second, stacked".into(),
        describe: "Failed requests of each kind per second, stacked, over the run.".into(),
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
        note: format!("so long or less{scale}"),
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
