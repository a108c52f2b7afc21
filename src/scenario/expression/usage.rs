//! How much of a resource may be used.

use super::super::model::Most;
use super::super::problem::nearest;
use super::super::units::{Cores, Ratio, Size, UnitError};
use super::Wrong;

/// An amount of a resource.
pub trait Amount: std::str::FromStr<Err = UnitError> {
    /// What a bound on it looks like.
    const EXPECTED: &'static str;
    /// Whether it is nothing.
    fn is_none(&self) -> bool;
}

impl Amount for Cores {
    const EXPECTED: &'static str = "a share or an amount of CPU, such as 90% of limit, 150% of request, 500m or 2 cores (or any)";
    fn is_none(&self) -> bool {
        self.millis() == 0
    }
}

impl Amount for Size {
    const EXPECTED: &'static str =
        "a share or an amount of memory, such as 90% of limit, 150% of request or 200MiB (or any)";
    fn is_none(&self) -> bool {
        self.get() == 0
    }
}

/// Parses `90% of limit`, `90%` (the same), `150% of request`, an amount, or `any`.
pub fn most<T: Amount>(text: &str) -> Result<Most<T>, Wrong> {
    let text = text.trim();
    let wrong = |message: String| Wrong::new(message, T::EXPECTED);
    if text == "any" {
        return Ok(Most::Any);
    }
    let Some((share, rest)) = text.split_once('%') else {
        return amount(text);
    };
    let share: Ratio = format!("{share}%")
        .parse()
        .map_err(|_| wrong(format!("`{text}` is not a share")))?;
    let never = share.get() <= 0.0;
    let word = match rest.trim() {
        "" => "limit",
        rest => rest.strip_prefix("of ").unwrap_or(rest).trim(),
    };
    match word {
        _ if never => Err(wrong(format!("`{text}` can never hold"))),
        "limit" if share.get() >= 1.0 => Err(wrong(format!(
            "`{text}` always holds, so it shows nothing: no container gets more than its limit"
        ))),
        "limit" => Ok(Most::OfLimit(share)),
        "request" => Ok(Most::OfRequest(share)),
        other => Err(Wrong {
            help: nearest(other, ["limit", "request"]).map(|n| format!("did you mean `{n}`?")),
            ..wrong(format!("a share of `{other}` is not known"))
        }),
    }
}

fn amount<T: Amount>(text: &str) -> Result<Most<T>, Wrong> {
    let wrong = |message: String| Wrong {
        help: nearest(text, ["any"]).map(|near| format!("did you mean `{near}`?")),
        ..Wrong::new(message, T::EXPECTED)
    };
    match text.parse::<T>() {
        Ok(amount) if amount.is_none() => Err(wrong(format!("`{text}` can never hold"))),
        Ok(amount) => Ok(Most::Amount(amount)),
        Err(UnitError(error)) if error.starts_with("expected") => {
            Err(wrong(format!("`{text}` is neither a share nor an amount")))
        }
        Err(UnitError(error)) => {
            let message = error.split(": expected").next().unwrap_or_default();
            Err(wrong(message.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_on_use_are_read_and_print_as_they_are_written() {
        for (text, printed) in [
            ("any", "any"),
            ("90%", "90% of limit"),
            (" 90 %  of limit ", "90% of limit"),
            ("150% of request", "150% of request"),
            ("500m", "500m"),
            ("1.5 cores", "1500m"),
        ] {
            let read = most::<Cores>(text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
            assert_eq!(read.to_string(), printed);
            assert_eq!(most::<Cores>(printed).unwrap(), read);
        }
        assert_eq!(
            most::<Size>("200MiB").unwrap(),
            Most::Amount(Size::bytes(200 << 20))
        );
    }

    #[test]
    fn wrong_bounds_on_use_are_named() {
        for (text, message) in [
            ("500", "has no unit"),
            ("half", "neither a share nor an amount"),
            ("90% of quota", "a share of `quota` is not known"),
            ("100% of limit", "always holds"),
            ("0% of request", "can never hold"),
            ("0m", "can never hold"),
            ("200MiB", "unknown unit `MiB`"),
        ] {
            let wrong = most::<Cores>(text).unwrap_err();
            assert!(wrong.message.contains(message), "{text}: {wrong:?}");
        }
        let near = most::<Cores>("90% of limits").unwrap_err().help;
        assert_eq!(near.as_deref(), Some("did you mean `limit`?"));
        assert!(
            most::<Size>("500m")
                .unwrap_err()
                .message
                .contains("unknown unit `m`")
        );
    }
}
