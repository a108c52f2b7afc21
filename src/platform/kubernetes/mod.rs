//! A Kubernetes cluster.
pub mod api;
pub mod pods;
pub mod watch;
