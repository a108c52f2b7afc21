//! Values taken out of responses for later steps.

use regex::bytes::Regex;
use serde_json::Value as Json;
use serde_json_path::JsonPath;

use super::TrafficError;
use super::reply::Reply;
use super::text::{Escape, Names, Text};
use crate::scenario::{Extract, ExtractFrom};

/// A value to take out of a response.
#[derive(Debug, Clone)]
pub struct Extraction {
    /// The variable.
    pub variable: String,
    /// Its slot.
    pub slot: usize,
    /// Where the value is.
    pub from: Source,
    /// Used where there is none.
    pub default: Option<Text>,
}

/// Where a value is.
#[derive(Debug, Clone)]
pub enum Source {
    /// The first at a path.
    Json(JsonPath),
    /// This group of the first match.
    Regex(Regex, usize),
    /// The first of a header.
    Header(String),
}

/// Compiles a regular expression.
pub fn regex(pattern: &str) -> Result<Regex, TrafficError> {
    Regex::new(pattern)
        .map_err(|e| TrafficError::Scenario(format!("`{pattern}` is no regular expression: {e}")))
}

/// Compiles a JSON path.
pub fn json_path(path: &str) -> Result<JsonPath, TrafficError> {
    JsonPath::parse(path)
        .map_err(|e| TrafficError::Scenario(format!("`{path}` is no JSON path: {e}")))
}

impl Extraction {
    /// Compiles an extraction.
    pub fn compile(extract: &Extract, names: &Names, slot: usize) -> Result<Self, TrafficError> {
        let from = match &extract.from {
            ExtractFrom::Json(path) => Source::Json(json_path(path)?),
            ExtractFrom::Header(name) => Source::Header(name.clone()),
            ExtractFrom::Regex { pattern, group } => {
                let regex = regex(pattern)?;
                if *group >= regex.captures_len() {
                    return Err(TrafficError::Scenario(format!(
                        "`{pattern}` has no group {group}: it has {}",
                        regex.captures_len() - 1
                    )));
                }
                Source::Regex(regex, *group)
            }
        };
        let default = extract.default.as_deref();
        let default = default
            .map(|source| Text::compile(source, Escape::None, names))
            .transpose()?;
        let variable = extract.variable.clone();
        Ok(Self {
            variable,
            slot,
            from,
            default,
        })
    }

    /// The value in a response, if it is there.
    pub fn find(&self, reply: &Reply, parsed: &mut Option<Json>) -> Option<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match &self.from {
            Source::Header(name) => reply.header(name).map(text),
            Source::Regex(regex, group) => {
                Some(text(regex.captures(reply.body())?.get(*group)?.as_bytes()))
            }
            Source::Json(path) => path.query(parse(reply, parsed)).first().map(plain),
        }
    }
}

/// The body as JSON, parsed once; a body that is none is null, in which no path leads anywhere.
pub fn parse<'a>(reply: &Reply, parsed: &'a mut Option<Json>) -> &'a Json {
    parsed.get_or_insert_with(|| serde_json::from_slice(reply.body()).unwrap_or(Json::Null))
}

/// A JSON value as text: a string without its quotes.
pub fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}
