//! Whether the load generator, not the service, was the limit.
//!
//! What a saturated generator can falsify, and what it cannot:
//!
//! - Arrivals DROPPED (`max-in-flight` reached): the service got less than it should have. A PASS proves nothing,
//!   nor does a throughput below its bound. A latency or error bound that failed under less load failed all the same.
//! - A SLOW generator (late sends, no CPU left): requests leave late and responses are read late, so latencies come
//!   out too long and timeouts can be its own doing. A PASS was measured under other arrivals than were asked for;
//!   a latency FAIL counts only where twice the longest lag (once at the send, once at the read) does not explain
//!   it, an error FAIL only without timeouts. A generator that stood still sends all at once afterwards, and that is its
//!   own doing too: what the service took then from the send is no evidence of its latency.
//! - Requests that it could not send (LOCAL errors: no file descriptor or port, a path that is none): never the service's
//!   fault; an error FAIL counts only without them.
//! - Throughput that reached its lower bound was reached; nothing takes that back.
//! - A closed loop waits for each response, so that a busy generator shows as fewer requests, never as late ones:
//!   usual for a benchmark, said, and no reason to doubt a verdict.

use super::timeline::{Timeline, end_of, micros, sum_where};
use super::words::{count, counted, micros as time, percent, rate};
use super::{Evidence, GeneratorSummary, Ruling, Verdict};
use crate::record::{Interval, Micros, Outcome, What};
use crate::scenario::Load;

/// More dropped arrivals than this share of those due.
const DROPPED_SHARE: f64 = 0.001;
/// A second is late when the 99th percentile of its schedule lag is over this: a tenth of the second's load then
/// came at another time than was asked for. Less lag than this does not change what the service got; that it may
/// explain a long latency is looked at for every latency FAIL.
const LAG_LIMIT_US: Micros = 100_000;
/// More late seconds than this share.
const LATE_SECONDS: f64 = 0.05;
/// A worker is busy from here on, thousandths of a core.
const BUSY_MILLICORES: u64 = 950;
/// More busy seconds than this share.
const BUSY_SECONDS: f64 = 0.20;
/// One second is a hiccup of the machine, whatever share of a short run it is.
const FEWEST_SECONDS: usize = 2;

/// The generator assessed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Assessment {
    /// In numbers, as reports show it.
    pub summary: GeneratorSummary,
    /// Arrivals were dropped.
    pub dropped: bool,
    /// It sent and read late.
    pub slow: bool,
    /// It could not send: it ran out of descriptors or ports, or a value that was put into a request made it none.
    pub local: bool,
    /// Twice the longest lag: how much of a latency it explains.
    pub explains_us: u64,
    /// Busy, in a closed loop only: said, not held against the verdicts.
    pub busy_closed: bool,
    /// Seconds looked at.
    pub seconds: usize,
}

impl Assessment {
    /// Why errors may be its own: it was late, or could not send. Arrivals that it dropped make none.
    pub fn makes_errors(&self) -> Option<&str> {
        let why = self.summary.saturated.as_deref();
        why.filter(|_| self.slow || self.local)
    }
}

#[derive(Default)]
struct Sums {
    due: u64,
    ended: u64,
    dropped: u64,
    local: u64,
    open: usize,
    busy: usize,
    busy_any: usize,
    seconds: usize,
    /// Requests that ended per second, in the seconds at the limit.
    held: Vec<f64>,
    busiest: Vec<u64>,
    /// Start of each open second, and its 99th percentile of the schedule lag.
    lags: Vec<(Micros, Micros)>,
}

