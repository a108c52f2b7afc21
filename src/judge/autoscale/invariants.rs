//! The invariants I1 to I8: what must hold of every autoscaler, checked from watches alone. Each check says how much
//! it could check and what it had to leave out, so that silence is not taken for consent.

use super::published::{Published, ratios};
use super::replicas::Tolerances;
use super::timeline::{GRAIN, Replayed, Sync, Timeline, Write};
use super::types::*;
use crate::record::Micros;

/// What a check of one invariant found.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// `I1` to `I8`.
    pub id: &'static str,
    /// What must hold.
    pub rule: &'static str,
    /// Decisions or writes checked.
    pub checked: u64,
    /// What could not be checked, and why.
    pub skipped: Vec<(Micros, String)>,
    /// Where it did not hold.
    pub violations: Vec<(Micros, String)>,
}

impl Check {
    fn new(id: &'static str, rule: &'static str) -> Self {
        Self {
            id,
            rule,
            checked: 0,
            skipped: Vec::new(),
            violations: Vec::new(),
        }
    }
    fn see(&mut self, holds: bool, at: Micros, text: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds {
            self.violations.push((at, text()));
        }
    }
    fn skip(&mut self, at: Micros, why: impl Into<String>) {
        self.skipped.push((at, why.into()));
    }
}

/// All of them.
pub fn check_all(timeline: &Timeline) -> Vec<Check> {
    let replayed = timeline.replay();
    vec![
        i1_within_limits(timeline),
        i2_decisions(timeline, &replayed),
        i3_stabilized(timeline, &replayed),
        i4_patient_at_first(timeline),
        i5_policies(timeline),
        i6_conditions(timeline, &replayed),
        i7_tolerance(timeline),
        i8_own_writes(timeline),
    ]
}

/// Writes that the limits of an edited spec forced: they pass by metrics, windows and rates.
fn forced(timeline: &Timeline, write: &Write) -> bool {
    let near = [write.at.saturating_sub(GRAIN), write.at];
    near.iter().filter_map(|at| timeline.spec(*at)).any(|spec| {
        (write.from > spec.max && write.to == spec.max)
            || (write.from < spec.min && write.to == spec.min)
    })
}

/// The spec that a write obeyed; where it was edited at that moment the check has to leave it out.
fn obeyed<'a>(timeline: &'a Timeline, write: &Write, check: &mut Check) -> Option<&'a Spec> {
    if timeline.edited(write.at) {
        check.skip(write.at, "the spec was edited at that moment");
        return None;
    }
    timeline.spec(write.at)
}

/// I1: every write is within the limits.
pub fn i1_within_limits(timeline: &Timeline) -> Check {
    let mut check = Check::new("I1", "every write lies within minReplicas and maxReplicas");
    let period = timeline.controller.sync_period.as_micros() as Micros;
    for write in timeline.own_writes() {
        // A write that was under way when the spec was edited obeys the old one.
        let near = [write.at.saturating_sub(period), write.at];
        let mut specs = near.iter().filter_map(|at| timeline.spec(*at));
        let holds = specs.any(|s| (s.min..=s.max).contains(&write.to));
        check.see(holds, write.at, || {
            let spec = timeline.spec(write.at);
            let (min, max) = spec.map_or((0, 0), |s| (s.min, s.max));
            format!("set to {} replicas; allowed are {min} to {max}", write.to)
        });
    }
    check
}

/// I2: a decision from a clean state is the oracle's, exactly.
pub fn i2_decisions(timeline: &Timeline, replayed: &[Replayed]) -> Check {
    let mut check = Check::new("I2", "each decision is the one that the algorithm gives");
    for (sync, replay) in timeline.syncs.iter().zip(replayed) {
        if replay.expected == super::published::Range::ANY {
            let why = replay.open.clone().unwrap_or_default();
            check.skip(sync.at, why);
            continue;
        }
        check.see(replay.expected.has(sync.desired), sync.at, || {
            format!(
                "decided {} at {} replicas; the published metrics ({}) give {}{}",
                sync.desired,
                sync.current,
                metrics(&sync.published),
                replay.expected,
                raw(replay)
            )
        });
        if let Some((stood, expected)) = replay.stood
            && replay.expected.has(sync.desired)
        {
            check.see(expected.has(sync.current), sync.at, || {
                format!(
                    "stayed at {} replicas for {} s; the published metrics ({}) give {expected}",
                    sync.current,
                    stood / 1_000_000,
                    metrics(&sync.published),
                )
            });
        }
    }
    check
}

fn raw(replay: &Replayed) -> String {
    match replay.raw {
        Some(raw) => format!(" (recommended {raw} before windows, rates and limits)"),
        None => String::new(),
    }
}

/// Published metrics in words.
pub(super) fn metrics(published: &[Published]) -> String {
    let each = published.iter().map(|metric| match metric {
        Published::Utilization { percent, target } => format!("{percent}% of {target}%"),
        Published::Average { mean, target } => format!("average {mean}m of {target}m"),
        Published::Value { value, target } => format!("{value}m of {target}m"),
        Published::PerReplica { mean, target } => format!("{mean}m per replica of {target}m"),
        Published::Invalid => "one unreadable".into(),
    });
    each.collect::<Vec<_>>().join(", ")
}

