//! Rollouts of a Deployment in a cluster, with one defect each and without.

use crate::case::{Case, Make, Right, Seen, Text, near, number_after, says};
use crate::sim::{Deployment, Dice, OnTerm, Service, World, healthy};

pub fn cases() -> Vec<Case> {
    let real = "`tests/kubernetes/deploy.rs`";
    vec![
        Case {
            name: "a rollout of pods that do not drain",
            right: Right::Fails("deploy", |s| {
                cost_of(s, "pods that are told to end do not drain")
            }),
            make: Make::World(no_drain),
            real,
        },
        Case {
            name: "a rollout of pods that are ready too early",
            right: Right::Fails("deploy", |s| {
                cost_of(s, "new pods are called ready too early")
            }),
            make: Make::World(ready_too_early),
            real,
        },
        Case {
            name: "a rollout whose pods never become ready",
            right: Right::Fails("deploy", |s| {
                says(
                    s.failed("deploy")?,
                    &[
                        "rollout of Deployment front",
                        "was not complete within",
                        "not ready",
                    ],
                )
            }),
            make: Make::World(never_ready),
            real,
        },
        Case {
            name: "a rollout that takes too long",
            right: Right::Fails("deploy", |s| {
                says(
                    s.failed("deploy")?,
                    &["was complete only after", "limit 10 s"],
                )
            }),
            make: Make::World(too_long),
            real: "",
        },
        Case {
            name: "a rollout that ends more pods at once than its strategy allows",
            right: Right::Fails("deploy", |s| {
                says(
                    s.failed("deploy")?,
                    &["pods were ready in the rollout", "asks for 3 all the time"],
                )
            }),
            make: Make::World(too_many_at_once),
            real: "",
        },
        Case {
            name: "a rollout of pods that drain, one after another",
            right: Right::Healthy,
            make: Make::World(rollout),
            real,
        },
        Case {
            name: "a rollout of pods that take their time to start, and all surge at once",
            right: Right::Healthy,
            make: Make::World(surge),
            real: "",
        },
        Case {
            name: "a rollout amid errors that were there before",
            right: Right::Healthy,
            make: Make::World(amid_errors),
            real: "",
        },
        Case {
            name: "a rollout that may leave one pod out",
            right: Right::Healthy,
            make: Make::World(one_missing),
            real: "",
        },
    ]
}

/// Three pods of `front`, restarted at a time drawn.
fn front(dice: &mut Dice, within: u64) -> World {
    let mut text = Text::usual(dice);
    text.target = Some("{ kubernetes: { namespace: shop, service: front } }".into());
    text.connections = ["per-request", "per-user"][dice.below(2)];
    text.hold = 44;
    let at = dice.between(7.0, 9.0);
    text.faults = format!("[ {{ at: {at:.2}s, rollout-restart: {{ pick: 1 }} }} ]");
    text.expect = format!("[ errors < 90%, deploy: {{ within: {within}s, settle: 8s }} ]");
    let mut world = healthy(text.scenario(), 0);
    world.balancer.notices_us = (dice.between(0.01, 0.2) * 1e6) as u64;
    world.balancer.spreads_us = (dice.between(0.02, 0.3) * 1e6) as u64;
    world.balancer.follows_us = (dice.between(0.01, 0.2) * 1e6) as u64;
    world.service.start_us = (dice.between(0.8, 2.0) * 1e6) as u64;
    world.deployment = Some(Deployment {
        says: (1, 0),
        does: (1, 0),
        service: world.service.clone(),
    });
    world
}

/// Changes the new version, and the old one too where asked.
fn version(world: &mut World, both: bool, change: impl Fn(&mut Service)) {
    if both {
        change(&mut world.service);
    }
    if let Some(deployment) = &mut world.deployment {
        change(&mut deployment.service);
    }
}

fn no_drain(dice: &mut Dice) -> World {
    let mut world = front(dice, 25);
    let work = dice.between(110.0, 160.0) * 1e3;
    version(&mut world, true, |s| {
        s.on_term = OnTerm::Exit;
        s.work_us = work;
        s.workers = 64;
    });
    // Only what breaks on a connection that has been answered before names a pod.
    world.scenario.traffic[0].connections.mode = squall::scenario::ConnectionMode::PerUser;
    world
}

fn cost_of(seen: &Seen<'_>, blame: &str) -> Result<(), String> {
    let verdict = seen.failed("deploy")?;
    says(verdict, &["rollout of Deployment front at", blame])?;
    let told = number_after(&verdict.because, "cost ")?;
    near("requests lost", told, seen.truth.all_failed() as f64, 0.5)
}

fn ready_too_early(dice: &mut Dice) -> World {
    let mut world = front(dice, 25);
    let start = (dice.between(3.0, 6.0) * 1e6) as u64;
    version(&mut world, false, |s| {
        s.start_us = start;
        s.says_ready_us = Some(300_000);
    });
    // Without new connections nobody would come to the new pods.
    world.scenario.traffic[0].connections.mode = squall::scenario::ConnectionMode::PerRequest;
    world
}

fn never_ready(dice: &mut Dice) -> World {
    let mut world = front(dice, 20);
    version(&mut world, false, |s| {
        s.start_us = 3_600_000_000;
        s.says_ready_us = Some(3_600_000_000);
    });
    world
}

fn too_long(dice: &mut Dice) -> World {
    let mut world = front(dice, 10);
    let start = (dice.between(4.0, 6.0) * 1e6) as u64;
    version(&mut world, false, |s| s.start_us = start);
    world
}

fn too_many_at_once(dice: &mut Dice) -> World {
    let mut world = front(dice, 25);
    if let Some(deployment) = &mut world.deployment {
        deployment.does = (1, dice.whole(1, 2) as usize);
    }
    world
}

fn rollout(dice: &mut Dice) -> World {
    let mut world = front(dice, 25);
    let work = dice.between(8.0, 120.0) * 1e3;
    version(&mut world, true, |s| {
        s.work_us = work;
        s.workers = 64;
    });
    world
}

fn surge(dice: &mut Dice) -> World {
    let mut world = front(dice, 25);
    let start = (dice.between(4.0, 8.0) * 1e6) as u64;
    version(&mut world, false, |s| s.start_us = start);
    if let Some(deployment) = &mut world.deployment {
        deployment.says = (3, 0);
        deployment.does = (3, 0);
    }
    world
}

fn amid_errors(dice: &mut Dice) -> World {
    let mut world = front(dice, 25);
    let errors = dice.between(0.004, 0.02);
    version(&mut world, true, |s| s.errors = errors);
    world
}

fn one_missing(dice: &mut Dice) -> World {
    let mut world = front(dice, 25);
    if let Some(deployment) = &mut world.deployment {
        deployment.says = (1, 1);
        deployment.does = (dice.whole(0, 1) as usize, 1);
    }
    world
}
