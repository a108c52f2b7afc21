//! What stands in a cluster, before anything is broken: one thing wrong, or none.

use serde_json::{Value, json};
use squall::audit::Objects;

use crate::case::{Case, Make, Right, Seen, says};
use crate::shop::{Shop, budget, healthy, objects};
use crate::sim::Dice;

pub fn cases() -> Vec<Case> {
    let case = |name, right, objects| Case {
        name,
        right,
        make: Make::Objects(objects),
        real: "`tests/kubernetes/audit.rs`",
    };
    vec![
        case(
            "a budget that forbids every drain",
            Right::Fails("audit", |s| {
                only(
                    s,
                    "BREAKS budget-forbids-drains: PodDisruptionBudget/front ",
                )
            }),
            forbids,
        ),
        case(
            "a budget that protects nothing",
            Right::Fails("audit", |s| {
                only(
                    s,
                    "WEAKENS budget-protects-nothing: PodDisruptionBudget/front ",
                )
            }),
            protects_nothing,
        ),
        case(
            "a budget for pods that are not there",
            Right::Fails("audit", |s| {
                only(
                    s,
                    "WEAKENS budget-selects-nothing: PodDisruptionBudget/other ",
                )
            }),
            |d| {
                changed(d, |s, _| {
                    s.budgets
                        .push(budget("other", "elsewhere", json!({"maxUnavailable": 1})));
                })
            },
        ),
        case(
            "all pods placed on one node",
            Right::Fails("audit", |s| {
                only(s, "BREAKS one-node: Deployment/front all its ")
            }),
            one_node,
        ),
        case(
            "one replica of something that is called on each request",
            Right::Fails("audit", |s| only(s, "BREAKS one-replica: Deployment/cart ")),
            one_replica,
        ),
        case(
            "replicas spread over nodes, with a budget of one",
            Right::Healthy,
            |d| changed(d, |_, _| ()),
        ),
    ]
}

/// It is found, named, and nothing else is.
fn only(seen: &Seen<'_>, words: &str) -> Result<(), String> {
    match seen.verdicts {
        [one] => says(one, &[words]),
        all => Err(format!("{} things were found, one is there", all.len())),
    }
}

/// A healthy shop with 2 to 7 pods of `front` over 3 to 5 nodes, and a change.
fn changed(dice: &mut Dice, change: impl Fn(&mut Shop, &mut Dice)) -> Objects {
    const NODES: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];
    let mut shop = healthy();
    let (pods, nodes) = (dice.whole(2, 7), dice.whole(3, 5) as usize);
    for name in &NODES[3..nodes] {
        let mut node = shop.nodes[2].clone();
        node["metadata"]["name"] = json!(name);
        shop.nodes.push(node);
    }
    shop.front["replicas"] = json!(pods);
    // From the last node on, which is in another zone than the first two.
    let placed = (0..pods as usize).map(|i| ("front", NODES[(nodes - 1 + i) % nodes]));
    shop.placed = placed.chain([("cart", "n2"), ("cart", "n3")]).collect();
    change(&mut shop, dice);
    objects(&shop)
}

fn bounded(shop: &mut Shop, bound: Value) {
    shop.budgets[0] = budget("front", "front", bound);
}

fn forbids(dice: &mut Dice) -> Objects {
    changed(dice, |shop, dice| {
        let pods = shop.front["replicas"].clone();
        let bound = match dice.below(4) {
            0 => json!({"maxUnavailable": 0}),
            1 => json!({"maxUnavailable": "0%"}),
            2 => json!({"minAvailable": pods}),
            // Of seven pods 90 % are 6.3: all of them.
            _ => json!({"minAvailable": "90%"}),
        };
        bounded(shop, bound);
    })
}

fn protects_nothing(dice: &mut Dice) -> Objects {
    changed(dice, |shop, dice| {
        let pods = shop.front["replicas"].clone();
        let bound = match dice.below(4) {
            0 => json!({"minAvailable": 0}),
            1 => json!({"minAvailable": "0%"}),
            2 => json!({"maxUnavailable": "100%"}),
            _ => json!({"maxUnavailable": pods}),
        };
        bounded(shop, bound);
    })
}

fn one_node(dice: &mut Dice) -> Objects {
    changed(dice, |shop, dice| {
        let node = ["n1", "n2", "n3"][dice.below(3)];
        let front = shop.placed.iter_mut().filter(|(app, _)| *app == "front");
        front.for_each(|(_, on)| *on = node);
    })
}

fn one_replica(dice: &mut Dice) -> Objects {
    changed(dice, |shop, _| {
        shop.cart["replicas"] = json!(1);
        shop.placed.pop();
        // One that lets the only pod go: without any a drain would not ask.
        shop.budgets.truncate(1);
    })
}
