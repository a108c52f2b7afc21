//! The page from top to bottom: verdict, numbers, charts, tables.

use std::fmt::Write;

use super::escape::{esc, script_json};
use super::sections;
use crate::judge::words::{self, count, percent};
use crate::judge::{Ruling, Verdict};
use crate::report::plots::{self, Chart, Shape};
use crate::report::{Judged, phrases};
use crate::scenario::FaultPhase;

const STYLE: &str = include_str!("../assets/style.css");
const SCRIPT: &str = include_str!("../assets/script.js");

/// The page.
pub(super) fn page(run: &Judged<'_>) -> Result<String, String> {
    let s = run.summary;
    let mut out = open(&s.scenario, run.overall());
    header(&mut out, run);
    out.push_str("<main>\n");
    verdicts(&mut out, run.verdicts, s.traffic_start_us);
    headline(&mut out, run);
    charts(&mut out, run)?;
    sections::all(&mut out, run)?;
    out.push_str("</main>\n");
    close(
        &mut out,
        &format!(
            "Made by squall {} from the run's record. Judge it again with <code>squall judge</code> and the folder of \
             this page.",
            esc(&s.version)
        ),
    );
    Ok(out)
}

/// The page up to its body.
pub(super) fn open(title: &str, overall: Option<Ruling>) -> String {
    let mut out = String::with_capacity(256 * 1024);
    let title = esc(title);
    let overall = phrases::overall(overall);
    // The policy forbids every request, whatever a hostile name might have slipped in.
    let _ = write!(
        out,
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'">
<link rel="icon" href="data:,">
<title>{overall}: {title}</title>
<style>
{STYLE}</style>
</head>
<body>
"#
    );
    out
}

/// The end of the page; `footer` is HTML.
pub(super) fn close(out: &mut String, footer: &str) {
    let _ = write!(
        out,
        "<footer>{footer}</footer>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    );
}

pub(super) fn class(ruling: Option<Ruling>) -> &'static str {
    match ruling {
        Some(Ruling::Pass) => "pass",
        Some(Ruling::Fail) => "fail",
        Some(Ruling::Inconclusive) => "unsure",
        None => "none",
    }
}

/// A sign beside the word, so that colour is never the only difference.
fn sign(ruling: Option<Ruling>) -> &'static str {
    match ruling {
        Some(Ruling::Pass) => "✓",
        Some(Ruling::Fail) => "✕",
        Some(Ruling::Inconclusive) => "?",
        None => "–",
    }
}

pub(super) fn chip(ruling: Option<Ruling>) -> String {
    format!(
        r#"<span class="chip {}"><span aria-hidden="true">{}</span> {}</span>"#,
        class(ruling),
        sign(ruling),
        phrases::overall(ruling)
    )
}

