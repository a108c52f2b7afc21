//! Quantities as Kubernetes writes them (`250m`, `1.5Gi`, `12345678n`): records hold them as they were told.

/// Thousandths, rounded up as Kubernetes does it; `None` for what is no quantity or too large.
pub fn thousandths(text: &str) -> Option<i64> {
    const NANO: i128 = 1_000_000_000;
    let text = text.trim();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && part.is_empty()) || part.len() > 18 {
        return None;
    }
    let digits: i128 = format!("{whole}{part}").parse().ok()?;
    let binary = |power: u32| Some(NANO * (1i128 << (10 * power)));
    let multiplier = match suffix {
        "n" => Some(1),
        "u" => Some(1_000),
        "m" => Some(1_000_000),
        "" => Some(NANO),
        "k" => Some(NANO * 1_000),
        "M" => Some(NANO * 1_000_000),
        "G" => Some(NANO * 1_000_000_000),
        "T" => Some(NANO * 1_000_000_000_000),
        "P" => Some(NANO * 1_000_000_000_000_000),
        "E" => Some(NANO * 1_000_000_000_000_000_000),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = u32::try_from(power + 9).ok().filter(|p| *p <= 27)?;
            Some(10i128.pow(power))
        }
    }?;
    let scale = 10i128.pow(part.len() as u32) * 1_000_000;
    let nano = digits.checked_mul(multiplier)?;
    let up = nano.div_euclid(scale) + i128::from(nano.rem_euclid(scale) != 0);
    let value = if negative { -(nano / scale) } else { up };
    i64::try_from(value).ok()
}

/// Containers without a request, of those that a utilization is a share of; `containers` tells of each whether it has one.
/// Where the pod has requests of its own (`own`, whether one of this resource), its containers' make up for what it has
/// none of, and not each of them need have one.
pub fn without_request<'a>(
    containers: impl Iterator<Item = (&'a str, bool)>,
    own: Option<bool>,
) -> Vec<&'a str> {
    let (with, without): (Vec<_>, Vec<_>) = containers.partition(|(_, has)| *has);
    match own {
        Some(of_this) if of_this || !with.is_empty() => Vec::new(),
        _ => without.into_iter().map(|(name, _)| name).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::thousandths;

    #[test]
    fn each_way_of_writing_is_read() {
        for (text, value) in [
            ("250m", Some(250)),
            ("0", Some(0)),
            ("1", Some(1_000)),
            ("1.5", Some(1_500)),
            (".5", Some(500)),
            ("12345678n", Some(13)),
            ("1u", Some(1)),
            ("2k", Some(2_000_000)),
            ("1Ki", Some(1_024_000)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("1e3", Some(1_000_000)),
            ("2E-1", Some(200)),
            ("9E", None),
            ("-250m", Some(-250)),
            ("", None),
            ("m", None),
            ("1x", None),
            ("1 m", None),
        ] {
            assert_eq!(thousandths(text), value, "{text}");
        }
    }
}
