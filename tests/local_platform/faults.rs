//! Each fault of the local platform, and its undo.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use squall::platform::local::undo_detached;
use squall::platform::{Platform, Undo};
use squall::record::InstanceState;
use squall::scenario::FaultKind;
use squall::scenario::units::Ratio;

use crate::support::{Connection, Rig, change, demo, get};

const ALL: f64 = 1.0;

fn share(fraction: f64) -> Ratio {
    Ratio::fraction(fraction)
}

/// Makes a fault as the injector does: the undo is known before.
async fn inject(rig: &Rig, kind: FaultKind, instance: &str) -> Undo {
    let change = change(kind, instance);
    let undo = rig.platform.undo_of(&change).unwrap().unwrap();
    rig.platform.apply(&change).await.unwrap();
    undo
}

fn state_letter(pid: u32) -> char {
    squall::observe::usage::Stat::of(pid).unwrap().state
}

#[tokio::test]
async fn a_frozen_instance_hangs_leaves_the_set_and_is_thawed_from_another_process() {
    let mut target = demo(2, &[]);
    target.ready.timeout = Duration::from_millis(200);
    let mut rig = Rig::start(target).await;
    let mut open = Connection::to(&mut rig, "shop-1").await;
    let undo = inject(&rig, FaultKind::Freeze, "shop-1").await;
    open.send("GET", "/products").await.unwrap();
    assert!(open.silent().await);
    rig.wait_for("the frozen one is out", |e| e.endpoints_now() == ["shop-2"])
        .await;
    assert_eq!(rig.platform.instances()[0].name, "shop-1", "it still runs");
    let pid = rig.pid_of("shop-1");
    assert_eq!(state_letter(pid), 'T');

    // The wrong start time is another process: it stays as it is.
    let Undo::Thaw {
        instance,
        pid,
        start_ticks,
    } = undo.clone()
    else {
        panic!("{undo:?}")
    };
    let stranger = Undo::Thaw {
        instance,
        pid,
        start_ticks: start_ticks + 1,
    };
    undo_detached(&stranger).unwrap();
    assert_eq!(state_letter(pid), 'T');

    undo_detached(&undo).unwrap();
    assert_eq!(
        open.receive().await.unwrap().status,
        200,
        "the request that hung is answered"
    );
    rig.wait_for("it is back", |e| e.endpoints_now().len() == 2)
        .await;
    rig.platform.stop().await.unwrap();
    undo_detached(&undo).unwrap();
    rig.platform.undo(&undo).await.unwrap();
}

#[tokio::test]
async fn a_frozen_instance_can_be_killed_and_the_run_can_end_on_one() {
    let mut target = demo(2, &[]);
    target.stop_grace = Duration::from_millis(500);
    let mut rig = Rig::start(target).await;
    inject(&rig, FaultKind::Freeze, "shop-1").await;
    inject(&rig, FaultKind::Freeze, "shop-2").await;
    rig.apply(FaultKind::Kill, "shop-1").await;
    rig.wait_for("it ended", |e| {
        e.state_of("shop-1") == Some(InstanceState::Ended)
    })
    .await;
    rig.stop().await;
}

#[tokio::test]
async fn delay_holds_bytes_back_both_ways_until_it_is_undone() {
    let mut rig = Rig::start(demo(1, &[])).await;
    let mut open = Connection::to(&mut rig, "shop-1").await;
    let kind = FaultKind::Delay {
        latency: Duration::from_millis(150),
        jitter: Duration::from_millis(50),
    };
    let undo = inject(&rig, kind, "shop-1").await;
    for connection in [&mut open, &mut Connection::open(rig.address).await.unwrap()] {
        let began = Instant::now();
        connection.get("/products").await.unwrap();
        // 100 ms at least each way.
        assert!(
            began.elapsed() >= Duration::from_millis(200),
            "{:?}",
            began.elapsed()
        );
    }
    rig.platform.undo(&undo).await.unwrap();
    let fastest = fastest(&mut open, 10).await;
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
    rig.stop().await;
}

async fn fastest(connection: &mut Connection, tries: usize) -> Duration {
    let mut fastest = Duration::MAX;
    for _ in 0..tries {
        let began = Instant::now();
        connection.get("/products").await.unwrap();
        fastest = fastest.min(began.elapsed());
    }
    fastest
}

#[tokio::test]
async fn a_dropped_connection_is_accepted_and_never_answered() {
    let mut rig = Rig::start(demo(1, &[])).await;
    let mut open = Connection::to(&mut rig, "shop-1").await;
    let undo = inject(&rig, FaultKind::Drop { share: share(ALL) }, "shop-1").await;
    let mut dropped = Connection::open(rig.address).await.unwrap();
    dropped.send("GET", "/products").await.unwrap();
    assert!(dropped.silent().await);
    assert_eq!(
        open.get("/products").await.unwrap().status,
        200,
        "open ones go on"
    );
    rig.platform.undo(&undo).await.unwrap();
    assert_eq!(get(rig.address, "/products").await.unwrap().status, 200);
    assert!(dropped.silent().await, "what was dropped stays dropped");
    rig.stop().await;
}

