//! Traffic.
pub mod lean;
