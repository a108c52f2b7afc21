//! Nothing outlives squall, however it ends.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use squall::platform::Platform;

use crate::support::{Rig, demo, marked, unique};

const DRIVER: &str = "SQUALL_TEST_DRIVER";

/// The program that is killed: starts a platform whose instances have children of their own, and waits.
#[tokio::test]
#[ignore = "run by the test below as a process of its own"]
async fn driver() {
    let Ok(mark) = std::env::var(DRIVER) else {
        return;
    };
    let mut target = demo(2, &[]);
    // Neither the demo nor the sleeps are children of squall: the kernel would not end them with it.
    let script = format!(
        "sleep 600 & (sleep 600 &) ; {} demo",
        env!("CARGO_BIN_EXE_squall")
    );
    target.command = vec!["sh".into(), "-c".into(), script];
    target.env = [("SQUALL_TEST_RUN".to_string(), mark)].into();
    let rig = Rig::start(target).await;
    println!("driver ready at {}", rig.address);
    tokio::time::sleep(Duration::from_secs(60)).await;
    rig.stop().await;
}

#[test]
fn sigkill_of_squall_leaves_no_process_within_two_seconds() {
    let mark = unique();
    // The mark in the driver's environment reaches the reaper too.
    let mut driver = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lifetime::driver", "--ignored", "--nocapture"])
        .env(DRIVER, &mark)
        .env("SQUALL_TEST_RUN", &mark)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let ready = lines
        .map_while(Result::ok)
        .any(|line| line.contains("driver ready"));
    let running = marked(&mark);
    driver.kill().unwrap();
    let killed = Instant::now();
    driver.wait().unwrap();
    assert!(ready, "the driver did not come up");
    // The driver, the reaper, and for each instance the shell, two sleeps and the demo.
    assert_eq!(running.len(), 2 + 2 * 4, "{running:?}");
    while !marked(&mark).is_empty() {
        assert!(
            killed.elapsed() < Duration::from_secs(2),
            "left: {:?}",
            marked(&mark)
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn dropping_the_platform_ends_its_processes() {
    let target = demo(2, &[]);
    let mark = target.env["SQUALL_TEST_RUN"].clone();
    let rig = Rig::start(target).await;
    assert_eq!(marked(&mark).len(), 2);
    drop(rig);
    let dropped = Instant::now();
    while !marked(&mark).is_empty() {
        assert!(
            dropped.elapsed() < Duration::from_secs(2),
            "left: {:?}",
            marked(&mark)
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_an_instance_leaves_behind_ends_with_it() {
    let mut target = demo(1, &[]);
    let script = format!("sleep 600 & exec {} demo", env!("CARGO_BIN_EXE_squall"));
    target.command = vec!["sh".into(), "-c".into(), script];
    let mark = target.env["SQUALL_TEST_RUN"].clone();
    let mut rig = Rig::start(target).await;
    assert_eq!(marked(&mark).len(), 2);
    // Only the leader is killed; the sleep would stay.
    let pid = rustix::process::Pid::from_raw(rig.pid_of("shop-1") as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    rig.wait_for("it is replaced", |e| e.endpoints_now() == ["shop-1-r1"])
        .await;
    assert_eq!(marked(&mark).len(), 2, "the new demo and its sleep");
    rig.platform.stop().await.unwrap();
    rig.assert_nothing_left();
}
