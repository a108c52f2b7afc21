//! The summary at the end of a run: to be read in ten seconds, the verdicts last, where the eye is.

use std::path::Path;

use super::table::{Style, Table, Tone, clean, cut, wrap};
use super::{Judged, phrases};
use crate::judge::words::{self, count, micros, percent};
use crate::judge::{Ruling, Summary, Totals, Verdict};
use crate::record::{Level, Micros};

/// Width of the first column, so that all tables line up.
const LEAD: usize = 24;

/// Prints a judged run for a terminal. With the run's folder given, it ends with where the page is and how to
/// judge the record again.
pub fn terminal(run: &Judged<'_>, style: Style, dir: Option<&Path>) -> String {
    let mut out = Page::new(style);
    head(&mut out, run);
    traffic(&mut out, run.summary);
    errors(&mut out, run.summary);
    phases(&mut out, run.summary);
    faults(&mut out, run.summary);
    instances(&mut out, run.summary);
    generator(&mut out, run.summary);
    notes(&mut out, run.summary);
    verdicts(&mut out, run.verdicts, run.summary.traffic_start_us);
    close(&mut out, run, dir);
    out.text()
}

/// The lines so far.
pub(super) struct Page {
    pub style: Style,
    pub lines: Vec<String>,
}

impl Page {
    pub fn new(style: Style) -> Self {
        let lines = Vec::new();
        Self { style, lines }
    }
    /// All of it.
    pub fn text(self) -> String {
        let mut text = self.lines.join("\n");
        text.push('\n');
        text
    }
    pub fn line(&mut self, text: String) {
        self.lines.push(text);
    }
    /// A section is apart from the one before.
    pub fn section(&mut self) {
        self.lines.push(String::new());
    }
    pub fn table(&mut self, table: &Table) {
        self.section();
        self.lines.extend(table.lines(self.style, LEAD));
    }
    /// `lead` in the first columns, `text` wrapped beside it.
    pub fn beside(&mut self, indent: usize, lead: &str, tone: Tone, text: &str) {
        let room = self.style.columns().saturating_sub(indent);
        for (i, part) in wrap(&clean(text), room).into_iter().enumerate() {
            let shown = if i == 0 { lead } else { "" };
            let pad = indent.saturating_sub(shown.chars().count());
            let shown = self.style.paint(tone, shown);
            self.line(format!("{shown}{}{part}", " ".repeat(pad)));
        }
    }
}

/// The first line.
pub(super) fn title(out: &mut Page, text: &str) {
    let title = cut(&clean(text), out.style.columns());
    let title = out.style.paint(Tone::Title, &title);
    out.line(title);
}

/// A quiet line below the title.
pub(super) fn fact(out: &mut Page, text: &str) {
    for part in wrap(&clean(text), out.style.columns()) {
        let part = out.style.paint(Tone::Quiet, &part);
        out.line(part);
    }
}

fn head(out: &mut Page, run: &Judged<'_>) {
    let s = run.summary;
    title(out, &s.scenario);
    let facts = format!(
        "{} of traffic, {}, seed {}, squall {}",
        phrases::traffic_length(s),
        words::counted(s.all.ended, "request"),
        s.seed,
        s.version,
    );
    fact(out, &facts);
    if let Some(why) = phrases::cut_short(&s.ended) {
        out.beside(10, "NOT WHOLE", Tone::Unsure, &why);
    }
}

fn share(ratio: f64) -> (Tone, String) {
    let tone = if ratio > 0.0 { Tone::Bad } else { Tone::Plain };
    (tone, percent(ratio))
}

fn numbers(t: &Totals) -> Vec<(Tone, String)> {
    let r = &t.response;
    let mut cells = vec![
        (Tone::Plain, count(t.ended)),
        (Tone::Plain, words::rate(t.throughput_per_s)),
        share(t.error_ratio),
    ];
    for us in [r.p50_us, r.p95_us, r.p99_us, r.max_us] {
        cells.push((Tone::Plain, phrases::latency(r, us)));
    }
    cells
}

fn row(name: &str, cells: Vec<(Tone, String)>) -> Vec<(Tone, String)> {
    let mut all = vec![(Tone::Plain, format!("  {}", clean(name)))];
    all.extend(cells);
    all
}

