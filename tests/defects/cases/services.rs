//! Services with one defect each.

use squall::judge::Verdict;

use crate::case::{Case, Make, Right, Seen, Text, fact, near, number_after, says, time_of};
use crate::sim::{Dice, Leak, Liveness, MS, OnTerm, S, Service, World, healthy};

pub fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "no graceful drain: it ends at once when told to",
            right: Right::Fails("recovery", lost_by_a_stop),
            make: Make::World(no_drain),
            real: "`squall demo --defect no-drain`: `tests/demo.rs`, `tests/kubernetes`",
        },
        Case {
            name: "endpoint removed late: it takes no more connections while it is still listed",
            right: Right::Fails("recovery", lost_by_a_stop),
            make: Make::World(closes_before_it_is_let_go),
            real: "",
        },
        Case {
            name: "readiness true too early, after a restart",
            right: Right::Fails("recovery", early_named),
            make: Make::World(ready_too_early),
            real: "",
        },
        Case {
            name: "readiness never checked: a hung instance stays listed",
            right: Right::Fails("recovery", still_listed),
            make: Make::World(readiness_unchecked),
            real: "",
        },
        Case {
            name: "a liveness probe that kills under load",
            right: Right::Fails("slo", under_load),
            make: Make::World(liveness_kills),
            real: "",
        },
        Case {
            name: "200 with an empty body",
            right: Right::Fails("slo", |s| mostly(s, "check")),
            make: Make::World(empty_bodies),
            real: "",
        },
        Case {
            name: "one instance slow",
            right: Right::Fails("slo", slow_named),
            make: Make::World(one_slow),
            real: "`tests/main_job.rs`",
        },
        Case {
            name: "one instance answers 500 now and then",
            right: Right::Fails("slo", failing_named),
            make: Make::World(one_failing),
            real: "`tests/main_job.rs` (all instances)",
        },
        Case {
            name: "a memory leak: one instance slower and slower until it is killed",
            right: Right::Fails("slo", leak_named),
            make: Make::World(leaks),
            real: "",
        },
        Case {
            name: "one step of the journey fails",
            right: Right::Fails("slo", step_named),
            make: Make::World(one_step_fails),
            real: "",
        },
        Case {
            name: "all stands still for a moment every few seconds",
            right: Right::Fails("slo", |s| {
                says(s.failed("slo")?, &["p99 was", "worst from"])
            }),
            make: Make::World(pauses),
            real: "",
        },
        Case {
            name: "kept-alive connections closed without notice",
            right: Right::Fails("slo", |s| mostly(s, "closed")),
            make: Make::World(closes_idle),
            real: "",
        },
        Case {
            name: "overload answered with 503",
            right: Right::Fails("slo", |s| mostly(s, "status 503")),
            make: Make::World(overloaded),
            real: "",
        },
        Case {
            name: "less throughput than promised",
            right: Right::Fails("slo", |s| says(s.failed("slo")?, &["throughput was"])),
            make: Make::World(too_little_throughput),
            real: "",
        },
    ]
}

fn stops(dice: &mut Dice, instances: u64) -> String {
    let at = dice.between(4.0, 6.0);
    let apart = dice.between(6.0, 7.5);
    let each = (0..instances.min(3)).map(|i| {
        let at = at + apart * i as f64;
        format!(
            "{{ at: {at:.2}s, stop: {{ name: shop-{}, grace: 10s }} }}",
            i + 1
        )
    });
    format!("[ {} ]", each.collect::<Vec<_>>().join(", "))
}

/// Each instance is told to end, with enough under way at each that some of it must break.
fn no_drain(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.instances = 3;
    text.rate = dice.between(120.0, 170.0);
    text.faults = stops(dice, 3);
    text.expect = "[ recovery: { within: 5s, slo: [ errors < 5% ] } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.service.work_us = dice.between(100.0, 150.0) * 1e3;
    world.service.workers = 64;
    world.service.on_term = OnTerm::Exit;
    world
}

fn closes_before_it_is_let_go(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.faults = stops(dice, 2);
    text.expect = "[ recovery: { within: 12s, slo: [ errors < 5% ] } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.service.on_term = OnTerm::Close;
    world.balancer.spreads_us = (dice.between(1.0, 4.0) * 1e6) as u64;
    world
}

/// A stop is named that hit somebody, and so many failures as there were at most.
fn lost_by_a_stop(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("recovery")?;
    says(
        verdict,
        &["a graceful stop must cost no request", "stop of shop-"],
    )?;
    let named = seen.truth.hit.iter().find(|(name, at)| {
        let told = format!("stop of {name} at");
        verdict.because.contains(&told) && *at > seen.truth.start_us
    });
    let (name, at) =
        named.ok_or_else(|| format!("names nobody who was hit: {}", verdict.because))?;
    let lost = number_after(&verdict.because, "but ")?;
    if lost < 1.0 || lost > seen.truth.all_failed() as f64 {
        return Err(format!("{lost} lost, {} in truth", seen.truth.all_failed()));
    }
    let told = number_after(&verdict.because, &format!("stop of {name} at"))?;
    // A stop counts from when it is done: when the instance has ended.
    near("time of the stop", told, seen.since_start(*at), 10.5)
}

