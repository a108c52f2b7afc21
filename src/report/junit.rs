//! `junit.xml`: one test case per verdict, for CI systems that show test results.
//!
//! INCONCLUSIVE is an `<error>`, not a `<skipped>`: a gate that reads this file must not take it for a pass.

use std::fmt::Write;

use super::{Judged, Output, ReportError, phrases};
use crate::judge::words;
use crate::judge::{Ruling, Verdict};
use crate::record::Micros;

/// Writes `junit.xml`.
pub(super) struct JUnit;

impl Output for JUnit {
    fn file_name(&self) -> &'static str {
        "junit.xml"
    }

    fn render(&self, run: &Judged<'_>) -> Result<Vec<u8>, ReportError> {
        Ok(document(run).into_bytes())
    }
}

/// What the document is of.
pub(super) struct Suite<'a> {
    pub name: &'a str,
    pub verdicts: &'a [Verdict],
    /// Start of traffic, for times in the evidence.
    pub zero: Micros,
    /// Seconds.
    pub length: f64,
    /// Further attributes of its element, each with its value.
    pub attributes: Vec<(&'a str, &'a str)>,
    pub properties: Vec<(&'a str, String)>,
    /// Why it is not whole.
    pub broken: Option<String>,
}

fn document(run: &Judged<'_>) -> String {
    let summary = run.summary;
    let length = summary
        .traffic_end_us
        .saturating_sub(summary.traffic_start_us);
    suite(&Suite {
        name: &summary.scenario,
        verdicts: run.verdicts,
        zero: summary.traffic_start_us,
        length: length as f64 / 1e6,
        attributes: vec![
            ("timestamp", &summary.started),
            ("hostname", &summary.host.name),
        ],
        properties: vec![
            ("seed", summary.seed.to_string()),
            ("version", summary.version.clone()),
            ("verdict", phrases::overall(run.overall()).to_string()),
        ],
        broken: phrases::cut_short(&summary.ended),
    })
}

/// The document of a suite.
pub(super) fn suite(of: &Suite<'_>) -> String {
    let number = |ruling: Ruling| of.verdicts.iter().filter(|v| v.verdict == ruling).count();
    let tests = of.verdicts.len() + usize::from(of.broken.is_some());
    let failures = number(Ruling::Fail);
    let errors = number(Ruling::Inconclusive) + usize::from(of.broken.is_some());
    let (name, length) = (escape(of.name), of.length);
    let counts = format!(
        r#"tests="{tests}" failures="{failures}" errors="{errors}" skipped="0" time="{length:.3}""#
    );
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(out, r#"<testsuites name="squall" {counts}>"#);
    let _ = write!(out, r#"  <testsuite name="{name}" {counts}"#);
    for (key, value) in &of.attributes {
        let _ = write!(out, r#" {key}="{}""#, escape(value));
    }
    out.push_str(">\n    <properties>\n");
    for (key, value) in &of.properties {
        let value = escape(value);
        let _ = writeln!(out, r#"      <property name="{key}" value="{value}"/>"#);
    }
    out.push_str("    </properties>\n");
    for verdict in of.verdicts {
        case(&mut out, &name, verdict, of.zero, length);
    }
    if let Some(why) = &of.broken {
        let why = escape(why);
        let _ = writeln!(
            out,
            r#"    <testcase classname="{name}" name="run completes" time="{length:.3}">
      <error type="inconclusive" message="{why}"/>
    </testcase>"#
        );
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

/// One verdict. Every expectation is judged over the run, so the run's length is its time.
fn case(out: &mut String, suite: &str, verdict: &Verdict, zero: Micros, length: f64) {
    let _ = write!(
        out,
        r#"    <testcase classname="{suite}.{}" name="{}" time="{length:.3}""#,
        escape(&verdict.oracle),
        escape(&verdict.expectation),
    );
    let because = escape(&verdict.because);
    let details = escape(&details(verdict, zero));
    let _ = match verdict.verdict {
        Ruling::Pass => writeln!(
            out,
            ">\n      <system-out>{details}</system-out>\n    </testcase>"
        ),
        Ruling::Fail => writeln!(
            out,
            ">\n      <failure type=\"fail\" message=\"{because}\">{details}</failure>\n    </testcase>"
        ),
        Ruling::Inconclusive => writeln!(
            out,
            ">\n      <error type=\"inconclusive\" message=\"{because}\">{details}</error>\n    </testcase>"
        ),
    };
}

fn details(verdict: &Verdict, zero: Micros) -> String {
    let mut out = verdict.because.clone();
    if let Some(missing) = &verdict.missing {
        let _ = write!(out, "\nmissing: {missing}");
    }
    for fact in &verdict.evidence {
        let _ = write!(out, "\n{}: {}", fact.what, fact.value);
        if let Some(at) = fact.at_us {
            let _ = write!(out, " (at {})", words::moment(at, zero));
        }
    }
    out
}

/// Text for XML 1.0, content or attribute; characters that XML cannot hold at all become U+FFFD.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        assert_eq!(
            escape("<a b=\"c\">&'\u{0}\u{1b}\n"),
            "&lt;a b=&quot;c&quot;&gt;&amp;&apos;\u{fffd}\u{fffd}&#10;"
        );
    }
}
