//! Whoever reads a FAIL must be able to act on it, and to doubt it: a real one of every kind is looked at for all that
//! it owes. A new kind of verdict has no run here, and fails this test until it has.

use std::path::Path;

use super::*;
use crate::judge::balance::sim;
use crate::judge::capacity::{judge_capacity, level};
use crate::judge::series::{judge_series, series_run};
use crate::judge::testing::autoscaled::{Plan, run};
use crate::record::{Ended, Outcome, What};
use crate::report::{self, Judged, Sheet, Style};
use crate::scenario::units::{Rate, Ratio};
use crate::scenario::*;

/// A verdict that did not pass, as it is printed with where its record lies.
struct Told {
    verdict: Verdict,
    printed: Vec<String>,
}

/// What was seen and what was expected: each of these is in the reason.
type Words = &'static [&'static str];

fn bad_of(verdicts: &[Verdict], oracle: &str) -> Verdict {
    let all = verdicts.iter().filter(|v| v.oracle == oracle);
    let worst = all.max_by_key(|v| v.verdict);
    worst.unwrap_or_else(|| panic!("no {oracle}")).clone()
}

fn of_record(record: Record, oracle: &str) -> Told {
    let (summary, verdicts) = (summarize(&record), judge(&record));
    let judged = Judged {
        record: &record,
        summary: &summary,
        verdicts: &verdicts,
    };
    let terminal = report::terminal(&judged, Style::default(), Some(Path::new("reports/shop")));
    let files = report::outputs();
    let files = files.iter().map(|o| o.render(&judged).unwrap());
    Told {
        verdict: bad_of(&verdicts, oracle),
        printed: files
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .chain([terminal])
            .collect(),
    }
}

fn of_sheet(sheet: &Sheet, verdicts: &[Verdict], oracle: &str) -> Told {
    Told {
        verdict: bad_of(verdicts, oracle),
        printed: vec![
            sheet.terminal(Style::default(), None),
            String::from_utf8(sheet.json().unwrap()).unwrap(),
        ],
    }
}

fn again() -> Vec<String> {
    ["squall", "judge", "reports/shop"].map(String::from).into()
}

/// Two runs of three that were asked for, in one of which a hundredth of the requests failed.
fn series(oracle: &str) -> Told {
    let runs = [0.0, 0.6].into_iter().enumerate().map(|(i, bad)| {
        let mut sim = Sim::steady(200, 60).expect(expect_slo(errors_below(0.001)));
        sim.change_on("shop-3", 30.0, 30.0 + 3.0 * bad, |r| {
            r.outcome = Outcome::Status
        });
        let record = sim.record();
        let name = format!("run-{:02}", i + 1);
        series_run(&name, &record, &summarize(&record), &judge(&record))
    });
    let series = judge_series(runs.collect(), 3, Some("the second was aborted".into()));
    let slo = bad_of(&series.verdicts, "slo");
    assert_eq!(slo.verdict, Ruling::Fail);
    assert_eq!(owed(&slo), Vec::<String>::new());
    of_sheet(
        &Sheet::series("shop", &series, again()),
        &series.verdicts,
        oracle,
    )
}

fn capacity() -> Told {
    let levels = (1..=2).map(|i| {
        let mut sim = Sim::steady(100, 20).expect(expect_slo(p99_below(250)));
        sim.change(0.0, 20.0, |_, r| r.latency = S);
        let record = sim.record();
        level(
            &format!("level-{i:02}"),
            &record,
            &summarize(&record),
            &judge(&record),
        )
    });
    let search = Capacity {
        from: Rate::per_second(100.0),
        to: Rate::per_second(1_000.0),
        hold: std::time::Duration::from_secs(20),
        resolution: Ratio::fraction(0.05),
        at_least: None,
        level: None,
    };
    let found = judge_capacity(&search, vec!["p99 < 250ms".into()], levels.collect(), None);
    let sheet = Sheet::capacity("shop", &found, again());
    of_sheet(&sheet, &found.verdicts, "capacity")
}

fn starved() -> Record {
    let mut sim = sim::Sim::new(3, ConnectionMode::PerRequest, 1);
    sim.run(60, 100, 1, |s| {
        let one = s.random();
        if one == "shop-3" {
            "shop-1".into()
        } else {
            one
        }
    });
    sim.record.header.scenario.expect = vec![Expectation::Balance(BalanceExpectation::default())];
    let ended = Ended::Completed;
    sim.event(sim::at(60), What::End { ended });
    sim.record
}

