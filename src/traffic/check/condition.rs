//! One condition that a response must meet.

use std::time::Duration;

use memchr::memmem::Finder;
use regex::bytes::Regex;
use serde_json::Value as Json;
use serde_json_path::JsonPath;

use crate::record::Micros;
use crate::scenario::{Check, JsonOp, Op, TextTest};
use crate::traffic::TrafficError;
use crate::traffic::extract::{json_path, parse, plain, regex};
use crate::traffic::reply::Reply;
use crate::traffic::text::{Escape, Names, Scope, Text};

/// A check, ready to be tried.
#[derive(Debug, Clone)]
pub enum Condition {
    /// A header's value, any of them where there are several.
    Header(String, Test),
    /// The whole body, as text.
    Body(Test),
    /// The first value at a path.
    Json(JsonPath, JsonOp, Wanted),
    /// Bytes of the body.
    Size(Op, u64),
    /// The response time.
    Time(Op, Duration),
}

/// What a text must be like.
#[derive(Debug, Clone)]
pub enum Test {
    Equals(Text),
    Contains(Box<Finder<'static>>),
    ContainsText(Text),
    Matches(Regex),
}

/// The value that JSON is compared with.
#[derive(Debug, Clone)]
pub enum Wanted {
    Value(Json),
    /// From variables: compared as text.
    Text(Text),
}

impl Test {
    fn compile(test: &TextTest, names: &Names) -> Result<Self, TrafficError> {
        let text = |source| Text::compile(source, Escape::None, names);
        Ok(match test {
            TextTest::Equals(source) => Test::Equals(text(source)?),
            TextTest::Contains(source) => {
                let text = text(source)?;
                match text.constant() {
                    Some(part) => Test::Contains(Box::new(Finder::new(part).into_owned())),
                    None => Test::ContainsText(text),
                }
            }
            TextTest::Matches(pattern) => Test::Matches(regex(pattern)?),
        })
    }

    fn holds(&self, found: &[u8], scope: &mut Scope<'_>) -> bool {
        let rendered = |text: &Text, scope: &mut Scope<'_>| {
            let mut out = String::new();
            text.render(scope, &mut out);
            out
        };
        match self {
            Test::Equals(text) => match text.constant() {
                Some(constant) => found == constant.as_bytes(),
                None => found == rendered(text, scope).as_bytes(),
            },
            Test::Contains(finder) => finder.find(found).is_some(),
            Test::ContainsText(text) => {
                memchr::memmem::find(found, rendered(text, scope).as_bytes()).is_some()
            }
            Test::Matches(regex) => regex.is_match(found),
        }
    }
}

impl Condition {
    /// Compiles a check; that of the status is none: it is a set that all of a step's checks of it make up.
    pub fn compile(check: &Check, names: &Names) -> Result<Option<Self>, TrafficError> {
        Ok(Some(match check {
            Check::Status(_) => return Ok(None),
            Check::Header { name, test } => {
                Condition::Header(name.clone(), Test::compile(test, names)?)
            }
            Check::Body(test) => Condition::Body(Test::compile(test, names)?),
            Check::Json { path, op, value } => {
                Condition::Json(json_path(path)?, *op, Wanted::compile(value, names)?)
            }
            Check::Size { op, value } => Condition::Size(*op, value.get()),
            Check::Time { op, value } => Condition::Time(*op, *value),
        }))
    }

    /// Whether the whole body must be kept to try it.
    pub fn needs_body(&self) -> bool {
        matches!(self, Condition::Body(_) | Condition::Json(..))
    }

    /// Says that it does not hold.
    pub fn describe_failure(&self, reply: &Reply) -> String {
        match self {
            Condition::Header(name, _) => format!("the check of header `{name}` does not hold"),
            Condition::Body(_) => "the check of the body does not hold".into(),
            Condition::Json(path, ..) => format!("the check of `{path}` does not hold"),
            Condition::Size(op, size) => {
                format!("the size is {} B, expected {op} {size} B", reply.body_bytes)
            }
            Condition::Time(op, limit) => format!("the response time is not {op} {limit:?}"),
        }
    }

    /// Whether it holds. `parsed` is the body as JSON, once one condition has needed it.
    pub fn holds(
        &self,
        reply: &Reply,
        response_us: Micros,
        parsed: &mut Option<Json>,
        scope: &mut Scope<'_>,
    ) -> bool {
        match self {
            Condition::Header(name, test) => {
                reply.any_header(name, |value| test.holds(value, scope))
            }
            Condition::Body(test) => test.holds(reply.body(), scope),
            Condition::Json(path, op, wanted) => {
                let found = path.query(parse(reply, parsed)).first();
                match (op, found) {
                    (JsonOp::Exists, found) => found.is_some(),
                    (_, None) => false,
                    (op, Some(found)) => wanted.compare(found, *op, scope),
                }
            }
            Condition::Size(op, size) => op.holds(reply.body_bytes, *size),
            Condition::Time(op, limit) => op.holds(Duration::from_micros(response_us), *limit),
        }
    }
}

impl Wanted {
    fn compile(value: &Json, names: &Names) -> Result<Self, TrafficError> {
        let Json::String(source) = value else {
            return Ok(Wanted::Value(value.clone()));
        };
        let text = Text::compile(source, Escape::None, names)?;
        Ok(match text.constant() {
            Some(constant) => Wanted::Value(Json::String(constant.to_string())),
            None => Wanted::Text(text),
        })
    }

    fn compare(&self, found: &Json, op: JsonOp, scope: &mut Scope<'_>) -> bool {
        let rendered = |text: &Text, scope: &mut Scope<'_>| {
            let mut out = String::new();
            text.render(scope, &mut out);
            out
        };
        let (equal, number) = match self {
            Wanted::Value(wanted) => {
                let right = wanted.as_f64();
                // 5 and 5.0 are one number; but two whole ones that differ may be one as floating point: long ids do.
                let a_fraction = found.is_f64() || wanted.is_f64();
                let equal =
                    found == wanted || a_fraction && right.is_some() && found.as_f64() == right;
                (equal, right)
            }
            Wanted::Text(text) => {
                let wanted = rendered(text, scope);
                (plain(found) == wanted, wanted.trim().parse().ok())
            }
        };
        let ordered = |op: Op| match (found.as_f64(), number) {
            (Some(left), Some(right)) => op.holds(left, right),
            _ => false,
        };
        match op {
            JsonOp::Exists => true,
            JsonOp::Equal => equal,
            JsonOp::NotEqual => !equal,
            JsonOp::Less => ordered(Op::Less),
            JsonOp::AtMost => ordered(Op::AtMost),
            JsonOp::More => ordered(Op::More),
            JsonOp::AtLeast => ordered(Op::AtLeast),
        }
    }
}
