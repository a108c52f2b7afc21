//! Quantities as a person reads them: `412 ms`, `12,000`, `0.12%`. One place, so that the terminal, the page and a
//! verdict never print the same number in two ways. What is written in scenarios is in `scenario::units` instead.

/// Three significant digits without trailing zeros: 2.104 as `2.1`, 63.26 as `63.3`, 412.4 as `412`.
fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    trim(format!("{value:.decimals$}"))
}

fn trim(text: String) -> String {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    } else {
        text
    }
}

/// A duration in microseconds: `850 us`, `1.25 ms`, `412 ms`, `2.1 s`, `3 min 5 s`.
pub fn micros(us: u64) -> String {
    // The thresholds lie where rounding to three digits would reach the next unit: 999.6 ms is `1 s`.
    match us {
        0 => "0 s".into(),
        1..=999 => format!("{us} us"),
        1_000..=999_499 => format!("{} ms", three_digits(us as f64 / 1e3)),
        999_500..=119_949_999 => format!("{} s", three_digits(us as f64 / 1e6)),
        _ => {
            let seconds = us / 1_000_000 + u64::from(us % 1_000_000 >= 500_000);
            match (seconds / 60, seconds % 60) {
                (minutes, 0) => format!("{minutes} min"),
                (minutes, rest) => format!("{minutes} min {rest} s"),
            }
        }
    }
}

/// A duration without rounding, for where three digits would hide on which side of a limit it lies: `250.021 ms`.
pub fn micros_exact(us: u64) -> String {
    match us {
        0..=999 => micros(us),
        1_000..=999_999 => format!("{} ms", trim(format!("{:.3}", us as f64 / 1e3))),
        _ => format!("{} s", trim(format!("{:.6}", us as f64 / 1e6))),
    }
}

/// A count with thousands separators: `12,000`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 request`, `2 requests`, `no request`.
pub fn counted(n: u64, what: &str) -> String {
    match n {
        0 => format!("no {what}"),
        1 => format!("1 {what}"),
        _ => format!("{} {what}s", count(n)),
    }
}

/// A fraction as a share: 0.0012 as `0.12%`. Only nothing at all is `0%`, and only the whole is `100%`.
pub fn percent(fraction: f64) -> String {
    let percent = fraction * 100.0;
    if !percent.is_finite() {
        return "-".into();
    }
    if percent == 0.0 {
        return "0%".into();
    }
    if percent > 99.0 && percent < 100.0 {
        // 99.997 must not become 100.
        let left = 100.0 - percent;
        let decimals = (1.0 - left.log10().floor()).clamp(1.0, 12.0) as usize;
        let text = trim(format!("{percent:.decimals$}"));
        return if text == "100" {
            ">99.99%".into()
        } else {
            format!("{text}%")
        };
    }
    if percent.abs() < 1.0 {
        // As many decimals as it takes to show two digits: 0.00012%.
        let decimals = (1.0 - percent.abs().log10().floor()).clamp(2.0, 12.0) as usize;
        return format!("{}%", trim(format!("{percent:.decimals$}")));
    }
    format!("{}%", three_digits(percent))
}

/// Events per second: `500/s`, `12,400/s`, `0.5/s`.
pub fn rate(per_second: f64) -> String {
    if !per_second.is_finite() || per_second < 0.0 {
        return "-".into();
    }
    if per_second < 999.5 {
        return format!("{}/s", three_digits(per_second));
    }
    format!("{}/s", count(per_second.round() as u64))
}

/// A size: `512 B`, `1.5 KiB`, `12 MiB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// A moment of the run as seconds since traffic began: `23.4 s`; one before it is `-2.1 s`.
pub fn moment(at_us: u64, origin_us: u64) -> String {
    let tenths = (at_us as f64 - origin_us as f64) / 1e5;
    let text = trim(format!("{:.1}", tenths.round() / 10.0));
    format!("{} s", if text == "-0" { "0" } else { &text })
}

/// Names in a sentence: `a`, `a and b`, `a, b and 3 more`.
pub fn list(names: &[String]) -> String {
    match names {
        [] => "nothing".into(),
        [one] => one.clone(),
        [one, two] => format!("{one} and {two}"),
        [one, two, three] => format!("{one}, {two} and {three}"),
        [one, two, rest @ ..] => format!("{one}, {two} and {} more", rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (us, text) in [
            (0, "0 s"),
            (850, "850 us"),
            (1_250, "1.25 ms"),
            (12_340, "12.3 ms"),
            (412_400, "412 ms"),
            (999_499, "999 ms"),
            (999_600, "1 s"),
            (2_104_000, "2.1 s"),
            (63_260_000, "63.3 s"),
            (119_900_000, "120 s"),
            (120_000_000, "2 min"),
            (185_000_000, "3 min 5 s"),
            (3_600_000_000, "60 min"),
        ] {
            assert_eq!(micros(us), text);
        }
        assert_eq!(micros_exact(250_021), "250.021 ms");
        assert_eq!(micros_exact(2_000_000), "2 s");
    }

    #[test]
    fn counts_have_separators() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(12_000), "12,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "request"), "1 request");
        assert_eq!(counted(2_000, "request"), "2,000 requests");
    }

    #[test]
    fn a_share_is_never_rounded_to_nothing_or_to_all() {
        for (fraction, text) in [
            (0.0, "0%"),
            (1.0, "100%"),
            (0.5, "50%"),
            (0.001, "0.1%"),
            (0.0012, "0.12%"),
            (0.000_001_2, "0.00012%"),
            (0.0375, "3.75%"),
            (0.999_97, "99.997%"),
            (0.999_999_9, "99.99999%"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(percent(fraction), text);
        }
    }

    #[test]
    fn rates_sizes_and_moments() {
        assert_eq!(rate(0.5), "0.5/s");
        assert_eq!(rate(12_400.4), "12,400/s");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(12 << 20), "12 MiB");
        assert_eq!(moment(24_400_000, 1_000_000), "23.4 s");
        assert_eq!(moment(0, 2_000_000), "-2 s");
        assert_eq!(moment(1_000_000, 1_010_000), "0 s");
        let names: Vec<String> = ["a", "b", "c", "d"].map(String::from).to_vec();
        assert_eq!(list(&names[..2]), "a and b");
        assert_eq!(list(&names), "a, b and 2 more");
    }
}
