//! The kinds of single values: how each is checked, and what the schema says of it.

use serde_json::{Value as Json, json};

use crate::scenario::expression::{self, Amount, Wrong};
use crate::scenario::tree;
use crate::scenario::units::{Cores, Rate, Size, UnitError, parse_duration};

/// A kind of single value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    /// Any text; numbers and booleans count as what is written.
    Text,
    /// Text that is not empty.
    Name,
    /// A name of letters, digits, `-`, `_` and `.`.
    Label,
    /// `true` or `false`.
    Bool,
    /// A whole number between two, both included.
    Int(u64, u64),
    /// A number above zero.
    Positive,
    /// A duration, `0s` too.
    Duration,
    /// A duration above zero.
    SomeTime,
    /// A rate.
    Rate,
    /// A share above 0% and up to 100%.
    Share,
    /// A think time.
    Think,
    /// A bound.
    Bound,
    /// An abort condition.
    Abort,
    /// A condition of an injection.
    When,
    /// A count, a share, `all`, or `each`.
    Pick,
    /// A label with its value.
    KeyValue,
    /// A share or a count.
    KeepReady,
    /// A status or a class of them.
    Status,
    /// A comparison with a duration.
    TimeCheck,
    /// A size above zero.
    Size,
    /// A comparison with a size.
    SizeCheck,
    /// How much CPU may be used.
    CpuBound,
    /// How much memory may be used.
    MemoryBound,
    /// A JSON path.
    JsonPath,
    /// A regular expression.
    Regex,
    /// An `http://` or `https://` URL.
    Url,
    /// A path that begins with `/`.
    UrlPath,
    /// A file.
    File,
    /// An IP address.
    Ip,
    /// A header name.
    Header,
    /// One of these words.
    Choice(&'static [(&'static str, &'static str)]),
    /// Any scalar, typed as YAML types it; null too.
    Value,
    /// Nothing needs to be said.
    Empty,
}

/// A duration as a pattern, without anchors.
const DURATION: &str = r"(?:(?:\d+\.?\d*|\.\d+)(?:us|µs|ms|s|min|m|h)\s*)+";
const NUMBER: &str = r"(?:\d+\.?\d*|\.\d+)";
const SIZES: &str = "B|[KMG]iB|[kKMG]B";
const PERCENT: &str = r"(?:0*100(?:\.0*)?|0*\d{1,2}(?:\.\d*)?|\.\d+)\s*%";
const SOME_PERCENT: &str = r"(?=[^%]*[1-9])(?:0*100(?:\.0*)?|0*\d{1,2}(?:\.\d*)?|\.\d+)\s*%";

impl Scalar {
    /// What is expected, for messages.
    pub fn expected(&self) -> String {
        match self {
            Scalar::Text => "text".into(),
            Scalar::Name => "text that is not empty".into(),
            Scalar::Label => "a name of letters, digits, `-`, `_` and `.`".into(),
            Scalar::Bool => "true or false".into(),
            Scalar::Int(0, u64::MAX) => "a whole number".into(),
            Scalar::Int(low, high) if *high >= u32::MAX as u64 => {
                format!("a whole number of at least {low}")
            }
            Scalar::Int(low, high) if low == high => format!("{low}"),
            Scalar::Int(low, high) => format!("a whole number from {low} to {high}"),
            Scalar::Positive => "a number above 0".into(),
            Scalar::Duration => "a duration with its unit, such as 250ms, 30s, 5m or 1h".into(),
            Scalar::SomeTime => "a duration above 0s, such as 250ms, 30s, 5m or 1h".into(),
            Scalar::Rate => "a rate with its unit, such as 500/s, 30/m or 7200/h".into(),
            Scalar::Share => "a share above 0% and up to 100%, such as 50% or 0.1%".into(),
            Scalar::Think => expression::THINK.into(),
            Scalar::Bound => expression::BOUND.into(),
            Scalar::Abort => expression::ABORT.into(),
            Scalar::When => expression::WHEN.into(),
            Scalar::Pick => "a count from 1, a share from above 0% to 100%, all, or each".into(),
            Scalar::KeyValue => "a label as KEY=VALUE, such as squall.dev/allow=true".into(),
            Scalar::KeepReady => "a share from above 0% to 100%, or a count of instances".into(),
            Scalar::Status => "a status from 100 to 599, or a class such as 2xx".into(),
            Scalar::TimeCheck => "a comparison with a duration, such as < 250ms".into(),
            Scalar::Size => "a size above 0B with its unit, such as 64MiB or 1GiB".into(),
            Scalar::SizeCheck => "a comparison with a size, such as < 4KiB".into(),
            Scalar::CpuBound => Cores::EXPECTED.into(),
            Scalar::MemoryBound => Size::EXPECTED.into(),
            Scalar::JsonPath => "a JSON path (RFC 9535), such as $.items[0].id".into(),
            Scalar::Regex => "a regular expression, such as id=(\\d+)".into(),
            Scalar::Url => "a URL such as https://example.org/api".into(),
            Scalar::UrlPath => "a path that begins with `/`".into(),
            Scalar::File => "a file, relative to the scenario".into(),
            Scalar::Ip => "an IP address, such as 127.0.0.2".into(),
            Scalar::Header => "a header name, such as content-type".into(),
            Scalar::Choice(words) => {
                let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                format!("one of {}", words.join(", "))
            }
            Scalar::Value => "a single value".into(),
            Scalar::Empty => "nothing, or a map".into(),
        }
    }

