//! squall: load testing and chaos verification on one clock, with a verdict.
//!
//! Data flows one way, and the modules show it: [`scenario`] is parsed into a plan; [`traffic`], [`fault`] and
//! [`observe`] run it against a [`platform`] and tell the [`record`]; [`judge`] turns a record into verdicts;
//! [`report`] turns record and verdicts into pages. [`run`] conducts. See ARCHITECTURE.md.

pub mod audit;
pub mod demo;
pub mod fault;
mod insecure;
pub mod judge;
pub mod observe;
pub mod platform;
pub mod record;
pub mod report;
pub mod run;
pub mod say;
pub mod scenario;
pub mod stress;
pub mod traffic;
