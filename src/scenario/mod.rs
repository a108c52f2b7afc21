//! The scenario file: its model, parser, validation, schema and units. Knows of no platform.

pub mod model;
pub mod template;
pub mod units;

pub use model::*;