/// Assesses the generator over the judged seconds.
pub(crate) fn assess(timeline: &Timeline<'_>) -> Assessment {
    let mut sums = Sums::default();
    let mut summary = GeneratorSummary::default();
    for index in timeline.judged() {
        let interval = timeline.seconds[index];
        // While the last requests drain, nothing is due and nothing can be late.
        if interval.second.start_us < timeline.schedule_end {
            add(&mut sums, &mut summary, timeline, interval);
        }
    }
    summary.dropped = sums.dropped;
    summary.cpu_typical_millicores = median(&mut sums.busiest);
    let late_seconds = late_seconds(&sums.lags);
    let mut lags: Vec<u64> = sums.lags.iter().map(|(_, lag)| *lag).collect();
    summary.lag_p99_us = median(&mut lags);
    let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
    let often = |part: usize, whole: usize, limit: f64| {
        part >= FEWEST_SECONDS && share(part, whole) > limit
    };
    let mut reasons = Vec::new();
    let dropped = sums.dropped as f64 > DROPPED_SHARE * sums.due.max(1) as f64;
    if dropped {
        reasons.push(format!(
            "{} of {} arrivals were dropped ({}) because `max-in-flight` journeys were under way",
            count(sums.dropped),
            count(sums.due.max(sums.dropped)),
            percent(sums.dropped as f64 / sums.due.max(sums.dropped) as f64)
        ));
    }
    let late = often(late_seconds, sums.open, LATE_SECONDS);
    if late {
        reasons.push(format!(
            "requests left late (p99 over {}) in {} of {} seconds, at worst by {}",
            time(LAG_LIMIT_US),
            late_seconds,
            sums.open,
            time(summary.lag_max_us)
        ));
    }
    let busy = often(sums.busy, sums.open, BUSY_SECONDS);
    if busy {
        reasons.push(format!(
            "a worker thread had no CPU left in {} of {} seconds",
            sums.busy, sums.open
        ));
    }
    let local = sums.local as f64 > DROPPED_SHARE * sums.ended.max(1) as f64;
    if local {
        reasons.push(format!(
            "{} of {} requests failed {}",
            count(sums.local),
            count(sums.ended),
            own_fault(timeline)
        ));
    }
    if !reasons.is_empty() {
        summary.saturated = Some(reasons.join("; ") + &held(&mut sums.held));
    }
    Assessment {
        dropped,
        slow: late || busy,
        local,
        explains_us: summary.lag_max_us.saturating_mul(2),
        busy_closed: !busy && often(sums.busy_any, sums.seconds, BUSY_SECONDS),
        seconds: sums.seconds,
        summary,
    }
}

/// Why requests failed that never left the generator: as the first of them says, where that was recorded.
pub(crate) fn own_fault(timeline: &Timeline<'_>) -> String {
    let first = timeline.record.events.iter().find_map(|e| match &e.what {
        What::Sample(sample) if sample.outcome == Outcome::Local => Some(&sample.error),
        _ => None,
    });
    match first {
        Some(error) => format!("in the generator itself, the first with: {error}"),
        None => "for want of a file descriptor or local port".into(),
    }
}

fn add(
    sums: &mut Sums,
    summary: &mut GeneratorSummary,
    timeline: &Timeline<'_>,
    interval: &Interval,
) {
    let second = &interval.second;
    let generator = &second.generator;
    let busiest = generator.cpu_millicores.iter().copied().max().unwrap_or(0);
    let workers = u32::try_from(generator.cpu_millicores.len()).unwrap_or(u32::MAX);
    summary.workers = summary.workers.max(workers);
    summary.cpu_max_millicores = summary.cpu_max_millicores.max(busiest);
    summary.lag_max_us = summary.lag_max_us.max(generator.lag_max_us);
    summary.late = summary.late.saturating_add(generator.late);
    summary.open_files_max = summary.open_files_max.max(generator.open_files);
    let (mut ended, mut dropped, mut local) = (0u64, 0u64, 0u64);
    for step in &second.steps {
        ended = ended.saturating_add(sum_where(step, |_| true));
        local = local.saturating_add(sum_where(step, |o| o == Outcome::Local));
        dropped = dropped.saturating_add(step.dropped);
        if is_open(timeline, &step.flow) {
            sums.due = sums.due.saturating_add(step.due);
        }
    }
    sums.ended = sums.ended.saturating_add(ended);
    sums.local = sums.local.saturating_add(local);
    sums.dropped = sums.dropped.saturating_add(dropped);
    sums.seconds += 1;
    sums.busiest.push(busiest);
    let busy = busiest >= BUSY_MILLICORES;
    sums.busy_any += usize::from(busy);
    if !open_at(timeline, second.start_us) {
        return;
    }
    let late = generator.lag_p99_us > LAG_LIMIT_US;
    sums.open += 1;
    sums.busy += usize::from(busy);
    sums.lags.push((second.start_us, generator.lag_p99_us));
    let length = end_of(interval).saturating_sub(second.start_us) as f64 / 1e6;
    if (late || busy || dropped > 0 || local > 0) && length > 0.0 {
        sums.held.push(ended as f64 / length);
    }
}

/// In how many seconds requests left late: those in which they left, and those before in which they were due. A generator
/// that stands still sends nothing meanwhile, and tells of all its lag in the second after.
fn late_seconds(lags: &[(Micros, Micros)]) -> usize {
    let mut since = Micros::MAX;
    let late = lags.iter().rev().filter(|(start, lag)| {
        if *lag > LAG_LIMIT_US {
            since = since.min(start.saturating_sub(*lag));
        }
        *start >= since
    });
    late.count()
}

/// So many requests at once are no burst: arrivals come like that by chance.
const FEWEST_AT_ONCE: f64 = 3.0;

