//! How a workload says that it is to be rolled out, and the bounds that this sets. Rounding is as in the controllers:
//! of a Deployment `maxSurge` is rounded up and `maxUnavailable` down, of the others both are rounded up.

use serde_json::Value;

/// A number of pods, or a share of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Amount {
    Count(u64),
    Percent(u64),
}

/// How old pods are replaced by new ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Strategy {
    /// A few at a time.
    Rolling {
        unavailable: Amount,
        surge: Amount,
        /// Whether a share of unavailable ones is rounded down.
        down: bool,
    },
    /// All old ones end before a new one starts.
    Recreate,
    /// A pod is replaced when somebody deletes it.
    OnDelete,
    /// The record does not tell.
    Unknown,
}

/// What a rollout must keep to, with so many replicas.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Limits {
    /// At least so many pods ready.
    pub ready: u64,
    /// At most so many pods that are not ending.
    pub pods: u64,
    /// How that was reckoned.
    pub arithmetic: String,
}

impl Amount {
    fn parse(value: Option<&Value>) -> Option<Self> {
        match value? {
            Value::Number(n) => n.as_u64().map(Amount::Count),
            Value::String(text) => match text.strip_suffix('%') {
                Some(percent) => percent.parse().ok().map(Amount::Percent),
                None => text.parse().ok().map(Amount::Count),
            },
            _ => None,
        }
    }

    fn of(self, replicas: u64, down: bool) -> u64 {
        match self {
            Amount::Count(n) => n,
            Amount::Percent(p) if down => replicas.saturating_mul(p) / 100,
            Amount::Percent(p) => replicas.saturating_mul(p).div_ceil(100),
        }
    }

    fn words(self, replicas: u64, down: bool) -> String {
        let is = self.of(replicas, down);
        match self {
            Amount::Count(n) => n.to_string(),
            Amount::Percent(p) if replicas.saturating_mul(p).is_multiple_of(100) => {
                format!("{p}% of {replicas} = {is}")
            }
            Amount::Percent(p) => {
                let way = if down { "down" } else { "up" };
                format!("{p}% of {replicas} = {is} (rounded {way})")
            }
        }
    }
}

impl Strategy {
    /// Reads the strategy of a workload of this kind; what is not said has the cluster's default.
    pub fn of(kind: &str, told: Option<&Value>) -> Self {
        let Some(told) = told else {
            return Strategy::Unknown;
        };
        let amount = |name: &str, default| {
            Amount::parse(told.pointer(&format!("/rollingUpdate/{name}"))).unwrap_or(default)
        };
        let is_deployment = kind == "Deployment";
        let (few, more) = match is_deployment {
            true => (Amount::Percent(25), Amount::Percent(25)),
            false => (Amount::Count(1), Amount::Count(0)),
        };
        match told.get("type").and_then(Value::as_str) {
            Some("Recreate") => Strategy::Recreate,
            Some("OnDelete") => Strategy::OnDelete,
            Some("RollingUpdate") | None => Strategy::Rolling {
                unavailable: amount("maxUnavailable", few),
                surge: amount("maxSurge", more),
                down: is_deployment,
            },
            Some(_) => Strategy::Unknown,
        }
    }

    /// The bounds with at least and at most so many replicas; `None` where the strategy sets none.
    pub fn limits(&self, (fewest, most): (u64, u64)) -> Option<Limits> {
        let Strategy::Rolling {
            unavailable,
            surge,
            down,
        } = *self
        else {
            return None;
        };
        // Where both come to nothing, one pod may be missing: nothing could ever be replaced else.
        let stuck = |n: u64| unavailable.of(n, down) == 0 && surge.of(n, false) == 0;
        let missing = if stuck(fewest) {
            1
        } else {
            unavailable.of(fewest, down)
        };
        let mut arithmetic = format!(
            "maxUnavailable {}, maxSurge {}",
            unavailable.words(fewest, down),
            surge.words(most, false)
        );
        if stuck(fewest) {
            arithmetic.push_str("; both are 0, so that one may be missing");
        }
        if fewest != most {
            arithmetic.push_str(&format!(
                "; replicas were changed between {fewest} and {most}"
            ));
        }
        Some(Limits {
            ready: fewest.saturating_sub(missing),
            pods: most.saturating_add(surge.of(most, false)),
            arithmetic,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn shares_are_rounded_as_the_controllers_do() {
        let limits = |kind: &str, told: Value, replicas| {
            let limits = Strategy::of(kind, Some(&told)).limits((replicas, replicas));
            limits.map(|l| (l.ready, l.pods))
        };
        let rolling = |unavailable: Value, surge: Value| json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}});
        let share = rolling(json!("25%"), json!("25%"));
        assert_eq!(limits("Deployment", share.clone(), 4), Some((3, 5)));
        assert_eq!(limits("Deployment", share.clone(), 5), Some((4, 7)));
        assert_eq!(limits("Deployment", share.clone(), 3), Some((3, 4)));
        assert_eq!(limits("DaemonSet", share, 5), Some((3, 7)));
        assert_eq!(
            limits("Deployment", rolling(json!(0), json!(1)), 4),
            Some((4, 5))
        );
        assert_eq!(
            limits("Deployment", rolling(json!("100%"), json!(0)), 4),
            Some((0, 4))
        );
        // Both come to nothing: one may be missing all the same.
        assert_eq!(
            limits("Deployment", rolling(json!("10%"), json!("0%")), 4),
            Some((3, 4))
        );
        assert_eq!(
            limits("StatefulSet", json!({"type": "RollingUpdate"}), 3),
            Some((2, 3))
        );
        assert_eq!(limits("Deployment", json!({"type": "Recreate"}), 4), None);
        let changed = Strategy::of("Deployment", Some(&json!({})))
            .limits((4, 8))
            .unwrap();
        assert_eq!((changed.ready, changed.pods), (3, 10));
        assert_eq!(
            changed.arithmetic,
            "maxUnavailable 25% of 4 = 1, maxSurge 25% of 8 = 2; replicas were changed between 4 and 8"
        );
    }
}
