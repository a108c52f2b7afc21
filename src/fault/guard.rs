//! Whether a fault may be made: a pure decision.

use std::collections::{BTreeMap, BTreeSet};

use crate::platform::Instance;
use crate::scenario::{FaultKind, Guard, NAMESPACE_LABEL, NODE_LABEL, OWNER_LABEL};

/// So many places of each owner; where a platform has no owners, all are one's.
pub type Places = BTreeMap<String, usize>;

/// What makes the instance; in another namespace than the target's one of the same name is another.
pub(super) fn owner(instance: &Instance) -> String {
    let label = |name| instance.labels.get(name).map(String::as_str);
    let owner = label(OWNER_LABEL).unwrap_or_default();
    match label(NAMESPACE_LABEL) {
        Some(namespace) => format!("{namespace}/{owner}"),
        None => owner.into(),
    }
}

/// The places that these instances fill.
pub fn places(instances: &[Instance]) -> Places {
    let mut slots: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for instance in instances {
        slots
            .entry(owner(instance))
            .or_default()
            .insert(&instance.slot);
    }
    slots
        .into_iter()
        .map(|(owner, slots)| (owner, slots.len()))
        .collect()
}

/// All that a fault takes away, whoever was chosen: what stands on the node, what the workload loses. `rolled` tells how
/// many of its kind a rollout takes at once, where that is known.
pub fn struck(
    kind: &FaultKind,
    victims: &[Instance],
    instances: &[Instance],
    rolled: impl Fn(&Instance) -> Option<usize>,
) -> Vec<Instance> {
    match kind {
        FaultKind::Scale { replicas } => {
            lost(victims, instances, |_, nth| nth >= *replicas as usize)
        }
        FaultKind::RolloutRestart | FaultKind::BadRollout { .. } => {
            let (known, unknown): (Vec<_>, Vec<_>) =
                (victims.iter().cloned()).partition(|v| rolled(v).is_some());
            let mut all = lost(&known, instances, |i, nth| {
                rolled(i).is_some_and(|n| nth < n)
            });
            all.extend(unknown);
            all
        }
        _ if kind.is_of_node() => on_nodes(kind, victims, instances),
        _ => victims.to_vec(),
    }
}

/// What stands on the victims' nodes.
fn on_nodes(kind: &FaultKind, victims: &[Instance], instances: &[Instance]) -> Vec<Instance> {
    // A node that is lost takes all that stand on it; nothing else reaches into another namespace.
    let is_lost = matches!(kind, FaultKind::NodeLoss { .. });
    let place = |i: &Instance, label: &str| i.labels.get(label).cloned();
    let beside = |i: &Instance, v: &Instance| {
        place(i, NODE_LABEL).is_some()
            && place(i, NODE_LABEL) == place(v, NODE_LABEL)
            && (is_lost || place(i, NAMESPACE_LABEL) == place(v, NAMESPACE_LABEL))
    };
    let others = instances.iter().filter(|i| i.alive && !victims.contains(i));
    let others = others.filter(|i| victims.iter().any(|v| beside(i, v)));
    victims.iter().chain(others).cloned().collect()
}

/// Those of the victims' owners that go, told by how many of the owner's come before each. Which of them go is the
/// cluster's choice; how many is not.
fn lost(
    victims: &[Instance],
    instances: &[Instance],
    goes: impl Fn(&Instance, usize) -> bool,
) -> Vec<Instance> {
    let owners: BTreeSet<String> = victims.iter().map(owner).collect();
    let mut seen: Places = BTreeMap::new();
    let mut lost = Vec::new();
    for instance in instances.iter().filter(|i| i.alive) {
        let of = owner(instance);
        if owners.contains(&of) {
            let nth = seen.entry(of).or_default();
            if goes(instance, *nth) {
                lost.push(instance.clone());
            }
            *nth += 1;
        }
    }
    lost
}