/// Opens the page's header: what it is about, how that came out, and a sentence on it.
pub(super) fn title(out: &mut String, overall: Option<Ruling>, title: &str, about: Option<&str>) {
    let _ = write!(
        out,
        r#"<header class="{}"><div class="inner">
<p class="brand">squall</p>
<div class="title"><h1>{}</h1>{}</div>
"#,
        class(overall),
        esc(title),
        chip(overall)
    );
    if let Some(text) = about {
        let _ = writeln!(out, r#"<p class="about">{}</p>"#, esc(text));
    }
}

fn header(out: &mut String, run: &Judged<'_>) {
    let s = run.summary;
    let about = run.record.header.scenario.description.as_deref();
    title(out, run.overall(), &s.scenario, about);
    let _ = writeln!(
        out,
        r#"<p class="facts"><span>{}</span><span>{} of traffic</span><span>seed {}</span><span>{}</span></p>"#,
        esc(&started(&s.started)),
        phrases::traffic_length(s),
        s.seed,
        esc(&s.host.name)
    );
    if let Some(why) = phrases::cut_short(&s.ended) {
        let _ = writeln!(
            out,
            r#"<p class="banner">The run is not whole: {}.</p>"#,
            esc(&why)
        );
    }
    if let Some(why) = &s.generator.saturated {
        let _ = writeln!(
            out,
            r#"<p class="banner">The generator was the limit, not the service: {}.</p>"#,
            esc(why)
        );
    }
    out.push_str("</div></header>\n");
}

/// Wall time without its fraction of a second; as it is where it is not a time.
fn started(text: &str) -> String {
    text.parse::<jiff::Timestamp>().map_or_else(
        |_| text.to_string(),
        |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

/// The verdicts with their evidence. `zero` is the start of traffic.
pub(super) fn verdicts(out: &mut String, verdicts: &[Verdict], zero: u64) {
    let _ = writeln!(
        out,
        r#"<section aria-labelledby="verdicts"><h2 id="verdicts">Verdicts</h2><p class="lead">{}.</p>"#,
        phrases::tally(verdicts)
    );
    if !verdicts.is_empty() {
        out.push_str(r#"<ul class="verdicts">"#);
        for v in verdicts {
            verdict(out, v, zero);
        }
        out.push_str("</ul>\n");
    }
    out.push_str("</section>\n");
}

fn verdict(out: &mut String, v: &Verdict, zero: u64) {
    let _ = write!(
        out,
        r#"<li class="{}">{}<div><p class="expectation"><code>{}</code><span class="oracle">{}</span></p><p>{}</p>"#,
        class(Some(v.verdict)),
        chip(Some(v.verdict)),
        esc(&v.expectation),
        esc(&v.oracle),
        esc(&v.because)
    );
    if let Some(missing) = &v.missing {
        let _ = write!(out, "<p><strong>Missing:</strong> {}</p>", esc(missing));
    }
    if !v.evidence.is_empty() {
        // What did not hold is what the reader came for: its evidence is open.
        let open = if v.verdict == Ruling::Pass {
            ""
        } else {
            " open"
        };
        let _ = write!(
            out,
            r#"<details{open}><summary>Evidence</summary><div class="scroll"><table class="evidence"><thead><tr><th scope="col">fact</th><th scope="col">value</th><th scope="col" class="n">at</th></tr></thead><tbody>"#
        );
        for fact in &v.evidence {
            let at = fact
                .at_us
                .map_or(String::new(), |at| words::moment(at, zero));
            let _ = write!(
                out,
                r#"<tr><th scope="row">{}</th><td>{}</td><td class="n">{at}</td></tr>"#,
                esc(&fact.what),
                esc(&fact.value)
            );
        }
        out.push_str("</tbody></table></div></details>");
    }
    out.push_str("</div></li>\n");
}

fn headline(out: &mut String, run: &Judged<'_>) {
    let s = run.summary;
    let r = &s.all.response;
    let mut cards = vec![
        ("Requests", count(s.all.ended), String::new(), false),
        (
            "Answered",
            words::rate(s.all.throughput_per_s),
            String::new(),
            false,
        ),
        (
            "Errors",
            percent(s.all.error_ratio),
            format!("{} failed", count(s.all.failed)),
            s.all.failed > 0,
        ),
        ("p50", phrases::latency(r, r.p50_us), String::new(), false),
    ];
    let during = s.phases.iter().find(|p| p.phase == FaultPhase::During);
    let under = during.map_or(String::new(), |p| {
        let r = &p.totals.response;
        format!("{} during faults", phrases::latency(r, r.p99_us))
    });
    cards.push(("p99", phrases::latency(r, r.p99_us), under, false));
    cards.push((
        "Longest",
        phrases::latency(r, r.max_us),
        String::new(),
        false,
    ));
    out.push_str(r#"<section aria-label="Headline numbers"><dl class="cards">"#);
    for (name, value, under, bad) in cards {
        let bad = if bad { r#" class="bad""# } else { "" };
        let _ = write!(out, "<div><dt>{name}</dt><dd{bad}>{value}</dd>");
        if !under.is_empty() {
            let _ = write!(out, r#"<dd class="under">{under}</dd>"#);
        }
        out.push_str("</div>");
    }
    out.push_str("</dl></section>\n");
}

fn charts(out: &mut String, run: &Judged<'_>) -> Result<(), String> {
    let charts = plots::all(run);
    if charts.is_empty() {
        return Ok(());
    }
    out.push_str(r#"<section aria-labelledby="charts"><h2 id="charts">Over time</h2>"#);
    if charts.iter().any(|c| !c.windows.is_empty()) {
        out.push_str(
            r#"<p class="lead"><i class="key fault"></i>shaded: from a fault until it was undone and the service was restored.</p>"#,
        );
    }
    out.push_str("<div class=\"charts\">\n");
    for chart in &charts {
        figure(out, chart)?;
    }
    out.push_str("</div></section>\n");
    Ok(())
}

pub(super) fn figure(out: &mut String, chart: &Chart) -> Result<(), String> {
    let drawn = plots::draw(chart)?;
    let (id, title) = (chart.id, esc(&chart.title));
    let wide = if chart.wide { " wide" } else { "" };
    let _ = write!(
        out,
        r#"<figure class="chart{wide}"><figcaption><h3>{title} <small>{}</small></h3><ul class="legend">"#,
        esc(&chart.note)
    );
    for series in &chart.series {
        let shape = if matches!(series.shape, Shape::Band(_)) {
            " band"
        } else {
            ""
        };
        let _ = write!(
            out,
            r#"<li><i class="key {}{shape}"></i>{}</li>"#,
            series.ink.class(),
            esc(&series.name)
        );
    }
    let faults: Vec<_> = chart.windows.iter().map(|w| w.label.as_str()).collect();
    let faults = if faults.is_empty() {
        String::new()
    } else {
        format!(" Faults: {}.", faults.join("; "))
    };
    let _ = writeln!(
        out,
        r#"</ul></figcaption><div class="plot" tabindex="0" role="group" aria-label="{title}"><svg viewBox="0 0 {w} {h}" role="img" aria-labelledby="{id}-t {id}-d" data-hover="{id}-data"><title id="{id}-t">{title}</title><desc id="{id}-d">{desc}{faults}</desc>{body}</svg></div><script type="application/json" id="{id}-data">{hover}</script></figure>"#,
        w = drawn.width,
        h = drawn.height,
        desc = esc(&chart.describe),
        faults = esc(&faults),
        body = drawn.body,
        hover = script_json(&drawn.hover),
    );
    Ok(())
}
