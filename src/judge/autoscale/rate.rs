//! What the policies of a behavior allow at a time, as far as the changes that they count were seen.

use super::decide::{down_limit, up_limit};
use super::published::Range;
use super::timeline::{GRAIN, Timeline, Write};
use super::types::*;
use crate::record::Micros;

impl Timeline {
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

    /// Whether the controller may remember a change that was not seen: one before the run, or while a watch was blind.
    fn forgotten(&self, rules: &Rules, at: Micros) -> bool {
        let periods = rules
            .policies
            .iter()
            .map(|p| p.period.as_micros() as Micros);
        let period = periods.max().unwrap_or(0) + GRAIN;
        let before = self
            .scaled_before
            .filter(|_| self.memory_began(at).is_none());
        before.is_some_and(|scaled| scaled.saturating_add_unsigned(period) >= at as i64)
            || self.blind(at.saturating_sub(period), at)
    }

    /// The least and the most that the rate allows from `current` towards `wanted`.
    pub fn rate(&self, own: &[&Write], spec: &Spec, at: Micros, current: i32, up: bool) -> Range {
        let Some(behavior) = &spec.behavior else {
            let limit = if up { (2 * current).max(4) } else { 0 };
            return Range::exactly(limit);
        };
        let rules = if up { &behavior.up } else { &behavior.down };
        if rules.select != Select::Disabled && self.forgotten(rules, at) {
            return match up {
                true => Range {
                    low: current,
                    high: i32::MAX,
                },
                false => Range {
                    low: 0,
                    high: current,
                },
            };
        }
        let limit = |eager: bool, both: bool| {
            let mut memory = self.events(own, at, eager);
            // Up to 1.23 a direction's own changes count alone.
            match (both, up) {
                (true, _) => {}
                (false, true) => memory.downs.clear(),
                (false, false) => memory.ups.clear(),
            }
            if up {
                up_limit(&behavior.up, at, current, &memory).max(current)
            } else {
                down_limit(&behavior.down, at, current, &memory).min(current)
            }
        };
        let ways = [(true, true), (true, false), (false, true), (false, false)];
        let ways = ways.map(|(eager, both)| Range::exactly(limit(eager, both)));
        ways.into_iter().fold(ways[0], Range::or)
    }
}
