//! A run of an autoscaler as its watches saw it, and the replay of it: what each decision had to be, from what was
//! published and remembered. A status is written only when it changes, so each one stands until the next.

use serde::{Deserialize, Serialize};

use super::decide::windows;
use super::published::{Groupings, Published, Range, Raw, recommendation};
use super::replicas::Tolerances;
use super::types::*;
use crate::record::Micros;

/// Watches are late and Kubernetes' times have a grain of 1 s: what lies so near to an edge may lie on either side.
pub const GRAIN: Micros = 2_000_000;

/// All that was seen of one autoscaler.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// The controller's flags.
    pub controller: Controller,
    /// When the autoscaler was created, if that was in the run.
    pub created: Option<Micros>,
    /// The controller was restarted or another leader took over: its memory began anew.
    pub restarts: Vec<Micros>,
    /// The spec from each time on; never empty.
    pub specs: Vec<(Micros, Spec)>,
    /// Statuses, in time order.
    pub syncs: Vec<Sync>,
    /// Changes of the target's `spec.replicas`, in time order.
    pub writes: Vec<Write>,
    /// SuccessfulRescale events, in time order.
    pub rescales: Vec<Rescale>,
    /// Times in which a watch was blind.
    pub gaps: Vec<(Micros, Micros)>,
    /// When this run itself scaled the target, and how it is called.
    pub excused: Vec<(Micros, String)>,
    /// The last status stood until then; 0 where that is not known.
    pub until: Micros,
    /// When it last scaled before its first status, which its rates may still remember; negative before the run.
    #[serde(default)]
    pub scaled_before: Option<i64>,
}

/// A status of the autoscaler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sync {
    /// When it was seen.
    pub at: Micros,
    /// `status.currentReplicas`: the target's `spec.replicas` as the controller read it.
    pub current: i32,
    /// The target's `status.replicas` then.
    pub status_replicas: i32,
    /// How the pods may have been grouped then.
    pub pods: Groupings,
    /// The same for any time until the next status.
    pub later: Groupings,
    /// Why what was decided cannot be told from all that.
    pub unclean: Option<String>,
    /// `status.currentMetrics`.
    pub published: Vec<Published>,
    /// `status.desiredReplicas`.
    pub desired: i32,
    /// `status.conditions`.
    pub conditions: Vec<Condition>,
}

impl Sync {
    /// The metrics could not be read, and what is published is old.
    pub fn failed(&self) -> bool {
        !self.published.is_empty() && self.published.iter().all(|m| *m == Published::Invalid)
    }
}

/// A change of the target's `spec.replicas`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Write {
    /// When.
    pub at: Micros,
    /// Before.
    pub from: i32,
    /// After.
    pub to: i32,
    /// Who, by `managedFields`.
    pub manager: Option<String>,
    /// The cluster's version of the target then; 0 where it is not known.
    pub version: u64,
}

/// A SuccessfulRescale event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rescale {
    /// When.
    pub at: Micros,
    /// The new size that it names.
    pub size: i32,
}

/// What a sync had to decide.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// The raw recommendation; `None` where the metrics did not come in or the pods leave it open.
    pub raw: Option<Range>,
    /// The decision.
    pub expected: Range,
    /// Why it cannot be told exactly.
    pub open: Option<String>,
    /// Where the status stood for several periods: for how long, and what the last of them had to decide.
    pub stood: Option<(Micros, Range)>,
}

/// What one status recommended: when it was written, and at any time until the next.
#[derive(Debug, Clone, Copy)]
struct Raws {
    first: Raw,
    all: Raw,
}

/// A status that stands for more periods than this has been decided again.
const PERIODS: Micros = 3;

impl Timeline {
    /// The spec at a time.
    pub fn spec(&self, at: Micros) -> Option<&Spec> {
        let before = self.specs.iter().rev().find(|(from, _)| *from <= at);
        before.or(self.specs.first()).map(|(_, spec)| spec)
    }

    /// Whether the spec was edited so near to a time that either version may have been obeyed.
    pub fn edited(&self, at: Micros) -> bool {
        let mut edits = self.specs.iter().skip(1);
        edits.any(|(edit, _)| edit.abs_diff(at) <= GRAIN)
    }

