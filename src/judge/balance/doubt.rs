//! What a run that was cut short and a saturated generator can falsify of a verdict on balance.
//!
//! Who is chosen does not depend on when squall sends: dropped, late and never sent requests are missing at every
//! instance alike, and too few of them already make INCONCLUSIVE. What depends on the load is whether the least busy
//! one is preferred: a generator that reads late sees more requests under way than the balancer does.

use super::{BalanceExpectation, Kind};
use crate::judge::analysis::Analysis;
use crate::judge::{Ruling, Verdict};

/// Takes back what cannot be sure.
pub(super) fn doubt(analysis: &Analysis<'_>, expect: &BalanceExpectation, verdict: &mut Verdict) {
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
    verdict.take_back(&why, missing);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::balance::By;
    use crate::judge::balance::sim::Sim;
    use crate::record::{Ended, What};
    use crate::scenario::{ConnectionMode, Expectation};

    /// Sixty seconds in which `shop-3` gets its share, or nothing.
    fn run(fair: bool, kind: Kind) -> Sim {
        let mut sim = Sim::new(3, ConnectionMode::PerRequest, 1);
        sim.in_flight = 12;
        sim.slow = vec![("shop-2".into(), 80_000)];
        sim.run(60, 100, 1, |s| {
            loop {
                let one = s.random();
                if fair || one != "shop-3" {
                    return one;
                }
            }
        });
        sim.record.header.scenario.expect = vec![Expectation::Balance(BalanceExpectation {
            by: By::Connection,
            kind,
            ..BalanceExpectation::default()
        })];
        let ended = What::End {
            ended: Ended::Completed,
        };
        sim.event(crate::judge::balance::sim::at(60), ended);
        sim
    }

    fn ruling(sim: &Sim) -> Ruling {
        crate::judge::judge(&sim.record)[0].verdict
    }

    #[test]
    fn a_lost_event_takes_back_both_and_a_cut_last_line_no_failure() {
        for (fair, sure) in [(false, Ruling::Fail), (true, Ruling::Pass)] {
            let mut sim = run(fair, Kind::Uniform);
            assert_eq!(ruling(&sim), sure);
            sim.record.damage = vec!["record.jsonl line 9, the last, is cut off".into()];
            assert_eq!(ruling(&sim), sure);
            sim.record.damage = vec!["record.jsonl line 7: not an event: x".into()];
            assert_eq!(ruling(&sim), Ruling::Inconclusive);
        }
    }

    #[test]
    fn a_late_generator_takes_back_what_depends_on_the_load_only() {
        for (kind, late) in [
            (Kind::Uniform, Ruling::Fail),
            (Kind::LeastRequest, Ruling::Inconclusive),
        ] {
            let mut sim = run(false, kind);
            assert_eq!(ruling(&sim), Ruling::Fail);
            for interval in &mut sim.record.intervals {
                interval.second.generator.lag_p99_us = 900_000;
                interval.second.generator.lag_max_us = 900_000;
            }
            assert_eq!(ruling(&sim), late, "{kind:?}");
        }
    }
}
