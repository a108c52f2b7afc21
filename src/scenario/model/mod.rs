//! A scenario as the program knows it: parsed, valid, with every quantity in its unit.
//!
//! The model is plain data. It is written into the record's header (secrets masked), so that a run can be judged
//! again from its record alone; a field added here needs `#[serde(default)]`, or older records no longer read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units::{duration, duration_opt};

mod alert;
mod capacity;
mod expect;
mod fault;
mod fault_kind;
mod files;
mod guard;
mod journey;
mod target;
mod traffic;
mod usage;

pub use alert::*;
pub use capacity::*;
pub use expect::*;
pub use fault::*;
pub use fault_kind::*;
pub use guard::*;
pub use journey::*;
pub use target::*;
pub use traffic::*;
pub use usage::*;

/// Everything one run does, and what is expected of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Scenario {
    /// What the run shows, in words; also names the record's folder.
    pub name: String,
    /// Longer text for the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Makes every random choice repeatable; drawn and recorded when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The system under test.
    pub target: Target,
    /// Named traffic flows, in file order.
    pub traffic: Vec<Flow>,
    /// Faults, in file order.
    #[serde(default)]
    pub faults: Vec<FaultSpec>,
    /// What may be broken, and when to give up.
    #[serde(default)]
    pub guard: Guard,
    /// What is watched beside the target.
    #[serde(default, skip_serializing_if = "Observe::is_empty")]
    pub observe: Observe,
    /// What must hold.
    #[serde(default)]
    pub expect: Vec<Expectation>,
    /// How `squall capacity` searches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Capacity>,
    /// How the run itself is carried out.
    #[serde(default)]
    pub run: RunOptions,
    /// Values that must never be printed or recorded, by variable name.
    #[serde(default)]
    pub secrets: BTreeMap<String, Secret>,
    /// The folder of the scenario file; relative paths in it start here.
    #[serde(default)]
    pub base_dir: PathBuf,
}

impl Scenario {
    /// When the last flow's schedule ends, counted from the start of traffic.
    pub fn duration(&self) -> Duration {
        let ends = self.traffic.iter().map(|f| f.start + f.load.duration());
        ends.max().unwrap_or_default()
    }
}

/// A value that prints and serializes as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Marks a value as secret.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }
    /// The value itself, for sending only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d).map(Self)
    }
}

/// How the run itself is carried out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunOptions {
    /// Worker threads; one per core, less one where there are several, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// Traffic of the first so long is shown, not judged.
    #[serde(default, with = "duration")]
    pub warm_up: Duration,
    /// How long requests in flight may take to finish when traffic ends.
    #[serde(default, with = "duration_opt")]
    pub graceful_stop: Option<Duration>,
}