pub fn one_kill(dice: &mut Dice, text: &mut Text) {
    let at = dice.between(5.0, 8.0);
    let who = dice.whole(1, text.instances);
    text.faults = format!("[ {{ at: {at:.2}s, kill: {{ name: shop-{who} }} }} ]");
}

fn ready_too_early(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    // Each connection is new: the replacement is felt from its first moment on.
    text.connections = "per-request";
    one_kill(dice, &mut text);
    text.expect = "[ errors < 1%, recovery: { within: 5s } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.service.start_us = (dice.between(8.0, 14.0) * 1e6) as u64;
    world.service.says_ready_us = Some((dice.between(0.2, 1.0) * 1e6) as u64);
    world
}

fn early_named(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("recovery")?;
    let victim = seen.victim()?;
    says(verdict, &[&format!("kill of {victim}"), "limit 5 s"])?;
    let errors = seen.failed("slo")?;
    says(errors, &[&format!("on {victim}-r1"), "status 503"])?;
    let (_, killed) = &seen.truth.hit[0];
    let restored = time_of(verdict, "restored")?;
    let last = time_of(verdict, "last error")?;
    if last < *killed + 5 * S || restored < *killed + 5 * S {
        return Err(format!("restored at {restored}, killed at {killed}"));
    }
    Ok(())
}

fn readiness_unchecked(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    let (at, who) = (dice.between(5.0, 8.0), dice.whole(1, text.instances));
    text.faults = format!("[ {{ at: {at:.2}s, for: 14s, freeze: {{ name: shop-{who} }} }} ]");
    text.expect =
        "[ recovery: { within: 5s, slo: [ errors < 5% ], endpoint-removed-within: 6s } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.balancer.finds_hung_us = None;
    world
}

fn still_listed(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("recovery")?;
    let victim = seen.victim()?;
    says(verdict, &["still listed", victim, "limit 6 s"])?;
    near(
        "time listed",
        number_after(&verdict.because, victim)?,
        14.0,
        0.2,
    )
}

/// Load grows beyond what the instances hold; probes then wait longer than they may, and the restarts do the rest.
fn liveness_kills(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.instances = 3;
    text.rate = dice.between(118.0, 135.0);
    text.process = "poisson";
    let mut world = healthy(text.scenario(), 0);
    world.service.work_us = 70_000.0;
    world.service.workers = 3;
    world.service.start_us = 2 * S;
    world.service.liveness = Some(Liveness {
        timeout_us: 200 * MS,
        failures: 2,
    });
    world.balancer.notices_us = 300 * MS;
    // What makes the first one late: a burst that a probe with more patience would have outlived.
    world.odd.insert(
        dice.below(3),
        Service {
            pause: Some((12 * S, 2_500 * MS)),
            ..world.service.clone()
        },
    );
    world
}

fn under_load(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("slo")?;
    if seen.truth.died.len() < 2 {
        return Err("the world did not kill anybody".into());
    }
    says(verdict, &["errors were", "worst from"])?;
    let first = seen.truth.died[0].1;
    match time_of(verdict, "worst second")? + 2 * S >= first {
        true => Ok(()),
        false => Err("the worst second is before the first restart".into()),
    }
}

fn empty_bodies(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.journey = "[ { get: /products, check: { body: { contains: items } } } ]";
    let mut world = healthy(text.scenario(), 0);
    world.service.empty = dice.between(0.025, 0.1);
    world
}

/// The kind of error that prevails, and how many there were: exactly.
fn mostly(seen: &Seen<'_>, kind: &str) -> Result<(), String> {
    let verdict = seen.failed("slo")?;
    says(verdict, &["errors were", &format!("mostly {kind}")])?;
    let failed = number_after(fact(verdict, "arithmetic")?, "")?;
    near("failures", failed, seen.truth.all_failed() as f64, 0.5)
}

fn one_slow(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    // Of few kept connections it may hold so few that nine of ten requests never meet it.
    text.connections = "per-request";
    text.expect = "[ p90 < 100ms ]".into();
    let mut world = healthy(text.scenario(), 0);
    let slow = Service {
        work_us: dice.between(200.0, 500.0) * 1e3,
        workers: 64,
        ..Service::default()
    };
    world.odd.insert(dice.below(3), slow);
    world
}

/// The instance with this much of the trouble.
fn culprit<'a>(verdict: &'a Verdict, seen: &'a Seen<'_>) -> Result<&'a str, String> {
    let names = seen.truth.instances.iter();
    let mut on = names.filter(|name| {
        let told = format!("of it on {name}");
        verdict.because.ends_with(&told) || verdict.because.contains(&format!("{told},"))
    });
    on.next()
        .map(String::as_str)
        .ok_or_else(|| format!("names nobody: {}", verdict.because))
}

