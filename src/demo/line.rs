//! The defect `queue`: a line before a fixed number of workers, each of which takes the same time for every request. Its
//! capacity is known by arithmetic, workers / time, and to the microsecond: who is done when is worked out, not slept,
//! so that late timers do not add up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// The workers, by when each is free.
#[derive(Debug)]
pub(super) struct Line {
    free: BinaryHeap<Reverse<Instant>>,
    each: Duration,
}

impl Line {
    /// Workers who are free now.
    pub fn new(workers: u32, each: Duration, now: Instant) -> Self {
        Self {
            free: (0..workers).map(|_| Reverse(now)).collect(),
            each,
        }
    }

    /// Joins the line; the answer is when the request is done.
    pub fn join(&mut self, now: Instant) -> Instant {
        let first = self.free.pop().map_or(now, |Reverse(free)| free.max(now));
        let done = first + self.each;
        self.free.push(Reverse(done));
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_take_turns_and_the_rest_waits() {
        let start = Instant::now();
        let ms = |n| start + Duration::from_millis(n);
        let mut line = Line::new(2, Duration::from_millis(20), start);
        let done: Vec<Instant> = (0..5).map(|_| line.join(start)).collect();
        assert_eq!(done, [ms(20), ms(20), ms(40), ms(40), ms(60)]);
        // The second worker has been free since 40 ms; nobody works ahead.
        assert_eq!(line.join(ms(50)), ms(70));
        assert_eq!(line.join(ms(1_000)), ms(1_020));
    }
}
