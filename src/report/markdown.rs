//! `summary.md`: for a comment on a pull request or a CI job's summary page.

use std::fmt::Write;

use super::{Judged, Output, ReportError, phrases};
use crate::judge::words::{self, count, micros, percent};
use crate::judge::{Ruling, Summary, Verdict};
use crate::record::{Level, Micros};

/// Writes `summary.md`.
pub(super) struct Markdown;

impl Output for Markdown {
    fn file_name(&self) -> &'static str {
        "summary.md"
    }

    fn render(&self, run: &Judged<'_>) -> Result<Vec<u8>, ReportError> {
        let mut out = String::new();
        head(&mut out, run);
        verdicts(&mut out, run.verdicts, run.summary.traffic_start_us);
        numbers(&mut out, run.summary);
        faults(&mut out, run.summary);
        notes(&mut out, run.summary);
        Ok(out.into_bytes())
    }
}

pub(super) fn mark(ruling: Option<Ruling>) -> &'static str {
    match ruling {
        Some(Ruling::Pass) => "✅",
        Some(Ruling::Fail) => "❌",
        Some(Ruling::Inconclusive) => "⚠️",
        None => "▫️",
    }
}

fn head(out: &mut String, run: &Judged<'_>) {
    let s = run.summary;
    let overall = run.overall();
    let _ = writeln!(
        out,
        "## {} {}: {}\n",
        mark(overall),
        phrases::overall(overall),
        escape(&s.scenario)
    );
    let _ = writeln!(
        out,
        "{}. {} of traffic, {}, seed {}, squall {}.\n",
        capital(&phrases::tally(run.verdicts)),
        phrases::traffic_length(s),
        words::counted(s.all.ended, "request"),
        s.seed,
        escape(&s.version),
    );
    if let Some(why) = phrases::cut_short(&s.ended) {
        let _ = writeln!(out, "**The run is not whole:** {}.\n", escape(&why));
    }
}

pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

/// The verdicts as a table, and the evidence of what did not pass. `zero` is the start of traffic.
pub(super) fn verdicts(out: &mut String, verdicts: &[Verdict], zero: Micros) {
    if verdicts.is_empty() {
        return;
    }
    out.push_str("| | expectation | what was seen |\n| --- | --- | --- |\n");
    for v in verdicts {
        let _ = writeln!(
            out,
            "| {} {} | {} | {} |",
            mark(Some(v.verdict)),
            phrases::ruling(v.verdict),
            code(&v.expectation),
            escape(&v.because),
        );
    }
    out.push('\n');
    for v in verdicts.iter().filter(|v| v.verdict != Ruling::Pass) {
        evidence(out, v, zero);
    }
}

fn evidence(out: &mut String, v: &Verdict, zero: Micros) {
    if v.missing.is_none() && v.evidence.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "<details><summary>{}: evidence for {}</summary>\n",
        phrases::ruling(v.verdict),
        escape(&v.expectation)
    );
    if let Some(missing) = &v.missing {
        let _ = writeln!(out, "- missing: {}", escape(missing));
    }
    for fact in &v.evidence {
        let _ = write!(out, "- {}: {}", escape(&fact.what), escape(&fact.value));
        if let Some(at) = fact.at_us {
            let _ = write!(out, " (at {})", words::moment(at, zero));
        }
        out.push('\n');
    }
    out.push_str("\n</details>\n\n");
}

fn numbers(out: &mut String, s: &Summary) {
    out.push_str(
        "| traffic | requests | answered | errors | p50 | p95 | p99 | max |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let mut row = |name: String, t: &crate::judge::Totals| {
        let r = &t.response;
        let _ = writeln!(
            out,
            "| {name} | {} | {} | {} | {} | {} | {} | {} |",
            count(t.ended),
            words::rate(t.throughput_per_s),
            percent(t.error_ratio),
            phrases::latency(r, r.p50_us),
            phrases::latency(r, r.p95_us),
            phrases::latency(r, r.p99_us),
            phrases::latency(r, r.max_us),
        );
    };
    row("**all**".into(), &s.all);
    for step in &s.steps {
        row(
            format!("{} / {}", escape(&step.flow), code(&step.step)),
            &step.totals,
        );
    }
    for part in &s.phases {
        row(format!("*{}*", phrases::phase(part.phase)), &part.totals);
    }
    out.push('\n');
    let g = &s.generator;
    let _ = writeln!(
        out,
        "Generator: schedule lag p99 {}, busiest worker {} of a core, {} dropped.\n",
        micros(g.lag_p99_us),
        percent(g.cpu_max_millicores as f64 / 1000.0),
        count(g.dropped),
    );
    if let Some(why) = &g.saturated {
        let _ = writeln!(out, "**Generator saturated:** {}.\n", escape(why));
    }
}

fn faults(out: &mut String, s: &Summary) {
    if s.faults.is_empty() {
        return;
    }
    out.push_str("| at | fault | what followed |\n| ---: | --- | --- |\n");
    for fault in &s.faults {
        let at = fault.injected_us.map_or(phrases::NONE.into(), |at| {
            words::moment(at, s.traffic_start_us)
        });
        let _ = writeln!(
            out,
            "| {at} | {} | {} |",
            escape(&phrases::fault_title(fault)),
            escape(&phrases::fault_story(fault)),
        );
    }
    out.push('\n');
}

fn notes(out: &mut String, s: &Summary) {
    let loud = s.notes.iter().filter(|(level, _)| *level > Level::Info);
    for (level, text) in loud {
        let word = match level {
            Level::Error => "Error",
            _ => "Warning",
        };
        let _ = writeln!(out, "- **{word}:** {}", escape(text));
    }
}

/// Text from outside, with nothing in it that Markdown or HTML would read: no markup, no mention, no link, no
/// table cell or line of its own.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '@' => out.push_str("&#64;"),
            '#' => out.push_str("&#35;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '!' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    // A bare address would become a link on most sites.
    out.replace("://", ":&#8203;//")
}

/// Text from outside as code. A `|` ends a table's cell even there, so it is written as its escape.
fn code(text: &str) -> String {
    let flat: String = text
        .chars()
        .map(|c| match c {
            '`' => '\'',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect();
    format!("`{}`", flat.replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_makes_no_markup_and_pings_nobody() {
        let text = escape("<script>@all [x](http://y) a|b\n# title");
        assert_eq!(
            text,
            "&lt;script&gt;&#64;all \\[x\\](http:&#8203;//y) a\\|b &#35; title"
        );
        assert_eq!(code("a`b|c"), "`a'b\\|c`");
    }
}
