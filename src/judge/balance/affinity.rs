//! Client affinity: a client stays with its instance while that one may be chosen and the client does not pause for
//! longer than the timeout (10,800 s in Kubernetes).

use std::collections::BTreeMap;

use crate::record::Micros;

/// A client's request, seen to be served by an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// When.
    pub at_us: Micros,
    /// The client, as the balancer knows it: its address.
    pub client: String,
    /// Who served.
    pub instance: String,
}

/// A change of instance without a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// The client.
    pub client: String,
    /// When it was seen at its instance for the last time before.
    pub last_us: Micros,
    /// When it was seen at the other one.
    pub at_us: Micros,
    /// Its instance.
    pub from: String,
    /// The other one.
    pub to: String,
}

/// What the check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Switches without a reason, in time order.
    pub switches: Vec<Switch>,
    /// Pairs of sightings that could have shown a switch.
    pub checked: u64,
}

/// Follows each client. `eligible` says whether an instance may be chosen throughout a stretch of time; sightings
/// are in time order.
pub fn affinity(
    sightings: &[Sighting],
    timeout_us: Micros,
    eligible: impl Fn(&str, Micros, Micros) -> bool,
) -> Affinity {
    let mut last: BTreeMap<&str, (&str, Micros)> = BTreeMap::new();
    let mut found = Affinity::default();
    for sighting in sightings {
        let before = last.insert(&sighting.client, (&sighting.instance, sighting.at_us));
        let Some((instance, at)) = before else {
            continue;
        };
        // A pause, or an instance that left, frees the client to be placed anew.
        if sighting.at_us.saturating_sub(at) >= timeout_us
            || !eligible(instance, at, sighting.at_us)
        {
            continue;
        }
        found.checked += 1;
        if instance != sighting.instance {
            found.switches.push(Switch {
                client: sighting.client.clone(),
                last_us: at,
                at_us: sighting.at_us,
                from: instance.to_string(),
                to: sighting.instance.clone(),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(list: &[(u64, &str, &str)]) -> Vec<Sighting> {
        list.iter()
            .map(|(at, client, instance)| Sighting {
                at_us: *at,
                client: client.to_string(),
                instance: instance.to_string(),
            })
            .collect()
    }

    #[test]
    fn a_switch_without_a_reason_is_found() {
        let sightings = seen(&[(1, "c", "a"), (2, "d", "b"), (3, "c", "b"), (4, "d", "b")]);
        let found = affinity(&sightings, 100, |_, _, _| true);
        assert_eq!(found.checked, 2);
        assert_eq!(found.switches.len(), 1);
        assert_eq!((found.switches[0].last_us, found.switches[0].at_us), (1, 3));
        assert_eq!(found.switches[0].to, "b");
    }

    #[test]
    fn a_pause_or_a_loss_is_a_reason() {
        let paused = seen(&[(1, "c", "a"), (101, "c", "b")]);
        assert_eq!(affinity(&paused, 100, |_, _, _| true), Affinity::default());
        let just_in_time = seen(&[(1, "c", "a"), (100, "c", "b")]);
        assert_eq!(
            affinity(&just_in_time, 100, |_, _, _| true).switches.len(),
            1
        );
        let gone = affinity(&just_in_time, 100, |name, _, until| {
            name != "a" || until < 50
        });
        assert!(gone.switches.is_empty());
        // It stays where it was placed anew.
        let back = seen(&[(1, "c", "a"), (60, "c", "b"), (70, "c", "a")]);
        let found = affinity(&back, 100, |name, _, until| name != "a" || until < 50);
        assert_eq!(found.switches.len(), 1);
        assert_eq!(found.switches[0].from, "b");
    }
}
