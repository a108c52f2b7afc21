//! A server that stands still, as in a long garbage collection.

use std::time::{Duration, Instant};

/// So long after a stall, answers are taken for those that had waited: they leave within a tenth of that, and the rest is
/// traffic as usual.
const DRAIN: Duration = Duration::from_millis(400);

/// The last second of every ten.
pub struct Stall {
    next: Instant,
    /// When the last one ended, and how long after that answers left, until this is told.
    drain: Option<(Instant, Vec<u128>)>,
}

impl Stall {
    pub fn new() -> Self {
        Self {
            next: Instant::now() + Duration::from_secs(9),
            drain: None,
        }
    }

    /// How long until something is to be done.
    pub fn wait(&self) -> Duration {
        let at = self
            .drain
            .as_ref()
            .map_or(self.next, |(end, _)| *end + DRAIN);
        at.saturating_duration_since(Instant::now())
    }

    /// Stands still when it is time; tells when the answers to those that had waited have left.
    pub fn look(&mut self) {
        let now = Instant::now();
        if let Some((_, left)) = self.drain.take_if(|(end, _)| now >= *end + DRAIN) {
            let left: Vec<String> = left.iter().map(u128::to_string).collect();
            println!("{}", left.join(" "));
        }
        if now >= self.next {
            let end = self.next + Duration::from_secs(1);
            std::thread::sleep(end.saturating_duration_since(now));
            self.drain = Some((end, Vec::with_capacity(10_000)));
            self.next += Duration::from_secs(10);
        }
    }

    /// An answer has left.
    pub fn answered(&mut self) {
        if let Some((end, left)) = &mut self.drain {
            left.push(end.elapsed().as_micros());
        }
    }
}
