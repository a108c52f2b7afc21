//! What must hold for a response, and what is kept of it for later steps.

use std::time::Duration;

use memchr::memmem::Finder;
use regex::bytes::Regex;
use serde_json::Value as Json;
use serde_json_path::JsonPath;

use super::TrafficError;
use super::extract::{Extraction, Source, json_path, parse, plain, regex};
use super::reply::Reply;
use super::text::{Escape, Names, Scope, Text, Value};
use crate::record::Micros;
use crate::scenario::{Check, JsonOp, Op, StatusMatch, Step, TextTest};

/// The checks and extractions of a step.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    statuses: Vec<StatusMatch>,
    checks: Vec<Compiled>,
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

#[derive(Debug, Clone)]
enum Compiled {
    Header(String, Test),
    Body(Test),
    Json(JsonPath, JsonOp, Wanted),
    Size(Op, u64),
    Time(Op, Duration),
}

#[derive(Debug, Clone)]
enum Test {
    Equals(Text),
    Contains(Box<Finder<'static>>),
    ContainsText(Text),
    Matches(Regex),
}

/// The value that JSON is compared with.
#[derive(Debug, Clone)]
enum Wanted {
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

impl Expected {
    /// Compiles a step's checks and extractions.
    pub fn compile(
        step: &Step,
        names: &Names,
        slot_of: impl Fn(&str) -> usize,
    ) -> Result<Self, TrafficError> {
        let mut expected = Self::default();
        for check in &step.checks {
            let compiled = match check {
                Check::Status(statuses) => {
                    expected.statuses.extend(statuses);
                    continue;
                }
                Check::Header { name, test } => {
                    Compiled::Header(name.clone(), Test::compile(test, names)?)
                }
                Check::Body(test) => Compiled::Body(Test::compile(test, names)?),
                Check::Json { path, op, value } => {
                    Compiled::Json(json_path(path)?, *op, Wanted::compile(value, names)?)
                }
                Check::Size { op, value } => Compiled::Size(*op, value.get()),
                Check::Time { op, value } => Compiled::Time(*op, *value),
            };
            expected.needs_body |= matches!(compiled, Compiled::Body(_) | Compiled::Json(..));
            expected.checks.push(compiled);
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
                Some(Compiled::Header(name, _)) => {
                    format!("the check of header `{name}` does not hold")
                }
                Some(Compiled::Body(_)) => "the check of the body does not hold".into(),
                Some(Compiled::Json(path, ..)) => format!("the check of `{path}` does not hold"),
                Some(Compiled::Size(op, size)) => {
                    format!("the size is {} B, expected {op} {size} B", reply.body_bytes)
                }
                Some(Compiled::Time(op, limit)) => {
                    format!("the response time is not {op} {limit:?}")
                }
                None => "a check does not hold".into(),
            },
        }
    }
}

impl Compiled {
    fn holds(
        &self,
        reply: &Reply,
        response_us: Micros,
        parsed: &mut Option<Json>,
        scope: &mut Scope<'_>,
    ) -> bool {
        match self {
            Compiled::Header(name, test) => {
                reply.any_header(name, |value| test.holds(value, scope))
            }
            Compiled::Body(test) => test.holds(reply.body(), scope),
            Compiled::Json(path, op, wanted) => {
                let found = path.query(parse(reply, parsed)).first();
                match (op, found) {
                    (JsonOp::Exists, found) => found.is_some(),
                    (_, None) => false,
                    (op, Some(found)) => wanted.compare(found, *op, scope),
                }
            }
            Compiled::Size(op, size) => op.holds(reply.body_bytes, *size),
            Compiled::Time(op, limit) => op.holds(Duration::from_micros(response_us), *limit),
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
                let (left, right) = (found.as_f64(), wanted.as_f64());
                let equal = match (left, right) {
                    (Some(left), Some(right)) => left == right,
                    _ => found == wanted,
                };
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

#[cfg(test)]
mod tests {
    use rand_pcg::Pcg64;
    use serde_json::json;

    use super::*;
    use crate::scenario::units::Size;
    use crate::scenario::{Extract, ExtractFrom};
    use crate::traffic::testing::step;
    use crate::traffic::text::Binding;

    fn reply(status: u16, body: &str) -> Reply {
        let mut reply = Reply {
            status,
            ..Reply::default()
        };
        reply.keep = usize::MAX;
        reply.push_body(body.as_bytes());
        let (headers, _) = reply.parts();
        headers.append("x-a", "one".parse().unwrap());
        headers.append("x-a", "two".parse().unwrap());
        reply
    }

    fn names() -> Names {
        let mut names = Names::default();
        names.bind("id", Binding::Slot(0));
        names.bind("b", Binding::Slot(1));
        names
    }

    fn slot(name: &str) -> usize {
        if name == "id" { 0 } else { 1 }
    }

    fn holds(check: Check, reply: &Reply) -> bool {
        let mut step = step("GET", "/");
        step.checks = vec![check];
        let expected = Expected::compile(&step, &names(), slot).unwrap();
        let mut values = vec![Value::default(); 2];
        values[0].set("7");
        let mut rng = Pcg64::new(0, 0);
        let mut scope = Scope {
            values: &values,
            user: 1,
            iteration: 1,
            rng: &mut rng,
        };
        expected.judge(reply, 5_000, &mut scope).0 == Finding::Good
    }

    #[test]
    fn without_a_check_any_status_under_400_is_good() {
        let expected = Expected::default();
        assert!(expected.accepts(200) && expected.accepts(302) && expected.accepts(399));
        assert!(!expected.accepts(400) && !expected.accepts(503));
    }

    #[test]
    fn every_check_can_hold_and_fail() {
        let good = reply(
            200,
            r#"{"items": [{"id": 7, "s": "7", "n": null}], "text": "hello"}"#,
        );
        let text = |t: &str| TextTest::Contains(t.into());
        let header = |test| Check::Header {
            name: "x-a".into(),
            test,
        };
        let json = |path: &str, op, value| Check::Json {
            path: path.into(),
            op,
            value,
        };
        for (check, expected) in [
            (Check::Status(vec![StatusMatch::Exact(200)]), true),
            (
                Check::Status(vec![StatusMatch::Exact(201), StatusMatch::Class(2)]),
                true,
            ),
            (Check::Status(vec![StatusMatch::Class(4)]), false),
            (header(TextTest::Equals("two".into())), true),
            (header(TextTest::Equals("tw".into())), false),
            (header(TextTest::Matches("^t.o$".into())), true),
            (
                Check::Header {
                    name: "x-b".into(),
                    test: text(""),
                },
                false,
            ),
            (Check::Body(text("hello")), true),
            (Check::Body(text("\"id\": {{ id }}")), true),
            (Check::Body(text("\"id\": 1{{ id }}")), false),
            (Check::Body(text("Hello")), false),
            (Check::Body(TextTest::Matches(r"\d,".into())), true),
            (json("$.items[0].id", JsonOp::Exists, Json::Null), true),
            (json("$.items[0].n", JsonOp::Exists, Json::Null), true),
            (json("$.items[1]", JsonOp::Exists, Json::Null), false),
            (json("$.items[0].id", JsonOp::Equal, json!(7.0)), true),
            (
                json("$.items[0].id", JsonOp::Equal, json!("{{ id }}")),
                true,
            ),
            (json("$.items[0].s", JsonOp::Equal, json!(7)), false),
            (json("$.items[0].id", JsonOp::NotEqual, json!(8)), true),
            (json("$.nothing", JsonOp::NotEqual, json!(8)), false),
            (json("$.items[0].id", JsonOp::Less, json!(7)), false),
            (json("$.items[0].id", JsonOp::AtMost, json!(7)), true),
            (
                json("$.items[0].id", JsonOp::More, json!("{{ id }}")),
                false,
            ),
            (
                json("$.items[0].id", JsonOp::AtLeast, json!("{{ id }}")),
                true,
            ),
            (json("$.text", JsonOp::More, json!(1)), false),
            (
                Check::Size {
                    op: Op::Less,
                    value: Size::bytes(1000),
                },
                true,
            ),
            (
                Check::Size {
                    op: Op::More,
                    value: Size::bytes(1000),
                },
                false,
            ),
            (
                Check::Time {
                    op: Op::AtMost,
                    value: Duration::from_millis(5),
                },
                true,
            ),
            (
                Check::Time {
                    op: Op::Less,
                    value: Duration::from_millis(5),
                },
                false,
            ),
        ] {
            assert_eq!(holds(check.clone(), &good), expected, "{check:?}");
        }
        let broken = reply(200, "no json");
        assert!(!holds(json("$", JsonOp::Equal, json!(1)), &broken));
    }

    #[test]
    fn values_are_extracted_or_defaulted_or_missed() {
        let mut step = step("GET", "/");
        let extract = |variable: &str, from, default: Option<&str>| Extract {
            variable: variable.into(),
            from,
            default: default.map(Into::into),
        };
        let run = |extracts: Vec<Extract>, step: &mut Step| {
            step.extract = extracts;
            let expected = Expected::compile(step, &names(), slot).unwrap();
            let mut values = vec![Value::default(); 2];
            let reply = reply(200, r#"{"a": [5, "x"]} tail=abc;"#);
            let json = reply_json();
            let mut rng = Pcg64::new(0, 0);
            let missing = expected.extract(&reply, Some(json), &mut values, 1, 1, &mut rng);
            (
                values[0].get().to_string(),
                values[1].get().to_string(),
                missing,
            )
        };
        fn reply_json() -> Json {
            json!({"a": [5, "x"]})
        }
        let pattern = |p: &str, group| ExtractFrom::Regex {
            pattern: p.into(),
            group,
        };
        let got = run(
            vec![
                extract("id", ExtractFrom::Json("$.a[0]".into()), None),
                extract("b", pattern("tail=(.*?);", 1), None),
            ],
            &mut step,
        );
        assert_eq!(got, ("5".into(), "abc".into(), None));
        let got = run(
            vec![
                extract("id", ExtractFrom::Header("x-a".into()), None),
                extract("b", ExtractFrom::Json("$.zzz".into()), Some("d-{{ id }}")),
            ],
            &mut step,
        );
        assert_eq!(got, ("one".into(), "d-one".into(), None));
        let got = run(
            vec![extract("id", ExtractFrom::Header("nope".into()), None)],
            &mut step,
        );
        assert_eq!(got, (String::new(), String::new(), Some(0)));
    }
}
