//! From records to what is compared: the figures of each run, and which runs cannot be compared and why.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::RunFigure;
use crate::judge::injection::{injections, unmade};
use crate::judge::timeline::{Scope, Timeline, steps};
use crate::judge::{bounds, generator};
use crate::record::{Ended, Outcome, Record};
use crate::scenario::units::format_duration;

/// A part of the traffic in one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Its flow.
    pub flow: String,
    /// Its step.
    pub step: String,
    /// The run's figure for it.
    pub figure: RunFigure,
}

/// A run as a comparison keeps it: all that is needed once its record is dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct Digest {
    /// Its name: its folder.
    pub name: String,
    /// Wall time at its start, microseconds.
    pub started: u64,
    /// Its seed.
    pub seed: u64,
    /// What it ran on and was measured by; where the sides differ in it, they cannot be told apart.
    pub machine: String,
    /// What it did: traffic, faults, warm-up.
    pub plan: Value,
    /// Why nothing may rest on it.
    pub unusable: Option<String>,
    /// Why it had less to do than the schedule says: arrivals were dropped since so many were under way. What it shows is
    /// too good, so that only what is bad may rest on it, and only where it is the candidate.
    pub overloaded: Option<String>,
    /// Each step in numbers.
    pub parts: Vec<Part>,
}

/// Which parts are compared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    /// Only this flow.
    pub flow: Option<String>,
    /// Only this step.
    pub step: Option<String>,
}

/// A run left out, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Excluded {
    /// The run.
    pub run: String,
    /// Why nothing may rest on it.
    pub why: String,
}

/// One side of a comparison.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Side {
    /// The runs that count, in the order given.
    pub runs: Vec<Digest>,
    /// The others.
    pub excluded: Vec<Excluded>,
}

/// Why runs cannot be compared at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// The figure of a part of a recorded run, without the warm-up.
pub fn figure(name: &str, timeline: &Timeline<'_>, scope: &Scope<'_>, quantile: f64) -> RunFigure {
    let slice = timeline.slice(scope);
    RunFigure {
        name: name.into(),
        started: started(timeline.record),
        samples: slice.response.len(),
        value_us: bounds::value_at(&slice.response, quantile),
        ended: slice.ended(),
        failed: slice.failed(),
        unfinished: slice.with(Outcome::Unfinished),
    }
}

fn started(record: &Record) -> u64 {
    let at = record.header.started.parse::<jiff::Timestamp>();
    at.map_or(0, |t| t.as_microsecond().max(0) as u64)
}

/// Reduces a record to what a comparison needs of it.
pub fn digest(name: &str, record: &Record, quantile: f64) -> Digest {
    let timeline = Timeline::new(record);
    let mut parts: Vec<Part> = Vec::new();
    for index in timeline.judged() {
        for (second, _) in steps(timeline.seconds[index]) {
            if parts
                .iter()
                .any(|p| p.flow == second.flow && p.step == second.step)
            {
                continue;
            }
            let scope = Scope {
                flow: Some(&second.flow),
                step: Some(&second.step),
                seconds: None,
            };
            parts.push(Part {
                flow: second.flow.clone(),
                step: second.step.clone(),
                figure: figure(name, &timeline, &scope, quantile),
            });
        }
    }
    let header = &record.header;
    let (unusable, overloaded) = doubts(&timeline);
    Digest {
        name: name.into(),
        started: started(record),
        seed: header.seed,
        machine: format!(
            "{} cores of {}, squall {}",
            header.host.cores, header.host.cpu, header.version
        ),
        plan: plan(record),
        unusable,
        overloaded,
        parts,
    }
}

/// What a run did, as the record says it. The target is not in it: that is what may differ.
fn plan(record: &Record) -> Value {
    let scenario = &record.header.scenario;
    // Plain data with string keys: it always becomes a value.
    let value = |v: serde_json::Result<Value>| v.unwrap_or(Value::Null);
    let flows = scenario.traffic.iter();
    let flows: Map<String, Value> = flows
        .map(|flow| (flow.name.clone(), value(serde_json::to_value(flow))))
        .collect();
    json!({
        "traffic": flows,
        "faults": value(serde_json::to_value(&scenario.faults)),
        "warm-up": format_duration(scenario.run.warm_up),
    })
}

/// Why nothing may rest on a run, and why only what is bad may.
fn doubts(timeline: &Timeline<'_>) -> (Option<String>, Option<String>) {
    if let Some(why) = broken(timeline) {
        return (Some(why), None);
    }
    let generator = generator::assess(timeline);
    match generator.makes_errors() {
        Some(why) => (Some(format!("its generator was saturated ({why})")), None),
        None => (None, generator.summary.saturated),
    }
}

