//! Healthy, and awkward: nothing may fail here.

use crate::case::{Case, Make, Right, Text};
use crate::sim::{Dice, Policy, S, Service, World, healthy};

pub fn cases() -> Vec<Case> {
    let case = |name, world, real| Case {
        name,
        right: Right::Healthy,
        make: Make::World(world),
        real,
    };
    let small = |name, world| Case {
        name,
        right: Right::TooLittle,
        make: Make::World(world),
        real: "",
    };
    vec![
        case(
            "instances that drain, stopped one after another",
            rolling_stops as fn(&mut Dice) -> World,
            "`tests/main_job.rs`, `tests/kubernetes`",
        ),
        case(
            "a rollout in the middle, of instances that drain",
            rollout,
            "`tests/kubernetes`",
        ),
        case(
            "a graceful stop of a service that fails now and then anyway",
            stop_amid_errors,
            "",
        ),
        case(
            "a kill, found out at once, replaced in time",
            plain_kill,
            "`tests/main_job.rs`",
        ),
        case(
            "a kill with a slow start of the replacement, carried by the others",
            slow_start,
            "",
        ),
        case(
            "a kill that the platform tells two seconds late",
            seen_late,
            "",
        ),
        case(
            "a hung instance, let go in time and taken back",
            freeze,
            "`tests/local_platform`",
        ),
        case("a delay on one instance, felt and over", delay, ""),
        case(
            "resets on one instance, under a bound that allows them",
            resets,
            "",
        ),
        case("two faults, one after another", two_faults, ""),
        case("one instance half as fast again", uneven, ""),
        case("a long tail below its bound", long_tail, ""),
        case("errors at half of what is allowed", some_errors, ""),
        case(
            "a noisy machine: the generator stalls now and then",
            noisy,
            "",
        ),
        case("bursts: Poisson arrivals at high use", bursts, ""),
        case("a closed loop of users who think", users, ""),
        case(
            "random choice by connection, as iptables makes it",
            random_choice,
            "`tests/balance.rs`, `tests/kubernetes`",
        ),
        case(
            "round robin by connection, as IPVS makes it",
            in_turn,
            "`tests/balance.rs`",
        ),
        case(
            "ten instances, random choice, at the sample size asked for",
            ten,
            "",
        ),
        case("least-request around a slow instance", least_request, ""),
        case("least-request among equals", least_request_equal, ""),
        case("client affinity that holds", affinity, ""),
        case(
            "balance through a restart in place",
            balance_through_restart,
            "",
        ),
        case(
            "balance while an instance comes, with new connections",
            balance_scaled,
            "",
        ),
        case(
            "requests balanced by a proxy over few connections",
            proxy_few_connections,
            "",
        ),
        small("few long connections, balanced by connection", few_long),
        small(
            "tiny samples: five requests a second for twelve seconds",
            tiny,
        ),
        small("a fault so late that recovery has no time", late_fault),
    ]
}

fn kill(dice: &mut Dice, text: &Text, from: f64, to: f64) -> String {
    let (at, who) = (dice.between(from, to), dice.whole(1, text.instances));
    format!("[ {{ at: {at:.2}s, kill: {{ name: shop-{who} }} }} ]")
}

fn stops(dice: &mut Dice, instances: u64, apart: f64) -> String {
    let at = dice.between(4.0, 6.0);
    let each = (0..instances).map(|i| {
        let at = at + apart * i as f64;
        format!(
            "{{ at: {at:.2}s, stop: {{ name: shop-{}, grace: 10s }} }}",
            i + 1
        )
    });
    format!("[ {} ]", each.collect::<Vec<_>>().join(", "))
}

fn rolling_stops(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.instances = 3;
    text.hold = 34;
    let apart = dice.between(6.0, 8.0);
    text.faults = stops(dice, 3, apart);
    text.expect = "[ errors < 1%, recovery: { within: 5s } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.service.work_us = dice.between(10.0, 120.0) * 1e3;
    world.service.workers = 64;
    world.balancer.spreads_us = (dice.between(0.001, 1.5) * 1e6) as u64;
    world
}

fn rollout(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.connections = ["per-user", "per-request"][dice.below(2)];
    text.expect = "[ errors < 1%, p99 < 250ms ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.service.on_term = crate::sim::OnTerm::Drain;
    world.rollout = Some((dice.between(5.0, 8.0), dice.between(2.0, 4.0)));
    world.balancer.spreads_us = (dice.between(0.05, 1.0) * 1e6) as u64;
    world
}

