//! What is in force is known to the ledger at every moment, and is undone however a run ends.

use super::*;

#[tokio::test(start_paused = true)]
async fn whenever_the_program_dies_the_ledger_knows_what_is_in_force() {
    let mut all = on("a", FaultKind::Freeze, 1, Some(5));
    all.select = Select {
        pick: Pick::All,
        ..Default::default()
    };
    let specs = vec![
        all,
        on("a", FaultKind::Freeze, 3, Some(1)),
        on("b", delay(9), 8, None),
    ];
    let setup = Setup {
        undo: BTreeMap::from([("b", Mood::FailsTimes(1))]),
        apply: BTreeMap::from([("c", Mood::Fails)]),
        ..Default::default()
    };
    let mut rig = Rig::new(specs, setup);
    rig.run(20).await;
    rig.undo_all().await;
    let ledgers = rig.platform.ledgers.lock().unwrap().clone();
    assert!(
        ledgers
            .iter()
            .filter(|(force, _)| !force.is_empty())
            .count()
            > 5
    );
    let path = rig.dir.path().join("crashed.jsonl");
    for (in_force, ledger) in ledgers {
        std::fs::write(&path, ledger).unwrap();
        let known: BTreeSet<String> = pending(&path).into_iter().collect();
        assert!(
            known.is_superset(&in_force),
            "{in_force:?}, known {known:?}"
        );
    }
    assert_eq!(rig.pending(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_down_is_not_done() {
    for (disk_full, ledger_full) in [(true, false), (false, true)] {
        let setup = Setup {
            disk_full,
            ledger_full,
            ..Default::default()
        };
        let mut rig = Rig::new(vec![on("a", FaultKind::Freeze, 1, None)], setup);
        rig.run(10).await;
        assert_eq!(rig.calls(), Vec::<String>::new());
        let [event] = &rig.events()[..] else {
            panic!("{:?}", rig.events())
        };
        assert!(
            event.starts_with("1 failed freeze a: not made: "),
            "{event}"
        );
        assert!(event.contains("No space left"), "{event}");
        assert_eq!(rig.undo_all().await, []);
        assert_eq!(rig.calls(), Vec::<String>::new());
        if disk_full {
            assert_eq!(rig.pending(), Vec::<String>::new());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_needs_no_undo_needs_the_record_all_the_same() {
    let setup = Setup {
        disk_full: true,
        ..Default::default()
    };
    let mut rig = Rig::new(vec![on("a", FaultKind::Kill, 1, None)], setup);
    rig.run(10).await;
    assert_eq!(rig.calls(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_fault_held_twice_is_lifted_when_the_last_is_due() {
    let specs = vec![
        on("a", FaultKind::Freeze, 1, Some(4)),
        on("a", FaultKind::Freeze, 3, Some(10)),
        // Shorter than the one before: it waits too.
        on("a", FaultKind::Freeze, 6, Some(1)),
        on("b", FaultKind::Freeze, 7, Some(1)),
    ];
    let mut rig = Rig::new(specs, Setup::default());
    rig.run(60).await;
    let calls = [
        "1 freeze a",
        "3 freeze a",
        "6 freeze a",
        "7 freeze b",
        "8 undo b",
        "13 undo a",
    ];
    assert_eq!(rig.calls(), calls);
    let events = rig.events();
    let waits = "note: `freeze` of a is due to be undone, but injection 2 holds it still";
    assert_eq!(events.iter().filter(|e| *e == waits).count(), 2);
    assert_eq!(
        events[events.len() - 3..],
        ["1 undone a", "2 undone a", "3 undone a"]
    );
    assert_eq!(rig.pending(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_same_fault_with_other_settings_is_refused_while_the_first_lasts() {
    let specs = vec![
        on("a", delay(100), 1, Some(5)),
        on("a", delay(900), 3, Some(5)),
        on("a", delay(900), 7, Some(5)),
    ];
    let mut rig = Rig::new(specs, Setup::default());
    rig.run(60).await;
    assert_eq!(
        rig.calls(),
        ["1 delay a", "6 undo a", "7 delay a", "12 undo a"]
    );
    let refused =
        "2 refused delay a: a is under `delay` of injection 1 already, with other settings";
    assert!(
        rig.events().iter().any(|e| e == refused),
        "{:?}",
        rig.events()
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_that_fails_or_panics_may_be_half_made_and_is_undone_at_once() {
    for (mood, says) in [(Mood::Fails, "no such process"), (Mood::Panics, "panicked")] {
        let setup = Setup {
            apply: BTreeMap::from([("a", mood)]),
            ..Default::default()
        };
        let mut both = on("a", FaultKind::Freeze, 5, Some(7));
        both.select.names.push("b".into());
        both.select.pick = Pick::All;
        let specs = vec![on("a", FaultKind::Freeze, 1, None), both];
        let mut rig = Rig::new(specs, setup);
        rig.run(60).await;
        let mut calls = rig.calls();
        calls[2..4].sort();
        let expected = [
            "1 freeze a",
            "1 undo a",
            "5 freeze a",
            "5 freeze b",
            "5 undo a",
            "12 undo b",
        ];
        assert_eq!(calls, expected);
        let events = rig.events();
        assert!(
            events[1].starts_with("1 failed freeze a: a: "),
            "{events:?}"
        );
        assert!(events[1].contains(says), "{events:?}");
        let second = events.iter().find(|e| e.starts_with("2 injected")).unwrap();
        assert!(second.starts_with("2 injected freeze b: a: "), "{second}");
        assert_eq!(rig.undo_all().await, []);
        assert_eq!(rig.pending(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_platform_or_the_selection_does_not_have_fails_and_touches_nothing() {
    let specs = vec![
        on("a", FaultKind::BlackHole, 1, None),
        on("nobody", FaultKind::Kill, 2, None),
    ];
    let mut rig = Rig::new(specs, Setup::default());
    rig.run(10).await;
    assert_eq!(rig.calls(), Vec::<String>::new());
    assert_eq!(
        rig.events(),
        [
            "1 failed black-hole a: no black holes here",
            "2 failed kill : no instance is called `nobody`; there are a, b, c",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_run_ends_a_change_that_hangs_before_it_is_undone() {
    let setup = Setup {
        apply: BTreeMap::from([("a", Mood::Hangs)]),
        ..Default::default()
    };
    let mut rig = Rig::new(vec![on("a", FaultKind::Freeze, 1, None)], setup);
    let cancel = CancellationToken::new();
    tokio::spawn({
        let cancel = cancel.clone();
        async move {
            sleep(secs(5)).await;
            cancel.cancel();
        }
    });
    rig.run_until(60, cancel).await;
    assert_eq!(rig.undo_all().await, []);
    assert_eq!(rig.calls(), ["1 freeze a", "7 undo a"]);
    assert!(
        rig.events()[1].starts_with("1 failed freeze a: "),
        "{:?}",
        rig.events()
    );
    assert_eq!(rig.pending(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_cancelled_injects_nothing_more() {
    let specs = vec![
        on("a", FaultKind::Freeze, 1, Some(30)),
        on("b", FaultKind::Kill, 9, None),
    ];
    let mut rig = Rig::new(specs, Setup::default());
    let cancel = CancellationToken::new();
    let after = sleep(secs(5));
    tokio::spawn({
        let cancel = cancel.clone();
        async move {
            after.await;
            cancel.cancel();
        }
    });
    rig.run_until(60, cancel).await;
    assert_eq!(rig.start.elapsed().as_secs(), 5);
    assert_eq!(rig.undo_all().await, []);
    assert_eq!(rig.calls(), ["1 freeze a", "5 undo a"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_dropped_in_the_middle_of_a_change_is_undone_after_it() {
    let setup = Setup {
        apply: BTreeMap::from([("a", Mood::TakesSeconds(1))]),
        ..Default::default()
    };
    let mut rig = Rig::new(vec![on("a", FaultKind::Freeze, 1, None)], setup);
    let start = rig.start.into_std();
    let run = rig.injector.run(start, secs(60), CancellationToken::new());
    assert!(timeout(Duration::from_millis(1500), run).await.is_err());
    assert_eq!(rig.undo_all().await, []);
    // The change took until second 2, and only then its undo came.
    assert_eq!(rig.calls(), ["1 freeze a", "2 undo a"]);
}

#[tokio::test(start_paused = true)]
async fn an_undo_is_tried_again_and_what_is_left_is_listed_and_stays_in_the_ledger() {
    let setup = Setup {
        undo: BTreeMap::from([
            ("a", Mood::FailsTimes(2)),
            ("b", Mood::Hangs),
            ("c", Mood::Panics),
        ]),
        ..Default::default()
    };
    let at = |name, second| on(name, FaultKind::Freeze, second, None);
    let mut rig = Rig::new(vec![at("a", 1), at("b", 2), at("c", 3)], setup);
    rig.run(10).await;
    let failures = rig.undo_all().await;
    let left: Vec<_> = failures
        .iter()
        .map(|f| (f.injection, f.undo.instance()))
        .collect();
    assert_eq!(left, [(3, "c"), (2, "b")]);
    assert!(failures[0].error.contains("panicked"), "{failures:?}");
    assert_eq!(failures[1].error, "no answer within 5 s");
    let events = rig.events();
    assert!(events.contains(&"1 undone a".to_string()), "{events:?}");
    assert!(
        events.contains(&"2 not undone b: no answer within 5 s".to_string()),
        "{events:?}"
    );
    // Bounded: three attempts each, of five seconds at most.
    assert!(rig.start.elapsed() < secs(10 + 2 * 17 + 2));
    assert_eq!(rig.undo_all().await.len(), 2);

    // Later, in another process: one works, one does not.
    let path = rig.dir.path().join("ledger.jsonl");
    let busy = undo_ledger(&path, async |_| Ok(())).await.unwrap_err();
    assert!(busy.to_string().contains("still going on"), "{busy}");
    drop(rig.injector);
    let report = undo_ledger(&path, async |undo: &Undo| match undo.instance() {
        "b" => Ok(()),
        _ => Err(PlatformError::Failed("still not".into())),
    })
    .await
    .unwrap();
    assert_eq!(report.done.len(), 1);
    assert_eq!(report.done[0].undo.instance(), "b");
    assert_eq!(report.failed[0].error, "still not");
    assert_eq!(pending(&path), ["c"]);
}

#[tokio::test(start_paused = true)]
async fn a_scheduled_undo_that_fails_is_tried_again_at_the_end() {
    let setup = Setup {
        undo: BTreeMap::from([("a", Mood::FailsTimes(4))]),
        ..Default::default()
    };
    let mut rig = Rig::new(vec![on("a", FaultKind::Freeze, 1, Some(2))], setup);
    rig.run(20).await;
    assert!(
        rig.events()
            .contains(&"1 not undone a: not yet".to_string())
    );
    assert_eq!(rig.undo_all().await, []);
    assert_eq!(rig.events().last().unwrap(), "1 undone a");
    assert_eq!(rig.pending(), Vec::<String>::new());
}
