//! The scenario file: its model, parser, validation, schema and units. Knows of no platform.

mod environment;
mod expression;
pub mod model;
mod problem;
mod shape;
pub mod template;
mod tree;
pub mod units;

pub use model::*;
pub use problem::{Problem, Problems, Span};

/// The JSON Schema (2020-12) of scenario files.
pub fn schema() -> serde_json::Value {
    shape::schema(&shape::SCENARIO)
}
