//! Computing the [`Summary`]: what it means is said where it is declared.

use std::collections::BTreeMap;

use super::analysis::Analysis;
use super::timeline::{Scope, Timeline, steps, summary_of};
use super::{InstanceSummary, PhaseSummary, StepSummary, Summary, Totals};
use crate::record::{Latency, Level, Sample, What, latency};
use crate::scenario::{FaultPhase, Node};

pub(super) fn summary(analysis: &Analysis<'_>) -> Summary {
    let timeline = &analysis.timeline;
    let record = timeline.record;
    Summary {
        scenario: record.header.scenario.name.clone(),
        started: record.header.started.clone(),
        version: record.header.version.clone(),
        seed: record.header.seed,
        host: record.header.host.clone(),
        ended: timeline.ended.cloned(),
        traffic_start_us: timeline.traffic_start,
        traffic_end_us: timeline
            .seconds
            .iter()
            .map(|s| super::timeline::end_of(s))
            .max()
            .unwrap_or(timeline.traffic_start),
        all: totals(timeline, &Scope::default()),
        steps: step_summaries(timeline),
        phases: phase_summaries(analysis),
        instances: instance_summaries(timeline),
        faults: analysis.faults.clone(),
        generator: analysis.generator.summary.clone(),
        samples: samples(timeline),
        notes: notes(analysis),
    }
}

fn totals(timeline: &Timeline<'_>, scope: &Scope<'_>) -> Totals {
    timeline.slice(scope).totals()
}

/// Steps in scenario order; one that the scenario does not know comes last, in order of appearance.
fn step_summaries(timeline: &Timeline<'_>) -> Vec<StepSummary> {
    let mut order: Vec<(String, String)> = Vec::new();
    for flow in &timeline.record.header.scenario.traffic {
        step_names(&flow.journey, &mut |step| {
            let name = (flow.name.clone(), step.to_string());
            if !order.contains(&name) {
                order.push(name);
            }
        });
    }
    let mut seen = vec![false; order.len()];
    for index in timeline.judged() {
        for step in &timeline.seconds[index].second.steps {
            match order
                .iter()
                .position(|(f, s)| *f == step.flow && *s == step.step)
            {
                Some(at) => seen[at] = true,
                None => {
                    order.push((step.flow.clone(), step.step.clone()));
                    seen.push(true);
                }
            }
        }
    }
    order
        .into_iter()
        .zip(seen)
        .filter(|(_, seen)| *seen)
        .map(|((flow, step), _)| {
            let scope = Scope {
                flow: Some(&flow),
                step: Some(&step),
                seconds: None,
            };
            StepSummary {
                totals: totals(timeline, &scope),
                flow,
                step,
            }
        })
        .collect()
}

fn step_names(nodes: &[Node], found: &mut impl FnMut(&str)) {
    for node in nodes {
        match node {
            Node::Step(step) => found(&step.name),
            Node::Choose(branches) => {
                for branch in branches {
                    step_names_dyn(&branch.journey, found);
                }
            }
            Node::Think(_) => {}
        }
    }
}

/// As [`step_names`], through a trait object: a generic function cannot call itself with `&mut` of its argument
/// over and over.
fn step_names_dyn(nodes: &[Node], found: &mut dyn FnMut(&str)) {
    step_names(nodes, &mut |name: &str| found(name));
}

fn phase_summaries(analysis: &Analysis<'_>) -> Vec<PhaseSummary> {
    if !analysis.injections.iter().any(|i| i.effective()) {
        return Vec::new();
    }
    [FaultPhase::Before, FaultPhase::During, FaultPhase::After]
        .into_iter()
        .map(|phase| PhaseSummary {
            phase,
            totals: totals(
                &analysis.timeline,
                &Scope {
                    seconds: Some(analysis.phases.of(phase)),
                    ..Scope::default()
                },
            ),
        })
        .collect()
}

#[derive(Default)]
struct InstanceSums {
    slot: Option<String>,
    answered: u64,
    failed: u64,
    connections: u64,
    service: Option<Latency>,
    cpu: Vec<u64>,
    memory_max: u64,
}

