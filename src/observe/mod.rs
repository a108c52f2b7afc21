//! Observers.

pub mod alerts;
pub mod usage;

use std::time::Duration;

/// Samples of pods are looked for so often: a new one is told so much late at most, and judges count on it.
pub const PODS_SAMPLED_EVERY: Duration = Duration::from_secs(2);

/// How the note begins that says why what pods use is not recorded.
pub const USAGE_NOT_RECORDED: &str = "what the pods use is not recorded";

/// What the samples of pods are called where the view of them is lost.
pub const POD_SAMPLES: &str = "podmetrics";
