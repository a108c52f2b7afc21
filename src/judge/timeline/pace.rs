//! Throughput: what is answered while the schedule runs, over that time.

use crate::record::{Interval, Micros};

use super::end_of;

/// Seconds that begin or end this close to the schedule's edge lie within it.
const EDGE_US: Micros = 100_000;
/// Of what was answered within the schedule, the part of later answers that is normal: requests due at its very end.
const LATE: f64 = 0.01;

/// What was due and answered in the whole seconds of a schedule, and what was answered later.
///
/// A service that cannot keep up goes on answering when nothing is due any more: counted as throughput, its backlog
/// would show a rate that it never had. A service that keeps up answers the last requests a little later too, though,
/// which must not make 199.9/s of 200/s.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    due: u64,
    within: u64,
    seconds: f64,
    after: u64,
}

impl Pace {
    /// Adds a second with its due and answered requests; `schedule` is from when to when requests are due.
    pub fn add(&mut self, second: &Interval, schedule: (Micros, Micros), due: u64, answered: u64) {
        let (from, to) = schedule;
        let (start, end) = (second.second.start_us, end_of(second));
        let seconds = end.min(to).saturating_sub(start.max(from)) as f64 / 1e6;
        if start.saturating_add(EDGE_US) >= from
            && end <= to.saturating_add(EDGE_US)
            && seconds > 0.0
        {
            self.due = self.due.saturating_add(due);
            self.within = self.within.saturating_add(answered);
            self.seconds += seconds;
        } else if start.saturating_add(EDGE_US) >= from {
            self.after = self.after.saturating_add(answered);
        }
    }

    /// Requests that count, and over how many seconds; `None` where no second lies within the schedule as a whole. `fastest` is the least response time that was seen: sooner than
    /// that no request can be answered, so as many may be under way at the end.
    pub fn answered(&self, fastest: Micros) -> Option<(u64, f64)> {
        if self.seconds <= 0.0 {
            return None;
        }
        let share = LATE + fastest as f64 / 1e6 / self.seconds;
        let late = (self.within as f64 * share).ceil() as u64;
        let counted = self.within.saturating_add(self.after.min(late));
        Some((counted.min(self.due.max(self.within)), self.seconds))
    }
}