fn instance_summaries(timeline: &Timeline<'_>) -> Vec<InstanceSummary> {
    let mut order: Vec<String> = Vec::new();
    let mut sums: BTreeMap<String, InstanceSums> = BTreeMap::new();
    let mut entry =
        |name: &str, order: &mut Vec<String>, change: &mut dyn FnMut(&mut InstanceSums)| {
            if !sums.contains_key(name) {
                order.push(name.to_string());
            }
            change(sums.entry(name.to_string()).or_default());
        };
    for event in &timeline.record.events {
        match &event.what {
            What::Instance(change) => entry(&change.name, &mut order, &mut |sum| {
                sum.slot = Some(change.slot.clone());
            }),
            What::Usage {
                instance,
                cpu_millicores,
                memory_bytes,
            } if event.at >= timeline.judged_from && event.at < timeline.stopping => {
                entry(instance, &mut order, &mut |sum| {
                    sum.cpu.push(*cpu_millicores);
                    sum.memory_max = sum.memory_max.max(*memory_bytes);
                });
            }
            _ => {}
        }
    }
    for index in timeline.judged() {
        for (step, histograms) in steps(timeline.seconds[index]) {
            for (name, counts) in &step.instances {
                entry(name, &mut order, &mut |sum| {
                    sum.answered = sum.answered.saturating_add(counts.answered);
                    sum.failed = sum.failed.saturating_add(counts.failed);
                    sum.connections = sum.connections.saturating_add(counts.connections);
                });
            }
            for (name, histogram) in histograms.iter().flat_map(|h| &h.instances) {
                entry(name, &mut order, &mut |sum| {
                    let service = sum.service.get_or_insert_with(latency);
                    super::timeline::merge_into(service, histogram);
                });
            }
        }
    }
    let all = sums
        .values()
        .fold(0u64, |all, sum| all.saturating_add(sum.answered));
    order
        .into_iter()
        .filter_map(|name| sums.remove(&name).map(|sum| (name, sum)))
        .map(|(name, sum)| instance_summary(name, &sum, all))
        .collect()
}

fn instance_summary(name: String, sum: &InstanceSums, all: u64) -> InstanceSummary {
    let cpu_sum: u128 = sum.cpu.iter().map(|v| u128::from(*v)).sum();
    let cpu_mean = cpu_sum / sum.cpu.len().max(1) as u128;
    InstanceSummary {
        name,
        slot: sum.slot.clone(),
        answered: sum.answered,
        failed: sum.failed,
        share: if all > 0 {
            sum.answered as f64 / all as f64
        } else {
            0.0
        },
        connections: sum.connections,
        service: sum.service.as_ref().map(summary_of).unwrap_or_default(),
        // A mean of u64s is a u64.
        cpu_mean_millicores: u64::try_from(cpu_mean).unwrap_or(u64::MAX),
        cpu_max_millicores: sum.cpu.iter().copied().max().unwrap_or(0),
        memory_max_bytes: sum.memory_max,
    }
}

/// The first sample of each step and kind.
fn samples(timeline: &Timeline<'_>) -> Vec<Sample> {
    let mut kept: Vec<Sample> = Vec::new();
    for event in &timeline.record.events {
        if let What::Sample(sample) = &event.what {
            let known = |k: &Sample| {
                k.flow == sample.flow
                    && k.step == sample.step
                    && k.outcome == sample.outcome
                    && k.status == sample.status
            };
            if !kept.iter().any(known) {
                kept.push(sample.clone());
            }
        }
    }
    kept
}

fn notes(analysis: &Analysis<'_>) -> Vec<(Level, String)> {
    let timeline = &analysis.timeline;
    let mut notes: Vec<(Level, String)> = Vec::new();
    for event in &timeline.record.events {
        if let What::Note { level, text } = &event.what {
            notes.push((*level, text.clone()));
        }
    }
    for damage in &timeline.record.damage {
        notes.push((Level::Warning, format!("the record is damaged: {damage}")));
    }
    if timeline.ended.is_none() {
        let text = analysis.cut_short().unwrap_or_else(|| {
            "the record has no end: squall was ended after the traffic, before it had cleaned up".into()
        });
        notes.push((Level::Error, text));
    }
    for injection in &analysis.injections {
        for failure in &injection.undo_failures {
            let text = format!("undoing injection {} failed: {failure}", injection.number);
            notes.push((Level::Error, text));
        }
    }
    notes
}
