//! Live progress while a run goes on, on standard error.
//!
//! [`LiveState`] follows the record's entries and is pure; [`LiveDisplay`] does the drawing: a small block that is
//! redrawn on a terminal, plain lines in a CI log.

mod display;
mod state;

pub use display::LiveDisplay;
pub use state::LiveState;

#[cfg(test)]
mod tests;
