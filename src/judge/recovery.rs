//! `recovery`: after each fault the service is well again in time, the dead are let go and replaced, and a graceful
//! stop costs nothing.

use super::Verdict;
use super::analysis::Analysis;
use super::bounds::{Excess, Losses, excess};
use super::finding::Finding;
use super::impact::{Failures, background};
use super::injection::Injection;
use super::recovery_evidence::{evidence, window_words};
use super::restore::criteria;
use super::timeline::{ENDPOINTS, PODS, gaps, micros as micros_of};
use super::trace::{Trace, Windows, trace};
use super::words::{count, counted, list, micros};
use crate::record::Micros;
use crate::scenario::units::format_duration;
use crate::scenario::{Effect, RecoveryExpectation, Target};

/// All that is known while one expectation is judged.
pub(super) struct Context<'a> {
    pub analysis: &'a Analysis<'a>,
    pub expected: &'a RecoveryExpectation,
    pub windows: &'a Windows,
    pub traces: &'a [Trace],
}

impl Context<'_> {
    /// The injection of a trace.
    pub fn injection(&self, trace: &Trace) -> &Injection {
        &self.analysis.injections[trace.index]
    }
    /// `kill of shop-2 at 20 s`.
    pub fn describe(&self, trace: &Trace) -> String {
        let injection = self.injection(trace);
        format!(
            "{} at {}",
            injection.describe(),
            self.analysis.when(injection.at())
        )
    }
    /// The last moment at which the system could show something by itself.
    pub fn watched_to(&self) -> Micros {
        let t = &self.analysis.timeline;
        t.stopping.min(t.stop)
    }
}

/// Judges one expectation over all injections.
pub(super) fn judge(analysis: &Analysis<'_>, expected: &RecoveryExpectation) -> Verdict {
    let scenario = &analysis.timeline.record.header.scenario;
    let windows = Windows::new(&analysis.timeline, criteria(scenario, Some(expected)));
    let search = windows.search(false);
    let traces = trace(
        &analysis.timeline,
        &analysis.injections,
        &search,
        expected.within,
    );
    let context = Context {
        analysis,
        expected,
        windows: &windows,
        traces: &traces,
    };
    let mut findings: Vec<(usize, usize, Finding)> = Vec::new();
    for (i, trace) in traces.iter().enumerate() {
        let found = [
            restored(&context, trace),
            endpoint(&context, trace),
            capacity(&context, trace),
            graceful(&context, trace),
        ];
        let numbered = found.into_iter().enumerate();
        findings.extend(numbered.filter_map(|(reason, f)| Some((i, reason, f?))));
    }
    // What failed first is told first.
    let (subject, mut finding) = match Finding::worst(findings) {
        Some((i, finding)) => (Some(i), finding),
        None => passed(&context),
    };
    finding.doubt(context.analysis);
    if !traces.is_empty()
        && let Some(without) = analysis.not_injected()
    {
        finding.because = format!("{}; {without}", finding.because);
    }
    Verdict {
        oracle: "recovery".into(),
        expectation: format!("recovery within {}", format_duration(expected.within)),
        verdict: finding.ruling,
        because: finding.because,
        missing: finding.missing,
        evidence: evidence(&context, subject),
    }
}

/// Nothing found against it.
fn passed(c: &Context<'_>) -> (Option<usize>, Finding) {
    let took = |t: &Trace| {
        t.found
            .restored_us
            .unwrap_or(Micros::MAX)
            .saturating_sub(since(c, t))
    };
    let slowest = (0..c.traces.len()).max_by_key(|i| took(&c.traces[*i]));
    let Some(slowest) = slowest else {
        let why = c.analysis.not_injected();
        let because = match why {
            Some(why) => format!("no fault was injected: {why}"),
            None => "no fault was injected".into(),
        };
        return (None, Finding::unclear(because, "an injection"));
    };
    let trace = &c.traces[slowest];
    let mut because = match trace.found.restored_us {
        Some(at) if at == trace.range.from => format!("no bad second after {}", c.describe(trace)),
        _ => format!("restored {}", after_words(c, trace)),
    };
    if c.traces.len() > 1 {
        because = format!(
            "{} were recovered from; slowest: {because}",
            counted(c.traces.len() as u64, "injection")
        );
    }
    because.push_str(&format!(", limit {}", micros(micros_of(c.expected.within))));
    (Some(slowest), Finding::pass(because))
}

/// The moment `within` counts from.
fn since(c: &Context<'_>, trace: &Trace) -> Micros {
    let within = micros_of(c.expected.within);
    trace
        .deadline
        .map_or(c.injection(trace).at(), |d| d.saturating_sub(within))
}