    /// The autoscaler's own writes: those that an event of the same size goes with.
    pub fn own_writes(&self) -> Vec<&Write> {
        let mut left: Vec<&Rescale> = self.rescales.iter().collect();
        let own = self.writes.iter().filter(|write| {
            let found = left
                .iter()
                .position(|r| r.size == write.to && r.at.abs_diff(write.at) <= 2 * GRAIN);
            found.map(|i| left.remove(i)).is_some()
        });
        own.collect()
    }

    /// When the memory in force at a time began; `None` where that was before the run.
    pub fn memory_began(&self, at: Micros) -> Option<Micros> {
        let starts = self.created.iter().chain(&self.restarts);
        starts.copied().filter(|start| *start <= at).max()
    }

    /// Whether a time is within, or next to, a gap.
    pub fn blind(&self, from: Micros, until: Micros) -> bool {
        let mut gaps = self.gaps.iter();
        gaps.any(|(start, end)| *start < until + GRAIN && from < end + GRAIN)
    }

    /// The windows in force: up, down.
    pub fn windows(&self, spec: &Spec) -> (Micros, Micros) {
        match &spec.behavior {
            Some(behavior) => windows(&self.controller, behavior),
            None => (
                0,
                self.controller.downscale_stabilization.as_micros() as Micros,
            ),
        }
    }

    /// The least and the most that the sync period may be: as declared, and as the statuses come.
    fn periods(&self) -> (Micros, Micros) {
        let declared = self.controller.sync_period.as_micros() as Micros;
        let gaps = self.syncs.windows(2).map(|w| w[1].at - w[0].at);
        let seen = gaps.filter(|gap| *gap >= GRAIN).min();
        match seen.filter(|_| self.syncs.len() > 4) {
            Some(seen) => (declared.min(seen), declared.max(seen)),
            None => (declared, declared),
        }
    }

    /// Raw recommendations in a window before `now`, from status `i` on back: the extreme of those that surely were
    /// in it, and of those that may have been. `None` where one of them is not known.
    fn extreme(
        &self,
        raws: &[Raws],
        (i, own, now): (usize, Range, Micros),
        window: Micros,
        most: bool,
    ) -> Option<Range> {
        let (shortest, longest) = self.periods();
        let began = self.memory_began(now);
        let pick = |a: i32, b: i32| if most { a.max(b) } else { a.min(b) };
        if window == 0 {
            return Some(own);
        }
        let (mut low, mut high) = (own.low, own.high);
        let mut take = |raw: Range, surely: bool| {
            // What may have been in the window moves one end of the range, what surely was moves both.
            if surely || !most {
                low = pick(low, raw.low);
            }
            if surely || most {
                high = pick(high, raw.high);
            }
        };
        for j in (0..=i).rev() {
            let from = self.syncs[j].at;
            let until = if j == i { now } else { self.syncs[j + 1].at };
            // It was repeated each period until the next status: for the last time about one period before that.
            let last = until.saturating_sub(shortest).max(from) + GRAIN;
            if last + GRAIN + window <= now {
                break;
            }
            // What was last recommended before the memory began is forgotten.
            if began.is_some_and(|b| last < b) {
                continue;
            }
            // Surely no more than two periods before.
            let repeated = until.saturating_sub(2 * longest).max(from);
            let surely = repeated + window > now + GRAIN && began.is_none_or(|b| repeated >= b);
            let again = until.saturating_sub(from) > shortest;
            match if again { raws[j].all } else { raws[j].first } {
                Raw::Known(raw) => take(raw, surely),
                Raw::Nothing => {}
                Raw::Unknown => return None,
            }
        }
        let reach = now.saturating_sub(window);
        match began {
            // The count at the first sync, which comes within a period, stands in the memory as if recommended.
            Some(began) if began + longest + GRAIN > reach => {
                let first = self.syncs.iter().find(|s| s.at >= began)?;
                take(Range::exactly(first.current), began > reach + GRAIN);
            }
            Some(_) => {}
            // The memory reaches back to before the run: anything may have been recommended there.
            None if self.syncs.first().is_none_or(|s| s.at > reach) && window > 0 => {
                if most {
                    high = i32::MAX;
                } else {
                    low = 0;
                }
            }
            None => {}
        }
        Some(Range { low, high })
    }

    /// What each sync had to decide.
    pub fn replay(&self) -> Vec<Replayed> {
        let raws: Vec<Raws> = self.syncs.iter().map(|s| self.raws(s)).collect();
        let own = self.own_writes();
        (0..self.syncs.len())
            .map(|i| {
                let mut replayed = self.decision(&raws, &own, i, self.syncs[i].at, raws[i].first);
                replayed.stood = self.stood(&raws, &own, i);
                replayed
            })
            .collect()
    }

