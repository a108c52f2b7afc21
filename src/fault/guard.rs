//! Whether a fault may be made, and when the run must be given up: pure decisions.

use std::collections::{BTreeMap, BTreeSet};

use crate::platform::Instance;
use crate::record::{Interval, Micros, latency};
use crate::scenario::{
    AbortWhen, Bound, FaultKind, Guard, KeepReady, Limit, Metric, NODE_LABEL, OWNER_LABEL,
};

/// So many places of each owner; where a platform has no owners, all are one's.
pub type Places = BTreeMap<String, usize>;

fn owner(instance: &Instance) -> String {
    instance
        .labels
        .get(OWNER_LABEL)
        .cloned()
        .unwrap_or_default()
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

/// All that a fault takes away, whoever was chosen: what stands on the node, what the workload loses.
pub fn struck(kind: &FaultKind, victims: &[Instance], instances: &[Instance]) -> Vec<Instance> {
    let alive = instances.iter().filter(|i| i.alive);
    let of_same = |label: &str, i: &Instance| {
        let wanted = i.labels.get(label);
        wanted.is_some() && victims.iter().any(|v| v.labels.get(label) == wanted)
    };
    if kind.is_of_node() {
        let mut all = victims.to_vec();
        all.extend(
            alive
                .filter(|i| of_same(NODE_LABEL, i) && !victims.contains(i))
                .cloned(),
        );
        return all;
    }
    let FaultKind::Scale { replicas } = kind else {
        return victims.to_vec();
    };
    // Which of them go is the cluster's choice; how many is not.
    let mut left: Places = BTreeMap::new();
    let mut lost = Vec::new();
    for instance in alive.filter(|i| of_same(OWNER_LABEL, i)) {
        let kept = left.entry(owner(instance)).or_default();
        *kept += 1;
        if *kept > *replicas as usize {
            lost.push(instance.clone());
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
    let owners: BTreeSet<String> = victims.iter().map(owner).collect();
    owners.iter().try_for_each(|of| {
        let own = instances.iter().filter(|i| owner(i) == *of);
        let slots = slots.get(of).copied().unwrap_or_default();
        enough(keep, own, victims, slots).map_err(|why| match of.is_empty() {
            true => why,
            false => format!("{why} ({of})"),
        })
    })
}

/// Whether enough of one owner's instances stay ready.
fn enough<'a>(
    keep: KeepReady,
    instances: impl Iterator<Item = &'a Instance>,
    victims: &[Instance],
    total_slots: usize,
) -> Result<(), String> {
    let hit: BTreeSet<&str> = victims.iter().map(|v| v.name.as_str()).collect();
    let ready = instances.filter(|i| i.alive && i.ready);
    let (lost, left): (Vec<_>, Vec<_>) = ready.partition(|i| hit.contains(i.name.as_str()));
    let (needed, rule) = match keep {
        KeepReady::Count(n) => (n as usize, format!("keep-ready {n}")),
        KeepReady::Share(share) => {
            // The small subtrahend keeps 30% of 10 at 3, whatever the last bit of 0.3 * 10 is.
            let needed = (share.get() * total_slots as f64 - 1e-9).ceil() as usize;
            let rule = format!("keep-ready {share} is {needed} of {total_slots} instances");
            (needed, rule)
        }
    };
    if left.len() >= needed {
        return Ok(());
    }
    Err(format!(
        "{rule}: {} are ready and free of faults, {} of them would be hit, which leaves {}",
        lost.len() + left.len(),
        lost.len(),
        left.len()
    ))
}

/// Watches the seconds of traffic for the guard's abort conditions.
///
/// A condition must hold in so many seconds one after the other. A second without traffic (nothing ended, nothing
/// in flight) neither adds to that nor breaks it. A second in which requests are in flight and none has ended is a
/// service that hangs: errors count as 100%, latency as longer than any limit, throughput as zero; a hang must
/// not keep the guard from seeing what a crash would show it.
pub struct AbortMonitor {
    conditions: Vec<Condition>,
}

struct Condition {
    when: AbortWhen,
    /// Seconds that it must hold.
    needed: u64,
    /// Seconds that it has held.
    held: u64,
    /// Since when.
    since: Micros,
}

impl AbortMonitor {
    /// A monitor of these conditions.
    pub fn new(conditions: &[AbortWhen]) -> Self {
        let condition = |when: &AbortWhen| Condition {
            when: when.clone(),
            needed: (when.lasts.as_secs_f64().ceil() as u64).max(1),
            held: 0,
            since: 0,
        };
        let conditions = conditions.iter().map(condition).collect();
        Self { conditions }
    }

    /// Takes in a second of traffic; the reason to abort, once there is one.
    pub fn observe(&mut self, interval: &Interval) -> Option<String> {
        let second = &interval.second;
        let mut reason = None;
        for condition in &mut self.conditions {
            let bound = condition.when.bound;
            let Some(value) = measure(bound.metric, interval) else {
                continue;
            };
            if !holds(bound, value) {
                condition.held = 0;
                continue;
            }
            if condition.held == 0 {
                condition.since = second.start_us;
            }
            condition.held += 1;
            if condition.held >= condition.needed && reason.is_none() {
                reason = Some(format!(
                    "abort-when {}: it held from {:.1} s to {:.1} s, in the last second {} was {}",
                    condition.when.text,
                    condition.since as f64 / 1e6,
                    second.end_us as f64 / 1e6,
                    bound.metric,
                    show(bound.metric, value),
                ));
            }
        }
        reason
    }
}

/// The metric over one second, in the unit of its limit (microseconds, fraction, per second). `None`: the second
/// says nothing about it.
fn measure(metric: Metric, interval: &Interval) -> Option<f64> {
    let second = &interval.second;
    let (mut ended, mut failed, mut answered, mut in_flight) = (0, 0, 0, 0);
    for step in &second.steps {
        in_flight += step.in_flight;
        for (outcome, &n) in &step.ended {
            ended += n;
            failed += if outcome.failed() { n } else { 0 };
            answered += if outcome.answered() { n } else { 0 };
        }
    }
    if ended == 0 && in_flight == 0 {
        return None;
    }
    let hangs = ended == 0;
    match metric {
        Metric::Errors if hangs => Some(1.0),
        Metric::Errors => Some(failed as f64 / ended as f64),
        Metric::Throughput => {
            let seconds = second.end_us.saturating_sub(second.start_us) as f64 / 1e6;
            (seconds > 0.0).then(|| answered as f64 / seconds)
        }
        _ if hangs => Some(f64::INFINITY),
        Metric::Percentile(_) | Metric::Mean | Metric::Max => {
            let mut all = latency();
            all.auto(true);
            let responses = interval.histograms.iter().flat_map(|h| &h.response);
            for (_, histogram) in responses.filter(|(outcome, _)| outcome.in_latency()) {
                // Cannot fail: the sum resizes itself.
                let _ = all.add(histogram);
            }
            if all.is_empty() {
                return None;
            }
            Some(match metric {
                Metric::Percentile(p) => all.value_at_quantile(p / 100.0) as f64,
                Metric::Mean => all.mean(),
                _ => all.max() as f64,
            })
        }
    }
}

fn holds(bound: Bound, value: f64) -> bool {
    let limit = match bound.limit {
        Limit::Time(time) => time.as_secs_f64() * 1e6,
        Limit::Share(share) => share.get(),
        Limit::Rate(rate) => rate.get(),
    };
    bound.op.holds(value, limit)
}

fn show(metric: Metric, value: f64) -> String {
    match metric {
        Metric::Errors => format!("{:.1}%", value * 100.0),
        Metric::Throughput => format!("{value:.1}/s"),
        _ if value.is_infinite() => "without end (requests in flight, none answered)".into(),
        _ => format!("{:.1}ms", value / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Outcome, StepHistograms, StepSecond, TrafficSecond};
    use crate::scenario::Op;
    use crate::scenario::units::{Rate, Ratio};
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
            allow(&guard, &all, &struck(kind, &victims, &all), 0, &slots)
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
    fn no_more_injections_than_allowed() {
        let guard = Guard {
            max_faults: Some(2),
            ..Default::default()
        };
        assert_eq!(allow(&guard, &[], &[], 1, &Places::new()), Ok(()));
        let error = allow(&guard, &[], &[], 2, &Places::new()).unwrap_err();
        assert_eq!(error, "max-faults 2: 2 injections were made already");
    }

    /// A second: requests that ended well and badly, those in flight, and the response time of those that ended.
    fn second(n: u64, ok: u64, refused: u64, in_flight: u64, ms: u64) -> Interval {
        let mut step = StepSecond {
            in_flight,
            ..Default::default()
        };
        let mut all = StepHistograms::default();
        for (outcome, count) in [(Outcome::Ok, ok), (Outcome::Refused, refused)] {
            if count > 0 {
                step.ended.insert(outcome, count);
                let mut h = latency();
                h.record_n(ms * 1000, count).unwrap();
                all.response.insert(outcome, h);
            }
        }
        let (start_us, end_us) = (n * 1_000_000, (n + 1) * 1_000_000);
        let second = TrafficSecond {
            start_us,
            end_us,
            steps: vec![step],
            ..Default::default()
        };
        Interval {
            second,
            histograms: vec![all],
        }
    }

    /// The number of the second that aborts.
    fn aborts(
        metric: Metric,
        op: Op,
        limit: Limit,
        lasts: u64,
        seconds: &[(u64, u64, u64, u64)],
    ) -> Option<usize> {
        let when = AbortWhen {
            text: "this".into(),
            bound: Bound { metric, op, limit },
            lasts: Duration::from_secs(lasts),
        };
        let mut monitor = AbortMonitor::new(&[when]);
        seconds
            .iter()
            .enumerate()
            .position(|(n, &(ok, refused, in_flight, ms))| {
                monitor
                    .observe(&second(n as u64, ok, refused, in_flight, ms))
                    .is_some()
            })
    }

    const WELL: (u64, u64, u64, u64) = (100, 0, 2, 10);
    const BAD: (u64, u64, u64, u64) = (40, 60, 2, 10);
    const HALF: (u64, u64, u64, u64) = (50, 50, 2, 10);
    const IDLE: (u64, u64, u64, u64) = (0, 0, 0, 0);
    const HANG: (u64, u64, u64, u64) = (0, 0, 9, 0);
    const DEAD: (u64, u64, u64, u64) = (0, 99, 0, 1);

    #[test]
    fn errors_abort_when_they_hold_in_every_second_for_so_long() {
        let half = Limit::Share(Ratio::fraction(0.5));
        let errors = |seconds: &[_]| aborts(Metric::Errors, Op::More, half, 3, seconds);
        assert_eq!(
            errors(&[WELL, BAD, BAD, WELL, BAD, BAD, BAD, WELL]),
            Some(6)
        );
        assert_eq!(errors(&[BAD, BAD, HALF, BAD, BAD]), None);
        assert_eq!(errors(&[BAD, IDLE, BAD, IDLE, BAD]), Some(4));
        assert_eq!(errors(&[IDLE; 10]), None);
        assert_eq!(errors(&[WELL, HANG, HANG, HANG]), Some(3));
        assert_eq!(errors(&[BAD, HANG, DEAD]), Some(2));
    }

    #[test]
    fn latency_aborts_on_slowness_and_on_a_hang_but_not_on_refusals() {
        let slow = (100, 0, 2, 900);
        let limit = Limit::Time(Duration::from_millis(500));
        let p99 = |seconds: &[_]| aborts(Metric::Percentile(99.0), Op::More, limit, 2, seconds);
        assert_eq!(p99(&[WELL, slow, slow]), Some(2));
        assert_eq!(p99(&[WELL, slow, WELL, slow]), None);
        assert_eq!(p99(&[slow, HANG]), Some(1));
        // Refused requests say nothing about latency: they neither add nor break.
        assert_eq!(p99(&[slow, DEAD, slow]), Some(2));
        assert_eq!(p99(&[DEAD; 5]), None);
        let mean = |seconds: &[_]| aborts(Metric::Mean, Op::AtLeast, limit, 1, seconds);
        assert_eq!(mean(&[WELL, slow]), Some(1));
        let max = |seconds: &[_]| aborts(Metric::Max, Op::More, limit, 0, seconds);
        assert_eq!(max(&[WELL, slow]), Some(1));
    }

    #[test]
    fn throughput_aborts_when_it_falls_but_not_before_there_is_traffic() {
        let limit = Limit::Rate(Rate::per_second(50.0));
        let falls = |seconds: &[_]| aborts(Metric::Throughput, Op::Less, limit, 2, seconds);
        assert_eq!(falls(&[IDLE, IDLE, WELL, WELL]), None);
        assert_eq!(falls(&[WELL, HANG, DEAD]), Some(2));
        assert_eq!(falls(&[WELL, HALF, BAD, BAD]), Some(3));
    }

    #[test]
    fn the_reason_says_since_when_and_how_bad() {
        let when = AbortWhen {
            text: "errors > 50% for 2s".into(),
            bound: Bound {
                metric: Metric::Errors,
                op: Op::More,
                limit: Limit::Share(Ratio::fraction(0.5)),
            },
            lasts: Duration::from_secs(2),
        };
        let mut monitor = AbortMonitor::new(&[when]);
        assert_eq!(monitor.observe(&second(4, 40, 60, 0, 1)), None);
        assert_eq!(
            monitor.observe(&second(5, 20, 80, 0, 1)).unwrap(),
            "abort-when errors > 50% for 2s: it held from 4.0 s to 6.0 s, in the last second errors was 80.0%"
        );
    }
}