/// `4 s after kill of shop-2 at 20 s`.
fn after_words(c: &Context<'_>, trace: &Trace) -> String {
    let restored = trace.found.restored_us.unwrap_or(0);
    let undone = c
        .injection(trace)
        .undone_us
        .filter(|_| c.injection(trace).lasts.is_some());
    match undone {
        Some(undone) if restored >= undone => format!(
            "{} after the undo of {}",
            micros(restored - undone),
            c.describe(trace)
        ),
        _ => format!(
            "{} after {}",
            micros(restored.saturating_sub(c.injection(trace).at())),
            c.describe(trace)
        ),
    }
}

/// Whether the service was well again in time.
fn restored(c: &Context<'_>, trace: &Trace) -> Option<Finding> {
    let limit = micros(micros_of(c.expected.within));
    let what = c.describe(trace);
    let in_time = match (trace.found.restored_us, trace.deadline) {
        (Some(restored), Some(deadline)) => restored <= deadline,
        // Well again around a fault that is still there.
        (Some(_), None) => true,
        (None, _) => false,
    };
    if in_time {
        return None;
    }
    let Some(deadline) = trace.deadline else {
        return Some(Finding::unclear(
            format!("not restored after {what}, and the fault was not undone before the run ended"),
            "a run that goes on after the undo",
        ));
    };
    let possible = trace.earliest.restored_us.is_some_and(|at| at <= deadline);
    if possible {
        return Some(unclear_restoration(c, trace, deadline));
    }
    let worst = trace.found.worst.and_then(|i| window_words(c, i..i + 1));
    let pattern = trace
        .found
        .pattern
        .clone()
        .and_then(|range| window_words(c, range));
    let detail = match (worst, pattern) {
        (Some(worst), _) => format!("; worst {worst}"),
        (None, Some(together)) => format!("; {together}"),
        (None, None) => String::new(),
    };
    let finding = Finding::fail(match trace.found.restored_us {
        Some(_) => format!(
            "restored only {}, limit {limit}{detail}",
            after_words(c, trace)
        ),
        None => format!(
            "not restored within {limit} after {what}{}{detail}",
            still(c, trace)
        ),
    });
    Some(doubt_windows(c, trace, deadline, finding))
}

/// `, and still bad at 60 s`.
fn still(c: &Context<'_>, trace: &Trace) -> String {
    match trace.found.last_bad_us {
        Some(last) => format!(", last bad second up to {}", c.analysis.when(last)),
        None => String::new(),
    }
}

/// Not restored as far as the record shows, and it cannot be excluded either: says why.
fn unclear_restoration(c: &Context<'_>, trace: &Trace, deadline: Micros) -> Finding {
    let what = c.describe(trace);
    let need = counted(c.windows.criteria.windows as u64, "good second");
    if trace.found.restored_us.is_some() && trace.found.blind == 0 {
        return Finding::unclear(
            format!(
                "restored {}, within one second of the limit of {}: windows are no finer",
                after_words(c, trace),
                micros(micros_of(c.expected.within))
            ),
            "a limit one second away from what was seen",
        );
    }
    if let Some(next) = trace.next.filter(|_| trace.range.horizon < deadline) {
        let next = &c.analysis.injections[next];
        return Finding::unclear(
            format!(
                "not restored after {what} before {} at {}",
                next.describe(),
                c.analysis.when(next.at())
            ),
            "injections further apart",
        );
    }
    if trace.found.blind > 0 {
        return Finding::unclear(
            format!(
                "not seen restored after {what}: {} told nothing (no request, or requests that hung, were dropped \
                 or are not in the record)",
                counted(trace.found.blind as u64, "second")
            ),
            format!("{need} in a row with traffic"),
        );
    }
    Finding::unclear(
        format!(
            "the traffic ended at {} before {need} in a row after {what} fitted ({} seen)",
            c.analysis.when(c.analysis.timeline.schedule_end),
            trace.found.trailing
        ),
        format!("a run that goes on until {need} in a row fit"),
    )
}

/// A FAIL by windows counts under a slow generator only where errors that it cannot produce show it too.
fn doubt_windows(c: &Context<'_>, trace: &Trace, deadline: Micros, finding: Finding) -> Finding {
    let Some(why) = c.analysis.generator.makes_errors() else {
        return finding;
    };
    let hard = c.windows.search(true).run(trace.range, true);
    if hard.restored_us.is_none_or(|at| at > deadline) {
        return finding;
    }
    Finding::unclear(
        format!(
            "{}; but the generator was saturated: {why}",
            finding.because
        ),
        "a run whose generator keeps its schedule",
    )
}

