//! `slo`: what users feel, against a bound. Percentiles, mean, maximum, error ratio and throughput; for all traffic,
//! a flow, a step, or the time before, during and after faults.

use super::analysis::Analysis;
use super::bounds::{Decision, Tally, decide, is_latency, latency_value, limit_of, point_holds};
use super::slo_evidence::{Context, evidence, where_and_when};
use super::timeline::{Scope, Slice, longest_timeout};
use super::words::{count, counted, micros, micros_exact, percent, rate};
use super::{Ruling, Verdict, generator};
use crate::record::Outcome;
use crate::scenario::{Bound, FaultPhase, LatencyKind, Limit, Metric, SloExpectation};

/// What has been found out about an expectation so far.
struct Finding {
    ruling: Ruling,
    because: String,
    missing: Option<String>,
}

impl Finding {
    fn inconclusive(because: impl Into<String>, missing: impl Into<String>) -> Self {
        Self {
            ruling: Ruling::Inconclusive,
            because: because.into(),
            missing: Some(missing.into()),
        }
    }
    /// Turns what was decided into "cannot be told", keeping what was seen.
    fn doubt(&mut self, why: &str, missing: impl Into<String>) {
        self.ruling = Ruling::Inconclusive;
        self.because = format!("{}; but {why}", self.because);
        self.missing = Some(missing.into());
    }
}

/// Judges one expectation.
pub(super) fn judge(analysis: &Analysis<'_>, slo: &SloExpectation) -> Verdict {
    let scope = analysis.scope(slo);
    let slice = analysis.timeline.slice(&scope);
    let tally = slice.tally(&slo.bound, slo.of);
    let context = Context {
        analysis,
        slo,
        scope,
        slice: &slice,
        tally: &tally,
    };
    let mut finding = first_look(&context);
    doubt_damage(&context, &mut finding);
    doubt_own_errors(&context, &mut finding);
    doubt_unfinished(&context, &mut finding);
    doubt_cut(&context, &mut finding);
    doubt_generator(&context, &mut finding);
    Verdict {
        oracle: "slo".into(),
        expectation: slo.text.clone(),
        verdict: finding.ruling,
        because: finding.because,
        missing: finding.missing,
        evidence: evidence(&context),
    }
}

/// ` in step cart of flow browse, during faults`; empty for all traffic.
pub(super) fn scope_words(slo: &SloExpectation) -> String {
    let mut words = match (&slo.flow, &slo.step) {
        (Some(flow), Some(step)) => format!(" in step `{step}` of flow `{flow}`"),
        (Some(flow), None) => format!(" in flow `{flow}`"),
        (None, Some(step)) => format!(" in step `{step}`"),
        (None, None) => String::new(),
    };
    match slo.phase {
        Some(FaultPhase::Before) => words.push_str(" before the first fault"),
        Some(FaultPhase::During) => words.push_str(" during faults"),
        Some(FaultPhase::After) => words.push_str(" after faults"),
        None => {}
    }
    words
}

/// The verdict on the numbers alone.
fn first_look(c: &Context<'_>) -> Finding {
    let (slice, slo) = (c.slice, c.slo);
    let ended = slice.ended();
    let place = scope_words(slo);
    if slice.due == 0 && ended == 0 {
        return nothing_there(c, &place);
    }
    if ended == 0 && slo.bound.metric != Metric::Throughput {
        return Finding::inconclusive(
            format!("none of {}{place} had ended", counted(slice.due, "request")),
            "requests that end",
        );
    }
    if is_latency(slo.bound.metric) && slice.answered() == 0 {
        return none_answered(c, &place);
    }
    let decision = decide(&slo.bound, c.tally);
    let Some(value) = value_of(c) else {
        return Finding::inconclusive(
            format!("no latency was recorded{place}"),
            "the histograms of the record",
        );
    };
    let (observed, limit) = shown(&slo.bound, value);
    let mut because = format!(
        "{}{}{place} {} {observed}, limit {limit}, over {}",
        if slo.of == LatencyKind::Service {
            "service time "
        } else {
            ""
        },
        slo.bound.metric,
        if slo.bound.metric == Metric::Errors {
            "were"
        } else {
            "was"
        },
        basis(c, &decision)
    );
    if point_holds(&slo.bound, c.tally) == Some(false) {
        because.push_str(&where_and_when(c));
    }
    let missing = (decision.ruling == Ruling::Inconclusive).then(|| too_few(&slo.bound, &decision));
    Finding {
        ruling: decision.ruling,
        because: match &missing {
            Some(missing) => format!("{because}: too few to tell, {missing}"),
            None => because,
        },
        missing,
    }
}

