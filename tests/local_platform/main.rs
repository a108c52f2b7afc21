//! The local platform with real processes: the demo service of the real binary behind the real balancer.

mod faults;
mod lifetime;
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use squall::platform::{Platform, PlatformError};
use squall::record::{InstanceState, What};
use squall::scenario::FaultKind;

use support::{Connection, Rig, admin_ready, demo, get, rig};

#[tokio::test]
async fn connections_go_at_random_to_the_ready_instances_only() {
    let mut rig = Rig::start(demo(3, &[])).await;
    assert_eq!(
        rig.endpoints().last().unwrap(),
        &["shop-1", "shop-2", "shop-3"]
    );
    let mut served = Vec::new();
    for _ in 0..300 {
        served.push(get(rig.address, "/products").await.unwrap().instance);
    }
    let mut counts = BTreeMap::new();
    for name in &served {
        *counts.entry(name.as_str()).or_insert(0) += 1;
    }
    // 100 each expected, standard deviation 8: 60 is five of them away.
    assert_eq!(counts.len(), 3, "{counts:?}");
    assert!(
        counts.values().all(|n| (60..=140).contains(n)),
        "{counts:?}"
    );
    // Round robin would never choose the same one twice in a row; random does so in a third of all cases.
    let repeats = served.windows(2).filter(|w| w[0] == w[1]).count();
    assert!((50..=150).contains(&repeats), "{repeats}");

    let mut open = Connection::to(&mut rig, "shop-2").await;
    admin_ready(rig.port_of("shop-2"), false).await;
    rig.wait_for("shop-2 is out", |e| {
        e.endpoints_now() == ["shop-1", "shop-3"]
    })
    .await;
    rig.wait_for("shop-2 says so", |e| {
        e.state_of("shop-2") == Some(InstanceState::NotReady)
    })
    .await;
    for _ in 0..50 {
        assert_ne!(
            get(rig.address, "/products").await.unwrap().instance,
            "shop-2"
        );
    }
    let instance = open.get("/products").await.unwrap().instance;
    assert_eq!(instance, "shop-2", "an open connection stays where it is");

    admin_ready(rig.port_of("shop-2"), true).await;
    rig.wait_for("shop-2 is back", |e| e.endpoints_now().len() == 3)
        .await;
    rig.stop().await;
}

#[tokio::test]
async fn no_ready_instance_means_a_reset() {
    let mut rig = Rig::start(demo(1, &[])).await;
    admin_ready(rig.port_of("shop-1"), false).await;
    rig.wait_for("the set is empty", |e| e.endpoints_now().is_empty())
        .await;
    let error = get(rig.address, "/products").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    rig.stop().await;
}

#[tokio::test]
async fn a_killed_instance_is_noticed_replaced_and_waited_for_longer_each_time() {
    let mut target = demo(2, &[]);
    target.restart.backoff = Duration::from_millis(200);
    let mut rig = Rig::start(target).await;
    for (victim, heir, backoff_ms) in [
        ("shop-2", "shop-2-r1", 200),
        ("shop-2-r1", "shop-2-r2", 400),
    ] {
        rig.apply(FaultKind::Kill, victim).await;
        rig.wait_for("the replacement is ready", |e| {
            e.endpoints_now() == ["shop-1", heir]
        })
        .await;
        let ended = rig.event(victim, InstanceState::Ended);
        assert_eq!(ended.1.detail.as_deref(), Some("killed by SIGKILL"));
        let started = rig.event(heir, InstanceState::Started);
        assert_eq!(started.1.slot, "shop-2");
        let waited = started.0 - ended.0;
        assert!(waited >= backoff_ms * 1000, "{victim}: {waited} us");
        assert!(rig.event(heir, InstanceState::Ready).0 > started.0);
        assert!(rig.endpoints().iter().any(|set| set == &["shop-1"]));
    }
    let names: Vec<String> = rig
        .platform
        .instances()
        .into_iter()
        .map(|i| i.name)
        .collect();
    assert_eq!(names, ["shop-1", "shop-2-r2"]);
    rig.stop().await;
}

#[tokio::test]
async fn the_dead_stay_dead_where_restarts_are_off() {
    let mut target = demo(2, &[]);
    target.restart.enabled = false;
    let mut rig = Rig::start(target).await;
    rig.apply(FaultKind::Kill, "shop-1").await;
    rig.wait_for("it ended", |e| {
        e.state_of("shop-1") == Some(InstanceState::Ended)
    })
    .await;
    let one = &rig.platform.instances()[0];
    assert!(!one.alive && !one.ready, "{one:?}");
    let change = support::change(FaultKind::Freeze, "shop-1");
    let error = rig.platform.apply(&change).await.unwrap_err();
    assert!(error.to_string().contains("does not run"), "{error}");
    rig.stop().await;
}

#[tokio::test]
async fn use_of_cpu_and_memory_is_recorded_for_each_instance() {
    let mut rig = Rig::start(demo(2, &[])).await;
    rig.wait_for("both are sampled", |e| {
        ["shop-1", "shop-2"].iter().all(|name| {
            e.all().iter().any(|event| {
                matches!(&event.what, What::Usage { instance, memory_bytes, .. }
                    if instance == name && *memory_bytes > 500_000)
            })
        })
    })
    .await;
    rig.stop().await;
}