/// Whether the balancer let the instance go in time.
fn endpoint(c: &Context<'_>, trace: &Trace) -> Option<Finding> {
    let injection = c.injection(trace);
    if !injection.must_leave_endpoints()
        || !trace.after.has_endpoints
        || injection.instances.is_empty()
    {
        return None;
    }
    let limit = micros_of(c.expected.endpoint_removed_within);
    let at = injection.at();
    let what = c.describe(trace);
    if let Some(removed) = trace.after.endpoint_removed_us {
        let lag = removed.saturating_sub(at);
        return (lag > limit).then(|| {
            let because = format!(
                "the balancer listed the instance for {} after {what}, limit {}",
                micros(lag),
                micros(limit)
            );
            // Told within a gap's catching up, it may have gone at any time in the gap.
            or_unseen(c, ENDPOINTS, (at, removed.saturating_add(1)), because)
        });
    }
    let until = injection
        .undone_us
        .unwrap_or(Micros::MAX)
        .min(c.watched_to());
    let waited = until.saturating_sub(at);
    let listed = list(&trace.after.still_listed);
    if waited > limit {
        let because = format!(
            "the balancer still listed {listed} {} after {what}, limit {}",
            micros(waited),
            micros(limit)
        );
        // A view that came back has told of all that is listed.
        return Some(or_unseen(
            c,
            ENDPOINTS,
            (until, until.saturating_add(1)),
            because,
        ));
    }
    // Taken back before the limit: there was no need to let it go.
    injection.undone_us.is_none().then(|| {
        Finding::unclear(
            format!(
                "the balancer still listed {listed} {} after {what}, when the run ended",
                micros(waited)
            ),
            format!("a run that goes on for {} after the fault", micros(limit)),
        )
    })
}

/// A failure, or none that can be told where the view that shows it was lost at that time.
fn or_unseen(c: &Context<'_>, of: &str, (from, to): (Micros, Micros), because: String) -> Finding {
    let mut gaps = gaps(c.analysis.timeline.record, &[of]).into_iter();
    match gaps.find(|gap| gap.touches(from, to)) {
        None => Finding::fail(because),
        Some(gap) => Finding::unclear(
            format!(
                "{because}; but the watch of {of} was lost at {}, so that a change came late or not at all",
                c.analysis.when(gap.from)
            ),
            "a run without a gap in its watches",
        ),
    }
}

/// Whether the dead were replaced. The others may carry the load, but the next fault will find one fewer.
fn capacity(c: &Context<'_>, trace: &Trace) -> Option<Finding> {
    let injection = c.injection(trace);
    if !injection.ends_instance() || !restarts(c) || trace.after.missing.is_empty() {
        return None;
    }
    let waited = c.watched_to().saturating_sub(injection.at());
    let missing = list(&trace.after.missing);
    let because = format!(
        "capacity not restored: no replacement of {missing} was ready {} after {}",
        micros(waited),
        c.describe(trace)
    );
    if waited > micros_of(c.expected.within) {
        let now = c.watched_to();
        return Some(or_unseen(c, PODS, (now, now.saturating_add(1)), because));
    }
    Some(Finding::unclear(
        format!("{because}, when the run ended"),
        format!(
            "a run that goes on for {} after the fault",
            micros(micros_of(c.expected.within))
        ),
    ))
}

/// Whether something restarts the dead, and the record tells of instances.
pub(super) fn restarts(c: &Context<'_>) -> bool {
    let record = c.analysis.timeline.record;
    let enabled = match &record.header.scenario.target {
        Target::Local(local) => local.restart.enabled,
        Target::Url(_) => false,
        // A workload replaces its pods; one that has none would not stand behind a Service for long.
        Target::Kubernetes(_) => true,
    };
    enabled
        && record
            .events
            .iter()
            .any(|e| matches!(e.what, crate::record::What::Instance(_)))
}

/// Whether a graceful stop cost requests.
fn graceful(c: &Context<'_>, trace: &Trace) -> Option<Finding> {
    let injection = c.injection(trace);
    let cost = trace.failures.blamed;
    if injection.effect != Effect::Retirement || cost == 0 {
        return None;
    }
    let losses = |f: &Failures| Losses {
        failed: f.blamed,
        unanswered: f.unanswered.min(f.blamed),
        ended: f.ended,
    };
    let before = background(&c.analysis.timeline, injection);
    let saturated = c.analysis.generator.makes_errors();
    let saturated = saturated.filter(|_| cost <= trace.failures.timed_out);
    let failed = format!(
        "{} failed on the instance or its connections after {}",
        counted(cost, "request"),
        c.describe(trace)
    );
    match (excess(losses(&trace.failures), losses(&before)), saturated) {
        (Excess::None, _) => None,
        (_, Some(why)) => Some(Finding::unclear(
            format!("{failed}, by timeouts; but the generator was saturated: {why}"),
            "a run whose generator keeps its schedule",
        )),
        (Excess::Sure, None) => Some(Finding::fail(format!(
            "a graceful stop must cost no request, but {failed}"
        ))),
        (Excess::Perhaps, None) => Some(Finding::unclear(
            format!(
                "{failed}, and {} of {} before: that may be chance",
                count(before.blamed),
                count(before.ended)
            ),
            "a longer time before the fault",
        )),
    }
}