fn nothing_there(c: &Context<'_>, place: &str) -> Finding {
    let injected = c.analysis.injections.iter().any(|i| i.effective());
    let why = match c.slo.phase {
        Some(FaultPhase::During | FaultPhase::After) if !injected => {
            let refused = c.analysis.not_injected();
            format!(
                ": {}",
                refused.unwrap_or_else(|| "no fault was injected".into())
            )
        }
        _ => String::new(),
    };
    let warm_up = c.analysis.timeline.record.header.scenario.run.warm_up;
    let later = match warm_up.is_zero() {
        true => "",
        false => " after the warm-up",
    };
    Finding::inconclusive(
        format!("no request was due{place}{later}{why}"),
        format!("requests{place}"),
    )
}

/// Requests ended and none of them with an answer: whatever the percentile of nothing is, it did not hold.
fn none_answered(c: &Context<'_>, place: &str) -> Finding {
    let ended = c.slice.ended();
    let kind = super::slo_evidence::dominant_error(c.slice);
    let because = format!(
        "no request was answered{place}: all {} failed{}",
        count(ended),
        kind.map(|(kind, n)| format!(" ({} {kind})", count(n)))
            .unwrap_or_default()
    );
    if c.slice.with(Outcome::Local) == ended {
        return Finding::inconclusive(
            format!("{because} {}", generator::own_fault(&c.analysis.timeline)),
            "requests that reach the service",
        );
    }
    Finding {
        ruling: Ruling::Fail,
        because,
        missing: None,
    }
}

/// The value in the bound's unit, as it is shown.
fn value_of(c: &Context<'_>) -> Option<f64> {
    let slice = c.slice;
    match c.slo.bound.metric {
        Metric::Errors => (slice.ended() > 0).then(|| slice.failed() as f64 / slice.ended() as f64),
        Metric::Throughput => slice.throughput(),
        metric => latency_value(metric, slice.latency(c.slo.of)),
    }
}

/// Value and limit in words; with all digits where rounding would make them look alike.
pub(super) fn shown(bound: &Bound, value: f64) -> (String, String) {
    let limit = limit_of(bound);
    match bound.limit {
        Limit::Time(_) => {
            let (a, b) = (value.max(0.0) as u64, limit as u64);
            match micros(a) == micros(b) && a != b {
                true => (micros_exact(a), micros_exact(b)),
                false => (micros(a), micros(b)),
            }
        }
        Limit::Share(share) => {
            let text = percent(value);
            match text == share.to_string() && value != limit {
                true => (format!("{:.6}%", value * 100.0), share.to_string()),
                false => (text, share.to_string()),
            }
        }
        Limit::Rate(_) => {
            let (a, b) = (rate(value), rate(limit));
            match a == b && value != limit {
                true => (format!("{value:.3}/s"), format!("{limit:.3}/s")),
                false => (a, b),
            }
        }
    }
}

/// What a value was taken over.
fn basis(c: &Context<'_>, decision: &Decision) -> String {
    match c.slo.bound.metric {
        Metric::Throughput => {
            let (answered, seconds) = c.slice.paced();
            let later = match c.slice.answered().saturating_sub(answered) {
                0 => String::new(),
                later => format!(" ({} more when nothing was due any more)", count(later)),
            };
            format!(
                "{} answered in {}{later}",
                counted(answered, "request"),
                micros((seconds * 1e6) as u64)
            )
        }
        Metric::Errors => format!(
            "{} ({} failed)",
            counted(decision.samples, "request"),
            match c.slice.failed() {
                0 => "none".to_string(),
                failed => count(failed),
            }
        ),
        _ => counted(decision.samples, "request"),
    }
}

fn too_few(bound: &Bound, decision: &Decision) -> String {
    let needed = decision.needed;
    match bound.metric {
        Metric::Throughput => "it takes at least one second".into(),
        Metric::Errors => format!(
            "an error ratio of {} takes {} requests",
            shown(bound, 0.0).1,
            count(needed)
        ),
        metric => format!("a {metric} takes {}", counted(needed, "request")),
    }
}

