use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::judge::timeline::{Scope, Timeline, windows};
use crate::record::*;
use crate::scenario::*;

fn outcome() -> impl Strategy<Value = Outcome> {
    (0..Outcome::ALL.len()).prop_map(|i| Outcome::ALL[i])
}

/// A time that is usually sane and sometimes absurd.
fn weird_time() -> impl Strategy<Value = Micros> {
    prop_oneof![8 => 0..120 * S, 1 => Just(u64::MAX), 1 => any::<u64>()]
}

fn weird_count() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..1_000u64, 1 => any::<u64>()]
}

fn weird_step() -> impl Strategy<Value = (StepSecond, StepHistograms)> {
    let ended = proptest::collection::btree_map(outcome(), weird_count(), 0..4);
    let samples = proptest::collection::vec((outcome(), 1..3_600_000_000u64, 1..50u64), 0..5);
    (ended, samples, weird_count(), weird_count(), weird_time()).prop_map(
        |(ended, samples, due, in_flight, first)| {
            let mut histograms = StepHistograms::default();
            for (outcome, value, times) in samples {
                let of = histograms.response.entry(outcome).or_insert_with(latency);
                of.record_n(value, times).unwrap();
            }
            let instances = [(
                "shop-2".to_string(),
                InstanceSecond {
                    answered: due,
                    failed: in_flight,
                    connections: 1,
                    first_us: Some(first),
                    last_us: Some(first),
                },
            )];
            let second = StepSecond {
                flow: "browse".into(),
                step: "get".into(),
                due,
                ended,
                dropped: in_flight / 3,
                in_flight,
                first_error_us: Some(first),
                last_error_us: Some(first),
                instances: instances.into(),
                ..StepSecond::default()
            };
            (second, histograms)
        },
    )
}

fn weird_interval() -> impl Strategy<Value = Interval> {
    let steps = proptest::collection::vec(weird_step(), 0..3);
    (weird_time(), weird_time(), steps, any::<bool>()).prop_map(
        |(start_us, end_us, steps, lost)| {
            let (seconds, mut histograms): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
            if lost {
                histograms.pop();
            }
            Interval {
                second: TrafficSecond {
                    start_us,
                    end_us,
                    steps: seconds,
                    generator: GeneratorSecond {
                        cpu_millicores: vec![end_us],
                        lag_p99_us: start_us,
                        lag_max_us: end_us,
                        ..GeneratorSecond::default()
                    },
                },
                histograms,
            }
        },
    )
}

fn weird_event() -> impl Strategy<Value = Event> {
    let stage = prop_oneof![
        Just(FaultStage::Injecting),
        Just(FaultStage::Injected),
        Just(FaultStage::Refused),
        Just(FaultStage::Failed)
    ];
    let fault = (
        0..4u32,
        0..9usize,
        prop_oneof![Just("kill"), Just("stop"), Just("freeze"), Just("?")],
        stage,
    )
        .prop_map(|(injection, spec, fault, stage)| {
            What::Fault(FaultEvent {
                injection,
                spec,
                name: fault.into(),
                fault: fault.into(),
                stage,
                instances: vec!["shop-2".into()],
                detail: None,
            })
        });
    let phase = prop_oneof![
        Just(RunPhase::Traffic),
        Just(RunPhase::Draining),
        Just(RunPhase::Stopping)
    ];
    let state = prop_oneof![Just(InstanceState::Ready), Just(InstanceState::Ended)];
    let alert = (0..2usize, 0..4usize, proptest::option::of(weird_time())).prop_map(
        |(name, state, not_before_us)| {
            use AlertState::{Firing, Pending, Resolved, Suppressed};
            What::Alert(AlertEvent {
                source: AlertSource::Alertmanager,
                name: ["Down", "Slow"][name].into(),
                labels: [("instance".to_string(), "shop-2".to_string())].into(),
                state: [Firing, Pending, Resolved, Suppressed][state],
                not_before_us,
            })
        },
    );
    let view = prop_oneof![Just(View::Lost), Just(View::Relisted)].prop_map(|view| {
        What::Watch(WatchEvent {
            of: AlertSource::Alertmanager.key().into(),
            view,
            detail: "x".into(),
        })
    });
    let what = prop_oneof![
        2 => alert,
        2 => view,
        4 => fault,
        1 => phase.prop_map(|phase| What::Phase { phase }),
        2 => state.prop_map(|state| instance("shop-2", "shop-2", state)),
        2 => weird_count().prop_map(|n| What::Usage {
            instance: "shop-2".into(),
            cpu_millicores: n,
            memory_bytes: n,
        }),
        1 => Just(What::Endpoints { ready: vec!["shop-1".into()] }),
        1 => Just(What::End { ended: Ended::Completed }),
        1 => Just(What::Unknown),
    ];
    (weird_time(), what).prop_map(|(at, what)| Event { at, what })
}

