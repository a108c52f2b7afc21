//! The tables of the page.

use std::fmt::Write;

use super::escape::esc;
use crate::judge::words::{self, count, micros, percent};
use crate::judge::{FaultSummary, Summary, Totals};
use crate::record::{Level, Sample};
use crate::report::{Judged, phrases};

/// Every section below the charts; those without content are left out.
pub(super) fn all(out: &mut String, run: &Judged<'_>) -> Result<(), String> {
    let s = run.summary;
    faults(out, s);
    steps(out, s);
    phases(out, s);
    errors(out, s);
    instances(out, s);
    generator(out, s);
    notes(out, s);
    environment(out, s);
    scenario(out, run)
}

/// A cell; numbers are right-aligned.
pub(super) enum Cell {
    Text(String),
    Number(String),
    Bad(String),
}

pub(super) fn open(out: &mut String, id: &str, title: &str) {
    let _ = writeln!(
        out,
        r#"<section aria-labelledby="{id}"><h2 id="{id}">{title}</h2>"#
    );
}

pub(super) fn close(out: &mut String) {
    out.push_str("</section>\n");
}

/// A table whose first cell in each row is the row's header; cells are escaped here.
pub(super) fn table(out: &mut String, head: &[&str], rows: Vec<Vec<Cell>>) {
    out.push_str(r#"<div class="scroll"><table><thead><tr>"#);
    for (i, name) in head.iter().enumerate() {
        let number = rows
            .iter()
            .any(|r| matches!(r.get(i), Some(Cell::Number(_) | Cell::Bad(_))));
        let class = if number { r#" class="n""# } else { "" };
        let _ = write!(out, r#"<th scope="col"{class}>{}</th>"#, esc(name));
    }
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        out.push_str("<tr>");
        for (i, cell) in row.iter().enumerate() {
            let (class, text) = match cell {
                // Short names stay on one line; a table that is too wide scrolls.
                Cell::Text(text) if text.chars().count() <= 24 => (r#" class="short""#, text),
                Cell::Text(text) => ("", text),
                Cell::Number(text) => (r#" class="n""#, text),
                Cell::Bad(text) => (r#" class="n bad""#, text),
            };
            let text = esc(text);
            let _ = match i {
                0 => write!(out, r#"<th scope="row"{class}>{text}</th>"#),
                _ => write!(out, "<td{class}>{text}</td>"),
            };
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>\n");
}

fn number_or_bad(n: u64, text: String) -> Cell {
    if n > 0 {
        Cell::Bad(text)
    } else {
        Cell::Number(text)
    }
}

const NUMBERS: [&str; 9] = [
    "requests", "answered", "failed", "errors", "p50", "p90", "p95", "p99", "max",
];

fn numbers(t: &Totals) -> Vec<Cell> {
    let r = &t.response;
    let mut cells = vec![
        Cell::Number(count(t.ended)),
        Cell::Number(words::rate(t.throughput_per_s)),
        number_or_bad(t.failed, count(t.failed)),
        number_or_bad(t.failed, percent(t.error_ratio)),
    ];
    let times = [r.p50_us, r.p90_us, r.p95_us, r.p99_us, r.max_us];
    cells.extend(times.map(|us| Cell::Number(phrases::latency(r, us))));
    cells
}

fn steps(out: &mut String, s: &Summary) {
    open(out, "steps", "Steps");
    let mut head = vec!["step", "flow"];
    head.extend(NUMBERS);
    head.push("service p99");
    let row = |step: &str, flow: &str, t: &Totals| {
        let mut row = vec![Cell::Text(step.into()), Cell::Text(flow.into())];
        row.extend(numbers(t));
        row.push(Cell::Number(phrases::latency(&t.service, t.service.p99_us)));
        row
    };
    let mut rows: Vec<_> = s
        .steps
        .iter()
        .map(|x| row(&x.step, &x.flow, &x.totals))
        .collect();
    rows.push(row("all", "", &s.all));
    table(out, &head, rows);
    out.push_str(
        r#"<p class="hint">Times count from the intended start of a request; service time from its send.</p>"#,
    );
    close(out);
}

fn phases(out: &mut String, s: &Summary) {
    if s.phases.is_empty() {
        return;
    }
    open(out, "phases", "Before, during and after faults");
    let mut head = vec!["phase", "length"];
    head.extend(NUMBERS);
    let rows = s.phases.iter().map(|p| {
        let length = phrases::trim(format!("{:.1}", p.totals.seconds));
        let mut row = vec![
            Cell::Text(phrases::phase(p.phase).into()),
            Cell::Number(format!("{length} s")),
        ];
        row.extend(numbers(&p.totals));
        row
    });
    table(out, &head, rows.collect());
    close(out);
}

fn faults(out: &mut String, s: &Summary) {
    if s.faults.is_empty() {
        return;
    }
    open(out, "faults", "Faults");
    for fault in &s.faults {
        one_fault(out, fault, s);
    }
    close(out);
}

fn one_fault(out: &mut String, fault: &FaultSummary, s: &Summary) {
    let at = fault.injected_us.map_or(String::new(), |at| {
        let at = words::moment(at, s.traffic_start_us);
        format!(r#"<span class="at">at {at}</span>"#)
    });
    let _ = write!(
        out,
        r#"<div class="injection"><h3>{}. {} <small>{}</small>{at}</h3><p>{}.</p>"#,
        fault.injection,
        esc(&phrases::fault_title(fault)),
        esc(&fault.name),
        esc(&phrases::fault_outcome(fault)),
    );
    let steps = phrases::milestones(fault);
    if !steps.is_empty() {
        out.push_str(r#"<ol class="timeline">"#);
        for step in steps {
            let class = if step.what == phrases::RESTORED {
                r#" class="restored""#
            } else {
                ""
            };
            let _ = write!(
                out,
                "<li{class}><b>+{}</b><span>{}</span></li>",
                micros(step.after),
                step.what
            );
        }
        out.push_str("</ol>");
    }
    out.push_str("</div>\n");
}

fn errors(out: &mut String, s: &Summary) {
    if s.all.failed == 0 && s.samples.is_empty() {
        return;
    }
    open(out, "errors", "Errors");
    let mut kinds: Vec<_> = s.all.errors.iter().filter(|(_, n)| **n > 0).collect();
    kinds.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    let rows = kinds.iter().map(|(kind, n)| {
        let share = **n as f64 / s.all.ended.max(1) as f64;
        vec![
            Cell::Text(kind.name().into()),
            Cell::Number(count(**n)),
            Cell::Number(percent(share)),
        ]
    });
    let mut rows: Vec<_> = rows.collect();
    let total = percent(s.all.error_ratio);
    rows.push(vec![
        Cell::Text("all".into()),
        Cell::Number(count(s.all.failed)),
        Cell::Number(total),
    ]);
    out.push_str(r#"<div class="narrow">"#);
    table(out, &["kind", "requests", "share"], rows);
    out.push_str("</div>\n");
    for x in &s.samples {
        sample(out, x);
    }
    close(out);
}

fn sample(out: &mut String, x: &Sample) {
    let _ = write!(
        out,
        r#"<details class="sample"><summary>First of kind <b>{}</b> in {} / {}: {}</summary><dl class="pairs"><dt>Request</dt><dd><code>{}</code></dd>"#,
        x.outcome.name(),
        esc(&x.flow),
        esc(&x.step),
        esc(&x.error),
        esc(&x.request)
    );
    if let Some(instance) = &x.instance {
        let _ = write!(out, "<dt>Instance</dt><dd>{}</dd>", esc(instance));
    }
    if let Some(status) = x.status {
        let _ = write!(out, "<dt>Status</dt><dd>{status}</dd>");
    }
    out.push_str("</dl>");
    if !x.headers.is_empty() {
        let lines: Vec<_> = x.headers.iter().map(|(k, v)| format!("{k}: {v}")).collect();
        let _ = write!(
            out,
            "<pre tabindex=\"0\" aria-label=\"Response headers\">{}</pre>",
            esc(&lines.join("\n"))
        );
    }
    if let Some(body) = x.body.as_ref().filter(|b| !b.is_empty()) {
        let _ = write!(
            out,
            "<pre tabindex=\"0\" aria-label=\"Response body\">{}</pre>",
            esc(body)
        );
    }
    out.push_str("</details>\n");
}

fn instances(out: &mut String, s: &Summary) {
    if s.instances.is_empty() {
        return;
    }
    open(out, "instances", "Instances");
    let head = [
        "instance",
        "place",
        "answered",
        "share",
        "failed",
        "connections",
        "service p50",
        "service p99",
        "CPU mean",
        "CPU max",
        "memory max",
    ];
    let unknown = s.none_named();
    let named = |text: String| Cell::Number(if unknown { phrases::NONE.into() } else { text });
    let rows = s.instances.iter().map(|i| {
        let used = i.memory_max_bytes > 0;
        let or_none = |text: String| Cell::Number(if used { text } else { phrases::NONE.into() });
        let service = |us| Cell::Number(phrases::latency(&i.service, us));
        vec![
            Cell::Text(i.name.clone()),
            Cell::Text(i.slot.clone().unwrap_or_default()),
            named(count(i.answered)),
            named(phrases::share(i)),
            match unknown {
                true => named(String::new()),
                false => number_or_bad(i.failed, count(i.failed)),
            },
            named(count(i.connections)),
            service(i.service.p50_us),
            service(i.service.p99_us),
            or_none(phrases::cores(i.cpu_mean_millicores)),
            or_none(phrases::cores(i.cpu_max_millicores)),
            or_none(words::bytes(i.memory_max_bytes)),
        ]
    });
    table(out, &head, rows.collect());
    out.push_str(r#"<p class="hint">CPU in cores.</p>"#);
    if unknown {
        let _ = write!(out, r#"<p class="hint">{}</p>"#, esc(phrases::NONE_NAMED));
    }
    close(out);
}

/// Terms and what they are; values are escaped here.
fn pairs(out: &mut String, pairs: &[(&str, String)]) {
    out.push_str(r#"<dl class="pairs">"#);
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = write!(out, "<dt>{name}</dt><dd>{}</dd>", esc(value));
    }
    out.push_str("</dl>\n");
}

fn generator(out: &mut String, s: &Summary) {
    open(out, "generator", "Load generator");
    let g = &s.generator;
    let core = |millicores: u64| percent(millicores as f64 / 1000.0);
    pairs(
        out,
        &[
            (
                "Was it the limit?",
                g.saturated
                    .clone()
                    .map_or("no".into(), |why| format!("yes: {why}")),
            ),
            (
                "Schedule lag",
                format!(
                    "p99 {}, longest {}",
                    micros(g.lag_p99_us),
                    micros(g.lag_max_us)
                ),
            ),
            (
                "Busiest worker",
                format!(
                    "{} of a core typically, {} at most, of {}",
                    core(g.cpu_typical_millicores),
                    core(g.cpu_max_millicores),
                    words::counted(g.workers.into(), "worker")
                ),
            ),
            (
                "Arrivals",
                format!(
                    "{} dropped, {} late by more than 10 ms",
                    count(g.dropped),
                    count(g.late)
                ),
            ),
            ("Connections opened", count(s.all.connections)),
            (
                "Bytes",
                format!(
                    "{} sent, {} received",
                    words::bytes(s.all.sent_bytes),
                    words::bytes(s.all.received_bytes)
                ),
            ),
            ("Open files", format!("{} at most", count(g.open_files_max))),
        ],
    );
    close(out);
}

fn notes(out: &mut String, s: &Summary) {
    if s.notes.is_empty() {
        return;
    }
    open(out, "notes", "Notes");
    out.push_str(r#"<ul class="notes">"#);
    for (level, text) in &s.notes {
        let (class, word) = match level {
            Level::Info => ("none", "Note"),
            Level::Warning => ("unsure", "Warning"),
            Level::Error => ("fail", "Error"),
        };
        let _ = write!(
            out,
            r#"<li><span class="chip {class}">{word}</span> {}</li>"#,
            esc(text)
        );
    }
    out.push_str("</ul>\n");
    close(out);
}

fn environment(out: &mut String, s: &Summary) {
    open(out, "environment", "Environment");
    let files = match s.host.open_files {
        0 => String::new(),
        n => count(n),
    };
    pairs(
        out,
        &[
            ("Machine", phrases::host(&s.host)),
            ("Open-file limit", files),
            ("Started", s.started.clone()),
            ("squall", s.version.clone()),
            ("Seed", s.seed.to_string()),
        ],
    );
    close(out);
}

fn scenario(out: &mut String, run: &Judged<'_>) -> Result<(), String> {
    let text =
        serde_json::to_string_pretty(&run.record.header.scenario).map_err(|e| e.to_string())?;
    open(out, "scenario", "Scenario");
    let _ = writeln!(
        out,
        "<details><summary>As it was run, secrets masked</summary><pre tabindex=\"0\">{}</pre></details>",
        esc(&text)
    );
    close(out);
    Ok(())
}