    /// Whether a scalar is of this kind. Its text is in the message, so the caller hides that of a substituted one.
    pub fn check(&self, scalar: &tree::Scalar) -> Result<(), Wrong> {
        let text = scalar.text.as_str();
        // A number in quotes is text, but what came from the environment has no type of its own.
        let typed = scalar.plain || scalar.substituted;
        let wrong = |message: String| Wrong::new(message, self.expected());
        let is = |right: bool| {
            let shown = if text.is_empty() {
                "an empty text"
            } else {
                &format!("`{text}`")
            };
            right
                .then_some(())
                .ok_or_else(|| wrong(format!("{shown} is not {}", self.noun())))
        };
        match self {
            Scalar::Text | Scalar::Value => Ok(()),
            Scalar::Name | Scalar::File => is(!text.trim().is_empty()),
            Scalar::Label => is(is_label(text)),
            Scalar::Bool => is(typed && matches!(text, "true" | "false")),
            Scalar::Int(low, high) => {
                let value = text.parse::<u64>().ok().filter(|_| digits(text));
                match value {
                    _ if !typed && value.is_some() => {
                        Err(wrong(format!("\"{text}\" in quotes is text, not a number")))
                    }
                    Some(value) if (*low..=*high).contains(&value) => Ok(()),
                    Some(value) => Err(wrong(format!("{value} is out of range"))),
                    None => is(false),
                }
            }
            Scalar::Positive => {
                let number = text.starts_with(|c: char| c.is_ascii_digit() || c == '.');
                let value = text.parse::<f64>().ok().filter(|v| number && v.is_finite());
                is(typed && value.is_some_and(|value| value > 0.0))
            }
            Scalar::Duration => parse_duration(text)
                .map(|_| ())
                .map_err(|e| self.unit(text, e)),
            Scalar::SomeTime => match parse_duration(text) {
                Ok(time) => is(!time.is_zero()),
                Err(error) => Err(self.unit(text, error)),
            },
            Scalar::Rate => text
                .parse::<Rate>()
                .map(|_| ())
                .map_err(|e| self.unit(text, e)),
            Scalar::Share => match text.parse::<crate::scenario::units::Ratio>() {
                Ok(_) => is(expression::share(text).is_some()),
                Err(error) => Err(self.unit(text, error)),
            },
            Scalar::Think => expression::think(text).map(|_| ()),
            Scalar::Bound => expression::bound(text).map(|_| ()),
            Scalar::Abort => expression::abort_when(text).map(|_| ()),
            Scalar::When => expression::when(text).map(|_| ()),
            Scalar::Pick => expression::pick(text).map(|_| ()),
            Scalar::KeyValue => is(expression::label(text).is_some()),
            Scalar::KeepReady => expression::keep_ready(text).map(|_| ()),
            Scalar::Status => expression::status(text).map(|_| ()),
            Scalar::TimeCheck => expression::time_check(text).map(|_| ()),
            Scalar::Size => match text.parse::<Size>() {
                Ok(size) => is(size.get() > 0),
                Err(error) => Err(self.unit(text, error)),
            },
            Scalar::SizeCheck => expression::size_check(text).map(|_| ()),
            Scalar::CpuBound => expression::most::<Cores>(text).map(|_| ()),
            Scalar::MemoryBound => expression::most::<Size>(text).map(|_| ()),
            Scalar::JsonPath => {
                serde_json_path::JsonPath::parse(text)
                    .map(|_| ())
                    .map_err(|error| {
                        wrong(format!("`{text}` is not a JSON path: {}", error.message()))
                    })
            }
            Scalar::Regex => regex::Regex::new(text).map(|_| ()).map_err(|error| {
                wrong(format!(
                    "`{text}` is not a regular expression: {}",
                    reason(&error)
                ))
            }),
            Scalar::Url => is(is_url(text)),
            Scalar::UrlPath => is(text.starts_with('/') && !text.contains(char::is_whitespace)),
            Scalar::Ip => is(text.parse::<std::net::IpAddr>().is_ok()),
            Scalar::Header => is(http::HeaderName::from_bytes(text.as_bytes()).is_ok()),
            Scalar::Choice(words) => is(words.iter().any(|(word, _)| *word == text)).map_err(|w| {
                let near =
                    super::super::problem::nearest(text, words.iter().map(|(word, _)| *word));
                Wrong {
                    help: near.map(|near| format!("did you mean `{near}`?")),
                    ..w
                }
            }),
            // Whatever is written, be it `""`, is something.
            Scalar::Empty => is(false),
        }
    }