/// Latencies that the counts promise and the interval log does not hold may have been anything.
fn doubt_damage(c: &Context<'_>, finding: &mut Finding) {
    let promised = c.slice.promised(c.slo.of);
    let lost = promised.saturating_sub(c.tally.samples);
    if lost == 0 || !is_latency(c.slo.bound.metric) || finding.ruling == Ruling::Inconclusive {
        return;
    }
    let other_way = Tally {
        samples: c.tally.samples.saturating_add(lost),
        bad: match finding.ruling {
            Ruling::Pass => c.tally.bad.saturating_add(lost),
            _ => c.tally.bad,
        },
        ..*c.tally
    };
    let sure = !matches!(c.slo.bound.metric, Metric::Mean)
        && c.slice.answered() > 0
        && decide(&c.slo.bound, &other_way).ruling == finding.ruling;
    if !sure && c.slice.answered() > 0 {
        let why = format!(
            "the record lacks the latencies of {}",
            counted(lost, "request")
        );
        finding.doubt(&why, "the damaged part of the record");
    }
}

/// Errors of the generator's own making are not the service's.
fn doubt_own_errors(c: &Context<'_>, finding: &mut Finding) {
    let own = c.slice.with(Outcome::Local);
    if own == 0 || c.slo.bound.metric != Metric::Errors || finding.ruling != Ruling::Fail {
        return;
    }
    if decide(&c.slo.bound, &without_failures(c.tally, own)).ruling != Ruling::Fail {
        let why = format!(
            "{} of them failed {}",
            count(own),
            generator::own_fault(&c.analysis.timeline)
        );
        finding.doubt(&why, "requests that the generator can send");
    }
}

/// What was in flight when the graceful stop was over might have been answered, or not: it decides nothing. In the
/// tally it counts as failed, and with the time that it had waited till then.
fn doubt_unfinished(c: &Context<'_>, finding: &mut Finding) {
    let open = c.slice.with(Outcome::Unfinished);
    if open == 0 || finding.ruling == Ruling::Inconclusive {
        return;
    }
    let unseen = match c.slo.of {
        LatencyKind::Response => 0,
        LatencyKind::Service => open,
    };
    let samples = c.tally.samples.saturating_add(unseen);
    let other_ways = match c.slo.bound.metric {
        Metric::Errors => vec![without_failures(c.tally, open)],
        Metric::Percentile(_) | Metric::Max => vec![Tally {
            samples,
            bad: c.tally.bad.saturating_add(open).min(samples),
            ..*c.tally
        }],
        // Answered at that moment, or only when its timeout was almost over.
        Metric::Mean => {
            let most = longest_timeout(&c.analysis.timeline) as f64;
            let with = |more_us: f64| Tally {
                samples,
                sum_us: c.tally.sum_us + open as f64 * more_us,
                sum_squares: c.tally.sum_squares + open as f64 * more_us * more_us,
                ..*c.tally
            };
            vec![with(0.0), with(most)]
        }
        Metric::Throughput => return,
    };
    let stays = |way: &Tally| decide(&c.slo.bound, way).ruling == finding.ruling;
    if !other_ways.iter().all(stays) {
        finding.doubt(
            &format!(
                "{} still in flight when the graceful stop was over",
                counted(open, "request") + if open == 1 { " was" } else { " were" }
            ),
            "a longer `graceful-stop`, or a longer run",
        );
    }
}

fn without_failures(tally: &Tally, failures: u64) -> Tally {
    Tally {
        ended: tally.ended.saturating_sub(failures),
        failed: tally.failed.saturating_sub(failures),
        ..*tally
    }
}

/// A run that was cut short decides only what the missing part could not have changed.
fn doubt_cut(c: &Context<'_>, finding: &mut Finding) {
    let Some(cut) = c.analysis.cut_short() else {
        return;
    };
    let t = &c.analysis.timeline;
    let seen_all = match c.slo.phase {
        Some(FaultPhase::Before) => c.analysis.injections.iter().any(|i| i.effective()),
        Some(_) => false,
        None => t.schedule(c.slo.flow.as_deref()).1 < t.schedule_end,
    };
    let stays = match finding.ruling {
        Ruling::Inconclusive => return,
        Ruling::Pass => seen_all,
        Ruling::Fail => seen_all || fails_whatever_follows(c),
    };
    if !stays {
        finding.doubt(&cut, format!("the rest of the run: {cut}"));
    }
}

