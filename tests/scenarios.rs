//! Every scenario that ships runs as its comments say: against the demo, with all its expectations met.

mod common;

use std::path::Path;

use common::Bench;
use common::monitoring::{Monitoring, installed};

#[track_caller]
fn passes(name: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scenarios")
        .join(name);
    let mut bench = Bench::new(&std::fs::read_to_string(file).unwrap());
    let _monitoring = (name == "alert.yaml").then(|| {
        let monitoring = Monitoring::start(&bench, "");
        bench.env = monitoring.environment();
        monitoring
    });
    bench.run_conclusive().expect_code(0);
}

#[test]
fn quickstart() {
    passes("quickstart.yaml");
}

#[test]
fn freeze() {
    passes("freeze.yaml");
}

#[test]
fn black_hole() {
    passes("black-hole.yaml");
}

#[test]
fn rolling_stop() {
    passes("rolling-stop.yaml");
}

#[test]
fn closed_users() {
    passes("closed-users.yaml");
}

#[test]
fn balance() {
    passes("balance.yaml");
}

#[test]
fn each_instance() {
    passes("each-instance.yaml");
}

#[test]
fn alert() {
    if !installed() {
        skip!("there is no prometheus or prometheus-alertmanager");
    }
    passes("alert.yaml");
}

#[test]
fn game_day() {
    passes("game-day.yaml");
}

#[test]
fn none_is_left_out() {
    let here = include_str!("scenarios.rs");
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // tests/capacity.rs runs that one, as it is meant to be run.
        let tested = name == "capacity.yaml" || here.contains(&format!("passes(\"{name}\")"));
        assert!(tested || !name.ends_with(".yaml"), "{name} has no test");
    }
}

#[test]
fn the_readmes_scenario_is_valid() {
    let readme = include_str!("../README.md");
    let block = readme.split("```yaml\n").nth(1).unwrap();
    let bench = Bench::new(block.split("```").next().unwrap());
    let checked = bench
        .command(&["validate", "scenario.yaml"])
        .output()
        .unwrap();
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
}