/// All kinds of expectations.
fn expectations() -> Vec<Expectation> {
    let mut all = vec![
        expect_slo(p99_below(250)),
        expect_slo(errors_below(0.001)),
        expect_slo(throughput(Op::AtLeast, 10.0)),
        expect_slo(bound(
            Metric::Mean,
            Op::Less,
            Limit::Time(Duration::from_millis(5)),
        )),
        expect_slo(bound(
            Metric::Max,
            Op::AtMost,
            Limit::Time(Duration::from_millis(5)),
        )),
        expect_slo(bound(
            Metric::Percentile(50.0),
            Op::More,
            Limit::Time(Duration::ZERO),
        )),
        // Wrong units, as only a foreign record can have them.
        expect_slo(bound(Metric::Errors, Op::Less, Limit::Time(Duration::ZERO))),
        expect_slo(bound(
            Metric::Percentile(f64::NAN),
            Op::Equal,
            Limit::Share(units::Ratio::fraction(0.1)),
        )),
        expect_recovery(15, 3),
        expect_recovery(0, 0),
    ];
    for kind in [
        BalanceKind::Uniform,
        BalanceKind::LeastRequest,
        BalanceKind::ClientIp(Duration::MAX),
    ] {
        for (by, instances) in [(BalanceBy::Connection, None), (BalanceBy::Request, Some(3))] {
            all.push(Expectation::Balance(BalanceExpectation {
                by,
                kind,
                instances,
                ..BalanceExpectation::default()
            }));
        }
    }
    all.push(Expectation::Usage(UsageExpectation {
        cpu: Most::OfLimit(units::Ratio::fraction(0.9)),
        memory: Most::Amount(units::Size::bytes(1)),
        throttled: Some(units::Ratio::fraction(0.1)),
        lasts: Duration::MAX,
        oom_kills: 0,
    }));
    all.push(Expectation::Alert(AlertExpectation {
        name: "Down".into(),
        labels: [("instance".to_string(), "{instance}".to_string())].into(),
        fires_within: Duration::MAX,
        resolves_within: Some(Duration::ZERO),
        fault: None,
        ignore: Vec::new(),
    }));
    for phase in [FaultPhase::Before, FaultPhase::During, FaultPhase::After] {
        all.push(Expectation::Slo(SloExpectation {
            phase: Some(phase),
            of: LatencyKind::Service,
            ..slo(p99_below(250))
        }));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_record_is_too_weird(
        intervals in proptest::collection::vec(weird_interval(), 0..12),
        mut events in proptest::collection::vec(weird_event(), 0..14),
        warm_up in 0..100u64,
    ) {
        let mut record = Sim::steady(1, 1).record();
        record.header.scenario.expect = expectations();
        record.header.scenario.run.warm_up = Duration::from_secs(warm_up);
        events.sort_by_key(|e| e.at);
        record.events = events;
        record.intervals = intervals;
        let verdicts = judge(&record);
        prop_assert_eq!(verdicts.len(), expectations().len() + 1);
        for verdict in &verdicts {
            prop_assert!(!verdict.because.is_empty());
            prop_assert_eq!(verdict.missing.is_some(), verdict.verdict == Ruling::Inconclusive, "{:?}", verdict);
        }
        summarize(&record);
    }

    #[test]
    fn merging_and_sorting_into_windows_lose_nothing(
        fates in proptest::collection::vec((0..20_000_000u64, 1..9_000_000u64, outcome(), 0..2usize), 1..200)
    ) {
        let mut sim = Sim::steady(1, 20);
        sim.drain = 100;
        sim.requests = fates
            .iter()
            .map(|(due, latency, outcome, step)| Request {
                due: START + due,
                latency: *latency,
                outcome: *outcome,
                instance: "shop-1".into(),
                step: ["get", "pay"][*step],
            })
            .collect();
        let record = sim.record();
        let n = fates.len() as u64;
        let timeline = Timeline::new(&record);
        let slice = timeline.slice(&Scope::default());
        prop_assert_eq!((slice.due, slice.ended()), (n, n));
        prop_assert_eq!(slice.response.len(), slice.promised(LatencyKind::Response));
        let steps: u64 = ["get", "pay"]
            .iter()
            .map(|step| timeline.slice(&Scope { step: Some(step), ..Scope::default() }).ended())
            .sum();
        prop_assert_eq!(steps, n);
        let windows = windows(&timeline, &Scope::default(), &[p99_below(250)]);
        prop_assert_eq!(windows.iter().map(|w| w.tallies[0].ended).sum::<u64>(), n);
        prop_assert_eq!(windows.iter().map(|w| w.due).sum::<u64>(), n);
        let samples = windows.iter().map(|w| w.tallies[0].samples).sum::<u64>();
        prop_assert_eq!(samples, slice.response.len());
        // Each sample lies in the window in which it was due, or in a neighbour.
        for (due, latency, ..) in &fates {
            let ended = (START + due + latency) / S * S + S / 2;
            let placed = ended.saturating_sub(*latency);
            prop_assert!(placed.abs_diff(START + due) <= S / 2);
        }
    }

    #[test]
    fn faster_is_never_worse(
        latencies in proptest::collection::vec(1_000..400_000u64, 300..600),
        factor in 0.05..1.0f64,
    ) {
        let run = |factor: f64| {
            let mut sim = Sim::steady(latencies.len() as u64 / 10, 10)
                .expect(expect_slo(p99_below(250)))
                .expect(expect_slo(bound(Metric::Mean, Op::Less, Limit::Time(Duration::from_millis(200)))))
                .expect(expect_slo(bound(Metric::Max, Op::Less, Limit::Time(Duration::from_millis(399)))));
            for (request, latency) in sim.requests.iter_mut().zip(&latencies) {
                request.latency = (*latency as f64 * factor) as u64;
            }
            judge(&sim.record())
        };
        for (slow, fast) in run(1.0).iter().zip(run(factor)) {
            prop_assert!(fast.verdict <= slow.verdict, "{} then {}", slow.because, fast.because);
        }
    }
}

#[test]
fn three_hundred_healthy_noisy_services_never_fail() {
    let mut rulings = std::collections::BTreeMap::new();
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let mut sim = Sim::steady(60, 24)
            .expect(expect_slo(p99_below(250)))
            .expect(expect_slo(errors_below(0.01)))
            .expect(expect_recovery(10, 3));
        // Mean 30 ms, 1 in 250 over the limit, 1 in 500 fails: noisy, and within its bounds.
        sim.change(0.0, 24.0, |_, r| {
            r.latency = (5_000.0 + dice.exponential(25_000.0)) as u64;
            let fate = dice.next();
            if fate < 0.004 {
                r.latency += 400 * MS;
            } else if fate < 0.006 {
                r.fail(Outcome::Status, 20 * MS);
            }
        });
        sim.kill(9.0, 1.0, Some(3.0));
        // The second of the kill itself may fail: those requests are the kill's price, not noise.
        sim.change(9.0, 10.0, |_, r| {
            if r.outcome == Outcome::Refused {
                r.outcome = Outcome::Ok;
            }
        });
        for verdict in judge(&sim.record()) {
            assert_ne!(
                verdict.verdict,
                Ruling::Fail,
                "seed {seed}: {}",
                verdict.because
            );
            *rulings
                .entry((verdict.oracle, verdict.verdict))
                .or_insert(0) += 1;
        }
    }
    // Not by calling everything inconclusive either.
    assert!(
        rulings[&("recovery".to_string(), Ruling::Pass)] >= 295,
        "{rulings:?}"
    );
    assert!(
        rulings[&("slo".to_string(), Ruling::Pass)] >= 595,
        "{rulings:?}"
    );
}
