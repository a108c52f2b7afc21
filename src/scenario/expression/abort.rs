//! Abort conditions: a bound on the traffic, or on what the cluster shows, and for how long it must be broken.

use std::time::Duration;

use super::super::model::{AbortOn, AbortWhen, Op, Seen};
use super::super::problem::nearest;
use super::super::units::parse_duration;
use super::{METRICS, Wrong, bound, op};

/// What an abort condition looks like.
pub const ABORT: &str =
    "METRIC OP LIMIT for DURATION, such as errors > 50% for 10s or nodes-not-ready > 0 for 10s";
/// What a cluster shows.
const SEEN: [(&str, Seen); 2] = [
    ("nodes-not-ready", Seen::NodesNotReady),
    ("others-degraded", Seen::OthersDegraded),
];

/// Parses `errors > 50% for 10s`.
pub fn abort_when(text: &str) -> Result<AbortWhen, Wrong> {
    let (left, right) = text.split_once(" for ").ok_or_else(|| {
        Wrong::new(
            format!("`{}` does not say for how long", text.trim()),
            ABORT,
        )
    })?;
    let lasts = parse_duration(right)
        .ok()
        .filter(|lasts| *lasts >= Duration::from_secs(1))
        .ok_or_else(|| {
            let message = format!("`{}` is not a duration of at least 1s", right.trim());
            Wrong::new(message, ABORT)
        })?;
    Ok(AbortWhen {
        text: text.trim().to_string(),
        on: on(left.trim())?,
        lasts,
    })
}

fn on(text: &str) -> Result<AbortOn, Wrong> {
    let at = text.find(['<', '>', '=', '!']).unwrap_or(text.len());
    let name = text[..at].trim();
    if let Some((_, what)) = SEEN.iter().find(|(known, _)| *known == name) {
        return seen(*what, text, &text[at..]);
    }
    bound(text).map(AbortOn::Bound).map_err(|wrong| {
        let known = SEEN.iter().map(|(known, _)| *known).chain(METRICS);
        // A metric is as good as what a cluster shows, here.
        match wrong.message.starts_with("unknown metric") {
            true => Wrong {
                expected: format!(
                    "{}, nodes-not-ready or others-degraded",
                    wrong.expected.replace(" or throughput", ", throughput")
                ),
                help: nearest(name, known).map(|near| format!("did you mean `{near}`?")),
                ..wrong
            },
            false => wrong,
        }
    })
}

/// A count of what should not be there: more than so many, or so many at least.
fn seen(what: Seen, text: &str, right: &str) -> Result<AbortOn, Wrong> {
    const EXPECTED: &str = "more than a count, such as nodes-not-ready > 0 for 10s";
    let wrong = |message: String| Wrong::new(message, EXPECTED);
    let (op, rest) = op(right).ok_or_else(|| wrong(format!("`{text}` compares nothing")))?;
    let rest = rest.trim();
    let count = rest
        .parse()
        .map_err(|_| wrong(format!("`{rest}` is not a count")))?;
    match (op, count) {
        (Op::AtLeast, 0) => Err(wrong(format!("`{text}` always holds"))),
        (Op::More | Op::AtLeast, _) => Ok(AbortOn::Seen { what, op, count }),
        _ => Err(wrong(format!("`{text}` would end a run that is well"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_traffic_and_of_what_a_cluster_shows() {
        let abort = abort_when("errors > 50% for 10s").unwrap();
        assert!(matches!(abort.on, AbortOn::Bound(b) if b.op == Op::More));
        assert_eq!(abort.lasts, Duration::from_secs(10));
        for (text, what, op, count) in [
            (
                "nodes-not-ready > 0 for 10s",
                Seen::NodesNotReady,
                Op::More,
                0,
            ),
            (
                "others-degraded>=2 for 1min",
                Seen::OthersDegraded,
                Op::AtLeast,
                2,
            ),
        ] {
            let on = abort_when(text).map(|a| a.on);
            assert_eq!(on, Ok(AbortOn::Seen { what, op, count }), "{text}");
        }
    }

    #[test]
    fn wrong_ones_are_named() {
        for (text, message) in [
            ("errors > 50%", "does not say for how long"),
            ("errors > 50% for 10", "is not a duration"),
            ("nodes-not-ready > 0 for 0s", "at least 1s"),
            ("nodes-not-ready > 5% for 10s", "`5%` is not a count"),
            ("nodes-not-ready for 10s", "compares nothing"),
            (
                "others-degraded < 1 for 10s",
                "would end a run that is well",
            ),
            ("others-degraded >= 0 for 10s", "always holds"),
            (
                "node-not-ready > 0 for 10s",
                "unknown metric `node-not-ready`",
            ),
        ] {
            let wrong = abort_when(text).unwrap_err();
            assert!(wrong.message.contains(message), "{text}: {wrong:?}");
        }
        let near = abort_when("other-degraded > 0 for 10s").unwrap_err();
        assert_eq!(near.help.unwrap(), "did you mean `others-degraded`?");
        assert!(
            near.expected.contains("nodes-not-ready"),
            "{}",
            near.expected
        );
    }
}
