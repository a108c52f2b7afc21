//! When faults are injected: a pure function of the scenario.

use std::time::Duration;

use crate::scenario::FaultSpec;

/// One planned injection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// Counted from the start of traffic.
    pub at: Duration,
    /// Index of the spec in the scenario.
    pub spec: usize,
    /// Which injection of this spec, from 1.
    pub nth: u32,
    /// Undone after so long.
    pub lasts: Option<Duration>,
}

/// All planned injections in time order, those of the same moment in file order. None at or after the end of
/// traffic: nobody would feel it.
pub fn occurrences(specs: &[FaultSpec], traffic: Duration) -> Vec<Occurrence> {
    let mut all = Vec::new();
    for (spec, fault) in specs.iter().enumerate() {
        // Without a distance there is one; a distance of zero would mean infinitely many at once.
        let every = fault.every.filter(|every| !every.is_zero());
        let times = match every {
            None => fault.times.unwrap_or(1).min(1),
            Some(_) => fault.times.unwrap_or(u32::MAX),
        };
        let mut at = fault.at;
        for nth in 1..=times {
            if at >= traffic {
                break;
            }
            let lasts = fault.lasts;
            all.push(Occurrence {
                at,
                spec,
                nth,
                lasts,
            });
            at = at.saturating_add(every.unwrap_or_default());
        }
    }
    // Stable: equal moments stay in file order.
    all.sort_by_key(|occurrence| occurrence.at);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::injector::tests::spec;
    use crate::scenario::FaultKind;

    fn times(
        at: u64,
        every: Option<u64>,
        times: Option<u32>,
        traffic: u64,
    ) -> Vec<(u64, usize, u32)> {
        let seconds = Duration::from_secs;
        let mut kill = spec(FaultKind::Kill, seconds(at));
        kill.every = every.map(seconds);
        kill.times = times;
        let once = spec(FaultKind::Kill, seconds(20));
        let all = occurrences(&[kill, once], seconds(traffic));
        all.iter()
            .map(|o| (o.at.as_secs(), o.spec, o.nth))
            .collect()
    }

    #[test]
    fn once_at_its_time() {
        assert_eq!(times(5, None, None, 60), [(5, 0, 1), (20, 1, 1)]);
        assert_eq!(times(30, None, Some(3), 60), [(20, 1, 1), (30, 0, 1)]);
    }

    #[test]
    fn again_and_again_in_time_order_until_traffic_ends() {
        let expected = [(10, 0, 1), (20, 0, 2), (20, 1, 1), (30, 0, 3)];
        assert_eq!(times(10, Some(10), None, 40), expected);
        assert_eq!(times(10, Some(10), None, 41).last(), Some(&(40, 0, 4)));
        let expected = [(10, 0, 1), (15, 0, 2), (20, 1, 1)];
        assert_eq!(times(10, Some(5), Some(2), 40), expected);
    }

    #[test]
    fn none_at_or_after_the_end_of_traffic() {
        assert_eq!(times(20, None, None, 20), []);
        assert_eq!(times(0, None, Some(0), 30), [(20, 1, 1)]);
    }

    #[test]
    fn absurd_distances_neither_loop_nor_overflow() {
        assert_eq!(times(5, Some(0), None, 10), [(5, 0, 1)]);
        assert_eq!(times(5, Some(u64::MAX), None, 10), [(5, 0, 1)]);
    }
}
