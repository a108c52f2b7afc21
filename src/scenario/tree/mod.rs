//! YAML as a tree that knows where everything stands in the file.
//!
//! Scalars stay text: what `10s` or `8080` means is for the shape of the file to say. Anchors and merge keys are
//! resolved on the way (`build`), within bounds, so that a file of ten lines cannot fill the memory.

mod build;

use serde_json::Value as Json;

use super::problem::Span;

pub use build::parse;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it begins.
    pub at: Span,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A scalar.
    Scalar(Scalar),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in file order, keys unique.
    Map(Vec<Entry>),
}

/// A scalar as text.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar {
    /// The text, environment variables put in.
    pub text: String,
    /// Not quoted, so it may be a number, a boolean or null.
    pub plain: bool,
    /// An environment variable was put in: the text must not be shown.
    pub substituted: bool,
    /// A problem with it is known; nothing more is to be said about it.
    pub broken: bool,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key is.
    pub key_at: Span,
    /// The value.
    pub value: Node,
}

impl Node {
    /// A scalar that stands nowhere in the file: a default.
    pub fn plain(text: &str, at: Span) -> Self {
        Self {
            value: Value::Scalar(Scalar {
                text: text.to_string(),
                plain: true,
                substituted: false,
                broken: false,
            }),
            at,
        }
    }
    /// Nothing was written, or `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(s) if s.plain && !s.substituted && is_null(&s.text))
    }
    /// The scalar, if it is one.
    pub fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }
    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        self.scalar().filter(|s| !s.broken).map(|s| s.text.as_str())
    }
    /// The items of a list.
    pub fn list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }
    /// The entries of a map.
    pub fn map(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }
    /// The entry of a map with this key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.map()?.iter().find(|entry| entry.key == key)
    }
    /// The value of a map under this key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }
    /// What it is, for messages.
    pub fn describe(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            Value::Scalar(s) if !s.plain => "text",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
    /// The value as JSON, scalars typed as YAML 1.2 types them.
    pub fn to_json(&self) -> Json {
        match &self.value {
            Value::Scalar(scalar) => scalar.to_json(),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.value.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}

impl Scalar {
    /// The scalar as JSON: typed when plain, text when quoted.
    pub fn to_json(&self) -> Json {
        let text = self.text.as_str();
        if !self.plain {
            return text.into();
        }
        match text {
            _ if is_null(text) => Json::Null,
            "true" | "True" | "TRUE" => true.into(),
            "false" | "False" | "FALSE" => false.into(),
            _ => number(text).unwrap_or_else(|| text.into()),
        }
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// A number of YAML's core schema; `inf` and the like are text here, since JSON has none.
fn number(text: &str) -> Option<Json> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    let whole = text.parse::<i64>().map(Json::from);
    let whole = whole.or_else(|_| text.parse::<u64>().map(Json::from));
    whole.ok().or_else(|| {
        let value = text.parse::<f64>().ok()?;
        serde_json::Number::from_f64(value).map(Json::Number)
    })
}
