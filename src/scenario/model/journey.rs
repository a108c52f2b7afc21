//! What a user does: steps, checks, extractions.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::traffic::Think;
use crate::scenario::units::{Size, duration, duration_opt};

/// A node of a journey.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Node {
    /// One request.
    Step(Box<Step>),
    /// One of several branches, by weight.
    Choose(Vec<Branch>),
    /// A pause.
    Think(Think),
}

/// A weighted branch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Branch {
    /// Share of this branch among its siblings' weights.
    pub weight: f64,
    /// What it does.
    pub journey: Vec<Node>,
}

/// One request, and what its response must be. Strings may hold `{{ variable }}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Step {
    /// Unique in its flow; `GET /products` when not named.
    pub name: String,
    /// HTTP method, upper case.
    pub method: String,
    /// Path, joined to the target's base URL.
    pub path: String,
    /// Query parameters, encoded when sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<(String, String)>,
    /// Headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// Body.
    #[serde(default)]
    pub body: Body,
    /// From the send to the last byte; the flow's when absent.
    #[serde(default, with = "duration_opt")]
    pub timeout: Option<Duration>,
    /// Follow redirects of the same host (at most 10); needs reqwest.
    #[serde(default)]
    pub follow_redirects: bool,
    /// All must hold. With no status among them, any status under 400 will do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// Values kept for later steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extract: Vec<Extract>,
}

/// A request's body.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Body {
    /// None.
    #[default]
    None,
    /// Text as it is.
    Text(String),
    /// A JSON value; strings in it may hold variables.
    Json(serde_json::Value),
    /// A form, `application/x-www-form-urlencoded`.
    Form(Vec<(String, String)>),
    /// A file's bytes, read once.
    File(PathBuf),
}

/// What must hold for a response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Its status is one of these.
    Status(Vec<StatusMatch>),
    /// A header is there and satisfies the test.
    Header {
        /// Header name, lower case.
        name: String,
        /// The test.
        test: TextTest,
    },
    /// The body satisfies the test.
    Body(TextTest),
    /// The first value at a JSON path compares.
    Json {
        /// RFC 9535 JSON path.
        path: String,
        /// The comparison.
        op: JsonOp,
        /// The other side; unused by `Exists`.
        value: serde_json::Value,
    },
    /// The body's size compares.
    Size {
        /// The comparison.
        op: Op,
        /// The other side.
        value: Size,
    },
    /// The response time compares.
    Time {
        /// The comparison.
        op: Op,
        /// The other side.
        #[serde(with = "duration")]
        value: Duration,
    },
}

/// A status or a class of statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatusMatch {
    /// Exactly this one.
    Exact(u16),
    /// A class: 2 for `2xx`.
    Class(u16),
}

/// A test on text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextTest {
    /// Is exactly this.
    Equals(String),
    /// Has this in it.
    Contains(String),
    /// Matches this regular expression somewhere.
    Matches(String),
}

/// Comparison of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Less than.
    #[serde(rename = "<")]
    Less,
    /// At most.
    #[serde(rename = "<=")]
    AtMost,
    /// More than.
    #[serde(rename = ">")]
    More,
    /// At least.
    #[serde(rename = ">=")]
    AtLeast,
    /// Equal.
    #[serde(rename = "==")]
    Equal,
}

impl Op {
    /// Whether `left OP right` holds.
    pub fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Op::Less => left < right,
            Op::AtMost => left <= right,
            Op::More => left > right,
            Op::AtLeast => left >= right,
            Op::Equal => left == right,
        }
    }
    /// Whether smaller values are the better ones.
    pub fn is_upper_bound(self) -> bool {
        matches!(self, Op::Less | Op::AtMost)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Op::Less => "<",
            Op::AtMost => "<=",
            Op::More => ">",
            Op::AtLeast => ">=",
            Op::Equal => "==",
        })
    }
}

/// Comparison of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JsonOp {
    /// The path leads to something.
    Exists,
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// Less than, as numbers.
    Less,
    /// At most, as numbers.
    AtMost,
    /// More than, as numbers.
    More,
    /// At least, as numbers.
    AtLeast,
}

/// A value taken from a response into a variable; a response without it fails the step's check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Extract {
    /// The variable.
    pub variable: String,
    /// Where the value is.
    pub from: ExtractFrom,
    /// Used when it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

/// Where an extracted value is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExtractFrom {
    /// The first value at a JSON path.
    Json(String),
    /// The first match in the body; this group of it.
    Regex {
        /// The regular expression.
        pattern: String,
        /// 0 is the whole match.
        group: usize,
    },
    /// A response header.
    Header(String),
}
