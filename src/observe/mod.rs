//! Observers.

pub mod usage;
