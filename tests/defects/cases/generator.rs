//! The generator at fault: of the service nothing may be said.

use crate::case::{Case, Make, Right, Seen, Text, says};
use crate::sim::{Dice, World, healthy};

pub fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "a client pool that exhausts its ports",
            right: Right::Unknown(|s| {
                generator_says(s, "failed for want of a file descriptor or local port")
            }),
            make: Make::World(out_of_ports),
            real: "`tests/traffic`",
        },
        Case {
            name: "a generator that cannot keep its schedule",
            right: Right::Unknown(|s| generator_says(s, "requests left late")),
            make: Make::World(too_slow),
            real: "`tests/traffic`",
        },
        Case {
            name: "arrivals dropped, since too many journeys are under way",
            right: Right::Unknown(|s| generator_says(s, "arrivals were dropped")),
            make: Make::World(dropped),
            real: "`tests/traffic`",
        },
    ]
}

fn generator_says(seen: &Seen<'_>, words: &str) -> Result<(), String> {
    says(seen.of("generator")?, &["generator saturated", words])
}

fn out_of_ports(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.connections = "per-request";
    text.expect = "[ errors < 1% ]".into();
    let mut world = healthy(text.scenario(), 0);
    let opened = text.rate * text.hold as f64;
    world.generator.ports = Some((opened * dice.between(0.4, 0.7)) as usize);
    world
}

/// A healthy service would look slow: requests leave seconds after they were due.
fn too_slow(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.expect = "[ p99 < 250ms, errors < 1% ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.generator.capacity = Some(text.rate * dice.between(0.6, 0.9));
    world
}

fn dropped(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.max_in_flight = dice.whole(2, 4);
    text.expect = "[ p99 < 900ms, errors < 1% ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.service.work_us = dice.between(40.0, 80.0) * 1e3;
    world
}
