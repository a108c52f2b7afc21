//! What is taken away once, or again and again: instances, nodes, the same one three times.

use crate::case::{Case, Make, Right, Seen, Text, says};
use crate::sim::{Dice, Service, World, healthy};

pub fn cases() -> Vec<Case> {
    let case = |name, right, world, real| Case {
        name,
        right,
        make: Make::World(world),
        real,
    };
    vec![
        case(
            "all replicas on one node",
            Right::Fails("spread", |s| {
                says(
                    s.failed("spread")?,
                    &["node n1 cannot be lost: after drain of"],
                )
            }),
            |d| nodes(d, vec![0], 0.3),
            "`tests/kubernetes`",
        ),
        case(
            "two of three replicas on one node, and one cannot carry the load",
            Right::Fails("spread", |s| {
                says(
                    s.failed("spread")?,
                    &["node n1 cannot be lost: after drain of"],
                )
            }),
            |d| nodes(d, vec![0, 0, 1], 0.55),
            "",
        ),
        case(
            "one replica on the request path",
            Right::Fails("spread", |s| {
                let victim = s.victim()?;
                says(
                    s.failed("spread")?,
                    &[&format!(
                        "instance {victim} cannot be lost: after kill of {victim}"
                    )],
                )
            }),
            |d| instances(d, 1, 0.3),
            "`tests/main_job.rs`",
        ),
        case(
            "no headroom: each instance is needed",
            Right::Fails("spread", |s| {
                says(
                    s.failed("spread")?,
                    &["cannot be lost: after kill of shop-", "limit 3%"],
                )
            }),
            |d| instances(d, 3, 0.85),
            "",
        ),
        case(
            "a death that takes longer to recover from each time",
            Right::Fails("recovery", slower_each_time),
            |d| again_and_again(d, 4.0),
            "",
        ),
        case(
            "replicas spread over nodes, each of which is drained",
            Right::Healthy,
            |d| nodes(d, vec![0, 1, 2], 0.3),
            "`tests/kubernetes`",
        ),
        case(
            "each of three instances killed in turn",
            Right::Healthy,
            |d| instances(d, 3, 0.4),
            "`scenarios/each-instance.yaml`",
        ),
        case(
            "the same instance killed three times, and back each time",
            Right::Healthy,
            |d| again_and_again(d, 1.0),
            "`tests/main_job.rs`",
        ),
    ]
}

/// Instances of which so large a part is in use.
fn sized(world: &mut World, dice: &mut Dice, rate: f64, instances: usize, used: f64) {
    let each = rate / instances as f64 / used;
    world.service = Service {
        workers: 4,
        work_us: 4.0 / each * 1e6,
        start_us: (dice.between(5.0, 7.0) * 1e6) as u64,
        ..Service::default()
    };
}

/// Three pods on these nodes, each of which is drained once.
fn nodes(dice: &mut Dice, nodes: Vec<usize>, used: f64) -> World {
    let mut text = Text::usual(dice);
    text.target = Some("{ kubernetes: { namespace: shop, service: front } }".into());
    text.connections = ["per-request", "per-user"][dice.below(2)];
    text.timeout = "1s";
    text.hold = 52;
    let at = dice.between(6.0, 8.0);
    text.faults = format!(
        "[ {{ at: {at:.2}s, every: 14s, for: 5s, drain: {{ pick: each, deadline: 20s }} }} ]"
    );
    text.expect = "[ spread: { over: node, errors: 3%, within: 8s } ]".into();
    let mut world = healthy(text.scenario(), 0);
    sized(&mut world, dice, text.rate, 3, used);
    world.balancer.spreads_us = (dice.between(0.02, 0.3) * 1e6) as u64;
    world.nodes = nodes;
    world
}

/// So many instances, each of which is killed once.
fn instances(dice: &mut Dice, instances: u64, used: f64) -> World {
    let mut text = Text::usual(dice);
    text.instances = instances;
    text.timeout = "1s";
    text.hold = 48;
    let at = dice.between(5.0, 7.0);
    text.faults = format!("[ {{ at: {at:.2}s, every: 13s, kill: {{ pick: each }} }} ]");
    text.expect = "[ spread: { over: instance, errors: 3%, within: 8s } ]".into();
    let mut world = healthy(text.scenario(), 0);
    sized(&mut world, dice, text.rate, instances as usize, used);
    world
}

/// The only instance dies three times; what starts it again waits so many times as long after each further death.
fn again_and_again(dice: &mut Dice, grows: f64) -> World {
    let mut text = Text::usual(dice);
    text.instances = 1;
    text.hold = 56;
    let at = dice.between(5.0, 6.0);
    text.faults = format!("[ {{ at: {at:.2}s, every: 14s, times: 3, kill: {{ pick: 1 }} }} ]");
    text.expect = "[ recovery: { within: 8s, slo: [ errors < 1% ] } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.service.backoff_us = 800_000;
    world.service.backoff_grows = grows;
    world
}

/// The third is the one that is told.
fn slower_each_time(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("recovery")?;
    let (name, at) = seen.truth.hit.get(2).ok_or("there was no third kill")?;
    let told = format!("kill of {name} at ");
    says(verdict, &[&told, "limit 8 s"]).or_else(|_| says(verdict, &[&told, "within 8 s"]))?;
    let when = crate::case::number_after(&verdict.because, &told)?;
    crate::case::near("time of the third kill", when, seen.since_start(*at), 0.1)
}
