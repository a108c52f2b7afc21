//! How much instances may use.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::scenario::expression;
use crate::scenario::units::{Cores, Ratio, Size, UnitError, duration};

/// What is expected of what instances use of their machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct UsageExpectation {
    /// CPU of each container, or of each instance.
    pub cpu: Most<Cores>,
    /// Memory of each.
    pub memory: Most<Size>,
    /// A container is throttled in at most this share of its scheduling periods; [`UsageExpectation::THROTTLED`] where
    /// that is seen, when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled: Option<Ratio>,
    /// CPU and throttling must be above their bounds for so long in a row.
    #[serde(rename = "for", with = "duration")]
    pub lasts: Duration,
    /// At most so many containers are killed for their memory.
    pub oom_kills: u32,
}

impl UsageExpectation {
    /// What `throttled` is where nothing is said, and throttling is seen.
    pub const THROTTLED: f64 = 0.25;
    /// What a container may use of its limit where nothing is said.
    pub const OF_LIMIT: f64 = 0.9;
}

/// At most so much of a resource: `90% of limit`, `150% of request`, an amount, or `any`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Most<T> {
    /// It is not looked at.
    Any,
    /// A share of the container's limit.
    OfLimit(Ratio),
    /// A share of its request.
    OfRequest(Ratio),
    /// So much.
    Amount(T),
}

impl<T> Most<T> {
    /// What it is a share of; `None` for an amount.
    pub fn base(&self) -> Option<&'static str> {
        match self {
            Most::OfLimit(_) => Some("limit"),
            Most::OfRequest(_) => Some("request"),
            Most::Any | Most::Amount(_) => None,
        }
    }
}

impl<T: fmt::Display> fmt::Display for Most<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Most::Any => f.write_str("any"),
            Most::OfLimit(share) => write!(f, "{share} of limit"),
            Most::OfRequest(share) => write!(f, "{share} of request"),
            Most::Amount(amount) => amount.fmt(f),
        }
    }
}

impl<T: expression::Amount> FromStr for Most<T> {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        expression::most(text).map_err(|wrong| UnitError(wrong.message))
    }
}

impl<T: fmt::Display> Serialize for Most<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, T: expression::Amount> Deserialize<'de> for Most<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
