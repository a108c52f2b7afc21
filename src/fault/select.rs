//! Whom a fault hits: a pure function of the instances, the selection and a seeded generator.

use rand::{Rng, RngExt};

use crate::platform::Instance;
use crate::scenario::{NAMESPACE_LABEL, Pick, Select};

/// The instances hit, in order of slot and name. Only those alive can be hit. A selection that cannot be satisfied
/// (nobody matches, fewer alive than asked for) is an error that says so: hitting fewer would be another
/// experiment than the one that was asked for.
pub fn select(
    instances: &[Instance],
    select: &Select,
    rng: &mut impl Rng,
) -> Result<Vec<Instance>, String> {
    for name in &select.names {
        if !instances.iter().any(|i| is_called(i, name)) {
            return Err(format!(
                "no instance is called `{name}`; there are {}",
                listed(instances.iter())
            ));
        }
    }
    // Others than the target's are hit only where their namespace is asked for: it is a label of theirs.
    let asked = select.labels.get(NAMESPACE_LABEL);
    let matching = instances.iter().filter(|i| {
        if i.labels.get(NAMESPACE_LABEL) != asked || (select.ready && !i.ready) {
            return false;
        }
        let named = select.names.is_empty() || select.names.iter().any(|n| is_called(i, n));
        named && (select.labels.iter()).all(|(key, value)| i.labels.get(key) == Some(value))
    });
    let (alive, ended): (Vec<_>, Vec<_>) = matching.partition(|i| i.alive);
    if alive.is_empty() {
        return Err(match ended.len() {
            0 => format!(
                "no instance matches the selection; there are {}",
                listed(instances.iter())
            ),
            _ => format!("no instance to hit is alive: {}", listed(ended)),
        });
    }
    let count = match select.pick {
        Pick::All => alive.len(),
        Pick::Count(n) => n as usize,
        // The small addend keeps 30% of 10 at 3, whatever the last bit of 0.3 * 10 is.
        Pick::Share(share) => ((alive.len() as f64 * share.get() + 1e-9) as usize).max(1),
    };
    if count > alive.len() {
        return Err(format!(
            "{count} instances are to be hit, but only {} are alive: {}",
            alive.len(),
            listed(alive)
        ));
    }
    // A fixed order before the draw, so that the same seed hits the same whatever order the platform lists them in.
    let mut drawn = alive;
    drawn.sort_by_key(|i| (&i.slot, &i.name));
    for i in 0..count {
        let other = rng.random_range(i..drawn.len());
        drawn.swap(i, other);
    }
    drawn.truncate(count);
    drawn.sort_by_key(|i| (&i.slot, &i.name));
    Ok(drawn.into_iter().cloned().collect())
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
