//! A worker's precise timer: a heap of alarms behind one timerfd.
//!
//! tokio's own timer rounds up to the next millisecond, which would be most of the latency of a fast service. A
//! timerfd wakes the worker's epoll within tens of microseconds and costs nothing while it waits. Those microseconds
//! would be in every response time, so the timerfd is set as much too early as the machine usually takes to wake
//! ([`Lead`]), and what is left then is waited for while looking at the sockets.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Poll, Waker};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use crate::record::{Clock, Micros};

/// The timer of one worker.
pub struct Timer {
    clock: Clock,
    fd: AsyncFd<OwnedFd>,
    heap: RefCell<BinaryHeap<Reverse<Entry>>>,
    /// The alarm that the timerfd is set for, and when it goes off for it; 0 while the driver watches the clock.
    armed: Cell<Micros>,
    goes_off: Cell<Micros>,
    lead: Cell<Lead>,
    stopped: Cell<bool>,
}

/// How much too early the timerfd goes off: what nine in ten wake-ups take at most, as far as seen.
#[derive(Debug, Clone, Copy, Default)]
struct Lead {
    tenths: u64,
}

impl Lead {
    /// A machine that takes longer than this is not asleep but busy.
    const LONGEST: Micros = 100;
    /// Of a wait at most this part is spent watching the clock, so that no rate of arrivals burns a core.
    const PART: u64 = 8;

    /// Takes in how long a wake-up has taken. Nine small steps down balance one up at the 90th percentile.
    fn learn(&mut self, late: Micros) {
        self.tenths = if late * 10 > self.tenths {
            (self.tenths + 9).min(Self::LONGEST * 10)
        } else {
            self.tenths.saturating_sub(1)
        };
    }

    /// The lead for a wait of this length.
    fn of(self, wait: Micros) -> Micros {
        let lead = self.tenths.div_ceil(10);
        if lead * Self::PART <= wait { lead } else { 0 }
    }
}

/// What one task waits with; reused from wait to wait, so that waiting does not allocate.
#[derive(Clone, Default)]
pub struct Alarm(Rc<AlarmState>);

#[derive(Default)]
struct AlarmState {
    waker: RefCell<Option<Waker>>,
    /// The earliest entry of this alarm in the heap, if any.
    queued: Cell<Option<Micros>>,
}

struct Entry {
    at: Micros,
    alarm: Alarm,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl Timer {
    /// A timer on the run's clock; needs the worker's runtime around it.
    pub fn new(clock: Clock) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // Deprecated because a type may return a descriptor that is not its own; an OwnedFd does not, and the
        // successor is unsafe to call.
        #[expect(deprecated)]
        let fd = AsyncFd::with_interest(fd, tokio::io::Interest::READABLE)?;
        Ok(Self {
            clock,
            fd,
            heap: RefCell::default(),
            armed: Cell::new(Micros::MAX),
            goes_off: Cell::new(0),
            lead: Cell::default(),
            stopped: Cell::new(false),
        })
    }

    /// Waits until a time on the run's clock. Returns false, at once, when the timer is or gets stopped.
    pub async fn until(&self, alarm: &Alarm, at: Micros) -> bool {
        poll_fn(|context| {
            if self.stopped.get() {
                return Poll::Ready(false);
            }
            if self.clock.now() >= at {
                return Poll::Ready(true);
            }
            self.register(alarm, at, context.waker());
            Poll::Pending
        })
        .await
    }

    /// Like [`Timer::until`], and waits on when the timer is stopped.
    pub async fn until_regardless(&self, alarm: &Alarm, at: Micros) {
        poll_fn(|context| {
            if self.clock.now() >= at {
                return Poll::Ready(());
            }
            self.register(alarm, at, context.waker());
            Poll::Pending
        })
        .await;
    }

    fn register(&self, alarm: &Alarm, at: Micros, waker: &Waker) {
        let mut slot = alarm.0.waker.borrow_mut();
        if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
        if alarm.0.queued.get().is_some_and(|queued| queued <= at) {
            return;
        }
        alarm.0.queued.set(Some(at));
        let alarm = alarm.clone();
        self.heap.borrow_mut().push(Reverse(Entry { at, alarm }));
        if at < self.armed.get() {
            self.arm(at);
        }
    }

