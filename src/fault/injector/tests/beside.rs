//! What is done beside each other, and what one injection must know of another that is hardly over.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_undo_that_hangs_holds_up_no_other_and_a_fault_for_a_moment_only() {
    let setup = Setup {
        undo: BTreeMap::from([("a", Mood::Hangs)]),
        ..Default::default()
    };
    let specs = vec![
        on("a", FaultKind::Freeze, 1, Some(1)),
        on("b", FaultKind::Freeze, 1, Some(2)),
        on("c", FaultKind::Kill, 4, None),
    ];
    let mut rig = Rig::new(specs, setup);
    rig.run(60).await;
    let calls = rig.calls();
    // Three attempts of five seconds each.
    let hung = calls.iter().filter(|c| c.ends_with("undo a")).count();
    assert_eq!(hung, 3, "{calls:?}");
    assert!(calls.contains(&"3 undo b".into()), "{calls:?}");
    assert!(calls.contains(&"9 kill c".into()), "{calls:?}");
    let late = "note: fault `kill` was due 5000 ms before";
    assert!(
        rig.events().iter().any(|e| e.starts_with(late)),
        "{:?}",
        rig.events()
    );
}

#[tokio::test(start_paused = true)]
async fn at_the_end_all_is_undone_in_the_time_of_the_slowest() {
    let setup = Setup {
        undo: BTreeMap::from([
            ("a", Mood::TakesSeconds(4)),
            ("b", Mood::Hangs),
            ("c", Mood::TakesSeconds(4)),
        ]),
        ..Default::default()
    };
    let at = |name, kind, second| on(name, kind, second, None);
    let specs = vec![
        at("a", FaultKind::Freeze, 1),
        at("b", FaultKind::Freeze, 2),
        at("c", FaultKind::Freeze, 3),
        at("c", delay(5), 4),
    ];
    let mut rig = Rig::new(specs, setup);
    rig.run(10).await;
    let left = rig.undo_all().await;
    let left: Vec<_> = left.iter().map(|f| f.undo.instance()).collect();
    assert_eq!(left, ["b"]);
    // Three attempts of five seconds, and the waits between them.
    assert_eq!(rig.start.elapsed().as_secs(), 4 + 16);
    // What is done to one instance is undone one after the other, the latest first.
    let of_c: Vec<_> = rig.events();
    let of_c: Vec<_> = of_c.iter().filter(|e| e.contains("undone c")).collect();
    assert_eq!(of_c, ["4 undone c", "3 undone c"]);
    assert!(rig.calls().contains(&"8 undo c".into()));
    assert_eq!(rig.pending(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_still_being_undone_is_not_made_again() {
    let setup = Setup {
        undo: BTreeMap::from([("a", Mood::Hangs)]),
        ..Default::default()
    };
    let specs = vec![
        on("a", FaultKind::Freeze, 1, Some(2)),
        on("a", FaultKind::Freeze, 4, Some(2)),
    ];
    let mut rig = Rig::new(specs, setup);
    rig.run(60).await;
    let made = rig.calls();
    assert_eq!(made.iter().filter(|c| c.contains("freeze")).count(), 1);
    let refused = "2 refused freeze a: an earlier `freeze` of a is still being undone";
    assert!(
        rig.events().iter().any(|e| e == refused),
        "{:?}",
        rig.events()
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_was_killed_is_not_counted_on_before_its_end_is_seen() {
    // The platform tells of all three as ready, as one does whose watch is behind.
    let setup = Setup {
        guard: Guard {
            keep_ready: Some(KeepReady::Count(2)),
            ..Default::default()
        },
        ..Default::default()
    };
    let mut soon = on("b", FaultKind::Kill, 2, None);
    soon.at = Duration::from_millis(2300);
    let specs = vec![
        on("a", FaultKind::Kill, 2, None),
        soon,
        on("b", FaultKind::Kill, 5, None),
    ];
    let mut rig = Rig::new(specs, setup);
    rig.run(60).await;
    assert_eq!(rig.calls(), ["2 kill a", "5 kill b"]);
}

#[tokio::test(start_paused = true)]
async fn a_workload_is_restarted_once_however_many_of_its_instances_are_picked() {
    let mut restart = spec(FaultKind::RolloutRestart, secs(1));
    restart.select.pick = Pick::All;
    let mut rig = Rig::new(vec![restart], Setup::default());
    rig.run(10).await;
    assert_eq!(rig.calls(), ["1 rollout-restart a"]);
    assert_eq!(rig.events()[1], "1 injected rollout-restart a,b,c");
}

#[tokio::test(start_paused = true)]
async fn what_would_stay_without_squall_is_undone_with_more_patience() {
    // An API server that is restarted is back within some seconds.
    let back = [("node-1", Mood::FailsTimes(5)), ("b", Mood::Fails)];
    let setup = Setup {
        undo: BTreeMap::from(back),
        ..Default::default()
    };
    let specs = vec![
        on("a", FaultKind::Cordon, 1, None),
        on("b", FaultKind::Freeze, 1, None),
    ];
    let mut rig = Rig::new(specs, setup);
    rig.run(10).await;
    let left = rig.undo_all().await;
    let left: Vec<_> = left.iter().map(|f| f.undo.instance()).collect();
    assert_eq!(left, ["b"]);
    let tried = |name: &str| rig.calls().iter().filter(|c| c.ends_with(name)).count();
    assert_eq!((tried("undo node-1"), tried("undo b")), (6, 3));
    assert_eq!(rig.start.elapsed().as_secs(), 1 + 15);
    assert_eq!(rig.pending(), ["b"]);
}
