//! Findings beside the shares: instances listed though they are gone, units sent to instances that had left, a
//! client that changes its instance, and what the figures leave out.

use super::By;
use super::affinity::{Sighting, affinity};
use super::explain::part;
use super::plain;
use super::share::coverage_needed;
use super::verdict::{Case, fact, sum};
use crate::judge::{Evidence, Ruling, Verdict, sure, words};
use crate::record::Micros;

/// A balancer that lists a dead instance for longer is broken, not slow: the constant of Kubernetes' own tests.
const LISTED_DEAD: Micros = 30_000_000;

/// A stray connection or two may have been under way when the set changed.
const FEW_STRAYS: u64 = 2;

impl Case<'_> {
    /// One address is one client; the record does not tell several apart.
    pub(super) fn client_ip(&self, timeout: Micros) -> Verdict {
        let flows = &self.record.header.scenario.traffic;
        if flows.iter().any(|f| f.connections.source.len() > 1) {
            return self.inconclusive(
                "traffic came from several addresses, and the record does not tell which one was served by whom".into(),
                "a run from one source address".into(),
            );
        }
        let sightings = self.sightings();
        let windows = &self.seen.windows;
        // Within one window the set is constant; from one to the next the lag hides who could be chosen.
        let stays = |name: &str, from: Micros, until: Micros| {
            windows.iter().any(|w| {
                w.start_us <= from && until < w.end_us && w.eligible.iter().any(|e| e == name)
            })
        };
        let found = affinity(&sightings, timeout, stays);
        let sure = sure::row(format!(
            "seen, not estimated; n = {} that could have shown a move",
            words::counted(found.checked, "second")
        ));
        if let Some(switch) = found.switches.first() {
            let mut verdict = plain(
                self.expect,
                Ruling::Fail,
                format!(
                    "the client moved from {} to {} though {} could still be chosen; that happened {}",
                    switch.from,
                    switch.to,
                    switch.from,
                    words::counted(found.switches.len() as u64, "time")
                ),
            );
            verdict.evidence.push(Evidence {
                what: format!("first connection to {}", switch.to),
                value: format!("last one to {} before", switch.from),
                at_us: Some(switch.at_us),
            });
            verdict.evidence.push(sure);
            return verdict;
        }
        let enough = coverage_needed(2);
        if found.checked < enough {
            return self.inconclusive(
                format!(
                    "only {} seconds with new connections followed another one",
                    found.checked
                ),
                format!("{enough} of them, so that a random choice would show"),
            );
        }
        plain(
            self.expect,
            Ruling::Pass,
            format!(
                "the client stayed with its instance in all of {} seconds that could have shown otherwise",
                found.checked
            ),
        )
    }

    /// Connections by second: as fine as the record is.
    fn sightings(&self) -> Vec<Sighting> {
        let mut list = Vec::new();
        for second in self.record.intervals.iter().map(|i| &i.second) {
            for (name, instance) in second.steps.iter().flat_map(|s| &s.instances) {
                let counted = match self.expect.by {
                    By::Connection => instance.connections,
                    By::Request => instance.answered,
                };
                if counted > 0 {
                    list.push(Sighting {
                        at_us: second.start_us,
                        client: "the client".into(),
                        instance: name.clone(),
                    });
                }
            }
        }
        list
    }

    /// An instance that is gone and still listed is the plainest fault there is: it is said first.
    pub(super) fn kept(&self, verdict: &mut Verdict) {
        for kept in self.seen.kept.iter().rev() {
            let listed = kept.until_us - kept.since_us;
            let state = if kept.ended {
                "ended"
            } else {
                "was not ready any more"
            };
            let left = if kept.to_the_end {
                "and was still listed when traffic ended"
            } else {
                "and stayed listed"
            };
            let text = format!(
                "{} {state} {left}, {} later; {} failed meanwhile",
                kept.instance,
                words::micros(listed),
                words::counted(kept.failed, "request")
            );
            if kept.to_the_end || listed > LISTED_DEAD {
                verdict.verdict = Ruling::Fail;
                verdict.missing = None;
                verdict.because = format!("the balancer keeps a dead instance: {text}");
            }
            let row = Evidence {
                what: "listed though not ready".into(),
                value: text,
                at_us: Some(kept.since_us),
            };
            verdict.evidence.insert(0, row);
        }
    }

    /// What went to instances that could not be chosen any more.
    pub(super) fn strays(&self, verdict: &mut Verdict) {
        for window in &self.seen.windows {
            let counts = self.of(&window.counts);
            let total = sum(counts);
            for (name, n) in counts {
                if window.eligible.contains(name) || *n <= FEW_STRAYS.max(total / 1000) {
                    continue;
                }
                let text = format!(
                    "{} went to {name} in a time when the balancer's set did not have it",
                    words::counted(*n, self.unit())
                );
                // Requests may finish on the connections they are on: only new connections prove a late removal.
                if self.expect.by == By::Connection && verdict.verdict != Ruling::Fail {
                    verdict.verdict = Ruling::Fail;
                    verdict.missing = None;
                    verdict.because = text.clone();
                }
                verdict.evidence.push(Evidence {
                    what: "sent to an instance that had left".into(),
                    value: text,
                    at_us: Some(window.start_us),
                });
            }
        }
    }

    /// What the figures leave out.
    pub(super) fn left_out(&self, verdict: &mut Verdict) {
        let (named, all) = match self.expect.by {
            By::Connection => (sum(&self.seen.all.connections), self.seen.opened),
            By::Request => (sum(&self.seen.all.requests), self.seen.answered),
        };
        let unnamed = all.saturating_sub(named);
        if part(unnamed, all) > 0.01 {
            let text = format!(
                "{} of {} without the name of an instance are not in these figures",
                words::count(unnamed),
                words::counted(all, self.unit())
            );
            verdict.evidence.push(fact("not counted", text));
        }
        let judged: u64 = self
            .seen
            .windows
            .iter()
            .fold(0, |all: u64, w| all.saturating_add(sum(self.of(&w.counts))));
        if judged < named {
            let blind = match self.seen.blind {
                true => " or while nobody watched it",
                false => "",
            };
            let hidden = match self.seen.spoiled_us {
                0 => String::new(),
                us => format!(
                    ", or in {} of faults that hide who was chosen",
                    words::micros(us)
                ),
            };
            let text = format!(
                "{} in the {} after each change of the balancer's set{blind}{hidden}",
                words::counted(named - judged, self.unit()),
                words::micros(self.expect.lag.as_micros() as u64)
            );
            verdict.evidence.push(fact("left out", text));
        }
    }
}