/// Why a record tells of no whole run.
fn broken(timeline: &Timeline<'_>) -> Option<String> {
    match timeline.ended {
        None => return Some("its record stops in the middle".into()),
        Some(Ended::Aborted { reason }) => return Some(format!("it was aborted ({reason})")),
        Some(Ended::Completed) => {}
    }
    let damage = timeline.record.damage.first();
    let damage = damage.map(|damage| format!("its record is damaged ({damage})"));
    // One side under a fault and the other without it are not the same work.
    damage.or_else(|| {
        let all = injections(timeline.record);
        let (name, _) = unmade(timeline.record, &all)?;
        Some(format!("its fault `{name}` was not made"))
    })
}

/// Sorts runs into what counts and what does not. Refuses runs of different plans and a run given twice: what would
/// come out would mean nothing.
pub fn sides(
    baseline: Vec<Digest>,
    candidate: Vec<Digest>,
    wanted: &Wanted,
) -> Result<(Side, Side), Refused> {
    let all: Vec<&Digest> = baseline.iter().chain(&candidate).collect();
    let (Some(first), false) = (all.first(), baseline.is_empty() || candidate.is_empty()) else {
        return Err(Refused("a comparison takes runs on both sides".into()));
    };
    for (i, run) in all.iter().enumerate() {
        let same = |other: &&&Digest| other.started == run.started && other.seed == run.seed;
        if let Some(twice) = all[..i].iter().find(same) {
            return Err(Refused(format!(
                "{} and {} are the same run (started at the same microsecond with the same seed): each counts once",
                twice.name, run.name
            )));
        }
        if let Some((place, ours, theirs)) = difference("", &first.plan, &run.plan) {
            return Err(Refused(format!(
                "{} did something else than {}: {place} is {theirs}, not {ours}",
                run.name, first.name
            )));
        }
    }
    known(&all, wanted)?;
    // A baseline with less to do than its schedule says looks too good to compare with.
    let baseline = baseline.into_iter().map(|mut run| {
        let overloaded = run.overloaded.take();
        run.unusable = run.unusable.or(overloaded);
        run
    });
    Ok((side(baseline.collect(), wanted), side(candidate, wanted)))
}

fn known(all: &[&Digest], wanted: &Wanted) -> Result<(), Refused> {
    let fits = |name: &str, wanted: &Option<String>| wanted.as_ref().is_none_or(|w| w == name);
    let mut parts = all.iter().flat_map(|run| &run.parts);
    if parts.any(|p| fits(&p.flow, &wanted.flow) && fits(&p.step, &wanted.step)) {
        return Ok(());
    }
    let mut names: Vec<String> = all
        .iter()
        .flat_map(|run| &run.parts)
        .map(|p| format!("{} / {}", p.flow, p.step))
        .collect();
    names.sort();
    names.dedup();
    Err(Refused(if names.is_empty() {
        "the runs have no request after their warm-up".into()
    } else {
        format!(
            "no step is called so: expected one of (flow / step) {}",
            names.join(", ")
        )
    }))
}

fn side(runs: Vec<Digest>, wanted: &Wanted) -> Side {
    let mut side = Side::default();
    for mut run in runs {
        match run.unusable.take() {
            Some(why) => side.excluded.push(Excluded { run: run.name, why }),
            None => {
                let fits = |name: &str, w: &Option<String>| w.as_ref().is_none_or(|w| w == name);
                run.parts
                    .retain(|p| fits(&p.flow, &wanted.flow) && fits(&p.step, &wanted.step));
                side.runs.push(run);
            }
        }
    }
    side
}

/// The first place where two plans differ: its path, and what is there in each.
fn difference(path: &str, ours: &Value, theirs: &Value) -> Option<(String, String, String)> {
    let below = |key: &str| match path {
        "" => key.to_string(),
        _ => format!("{path}.{key}"),
    };
    let absent = || Value::String("absent".into());
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => a
            .keys()
            .chain(b.keys().filter(|k| !a.contains_key(*k)))
            .find_map(|key| {
                let (a, b) = (a.get(key), b.get(key));
                difference(&below(key), a.unwrap_or(&absent()), b.unwrap_or(&absent()))
            }),
        (Value::Array(a), Value::Array(b)) => (0..a.len().max(b.len())).find_map(|i| {
            let (a, b) = (a.get(i), b.get(i));
            difference(
                &below(&(i + 1).to_string()),
                a.unwrap_or(&absent()),
                b.unwrap_or(&absent()),
            )
        }),
        _ if ours == theirs => None,
        _ => Some((path.into(), text(ours), text(theirs))),
    }
}

fn text(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(80) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text,
    }
}
