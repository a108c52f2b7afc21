//! Bytes that are held back on their way through the balancer, and for how long.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use tokio::time::Instant;

use super::relay::Route;

/// At most so many bytes are held back in each direction; then the sender feels it, as on a full network path.
const HELD_LIMIT: usize = 256 << 10;
/// Bytes on their way in one direction, in order.
pub(super) struct Held {
    pub chunks: VecDeque<(Instant, Bytes)>,
    pub bytes: usize,
    last_due: Instant,
    pub eof: bool,
    rng: Pcg64Mcg,
}

impl Held {
    /// Nothing yet; the seed makes the jitter repeatable.
    pub fn new(seed: u64) -> Self {
        Self {
            chunks: VecDeque::new(),
            bytes: 0,
            last_due: Instant::now(),
            eof: false,
            rng: Pcg64Mcg::seed_from_u64(seed),
        }
    }
    /// Takes bytes in, to leave when the route's delay lets them.
    pub fn push(&mut self, data: &[u8], route: &Route) {
        let due = due(Instant::now(), self.last_due, route.delay, &mut self.rng);
        self.last_due = due;
        self.bytes += data.len();
        self.chunks.push_back((due, Bytes::copy_from_slice(data)));
    }
    /// When the end of the stream may be passed on, once all chunks are.
    pub fn finish(&mut self, route: &Route) {
        self.eof = true;
        self.last_due = due(Instant::now(), self.last_due, route.delay, &mut self.rng);
    }
    /// Whether there is room for more.
    pub fn may_read(&self) -> bool {
        !self.eof && self.bytes < HELD_LIMIT
    }
    /// When the next chunk, or the end, may leave.
    pub fn next_due(&self) -> Option<Instant> {
        let chunk = self.chunks.front().map(|(due, _)| *due);
        chunk.or(self.eof.then_some(self.last_due))
    }
}

/// When a chunk that arrived at `now` may leave: after the latency, plus or minus the jitter, never before an earlier
/// one.
fn due(
    now: Instant,
    last: Instant,
    delay: Option<(Duration, Duration)>,
    rng: &mut Pcg64Mcg,
) -> Instant {
    let Some((latency, jitter)) = delay else {
        return now.max(last);
    };
    let shift = match jitter.is_zero() {
        true => Duration::ZERO,
        false => jitter.mul_f64(rng.random_range(0.0..=2.0)),
    };
    (now + (latency + shift).saturating_sub(jitter)).max(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delayed_chunks_stay_in_order_and_within_the_jitter() {
        let mut rng = Pcg64Mcg::seed_from_u64(7);
        let ms = Duration::from_millis;
        let delay = Some((ms(100), ms(50)));
        let start = Instant::now();
        let mut last = start;
        let (mut least, mut most) = (ms(1000), ms(0));
        for i in 0..1000 {
            // Far apart, so that order never pushes a chunk back: each shift is its own.
            let now = start + ms(200 * i);
            let at = due(now, last, delay, &mut rng);
            assert!(at >= last);
            (least, most) = (least.min(at - now), most.max(at - now));
            last = at;
        }
        assert!(least >= ms(50) && least < ms(52), "{least:?}");
        assert!(most <= ms(150) && most > ms(148), "{most:?}");
        // Two at once: the second never overtakes.
        let first = due(start, start, Some((ms(100), ms(0))), &mut rng);
        assert_eq!(due(start, first, None, &mut rng), first);
        // A jitter larger than the latency does not reach into the past.
        assert!(due(start, start, Some((ms(1), ms(50))), &mut rng) >= start);
    }
}
