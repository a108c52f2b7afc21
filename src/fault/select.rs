//! Whom a fault hits: a pure function of the instances, the selection and a seeded generator.

use rand::{Rng, RngExt};

use crate::platform::Instance;
use crate::scenario::{FaultKind, NAMESPACE_LABEL, NODE_LABEL, Pick, Select};

/// The instances hit, in order of slot and name. Only those alive can be hit. A selection that cannot be satisfied
/// (nobody matches, fewer alive than asked for) is an error that says so: hitting fewer would be another
/// experiment than the one that was asked for.
pub fn select(
    instances: &[Instance],
    select: &Select,
    rng: &mut impl Rng,
) -> Result<Vec<Instance>, String> {
    let mut drawn = alive(instances, select)?;
    let count = match select.pick {
        Pick::All => drawn.len(),
        Pick::Count(n) => n as usize,
        // Whose turn it is is told by `in_turn`.
        Pick::Each => 1,
        // The small addend keeps 30% of 10 at 3, whatever the last bit of 0.3 * 10 is.
        Pick::Share(share) => ((drawn.len() as f64 * share.get() + 1e-9) as usize).max(1),
    };
    if count > drawn.len() {
        return Err(format!(
            "{count} instances are to be hit, but only {} are alive: {}",
            drawn.len(),
            listed(drawn)
        ));
    }
    for i in 0..count {
        let other = rng.random_range(i..drawn.len());
        drawn.swap(i, other);
    }
    drawn.truncate(count);
    drawn.sort_by_key(|i| (&i.slot, &i.name));
    Ok(drawn.into_iter().cloned().collect())
}

/// What is hit once by a fault with `pick: each`: the place, or the node of a fault that hits nodes.
pub fn unit_of(kind: &FaultKind, instance: &Instance) -> String {
    let node = instance.labels.get(NODE_LABEL);
    match node.filter(|_| kind.is_of_node()) {
        Some(node) => node.clone(),
        None => instance.slot.clone(),
    }
}

/// The instance whose turn it is: the first, in order, whose place or node has not been hit; `None` once all have been.
/// One that is not alive is passed over until it is.
pub fn in_turn(
    instances: &[Instance],
    select: &Select,
    kind: &FaultKind,
    hit: &[&str],
) -> Result<Option<Instance>, String> {
    let is_left = |i: &&Instance| !hit.contains(&&*unit_of(kind, i));
    let mut left = alive(instances, select)?;
    left.retain(is_left);
    left.sort_by_key(|i| (unit_of(kind, i), &i.slot, &i.name));
    if let Some(next) = left.first() {
        return Ok(Some((*next).clone()));
    }
    let ended: Vec<_> = matching(instances, select).filter(is_left).collect();
    match ended.is_empty() {
        true => Ok(None),
        false => Err(format!(
            "none of those left to hit is alive: {}",
            listed(ended)
        )),
    }
}

/// Those that match, alive or not. Others than the target's are hit only where their namespace is asked for: it is a
/// label of theirs.
fn matching<'i>(
    instances: &'i [Instance],
    select: &'i Select,
) -> impl Iterator<Item = &'i Instance> {
    let asked = select.labels.get(NAMESPACE_LABEL);
    instances.iter().filter(move |i| {
        if i.labels.get(NAMESPACE_LABEL) != asked || (select.ready && !i.ready) {
            return false;
        }
        let named = select.names.is_empty() || select.names.iter().any(|n| is_called(i, n));
        named && (select.labels.iter()).all(|(key, value)| i.labels.get(key) == Some(value))
    })
}

/// Those that match and are alive, in a fixed order: the same seed then hits the same, whatever order the platform lists
/// them in.
fn alive<'i>(instances: &'i [Instance], select: &'i Select) -> Result<Vec<&'i Instance>, String> {
    for name in &select.names {
        if !instances.iter().any(|i| is_called(i, name)) {
            return Err(format!(
                "no instance is called `{name}`; there are {}",
                listed(instances.iter())
            ));
        }
    }
    let (mut alive, ended): (Vec<_>, Vec<_>) = matching(instances, select).partition(|i| i.alive);
    if alive.is_empty() {
        return Err(match ended.len() {
            0 => format!(
                "no instance matches the selection; there are {}",
                listed(instances.iter())
            ),
            _ => format!("no instance to hit is alive: {}", listed(ended)),
        });
    }
    alive.sort_by_key(|i| (&i.slot, &i.name));
    Ok(alive)
}

fn is_called(instance: &Instance, name: &str) -> bool {
    instance.name == name || instance.slot == name
}

