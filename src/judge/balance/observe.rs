//! What a record says about who served: epochs of a constant eligible set with their counts. Deciding is for `share`.

use std::collections::{BTreeMap, BTreeSet};

use super::BalanceExpectation;
use super::share::Epoch;
use super::trouble::{Kept, Listed, kept, listed_dead, spoiled};
use crate::judge::timeline::{ENDPOINTS, Gap, PODS, gaps};
use crate::record::{Micros, Record, RunPhase, What};

/// Connections and requests by instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Connections by the instance of their first response.
    pub connections: BTreeMap<String, u64>,
    /// Answered requests by the instance that answered.
    pub requests: BTreeMap<String, u64>,
}

/// A stretch with one eligible set, without the lag after the change that began it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    pub start_us: Micros,
    pub end_us: Micros,
    pub eligible: Vec<String>,
    pub counts: Counts,
    /// Connections opened, whoever answered on them, if anybody.
    pub opened: u64,
    /// Requests answered, whoever answered them.
    pub answered: u64,
}

/// All that the balance verdict needs of a record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Observed {
    pub windows: Vec<Window>,
    /// The whole of the traffic, with the lags.
    pub all: Counts,
    /// Connections opened, whoever answered on them.
    pub opened: u64,
    /// Answers from another instance than the one before on their connection.
    pub moved: u64,
    /// Requests answered, named instance or not.
    pub answered: u64,
    /// Highest number of users alive.
    pub users: u64,
    /// Mean requests under way.
    pub in_flight: f64,
    /// Median service time by instance, microseconds.
    pub service_us: BTreeMap<String, u64>,
    pub kept: Vec<Kept>,
    /// The watch of the eligible set was lost for a time.
    pub blind: bool,
    /// Time left out because a fault or a death hid who was chosen.
    pub spoiled_us: Micros,
    /// Whether the platform tells the eligible set at all.
    pub watched: bool,
    pub traffic_start_us: Micros,
}

impl Observed {
    /// The epochs in units of one kind.
    pub fn epochs(&self, of: impl Fn(&Counts) -> &BTreeMap<String, u64>) -> Vec<Epoch> {
        let windows = self.windows.iter();
        windows
            .map(|w| Epoch {
                eligible: w.eligible.clone(),
                counts: of(&w.counts).clone(),
            })
            .collect()
    }
}

/// Reads a record. The first `warm_up` microseconds of traffic are left out.
pub(crate) fn observe(record: &Record, expect: &BalanceExpectation, warm_up: Micros) -> Observed {
    let lag_us = expect.lag.as_micros() as Micros;
    let start = traffic_start(record);
    let end = record.intervals.last().map_or(start, |i| i.second.end_us);
    let names = Names::new(record);
    let mut sets = eligible_sets(record, start, &names);
    if let (true, Some(n)) = (sets.is_empty(), expect.instances) {
        sets.push((start, said_to_be_there(record, n as usize)));
    }
    let dead: Vec<Listed> = listed_dead(record, start, end);
    let spoiled = spoiled(record, &dead, end, lag_us);
    let blind = gaps(record, &[ENDPOINTS]);
    let mut kept = kept(record, &dead, lag_us);
    // What was not seen to be taken out may have been, while nobody looked.
    let unsure = gaps(record, &[ENDPOINTS, PODS]);
    kept.retain(|k| !unsure.iter().any(|gap| gap.touches(k.since_us, k.until_us)));
    let mut seen = Observed {
        windows: without(windows(&sets, start, end, lag_us), &blind),
        all: Counts::default(),
        opened: 0,
        moved: 0,
        answered: 0,
        users: 0,
        in_flight: 0.0,
        service_us: medians(record, &names),
        kept,
        blind: !blind.is_empty(),
        spoiled_us: 0,
        watched: !sets.is_empty(),
        traffic_start_us: start,
    };
    let mut seconds = 0u64;
    for interval in &record.intervals {
        let second = &interval.second;
        if second.start_us < start.saturating_add(warm_up) {
            continue;
        }
        seconds += 1;
        seen.users = seen.users.max(second.generator.users);
        let hidden = spoiled
            .iter()
            .any(|(from, until)| second.start_us < *until && *from < second.end_us);
        if hidden {
            let hidden = second.end_us.saturating_sub(second.start_us);
            seen.spoiled_us = seen.spoiled_us.saturating_add(hidden);
        }
        let mut window = seen
            .windows
            .iter_mut()
            .filter(|_| !hidden)
            .find(|w| w.start_us <= second.start_us && second.end_us <= w.end_us);
        for step in &second.steps {
            seen.opened = seen.opened.saturating_add(step.connections);
            seen.moved = seen.moved.saturating_add(step.moved);
            let answered = step
                .statuses
                .values()
                .fold(0, |a: u64, n| a.saturating_add(*n));
            seen.answered = seen.answered.saturating_add(answered);
            if let Some(window) = window.as_deref_mut() {
                window.opened = window.opened.saturating_add(step.connections);
                window.answered = window.answered.saturating_add(answered);
            }
            seen.in_flight += step.in_flight as f64;
            for (name, instance) in &step.instances {
                let name = names.place(name);
                add(&mut seen.all, name, instance.connections, instance.answered);
                if let Some(window) = window.as_deref_mut() {
                    let counts = &mut window.counts;
                    add(counts, name, instance.connections, instance.answered);
                }
            }
        }
    }
    seen.in_flight /= seconds.max(1) as f64;
    seen
}

