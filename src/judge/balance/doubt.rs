//! What a run that was cut short and a saturated generator can falsify of a verdict on balance.
//!
//! Who is chosen does not depend on when squall sends: dropped, late and never sent requests are missing at every
//! instance alike, and too few of them already make INCONCLUSIVE. What depends on the load is whether the least busy
//! one is preferred: a generator that reads late sees more requests under way than the balancer does.

use super::{BalanceExpectation, Kind};
use crate::judge::analysis::Analysis;
use crate::judge::{Ruling, Verdict};
use crate::record::RECORD_FILE;

/// Takes back what cannot be sure.
pub(super) fn doubt(analysis: &Analysis<'_>, expect: &BalanceExpectation, verdict: &mut Verdict) {
    if let Some(damage) = lost_event(analysis) {
        take_back(
            verdict,
            &format!("the record is damaged: {damage}"),
            "the damaged part of the record: it may hold a change of the eligible set".into(),
        );
    }
    let saturated = analysis.generator.summary.saturated.as_ref();
    let (why, missing) = match (verdict.verdict, analysis.cut_short(), saturated) {
        (Ruling::Inconclusive, ..) => return,
        (Ruling::Pass, Some(cut), _) => (cut.clone(), format!("the rest of the run: {cut}")),
        (_, _, Some(why)) if expect.kind == Kind::LeastRequest => (
            format!("the generator was saturated: {why}"),
            "a run whose generator keeps its schedule".to_string(),
        ),
        _ => return,
    };
    take_back(verdict, &why, missing);
}

/// A line of the timeline that could not be read. A last line that is cut off is only the run's end.
fn lost_event<'a>(analysis: &'a Analysis<'_>) -> Option<&'a String> {
    let damage = &analysis.timeline.record.damage;
    damage
        .iter()
        .find(|d| d.starts_with(RECORD_FILE) && !d.ends_with("is cut off"))
}

fn take_back(verdict: &mut Verdict, why: &str, missing: String) {
    if verdict.verdict == Ruling::Inconclusive {
        return;
    }
    verdict.verdict = Ruling::Inconclusive;
    verdict.because = format!("{}; but {why}", verdict.because);
    verdict.missing = Some(missing);
}