fn listed<'a>(instances: impl IntoIterator<Item = &'a Instance>) -> String {
    let names: Vec<_> = instances.into_iter().map(|i| i.name.as_str()).collect();
    match names.len() {
        0 => "none".into(),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::units::Ratio;
    use rand::SeedableRng;
    use rand_pcg::Pcg64;
    use std::collections::{BTreeMap, BTreeSet};

    fn instance(name: &str, slot: &str, zone: &str, alive: bool) -> Instance {
        Instance {
            name: name.into(),
            slot: slot.into(),
            labels: BTreeMap::from([("zone".into(), zone.into())]),
            ready: alive,
            alive,
        }
    }

    fn shop() -> Vec<Instance> {
        vec![
            instance("shop-3", "shop-3", "b", true),
            instance("shop-1-r1", "shop-1", "a", true),
            instance("shop-2", "shop-2", "a", false),
            instance("shop-4", "shop-4", "b", true),
        ]
    }

    fn hit(
        names: &[&str],
        zone: Option<&str>,
        pick: Pick,
        seed: u64,
    ) -> Result<Vec<String>, String> {
        let labels = zone.iter().map(|z| ("zone".into(), z.to_string()));
        let how = Select {
            names: names.iter().map(|n| n.to_string()).collect(),
            labels: labels.collect(),
            pick,
            ready: false,
        };
        let hit = select(&shop(), &how, &mut Pcg64::seed_from_u64(seed))?;
        Ok(hit.into_iter().map(|i| i.name).collect())
    }

    #[test]
    fn by_name_slot_and_label_among_those_alive() {
        let all = ["shop-1-r1", "shop-3", "shop-4"];
        for (names, zone, pick, expected) in [
            (&[][..], None, Pick::All, &all[..]),
            (&["shop-1"], None, Pick::All, &["shop-1-r1"]),
            (&["shop-1-r1"], None, Pick::Count(1), &["shop-1-r1"]),
            (&["shop-3", "shop-2"], None, Pick::All, &["shop-3"]),
            (&[], Some("b"), Pick::All, &["shop-3", "shop-4"]),
            (&["shop-4"], Some("b"), Pick::Count(1), &["shop-4"]),
        ] {
            assert_eq!(hit(names, zone, pick, 1).unwrap(), expected, "{names:?}");
        }
    }

    #[test]
    fn what_cannot_be_satisfied_says_why() {
        for (names, zone, pick, says) in [
            (
                &[][..],
                None,
                Pick::Count(4),
                "4 instances are to be hit, but only 3 are alive",
            ),
            (
                &["shop-9"],
                None,
                Pick::All,
                "no instance is called `shop-9`; there are shop-3",
            ),
            (
                &["shop-2"],
                None,
                Pick::All,
                "no instance to hit is alive: shop-2",
            ),
            (
                &["shop-4"],
                Some("a"),
                Pick::All,
                "no instance matches the selection",
            ),
        ] {
            let error = hit(names, zone, pick, 1).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let none = select(&[], &Select::default(), &mut Pcg64::seed_from_u64(1));
        assert!(none.unwrap_err().ends_with("there are none"));
    }

    #[test]
    fn each_is_hit_in_turn_and_the_dead_wait_for_theirs() {
        let next = |instances: &[Instance], kind: &FaultKind, hit: &[&str]| {
            let turn = in_turn(instances, &Select::default(), kind, hit);
            turn.map(|i| i.map(|i| i.name))
        };
        let shop = shop();
        let (kill, mut hit) = (FaultKind::Kill, Vec::new());
        // shop-2 is dead: the others go first.
        for (slot, name) in [
            ("shop-1", "shop-1-r1"),
            ("shop-3", "shop-3"),
            ("shop-4", "shop-4"),
        ] {
            assert_eq!(next(&shop, &kill, &hit), Ok(Some(name.into())));
            hit.push(slot);
        }
        let waits = next(&shop, &kill, &hit).unwrap_err();
        assert_eq!(waits, "none of those left to hit is alive: shop-2");
        hit.push("shop-2");
        assert_eq!(next(&shop, &kill, &hit), Ok(None));

        let mut placed = shop.clone();
        for (instance, node) in placed.iter_mut().zip(["n2", "n1", "n1", "n2"]) {
            instance.labels.insert(NODE_LABEL.into(), node.into());
        }
        let deadline = std::time::Duration::from_secs(1);
        let drain = FaultKind::Drain { deadline };
        assert_eq!(next(&placed, &drain, &[]), Ok(Some("shop-1-r1".into())));
        assert_eq!(next(&placed, &drain, &["n1"]), Ok(Some("shop-3".into())));
        assert_eq!(next(&placed, &drain, &["n1", "n2"]), Ok(None));
    }

    #[test]
    fn a_share_is_rounded_down_but_hits_at_least_one() {
        for (percent, alive, expected) in [
            (50.0, 3, 1),
            (67.0, 3, 2),
            (1.0, 3, 1),
            (100.0, 3, 3),
            (30.0, 10, 3),
        ] {
            let all: Vec<_> = (0..alive)
                .map(|n| instance(&format!("{n}"), "s", "a", true))
                .collect();
            let pick = Pick::Share(Ratio::fraction(percent / 100.0));
            let how = Select {
                pick,
                ..Default::default()
            };
            let hit = select(&all, &how, &mut Pcg64::seed_from_u64(1)).unwrap();
            assert_eq!(hit.len(), expected, "{percent}% of {alive}");
        }
    }

    #[test]
    fn the_same_seed_hits_the_same_in_whatever_order_they_are_listed() {
        let how = Select {
            pick: Pick::Count(2),
            ..Default::default()
        };
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            let mut all = shop();
            let first = select(&all, &how, &mut Pcg64::seed_from_u64(seed)).unwrap();
            all.reverse();
            let again = select(&all, &how, &mut Pcg64::seed_from_u64(seed)).unwrap();
            assert_eq!(first, again);
            seen.insert(first.into_iter().map(|i| i.name).collect::<Vec<_>>());
        }
        // Other seeds hit others: each of the three pairs comes up.
        assert_eq!(seen.len(), 3);
    }
}
