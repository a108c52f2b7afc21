//! Alerts: an instance dies or hangs, and monitoring says so, or does not.

use crate::case::{Case, Make, Right, Seen, Text, near, number_after, says};
use crate::sim::{Alarm, DOWN, Dice, S, World, healthy};

pub fn cases() -> Vec<Case> {
    let case = |name, right, world, real| Case {
        name,
        right,
        make: Make::World(world),
        real,
    };
    let real = "`tests/alert.rs`";
    vec![
        case(
            "an alert that never fires",
            Right::Fails("alert", |s| {
                says(
                    s.failed("alert")?,
                    &["did not fire within 10 s", s.victim()?],
                )
            }),
            |d| alarm(d, |a| a.mute = true),
            real,
        ),
        case(
            "an alert that fires late",
            Right::Fails("alert", fires_late),
            late,
            real,
        ),
        case(
            "an alert that fires for another instance",
            Right::Fails("alert", |s| {
                says(
                    s.failed("alert")?,
                    &[
                        "did not fire within 10 s",
                        s.victim()?,
                        "it fired with {instance=",
                    ],
                )
            }),
            |d| alarm(d, |a| a.mistaken = true),
            real,
        ),
        case(
            "an alert that never resolves",
            Right::Fails("alert", |s| {
                says(
                    s.failed("alert")?,
                    &[
                        DOWN,
                        s.victim()?,
                        "was still firing",
                        "after the fault was over, limit 12 s",
                    ],
                )
            }),
            |d| alarm(d, |a| a.stuck = true),
            real,
        ),
        case(
            "a false alarm before any fault",
            Right::Fails("alert", |s| false_alarm(s, DOWN)),
            |d| early(d, DOWN),
            real,
        ),
        case(
            "something else fires before any fault",
            Right::Fails("alert", |s| false_alarm(s, "TargetMissing")),
            |d| early(d, "TargetMissing"),
            real,
        ),
        case(
            "an alert that fires in time and is gone in time",
            Right::Healthy,
            |d| alarm(d, |_| ()),
            real,
        ),
        case(
            "an alert whose condition is gone for one look, so that it waits anew",
            Right::Healthy,
            |d| alarm(d, |a| a.blinks_us = Some(1_500_000)),
            "",
        ),
    ]
}

/// An instance dies and takes ten seconds to come back, or hangs for as long; its alert waits for some of them.
fn alarm(dice: &mut Dice, change: impl Fn(&mut Alarm)) -> World {
    let mut text = Text::usual(dice);
    text.rate = dice.between(40.0, 60.0);
    text.hold = 46;
    text.observe = "{ alertmanager: 'http://127.0.0.1:9093' }";
    let (at, who) = (dice.between(5.0, 8.0), dice.whole(1, text.instances));
    text.faults = match dice.below(2) {
        0 => format!("[ {{ at: {at:.2}s, kill: {{ name: shop-{who} }} }} ]"),
        _ => format!("[ {{ at: {at:.2}s, for: 12s, freeze: {{ name: shop-{who} }} }} ]"),
    };
    text.expect = format!(
        "[ alert: {{ name: {DOWN}, labels: {{ instance: '{{instance}}' }}, fires-within: 10s, resolves-within: 12s }} ]"
    );
    let mut world = healthy(text.scenario(), 0);
    world.service.start_us = (dice.between(8.0, 10.0) * 1e6) as u64;
    let mut alarm = Alarm {
        waits_us: (dice.between(2.0, 4.0) * 1e6) as u64,
        lingers_us: (dice.between(1.0, 4.0) * 1e6) as u64,
        ..Alarm::default()
    };
    change(&mut alarm);
    world.alarm = Some(alarm);
    world
}

/// Its rule waits for longer than was promised, and what it tells of lasts for longer still.
fn late(dice: &mut Dice) -> World {
    let waits = dice.between(11.0, 14.0);
    let mut world = alarm(dice, |a| a.waits_us = (waits * 1e6) as u64);
    world.service.start_us = 18 * S;
    for fault in &mut world.scenario.faults {
        fault.lasts = fault.lasts.map(|_| std::time::Duration::from_secs(18));
    }
    world
}

fn fires_late(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("alert")?;
    says(verdict, &["fired only", seen.victim()?, "limit 10 s"])?;
    let told = number_after(&verdict.because, "fired only ")?;
    near("time until it fired", told, 13.5, 4.0)
}

fn early(dice: &mut Dice, name: &'static str) -> World {
    let at = dice.between(1.5, 4.0);
    alarm(dice, |a| a.false_one = Some((name, at)))
}

fn false_alarm(seen: &Seen<'_>, name: &str) -> Result<(), String> {
    let verdict = seen.failed("alert")?;
    says(verdict, &[name, "fired at", "before any fault"])?;
    let told = number_after(&verdict.because, "fired at ")?;
    near("time of the false alarm", told, 3.0, 2.6)
}
