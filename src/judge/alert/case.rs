//! One injection and one alert that it must raise.

use std::collections::BTreeMap;

use super::sight::{Episode, Seen, Sight};
use super::{Context, named, shown_labels};
use crate::judge::finding::Finding;
use crate::judge::injection::Injection;
use crate::judge::timeline::micros as micros_of;
use crate::judge::words::micros;
use crate::record::{AlertEvent, Micros};

/// An injection less than this after another is the same blow, as `recovery` takes it.
const TOGETHER: Micros = 1_000_000;

/// One injection and one alert that it must raise.
pub(super) struct Case<'a> {
    pub context: &'a Context<'a>,
    /// Index of the injection.
    pub index: usize,
    /// The labels that the alert must have.
    pub labels: BTreeMap<String, String>,
    pub episodes: Vec<Episode<'a>>,
}

/// An alert that held what was expected.
pub(super) struct Held {
    /// From the injection until it was seen firing.
    pub took: Micros,
    /// In words.
    pub because: String,
}

impl<'a> Case<'a> {
    pub fn new(context: &'a Context<'a>, index: usize, labels: BTreeMap<String, String>) -> Self {
        let mut case = Self {
            context,
            index,
            labels,
            episodes: Vec::new(),
        };
        case.episodes = context.sight.episodes(|event| case.wants(event));
        case
    }