/// A verdict of this kind on something that is broken.
fn broken(oracle: &str) -> (Told, Words) {
    let of = |sim: Sim| of_record(sim.record(), oracle);
    match oracle {
        "slo" => {
            let mut sim = Sim::steady(200, 60).expect(expect_slo(p99_below(250)));
            sim.change_on("shop-2", 14.0, 19.0, |r| r.latency = 2_100 * MS);
            (of(sim), &["p99 was 2.1 s", "limit 250 ms"])
        }
        "recovery" => {
            let mut sim = Sim::steady(200, 60).expect(expect_recovery(5, 3));
            sim.kill(20.0, 30.0, None);
            (
                of(sim),
                &["restored only 30 s after kill of shop-2", "limit 5 s"],
            )
        }
        "balance" => (
            of_record(starved(), oracle),
            &["shop-3 got none of 6,000", "about 2,000"],
        ),
        "deploy" => (
            of(deploy::tests::not_drained()),
            &["cost 7 of 4,600 requests", "before it 0 of 5,798"],
        ),
        "spread" => (
            of(spread_tests::each([0.2, 4.0, 0.2])),
            &["266 of 2,200 requests failed", "limit 2%"],
        ),
        "alert" => (of(alert::tests::silent()), &["did not fire within 15 s"]),
        "autoscale" => {
            let foreign = Some((300, 2, Some("kubectl-scale")));
            let record = run(Plan {
                foreign,
                ..Plan::default()
            });
            (of_record(record, oracle), &["I8", "kubectl-scale"])
        }
        "usage" => (
            of(usage::tests::busy()),
            &["950m of CPU", "above 90% of limit for 40 s"],
        ),
        "generator" => {
            let mut sim = Sim::steady(200, 60);
            sim.generator.lag_p99_us = 900 * MS;
            sim.generator.lag_max_us = S;
            (of(sim), &["p99 over 100 ms", "at worst by 1 s"])
        }
        "compare" => {
            let compared = compare::tests_whole::one_slow_step();
            let sheet = Sheet::comparison(&compared, again());
            (
                of_sheet(&sheet, &compared.verdicts, oracle),
                &["interval", "all above the limit of"],
            )
        }
        "series" => (series(oracle), &["2 of 3 runs were made"]),
        "budget" => (series(oracle), &["burn rate", "of what may"]),
        "capacity" => (capacity(), &["not even 100/s holds p99 < 250ms"]),
        new => panic!("no broken run for the verdict `{new}`: add one"),
    }
}

/// What a verdict still owes: rows that are not there, not once, or without what makes them one.
fn owed(verdict: &Verdict) -> Vec<String> {
    let a_number = |text: &str| {
        let after = text.split_once("n = ").map(|(_, n)| n);
        after.is_some_and(|n| n.starts_with(|c: char| ('1'..='9').contains(&c)))
    };
    type Row<'a> = (&'a str, &'a dyn Fn(&str) -> bool);
    let rows: [Row; 6] = [
        ("how sure", &a_number),
        ("rule", &|text| text.contains("(source: ")),
        ("instances", &|text| !text.is_empty()),
        ("users felt", &|text| {
            text.contains("failed") && (text.contains("p99 ") || text.contains("no latency"))
        }),
        ("excluded", &|text| !text.is_empty()),
        ("in the record", &|text| text.contains("record.jsonl")),
    ];
    let lacking = rows.iter().filter_map(|(what, holds)| {
        let found = verdict.evidence.iter().filter(|e| e.what == *what);
        let found: Vec<&str> = found.map(|e| e.value.as_str()).collect();
        match found.as_slice() {
            [one] if holds(one) => None,
            other => Some(format!("{}: `{what}` is {other:?}", verdict.oracle)),
        }
    });
    lacking.collect()
}

#[test]
fn every_kind_of_verdict_that_fails_says_all_that_it_owes() {
    let mut wrong: Vec<String> = Vec::new();
    for oracle in ORACLES {
        let (Told { verdict, printed }, words) = broken(oracle);
        let ruling = match oracle {
            // These two cannot fail: they keep others from passing.
            "generator" | "series" => Ruling::Inconclusive,
            _ => Ruling::Fail,
        };
        assert_eq!(verdict.verdict, ruling, "{oracle}: {verdict:#?}");
        wrong.extend(owed(&verdict));
        let unsaid = words.iter().filter(|w| !verdict.because.contains(**w));
        wrong.extend(unsaid.map(|w| format!("{oracle}: no `{w}` in {}", verdict.because)));
        for text in &printed {
            let again = match text.contains("\"verdicts\"") {
                // For programs, which know where they have it from.
                true => "verdicts",
                false => "squall judge",
            };
            let shown = ["how sure", "rule", "users felt", "in the record", again];
            let hidden = shown.iter().filter(|part| !text.contains(**part));
            wrong.extend(hidden.map(|part| format!("{oracle}: `{part}` is not in\n{text}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn who_was_involved_is_named_and_what_could_not_be_excluded_is_said() {
    let (told, _) = broken("slo");
    assert_eq!(evidence_of(&told.verdict, "instances"), "shop-2");
    insta::assert_snapshot!(evidence_of(&told.verdict, "users felt"), @"0% of 12,000 requests failed, p50 12 ms, p99 2.1 s, longest 2.1 s");
    let sure = evidence_of(&told.verdict, "how sure");
    assert!(
        sure.starts_with("95% interval 2.1 s to 2.1 s, n = 12,000 requests"),
        "{sure}"
    );
    insta::assert_snapshot!(evidence_of(&told.verdict, "excluded"), @"a generator at its limit, errors of the generator's own, a run cut short, a damaged record, a gap in a watch, a fault that was not made");
    // The worst second begins 15 s after the start of traffic, which is at 2 s.
    insta::assert_snapshot!(evidence_of(&told.verdict, "in the record"), @"record.jsonl, t_us 17000000 to 17000000, latencies in intervals.hlog; `squall judge` and this folder judge it again");
    let (late, _) = broken("generator");
    assert!(
        evidence_of(&late.verdict, "excluded").contains("not excluded: a generator at its limit"),
        "{late:#?}",
        late = late.verdict
    );
}

#[test]
fn a_burn_rate_is_of_a_bound_on_the_same_requests() {
    let mut before = slo(errors_below(0.001));
    before.phase = Some(FaultPhase::Before);
    let mut sim = Sim::steady(200, 60)
        .expect(Expectation::Slo(before))
        .expect(expect_slo(errors_below(0.01)));
    sim.kill(20.0, 6.0, None);
    let verdict = bad_of(&judge(&sim.record()), "slo");
    let felt = evidence_of(&verdict, "users felt");
    // 400 of 12,000 are 3.33 times what may fail over all; before the kill none failed.
    assert!(felt.ends_with("burn rate 3.33 of `errors < 1%`"), "{felt}");
}
