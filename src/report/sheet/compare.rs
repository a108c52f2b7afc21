//! A comparison in words.

use super::{Grid, Kind, Sheet, detail};
use crate::judge::compare::{Compared, ComparedPart, quantile_name};
use crate::judge::words::{counted, micros, percent};
use crate::judge::worst;
use crate::report::phrases::NONE;

impl Sheet {
    /// A comparison; `again` is the command that makes it again.
    pub fn comparison(compared: &Compared, again: Vec<String>) -> Self {
        let settings = &compared.settings;
        let quantile = quantile_name(settings.quantile);
        let sides = format!(
            "{} against {}",
            counted(compared.candidate.len() as u64, "run"),
            compared.baseline.len()
        );
        let margins = format!(
            "{quantile} may be {} or {} longer, {} more of the requests may fail",
            percent(settings.margin.get()),
            micros(settings.floor.as_micros() as u64),
            percent(settings.error_margin.get())
        );
        let rows = compared.parts.iter().map(row);
        Sheet {
            kind: Kind::Comparison,
            title: "candidate against baseline".into(),
            facts: vec![sides, margins],
            answer: None,
            grids: vec![Grid {
                title: "steps",
                head: vec![
                    "step",
                    "baseline",
                    "candidate",
                    "times",
                    "interval",
                    "limit?",
                    "errors before?",
                    "errors after",
                ],
                rows: rows.collect(),
            }],
            charts: Vec::new(),
            notes: compared
                .excluded
                .iter()
                .map(|e| format!("{} is left out: {}", e.run, e.why))
                .collect(),
            overall: worst(&compared.verdicts),
            verdicts: compared.verdicts.clone(),
            again,
            detail: detail(compared),
        }
    }
}

fn row(part: &ComparedPart) -> Vec<String> {
    let none = || NONE.to_string();
    let name = format!("{} / {}", part.flow, part.step);
    let time = |us: f64| micros(us.round() as u64);
    let latency = match &part.latency {
        Some(l) => vec![
            time(l.baseline_us),
            time(l.candidate_us),
            format!("{:.3}", l.ratio),
            format!("{:.3} to {:.3}", l.low, l.high),
            format!("{:.3}", l.margin),
        ],
        None => vec![none(), none(), none(), none(), none()],
    };
    let errors = match &part.errors {
        Some(e) => vec![percent(e.baseline_ratio), percent(e.candidate_ratio)],
        None => vec![none(), none()],
    };
    [vec![name], latency, errors].concat()
}
