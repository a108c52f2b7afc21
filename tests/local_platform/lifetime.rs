//! Nothing outlives squall, however it ends.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use squall::platform::Platform;

use crate::support::{Rig, demo, marked, unique};

const DRIVER: &str = "SQUALL_TEST_DRIVER";
const FAMILY: &str = "SQUALL_TEST_FAMILY";

/// The program that is killed: starts a platform whose instances have children of their own, and waits.
#[tokio::test]
#[ignore = "run by the test below as a process of its own"]
async fn driver() {
    let Ok(mark) = std::env::var(DRIVER) else {
        return;
    };
    let mut target = demo(2, &[]);
    if std::env::var_os(FAMILY).is_some() {
        // Neither the demo nor the sleeps are children of squall: the kernel would not end them with it.
        let script = format!(
            "sleep 600 & (sleep 600 &) ; {} demo",
            env!("CARGO_BIN_EXE_squall")
        );
        target.command = vec!["sh".into(), "-c".into(), script];
    }
    target.env = [("SQUALL_TEST_RUN".to_string(), mark)].into();
    let rig = Rig::start(target).await;
    println!("driver ready at {}", rig.address);
    tokio::time::sleep(Duration::from_secs(60)).await;
    rig.stop().await;
}

/// Starts the driver; its process and all that runs for it.
fn drive(mark: &str, family: bool) -> (Child, Vec<u32>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "lifetime::driver", "--ignored", "--nocapture"])
        .env(DRIVER, mark)
        // Reaches the reaper too.
        .env("SQUALL_TEST_RUN", mark)
        .stdout(Stdio::piped());
    if family {
        command.env(FAMILY, "1");
    }
    let mut driver = command.spawn().unwrap();
    let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let ready = lines
        .map_while(Result::ok)
        .any(|line| line.contains("driver ready"));
    assert!(ready, "the driver did not come up");
    (driver, marked(mark))
}

fn assert_all_gone(mark: &str, since: Instant) {
    while !marked(mark).is_empty() {
        assert!(
            since.elapsed() < Duration::from_secs(2),
            "left: {:?}",
            marked(mark)
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn sigkill_of_squall_leaves_no_process_within_two_seconds() {
    let mark = unique();
    let (mut driver, running) = drive(&mark, true);
    driver.kill().unwrap();
    let killed = Instant::now();
    driver.wait().unwrap();
    // The driver, the reaper, and for each instance the shell, two sleeps and the demo.
    assert_eq!(running.len(), 2 + 2 * 4, "{running:?}");
    assert_all_gone(&mark, killed);
}

#[test]
fn the_kernel_ends_the_instances_even_if_the_reaper_is_killed_first() {
    let mark = unique();
    let (mut driver, running) = drive(&mark, false);
    let is_reaper = |pid: &&u32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
        line.is_ok_and(|line| line.contains("__reaper"))
    };
    let reaper = *running.iter().find(is_reaper).unwrap();
    let reaper = rustix::process::Pid::from_raw(reaper as i32).unwrap();
    rustix::process::kill_process(reaper, rustix::process::Signal::KILL).unwrap();
    driver.kill().unwrap();
    let killed = Instant::now();
    driver.wait().unwrap();
    assert_eq!(running.len(), 2 + 2, "{running:?}");
    assert_all_gone(&mark, killed);
}

#[tokio::test]
async fn dropping_the_platform_ends_its_processes() {
    let target = demo(2, &[]);
    let mark = target.env["SQUALL_TEST_RUN"].clone();
    let rig = Rig::start(target).await;
    assert_eq!(marked(&mark).len(), 2);
    drop(rig);
    let dropped = Instant::now();
    assert_all_gone(&mark, dropped);
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
