//! A capacity in words, and its curve.

use super::{Grid, Kind, Sheet, detail};
use crate::judge::capacity::{CapacityResult, Level, Outcome};
use crate::judge::words::{counted, micros, percent, rate};
use crate::judge::worst;
use crate::report::plots::{Axis, Chart, Ink, Series, Shape, Unit, Window};
use crate::scenario::units::format_duration;

impl Sheet {
    /// A capacity of the scenario called `title`; `again` is the command that judges it again.
    pub fn capacity(title: &str, found: &CapacityResult, again: Vec<String>) -> Self {
        let search = &found.search;
        let made = counted(found.levels.len() as u64, "run");
        let facts = format!(
            "{made} from {} to {}, each held for {}, {} resolution",
            search.from,
            search.to,
            format_duration(search.hold),
            search.resolution
        );
        Sheet {
            kind: Kind::Capacity,
            title: title.into(),
            facts: vec![facts],
            answer: Some(found.answer.clone()),
            grids: vec![levels(found)],
            charts: charts(found),
            notes: law(found).into_iter().collect(),
            overall: worst(&found.verdicts),
            verdicts: found.verdicts.clone(),
            again,
            detail: detail(found),
        }
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Holds => "holds",
        Outcome::Fails => "does not",
        Outcome::Unclear => "unclear",
    }
}

fn sorted(found: &CapacityResult) -> Vec<&Level> {
    let mut levels: Vec<&Level> = found.levels.iter().collect();
    levels.sort_by(|a, b| a.rate_per_s.total_cmp(&b.rate_per_s));
    levels
}

fn levels(found: &CapacityResult) -> Grid {
    let row = |level: &Level| {
        vec![
            rate(level.rate_per_s),
            word(level.outcome).into(),
            rate(level.answered_per_s),
            micros(level.p50_us),
            micros(level.p99_us),
            percent(level.error_ratio),
            level.name.clone(),
        ]
    };
    Grid {
        title: "rates",
        head: vec!["rate", "seen", "answers", "p50?", "p99", "errors", "run?"],
        rows: sorted(found).into_iter().map(row).collect(),
    }
}

/// What the scalability law says of the curve.
fn law(found: &CapacityResult) -> Option<String> {
    let usl = found.usl?;
    let peak = match (usl.peak_in_flight, usl.peak_per_s) {
        (Some(n), Some(x)) => format!("its peak is {} at {n:.0} requests under way", rate(x)),
        _ => format!(
            "no peak near what was tested (up to {:.1} requests under way)",
            usl.tested_in_flight
        ),
    };
    Some(format!(
        "Universal Scalability Law over the rates that hold: contention {}, coherency {}; {peak}",
        percent(usl.sigma.max(0.0)),
        percent(usl.kappa.max(0.0))
    ))
}

/// Latency and answers over the rate, with the knee marked.
fn charts(found: &CapacityResult) -> Vec<Chart> {
    let levels = sorted(found);
    if levels.len() < 2 {
        return Vec::new();
    }
    let highest = |of: fn(&Level) -> f64| levels.iter().map(|l| of(l)).fold(0.0, f64::max);
    let lowest = levels
        .iter()
        .map(|l| l.p50_us as f64)
        .fold(f64::INFINITY, f64::min);
    let x = Axis::from_zero(highest(|l| l.rate_per_s), Unit::Rate);
    let windows: Vec<Window> = found
        .failed_per_s
        .map(|from| Window {
            from: found.held_per_s.map_or(from, |held| (held * from).sqrt()),
            to: x.max,
            label: match found.held_per_s {
                Some(held) => format!("knee: {} holds, {} does not", rate(held), rate(from)),
                None => format!("{} does not hold", rate(from)),
            },
        })
        .into_iter()
        .collect();
    let line = |name: &str, ink, shape, of: fn(&Level) -> f64| Series {
        name: name.into(),
        ink,
        shape,
        points: levels.iter().map(|l| (l.rate_per_s, Some(of(l)))).collect(),
        said: None,
    };
    let p99 = |l: &Level| l.p99_us as f64;
    let latency = Chart {
        id: "capacity-latency",
        title: "Latency by rate".into(),
        note: "response time of each run".into(),
        describe: "Median and 99th percentile of response time over the arrival rate.".into(),
        wide: false,
        y: Axis::latency(lowest.max(1.0), highest(p99)),
        x: x.clone(),
        unit: Unit::Latency,
        series: vec![
            line("p99", Ink::Series(0), Shape::Line, p99),
            line("p50", Ink::Series(2), Shape::Thin, |l| l.p50_us as f64),
        ],
        windows: windows.clone(),
    };
    let mut series = vec![line("answered", Ink::Series(0), Shape::Line, |l| {
        l.answered_per_s
    })];
    series.push(line("asked for", Ink::Muted, Shape::Thin, |l| l.rate_per_s));
    let answers = Chart {
        id: "capacity-answers",
        title: "Answers by rate".into(),
        note: "requests answered per second, and arrivals".into(),
        describe: "Answered requests per second over the arrival rate.".into(),
        wide: false,
        y: Axis::from_zero(
            highest(|l| l.answered_per_s).max(highest(|l| l.rate_per_s)),
            Unit::Rate,
        ),
        x,
        unit: Unit::Rate,
        series,
        windows,
    };
    vec![latency, answers]
}