fn stop_amid_errors(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.faults = stops(dice, 2, 8.0);
    text.expect = "[ recovery: { within: 10s, slo: [ errors < 5% ] } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.service.errors = dice.between(0.002, 0.015);
    world
}

fn plain_kill(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.faults = kill(dice, &text, 5.0, 9.0);
    text.expect =
        "[ errors < 5%, p95 < 250ms, recovery: { within: 10s, slo: [ errors < 1% ] } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.balancer.notices_us = (dice.between(0.002, 1.0) * 1e6) as u64;
    world
}

fn slow_start(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.hold = 36;
    text.faults = kill(dice, &text, 5.0, 7.0);
    text.expect =
        "[ errors < 5%, recovery: { within: 8s, slo: [ errors < 1%, p95 < 250ms ] } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.service.start_us = (dice.between(10.0, 18.0) * 1e6) as u64;
    world.service.cold = Some((3 * S, dice.between(1.5, 3.0)));
    world
}

fn seen_late(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.faults = kill(dice, &text, 5.0, 9.0);
    text.expect = "[ recovery: { within: 10s, slo: [ errors < 1% ] } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.balancer.notices_us = (dice.between(0.5, 1.0) * 1e6) as u64;
    world.balancer.seen_us = (dice.between(0.5, 2.0) * 1e6) as u64;
    world
}

fn freeze(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.timeout = "1s";
    let (at, who) = (dice.between(5.0, 7.0), dice.whole(1, text.instances));
    let kind = ["freeze", "black-hole"][dice.below(2)];
    text.faults = format!("[ {{ at: {at:.2}s, for: 7s, {kind}: {{ name: shop-{who} }} }} ]");
    text.expect = "[ errors < 10%, recovery: { within: 8s, slo: [ errors < 1% ] } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.balancer.finds_hung_us = Some((dice.between(0.5, 1.8) * 1e6) as u64);
    world
}

fn delay(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    let (at, who) = (dice.between(5.0, 7.0), dice.whole(1, text.instances));
    text.faults =
        format!("[ {{ at: {at:.2}s, for: 6s, delay: {{ name: shop-{who}, latency: 200ms }} }} ]");
    text.expect = "[ errors < 1%, recovery: { within: 6s, slo: [ p90 < 150ms ] } ]".into();
    healthy(text.scenario(), 0)
}

fn resets(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.connections = "per-request";
    let (at, who) = (dice.between(5.0, 7.0), dice.whole(1, text.instances));
    text.faults =
        format!("[ {{ at: {at:.2}s, for: 6s, reset: {{ name: shop-{who}, share: 50% }} }} ]");
    text.expect = "[ errors < 15%, recovery: { within: 6s, slo: [ errors < 1% ] } ]".into();
    healthy(text.scenario(), 0)
}

fn two_faults(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.instances = 4;
    text.hold = 40;
    let (first, second) = (dice.between(5.0, 7.0), dice.between(20.0, 22.0));
    text.faults = format!(
        "[ {{ at: {first:.2}s, kill: {{ name: shop-1 }} }}, {{ at: {second:.2}s, stop: {{ name: shop-3, grace: 10s }} }} ]"
    );
    text.expect =
        "[ errors < 5%, p95 < 250ms, recovery: { within: 10s, slo: [ errors < 1% ] } ]".into();
    healthy(text.scenario(), 0)
}

fn uneven(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.connections = ["per-user", "per-request"][dice.below(2)];
    text.expect = "[ p99 < 250ms, errors < 1% ]".into();
    let mut world = healthy(text.scenario(), 0);
    let slower = Service {
        work_us: dice.between(12.0, 40.0) * 1e3,
        ..Service::default()
    };
    world.odd.insert(dice.below(3), slower);
    world
}

fn long_tail(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.expect = "[ p95 < 250ms, p99 < 400ms, errors < 1% ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.service.work_us = dice.between(40.0, 60.0) * 1e3;
    world.service.shape = 1;
    world.service.workers = 64;
    world
}

fn some_errors(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.faults = kill(dice, &text, 6.0, 9.0);
    text.expect = "[ errors < 3%, recovery: { within: 10s, slo: [ errors < 2% ] } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.service.errors = dice.between(0.005, 0.01);
    world
}

fn noisy(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.expect = "[ p95 < 250ms, errors < 1% ]".into();
    let mut world = healthy(text.scenario(), 0);
    // One second in so many is spoiled: a neighbour takes the core for a moment.
    let stalls = 1 + dice.below(1);
    world.generator.stalls = (0..stalls)
        .map(|_| {
            let at = dice.between(3.0, 22.0);
            (at, at + dice.between(0.05, 0.4))
        })
        .collect();
    world
}