fn traffic(out: &mut Page, s: &Summary) {
    let mut table = Table::new(&[
        "traffic", "requests", "answers?", "errors", "p50", "p95?", "p99", "max?",
    ]);
    let many_flows = s.steps.iter().any(|x| x.flow != s.steps[0].flow);
    for step in &s.steps {
        let name = if many_flows {
            format!("{} / {}", step.flow, step.step)
        } else {
            step.step.clone()
        };
        table.row(row(&name, numbers(&step.totals)));
    }
    if s.steps.len() != 1 {
        table.row(row("all", numbers(&s.all)));
    }
    out.table(&table);
}

fn errors(out: &mut Page, s: &Summary) {
    if s.all.failed == 0 {
        return;
    }
    let mut kinds: Vec<_> = s.all.errors.iter().filter(|(_, n)| **n > 0).collect();
    kinds.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    out.section();
    let title = out.style.paint(Tone::Title, "errors");
    let total = format!(
        "  {} of {} ({})",
        count(s.all.failed),
        words::counted(s.all.ended, "request"),
        percent(s.all.error_ratio)
    );
    out.line(format!("{title}{total}"));
    for (kind, n) in kinds {
        let lead = format!("  {:<12} {:>9}  ", kind.name(), count(*n));
        let sample = s.samples.iter().find(|x| x.outcome == *kind);
        let text = sample.map_or(String::new(), |x| {
            let at = x
                .instance
                .as_ref()
                .map_or(String::new(), |i| format!(" ({i})"));
            format!("first: {}{at}: {}", x.request, x.error)
        });
        out.beside(lead.chars().count(), &lead, Tone::Plain, &text);
    }
}

fn phases(out: &mut Page, s: &Summary) {
    if s.phases.is_empty() {
        return;
    }
    let mut table = Table::new(&[
        "phases", "requests", "answers?", "errors", "p50", "p95?", "p99", "max?",
    ]);
    for part in &s.phases {
        table.row(row(phrases::phase(part.phase), numbers(&part.totals)));
    }
    out.table(&table);
}

fn faults(out: &mut Page, s: &Summary) {
    if s.faults.is_empty() {
        return;
    }
    out.section();
    let title = out.style.paint(Tone::Title, "faults");
    out.line(title);
    for fault in &s.faults {
        let at = fault.injected_us.map_or(phrases::NONE.into(), |at| {
            words::moment(at, s.traffic_start_us)
        });
        let lead = format!("{at:>10}  ");
        let text = format!(
            "{}: {}",
            phrases::fault_title(fault),
            phrases::fault_story(fault)
        );
        out.beside(lead.chars().count(), &lead, Tone::Plain, &text);
    }
}

fn instances(out: &mut Page, s: &Summary) {
    if s.instances.is_empty() {
        return;
    }
    let mut table = Table::new(&[
        "instances",
        "requests",
        "share",
        "failed",
        "p50?",
        "p99",
        "cpu?",
        "memory?",
    ]);
    let unknown = s.none_named();
    for i in &s.instances {
        let named = |text: String| if unknown { phrases::NONE.into() } else { text };
        let used = i.memory_max_bytes > 0;
        let or_none = |text: String| if used { text } else { phrases::NONE.into() };
        let failed = if i.failed > 0 { Tone::Bad } else { Tone::Plain };
        let cells = vec![
            (Tone::Plain, named(count(i.answered))),
            (Tone::Plain, named(phrases::share(i))),
            (failed, named(count(i.failed))),
            (Tone::Plain, phrases::latency(&i.service, i.service.p50_us)),
            (Tone::Plain, phrases::latency(&i.service, i.service.p99_us)),
            (Tone::Plain, or_none(phrases::cores(i.cpu_mean_millicores))),
            (Tone::Plain, or_none(words::bytes(i.memory_max_bytes))),
        ];
        table.row(row(&i.name, cells));
    }
    out.table(&table);
    if unknown {
        out.beside(2, "  ", Tone::Unsure, phrases::NONE_NAMED);
    }
}

fn generator(out: &mut Page, s: &Summary) {
    let g = &s.generator;
    out.section();
    let text = format!(
        "schedule lag p99 {}, longest {}; busiest worker {} of a core; {} dropped, {} late",
        micros(g.lag_p99_us),
        micros(g.lag_max_us),
        percent(g.cpu_max_millicores as f64 / 1000.0),
        count(g.dropped),
        count(g.late),
    );
    out.beside(11, "generator", Tone::Title, &text);
    if let Some(why) = &g.saturated {
        let text = format!("the generator was the limit: {why}");
        out.beside(13, "  SATURATED", Tone::Unsure, &text);
    }
}

