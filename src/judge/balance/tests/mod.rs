//! Healthy balancers must not FAIL and seldom be INCONCLUSIVE; broken ones must be caught, every time.

use super::share::{Band, judge_shares};
use super::sim::Sim;
use super::{BalanceExpectation, By, Kind, judge};
use crate::judge::{Ruling, Verdict};

mod by_connection;
mod by_request;

const SEEDS: u64 = 500;
const BAND: Band = Band {
    low: 0.8,
    high: 1.25,
};

fn by(by: By) -> BalanceExpectation {
    BalanceExpectation {
        by,
        ..BalanceExpectation::default()
    }
}

fn by_connection(sim: &Sim) -> Verdict {
    judge(&sim.record, &by(By::Connection))
}

fn evidence(verdict: &Verdict, what: &str) -> String {
    let found = verdict.evidence.iter().find(|e| e.what == what);
    found.map_or(String::new(), |e| e.value.clone())
}

/// Rulings over all seeds: FAIL and INCONCLUSIVE.
fn over_seeds(mut run: impl FnMut(u64) -> Ruling) -> (u64, u64) {
    let (mut failed, mut unclear) = (0, 0);
    for seed in 0..SEEDS {
        match run(seed) {
            Ruling::Fail => failed += 1,
            Ruling::Inconclusive => unclear += 1,
            Ruling::Pass => {}
        }
    }
    (failed, unclear)
}