#[tokio::test]
async fn all_connections_are_reset_with_100_percent_and_a_share_with_less() {
    let mut rig = Rig::start(demo(1, &[])).await;
    let mut open = Connection::to(&mut rig, "shop-1").await;
    let undo = inject(&rig, FaultKind::Reset { share: share(0.5) }, "shop-1").await;
    let mut resets = 0;
    for _ in 0..100 {
        match get(rig.address, "/products").await {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::ConnectionReset => resets += 1,
            // The reset may come before the request is sent.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => resets += 1,
            Err(e) => panic!("{e}"),
        }
    }
    // 50 expected, standard deviation 5.
    assert!((25..=75).contains(&resets), "{resets}");
    assert_eq!(
        open.get("/products").await.unwrap().status,
        200,
        "open ones go on"
    );
    rig.platform.undo(&undo).await.unwrap();

    let undo = inject(&rig, FaultKind::Reset { share: share(ALL) }, "shop-1").await;
    let error = open.receive().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    assert!(get(rig.address, "/products").await.is_err());
    rig.platform.undo(&undo).await.unwrap();
    assert_eq!(get(rig.address, "/products").await.unwrap().status, 200);
    rig.stop().await;
}

#[tokio::test]
async fn a_black_hole_passes_nothing_on_and_what_it_held_flows_after_the_undo() {
    let mut rig = Rig::start(demo(1, &[])).await;
    let mut open = Connection::to(&mut rig, "shop-1").await;
    let undo = inject(&rig, FaultKind::BlackHole, "shop-1").await;
    let mut fresh = Connection::open(rig.address).await.unwrap();
    for connection in [&mut open, &mut fresh] {
        connection.send("GET", "/products").await.unwrap();
        assert!(connection.silent().await);
    }
    rig.platform.undo(&undo).await.unwrap();
    for connection in [&mut open, &mut fresh] {
        assert_eq!(connection.receive().await.unwrap().status, 200);
        assert_eq!(connection.get("/products").await.unwrap().status, 200);
    }
    rig.stop().await;
}

/// Stops one of two instances under load; requests that failed, and those that were answered.
async fn stop_under_load(args: &[&str]) -> (u64, u64) {
    let mut rig = Rig::start(demo(2, args)).await;
    let (failed, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let end = Arc::new(AtomicBool::new(false));
    let address = rig.address;
    let users: Vec<_> = (0..8)
        .map(|_| {
            let (failed, answered, end) = (failed.clone(), answered.clone(), end.clone());
            tokio::spawn(async move {
                let mut connection: Option<Connection> = None;
                while !end.load(Ordering::Relaxed) {
                    let mut open = match connection.take() {
                        Some(open) => open,
                        None => Connection::open(address).await.unwrap(),
                    };
                    match open.get("/products").await {
                        Ok(reply) => {
                            answered.fetch_add(1, Ordering::Relaxed);
                            connection = (!reply.close).then_some(open);
                        }
                        Err(_) => drop(failed.fetch_add(1, Ordering::Relaxed)),
                    }
                }
            })
        })
        .collect();
    while answered.load(Ordering::Relaxed) < 50 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let grace = Duration::from_secs(20);
    rig.apply(FaultKind::Stop { grace }, "shop-1").await;
    rig.wait_for("its heir is ready", |e| {
        e.endpoints_now() == ["shop-1-r1", "shop-2"]
    })
    .await;
    end.store(true, Ordering::Relaxed);
    for user in users {
        user.await.unwrap();
    }
    let ended = rig.event("shop-1", InstanceState::Ended).1.detail;
    assert_eq!(ended.as_deref(), Some("exit status 0"));
    let out = rig.event("shop-1", InstanceState::Terminating).0;
    assert!(out < rig.event("shop-1", InstanceState::Ended).0);
    rig.stop().await;
    (
        failed.load(Ordering::Relaxed),
        answered.load(Ordering::Relaxed),
    )
}

#[tokio::test]
async fn a_graceful_stop_costs_no_request() {
    let (failed, answered) = stop_under_load(&["--defect", "slow:20ms"]).await;
    assert_eq!(failed, 0, "of {answered}");
}

#[tokio::test]
async fn a_stop_without_drain_costs_the_requests_in_flight() {
    let (failed, answered) =
        stop_under_load(&["--defect", "slow:20ms", "--defect", "no-drain"]).await;
    assert!(failed > 0, "of {answered}");
}

#[tokio::test]
async fn one_that_does_not_heed_the_stop_is_killed_after_its_grace_and_replaced_at_once() {
    let mut target = demo(1, &[]);
    let script = format!(
        "trap '' TERM; {} demo; sleep 60",
        env!("CARGO_BIN_EXE_squall")
    );
    target.command = vec!["sh".into(), "-c".into(), script];
    // A crash would wait so long; a stop is no crash.
    target.restart.backoff = Duration::from_secs(600);
    target.restart.max_backoff = Duration::from_secs(600);
    target.stop_grace = Duration::from_millis(100);
    let mut rig = Rig::start(target).await;
    let grace = Duration::from_millis(300);
    rig.apply(FaultKind::Stop { grace }, "shop-1").await;
    rig.wait_for("its heir is ready", |e| e.endpoints_now() == ["shop-1-r1"])
        .await;
    let told = rig.event("shop-1", InstanceState::Terminating).0;
    let (ended, event) = rig.event("shop-1", InstanceState::Ended);
    assert_eq!(event.detail.as_deref(), Some("killed by SIGKILL"));
    assert!(ended - told >= 300_000, "{} us", ended - told);
    rig.stop().await;
}