    /// What was decided last while a status stood, where it stood for so long that it must have been.
    fn stood(&self, raws: &[Raws], own: &[&Write], i: usize) -> Option<(Micros, Range)> {
        let from = self.syncs[i].at;
        let until = self.syncs.get(i + 1).map_or(self.until, |next| next.at);
        let at = until.checked_sub(PERIODS * self.periods().1 + GRAIN)?;
        let restarted = self.restarts.iter().any(|r| (from..until).contains(r));
        let edited = self.specs.iter().any(|(t, _)| (from..until).contains(t));
        if at <= from + GRAIN || restarted || edited || self.blind(from, until) {
            return None;
        }
        let last = self.decision(raws, own, i, at, raws[i].all);
        (last.expected != Range::ANY).then_some((until - from, last.expected))
    }

    fn raws(&self, sync: &Sync) -> Raws {
        let first = self.raw(sync, &sync.pods);
        Raws {
            first,
            all: first.or(self.raw(sync, &sync.later)),
        }
    }

    fn raw(&self, sync: &Sync, pods: &Groupings) -> Raw {
        let Some(spec) = self.spec(sync.at).filter(|_| sync.unclean.is_none()) else {
            return Raw::Unknown;
        };
        if sync.failed() || !spec.asks_metrics(sync.current) {
            return Raw::Nothing;
        }
        let tolerances = Tolerances::of(spec, &self.controller);
        recommendation(
            &sync.published,
            pods,
            sync.current,
            sync.status_replicas,
            tolerances,
        )
    }

    /// What status `i` had to decide at a time at which the metrics recommended `raw`.
    fn decision(&self, raws: &[Raws], own: &[&Write], i: usize, at: Micros, raw: Raw) -> Replayed {
        let sync = &self.syncs[i];
        let current = sync.current;
        let replayed = |expected: Range, open: Option<String>| Replayed {
            raw: raw.known(),
            expected,
            open,
            stood: None,
        };
        let open = |why: &str| replayed(Range::ANY, Some(why.into()));
        let Some(spec) = self.spec(sync.at) else {
            return open("no spec was seen");
        };
        if let Some(why) = &sync.unclean {
            return open(why);
        }
        if sync.failed() {
            return open("the metrics could not be read");
        }
        if current == 0 && spec.min != 0 {
            return replayed(Range::exactly(0), None);
        }
        if current > spec.max || current < spec.min {
            let bound = if current > spec.max {
                spec.max
            } else {
                spec.min
            };
            return replayed(Range::exactly(bound), None);
        }
        let Raw::Known(range) = raw else {
            return open("the pods at that moment leave the recommendation open");
        };
        let (up, down) = self.windows(spec);
        if self.blind(at.saturating_sub(up.max(down)), at) {
            return open("a watch was blind within the stabilization window");
        }
        let here = (i, range, at);
        let least = match spec.behavior {
            Some(_) => self.extreme(raws, here, up, false),
            None => Some(range),
        };
        let most = self.extreme(raws, here, down, true);
        let (Some(least), Some(most)) = (least, most) else {
            return open("a recommendation in the stabilization window is not known");
        };
        let stabilize = |least: i32, most: i32| match spec.behavior {
            Some(_) => current.max(least).min(most),
            None => most,
        };
        let results = [(least.low, most.low), (least.high, most.high)]
            .map(|(least, most)| self.limit(own, spec, at, current, stabilize(least, most)));
        let expected = Range {
            low: results[0].low,
            high: results[1].high,
        };
        let why = match range.is_exact() {
            true => "the edge of a window or period lies within the clocks' grain",
            false => "pods were changing, which leaves more than one recommendation possible",
        };
        replayed(expected, (!expected.is_exact()).then(|| why.into()))
    }

    /// Rate limit and the spec's limits.
    fn limit(&self, own: &[&Write], spec: &Spec, at: Micros, current: i32, wanted: i32) -> Range {
        if wanted == current {
            return Range::exactly(current);
        }
        let rate = self.rate(own, spec, at, current, wanted > current);
        let clamp = |limit: i32| {
            if wanted > current {
                wanted.min(limit).min(spec.max)
            } else {
                wanted.max(limit).max(spec.min)
            }
        };
        Range {
            low: clamp(rate.low),
            high: clamp(rate.high),
        }
    }
}