/// I3: a downscale does not go below any recommendation of the window before it.
pub fn i3_stabilized(timeline: &Timeline, replayed: &[Replayed]) -> Check {
    let mut check = Check::new(
        "I3",
        "no downscale goes below a recommendation of the stabilization window",
    );
    for write in timeline.own_writes() {
        if write.to >= write.from || forced(timeline, write) {
            continue;
        }
        let Some(spec) = obeyed(timeline, write, &mut check) else {
            continue;
        };
        let (_, window) = timeline.windows(spec);
        let began = timeline.memory_began(write.at).unwrap_or(0);
        if timeline.blind(write.at.saturating_sub(window), write.at) {
            check.skip(write.at, "a watch was blind within the window");
            continue;
        }
        // What surely lies in the window: seen in it, and by this controller.
        let seen = timeline.syncs.iter().zip(replayed).filter(|(sync, _)| {
            sync.at + window > write.at + GRAIN && sync.at <= write.at && sync.at >= began
        });
        let highest = seen
            .filter_map(|(sync, replay)| Some((sync.at, replay.raw?.low)))
            .max_by_key(|(_, raw)| *raw);
        let Some((at, raw)) = highest else {
            check.skip(write.at, "no recommendation in the window is known");
            continue;
        };
        check.see(write.to >= raw.min(write.from), write.at, || {
            format!(
                "went down from {} to {}, though {raw} were recommended {} s before; the window is {} s",
                write.from,
                write.to,
                (write.at - at) / 1_000_000,
                window / 1_000_000
            )
        });
    }
    check
}

/// I4: no downscale by metrics within the window after the controller's memory began.
pub fn i4_patient_at_first(timeline: &Timeline) -> Check {
    let mut check = Check::new(
        "I4",
        "no downscale by metrics within the window after creation or a restart of the controller",
    );
    let own = timeline.own_writes();
    let starts = timeline.created.iter().chain(&timeline.restarts);
    for start in starts {
        let Some(first) = timeline.syncs.iter().find(|s| s.at >= *start) else {
            continue;
        };
        check.checked += 1;
        for write in own.iter().filter(|w| w.at > *start) {
            let Some(spec) = timeline.spec(write.at) else {
                continue;
            };
            let (_, window) = timeline.windows(spec);
            let early = write.at + GRAIN < start + window;
            if early && write.to < first.current.min(write.from) && !forced(timeline, write) {
                check.violations.push((
                    write.at,
                    format!(
                        "went down from {} to {}, {} s after the controller's memory began with {}; the window is {} s",
                        write.from,
                        write.to,
                        (write.at - start) / 1_000_000,
                        first.current,
                        window / 1_000_000
                    ),
                ));
            }
        }
    }
    check
}

/// I5: the changes of a period together respect the policies.
pub fn i5_policies(timeline: &Timeline) -> Check {
    let mut check = Check::new("I5", "the changes of each period respect the policies");
    let own = timeline.own_writes();
    for write in &own {
        if forced(timeline, write) {
            continue;
        }
        let Some(spec) = obeyed(timeline, write, &mut check) else {
            continue;
        };
        let up = write.to > write.from;
        let rate = timeline.rate(&own, spec, write.at, write.from, up);
        let holds = if up {
            write.to <= rate.high
        } else {
            write.to >= rate.low
        };
        check.see(holds, write.at, || {
            let (word, limit) = if up {
                ("at most", rate.high)
            } else {
                ("at least", rate.low)
            };
            format!(
                "went from {} to {}; the policies allow {word} {limit}",
                write.from, write.to
            )
        });
    }
    check
}

/// I6: the conditions agree with the decision and with each other.
pub fn i6_conditions(timeline: &Timeline, replayed: &[Replayed]) -> Check {
    let mut check = Check::new("I6", "conditions agree with what was decided");
    for (sync, replay) in timeline.syncs.iter().zip(replayed) {
        let Some(spec) = timeline.spec(sync.at) else {
            continue;
        };
        let wrong = disagreements(sync, spec, replay, &timeline.controller);
        check.see(wrong.is_empty(), sync.at, || wrong.join("; "));
    }
    check
}

