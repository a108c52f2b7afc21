//! Services that do not recover as they should from a fault.

use super::services::one_kill;
use crate::case::{Case, Make, Right, Seen, Text, near, says, time_of};
use crate::sim::{Dice, Leak, Service, World, healthy};

pub fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "a killed instance does not come back",
            right: Right::Fails("recovery", not_replaced),
            make: Make::World(does_not_come_back),
            real: "`tests/main_job.rs`",
        },
        Case {
            name: "no headroom: the others cannot carry the load of a killed one",
            right: Right::Fails("recovery", late_again),
            make: Make::World(no_headroom),
            real: "",
        },
        Case {
            name: "a backlog that outlives its fault",
            right: Right::Fails("recovery", after_the_undo),
            make: Make::World(backlog),
            real: "",
        },
        Case {
            name: "a cache that only warms once: the replacement stays slow",
            right: Right::Fails("recovery", cold_named),
            make: Make::World(stays_cold),
            real: "",
        },
        Case {
            name: "the replacement of a killed instance crashes again and again",
            right: Right::Fails("recovery", bad_again),
            make: Make::World(crash_loop),
            real: "",
        },
    ]
}

fn does_not_come_back(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    one_kill(dice, &mut text);
    text.expect = "[ recovery: { within: 12s, slo: [ errors < 1% ] } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.service.restarts = false;
    world
}

fn not_replaced(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("recovery")?;
    let victim = seen.victim()?;
    says(
        verdict,
        &[
            "capacity not restored",
            &format!("no replacement of {victim}"),
        ],
    )
}

fn no_headroom(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.instances = 3;
    text.hold = 36;
    text.rate = dice.between(110.0, 130.0);
    text.timeout = "1s";
    one_kill(dice, &mut text);
    text.expect = "[ recovery: { within: 6s, slo: [ errors < 2% ] } ]".into();
    let mut world = healthy(text.scenario(), 0);
    // Three hold the load with a fifth to spare, two do not.
    let capacity = text.rate * dice.between(1.18, 1.25) / 3.0;
    world.service.workers = 4;
    world.service.work_us = 4.0 / capacity * 1e6;
    world.service.start_us = (dice.between(10.0, 13.0) * 1e6) as u64;
    world
}

fn late_again(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("recovery")?;
    let victim = seen.victim()?;
    says(
        verdict,
        &[&format!("kill of {victim}"), "limit", "worst from"],
    )
    .or_else(|_| {
        says(
            verdict,
            &[&format!("kill of {victim}"), "within 6 s", "worst from"],
        )
    })
}

/// A frozen instance has all its work still to do when it goes on, though nobody waits for it any more, and too little
/// to spare to catch up.
fn backlog(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.instances = 3;
    text.hold = 36;
    text.rate = dice.between(110.0, 130.0);
    text.timeout = "1s";
    text.connections = "per-request";
    let (at, who) = (dice.between(5.0, 6.0), dice.whole(1, 3));
    text.faults = format!("[ {{ at: {at:.2}s, for: 8s, freeze: {{ name: shop-{who} }} }} ]");
    text.expect = "[ recovery: { within: 5s, slo: [ errors < 2% ] } ]".into();
    let mut world = healthy(text.scenario(), 0);
    let capacity = text.rate / 3.0 * dice.between(1.1, 1.25);
    world.service.workers = 4;
    world.service.work_us = 4.0 / capacity * 1e6;
    world.service.queue = 100_000;
    world.balancer.finds_hung_us = None;
    world
}

fn after_the_undo(seen: &Seen<'_>) -> Result<(), String> {
    says(
        seen.failed("recovery")?,
        &["freeze of", seen.victim()?, "limit 5 s"],
    )
    .or_else(|_| {
        says(
            seen.failed("recovery")?,
            &["not restored within 5 s after freeze of", seen.victim()?],
        )
    })
}

fn stays_cold(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.hold = 34;
    text.connections = "per-request";
    one_kill(dice, &mut text);
    text.expect =
        "[ { slo: p90 < 100ms, phase: during }, recovery: { within: 8s, slo: [ p90 < 100ms ] } ]"
            .into();
    let mut world = healthy(text.scenario(), 0);
    let cold = Service {
        work_us: dice.between(200.0, 350.0) * 1e3,
        workers: 64,
        ..Service::default()
    };
    world.later = Some(cold);
    world
}

fn cold_named(seen: &Seen<'_>) -> Result<(), String> {
    let victim = seen.victim()?;
    let verdict = seen.failed("recovery")?;
    says(verdict, &[&format!("kill of {victim}"), "limit"])
        .or_else(|_| says(verdict, &[&format!("kill of {victim}"), "within 8 s"]))?;
    let latency = seen.failed("slo")?;
    says(latency, &[&format!("on {victim}-r1")])
}

/// The replacement runs out of memory every few seconds, and the platform takes its time to see it.
fn crash_loop(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.hold = 40;
    text.instances = 3;
    text.connections = "per-request";
    one_kill(dice, &mut text);
    text.expect = "[ recovery: { within: 20s, slo: [ errors < 1% ] } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.balancer.notices_us = (dice.between(1.0, 1.6) * 1e6) as u64;
    let leak = Leak {
        bytes: 1 << 20,
        base: 64 << 20,
        limit: (64 + dice.whole(60, 120)) << 20,
        slow: 1.0,
    };
    world.later = Some(Service {
        leak: Some(leak),
        ..Service::default()
    });
    world
}

/// It was bad again when the replacement, or the one after it, crashed.
fn bad_again(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("recovery")?;
    says(verdict, &["kill of", seen.victim()?])?;
    let again = seen.since_start(time_of(verdict, "bad again after good seconds")?);
    let crashes = seen.truth.died.iter().skip(1);
    let crashes = crashes.map(|(_, at)| seen.since_start(*at));
    let nearest = crashes.min_by(|a, b| (a - again).abs().total_cmp(&(b - again).abs()));
    near(
        "bad again",
        again,
        nearest.ok_or("it never crashed again")?,
        1.0,
    )
}