/// Whether the guard lets an injection hit `victims`; the reason if not.
///
/// Ready afterwards are those that are ready now and are not hit; each owner of one that is hit must keep enough. A
/// share is of `slots`, the places that the owner has, not of what happens to be alive. Without `keep-ready` there is no limit: to take down everything is
/// a legitimate experiment on instances that the run itself has started, and a limit that nobody asked for would
/// turn the experiment that was asked for into a refusal.
pub fn allow(
    guard: &Guard,
    instances: &[Instance],
    victims: &[Instance],
    made_so_far: u32,
    slots: &Places,
) -> Result<(), String> {
    if let Some(max) = guard.max_faults
        && made_so_far >= max
    {
        return Err(format!(
            "max-faults {max}: {made_so_far} injections were made already"
        ));
    }
    let Some(keep) = guard.keep_ready else {
        return Ok(());
    };
    let hit: BTreeSet<&str> = victims.iter().map(|v| v.name.as_str()).collect();
    let owners: BTreeSet<String> = victims.iter().map(owner).collect();
    owners.iter().try_for_each(|of| {
        let own = instances.iter().filter(|i| owner(i) == *of);
        let ready: Vec<_> = own.filter(|i| i.alive && i.ready).collect();
        let lost = ready.iter().filter(|i| hit.contains(i.name.as_str()));
        let slots = slots.get(of).copied().unwrap_or_default();
        let enough = keep.check(ready.len(), lost.count(), slots);
        enough.map_err(|why| match of.is_empty() {
            true => why,
            false => format!("{why} ({of})"),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::KeepReady;
    use crate::scenario::units::Ratio;
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn instances(ready: &[bool]) -> Vec<Instance> {
        let instance = |(n, &ready): (usize, &bool)| Instance {
            name: format!("shop-{n}"),
            slot: format!("shop-{n}"),
            labels: BTreeMap::new(),
            ready,
            alive: true,
        };
        ready.iter().enumerate().map(instance).collect()
    }

    fn decide(keep: Option<KeepReady>, ready: &[bool], hit: &[usize]) -> Result<(), String> {
        let guard = Guard {
            keep_ready: keep,
            ..Default::default()
        };
        let all = instances(ready);
        let victims: Vec<_> = hit.iter().map(|&i| all[i].clone()).collect();
        allow(&guard, &all, &victims, 0, &places(&all))
    }

    #[test]
    fn those_hit_and_those_not_ready_do_not_count_as_ready() {
        let half = Some(KeepReady::Share(Ratio::fraction(0.5)));
        let one = Some(KeepReady::Count(1));
        for (keep, ready, hit, allowed) in [
            // Half of three, rounded up, is two.
            (half, &[true, true, true][..], &[0][..], true),
            (half, &[true, true, true], &[0, 1], false),
            (half, &[true, true, false], &[0], false),
            // To hit one that is down already costs nothing more.
            (half, &[true, true, false], &[2], true),
            (half, &[true, true, true, true], &[0, 1], true),
            (one, &[true, true], &[0], true),
            (one, &[true, true], &[0, 1], false),
            (one, &[false, true], &[1], false),
            // Nobody asked for a limit.
            (None, &[true], &[0], true),
        ] {
            let result = decide(keep, ready, hit);
            assert_eq!(
                result.is_ok(),
                allowed,
                "{keep:?} {ready:?} {hit:?}: {result:?}"
            );
        }
        let error = decide(half, &[true, true, false], &[0]).unwrap_err();
        assert_eq!(
            error,
            "keep-ready 50% is 2 of 3 instances: 2 are ready and free of faults, 1 of them would be hit, which leaves 1"
        );
    }

    #[test]
    fn a_share_is_of_all_places_also_of_those_that_are_empty() {
        let guard = Guard {
            keep_ready: Some(KeepReady::Share(Ratio::fraction(0.3))),
            ..Default::default()
        };
        let four = instances(&[true; 4]);
        // Of ten places only four are filled: 30% of ten is three, and exactly three.
        let ten = Places::from([(String::new(), 10)]);
        assert_eq!(allow(&guard, &four, &four[..1], 0, &ten), Ok(()));
        assert!(allow(&guard, &four, &four[..2], 0, &ten).is_err());
    }

    #[test]
    fn each_owner_keeps_enough_of_its_own_and_a_node_or_a_scale_takes_all_that_it_takes() {
        let guard = Guard {
            keep_ready: Some(KeepReady::Share(Ratio::fraction(0.5))),
            ..Default::default()
        };
        let mut all = instances(&[true; 6]);
        for (n, instance) in all.iter_mut().enumerate() {
            let owner = if n < 4 {
                "Deployment/front"
            } else {
                "Deployment/cart"
            };
            let labels = [(OWNER_LABEL, owner), (NODE_LABEL, ["n1", "n2"][n % 2])];
            instance.labels = labels.map(|(k, v)| (k.into(), v.into())).into();
        }
        let slots = places(&all);
        let allowed = |kind: &FaultKind, victims: &[usize]| {
            let victims: Vec<_> = victims.iter().map(|&i| all[i].clone()).collect();
            let taken = struck(kind, &victims, &all, |_| None);
            allow(&guard, &all, &taken, 0, &slots)
        };
        let kill = FaultKind::PodKill { grace: None };
        assert_eq!(allowed(&kill, &[0, 1]), Ok(()));
        assert_eq!(allowed(&kill, &[0, 4]), Ok(()));
        // Four of six would be left; but of cart none.
        let error = allowed(&kill, &[4, 5]).unwrap_err();
        assert!(
            error.contains("1 of 2") && error.contains("Deployment/cart"),
            "{error}"
        );
        let drain = FaultKind::Drain {
            deadline: Duration::from_secs(1),
        };
        assert_eq!(
            allowed(&drain, &[0]),
            Ok(()),
            "half of each stands on the other node"
        );
        assert!(allowed(&drain, &[0, 1]).is_err(), "that is both nodes");
        assert_eq!(allowed(&FaultKind::Scale { replicas: 2 }, &[0]), Ok(()));
        assert!(allowed(&FaultKind::Scale { replicas: 1 }, &[0]).is_err());
        assert_eq!(allowed(&FaultKind::Scale { replicas: 9 }, &[0]), Ok(()));
    }

    #[test]
    fn a_rollout_takes_as_many_as_its_strategy_lets_it() {
        let guard = Guard {
            keep_ready: Some(KeepReady::Count(2)),
            ..Default::default()
        };
        let mut all = instances(&[true; 3]);
        for instance in &mut all {
            let label = (OWNER_LABEL.to_string(), "Deployment/front".to_string());
            instance.labels.extend([label]);
        }
        let image = String::from("a:none");
        for kind in [FaultKind::RolloutRestart, FaultKind::BadRollout { image }] {
            // Recreate takes all three; one that may miss none takes none, whichever pod was picked to name it.
            for (rolled, left, is_allowed) in [
                (Some(3), 0, false),
                (Some(1), 2, true),
                (Some(0), 3, true),
                (None, 2, true),
            ] {
                let taken = struck(&kind, &all[2..], &all, |_| rolled);
                assert_eq!(all.len() - taken.len(), left, "{rolled:?}");
                let allowed = allow(&guard, &all, &taken, 0, &places(&all));
                assert_eq!(allowed.is_ok(), is_allowed, "{rolled:?}: {allowed:?}");
            }
        }
    }

    #[test]
    fn one_of_the_same_name_in_another_namespace_is_another() {
        let mut all = instances(&[true; 4]);
        for (n, instance) in all.iter_mut().enumerate() {
            let labels = [(OWNER_LABEL, "Deployment/web"), (NODE_LABEL, "n1")];
            instance.labels = labels.map(|(k, v)| (k.into(), v.into())).into();
            if n >= 2 {
                let label = (NAMESPACE_LABEL.to_string(), "backend".to_string());
                instance.labels.extend([label]);
            }
        }
        let taken = |kind: &FaultKind| struck(kind, &all[2..3], &all, |_| None).len();
        let deadline = Duration::from_secs(1);
        assert_eq!(taken(&FaultKind::Scale { replicas: 0 }), 2);
        assert_eq!(taken(&FaultKind::Drain { deadline }), 2);
        let (down, up) = (String::new(), String::new());
        assert_eq!(taken(&FaultKind::NodeLoss { down, up }), 4);
        let guard = Guard {
            keep_ready: Some(KeepReady::Count(1)),
            ..Default::default()
        };
        assert_eq!(allow(&guard, &all, &all[2..3], 0, &places(&all)), Ok(()));
        let error = allow(&guard, &all, &all[2..], 0, &places(&all)).unwrap_err();
        assert!(error.contains("backend/Deployment/web"), "{error}");
    }

    #[test]
    fn no_more_injections_than_allowed() {
        let guard = Guard {
            max_faults: Some(2),
            ..Default::default()
        };
        assert_eq!(allow(&guard, &[], &[], 1, &Places::new()), Ok(()));
        let error = allow(&guard, &[], &[], 2, &Places::new()).unwrap_err();
        assert_eq!(error, "max-faults 2: 2 injections were made already");
    }
}