fn notes(out: &mut Page, s: &Summary) {
    if s.notes.is_empty() {
        return;
    }
    out.section();
    for (level, text) in &s.notes {
        let (lead, tone) = match level {
            Level::Info => ("note", Tone::Quiet),
            Level::Warning => ("warning", Tone::Unsure),
            Level::Error => ("error", Tone::Bad),
        };
        out.beside(11, lead, tone, text);
    }
}

/// Every verdict with its sentence, and the evidence of what did not pass. `zero` is the start of traffic.
pub(super) fn verdicts(out: &mut Page, verdicts: &[Verdict], zero: Micros) {
    if verdicts.is_empty() {
        return;
    }
    let mark = verdicts.iter().map(|v| phrases::ruling(v.verdict).len());
    let mark = mark.max().unwrap_or(0);
    let names = verdicts.iter().map(|v| v.expectation.chars().count());
    let name = names.max().unwrap_or(0);
    out.section();
    let title = out.style.paint(Tone::Title, "verdicts");
    out.line(title);
    for v in verdicts {
        verdict(out, v, mark, name, zero);
    }
}

fn verdict(out: &mut Page, v: &Verdict, mark: usize, name: usize, zero: Micros) {
    let lead = format!("{:<mark$}  ", phrases::ruling(v.verdict));
    let tone = Tone::of(v.verdict);
    let indent = mark + 2;
    let columns = out.style.columns();
    // Beside the expectation while that leaves the sentence a readable width, below it otherwise.
    if indent + name + 2 + 34 <= columns {
        let start = indent + name + 2;
        for (i, part) in wrap(&clean(&v.because), columns - start)
            .into_iter()
            .enumerate()
        {
            if i == 0 {
                let lead = out.style.paint(tone, &lead);
                let text = clean(&v.expectation);
                out.line(format!("{lead}{text:<name$}  {part}"));
            } else {
                out.line(format!("{}{part}", " ".repeat(start)));
            }
        }
    } else {
        out.beside(indent, &lead, tone, &v.expectation);
        out.beside(indent, "", Tone::Plain, &v.because);
    }
    if v.verdict == Ruling::Pass {
        return;
    }
    if let Some(missing) = &v.missing {
        let text = format!("missing: {missing}");
        bullet(out, indent, &text);
    }
    for fact in &v.evidence {
        let at = fact.at_us.map_or(String::new(), |at| {
            format!(" (at {})", words::moment(at, zero))
        });
        bullet(out, indent, &format!("{}: {}{at}", fact.what, fact.value));
    }
}

fn bullet(out: &mut Page, indent: usize, text: &str) {
    let lead = format!("{}- ", " ".repeat(indent));
    out.beside(indent + 2, &lead, Tone::Quiet, text);
}

fn close(out: &mut Page, run: &Judged<'_>, dir: Option<&Path>) {
    let overall = run.overall();
    let again = ["squall".into(), "judge".into()];
    let again = dir.map(|dir| again.into_iter().chain([dir.display().to_string()]));
    ending(out, overall, &phrases::tally(run.verdicts), dir);
    if let Some(command) = again {
        replay(out, overall, &command.collect::<Vec<_>>());
    }
}

/// The verdict over all, and where the page is.
pub(super) fn ending(out: &mut Page, overall: Option<Ruling>, text: &str, dir: Option<&Path>) {
    out.section();
    let tone = overall.map_or(Tone::Quiet, Tone::of);
    let lead = format!("{}  ", phrases::overall(overall));
    out.beside(lead.chars().count(), &lead, tone, text);
    // Paths and commands are not wrapped: they are there to be copied.
    if let Some(dir) = dir {
        out.line(format!(
            "report  {}/report.html",
            clean(&dir.display().to_string())
        ));
    }
}

/// How to judge again what did not pass.
pub(super) fn replay(out: &mut Page, overall: Option<Ruling>, command: &[String]) {
    if matches!(overall, Some(Ruling::Fail | Ruling::Inconclusive)) {
        let words: Vec<String> = command.iter().map(|word| quoted(&clean(word))).collect();
        out.line(format!("again   {}", words.join(" ")));
    }
}

/// A word as a shell would take it.
pub(super) fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:=@%,".contains(c);
    if !path.is_empty() && path.chars().all(plain) {
        path.to_string()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}