/// Which seconds tell what the service takes in itself: all but those in which requests left later than by `lag_us` and
/// several at once, and those after in which the service worked off what came then.
pub(crate) fn punctual(timeline: &Timeline<'_>, lag_us: Micros) -> Vec<bool> {
    let mut busy_until = 0;
    let seconds = timeline.seconds.iter();
    let punctual = seconds.map(|interval| {
        let lag = interval.second.generator.lag_max_us;
        let steps = interval.second.steps.iter();
        let due = steps.fold(0, |sum: u64, step| sum.saturating_add(step.due));
        let at_once = due as f64 * lag as f64 / 1e6;
        if lag > lag_us && at_once >= FEWEST_AT_ONCE {
            let worked_off = end_of(interval).saturating_add(lag);
            busy_until = busy_until.max(worked_off.saturating_add(1_000_000));
        }
        interval.second.start_us >= busy_until
    });
    punctual.collect()
}

fn is_open(timeline: &Timeline<'_>, flow: &str) -> bool {
    let flows = &timeline.record.header.scenario.traffic;
    let known = flows.iter().find(|f| f.name == flow);
    known.is_none_or(|f| matches!(f.load, Load::Open(_)))
}

/// Whether an open flow's schedule runs at a time.
fn open_at(timeline: &Timeline<'_>, at: Micros) -> bool {
    timeline.record.header.scenario.traffic.iter().any(|flow| {
        let from = timeline.traffic_start.saturating_add(micros(flow.start));
        let to = from.saturating_add(micros(flow.load.duration()));
        // A second of slack at the front: seconds need not begin with the flow.
        matches!(flow.load, Load::Open(_)) && at.saturating_add(1_000_000) > from && at < to
    })
}

fn median(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// What it could have held: the rate it reached in the seconds in which it was at its limit.
fn held(rates: &mut [f64]) -> String {
    rates.sort_by(f64::total_cmp);
    match rates.get(rates.len() / 2) {
        Some(median) if *median >= 1.0 => {
            format!("; it could have held about {}", rate(median.round()))
        }
        _ => String::new(),
    }
}

/// The verdict on the generator itself, appended to every run's verdicts.
pub(crate) fn verdict(assessment: &Assessment) -> Verdict {
    let summary = &assessment.summary;
    let (verdict, because, missing) = match &summary.saturated {
        Some(why) => (
            Ruling::Inconclusive,
            format!("generator saturated: {why}"),
            Some(advice(assessment)),
        ),
        None if assessment.seconds == 0 => (
            Ruling::Inconclusive,
            "no second of traffic was recorded".to_string(),
            Some("traffic".to_string()),
        ),
        None if assessment.busy_closed => (
            Ruling::Pass,
            "a worker thread was busy all the time, as in a closed loop without think time it may be; \
             the throughput may be the generator's limit"
                .to_string(),
            None,
        ),
        None => (
            Ruling::Pass,
            format!(
                "the generator kept its schedule: lag p99 {} in a typical second, longest {}, busiest worker at {}",
                time(summary.lag_p99_us),
                time(summary.lag_max_us),
                percent(summary.cpu_max_millicores as f64 / 1000.0)
            ),
            None,
        ),
    };
    Verdict {
        oracle: "generator".into(),
        expectation: "the generator is not the limit".into(),
        verdict,
        because,
        missing,
        evidence: evidence(assessment),
    }
}

fn advice(assessment: &Assessment) -> String {
    let mut advice = Vec::new();
    if assessment.slow {
        advice.push("a lower rate, more `threads`, or a machine of its own for the generator");
    }
    if assessment.dropped {
        advice.push("a higher `max-in-flight`, or a rate that the service can hold");
    }
    if assessment.local {
        advice.push(
            "values that make a request, or where files or ports ran out a higher open-file limit, kept-alive connections, \
             or more `source` addresses",
        );
    }
    advice.join("; ")
}

fn evidence(assessment: &Assessment) -> Vec<Evidence> {
    let summary = &assessment.summary;
    let fact = |what: &str, value: String| Evidence {
        what: what.into(),
        value,
        at_us: None,
    };
    vec![
        fact("worker threads", count(summary.workers.into())),
        fact("schedule lag p99, typical second", time(summary.lag_p99_us)),
        fact("longest schedule lag", time(summary.lag_max_us)),
        fact("arrivals dropped", count(summary.dropped)),
        fact(
            "busiest worker, typical second",
            percent(summary.cpu_typical_millicores as f64 / 1000.0),
        ),
        fact("most open files", count(summary.open_files_max)),
        super::sure::row(format!(
            "measured, not estimated, n = {}",
            counted(assessment.seconds as u64, "second")
        )),
    ]
}
