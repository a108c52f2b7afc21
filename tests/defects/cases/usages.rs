//! What containers use of what they may.

use squall::judge::Verdict;
use squall::record::{ObjectChange, What};

use crate::case::{Case, Make, Right, Seen, Text, fact, near, number_after, says};
use crate::sim::{Burst, Container, Dice, Leak, S, Service, World, healthy};

pub fn cases() -> Vec<Case> {
    let case = |name, right, make, real| Case {
        name,
        right,
        make: Make::World(make),
        real,
    };
    let real = "`tests/kubernetes/usage.rs`";
    vec![
        case(
            "a container at its CPU limit, and throttled",
            Right::Fails("usage", at_the_limit),
            cpu_at_its_limit,
            real,
        ),
        case(
            "a container that is throttled though it uses little",
            Right::Fails("usage", |s| {
                says(
                    named(s)?,
                    &["was throttled in up to", "in more than 25% of them"],
                )
            }),
            spiky,
            "",
        ),
        case(
            "memory that rises to its limit",
            Right::Fails("usage", near_the_limit),
            memory_rises,
            real,
        ),
        case(
            "a container killed for its memory between two samples",
            Right::Fails("usage", killed),
            killed_for_memory,
            real,
        ),
        case(
            "CPU far above what is requested",
            Right::Fails("usage", |s| {
                let verdict = s.failed("usage")?;
                says(
                    verdict,
                    &["of CPU", "of its request of", "above 150% of request"],
                )
            }),
            above_request,
            "",
        ),
        case(
            "a container at its CPU limit while samples are lost",
            Right::FailsOrUnsure("usage"),
            unseen_at_its_limit,
            "",
        ),
        case(
            "memory that rises without a limit that it could reach",
            Right::FailsOrUnsure("usage"),
            |d| {
                let mut world = memory_rises(d);
                container(&mut world).limits.1 = None;
                world
            },
            "",
        ),
        case(
            "a short spike to the CPU limit",
            Right::Healthy,
            short_spike,
            "",
        ),
        case(
            "CPU and memory below their bounds, but not by much",
            Right::Healthy,
            nearly_full,
            "",
        ),
        case(
            "use that is sampled with gaps",
            Right::Healthy,
            |d| {
                let mut world = shop(d, USUAL);
                let from = d.between(30.0, 90.0);
                container(&mut world).holes = vec![(from, from + d.between(8.0, 22.0))];
                world
            },
            real,
        ),
        case(
            "use of pods of which one is replaced in the middle",
            Right::Healthy,
            |d| {
                let mut world = shop(d, USUAL);
                world.crashes = vec![(d.between(40.0, 80.0), d.below(3))];
                world
            },
            "",
        ),
        case(
            "use of pods without limits",
            Right::TooLittle,
            |d| {
                let mut world = shop(d, USUAL);
                container(&mut world).limits = (None, None);
                world
            },
            real,
        ),
    ]
}

const USUAL: &str = "usage: { for: 30s }";

/// Three pods at about half of their limits, for two minutes and more.
fn shop(dice: &mut Dice, expect: &str) -> World {
    let mut text = Text::usual(dice);
    text.target = Some("{ kubernetes: { namespace: shop, service: front } }".into());
    text.connections = "per-request";
    text.rate = dice.between(24.0, 40.0);
    text.hold = dice.whole(130, 150);
    text.expect = format!("[ errors < 50%, {expect} ]");
    let mut world = healthy(text.scenario(), 0);
    let (cpu, memory) = (dice.whole(200, 900), dice.whole(96, 512) << 20);
    world.container = Some(Container {
        limits: (Some(cpu), Some(memory)),
        requests: (Some(cpu / 2), Some(memory / 2)),
        cpu_us: cpu as f64 * 1e3 * dice.between(0.3, 0.45) / (text.rate / 3.0),
        idle: cpu / 50,
        memory: (memory as f64 * dice.between(0.3, 0.6)) as u64,
        bursts: Vec::new(),
        window: dice.whole(8, 13) * S,
        late: dice.whole(S / 2, 4 * S),
        holes: Vec::new(),
    });
    world
}

fn container(world: &mut World) -> &mut Container {
    world.container.as_mut().expect("the shop is in a cluster")
}

/// One pod's burst: for so long, and what it is made of.
fn burst(dice: &mut Dice, world: &mut World, lasts: f64, change: impl Fn(&mut Burst, &Container)) {
    let from = dice.between(15.0, 40.0);
    let mut burst = Burst {
        place: dice.below(3),
        from,
        to: from + lasts,
        cpu: 0,
        memory: 0,
        spiky: 0.0,
    };
    let container = container(world);
    change(&mut burst, container);
    container.bursts.push(burst);
}

/// Long enough for three whole windows in a row, and what they must last.
const LONG: (f64, f64) = (60.0, 80.0);

fn cpu_at_its_limit(dice: &mut Dice) -> World {
    let mut world = shop(dice, USUAL);
    let (lasts, times) = (dice.between(LONG.0, LONG.1), dice.between(0.9, 2.0));
    burst(dice, &mut world, lasts, |b, c| {
        b.cpu = (c.limits.0.unwrap_or(0) as f64 * times) as u64;
    });
    world
}

