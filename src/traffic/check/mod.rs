//! What must hold for a response, and what is kept of it for later steps.

use serde_json::Value as Json;

use super::TrafficError;
use super::extract::{Extraction, Source};
use super::reply::Reply;
use super::text::{Names, Scope, Value};
use crate::record::Micros;
use crate::scenario::{Check, StatusMatch, Step};

mod condition;

use condition::Condition;

/// The checks and extractions of a step.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    statuses: Vec<StatusMatch>,
    checks: Vec<Condition>,
    extracts: Vec<Extraction>,
    needs_body: bool,
}

/// What a response turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// All holds, and all is extracted.
    Good,
    /// The status is not among the accepted.
    Status,
    /// This check does not hold.
    Check(usize),
    /// This value is not there and has no default: later steps cannot go on.
    Missing(usize),
}

impl Expected {
    /// Compiles a step's checks and extractions.
    pub fn compile(
        step: &Step,
        names: &Names,
        slot_of: impl Fn(&str) -> usize,
    ) -> Result<Self, TrafficError> {
        let mut expected = Self::default();
        for check in &step.checks {
            if let Check::Status(statuses) = check {
                expected.statuses.extend(statuses);
            }
            if let Some(condition) = Condition::compile(check, names)? {
                expected.needs_body |= condition.needs_body();
                expected.checks.push(condition);
            }
        }
        for extract in &step.extract {
            let extraction = Extraction::compile(extract, names, slot_of(&extract.variable))?;
            expected.needs_body |= !matches!(extraction.from, Source::Header(_));
            expected.extracts.push(extraction);
        }
        Ok(expected)
    }

    /// Whether the whole body must be kept.
    pub fn needs_body(&self) -> bool {
        self.needs_body
    }

    /// Whether a response that arrives in full can still fail for more than its status.
    pub fn beyond_status(&self) -> bool {
        !self.checks.is_empty() || !self.extracts.is_empty()
    }

    /// Whether a status is accepted: without a check on it, any under 400 is.
    pub fn accepts(&self, status: u16) -> bool {
        if self.statuses.is_empty() {
            return status < 400;
        }
        self.statuses.iter().any(|accepted| match accepted {
            StatusMatch::Exact(exact) => *exact == status,
            StatusMatch::Class(class) => *class == status / 100,
        })
    }

    /// Judges a response, given its response time. Checks see the variables as they were before the step's own
    /// extractions.
    pub fn judge(
        &self,
        reply: &Reply,
        response_us: Micros,
        scope: &mut Scope<'_>,
    ) -> (Finding, Option<Json>) {
        if !self.accepts(reply.status) {
            return (Finding::Status, None);
        }
        let mut parsed = None;
        for (index, check) in self.checks.iter().enumerate() {
            if !check.holds(reply, response_us, &mut parsed, scope) {
                return (Finding::Check(index), parsed);
            }
        }
        (Finding::Good, parsed)
    }

    /// Takes the step's values out of a response, whatever its checks say; the first that is missing and has no
    /// default is named.
    pub fn extract(
        &self,
        reply: &Reply,
        mut parsed: Option<Json>,
        values: &mut [Value],
        user: u64,
        iteration: u64,
        rng: &mut rand_pcg::Pcg64,
    ) -> Option<usize> {
        let mut missing = None;
        for (index, extraction) in self.extracts.iter().enumerate() {
            let default = |values: &[Value], rng: &mut rand_pcg::Pcg64| {
                let default = extraction.default.as_ref()?;
                let mut text = String::new();
                default.render(
                    &mut Scope {
                        values,
                        user,
                        iteration,
                        rng,
                    },
                    &mut text,
                );
                Some(text)
            };
            let found = extraction
                .find(reply, &mut parsed)
                .or_else(|| default(values, rng));
            match (found, values.get_mut(extraction.slot)) {
                (Some(found), Some(value)) => value.set(&found),
                (None, Some(value)) => {
                    value.unset();
                    missing = missing.or(Some(index));
                }
                (_, None) => {}
            }
        }
        missing
    }

    /// Says in words what a finding found.
    pub fn describe(&self, finding: Finding, reply: &Reply) -> String {
        match finding {
            Finding::Good => "all checks hold".into(),
            Finding::Status => format!("status {} is not accepted", reply.status),
            Finding::Missing(index) => match self.extracts.get(index) {
                Some(e) => format!("nothing to extract into `{}`", e.variable),
                None => "nothing to extract".into(),
            },
            Finding::Check(index) => match self.checks.get(index) {
                Some(condition) => condition.describe_failure(reply),
                None => "a check does not hold".into(),
            },
        }
    }
}

#[cfg(test)]
mod tests;
