//! What speaks against a rollout: what it cost, that it broke its own strategy, that it was not complete in time; and
//! what keeps it from being judged.

use super::cost::blame;
use super::rollouts::{Cause, Told};
use super::strategy::Strategy;
use super::{Finding, Study, more_than_before};
use crate::judge::bounds::Excess;
use crate::judge::timeline::micros as micros_of;
use crate::judge::words::{count, counted, list, micros};
use crate::record::Micros;

/// With fewer requests a pod that drops what it has in hand may have had nothing in hand.
const ENOUGH: u64 = 100;

/// All findings about one rollout with the numbers of their reasons, what users felt first.
pub(super) fn of(study: &Study<'_>) -> Vec<(usize, Finding)> {
    let found = [
        errors(study),
        too_few(study),
        too_many(study),
        late(study),
        unseen(study),
        too_little_traffic(study),
    ];
    let numbered = found.into_iter().enumerate();
    numbered.filter_map(|(i, f)| Some((i, f?))).collect()
}

/// Whether it cost requests.
fn errors(s: &Study<'_>) -> Option<Finding> {
    let cost = &s.cost;
    let more = more_than_before(cost.failed, s);
    if more == Excess::None {
        return None;
    }
    let because = format!(
        "{} cost {} of {} ({}){}",
        s.describe(),
        count(cost.failed),
        counted(cost.ended, "request"),
        whose(s),
        blame(s.rollout, cost)
    );
    let because = match (s.rollout.strategy, s.is_bad()) {
        (Strategy::Recreate, _) => {
            format!("{because}; the strategy Recreate ends all pods before it starts new ones")
        }
        (_, true) => format!("{because}; a version that cannot work must stop before users notice"),
        _ => because,
    };
    if more == Excess::Perhaps {
        return Some(Finding::unclear(
            format!("{because}; that may be chance"),
            "a longer time before the rollout",
        ));
    }
    if let Some(why) = s.analysis.generator.makes_errors()
        && cost.failed <= cost.by_generator
    {
        return Some(Finding::unclear(
            format!("{because}; but the generator was saturated: {why}"),
            "a run whose generator keeps its schedule",
        ));
    }
    if let Some(others) = s.disturbed_by() {
        // On pods that nothing but the rollout touched, they are the rollout's.
        if more_than_before(cost.apart, s) == Excess::Sure {
            return Some(Finding::fail(format!(
                "{because}; {} of them on pods that {others} did not hit",
                count(cost.apart)
            )));
        }
        return Some(Finding::unclear(
            format!("{because}; but {others} came at the same time, and they cannot be told apart"),
            "a run in which nothing else is broken during the rollout",
        ));
    }
    if s.background.ended == 0 && cost.old + cost.new == 0 {
        return Some(Finding::unclear(
            format!("{because}; but there was no traffic before it, and they may be usual"),
            "some seconds of traffic before the rollout",
        ));
    }
    Some(Finding::fail(because))
}

/// `12 on pods told to end, 3 on new pods, 2 that name no pod; before 0 of 1,200`.
fn whose(s: &Study<'_>) -> String {
    let cost = &s.cost;
    let parts = [
        (cost.old, "on pods told to end"),
        (cost.new, "on new pods"),
        (cost.others, "on other pods"),
        (cost.nobodys(), "that name no pod"),
    ];
    let words: Vec<String> = parts
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{} {what}", count(n)))
        .collect();
    format!(
        "{}; before it {} of {}",
        words.join(", "),
        count(s.background.failed),
        count(s.background.ended)
    )
}

/// Whether fewer pods were ready than its strategy allows.
fn too_few(s: &Study<'_>) -> Option<Finding> {
    // Of one from before the run, pods may have been missing before they were listed.
    let limits = s.limits.as_ref().filter(|_| !s.rollout.before)?;
    let (fewest, at, by_themselves) = s.capacity.fewest.as_ref()?;
    if s.capacity.at_first < limits.ready {
        return Some(Finding::unclear(
            format!(
                "only {} of {} pods were ready when the {} began, and its strategy asks for {} all the time",
                s.capacity.at_first,
                s.rollout.replicas.1,
                s.describe(),
                limits.ready
            ),
            "a rollout that begins with all pods ready",
        ));
    }
    if *fewest >= limits.ready {
        return None;
    }
    let mut because = format!(
        "at {} only {fewest} pods were ready in the {}, and its strategy asks for {} all the time ({})",
        s.analysis.when(*at),
        s.describe(),
        limits.ready,
        limits.arithmetic
    );
    if !by_themselves.is_empty() {
        because.push_str(&format!(
            "; {} had become not ready without being told to end",
            list(by_themselves)
        ));
    }
    Some(or_disturbed(s, because))
}

/// Whether there were more pods than its strategy allows.
fn too_many(s: &Study<'_>) -> Option<Finding> {
    let limits = s.limits.as_ref()?;
    let (most, since) = s.capacity.most.filter(|(most, _)| *most > limits.pods)?;
    Some(or_disturbed(
        s,
        format!(
            "from {} on there were {most} pods in the {}, and its strategy allows {} ({})",
            s.analysis.when(since),
            s.describe(),
            limits.pods,
            limits.arithmetic
        ),
    ))
}