fn add(counts: &mut Counts, name: &str, connections: u64, requests: u64) {
    for (map, n) in [
        (&mut counts.connections, connections),
        (&mut counts.requests, requests),
    ] {
        if n > 0 {
            let count = map.entry(name.to_string()).or_default();
            *count = count.saturating_add(n);
        }
    }
}

fn traffic_start(record: &Record) -> Micros {
    let phase = record.events.iter().find_map(|e| match e.what {
        What::Phase {
            phase: RunPhase::Traffic,
        } => Some(e.at),
        _ => None,
    });
    let first = record.intervals.first().map(|i| i.second.start_us);
    // The first second may begin a moment before the phase is written down.
    match (phase, first) {
        (Some(phase), Some(first)) => phase.min(first),
        (one, other) => one.or(other).unwrap_or(0),
    }
}

/// Names to count under: an instance that was restarted in its place goes on counting as that place, so that it is
/// judged once, over the whole run.
struct Names(BTreeMap<String, String>);

impl Names {
    fn new(record: &Record) -> Self {
        let mut slots = BTreeMap::new();
        for event in &record.events {
            if let What::Instance(i) = &event.what {
                slots.insert(i.name.clone(), i.slot.clone());
            }
        }
        // Where two of one place are eligible at once the place says nothing: keep the names.
        let shared = record.events.iter().any(|e| match &e.what {
            What::Endpoints { ready } => {
                let places = ready.iter().map(|n| slots.get(n).unwrap_or(n));
                let unique: BTreeSet<&String> = places.collect();
                unique.len() < ready.iter().collect::<BTreeSet<_>>().len()
            }
            _ => false,
        });
        if shared {
            slots.clear();
        }
        Self(slots)
    }
    fn place<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.get(name).map_or(name, String::as_str)
    }
}

/// The eligible set from each change on; what was before traffic counts as of its start.
fn eligible_sets(record: &Record, start: Micros, names: &Names) -> Vec<(Micros, Vec<String>)> {
    let mut sets: Vec<(Micros, Vec<String>)> = Vec::new();
    // A restart in place changes who is behind a name, which takes as long to spread as any change: compare names.
    let mut last: Option<BTreeSet<&String>> = None;
    for event in &record.events {
        let What::Endpoints { ready } = &event.what else {
            continue;
        };
        let raw: BTreeSet<&String> = ready.iter().collect();
        if last.as_ref() == Some(&raw) {
            continue;
        }
        let places: BTreeSet<String> = raw.iter().map(|n| names.place(n).to_string()).collect();
        last = Some(raw);
        if event.at <= start {
            sets.clear();
        }
        sets.push((event.at.max(start), places.into_iter().collect()));
    }
    sets
}

/// The set of a platform that lists none: the instances that answered, and as many unseen ones as are lacking.
fn said_to_be_there(record: &Record, n: usize) -> Vec<String> {
    let steps = record.intervals.iter().flat_map(|i| &i.second.steps);
    let seen: BTreeSet<&String> = steps.flat_map(|s| s.instances.keys()).collect();
    let unseen = (1..=n.saturating_sub(seen.len())).map(|i| match i {
        1 => "an instance that never answered".to_string(),
        i => format!("an instance that never answered ({i})"),
    });
    seen.iter()
        .map(|name| name.to_string())
        .chain(unseen)
        .collect()
}

fn windows(sets: &[(Micros, Vec<String>)], start: Micros, end: Micros, lag: Micros) -> Vec<Window> {
    let ends = sets.iter().skip(1).map(|(at, _)| *at).chain([end]);
    sets.iter()
        .zip(ends)
        .map(|((at, eligible), end_us)| Window {
            // The set that the run began with had settled before.
            start_us: if *at <= start {
                start
            } else {
                at.saturating_add(lag)
            },
            end_us,
            eligible: eligible.clone(),
            counts: Counts::default(),
            opened: 0,
            answered: 0,
        })
        .filter(|w| w.start_us < w.end_us)
        .collect()
}

/// The windows without the times in which the set was not watched: it may have been another one.
fn without(windows: Vec<Window>, blind: &[Gap]) -> Vec<Window> {
    let cut = |windows: Vec<Window>, gap: &Gap| -> Vec<Window> {
        let parts = windows.into_iter().flat_map(|w| {
            let before = (w.start_us, w.end_us.min(gap.from));
            let after = (w.start_us.max(gap.to), w.end_us);
            let parts = match gap.touches(w.start_us, w.end_us) {
                true => vec![before, after],
                false => vec![(w.start_us, w.end_us)],
            };
            parts.into_iter().map(move |(start_us, end_us)| Window {
                start_us,
                end_us,
                ..w.clone()
            })
        });
        parts.filter(|w| w.start_us < w.end_us).collect()
    };
    blind.iter().fold(windows, cut)
}

fn medians(record: &Record, names: &Names) -> BTreeMap<String, u64> {
    let mut merged: BTreeMap<String, crate::record::Latency> = BTreeMap::new();
    for histograms in record.intervals.iter().flat_map(|i| &i.histograms) {
        for (name, latency) in &histograms.instances {
            let place = names.place(name).to_string();
            let into = merged
                .entry(place)
                .or_insert_with(crate::record::coarse_latency);
            // Both have the bounds of `coarse_latency`; a histogram that does not fit is a torn record, and a median
            // without it is still one.
            let _ = into.add(latency);
        }
    }
    let medians = merged.into_iter().filter(|(_, h)| !h.is_empty());
    medians
        .map(|(name, h)| (name, h.value_at_quantile(0.5)))
        .collect()
}