fn spiky(dice: &mut Dice) -> World {
    let mut world = shop(dice, USUAL);
    let (lasts, share) = (dice.between(LONG.0, LONG.1), dice.between(0.5, 0.8));
    burst(dice, &mut world, lasts, |b, _| b.spiky = share);
    world
}

/// All of them leak, up to a little below the limit at the end.
fn memory_rises(dice: &mut Dice) -> World {
    let mut world = shop(dice, USUAL);
    let requests = world.scenario.traffic[0].load.duration().as_secs_f64() * rate(&world) / 3.0;
    let full = dice.between(0.96, 0.98);
    let own = container(&mut world);
    let room = own.limits.1.unwrap_or(0) as f64 * full - own.memory as f64;
    let leak = Leak {
        bytes: (room / requests) as u64,
        base: 0,
        limit: u64::MAX,
        slow: 1.0,
    };
    world.service = Service {
        leak: Some(leak),
        ..world.service.clone()
    };
    world
}

fn rate(world: &World) -> f64 {
    match &world.scenario.traffic[0].load {
        squall::scenario::Load::Open(open) => open.stages[0].rate.get(),
        squall::scenario::Load::Closed(_) => 0.0,
    }
}

fn killed_for_memory(dice: &mut Dice) -> World {
    let mut world = shop(dice, USUAL);
    burst(dice, &mut world, 1.5, |b, c| {
        b.memory = c.limits.1.unwrap_or(0)
    });
    world
}

fn above_request(dice: &mut Dice) -> World {
    let mut world = shop(dice, "usage: { cpu: 150% of request, for: 30s }");
    let own = container(&mut world);
    // About a third of the limit is used.
    own.requests.0 = own.limits.0.map(|limit| limit / 8);
    world
}

fn unseen_at_its_limit(dice: &mut Dice) -> World {
    let mut world = cpu_at_its_limit(dice);
    let own = container(&mut world);
    let hole = (own.bursts[0].from, own.bursts[0].to + 15.0);
    own.holes = vec![hole];
    world
}

fn short_spike(dice: &mut Dice) -> World {
    let mut world = shop(dice, USUAL);
    let lasts = dice.between(5.0, 15.0);
    burst(dice, &mut world, lasts, |b, c| {
        // What is used already, and this, are all that there is: nothing has to wait.
        b.cpu = (c.limits.0.unwrap_or(0) as f64 * 0.45) as u64;
    });
    world
}

fn nearly_full(dice: &mut Dice) -> World {
    let mut world = shop(dice, USUAL);
    let (cpu, memory) = (dice.between(0.26, 0.32), dice.between(0.8, 0.88));
    let own = container(&mut world);
    own.idle = (own.limits.0.unwrap_or(0) as f64 * cpu) as u64;
    own.memory = (own.limits.1.unwrap_or(0) as f64 * memory) as u64;
    world
}

/// The verdict names the pod that used more than usual, and no other.
fn named<'a>(seen: &'a Seen<'_>) -> Result<&'a Verdict, String> {
    let verdict = seen.failed("usage")?;
    let (name, _) = (seen.truth.bursts.iter().next()).ok_or("nobody used more than usual")?;
    says(verdict, &[&format!("container web of {name} ")])?;
    Ok(verdict)
}

/// Throttling and CPU are both told; what was used, of what, and from when on is in the evidence.
fn at_the_limit(seen: &Seen<'_>) -> Result<(), String> {
    let told = fact(named(seen)?, "CPU")?;
    all_in(
        told,
        &["of CPU", "of its limit of", "above 90% of limit for"],
    )?;
    let limit = limit_of_cpu(seen)?;
    let used = number_after(told, "used up to ")?;
    near("CPU used", used, limit, limit * 0.1)?;
    let from = number_after(told, " s from ")?;
    let began = seen.truth.bursts.values().next().copied().unwrap_or(0);
    // Within the window of a sample.
    near("its begin", from, seen.since_start(began), 14.0)
}

/// One that was killed in the end is told first; that it was near its limit before is told too.
fn near_the_limit(seen: &Seen<'_>) -> Result<(), String> {
    let told = fact(seen.failed("usage")?, "memory")?;
    all_in(
        told,
        &["of memory", "of its limit of", "above 90% of limit"],
    )
}

fn all_in(text: &str, words: &[&str]) -> Result<(), String> {
    match words.iter().find(|words| !text.contains(**words)) {
        Some(words) => Err(format!("does not say `{words}`: {text}")),
        None => Ok(()),
    }
}

fn limit_of_cpu(seen: &Seen<'_>) -> Result<f64, String> {
    let mut events = seen.record().events.iter();
    let limit = events.find_map(|e| match &e.what {
        What::Object(o) if o.object == "Pod" && o.change == ObjectChange::Present => {
            let cpu = o.facts["containers"]["web"]["limits"]["cpu"].as_str()?;
            cpu.trim_end_matches('m').parse().ok()
        }
        _ => None,
    });
    limit.ok_or_else(|| "no limit".into())
}

fn killed(seen: &Seen<'_>) -> Result<(), String> {
    let verdict = seen.failed("usage")?;
    let (name, at) = seen.truth.died.first().ok_or("nobody was killed")?;
    says(
        verdict,
        &[&format!("{name}: container web: killed for its memory at ")],
    )?;
    let told = number_after(&verdict.because, "memory at ")?;
    near("time of the kill", told, seen.since_start(*at), 0.1)
}