#[tokio::test]
async fn one_that_never_becomes_ready_fails_the_start_and_says_why() {
    let mut target = demo(2, &["--defect", "never-ready", "--defect-on", "shop-2"]);
    target.start_timeout = Duration::from_millis(1500);
    let rig = rig(target);
    let error = rig.platform.start().await.unwrap_err();
    let PlatformError::Unreachable(text) = error else {
        panic!("{error:?}")
    };
    for part in [
        "1 of 2 instances",
        "shop-2",
        "1500ms",
        "answered 503",
        "listens on",
    ] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    rig.assert_nothing_left();
}

#[tokio::test]
async fn one_that_ends_at_once_fails_the_start_with_its_last_words() {
    let mut target = demo(2, &[]);
    target.command = ["sh", "-c", "echo no such table >&2; exit 3"]
        .map(String::from)
        .into();
    let rig = rig(target);
    let text = rig.platform.start().await.unwrap_err().to_string();
    for part in ["shop-", "exit status 3", "no such table"] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    rig.assert_nothing_left();
}

#[tokio::test]
async fn an_unknown_command_is_refused_before_anything_is_started() {
    let mut target = demo(1, &[]);
    target.command = vec!["slep".into(), "60".into()];
    let rig = rig(target);
    for error in [
        rig.platform.plan().unwrap_err(),
        rig.platform.start().await.unwrap_err(),
    ] {
        let PlatformError::Unsupported(text) = error else {
            panic!("{error:?}")
        };
        assert!(
            text.contains("no `slep`") && text.contains("did you mean `sleep`"),
            "{text}"
        );
    }
    assert!(!rig.dir.path().join("logs").exists());
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let mut target = demo(1, &[]);
    target.port = Some(port);
    let rig = rig(target);
    let error = rig.platform.start().await.unwrap_err();
    assert!(
        matches!(&error, PlatformError::Unreachable(t) if t.contains(&format!("port {port}"))),
        "{error}"
    );
    rig.assert_nothing_left();
}

#[tokio::test]
async fn stopping_leaves_nothing_and_can_be_repeated() {
    let mut rig = Rig::start(demo(3, &[])).await;
    rig.platform.stop().await.unwrap();
    rig.platform.stop().await.unwrap();
    rig.assert_nothing_left();
    for name in ["shop-1", "shop-2", "shop-3"] {
        let detail = rig.event(name, InstanceState::Ended).1.detail;
        assert_eq!(detail.as_deref(), Some("exit status 0"), "{name}");
    }
    assert!(tokio::net::TcpStream::connect(rig.address).await.is_err());
    assert!(rig.endpoints().last().unwrap().is_empty());
}

#[tokio::test]
async fn one_that_ignores_sigterm_is_killed_after_the_grace() {
    let mut target = demo(1, &[]);
    let demo = format!(
        "trap '' TERM; {} demo --port {{port}}; sleep 60",
        env!("CARGO_BIN_EXE_squall")
    );
    target.command = vec!["sh".into(), "-c".into(), demo];
    target.stop_grace = Duration::from_millis(300);
    let mut rig = Rig::start(target).await;
    rig.platform.stop().await.unwrap();
    rig.assert_nothing_left();
    let detail = rig.event("shop-1", InstanceState::Ended).1.detail;
    assert_eq!(detail.as_deref(), Some("killed by SIGKILL"));
}

#[tokio::test]
async fn readiness_can_be_probed_over_tls_and_by_a_bare_connection() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = [
        "--tls-cert",
        cert.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ];
    let mut target = demo(1, &tls);
    target.scheme = "https".into();
    let rig = rig(target);
    let endpoint = rig.platform.start().await.unwrap();
    assert!(
        endpoint.base_url.starts_with("https://127.0.0.1:"),
        "{endpoint:?}"
    );
    assert_eq!(endpoint.describe, "balancer over 1 instance of shop");
    rig.stop().await;

    // It says that it is not ready, but a probe without a path does not ask.
    let mut target = demo(1, &["--defect", "never-ready"]);
    target.ready.http = None;
    let rig = Rig::start(target).await;
    assert_eq!(get(rig.address, "/products").await.unwrap().status, 200);
    rig.stop().await;
}

#[tokio::test]
async fn placeholders_and_environment_reach_the_instance_and_output_its_log() {
    let mut target = demo(1, &[]);
    let script = format!(
        "echo $COLOUR $SQUALL_SLOT $SQUALL_INSTANCE $PORT {{port}} {{instance}} {{logs}}; exec {} demo",
        env!("CARGO_BIN_EXE_squall")
    );
    target.command = vec!["sh".into(), "-c".into(), script];
    target.env.insert("COLOUR".into(), "blue-{slot}".into());
    let mut rig = Rig::start(target).await;
    let port = rig.port_of("shop-1");
    let logs = rig.dir.path().join("logs");
    let log = std::fs::read_to_string(logs.join("shop-1.log")).unwrap();
    let expected = format!(
        "blue-shop-1 shop-1 shop-1 {port} {port} shop-1 {}",
        logs.display()
    );
    assert_eq!(log.lines().next().unwrap(), expected);
    rig.stop().await;
}