    /// The kind in two words, for `... is not ...`.
    fn noun(&self) -> &'static str {
        match self {
            Scalar::Name => "a name",
            Scalar::Label => "a name of letters, digits, `-`, `_` and `.`",
            Scalar::KeyValue => "a label as KEY=VALUE",
            Scalar::Bool => "true or false",
            Scalar::Int(..) => "a whole number",
            Scalar::Positive => "a number above 0",
            Scalar::Duration => "a duration",
            Scalar::SomeTime => "a duration above 0s",
            Scalar::Rate => "a rate",
            Scalar::Size => "a size above 0B",
            Scalar::Share => "a share above 0% and up to 100%",
            Scalar::Url => "a URL that begins with http:// or https://",
            Scalar::UrlPath => "a path: it begins with `/` and has no spaces",
            Scalar::File => "the name of a file",
            Scalar::Ip => "an IP address",
            Scalar::Header => "a header name",
            Scalar::Choice(_) => "one of the known words",
            Scalar::Empty => "a known setting",
            _ => "what is expected here",
        }
    }

    /// A unit's error without the expectation in it, which stands on a line of its own.
    fn unit(&self, text: &str, error: UnitError) -> Wrong {
        let message = match error.0.split_once(": expected") {
            Some((message, _)) => message.to_string(),
            None if error.0.starts_with("expected") => format!("`{text}` is not {}", self.noun()),
            None => error.0,
        };
        Wrong::new(message, self.expected())
    }

    /// What the JSON Schema says of this kind. Values from the environment pass: only a run knows them.
    pub fn schema(&self) -> Json {
        let text = |pattern: &str| json!({ "type": "string", "pattern": or_environment(pattern) });
        match self {
            Scalar::Text => json!({ "type": ["string", "number", "boolean"] }),
            Scalar::Value => json!({ "type": ["string", "number", "boolean", "null"] }),
            Scalar::Name | Scalar::File => {
                json!({ "type": ["string", "number", "boolean"], "pattern": r"\S" })
            }
            Scalar::Label => json!({
                "type": ["string", "number", "boolean"],
                "pattern": or_environment(LABEL),
            }),
            Scalar::Bool => json!({ "type": ["boolean", "string"], "pattern": FROM_ENVIRONMENT }),
            Scalar::Int(low, high) => json!({
                "type": ["integer", "string"], "pattern": FROM_ENVIRONMENT,
                "minimum": low, "maximum": high,
            }),
            Scalar::Positive => json!({
                "type": ["number", "string"], "pattern": FROM_ENVIRONMENT, "exclusiveMinimum": 0,
            }),
            Scalar::Duration => text(&format!(r"\s*{DURATION}")),
            Scalar::SomeTime => text(&format!(r"(?=.*[1-9])\s*{DURATION}")),
            Scalar::Rate => text(&format!(r"\s*{NUMBER}\s*/\s*(?:s|m|min|h)\s*")),
            Scalar::Share => text(&format!(r"\s*{SOME_PERCENT}\s*")),
            Scalar::Think => text(&format!(
                r"\s*(?:{DURATION}|{DURATION}\.\.\s*{DURATION}|exp\(\s*{DURATION}\))\s*"
            )),
            Scalar::Bound => text(&bound_pattern()),
            Scalar::Abort => text(&format!(
                r"(?:{}|\s*(?:nodes-not-ready|others-degraded)\s*(?:>\s*\d+|>=\s*0*[1-9]\d*)\s*) for\s+{DURATION}",
                bound_pattern()
            )),
            Scalar::When => {
                text(r"\s*ready\s*(?:<\s*0*[1-9]\d*|<=\s*\d+|>=\s*0*[1-9]\d*|>\s*\d+|==\s*\d+)\s*")
            }
            Scalar::Pick => json!({
                "type": ["integer", "string"], "minimum": 1, "maximum": u32::MAX,
                "pattern": or_environment(&format!(r"\s*(?:all|each|0*[1-9]\d*|{SOME_PERCENT})\s*")),
            }),
            Scalar::KeyValue => text(r"\s*[A-Za-z0-9._/-]+=[A-Za-z0-9._-]*\s*"),
            Scalar::KeepReady => json!({
                "type": ["integer", "string"], "minimum": 0, "maximum": u32::MAX,
                "pattern": or_environment(&format!(r"\s*(?:\d+|{SOME_PERCENT})\s*")),
            }),
            Scalar::Status => json!({
                "type": ["integer", "string"], "minimum": 100, "maximum": 599,
                "pattern": or_environment(r"\s*[1-5](?:xx|\d\d)\s*"),
            }),
            Scalar::TimeCheck => text(&format!(r"\s*(?:<=?|>=?|==)\s*{DURATION}")),
            Scalar::Size => text(&format!(r"(?=.*[1-9])\s*{NUMBER}\s*(?:{SIZES})\s*")),
            Scalar::SizeCheck => text(&format!(r"\s*(?:<=?|>=?|==)\s*{NUMBER}\s*(?:{SIZES})\s*")),
            Scalar::CpuBound => text(&most_pattern("m|cores?")),
            Scalar::MemoryBound => text(&most_pattern(SIZES)),
            Scalar::JsonPath => text(r"\$.*"),
            Scalar::Regex => json!({ "type": ["string", "number", "boolean"] }),
            Scalar::Url => text(r"https?://[^\s/?#].*"),
            Scalar::UrlPath => text(r"/\S*"),
            Scalar::Ip => text(r"[0-9a-fA-F.:]+"),
            Scalar::Header => json!({
                "type": ["string", "number"], "pattern": or_environment(HEADER),
            }),
            Scalar::Choice(words) => {
                let words: Vec<_> = words
                    .iter()
                    .map(|(word, doc)| json!({ "const": word, "description": doc }))
                    .collect();
                let environment = json!({ "type": "string", "pattern": FROM_ENVIRONMENT });
                json!({ "anyOf": [{ "oneOf": words }, environment] })
            }
            Scalar::Empty => json!({ "type": "null" }),
        }
    }
}

