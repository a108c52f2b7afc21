//! The small expressions of a scenario: bounds (`p99 < 250ms`), abort conditions, think times, comparisons.

use std::time::Duration;

use serde_json::Value as Json;

use super::model::{Bound, JsonOp, KeepReady, Limit, Metric, Op, Pick, StatusMatch, Think};
use super::problem::nearest;
use super::units::{Rate, Ratio, Size, parse_duration};

mod abort;
mod usage;

pub use abort::{ABORT, abort_when};
pub use usage::{Amount, most};

/// Why an expression could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// What is wrong.
    pub message: String,
    /// What would have been right.
    pub expected: String,
    /// A word that was probably meant.
    pub help: Option<String>,
}

impl Wrong {
    /// An error with what would have been right.
    pub fn new(message: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            expected: expected.into(),
            help: None,
        }
    }
}

/// What a bound looks like.
pub const BOUND: &str =
    "METRIC OP LIMIT, such as p99 < 250ms, mean < 50ms, errors < 0.1% or throughput > 450/s";
/// What a condition of an injection looks like.
pub const WHEN: &str = "ready OP COUNT, such as ready >= 5";
/// What a think time looks like.
pub const THINK: &str = "500ms, 1s..3s (uniform between) or exp(2s) (exponential with this mean)";
const METRICS: [&str; 6] = ["p50", "p99", "mean", "max", "errors", "throughput"];
/// Longest first, so that `<=` is not read as `<`.
const OPS: [(&str, Op); 5] = [
    ("<=", Op::AtMost),
    (">=", Op::AtLeast),
    ("==", Op::Equal),
    ("<", Op::Less),
    (">", Op::More),
];

/// Parses `p99 < 250ms`.
pub fn bound(text: &str) -> Result<Bound, Wrong> {
    let at = text
        .find(['<', '>', '=', '!'])
        .ok_or_else(|| Wrong::new(format!("`{}` compares nothing", text.trim()), BOUND))?;
    let metric = metric(text[..at].trim())?;
    let (op, rest) = op(&text[at..]).ok_or_else(|| {
        Wrong::new(
            format!("`{}` has no comparison that is known", text.trim()),
            "one of <, <=, >, >=, ==",
        )
    })?;
    let rest = rest.trim();
    let limit = limit(metric, rest)?;
    check_sense(metric, op, limit, text.trim())?;
    Ok(Bound { metric, op, limit })
}

fn metric(name: &str) -> Result<Metric, Wrong> {
    match name {
        "mean" => return Ok(Metric::Mean),
        "max" => return Ok(Metric::Max),
        "errors" => return Ok(Metric::Errors),
        "throughput" => return Ok(Metric::Throughput),
        _ => {}
    }
    let digits = name.strip_prefix('p').filter(|d| is_decimal(d));
    if let Some(percentile) = digits.and_then(|d| d.parse::<f64>().ok()) {
        if percentile > 100.0 {
            return Err(Wrong::new(
                format!("there is no percentile `{name}`"),
                "p0 to p100, such as p50, p99 or p99.9",
            ));
        }
        return Ok(Metric::Percentile(percentile));
    }
    Err(Wrong {
        message: format!("unknown metric `{name}`"),
        expected: "a percentile such as p99 or p99.9, mean, max, errors or throughput".into(),
        help: nearest(name, METRICS).map(|near| format!("did you mean `{near}`?")),
    })
}

/// Digits with at most one point among them.
fn is_decimal(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || c == '.')
        && text.matches('.').count() <= 1
}

fn op(text: &str) -> Option<(Op, &str)> {
    OPS.iter()
        .find_map(|(sign, op)| text.strip_prefix(sign).map(|rest| (*op, rest)))
}