fn disagreements(
    sync: &Sync,
    spec: &Spec,
    replay: &Replayed,
    controller: &Controller,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let get = |kind: &str| sync.conditions.iter().find(|c| c.kind == kind);
    let mut expect = |holds: bool, text: String| {
        if !holds {
            wrong.push(text);
        }
    };
    if let Some(able) = get("AbleToScale") {
        let moved = sync.desired != sync.current;
        let claims = able.status && able.reason == "SucceededRescale";
        // Where the metrics failed, what was desired is an older status'.
        expect(
            !able.status || sync.failed() || moved == claims,
            format!(
                "AbleToScale is {} at {} of {} replicas",
                able.reason, sync.current, sync.desired
            ),
        );
    }
    if let Some(active) = get("ScalingActive") {
        let disabled = sync.current == 0 && spec.min != 0;
        expect(
            !disabled || active.reason == "ScalingDisabled",
            format!("ScalingActive is {} with no replicas", active.reason),
        );
        let readable = sync.published.iter().any(|m| *m != Published::Invalid);
        expect(
            !active.status || readable || sync.published.is_empty(),
            "ScalingActive is true though no metric could be read".into(),
        );
    }
    // The limits say nothing of a sync that metrics did not decide.
    let by_metrics = spec.asks_metrics(sync.current);
    if let Some(limited) = get("ScalingLimited").filter(|_| by_metrics && replay.raw.is_some()) {
        let holds = match limited.reason.as_str() {
            "TooManyReplicas" => limited.status && sync.desired == spec.max,
            "TooFewReplicas" => limited.status && sync.desired == spec.min,
            "ScaleUpLimit" => limited.status && sync.desired >= sync.current,
            "ScaleDownLimit" => limited.status && sync.desired <= sync.current,
            "DesiredWithinRange" => !limited.status,
            _ => true,
        };
        expect(
            holds,
            format!(
                "ScalingLimited is {} ({}) at {} desired of {} to {}",
                limited.status, limited.reason, sync.desired, spec.min, spec.max
            ),
        );
        // Recommended beyond the maximum and no window holding it back: that must show.
        let over = replay.raw.is_some_and(|r| r.low > spec.max);
        let no_window = spec
            .behavior
            .as_ref()
            .is_none_or(|b| super::decide::windows(controller, b).0 == 0);
        expect(
            !over || !no_window || limited.status,
            format!(
                "ScalingLimited is false though more than {} were recommended",
                spec.max
            ),
        );
    }
    wrong
}

/// I7: nothing moves while every metric is within tolerance.
pub fn i7_tolerance(timeline: &Timeline) -> Check {
    let mut check = Check::new("I7", "no scaling while every metric is within tolerance");
    for write in timeline.own_writes() {
        if forced(timeline, write) {
            continue;
        }
        let Some(spec) = obeyed(timeline, write, &mut check) else {
            continue;
        };
        let sync = timeline.syncs.iter().find(|s| {
            s.at.abs_diff(write.at) <= 2 * GRAIN && s.current == write.from && s.desired == write.to
        });
        let Some(sync) = sync else {
            check.skip(write.at, "the status of this decision was not seen");
            continue;
        };
        if let Some(why) = &sync.unclean {
            check.skip(write.at, why.clone());
            continue;
        }
        // Without behavior a recommendation that a limit held back is caught up with later.
        if spec.behavior.is_none() && write.to > write.from {
            check.skip(
                write.at,
                "without behavior an older recommendation may still act",
            );
            continue;
        }
        let tolerances = Tolerances::of(spec, &timeline.controller);
        let held = |metric: &Published| {
            let holds = |ratio| tolerances.holds(ratio) == Some(true);
            ratios(metric, sync.status_replicas)
                .is_some_and(|(low, high)| holds(low) && holds(high))
        };
        let all = !sync.published.is_empty() && sync.published.iter().all(held);
        check.see(!all, write.at, || {
            format!(
                "went from {} to {} with {}, within the tolerance of {} down and {} up",
                write.from,
                write.to,
                metrics(&sync.published),
                tolerances.down,
                tolerances.up
            )
        });
    }
    check
}

/// Names under which the controller writes.
const CONTROLLERS: [&str; 2] = ["horizontal-pod-autoscaler", "kube-controller-manager"];

/// I8: every change is the autoscaler's own; otherwise the foreign writer is named.
pub fn i8_own_writes(timeline: &Timeline) -> Check {
    let mut check = Check::new("I8", "nobody but the autoscaler changes spec.replicas");
    let own = timeline.own_writes();
    for write in &timeline.writes {
        if own.iter().any(|w| std::ptr::eq(*w, write)) {
            check.checked += 1;
            continue;
        }
        if timeline.blind(write.at, write.at) {
            check.skip(write.at, "the watch of events was blind");
            continue;
        }
        let excuse = timeline.excused.iter();
        if let Some((_, who)) = { excuse }.find(|(at, _)| at.abs_diff(write.at) <= GRAIN) {
            check.skip(write.at, format!("{who} set {} replicas", write.to));
            continue;
        }
        let manager = write.manager.as_deref();
        if manager.is_some_and(|m| CONTROLLERS.iter().any(|c| m.contains(c))) {
            // Events may be dropped, and the field's manager says enough.
            check.skip(write.at, "no event, but the controller wrote it");
            continue;
        }
        check.see(false, write.at, || {
            format!(
                "{} set {} replicas (before: {}), without a SuccessfulRescale",
                manager.unwrap_or("an unknown writer"),
                write.to,
                write.from
            )
        });
    }
    check
}