/// The pattern of labels, without anchors.
pub(super) const LABEL: &str = r"[A-Za-z0-9_][A-Za-z0-9_.-]*";
/// The pattern of header names, without anchors.
pub(super) const HEADER: &str = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+";
const FROM_ENVIRONMENT: &str = r"\$\{[A-Za-z_]";

fn or_environment(pattern: &str) -> String {
    format!("^(?:{pattern})$|{FROM_ENVIRONMENT}")
}

fn bound_pattern() -> String {
    let percentile = r"p(?:0*100(?:\.0*)?|0*\d{1,2}(?:\.\d*)?)";
    let op = r"\s*(?:<=?|>=?|==)\s*";
    format!(
        r"\s*(?:(?:{percentile}|mean|max){op}{DURATION}|errors{op}{PERCENT}|throughput{op}{NUMBER}\s*/\s*(?:s|m|min|h))\s*"
    )
}

/// How much of a resource may be used, with the units of its amounts.
fn most_pattern(units: &str) -> String {
    let of_limit = r"(?=[^%]*[1-9])(?:0*\d{1,2}(?:\.\d*)?|\.\d+)\s*%(?:\s+of\s+limit)?";
    let of_request = format!(r"(?=[^%]*[1-9]){NUMBER}\s*%\s+of\s+request");
    format!(r"\s*(?:any|{of_limit}|{of_request}|(?=.*[1-9]){NUMBER}\s*(?:{units}))\s*")
}

fn digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether a text can be a name in reports and file names.
pub(super) fn is_label(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// Whether a text is an `http://` or `https://` URL.
pub fn is_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#']))
        && text
            .parse::<http::Uri>()
            .is_ok_and(|uri| uri.host().is_some_and(|h| !h.is_empty()))
}

/// The last line of a regex error says why; those before draw a picture of the pattern.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim().trim_start_matches("error: ").to_string()
}
