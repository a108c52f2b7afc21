//! Where alerts are looked for, and what is expected of them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Secret, Tls};
use crate::scenario::units::{duration, duration_opt};

/// What is watched beside the target.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Observe {
    /// The Alertmanager: what has reached it, somebody may be told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alertmanager: Option<AlertApi>,
    /// The Prometheus: which alerts its own rules have pending or firing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<AlertApi>,
}

impl Observe {
    /// Whether nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.alertmanager.is_none() && self.prometheus.is_none()
    }
    /// What is watched for alerts, in the order in which it is believed.
    pub fn alerts(&self) -> impl Iterator<Item = (AlertSource, &AlertApi)> {
        let alertmanager = self.alertmanager.iter();
        let prometheus = self.prometheus.iter();
        alertmanager
            .map(|api| (AlertSource::Alertmanager, api))
            .chain(prometheus.map(|api| (AlertSource::Prometheus, api)))
    }
}

/// An HTTP API that tells of alerts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AlertApi {
    /// Its base URL.
    pub url: String,
    /// The header `Authorization` that it wants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Secret>,
    /// TLS towards it.
    #[serde(default)]
    pub tls: Tls,
}

/// Who told of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertSource {
    /// An Alertmanager.
    Alertmanager,
    /// A Prometheus.
    Prometheus,
}

impl AlertSource {
    /// Its key under `observe`, by which the record names it too.
    pub fn key(self) -> &'static str {
        match self {
            AlertSource::Alertmanager => "alertmanager",
            AlertSource::Prometheus => "prometheus",
        }
    }
    /// Its name in sentences.
    pub fn name(self) -> &'static str {
        match self {
            AlertSource::Alertmanager => "Alertmanager",
            AlertSource::Prometheus => "Prometheus",
        }
    }
}

/// A fault must raise an alert, and its end must clear it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AlertExpectation {
    /// The alert's name.
    pub name: String,
    /// Labels that it must have; [`AlertExpectation::INSTANCE`] in a value is an instance that was hit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// It fires at most so long after the injection.
    #[serde(with = "duration")]
    pub fires_within: Duration,
    /// It is gone at most so long after the fault is over.
    #[serde(
        default,
        with = "duration_opt",
        skip_serializing_if = "Option::is_none"
    )]
    pub resolves_within: Option<Duration>,
    /// Only injections of the fault of this name must raise it; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Alerts that may fire before any fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
}

impl AlertExpectation {
    /// Stands for the name of each instance that an injection hit.
    pub const INSTANCE: &str = "{instance}";
}