fn slow_named(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("slo")?;
    says(verdict, &["p90 was", "limit 100 ms"])?;
    let slow = culprit(verdict, seen)?;
    // The one with the longest service times in the record is the one that was made slow.
    let means = |name: &str| {
        let seconds = seen.record().intervals.iter().flat_map(|i| &i.histograms);
        let own = seconds.filter_map(|h| h.instances.get(name));
        own.map(|h| h.mean()).fold(0.0, f64::max)
    };
    let worst = seen
        .truth
        .instances
        .iter()
        .max_by(|a, b| means(a).total_cmp(&means(b)));
    match worst.is_some_and(|w| w == slow) {
        true => Ok(()),
        false => Err(format!("blames {slow}, {worst:?} is the slow one")),
    }
}

fn one_failing(dice: &mut Dice) -> World {
    let mut world = healthy(Text::usual(dice).scenario(), 0);
    let failing = Service {
        errors: dice.between(0.12, 0.3),
        ..Service::default()
    };
    world.odd.insert(dice.below(3), failing);
    world
}

fn failing_named(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("slo")?;
    says(verdict, &["mostly status 500"])?;
    let named = culprit(verdict, seen)?;
    let on_it = seen.truth.failed_on(named);
    if on_it != seen.truth.all_failed() {
        return Err(format!(
            "blames {named} with {on_it} of {}",
            seen.truth.all_failed()
        ));
    }
    mostly(seen, "status 500")
}

fn one_step_fails(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.rate = dice.between(40.0, 60.0);
    text.journey = "[ get: /products, { get: /cart, name: cart }, { get: /pay, name: pay } ]";
    text.expect = "[ { slo: errors < 1%, step: pay }, { slo: errors < 1%, step: cart } ]".into();
    let mut world = healthy(text.scenario(), 0);
    world.service.bad_step = Some((2, dice.between(0.03, 0.2)));
    world
}

fn step_named(seen: &Seen<'_>) -> Result<(), String> {
    let failed: Vec<&Verdict> = (seen.verdicts.iter())
        .filter(|v| v.verdict == squall::judge::Ruling::Fail)
        .collect();
    match failed[..] {
        [one] => says(one, &["in step `pay`", "status 500"]),
        _ => Err(format!("{} verdicts failed, one should", failed.len())),
    }
}

fn pauses(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.expect = "[ p99 < 250ms ]".into();
    let mut world = healthy(text.scenario(), 0);
    let every = dice.between(7.0, 11.0);
    world.service.pause = Some(((every * 1e6) as u64, (dice.between(0.7, 1.4) * 1e6) as u64));
    world
}

fn closes_idle(dice: &mut Dice) -> World {
    let mut world = healthy(Text::usual(dice).scenario(), 0);
    world.service.closes_idle = dice.between(0.025, 0.1);
    world
}

fn overloaded(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.instances = 3;
    text.rate = dice.between(110.0, 130.0);
    let mut world = healthy(text.scenario(), 0);
    world.service.work_us = dice.between(60.0, 80.0) * 1e3;
    world.service.workers = 2;
    world.service.queue = dice.whole(8, 30) as usize;
    world
}

fn too_little_throughput(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    let users = dice.whole(20, 40);
    text.users = Some(format!(
        "{{ think: 100ms, stages: [ {{ users: {users}, hold: 25s }} ] }}"
    ));
    // With 10 ms of work each user would come to about 9 requests a second.
    let wanted = users as f64 * dice.between(6.0, 8.0);
    text.expect = format!("[ throughput > {wanted:.1}/s ]");
    let mut world = healthy(text.scenario(), 0);
    world.service.workers = 1;
    world.service.work_us = dice.between(70.0, 90.0) * 1e3;
    world
}

/// One of three fills its memory in twenty seconds or so, collects ever longer, and is killed.
fn leaks(dice: &mut Dice) -> World {
    let mut text = Text::usual(dice);
    text.instances = 3;
    // For the one that few connections lead to, too.
    text.hold = 48;
    text.expect = "[ p99 < 250ms, errors < 5% ]".into();
    let mut world = healthy(text.scenario(), 0);
    let room = 200u64 << 20;
    let leak = Leak {
        bytes: (room as f64 / (text.rate / 3.0 * dice.between(14.0, 20.0))) as u64,
        base: 64 << 20,
        limit: (64 << 20) + room,
        slow: dice.between(60.0, 90.0),
    };
    let leaking = Service {
        leak: Some(leak),
        workers: 64,
        ..Service::default()
    };
    world.odd.insert(dice.below(3), leaking);
    world
}

/// The worst second is one of those before a death for want of memory in which it is slower than allowed: some eight, in
/// any of which all of its requests may be. The process that follows it leaks as well.
fn leak_named(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("slo")?;
    let worst = seen.since_start(time_of(verdict, "worst second")?);
    let before = |at: u64| seen.since_start(at) - 3.5 - worst;
    let died = seen.truth.died.iter();
    let nearest = died.min_by(|a, b| before(a.1).abs().total_cmp(&before(b.1).abs()));
    let (name, died) = nearest.ok_or("nobody ran out of memory")?;
    says(verdict, &["p99 was", "worst from", &format!("on {name}")])?;
    near("worst second", worst, seen.since_start(*died) - 3.5, 5.0)
}