/// The right side, in the unit of the metric.
fn limit(metric: Metric, text: &str) -> Result<Limit, Wrong> {
    let (parsed, what, expected) = match metric {
        Metric::Percentile(_) | Metric::Mean | Metric::Max => (
            parse_duration(text).ok().map(Limit::Time),
            "a latency is compared with a duration",
            "a duration with its unit, such as 250ms or 1.5s",
        ),
        Metric::Errors => (
            text.parse::<Ratio>()
                .ok()
                .filter(|share| share.get() <= 1.0)
                .map(Limit::Share),
            "errors are compared with a share of all requests",
            "a share from 0% to 100%, such as 0.1% or 5%",
        ),
        Metric::Throughput => (
            text.parse::<Rate>().ok().map(Limit::Rate),
            "throughput is compared with a rate",
            "a rate with its unit, such as 450/s",
        ),
    };
    parsed.ok_or_else(|| {
        let found = if text.is_empty() { "nothing" } else { text };
        Wrong::new(format!("{what}, found `{found}`"), expected)
    })
}

/// A bound that always or never holds is a mistake, and would be a lie as a verdict.
fn check_sense(metric: Metric, op: Op, limit: Limit, text: &str) -> Result<(), Wrong> {
    let (zero, full) = match limit {
        Limit::Time(d) => (d.is_zero(), false),
        Limit::Share(s) => (s.get() == 0.0, s.get() == 1.0),
        Limit::Rate(r) => (r.get() == 0.0, false),
    };
    let never = (zero && op == Op::Less) || (full && op == Op::More);
    let always = (zero && op == Op::AtLeast) || (full && op == Op::AtMost);
    let zero_latency = zero && op.is_upper_bound() && !matches!(metric, Metric::Errors);
    if never || (zero_latency && !always) {
        let help =
            (metric == Metric::Errors && zero).then(|| "did you mean `errors <= 0%`?".into());
        return Err(Wrong {
            message: format!("`{text}` can never hold"),
            expected: "a bound that a service can meet".into(),
            help,
        });
    }
    if always {
        return Err(Wrong::new(
            format!("`{text}` always holds, so it shows nothing"),
            "a bound that a service can miss",
        ));
    }
    Ok(())
}

/// Parses the label `squall.dev/allow=true`.
pub fn label(text: &str) -> Option<(String, String)> {
    let (key, value) = text.trim().split_once('=')?;
    let is = |text: &str, also: &str| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || also.contains(c))
    };
    let right = !key.is_empty() && is(key, "-_./") && is(value, "-_.");
    right.then(|| (key.to_string(), value.to_string()))
}

/// Parses `ready >= 5`.
pub fn when(text: &str) -> Result<(Op, u32), Wrong> {
    let text = text.trim();
    let wrong = |message: String| Wrong::new(message, WHEN);
    let at = text
        .find(['<', '>', '=', '!'])
        .ok_or_else(|| wrong(format!("`{text}` compares nothing")))?;
    let name = text[..at].trim();
    if name != "ready" {
        return Err(Wrong {
            message: format!("`{name}` is not something that is waited for"),
            expected: WHEN.into(),
            help: nearest(name, ["ready"]).map(|near| format!("did you mean `{near}`?")),
        });
    }
    let (op, rest) = op(&text[at..])
        .ok_or_else(|| wrong(format!("`{text}` has no comparison that is known")))?;
    let count: u32 = rest
        .trim()
        .parse()
        .map_err(|_| wrong(format!("`{}` is not a count of instances", rest.trim())))?;
    match (op, count) {
        (Op::AtLeast, 0) => Err(wrong(format!("`{text}` always holds"))),
        (Op::Less, 0) => Err(wrong(format!("`{text}` can never hold"))),
        _ => Ok((op, count)),
    }
}

/// Parses `500ms`, `1s..3s` or `exp(2s)`.
pub fn think(text: &str) -> Result<Think, Wrong> {
    let text = text.trim();
    let time = |part: &str| {
        parse_duration(part).map_err(|_| {
            let message = format!("`{}` is not a duration with its unit", part.trim());
            Wrong::new(message, THINK)
        })
    };
    if let Some(mean) = text.strip_prefix("exp(").and_then(|t| t.strip_suffix(')')) {
        let mean = time(mean)?;
        return Ok(if mean.is_zero() {
            Think::None
        } else {
            Think::Exponential(mean)
        });
    }
    if let Some((low, high)) = text.split_once("..") {
        let (low, high) = (time(low)?, time(high)?);
        if low > high {
            let message = format!("`{text}` begins later than it ends");
            return Err(Wrong::new(
                message,
                "the shorter time first, such as 1s..3s",
            ));
        }
        return Ok(Think::Uniform(low, high));
    }
    let fixed = time(text)?;
    Ok(if fixed.is_zero() {
        Think::None
    } else {
        Think::Fixed(fixed)
    })
}

