//! A run of an autoscaler as its watches saw it, and the replay of it: what each decision had to be, from what was
//! published and remembered. A status is written only when it changes, so each one stands until the next.

use serde::{Deserialize, Serialize};

use super::decide::{down_limit, up_limit, windows};
use super::published::{Published, Range, recommendation};
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
    /// Pods that counted.
    pub ready: i32,
    /// Why the published values alone do not determine the decision: pods missing, unready, or not known.
    pub unclean: Option<String>,
    /// `status.currentMetrics`.
    pub published: Vec<Published>,
    /// `status.desiredReplicas`.
    pub desired: i32,
    /// `status.conditions`.
    pub conditions: Vec<Condition>,
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
}

impl Timeline {
    /// The spec at a time.
    pub fn spec(&self, at: Micros) -> Option<&Spec> {
        let before = self.specs.iter().rev().find(|(from, _)| *from <= at);
        before.or(self.specs.first()).map(|(_, spec)| spec)
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

    /// The memory of scale events at a time: with `eager` those at the edge of a period count where they make the
    /// limit lower, without where they make it higher.
    fn events(&self, own: &[&Write], at: Micros, eager: bool) -> Memory {
        let began = self.memory_began(at).unwrap_or(0);
        let mut memory = Memory::default();
        for write in own
            .iter()
            .filter(|w| w.at >= began && w.at + GRAIN / 2 < at)
        {
            let change = write.to - write.from;
            let late = write.at + GRAIN;
            let early = write.at.saturating_sub(GRAIN);
            if change > 0 {
                memory.ups.push((if eager { late } else { early }, change));
            } else {
                memory
                    .downs
                    .push((if eager { early } else { late }, -change));
            }
        }
        memory
    }

    /// The least and the most that the rate allows from `current` towards `wanted`.
    pub fn rate(&self, own: &[&Write], spec: &Spec, at: Micros, current: i32, up: bool) -> Range {
        let Some(behavior) = &spec.behavior else {
            let limit = if up { (2 * current).max(4) } else { 0 };
            return Range::exactly(limit);
        };
        let limit = |eager: bool| {
            let memory = self.events(own, at, eager);
            if up {
                up_limit(&behavior.up, at, current, &memory).max(current)
            } else {
                down_limit(&behavior.down, at, current, &memory).min(current)
            }
        };
        let (one, other) = (limit(true), limit(false));
        Range {
            low: one.min(other),
            high: one.max(other),
        }
    }

    /// Raw recommendations in a window before sync `i`: the extreme of those that surely were in it, and of those
    /// that may have been. `None` where one of them is not known.
    fn extreme(
        &self,
        raws: &[Option<Range>],
        i: usize,
        window: Micros,
        most: bool,
    ) -> Option<Range> {
        let now = self.syncs[i].at;
        let period = self.controller.sync_period.as_micros() as Micros;
        let began = self.memory_began(now);
        let pick = |a: i32, b: i32| if most { a.max(b) } else { a.min(b) };
        let own = raws[i]?;
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
        for j in (0..i).rev() {
            let from = self.syncs[j].at;
            let until = self.syncs[j + 1].at;
            // It was repeated each period until the next status: for the last time about one period before that.
            let last = until.saturating_sub(period).max(from) + GRAIN;
            if last + GRAIN + window <= now {
                break;
            }
            // What was last recommended before the memory began is forgotten.
            if began.is_some_and(|b| last < b) {
                continue;
            }
            // Surely no more than two periods before.
            let repeated = until.saturating_sub(2 * period).max(from);
            let surely = repeated + window > now + GRAIN && began.is_none_or(|b| repeated >= b);
            take(raws[j]?, surely);
        }
        let reach = now.saturating_sub(window);
        match began {
            // The count at the first sync, which comes within a period, stands in the memory as if recommended.
            Some(began) if began + period + GRAIN > reach => {
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
        let raws: Vec<Option<Range>> = self.syncs.iter().map(|s| self.raw(s)).collect();
        let own = self.own_writes();
        (0..self.syncs.len())
            .map(|i| self.replay_one(&raws, &own, i))
            .collect()
    }

    fn raw(&self, sync: &Sync) -> Option<Range> {
        if sync.unclean.is_some() {
            return None;
        }
        let spec = self.spec(sync.at)?;
        let tolerances = Tolerances::of(spec, &self.controller);
        recommendation(
            &sync.published,
            sync.current,
            sync.status_replicas,
            sync.ready,
            tolerances,
        )
    }

    fn replay_one(&self, raws: &[Option<Range>], own: &[&Write], i: usize) -> Replayed {
        let sync = &self.syncs[i];
        let current = sync.current;
        let exactly = |n: i32| Replayed {
            raw: None,
            expected: Range::exactly(n),
            open: None,
        };
        let open = |why: String| Replayed {
            raw: raws[i],
            expected: Range::ANY,
            open: Some(why),
        };
        let Some(spec) = self.spec(sync.at) else {
            return open("no spec was seen".into());
        };
        if current == 0 && spec.min != 0 {
            return exactly(0);
        }
        if current > spec.max {
            return exactly(spec.max);
        }
        if current < spec.min {
            return exactly(spec.min);
        }
        if let Some(why) = &sync.unclean {
            return open(why.clone());
        }
        if raws[i].is_none() {
            // Too many metrics were invalid: the status keeps what it had.
            return open("metrics could not be read".into());
        }
        let (up, down) = self.windows(spec);
        let least = match spec.behavior {
            Some(_) => self.extreme(raws, i, up, false),
            None => raws[i],
        };
        let most = self.extreme(raws, i, down, true);
        let (Some(least), Some(most)) = (least, most) else {
            return open("a recommendation in the stabilization window is not known".into());
        };
        let stabilize = |least: i32, most: i32| match spec.behavior {
            Some(_) => current.max(least).min(most),
            None => most,
        };
        let results = [(least.low, most.low), (least.high, most.high)]
            .map(|(least, most)| self.limit(own, spec, sync.at, current, stabilize(least, most)));
        let expected = Range {
            low: results[0].low,
            high: results[1].high,
        };
        let edge = || "the edge of a window or period lies within the clocks' grain".to_string();
        Replayed {
            raw: raws[i],
            expected,
            open: (!expected.is_exact()).then(edge),
        }
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
