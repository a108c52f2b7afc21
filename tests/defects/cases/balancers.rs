//! Balancers with one defect each.

use std::collections::BTreeMap;

use crate::case::{Case, Make, Right, Seen, Text, fact, near, number_after, says};
use crate::sim::{Dice, OnTerm, Policy, Service, World, healthy};

pub fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "one instance starved: it gets no connection",
            right: Right::Fails("balance", starved_named),
            make: Make::World(starved),
            real: "`tests/balance.rs`",
        },
        Case {
            name: "one instance gets twice its share of connections",
            right: Right::Fails("balance", heavy_named),
            make: Make::World(heavy),
            real: "`tests/balance.rs`",
        },
        Case {
            name: "one instance gets half of its share of requests, behind a proxy",
            right: Right::Fails("balance", light_named),
            make: Make::World(light),
            real: "",
        },
        Case {
            name: "sticky by source: one address, one instance",
            right: Right::Fails("balance", sticky_named),
            make: Make::World(sticky),
            real: "`tests/balance.rs`",
        },
        Case {
            name: "affinity to the client's address is lost",
            right: Right::Fails("balance", moved),
            make: Make::World(affinity_lost),
            real: "",
        },
        Case {
            name: "a balancer that keeps a dead instance",
            right: Right::Fails("balance", dead_named),
            make: Make::World(keeps_dead),
            real: "",
        },
        Case {
            name: "endpoint removed late after a kill",
            right: Right::Fails("recovery", listed_for),
            make: Make::World(removed_late),
            real: "",
        },
        Case {
            name: "retries that hide the failures of a dead instance that stays listed",
            right: Right::Fails("recovery", hidden_but_listed),
            make: Make::World(retries_hide),
            real: "",
        },
        Case {
            name: "new connections to an instance that has left the set",
            right: Right::Fails("balance", stray_named),
            make: Make::World(stale),
            real: "",
        },
        Case {
            name: "least-request that does not look at who is busy",
            right: Right::Fails("balance", slow_not_spared),
            make: Make::World(|d| blind(d, 100)),
            real: "",
        },
        Case {
            name: "the same with fewer requests than it takes to tell",
            right: Right::FailsOrUnsure("balance"),
            make: Make::World(|d| blind(d, 34)),
            real: "",
        },
    ]
}

const BY_CONNECTION: &str = "[ balance: { by: connection } ]";

fn weighted(dice: &mut Dice, weight: f64) -> World {
    let mut text = Text::usual(dice);
    text.connections = "per-request";
    text.expect = BY_CONNECTION.into();
    let mut world = healthy(text.scenario(), 0);
    let odd = dice.below(text.instances as usize);
    world.balancer.policy = Policy::Weights(BTreeMap::from([(odd, weight)]));
    world
}

/// The instance with the fewest connections in truth.
fn fewest<'a>(seen: &'a Seen<'_>) -> &'a str {
    let got = |name: &&String| seen.truth.connections.get(*name).copied().unwrap_or(0);
    let names = seen.truth.instances.iter();
    names.min_by_key(got).map_or("", String::as_str)
}

/// The instance with the most connections in truth.
fn most<'a>(seen: &'a Seen<'_>) -> &'a str {
    let got = |name: &&String| seen.truth.connections.get(*name).copied().unwrap_or(0);
    let names = seen.truth.instances.iter();
    names.max_by_key(got).map_or("", String::as_str)
}

fn starved(dice: &mut Dice) -> World {
    weighted(dice, 0.0)
}

fn starved_named(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("balance")?;
    let name = fewest(seen);
    says(verdict, &[&format!("{name} got none of")])?;
    let of = number_after(&verdict.because, "got none of ")?;
    near("connections", of, seen.truth.ended as f64, 1.0)
}

fn heavy(dice: &mut Dice) -> World {
    let weight = dice.between(1.8, 2.4);
    weighted(dice, weight)
}

fn heavy_named(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("balance")?;
    let name = most(seen);
    let got = seen.truth.connections[name] as f64;
    let all: u64 = seen.truth.connections.values().sum();
    says(verdict, &[&format!("{name} got "), "times its fair share"])?;
    let share = number_after(&verdict.because, &format!("{name} got "))?;
    near("share in percent", share, 100.0 * got / all as f64, 1.0)
}

fn light(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.expect = "[ balance: { by: request } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.balancer.by_request = true;
    let odd = dice.below(text.instances as usize);
    let weight = dice.between(0.4, 0.55);
    world.balancer.policy = Policy::Weights(BTreeMap::from([(odd, weight)]));
    world
}

fn light_named(seen: &Seen<'_>) -> Result<(), String> {
    let answered = |name: &String| -> u64 {
        let steps = seen.record().intervals.iter().flat_map(|i| &i.second.steps);
        steps
            .filter_map(|s| s.instances.get(name))
            .map(|i| i.answered)
            .sum()
    };
    let name = seen.truth.instances.iter().min_by_key(|n| answered(n));
    let verdict = seen.failed("balance")?;
    says(
        verdict,
        &[
            name.map_or("", String::as_str),
            "request",
            "times its fair share",
        ],
    )
}

fn sticky(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.connections = ["per-request", "per-user"][dice.below(2)];
    text.expect = BY_CONNECTION.into();
    let mut world = healthy(text.scenario(), 0);
    world.balancer.policy = Policy::Source;
    world
}

fn sticky_named(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("balance")?;
    let only = most(seen);
    says(verdict, &["connections"])?;
    fact(verdict, "one for all")?;
    let told = fact(verdict, only)?;
    let got = number_after(told, "")?;
    near(
        "connections of the only one",
        got,
        seen.truth.connections[only] as f64,
        0.5,
    )
}

