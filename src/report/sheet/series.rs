//! A series in words.

use super::{Grid, Kind, Sheet, detail};
use crate::judge::series::{SeriesResult, SeriesRun};
use crate::judge::words::{self, count, counted, percent};
use crate::judge::worst;
use crate::report::phrases::{self, latency};

impl Sheet {
    /// A series of runs of the scenario called `title`; `again` is the command that judges it again.
    pub fn series(title: &str, series: &SeriesResult, again: Vec<String>) -> Self {
        let made = series.runs.len() as u64;
        let requests = series.runs.iter().map(|r| r.all.ended).sum();
        Sheet {
            kind: Kind::Series,
            title: title.into(),
            facts: vec![format!(
                "{made} of {}, {} in all",
                counted(series.asked.into(), "run"),
                counted(requests, "request")
            )],
            answer: None,
            grids: vec![runs(series)],
            charts: Vec::new(),
            notes: Vec::new(),
            overall: worst(&series.verdicts),
            verdicts: series.verdicts.clone(),
            again,
            detail: detail(series),
        }
    }

    /// Adds the candidate's own series to a comparison: what it must hold by itself.
    pub fn with_candidate(&mut self, title: &str, series: &SeriesResult) {
        let own = Sheet::series(title, series, Vec::new());
        self.title = format!("{title} against its baseline");
        self.facts.extend(own.facts);
        self.grids.extend(own.grids);
        let verdicts = own.verdicts.into_iter().map(|mut v| {
            v.expectation = format!("candidate: {}", v.expectation);
            v
        });
        self.verdicts.extend(verdicts);
        self.overall = worst(&self.verdicts);
    }
}

fn runs(series: &SeriesResult) -> Grid {
    let burns = series.runs.iter().any(|r| !r.budgets.is_empty());
    let mut head = vec![
        "run", "verdict", "requests", "answers?", "errors", "p50", "p99", "max?",
    ];
    if burns {
        head.push("burn rate");
    }
    let row = |run: &SeriesRun| {
        let r = &run.all.response;
        let mut row = vec![
            run.name.clone(),
            phrases::overall(run.verdict).to_string(),
            count(run.all.ended),
            words::rate(run.all.throughput_per_s),
            percent(run.all.error_ratio),
            latency(r, r.p50_us),
            latency(r, r.p99_us),
            latency(r, r.max_us),
        ];
        if burns {
            let most = run.budgets.iter().map(|b| b.burn_rate);
            let most = most.max_by(f64::total_cmp).unwrap_or(0.0);
            row.push(format!("{most:.2}"));
        }
        row
    };
    Grid {
        title: "runs",
        head,
        rows: series.runs.iter().map(row).collect(),
    }
}
