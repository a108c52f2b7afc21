//! The lists of alerts as the two APIs give them.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::record::AlertState;
use crate::scenario::AlertSource;

/// An alert of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alert {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub state: AlertState,
}

/// Where the list is, behind the base URL.
pub(super) fn path(source: AlertSource) -> &'static str {
    match source {
        AlertSource::Alertmanager => "/api/v2/alerts",
        AlertSource::Prometheus => "/api/v1/alerts",
    }
}

/// Reads a list. What is resolved is in neither.
pub(super) fn read(source: AlertSource, body: &[u8]) -> Result<Vec<Alert>, String> {
    let wrong = |e: serde_json::Error| format!("not the list of alerts of {}: {e}", source.name());
    let listed = match source {
        AlertSource::Alertmanager => {
            let listed: Vec<Managed> = serde_json::from_slice(body).map_err(wrong)?;
            listed
                .into_iter()
                .map(|a| (a.labels, a.status.state.into()))
                .collect()
        }
        AlertSource::Prometheus => {
            let listed: Answer = serde_json::from_slice(body).map_err(wrong)?;
            let alerts = listed.data.alerts.into_iter();
            alerts
                .map(|a| (a.labels, a.state.into()))
                .collect::<Vec<_>>()
        }
    };
    let alerts = listed.into_iter().map(|(mut labels, state)| Alert {
        name: labels.remove("alertname").unwrap_or_default(),
        labels,
        state,
    });
    Ok(alerts.collect())
}

/// An alert of Alertmanager's API, version 2.
#[derive(Deserialize)]
struct Managed {
    labels: BTreeMap<String, String>,
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    state: ManagedState,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ManagedState {
    /// It has come, and whether somebody will be told is not decided yet.
    Unprocessed,
    Active,
    Suppressed,
}

impl From<ManagedState> for AlertState {
    fn from(state: ManagedState) -> Self {
        match state {
            ManagedState::Unprocessed => AlertState::Pending,
            ManagedState::Active => AlertState::Firing,
            ManagedState::Suppressed => AlertState::Suppressed,
        }
    }
}

/// The answer of Prometheus.
#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    alerts: Vec<Ruled>,
}

#[derive(Deserialize)]
struct Ruled {
    labels: BTreeMap<String, String>,
    state: RuledState,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RuledState {
    Pending,
    Firing,
}

impl From<RuledState> for AlertState {
    fn from(state: RuledState) -> Self {
        match state {
            RuledState::Pending => AlertState::Pending,
            RuledState::Firing => AlertState::Firing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Alertmanager 0.25 and Prometheus 2.42 answer.
    const MANAGED: &str = r#"[{"annotations":{},"endsAt":"2026-01-01T00:04:00.000Z","fingerprint":"1f","receivers":[{"name":"nobody"}],
        "startsAt":"2026-01-01T00:00:00.000Z","status":{"inhibitedBy":[],"silencedBy":["x"],"state":"suppressed"},
        "updatedAt":"2026-01-01T00:00:00.000Z","generatorURL":"http://x","labels":{"alertname":"Down","instance":"shop-2"}}]"#;
    const RULED: &str = r#"{"status":"success","data":{"alerts":[{"labels":{"alertname":"Down","job":"shop"},"annotations":{},
        "state":"pending","activeAt":"2026-01-01T00:00:00Z","value":"0e+00"}]}}"#;

    #[test]
    fn both_lists_are_read_and_anything_else_is_refused() {
        let read_one = |source, text: &str| read(source, text.as_bytes()).unwrap().remove(0);
        let managed = read_one(AlertSource::Alertmanager, MANAGED);
        assert_eq!(
            (managed.name.as_str(), managed.state),
            ("Down", AlertState::Suppressed)
        );
        assert_eq!(
            managed.labels,
            BTreeMap::from([("instance".into(), "shop-2".into())])
        );
        let ruled = read_one(AlertSource::Prometheus, RULED);
        assert_eq!(
            (ruled.name.as_str(), ruled.state),
            ("Down", AlertState::Pending)
        );
        assert_eq!(
            ruled.labels,
            BTreeMap::from([("job".into(), "shop".into())])
        );
        // Each other's answer, an error, a page: silence must not be taken for "no alert".
        for (source, text) in [
            (AlertSource::Alertmanager, RULED),
            (AlertSource::Prometheus, MANAGED),
            (AlertSource::Prometheus, r#"{"status":"error","error":"x"}"#),
            (AlertSource::Alertmanager, "<html>"),
        ] {
            assert!(read(source, text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(read(AlertSource::Alertmanager, b"[]"), Ok(vec![]));
    }
}