/// Whether the bound would have failed even if every request of the missing part had been perfect.
fn fails_whatever_follows(c: &Context<'_>) -> bool {
    let bound = &c.slo.bound;
    if !bound.op.is_upper_bound() {
        return false;
    }
    if bound.metric == Metric::Max || (bound.metric == Metric::Errors && limit_of(bound) == 0.0) {
        return true;
    }
    if c.slo.phase.is_some() || bound.metric == Metric::Throughput {
        // How long a phase would have been is not known; a rate may still come down.
        return false;
    }
    let times = c.analysis.timeline.planned_over_seen(c.slo.flow.as_deref());
    let more = |n: u64| (n as f64 * (times - 1.0)).min(1e18) as u64;
    let mut whole = *c.tally;
    if c.slice.answered() == 0 {
        // Nothing answered: each of them counts as over the limit.
        whole.samples = whole.ended;
        whole.bad = whole.ended;
    }
    whole.samples = whole.samples.saturating_add(more(whole.samples));
    whole.ended = whole.ended.saturating_add(more(whole.ended));
    times.is_finite() && decide(bound, &whole).ruling == Ruling::Fail
}

/// See `generator` for what a saturated generator can falsify.
fn doubt_generator(c: &Context<'_>, finding: &mut Finding) {
    let generator = &c.analysis.generator;
    let bound = &c.slo.bound;
    let upper = bound.op.is_upper_bound();
    let Some(why) = &generator.summary.saturated else {
        let latency = !matches!(bound.metric, Metric::Throughput | Metric::Errors);
        if finding.ruling == Ruling::Fail && latency && upper && !lag_is_innocent(c) {
            let lag = micros(generator.summary.lag_max_us);
            finding.doubt(
                &format!("the generator itself sent up to {lag} late, which explains it"),
                "a run whose generator keeps its schedule",
            );
        }
        return;
    };
    let stays = match (finding.ruling, bound.metric) {
        (Ruling::Inconclusive, _) => return,
        // Reached is reached; and more than allowed is more than allowed.
        (Ruling::Pass, Metric::Throughput) => !upper,
        (Ruling::Fail, Metric::Throughput) => upper,
        (Ruling::Pass, _) => false,
        (Ruling::Fail, Metric::Errors) => upper && errors_stay(c),
        (Ruling::Fail, _) => upper && latency_stays(c),
    };
    if !stays {
        finding.doubt(
            &format!("the generator was saturated: {why}"),
            "a run whose generator keeps its schedule",
        );
    }
}

fn errors_stay(c: &Context<'_>) -> bool {
    let generator = &c.analysis.generator;
    let mut doubtful = c.slice.with(Outcome::Local);
    if generator.slow {
        let waited = c
            .slice
            .with(Outcome::Timeout)
            .saturating_add(c.slice.with(Outcome::Unfinished));
        doubtful = doubtful.saturating_add(waited);
    }
    decide(&c.slo.bound, &without_failures(c.tally, doubtful)).ruling == Ruling::Fail
}

/// Whether the latencies fail even with all that the generator's lag explains taken off.
fn latency_stays(c: &Context<'_>) -> bool {
    let generator = &c.analysis.generator;
    if c.slice.answered() == 0 {
        return errors_are_hard(c.slice);
    }
    if !generator.slow {
        return true;
    }
    let relieved = relieve(c.slice, &c.slo.bound, c.slo.of, generator.explains_us);
    decide(&c.slo.bound, &relieved).ruling == Ruling::Fail
}

/// Whether a latency fails also without the delays of a generator that was late now and then: by what the service
/// took from the send while the generator was on time, or with twice the longest lag taken off.
fn lag_is_innocent(c: &Context<'_>) -> bool {
    let fails = |slice: &Slice, of, off_us| {
        let relieved = relieve(slice, &c.slo.bound, of, off_us);
        decide(&c.slo.bound, &relieved).ruling == Ruling::Fail
    };
    let timeline = &c.analysis.timeline;
    let punctual = generator::punctual(timeline, limit_of(&c.slo.bound) as u64);
    let seconds = timeline.within(&c.scope).into_iter();
    let seconds: Vec<usize> = seconds.filter(|index| punctual[*index]).collect();
    let on_time = timeline.slice(&Scope {
        seconds: Some(&seconds),
        ..c.scope
    });
    c.slice.answered() == 0
        || fails(&on_time, LatencyKind::Service, 0)
        || fails(c.slice, c.slo.of, c.analysis.generator.explains_us)
}

fn errors_are_hard(slice: &Slice) -> bool {
    slice.failed()
        > slice
            .with(Outcome::Local)
            .saturating_add(slice.with(Outcome::Timeout))
            .saturating_add(slice.with(Outcome::Unfinished))
}

fn relieve(slice: &Slice, bound: &Bound, kind: LatencyKind, by_us: u64) -> Tally {
    let mut tally = Tally::default();
    for bucket in slice.latency(kind).iter_recorded() {
        let value = bucket.value_iterated_to().saturating_sub(by_us);
        tally.sample(bound, value, bucket.count_at_value());
    }
    tally
}
