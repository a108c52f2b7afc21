//! Parts of sentences that several outputs share, so that they say the same thing the same way.

use crate::judge::words::{bytes, counted, micros, percent};
use crate::judge::{FaultSummary, InstanceSummary, LatencySummary, Ruling, Summary};
use crate::record::{Ended, FaultStage, Host, Micros};
use crate::scenario::FaultPhase;

/// Stands where there is no number.
pub(super) const NONE: &str = "-";

/// The step that ends an injection's story well.
pub(super) const RESTORED: &str = "service restored";

/// Beside the instances of a run of which [`Summary::none_named`] holds.
pub(super) const NONE_NAMED: &str = "no answer says which instance it came from: let the service name it in the header `x-squall-instance`, or in the one that `instance-header` of the target names";

/// An instance's share of the answers.
pub(super) fn share(instance: &InstanceSummary) -> String {
    percent((instance.share * 1000.0).round() / 1000.0)
}

/// A ruling as it is printed.
pub(super) fn ruling(ruling: Ruling) -> &'static str {
    match ruling {
        Ruling::Pass => "PASS",
        Ruling::Inconclusive => "INCONCLUSIVE",
        Ruling::Fail => "FAIL",
    }
}

/// The ruling over all as it is printed.
pub(super) fn overall(ruling: Option<Ruling>) -> &'static str {
    ruling.map_or("NOT JUDGED", self::ruling)
}

/// How many of the expectations held: `2 of 3 expectations hold`.
pub(super) fn tally(verdicts: &[crate::judge::Verdict]) -> String {
    let number = |of: Ruling| verdicts.iter().filter(|v| v.verdict == of).count();
    let (failed, unsure) = (number(Ruling::Fail), number(Ruling::Inconclusive));
    let all = verdicts.len();
    let noun = if all == 1 {
        "expectation"
    } else {
        "expectations"
    };
    if crate::judge::nothing_expected(verdicts) {
        return "the scenario expects nothing, so nothing was judged".into();
    }
    match (all, failed, unsure) {
        (1, 0, 0) => "the one expectation holds".into(),
        (_, 0, 0) => format!("all {all} expectations hold"),
        (_, 0, _) => format!("{unsure} of {all} {noun} could not be told"),
        (_, _, 0) => format!("{failed} of {all} {noun} failed"),
        _ => format!("{failed} of {all} {noun} failed, {unsure} could not be told"),
    }
}

/// Why a run is not whole; `None` for one that is.
pub(super) fn cut_short(ended: &Option<Ended>) -> Option<String> {
    match ended {
        Some(Ended::Completed) => None,
        Some(Ended::Aborted { reason }) => Some(format!("aborted: {reason}")),
        None => Some("the record stops in the middle of the run".into()),
    }
}

/// One value of a latency distribution; a dash where there is no sample.
pub(super) fn latency(of: &LatencySummary, us: u64) -> String {
    if of.count == 0 {
        NONE.into()
    } else {
        micros(us)
    }
}

/// CPU in cores: `0.35`; with "of a core" left to the column's head.
pub(super) fn cores(millicores: u64) -> String {
    format!("{:.2}", millicores as f64 / 1000.0)
}

/// Takes off the zeros after a decimal point.
pub(super) fn trim(number: String) -> String {
    match number.contains('.') {
        true => number
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_string(),
        false => number,
    }
}

/// A part of the run relative to its faults.
pub(super) fn phase(phase: FaultPhase) -> &'static str {
    match phase {
        FaultPhase::Before => "before faults",
        FaultPhase::During => "during faults",
        FaultPhase::After => "after faults",
    }
}

/// How long traffic ran.
pub(super) fn traffic_length(summary: &Summary) -> String {
    let length = summary
        .traffic_end_us
        .saturating_sub(summary.traffic_start_us);
    micros(length)
}

/// The machine in a phrase.
pub(super) fn host(host: &Host) -> String {
    let mut parts = Vec::new();
    let mut add = |text: String| {
        if !text.is_empty() {
            parts.push(text);
        }
    };
    add(host.name.clone());
    add(host.os.clone());
    if host.cores > 0 {
        let of = if host.cpu.is_empty() {
            String::new()
        } else {
            format!(" of {}", host.cpu)
        };
        add(format!("{}{of}", counted(host.cores.into(), "core")));
    }
    if host.memory_bytes > 0 {
        add(format!("{} memory", bytes(host.memory_bytes)));
    }
    parts.join(", ")
}

/// What is hit: `kill shop-2`.
pub(super) fn fault_title(fault: &FaultSummary) -> String {
    match fault.instances.len() {
        0 => fault.fault.clone(),
        1..=3 => format!("{} {}", fault.fault, fault.instances.join(", ")),
        n => format!("{} {n} instances", fault.fault),
    }
}

/// A step of what followed an injection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Milestone {
    /// What.
    pub what: &'static str,
    /// When.
    pub at: Micros,
    /// How long after the injection.
    pub after: Micros,
}

/// What followed an injection, in order of time.
pub(super) fn milestones(fault: &FaultSummary) -> Vec<Milestone> {
    let Some(zero) = fault.injected_us else {
        return Vec::new();
    };
    let ready = match fault.effect.ends_instance() {
        true => "replacement ready",
        false => "ready again",
    };
    let all = [
        ("first error", fault.first_error_us),
        ("not ready", fault.not_ready_us),
        ("out of the balancer", fault.endpoint_removed_us),
        ("last request to it", fault.last_request_us),
        ("last error", fault.last_error_us),
        ("fault undone", fault.undone_us),
        (ready, fault.ready_again_us),
        ("first served", fault.first_served_us),
        (RESTORED, fault.restored_us),
    ];
    let mut seen: Vec<_> = all
        .into_iter()
        .filter_map(|(what, at)| {
            let at = at?;
            let after = at.saturating_sub(zero);
            Some(Milestone { what, at, after })
        })
        .collect();
    seen.sort_by_key(|m| m.at);
    seen
}

/// What an injection cost, or why it was not made.
pub(super) fn fault_outcome(fault: &FaultSummary) -> String {
    let reason = fault.detail.as_deref().unwrap_or("no reason recorded");
    match fault.stage {
        FaultStage::Refused => format!("refused by the guard, nothing was done: {reason}"),
        FaultStage::Failed => format!("could not be made: {reason}"),
        FaultStage::Ineffective => format!("had no effect: {reason}"),
        FaultStage::Injecting => "was being made when the record ends".into(),
        FaultStage::Injected => {
            let cost = format!("{} failed", counted(fault.failed_requests, "request"));
            match fault.restored_us {
                Some(_) => cost,
                None => format!("{cost}; service not seen restored"),
            }
        }
    }
}

/// The same in one sentence: `first error +3.0 ms, service restored +2.00 s; 14 requests failed`.
pub(super) fn fault_story(fault: &FaultSummary) -> String {
    let steps: Vec<_> = milestones(fault)
        .iter()
        .map(|m| format!("{} +{}", m.what, micros(m.after)))
        .collect();
    let outcome = fault_outcome(fault);
    if steps.is_empty() {
        outcome
    } else {
        format!("{}; {outcome}", steps.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::scenario::Effect;

    #[test]
    fn who_is_gone_is_replaced_and_who_stays_is_ready_again() {
        for (effect, says) in [
            (Effect::Retirement, "replacement ready"),
            (Effect::Restart, "ready again"),
        ] {
            let fault = FaultSummary {
                effect,
                ..fixture::kill().summary.faults.remove(0)
            };
            let story = fault_story(&fault);
            assert!(story.contains(says), "{effect:?}: {story}");
        }
    }
}