    /// Sets the timerfd. It cannot fail: the descriptor is ours and the time is valid.
    fn arm(&self, at: Micros) {
        let now = self.clock.now();
        let wait = at.saturating_sub(now);
        // A zero would disarm it.
        let wait = (wait - self.lead.get().of(wait)).max(1);
        self.armed.set(at);
        self.goes_off.set(now + wait);
        let value = Timespec {
            tv_sec: (wait / 1_000_000) as i64,
            tv_nsec: (wait % 1_000_000 * 1000) as i64,
        };
        let interval = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let spec = Itimerspec {
            it_interval: interval,
            it_value: value,
        };
        let set = timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::empty(), &spec);
        debug_assert!(set.is_ok(), "{set:?}");
    }

    /// Wakes everyone whose time has come; called by the driver, and by whoever has just read the clock anyway.
    pub fn fire(&self, now: Micros) {
        loop {
            let entry = {
                let mut heap = self.heap.borrow_mut();
                match heap.peek() {
                    Some(Reverse(first)) if first.at <= now => heap.pop(),
                    _ => return,
                }
            };
            let Some(Reverse(Entry { at, alarm })) = entry else {
                return;
            };
            if alarm.0.queued.get() == Some(at) {
                alarm.0.queued.set(None);
            }
            let waker = alarm.0.waker.borrow().clone();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Runs for the life of the worker: turns the timerfd's ticks into wake-ups.
    pub async fn drive(&self) -> io::Result<()> {
        loop {
            let mut ready = self.fd.readable().await?;
            // The ticks are not read, which saves a system call an arrival: tokio's epoll is edge-triggered, and
            // setting the timer again takes them back.
            ready.clear_ready();
            let now = self.clock.now();
            let mut lead = self.lead.get();
            lead.learn(now.saturating_sub(self.goes_off.get()));
            self.lead.set(lead);
            self.watch(self.armed.replace(0)).await;
            self.armed.set(Micros::MAX);
            if let Some(at) = self.next() {
                self.arm(at);
            }
        }
    }

    /// Rings until the alarm of `at` has, if it is no more than a lead away: a timerfd that was set anew may have told
    /// of the time before. The runtime looks at its sockets in between.
    async fn watch(&self, at: Micros) {
        loop {
            let now = self.clock.now();
            self.fire(now);
            if now >= at || at - now > Lead::LONGEST {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// When the next alarm is to ring.
    fn next(&self) -> Option<Micros> {
        self.heap.borrow().peek().map(|Reverse(entry)| entry.at)
    }

    /// Ends all waits of [`Timer::until`], now and from now on.
    pub fn stop(&self) {
        self.stopped.set(true);
        let entries = self.heap.borrow();
        let wakers: Vec<Waker> = entries
            .iter()
            .filter_map(|Reverse(entry)| entry.alarm.0.waker.borrow().clone())
            .collect();
        drop(entries);
        wakers.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_a_worker<F: Future>(work: impl FnOnce(Rc<Timer>) -> F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let timer = Rc::new(Timer::new(Clock::start()).unwrap());
            let driver = timer.clone();
            tokio::task::spawn_local(async move { driver.drive().await });
            work(timer).await
        })
    }

    #[test]
    fn the_lead_is_what_nine_in_ten_wake_ups_take_and_a_small_part_of_the_wait() {
        let mut lead = Lead::default();
        assert_eq!(lead.of(1_000_000), 0);
        // Lateness of 20 to 69 us, each as often: nine in ten are under 65.
        for i in 0..5_000u64 {
            lead.learn(20 + i * 37 % 50);
        }
        let learnt = lead.of(1_000_000);
        assert!((60..=68).contains(&learnt), "{learnt} us");
        assert_eq!(lead.of(learnt * 8), learnt);
        assert_eq!(lead.of(learnt * 8 - 1), 0);
        // Once the machine wakes at once, there is none.
        (0..5_000).for_each(|_| lead.learn(0));
        assert_eq!(lead.of(1_000_000), 0);
        // A busy worker is no reason to wake early.
        (0..5_000).for_each(|_| lead.learn(50_000));
        assert_eq!(lead.of(1_000_000), Lead::LONGEST);
    }

    #[test]
    fn alarms_ring_in_order_and_never_early() {
        on_a_worker(|timer| async move {
            let order = Rc::new(RefCell::new(Vec::new()));
            let tasks: Vec<_> = [30_000u64, 10_000, 20_000, 0]
                .into_iter()
                .map(|at| {
                    let (timer, order) = (timer.clone(), order.clone());
                    tokio::task::spawn_local(async move {
                        assert!(timer.until(&Alarm::default(), at).await);
                        assert!(timer.clock.now() >= at);
                        order.borrow_mut().push(at);
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(*order.borrow(), [0, 10_000, 20_000, 30_000]);
        });
    }

    #[test]
    fn an_alarm_given_up_and_used_again_rings_once_at_the_new_time() {
        on_a_worker(|timer| async move {
            let alarm = Alarm::default();
            let long = timer.until(&alarm, 3_600_000_000);
            assert!(
                tokio::time::timeout(std::time::Duration::from_millis(1), long)
                    .await
                    .is_err()
            );
            let at = timer.clock.now() + 5_000;
            assert!(timer.until(&alarm, at).await);
            assert!(timer.clock.now() < 3_000_000_000);
        });
    }

    #[test]
    fn stopping_ends_the_waits_but_not_those_that_must_go_on() {
        on_a_worker(|timer| async move {
            let waiting = {
                let timer = timer.clone();
                tokio::task::spawn_local(async move {
                    timer.until(&Alarm::default(), 3_600_000_000).await
                })
            };
            tokio::task::yield_now().await;
            timer.stop();
            assert!(!waiting.await.unwrap());
            assert!(!timer.until(&Alarm::default(), 0).await);
            let at = timer.clock.now() + 2_000;
            timer.until_regardless(&Alarm::default(), at).await;
            assert!(timer.clock.now() >= at);
        });
    }
}