/// A failure, or none that can be told where another fault may have caused it.
fn or_disturbed(s: &Study<'_>, because: String) -> Finding {
    match s.disturbed_by() {
        None => Finding::fail(because),
        Some(others) => Finding::unclear(
            format!("{because}; but {others} came at the same time, and may have caused it"),
            "a run in which nothing else is broken during the rollout",
        ),
    }
}

/// Whether it was complete in time.
fn late(s: &Study<'_>) -> Option<Finding> {
    let rollout = s.rollout;
    let within = micros_of(s.expected.within);
    let limit = micros(within);
    if s.is_bad() {
        return None;
    }
    if rollout.strategy == Strategy::OnDelete {
        return Some(Finding::unclear(
            format!(
                "{} waits for somebody to delete its pods: its strategy is OnDelete",
                s.describe()
            ),
            "the strategy RollingUpdate",
        ));
    }
    let deadline = rollout.began_us.saturating_add(within);
    if let Some(finished) = rollout.finished_us {
        let took = finished.saturating_sub(rollout.began_us);
        if finished > deadline {
            let because = format!(
                "{} was complete only after {}, limit {limit}{}",
                s.describe(),
                micros(took),
                s.why_late()
            );
            return Some(or_disturbed(s, because));
        }
        return rollout.before.then(|| {
            Finding::unclear(
                format!(
                    "{}: complete {} later, but when it began was not seen",
                    s.describe(),
                    micros(took)
                ),
                "a rollout that begins during the run",
            )
        });
    }
    if s.until > deadline {
        let because = format!(
            "{} was not complete within {limit}{}",
            s.describe(),
            s.why_late()
        );
        return Some(or_disturbed(s, because));
    }
    let after = micros(s.until.saturating_sub(rollout.began_us));
    Some(match rollout.superseded_us {
        Some(_) => Finding::unclear(
            format!(
                "{} was not complete when the next one began {after} later",
                s.describe()
            ),
            "rollouts further apart",
        ),
        None => Finding::unclear(
            format!(
                "{} was not complete when the run ended {after} later",
                s.describe()
            ),
            format!("a run that goes on for {limit} after the rollout"),
        ),
    })
}

impl Study<'_> {
    /// What the new pods, or the workload, show of why it takes so long.
    pub(super) fn why_late(&self) -> String {
        if self.rollout.paused {
            return ": it is paused".into();
        }
        let stuck = self
            .rollout
            .pods
            .new
            .iter()
            .filter(|(_, t)| t.ready.is_none());
        let with_reason = |(name, told): (&String, &Told)| {
            let why = told.incident.as_ref()?;
            Some(format!(": {name} is not ready, {why}"))
        };
        let reason = stuck.clone().find_map(with_reason);
        let plain = || {
            let names: Vec<String> = stuck.map(|(name, _)| name.clone()).collect();
            (!names.is_empty()).then(|| format!(": {} not ready", list(&names)))
        };
        reason.or_else(plain).unwrap_or_default()
    }
}

/// What was not seen of it.
fn unseen(s: &Study<'_>) -> Option<Finding> {
    if let Some(gap) = s.gaps.first() {
        return Some(Finding::unclear(
            format!(
                "the watch of {} was lost at {} during the {}: what happened then is not known",
                gap.of,
                s.analysis.when(gap.from),
                s.describe()
            ),
            "a rollout that is seen whole",
        ));
    }
    if s.rollout.strategy == Strategy::Unknown {
        return Some(Finding::unclear(
            format!(
                "the record does not tell the strategy of the {}",
                s.describe()
            ),
            "a record of this version of squall",
        ));
    }
    if s.capacity.fewest.is_none() {
        return Some(Finding::unclear(
            format!("no pod of the {} is in the record", s.describe()),
            "a view of its pods",
        ));
    }
    // One that cannot work goes on until it is taken back; what was seen of it is what there is.
    let settle = micros_of(s.expected.settle);
    let over = s.rollout.finished_us?;
    let needs: Micros = s.rollout.old_gone().unwrap_or(over).max(over) + settle;
    let end = s.analysis.timeline.schedule_end;
    (needs > end.saturating_add(100_000)).then(|| {
        Finding::unclear(
            format!(
                "traffic ended at {}, less than {} after the {} was over",
                s.analysis.when(end),
                micros(settle),
                s.describe()
            ),
            format!("traffic until {}", s.analysis.when(needs)),
        )
    })
}

/// Whether there was enough to fail.
fn too_little_traffic(s: &Study<'_>) -> Option<Finding> {
    let undone = matches!(s.rollout.cause, Cause::Undo(_));
    let few = s.cost.ended < ENOUGH;
    (few && !undone).then(|| {
        Finding::unclear(
            format!(
                "only {} requests ended during the {}",
                count(s.cost.ended),
                s.describe()
            ),
            format!("{ENOUGH} requests, so that pods have some in hand when they end"),
        )
    })
}