/// Parses the `< 4KiB` of a check on size.
pub fn size_check(text: &str) -> Result<(Op, Size), Wrong> {
    comparison(
        text,
        |t| t.parse().ok(),
        "a comparison with a size, such as < 4KiB",
    )
}

/// Parses the `< 250ms` of a check on time.
pub fn time_check(text: &str) -> Result<(Op, Duration), Wrong> {
    comparison(
        text,
        |t| parse_duration(t).ok(),
        "a comparison with a duration, such as < 250ms",
    )
}

fn comparison<T>(
    text: &str,
    parse: impl Fn(&str) -> Option<T>,
    expected: &str,
) -> Result<(Op, T), Wrong> {
    let parsed = op(text.trim()).and_then(|(op, rest)| Some((op, parse(rest.trim())?)));
    parsed.ok_or_else(|| Wrong::new(format!("`{}` is not {expected}", text.trim()), expected))
}

/// Reads the right side of a JSON check: `exists`, `> 3`, `!= x`, or a value that must be equal.
pub fn json_check(value: Json) -> Result<(JsonOp, Json), Wrong> {
    const SIGNS: [(&str, JsonOp); 6] = [
        ("==", JsonOp::Equal),
        ("!=", JsonOp::NotEqual),
        ("<=", JsonOp::AtMost),
        (">=", JsonOp::AtLeast),
        ("<", JsonOp::Less),
        (">", JsonOp::More),
    ];
    let Json::String(text) = &value else {
        return Ok((JsonOp::Equal, value));
    };
    if text.trim() == "exists" {
        return Ok((JsonOp::Exists, Json::Null));
    }
    let signed = SIGNS
        .iter()
        .find_map(|(sign, op)| Some((*op, text.strip_prefix(sign)?.trim())));
    let Some((op, right)) = signed else {
        return Ok((JsonOp::Equal, value));
    };
    let right = serde_json::from_str(right).unwrap_or_else(|_| Json::String(right.to_string()));
    let ordered = !matches!(op, JsonOp::Equal | JsonOp::NotEqual);
    if ordered && !right.is_number() {
        return Err(Wrong::new(
            format!("`{text}` does not compare with a number"),
            "a number after <, <=, > or >=, such as \"> 3\"",
        ));
    }
    Ok((op, right))
}

/// Parses `200` or `2xx`.
pub fn status(text: &str) -> Result<StatusMatch, Wrong> {
    const EXPECTED: &str = "a status from 100 to 599, or a class such as 2xx";
    let text = text.trim();
    if let Some(class @ ("1" | "2" | "3" | "4" | "5")) = text.strip_suffix("xx") {
        return Ok(StatusMatch::Class(u16::from(class.as_bytes()[0] - b'0')));
    }
    let exact = text
        .parse()
        .ok()
        .filter(|s| (100..600).contains(s) && text.len() == 3);
    exact
        .map(StatusMatch::Exact)
        .ok_or_else(|| Wrong::new(format!("`{text}` is not an HTTP status"), EXPECTED))
}

/// A share above 0% and up to 100%.
pub fn share(text: &str) -> Option<Ratio> {
    let share: Ratio = text.parse().ok()?;
    (share.get() > 0.0 && share.get() <= 1.0).then_some(share)
}

