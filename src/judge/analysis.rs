//! A record with everything that both the summary and the verdicts need, computed once.

use std::time::Duration;

use super::FaultSummary;
use super::generator::{self, Assessment};
use super::injection::{Injection, injections};
use super::restore::criteria;
use super::timeline::{Scope, Timeline};
use super::trace::{Phases, Windows, summaries, trace};
use super::words::{counted, moment};
use crate::record::{Ended, Micros, RECORD_FILE, Record};
use crate::scenario::{Expectation, RecoveryExpectation, SloExpectation};

/// How long a service is watched for a relapse where no expectation says how long recovery may take: not at all, so
/// that what goes wrong later counts as after the fault.
const DEFAULT_WATCH: Duration = Duration::ZERO;

/// A record analysed.
#[derive(Debug)]
pub(crate) struct Analysis<'a> {
    /// Its layout in time.
    pub timeline: Timeline<'a>,
    /// Every injection.
    pub injections: Vec<Injection>,
    /// Every injection with what followed, by the first recovery expectation's criteria.
    pub faults: Vec<FaultSummary>,
    /// The run cut up by faults.
    pub phases: Phases,
    /// The generator.
    pub generator: Assessment,
}

impl<'a> Analysis<'a> {
    /// Analyses a record.
    pub fn new(record: &'a Record) -> Self {
        let timeline = Timeline::new(record);
        let injections = injections(record);
        let expected = first_recovery(record);
        let windows = Windows::new(&timeline, criteria(&record.header.scenario, expected));
        let within = expected.map_or(DEFAULT_WATCH, |r| r.within);
        let traces = trace(&timeline, &injections, &windows.search(false), within);
        Self {
            faults: summaries(&injections, &traces),
            phases: Phases::cut(&timeline, &injections, &traces),
            generator: generator::assess(&timeline),
            injections,
            timeline,
        }
    }

    /// The part of the traffic that an expectation is about.
    pub fn scope<'s>(&'s self, slo: &'s SloExpectation) -> Scope<'s> {
        Scope {
            flow: slo.flow.as_deref(),
            step: slo.step.as_deref(),
            seconds: slo.phase.map(|phase| self.phases.of(phase)),
        }
    }

    /// Why the record is not the whole run; `None` where all that was scheduled took place.
    pub fn cut_short(&self) -> Option<String> {
        let t = &self.timeline;
        // A second of slack: the last second of a schedule may end before the record of it is written.
        let whole = t.schedule_end.saturating_add(1_000_000) >= t.planned_end;
        let at = moment(t.schedule_end.min(t.stop), t.traffic_start);
        let planned = moment(t.planned_end, t.traffic_start);
        match t.ended {
            _ if whole => None,
            Some(Ended::Completed) => None,
            Some(Ended::Aborted { reason }) => Some(format!(
                "the run was aborted at {at} of {planned} ({reason})"
            )),
            None => Some(format!("the record stops at {at} of {planned}")),
        }
    }

    /// A line of the timeline that could not be read. A last line that is cut off is only the run's end.
    pub fn lost_event(&self) -> Option<&'a String> {
        let damage = &self.timeline.record.damage;
        damage
            .iter()
            .find(|d| d.starts_with(RECORD_FILE) && !d.ends_with("is cut off"))
    }

    /// A moment as seconds since traffic began.
    pub fn when(&self, at: Micros) -> String {
        moment(at, self.timeline.traffic_start)
    }

    /// What refused or failed injections there were, in words.
    pub fn not_injected(&self) -> Option<String> {
        let without: Vec<&Injection> = self.injections.iter().filter(|i| !i.effective()).collect();
        let first = without.first()?;
        let why = first.detail.as_deref().unwrap_or("no reason recorded");
        Some(format!(
            "{} could not be made ({}: {why})",
            counted(without.len() as u64, "injection"),
            first.name
        ))
    }
}

/// The first recovery expectation.
fn first_recovery(record: &Record) -> Option<&RecoveryExpectation> {
    let expect = record.header.scenario.expect.iter();
    expect
        .filter_map(|e| match e {
            Expectation::Recovery(recovery) => Some(recovery),
            _ => None,
        })
        .next()
}