fn affinity_lost(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.connections = "per-request";
    text.expect = "[ balance: { by: connection, kind: { client-ip: 10800s } } ]".into();
    healthy(text.scenario(), 0)
}

fn moved(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("balance")?;
    says(
        verdict,
        &["the client moved from shop-", "could still be chosen"],
    )
}

/// The world crashes an instance, and nobody takes it out.
fn keeps_dead(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.connections = "per-request";
    text.expect = BY_CONNECTION.into();
    let mut world = healthy(text.scenario(), 0);
    world.balancer.keeps_dead = true;
    world.service.restarts = false;
    world.crashes = vec![(dice.between(5.0, 9.0), dice.below(text.instances as usize))];
    world
}

fn dead_named(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("balance")?;
    let (name, _) = &seen.truth.died[0];
    says(
        verdict,
        &[
            "the balancer keeps a dead instance",
            name,
            "still listed when traffic ended",
        ],
    )?;
    let failed = number_after(&verdict.because, "later; ")?;
    near(
        "failures meanwhile",
        failed,
        seen.truth.all_failed() as f64,
        0.5,
    )
}

fn removed_late(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.hold = 36;
    let (at, who) = (dice.between(4.0, 6.0), dice.whole(1, text.instances));
    text.faults = format!("[ {{ at: {at:.2}s, kill: {{ name: shop-{who} }} }} ]");
    text.expect =
        "[ recovery: { within: 30s, slo: [ errors < 50% ], endpoint-removed-within: 5s } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.balancer.spreads_us = (dice.between(10.0, 18.0) * 1e6) as u64;
    world
}

fn listed_for(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("recovery")?;
    let victim = seen.victim()?;
    says(
        verdict,
        &[
            "the balancer listed the instance for",
            &format!("kill of {victim}"),
            "limit 5 s",
        ],
    )?;
    let told = number_after(&verdict.because, "listed the instance for ")?;
    let removed = seen.record().events.iter().find_map(|e| match &e.what {
        squall::record::What::Endpoints { ready } => {
            let gone = e.at > seen.truth.hit[0].1 && !ready.iter().any(|n| n == victim);
            gone.then_some(e.at)
        }
        _ => None,
    });
    let removed = removed.ok_or("never removed in truth")?;
    near(
        "time listed",
        told,
        (removed - seen.truth.hit[0].1) as f64 / 1e6,
        0.1,
    )
}

/// A proxy tries another instance, so that no user ever sees the dead one; each retry costs its time, and one more
/// death would be felt.
fn retries_hide(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    let (at, who) = (dice.between(4.0, 6.0), dice.whole(1, text.instances));
    text.faults = format!("[ {{ at: {at:.2}s, kill: {{ name: shop-{who} }} }} ]");
    text.expect =
        "[ errors < 1%, p99 < 500ms, recovery: { within: 20s, endpoint-removed-within: 10s } ]"
            .into();
    let mut world = healthy(text.scenario(), 0);
    world.balancer.by_request = true;
    world.balancer.keeps_dead = true;
    world.balancer.retries = 8;
    world
}

fn hidden_but_listed(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("recovery")?;
    says(
        verdict,
        &["the balancer still listed", seen.victim()?, "limit 10 s"],
    )?;
    match seen.of("slo")?.verdict {
        squall::judge::Ruling::Pass => Ok(()),
        other => Err(format!("retries did not hide it: slo {other:?}")),
    }
}

/// The set says that the instance has left, and the table that packets follow does not.
fn stale(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.connections = "per-request";
    let (at, who) = (dice.between(4.0, 6.0), dice.whole(1, text.instances));
    text.faults = format!("[ {{ at: {at:.2}s, stop: {{ name: shop-{who}, grace: 16s }} }} ]");
    text.expect = BY_CONNECTION.into();
    let mut world = healthy(text.scenario(), 0);
    world.balancer.stale = true;
    world.service.on_term = OnTerm::Drain;
    world
}

fn stray_named(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("balance")?;
    let victim = seen.victim()?;
    says(
        verdict,
        &[&format!(
            "went to {victim} in a time when the balancer's set did not have it"
        )],
    )
}

fn slow(dice: &mut Dice) -> Service {
    Service {
        work_us: dice.between(180.0, 260.0) * 1e3,
        workers: 64,
        ..Service::default()
    }
}

/// To tell a fair share from 0.9 of it takes 5,300 requests to three instances; in so many seconds there are 11,000, or
/// 4,000.
fn blind(dice: &mut Dice, seconds: u64) -> World {
    let mut text = Text::usual(dice);
    text.instances = 3;
    text.rate = dice.between(110.0, 130.0);
    text.hold = seconds;
    text.expect = "[ balance: { by: request, kind: least-request } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.balancer.by_request = true;
    world.service.work_us = dice.between(50.0, 60.0) * 1e3;
    world.service.workers = 64;
    world.odd.insert(dice.below(3), slow(dice));
    world
}

fn slow_not_spared(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("balance")?;
    says(
        verdict,
        &[
            "times as slowly as the others",
            "a balancer that prefers the least busy",
        ],
    )?;
    let named = verdict.because.split(' ').next().unwrap_or("");
    let median = |name: &str| {
        let told = fact(verdict, &format!("{name} median service time"))?;
        number_after(told, "")
    };
    for other in &seen.truth.instances {
        if other != named && median(other)? >= median(named)? {
            return Err(format!("{named} is not slower than {other}"));
        }
    }
    Ok(())
}