/// Parses `1`, `50%` or `all`.
pub fn pick(text: &str) -> Result<Pick, Wrong> {
    let text = text.trim();
    let count = text.parse().ok().filter(|count| *count > 0);
    match (count, share(text)) {
        _ if text == "all" => Ok(Pick::All),
        _ if text == "each" => Ok(Pick::Each),
        (Some(count), _) => Ok(Pick::Count(count)),
        (_, Some(share)) => Ok(Pick::Share(share)),
        _ => Err(Wrong::new(
            format!("`{text}` picks no instance"),
            "a count from 1, a share from above 0% to 100%, all, or each",
        )),
    }
}

/// Parses `50%` or `2`.
pub fn keep_ready(text: &str) -> Result<KeepReady, Wrong> {
    let text = text.trim();
    match (text.parse(), share(text)) {
        (Ok(count), _) => Ok(KeepReady::Count(count)),
        (_, Some(share)) => Ok(KeepReady::Share(share)),
        _ => Err(Wrong::new(
            format!("`{text}` is neither a share nor a count"),
            "a share from above 0% to 100%, or a count of instances",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read() {
        let time = |ms| Limit::Time(Duration::from_millis(ms));
        for (text, metric, op, limit) in [
            ("p99 < 250ms", Metric::Percentile(99.0), Op::Less, time(250)),
            (
                "p99.9<=1s",
                Metric::Percentile(99.9),
                Op::AtMost,
                time(1000),
            ),
            (" mean < 50ms ", Metric::Mean, Op::Less, time(50)),
            ("max < 2s", Metric::Max, Op::Less, time(2000)),
            (
                "errors < 0.1%",
                Metric::Errors,
                Op::Less,
                Limit::Share(Ratio::fraction(0.001)),
            ),
            (
                "errors == 0%",
                Metric::Errors,
                Op::Equal,
                Limit::Share(Ratio::fraction(0.0)),
            ),
            (
                "throughput > 450/s",
                Metric::Throughput,
                Op::More,
                Limit::Rate(Rate::per_second(450.0)),
            ),
        ] {
            assert_eq!(bound(text), Ok(Bound { metric, op, limit }), "{text}");
        }
    }

    #[test]
    fn wrong_bounds_are_named() {
        for (text, message) in [
            ("p99", "compares nothing"),
            ("p101 < 1s", "no percentile `p101`"),
            ("p-1 < 1s", "unknown metric `p-1`"),
            ("pinf < 1s", "unknown metric `pinf`"),
            ("eror < 1%", "unknown metric `eror`"),
            ("p99 != 1s", "no comparison"),
            ("p99 = 1s", "no comparison"),
            ("errors < 250ms", "errors are compared with a share"),
            ("p99 < 1%", "a latency is compared with a duration"),
            ("throughput > 5", "throughput is compared with a rate"),
            ("p99 < ", "found `nothing`"),
            ("errors < 0%", "can never hold"),
            ("p99 <= 0s", "can never hold"),
            ("errors <= 100%", "always holds"),
            ("throughput >= 0/s", "always holds"),
        ] {
            let wrong = bound(text).unwrap_err();
            assert!(wrong.message.contains(message), "{text}: {wrong:?}");
        }
        assert_eq!(
            bound("error < 1%").unwrap_err().help.unwrap(),
            "did you mean `errors`?"
        );
    }

    #[test]
    fn think_times() {
        let s = Duration::from_secs;
        assert_eq!(think("1s..3s"), Ok(Think::Uniform(s(1), s(3))));
        assert_eq!(think("exp(2s)"), Ok(Think::Exponential(s(2))));
        assert_eq!(think("0s"), Ok(Think::None));
        assert!(think("3s..1s").is_err() && think("3").is_err() && think("exp(1)").is_err());
    }

    #[test]
    fn json_checks() {
        assert_eq!(
            json_check("exists".into()),
            Ok((JsonOp::Exists, Json::Null))
        );
        assert_eq!(json_check("> 3".into()), Ok((JsonOp::More, 3.into())));
        assert_eq!(
            json_check("!= x".into()),
            Ok((JsonOp::NotEqual, "x".into()))
        );
        assert_eq!(json_check(5.into()), Ok((JsonOp::Equal, 5.into())));
        assert!(json_check("< x".into()).is_err());
    }
}
