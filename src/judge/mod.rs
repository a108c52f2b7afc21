//! From a record to verdicts: pure functions, no clock, no network, no files.

use serde::{Deserialize, Serialize};

use crate::record::Micros;

mod summary;
pub mod words;

pub use summary::*;

/// PASS, FAIL or INCONCLUSIVE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Ruling {
    /// It held.
    Pass,
    /// It cannot be told; the verdict says what is missing.
    Inconclusive,
    /// It did not hold.
    Fail,
}

/// One judged expectation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// `slo`, `recovery`, ...
    pub oracle: String,
    /// The expectation as written: `p99 < 250ms`.
    pub expectation: String,
    /// The verdict.
    pub verdict: Ruling,
    /// One sentence: what was observed against what was expected, when, how much.
    pub because: String,
    /// What is missing, for INCONCLUSIVE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// The evidence, most telling first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
}

/// A fact that a verdict rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What: `first error`, `endpoint removed`.
    pub what: String,
    /// How much, with its unit.
    pub value: String,
    /// When, on the run's clock, if it has a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_us: Option<Micros>,
}
