//! Observers.

pub mod alerts;
pub mod usage;
