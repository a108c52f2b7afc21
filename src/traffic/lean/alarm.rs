//! A deadline for each request without a timer for each request.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

/// One timer per connection, armed for a time that is not after the deadline of the request in flight.
///
/// Requests that follow each other have later and later deadlines, so that an armed timer stays early enough: it is
/// touched again only when it has gone off (once in a timeout's length, whatever the rate), or for a deadline that
/// is sooner than all before.
#[derive(Debug, Default)]
pub struct Alarm {
    /// The timer, once a request had to wait.
    sleep: Option<Pin<Box<Sleep>>>,
    /// What it is armed for, and whom it wakes.
    armed: Option<(Instant, Waker)>,
}

impl Alarm {
    /// Waits for a future, but not beyond `deadline`: `None` then.
    pub(super) async fn within<F: Future>(
        &mut self,
        deadline: Instant,
        future: F,
    ) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(done) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            if Instant::now() >= deadline {
                return Poll::Ready(None);
            }
            self.watch(cx, deadline);
            Poll::Pending
        })
        .await
    }

    /// Makes sure that the task is polled again at `deadline`, or before. The caller compares the clock.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>, deadline: Instant) {
        if let (Some((at, waker)), Some(sleep)) = (&self.armed, &self.sleep)
            && *at <= deadline
            && waker.will_wake(cx.waker())
            && !sleep.is_elapsed()
        {
            return;
        }
        self.arm(cx, deadline);
    }

    #[cold]
    fn arm(&mut self, cx: &mut Context<'_>, deadline: Instant) {
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        sleep.as_mut().reset(deadline.into());
        // Without the exemption a task that has used up its share of the runtime would not be registered.
        match Pin::new(&mut unconstrained(sleep.as_mut())).poll(cx) {
            Poll::Pending => self.armed = Some((deadline, cx.waker().clone())),
            // Already over: have the caller look at the clock.
            Poll::Ready(()) => {
                self.armed = None;
                cx.waker().wake_by_ref();
            }
        }
    }
}