    pub fn injection(&self) -> &'a Injection {
        &self.context.analysis.injections[self.index]
    }

    /// Whether it is the alert.
    pub fn wants(&self, event: &AlertEvent) -> bool {
        let has = |(key, value): (&String, &String)| event.labels.get(key) == Some(value);
        event.name == self.context.expected.name && self.labels.iter().all(has)
    }

    /// The alert, as it is expected: `Down{service="shop"}`.
    pub fn name(&self) -> String {
        named(&self.context.expected.name, &self.labels)
    }

    /// `kill of shop-2 at 20 s`.
    pub fn describe(&self) -> String {
        let injection = self.injection();
        format!(
            "{} at {}",
            injection.describe(),
            self.context.analysis.when(injection.at())
        )
    }

    /// What follows is the next one's doing as well.
    pub fn next(&self) -> Option<&'a Injection> {
        let from = self.injection().at().saturating_add(TOGETHER);
        let all = self.context.analysis.injections.iter();
        all.filter(|i| i.effective() && i.began_us >= from)
            .min_by_key(|i| i.began_us)
    }

    /// The episodes that may be this injection's.
    pub fn after(&self) -> impl Iterator<Item = &Episode<'a>> {
        let began = self.injection().began_us;
        self.episodes.iter().filter(move |e| e.began.by > began)
    }

    /// When it first fired after the injection.
    pub fn fired(&self) -> Option<(Seen, &'a AlertEvent)> {
        self.after().find_map(|e| e.told)
    }

    pub fn judge(&self) -> Result<Held, Finding> {
        self.quiet_before()?;
        let fired = self.in_time()?;
        let took = fired.by.saturating_sub(self.injection().at());
        let limit = micros(micros_of(self.context.expected.fires_within));
        let mut because = format!(
            "{} fired {} after {}, limit {limit}",
            self.name(),
            micros(took),
            self.describe()
        );
        if let Some(within) = self.context.expected.resolves_within {
            let resolved = self.resolved(micros_of(within))?;
            because.push_str(&format!("; {resolved}"));
        }
        Ok(Held { took, because })
    }

    /// What was there before the injection is not its doing.
    fn quiet_before(&self) -> Result<(), Finding> {
        let (analysis, sight) = (self.context.analysis, &self.context.sight);
        let began = self.injection().began_us;
        let seen_first = sight.looks().map(|(first, _)| first);
        if seen_first.is_none_or(|first| first > began) {
            return Err(Finding::unclear(
                format!(
                    "nothing was seen of {} before {}",
                    sight.source.name(),
                    self.describe()
                ),
                "a look before the fault",
            ));
        }
        let first = self.context.first_us();
        let false_alarm = self.episodes.iter().find_map(|e| {
            let (seen, _) = e.told?;
            (seen.by <= first && seen.surely_from(analysis.timeline.judged_from)).then_some(seen)
        });
        if let Some(seen) = false_alarm {
            return Err(Finding::fail(format!(
                "{} fired at {}, before any fault: it does not tell of one",
                self.name(),
                analysis.when(seen.by)
            )));
        }
        if self.episodes.iter().any(|e| e.holds(began)) {
            return Err(Finding::unclear(
                format!(
                    "{} was firing already before {}",
                    self.name(),
                    self.describe()
                ),
                "a fault that is made when the alert does not fire",
            ));
        }
        let pending = self.context.prometheus.as_ref();
        if pending.is_some_and(|sight| sight.pending_at(began, |event| self.wants(event))) {
            return Err(Finding::unclear(
                format!(
                    "{} was pending already before {}: its condition held without the fault",
                    self.name(),
                    self.describe()
                ),
                "a fault that is made when the alert is not pending",
            ));
        }
        Ok(())
    }

    /// Whether it fired in time.
    fn in_time(&self) -> Result<Seen, Finding> {
        let sight = &self.context.sight;
        let at = self.injection().at();
        let within = micros_of(self.context.expected.fires_within);
        let (deadline, limit) = (at.saturating_add(within), micros(within));
        let fired = self.fired().map(|(seen, _)| seen);
        if let Some(seen) = fired.filter(|seen| seen.by <= deadline) {
            // It began after the last look that did not show it, which may be long before the fault.
            let since = seen.not_before.unwrap_or(0);
            if let Some((from, to, why)) = sight.gap_in(since, self.injection().began_us) {
                let what = format!("{} fired, maybe before {}", self.name(), self.describe());
                return Err(self.blind(what, from, to, why));
            }
            return match self.next().filter(|next| next.began_us < seen.by) {
                None => Ok(seen),
                Some(next) => Err(Finding::unclear(
                    format!(
                        "{} fired only after {} at {} too: which of them raised it cannot be told",
                        self.name(),
                        next.describe(),
                        self.context.analysis.when(next.began_us)
                    ),
                    "injections further apart",
                )),
            };
        }
        if let Some((from, to, why)) = sight.gap_in(at, deadline) {
            return Err(self.blind(
                format!("{} was not seen firing", self.name()),
                from,
                to,
                why,
            ));
        }
        let last = sight.looks().map_or(0, |(_, last)| last);
        match fired {
            Some(seen) if seen.surely_from(deadline) => Err(Finding::fail(format!(
                "{} fired only {} after {}, limit {limit}",
                self.name(),
                micros(seen.by.saturating_sub(at)),
                self.describe()
            ))),
            Some(seen) => Err(Finding::unclear(
                format!(
                    "{} was first seen firing {} after {}, within one look of the limit of {limit}",
                    self.name(),
                    micros(seen.by.saturating_sub(at)),
                    self.describe()
                ),
                "a limit two seconds away from what was seen",
            )),
            None if last < deadline => Err(Finding::unclear(
                format!(
                    "{} had not fired {} after {}, when the run ended{}",
                    self.name(),
                    micros(last.saturating_sub(at)),
                    self.describe(),
                    self.instead()
                ),
                format!("a run that goes on for {limit} after the fault"),
            )),
            None => Err(Finding::fail(format!(
                "{} did not fire within {limit} after {}{}",
                self.name(),
                self.describe(),
                self.instead()
            ))),
        }
    }

    fn blind(&self, what: String, from: Micros, to: Micros, why: &str) -> Finding {
        let analysis = self.context.analysis;
        Finding::unclear(
            format!(
                "{what}, and nothing was seen of {} from {} to {}: {why}",
                self.context.sight.source.name(),
                analysis.when(from),
                analysis.when(to)
            ),
            "looks without a gap",
        )
    }

    /// What there was in its place.
    fn instead(&self) -> String {
        let (context, at) = (self.context, self.injection().began_us);
        if self.after().next().is_some() {
            return "; it was there, but silenced or inhibited: nobody is told".into();
        }
        let other = |event: &AlertEvent| event.name == context.expected.name && !self.wants(event);
        let others = context.sight.episodes(other);
        let others = others.iter().filter(|e| e.began.by > at);
        if let Some((_, event)) = others.filter_map(|e| e.told).next() {
            return format!("; it fired with {}", shown_labels(&event.labels));
        }
        let Some(prometheus) = &context.prometheus else {
            return String::new();
        };
        let since = |t: Micros| micros(t.saturating_sub(self.injection().at()));
        let fired = prometheus.episodes(|event| self.wants(event));
        let fired = fired.iter().find(|e| e.began.by > at);
        if let Some(fired) = fired.filter(|_| !context.only_prometheus()) {
            return format!(
                "; at Prometheus it fired {} after the fault: it did not reach Alertmanager",
                since(fired.began.by)
            );
        }
        match prometheus.pending_after(at, |event| self.wants(event)) {
            Some(pending) => format!(
                "; at Prometheus it was pending {} after the fault: its rule's `for` is longer than that leaves, or \
                 its condition did not last",
                since(pending)
            ),
            None => "; its condition never held at Prometheus".into(),
        }
    }

    /// When all was well again, or why that cannot be said.
    pub fn over(&self) -> Result<Micros, &'static str> {
        let injection = self.injection();
        let fault = &self.context.analysis.faults[self.index];
        let mut over = injection.at();
        if injection.lasting {
            over = over.max(injection.undone_us.ok_or("the fault was not undone")?);
        }
        if injection.ends_instance() && !injection.instances.is_empty() {
            let ready = fault.ready_again_us;
            over = over.max(ready.ok_or("what ended was not replaced")?);
        }
        Ok(over.max(fault.restored_us.ok_or("the service was not well again")?))
    }

    /// Whether it was gone in time: how that reads.
    fn resolved(&self, within: Micros) -> Result<String, Finding> {
        let (context, limit) = (self.context, micros(within));
        let next = self.next().map(|next| next.began_us);
        let last = context.sight.looks().map_or(0, |(_, last)| last);
        let horizon = next.unwrap_or(Micros::MAX).min(last);
        let mut episodes: Vec<_> = self.after().filter(|e| e.began.by <= horizon).collect();
        let ended = episodes.pop().and_then(|e| e.ended);
        let ended = ended.filter(|ended| ended.by <= horizon);
        let over = self.over();
        let after_it = |at: Micros, over: Micros| {
            format!(
                "{} after the fault was over",
                micros(at.saturating_sub(over))
            )
        };
        match (ended, over) {
            (Some(ended), Ok(over)) if ended.by > over.saturating_add(within) => {
                let took = after_it(ended.by, over);
                match ended.surely_from(over.saturating_add(within)) {
                    true => Err(Finding::fail(format!(
                        "{} resolved only {took}, limit {limit}",
                        self.name()
                    ))),
                    false => Err(Finding::unclear(
                        format!(
                            "{} was first seen resolved {took}, within one look of the limit of {limit}",
                            self.name()
                        ),
                        "a limit two seconds away from what was seen",
                    )),
                }
            }
            (Some(ended), Ok(over)) if ended.by >= over => Ok(format!(
                "resolved {}, limit {limit}",
                after_it(ended.by, over)
            )),
            (Some(_), _) => Ok("resolved before the fault was over".into()),
            (None, Err(why)) => Err(Finding::unclear(
                format!(
                    "{} was still firing at {}, but {why}",
                    self.name(),
                    context.analysis.when(horizon)
                ),
                "a run that goes on after the fault is over",
            )),
            (None, Ok(over)) if horizon < over.saturating_add(within) => {
                let still = format!(
                    "{} was still firing {}",
                    self.name(),
                    after_it(horizon.max(over), over)
                );
                Err(match next.filter(|next| *next <= last) {
                    Some(_) => Finding::unclear(
                        format!("{still}, when the next fault was made"),
                        "injections further apart",
                    ),
                    None => Finding::unclear(
                        format!("{still}, when the run ended"),
                        format!("a run that goes on for {limit} after the fault is over"),
                    ),
                })
            }
            (None, Ok(over)) => Err(Finding::fail(format!(
                "{} was still firing {}, limit {limit}",
                self.name(),
                after_it(horizon, over)
            ))),
        }
    }
}

/// The state of another source at the same alert, for evidence.
pub(super) fn fired_at(sight: &Sight<'_>, case: &Case<'_>) -> Option<Micros> {
    let episodes = sight.episodes(|event| case.wants(event));
    let after = |e: &&Episode<'_>| e.began.by > case.injection().began_us;
    episodes.iter().find(after).map(|e| e.began.by)
}