fn bursts(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.process = "poisson";
    text.faults = kill(dice, &text, 6.0, 9.0);
    text.expect =
        "[ p95 < 400ms, recovery: { within: 10s, slo: [ p95 < 400ms, errors < 2% ] } ]".into();
    let mut world = healthy(text.scenario(), 0);
    // Two of three in use, and all of it in bursts.
    let capacity = text.rate / (text.instances - 1) as f64 / dice.between(0.55, 0.7);
    world.service.workers = 4;
    world.service.work_us = 4.0 / capacity * 1e6;
    world
}

fn users(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    let users = dice.whole(20, 40);
    text.users = Some(format!(
        "{{ think: exp(300ms), stages: [ {{ users: {users}, hold: 28s }} ] }}"
    ));
    text.expect = format!("[ p99 < 250ms, errors < 1%, throughput > {}/s ]", users * 2);
    healthy(text.scenario(), 0)
}

fn by_connection(dice: &mut Dice) -> Text {
    let mut text = Text::usual(dice);
    text.connections = "per-request";
    text.expect = "[ errors < 1%, balance: { by: connection } ]".into();
    text
}

fn random_choice(dice: &mut Dice) -> World {
    healthy(by_connection(dice).scenario(), 0)
}

fn in_turn(dice: &mut Dice) -> World {
    let mut world = healthy(by_connection(dice).scenario(), 0);
    world.balancer.policy = Policy::InTurn;
    world
}

fn ten(dice: &mut Dice) -> World {
    let mut text = by_connection(dice);
    text.instances = 10;
    text.rate = 300.0;
    // 7,200 choices are asked for.
    text.hold = dice.whole(26, 28);
    healthy(text.scenario(), 0)
}

fn least_request(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.instances = 3;
    text.rate = dice.between(110.0, 130.0);
    text.hold = 34;
    text.expect = "[ balance: { by: request, kind: least-request } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.balancer.by_request = true;
    world.balancer.policy = Policy::LeastBusy;
    world.service.work_us = dice.between(50.0, 60.0) * 1e3;
    world.service.workers = 64;
    let slow = Service {
        work_us: dice.between(180.0, 260.0) * 1e3,
        workers: 64,
        ..Service::default()
    };
    world.odd.insert(dice.below(3), slow);
    world
}

fn least_request_equal(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.expect = "[ balance: { by: request, kind: least-request } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.balancer.by_request = true;
    world.balancer.policy = Policy::LeastBusy;
    world.service.work_us = dice.between(20.0, 60.0) * 1e3;
    world
}

fn affinity(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.connections = "per-request";
    text.expect = "[ balance: { by: connection, kind: { client-ip: 10800s } } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.balancer.policy = Policy::Source;
    world
}

fn balance_through_restart(dice: &mut Dice) -> World {
    let mut text = by_connection(dice);
    text.instances = 3;
    text.hold = 34;
    text.faults = kill(dice, &text, 6.0, 12.0);
    text.expect = "[ errors < 5%, balance: { by: connection } ]".into();
    healthy(text.scenario(), 0)
}

fn balance_scaled(dice: &mut Dice) -> World {
    let mut text = by_connection(dice);
    text.instances = 3;
    text.hold = 36;
    text.rate = dice.between(150.0, 170.0);
    let mut world = healthy(text.scenario(), 0);
    world.scaled = vec![(dice.between(5.0, 8.0), 4)];
    world
}

fn proxy_few_connections(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.connections = "{ pooled: 12 }";
    text.expect = "[ errors < 1%, balance: { by: request } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.balancer.by_request = true;
    world
}

fn few_long(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.expect = "[ balance: { by: connection } ]".into();
    healthy(text.scenario(), 0)
}

fn tiny(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.rate = 5.0;
    text.hold = 12;
    text.expect = "[ p99 < 250ms, errors < 1%, balance: { by: request } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.service.errors = 0.0;
    world
}

fn late_fault(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.hold = 20;
    let who = dice.whole(1, text.instances);
    text.faults = format!(
        "[ {{ at: {:.2}s, kill: {{ name: shop-{who} }} }} ]",
        dice.between(18.2, 19.4)
    );
    text.expect = "[ recovery: { within: 10s, slo: [ errors < 1% ] } ]".into();
    healthy(text.scenario(), 0)
}
