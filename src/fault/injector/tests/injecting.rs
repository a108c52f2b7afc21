//! When a fault comes and whom it hits: the schedule, what it waits for, the guard, the seed.

use super::*;

#[tokio::test(start_paused = true)]
async fn each_fault_comes_at_its_time_and_goes_after_its_own() {
    let mut often = on("b", FaultKind::Freeze, 5, Some(2));
    often.every = Some(secs(10));
    often.times = Some(2);
    let specs = vec![often, on("a", FaultKind::Kill, 6, Some(3))];
    let mut rig = Rig::new(specs, Setup::default());
    rig.run(60).await;
    let calls = [
        "5 freeze b",
        "6 kill a",
        "7 undo b",
        "15 freeze b",
        "17 undo b",
    ];
    assert_eq!(rig.calls(), calls);
    let events = [
        "1 injecting freeze b",
        "1 injected freeze b",
        "2 injecting kill a",
        "2 injected kill a",
        "1 undoing b",
        "1 undone b",
        "3 injecting freeze b",
        "3 injected freeze b",
        "3 undoing b",
        "3 undone b",
    ];
    assert_eq!(rig.events(), events);
    assert_eq!(rig.undo_all().await, []);
    assert_eq!(rig.calls().len(), 5);
    assert_eq!(rig.pending(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn traffics_end_ends_the_run_and_the_rest_is_undone_latest_first() {
    let specs = vec![
        on("a", FaultKind::Freeze, 1, None),
        on("b", FaultKind::Freeze, 2, Some(100)),
        on("c", delay(5), 3, Some(7)),
        on("c", FaultKind::Freeze, 10, None),
    ];
    let mut rig = Rig::new(specs, Setup::default());
    rig.run(10).await;
    assert_eq!(rig.start.elapsed().as_secs(), 10);
    assert_eq!(rig.calls(), ["1 freeze a", "2 freeze b", "3 delay c"]);
    assert_eq!(rig.undo_all().await, []);
    assert_eq!(rig.calls()[3..], ["10 undo c", "10 undo b", "10 undo a"]);
    assert_eq!(rig.pending(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_fault_on_what_an_instance_stands_on_lasts_as_long_as_it_says() {
    let specs = vec![on("a", FaultKind::Cordon, 1, Some(5))];
    let mut rig = Rig::new(specs, Setup::default());
    rig.run(60).await;
    assert_eq!(rig.calls(), ["1 cordon a", "6 undo node-1"]);
}

#[tokio::test(start_paused = true)]
async fn the_guard_refuses_and_counts_those_under_a_fault_as_not_ready() {
    let guard = Guard {
        keep_ready: Some(KeepReady::Count(1)),
        max_faults: Some(3),
        ..Default::default()
    };
    let specs = vec![
        on("a", FaultKind::Freeze, 1, Some(10)),
        on("b", delay(7), 2, Some(2)),
        on("c", FaultKind::Kill, 3, None),
        on("c", FaultKind::Kill, 5, None),
        on("a", FaultKind::Kill, 20, None),
    ];
    let setup = Setup {
        guard,
        ..Default::default()
    };
    let mut rig = Rig::new(specs, setup);
    rig.run(60).await;
    let calls = [
        "1 freeze a",
        "2 delay b",
        "4 undo b",
        "5 kill c",
        "11 undo a",
    ];
    assert_eq!(rig.calls(), calls);
    let refused: Vec<_> = rig
        .events()
        .into_iter()
        .filter(|e| e.contains("refused"))
        .collect();
    assert_eq!(
        refused,
        [
            "3 refused kill c: keep-ready 1: 1 are ready and free of faults, 1 of them would be hit, which leaves 0",
            "5 refused kill a: max-faults 3: 3 injections were made already",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_injection_that_comes_late_is_noted() {
    let setup = Setup {
        undo: BTreeMap::from([("a", Mood::TakesSeconds(3))]),
        ..Default::default()
    };
    let specs = vec![
        on("a", FaultKind::Freeze, 1, Some(1)),
        on("b", FaultKind::Kill, 3, None),
    ];
    let mut rig = Rig::new(specs, setup);
    rig.run(20).await;
    assert_eq!(rig.calls(), ["1 freeze a", "2 undo a", "5 kill b"]);
    let notes: Vec<_> = rig
        .events()
        .into_iter()
        .filter(|e| e.starts_with("note"))
        .collect();
    assert_eq!(notes.len(), 1);
    assert!(
        notes[0].starts_with("note: fault `kill` was due 2000 ms before"),
        "{notes:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_that_takes_long_delays_no_other_and_no_undo() {
    let setup = Setup {
        apply: BTreeMap::from([("a", Mood::TakesSeconds(100))]),
        ..Default::default()
    };
    let evict = FaultKind::Evict {
        deadline: secs(120),
    };
    let specs = vec![
        on("a", evict.clone(), 1, None),
        on("b", FaultKind::Freeze, 2, Some(3)),
        on("c", FaultKind::Kill, 4, None),
    ];
    let mut rig = Rig::new(specs, setup);
    rig.run(300).await;
    let calls = ["1 evict a", "2 freeze b", "4 kill c", "5 undo b"];
    assert_eq!(rig.calls(), calls);
    assert_eq!(rig.events().last().unwrap(), "1 injected evict a");
    assert_eq!(rig.start.elapsed().as_secs(), 101);

    // One that outlasts its own deadline is ended some time after it.
    let setup = Setup {
        apply: BTreeMap::from([("a", Mood::Hangs)]),
        ..Default::default()
    };
    let mut rig = Rig::new(vec![on("a", evict, 1, None)], setup);
    rig.run(300).await;
    assert!(
        rig.events()[1].contains("took too long"),
        "{:?}",
        rig.events()
    );
    assert_eq!(rig.start.elapsed().as_secs(), 151);
}

#[tokio::test(start_paused = true)]
async fn those_that_a_change_under_way_will_hit_count_as_not_ready() {
    let setup = Setup {
        guard: Guard {
            keep_ready: Some(KeepReady::Count(2)),
            ..Default::default()
        },
        apply: BTreeMap::from([("a", Mood::TakesSeconds(10))]),
        ..Default::default()
    };
    let specs = vec![
        on("a", FaultKind::Kill, 1, None),
        on("b", FaultKind::Kill, 5, None),
        on("b", FaultKind::Kill, 15, None),
    ];
    let mut rig = Rig::new(specs, setup);
    rig.run(60).await;
    assert_eq!(rig.calls(), ["1 kill a", "15 kill b"]);
}

#[tokio::test(start_paused = true)]
async fn an_injection_waits_for_what_must_be_seen_and_is_given_up_at_its_deadline() {
    let when = |count: u32, within: Option<u64>| {
        Some(When {
            text: format!("ready >= {count}"),
            ready: Some((Op::AtLeast, count)),
            after_rollout: false,
            within: within.map(secs),
        })
    };
    let mut met = on("a", FaultKind::Kill, 2, None);
    met.when = when(3, None);
    let mut never = on("b", FaultKind::Kill, 3, None);
    never.when = when(4, Some(5));
    let mut rollout = on("b", FaultKind::Kill, 4, None);
    rollout.when = Some(When {
        text: "after rollout".into(),
        ready: None,
        after_rollout: true,
        within: None,
    });
    let mut rig = Rig::new(vec![met, never, rollout], Setup::default());
    rig.run(20).await;
    assert_eq!(rig.calls(), ["2 kill a"]);
    let events = rig.events();
    assert_eq!(
        events[2..],
        [
            "2 failed kill : `ready >= 4` was not met within 5s: 3 are ready; nothing was done",
            "3 failed kill : `after rollout` was not met: traffic is over; nothing was done",
        ]
    );
    assert_eq!(rig.start.elapsed().as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn the_seed_decides_whom_and_a_refusal_changes_nothing_for_others() {
    let mut hits = BTreeSet::new();
    for seed in 0..10 {
        let mut kill = spec(FaultKind::Kill, secs(1));
        kill.every = Some(secs(1));
        let run = async |max_faults| {
            let guard = Guard {
                max_faults,
                ..Default::default()
            };
            let setup = Setup {
                guard,
                seed,
                ..Default::default()
            };
            let mut rig = Rig::new(vec![kill.clone()], setup);
            rig.run(6).await;
            rig.events()
        };
        let (all, fewer) = (run(None).await, run(Some(2)).await);
        assert_eq!(all, run(None).await);
        let victims = |events: &[String], n: usize| {
            let start = format!("{n} ");
            let event = events.iter().find(|e| e.starts_with(&start)).unwrap();
            let word = event.split([' ', ':']).nth(3);
            word.unwrap().to_string()
        };
        for n in 1..=5 {
            assert_eq!(victims(&all, n), victims(&fewer, n), "injection {n}");
            hits.insert((n, victims(&all, n)));
        }
    }
    // Over ten seeds, each injection hits each instance at least once.
    assert!(hits.len() >= 14, "{hits:?}");
}
