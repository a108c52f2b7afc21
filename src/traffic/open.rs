//! Open loads: arrivals on a schedule that does not wait for the service.
//!
//! An arrival is given to a user place that is free; there are as many places as journeys were ever under way at once,
//! up to `max-in-flight`. Places are reused first in, first out: every connection that was opened keeps seeing
//! traffic, so that none goes stale in the server's idle timeout, and after a peak the load stays spread over all of
//! them, as a load balancer in front of real users would see it. (Last in, first out would pin a moderate load to the
//! few instances behind the hottest connections.)

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use rand_pcg::Pcg64;

use super::arrivals::{Arrivals, RateCurve};
use super::feeder::mix;
use super::journey::CompiledFlow;
use super::user::{Start, User};
use super::worker::{FlowRun, Live, Shared, Slot};
use crate::record::{Level, Micros};
use crate::scenario::Load;

/// The schedule of a flow at one worker, and its places.
pub struct OpenState {
    arrivals: Arrivals,
    next: Option<(u64, Micros)>,
    limit: usize,
    places: Vec<Rc<Place>>,
    free: VecDeque<usize>,
    seed: u64,
}

/// A place for one journey at a time.
struct Place {
    slot: Rc<Slot>,
    start: RefCell<Option<(Start, Live)>>,
    waker: RefCell<Option<Waker>>,
}

impl OpenState {
    /// The state of an open flow; `None` for a closed one.
    pub fn new(flow: &Arc<CompiledFlow>, shard: usize, seed: u64) -> Option<Self> {
        let Load::Open(open) = &flow.spec.load else {
            return None;
        };
        let seed = mix(seed, flow.index as u64);
        let rng = Pcg64::new(
            u128::from(mix(seed, u64::MAX - shard as u64)),
            shard as u128,
        );
        let curve = RateCurve::new(&open.stages);
        let total = open.max_in_flight as usize;
        let mut state = Self {
            arrivals: Arrivals::new(curve, open.process, shard, flow.shards, rng),
            next: None,
            limit: total / flow.shards + usize::from(shard < total % flow.shards),
            places: Vec::new(),
            free: VecDeque::new(),
            seed,
        };
        state.step();
        Some(state)
    }

    /// Draws the next arrival.
    fn step(&mut self) {
        let arrival = self.arrivals.next();
        self.next = arrival.map(|arrival| (arrival.number, (arrival.at * 1e6) as Micros));
    }
}

/// Starts the schedule of an open flow.
pub fn launch(shared: &Rc<Shared>, run: &Rc<FlowRun>) {
    let live = shared.live();
    let (shared, run) = (shared.clone(), run.clone());
    tokio::task::spawn_local(async move {
        let _live = live;
        let alarm = super::timer::Alarm::default();
        while !run.over.get() {
            let next = run.open.borrow().as_ref().and_then(|state| state.next);
            let at = next.map_or(run.end, |(_, at)| run.start + at);
            if !shared.timer.until(&alarm, at).await || next.is_none() {
                return;
            }
            let now = shared.clock.now();
            shared.roll(now);
            dispatch(&shared, &run, now + 1);
        }
    });
}

/// Gives every arrival that is due before `until` to a place, or drops it.
pub fn dispatch(shared: &Rc<Shared>, run: &Rc<FlowRun>, until: Micros) {
    let mut open = run.open.borrow_mut();
    let Some(state) = open.as_mut() else {
        return;
    };
    while !run.over.get() {
        let Some((number, at)) = state.next else {
            return;
        };
        let intended = run.start + at;
        if intended >= until {
            return;
        }
        let seed = mix(state.seed, number);
        let mut rng = Pcg64::new(
            u128::from(seed) << 64 | u128::from(number),
            run.flow.index as u128,
        );
        match state.free_place(shared, run) {
            Ok(Some(index)) => {
                let place = &state.places[index];
                if !shared.begin_journey(run, &mut place.slot.values.borrow_mut()) {
                    return;
                }
                shared.users.set(shared.users.get() + 1);
                place.give(Start::new(&run.flow, rng, intended, shared), shared.live());
            }
            Ok(None) => {
                if let Some(step) = run.flow.first_request(0, &mut rng) {
                    let step = run.flow.steps[step].index;
                    shared.count(|second| {
                        second.due(step);
                        second.dropped(step);
                    });
                    shared.plan.arrivals_dropped(run.flow.index);
                }
            }
            Err(problem) => {
                shared.plan.sink.note(Level::Error, problem.clone());
                shared.break_down(problem);
                return;
            }
        }
        state.step();
    }
}

impl OpenState {
    /// The place that has been free the longest, or a new one.
    fn free_place(
        &mut self,
        shared: &Rc<Shared>,
        run: &Rc<FlowRun>,
    ) -> Result<Option<usize>, String> {
        if let Some(index) = self.free.pop_front() {
            return Ok(Some(index));
        }
        if self.places.len() >= self.limit {
            return Ok(None);
        }
        let index = self.places.len();
        let link = run.transport.link(index).map_err(|e| e.to_string())?;
        let slot = shared.seat(run);
        let place = Rc::new(Place {
            slot: slot.clone(),
            start: RefCell::default(),
            waker: RefCell::default(),
        });
        self.places.push(place.clone());
        let number = (index * run.flow.shards + run.shard + 1) as u64;
        let user = User::new(shared.clone(), slot, link, number);
        let (shared, run) = (shared.clone(), run.clone());
        tokio::task::spawn_local(serve(shared, run, place, index, user));
        Ok(Some(index))
    }
}

/// Serves a place: one journey after the other.
async fn serve(
    shared: Rc<Shared>,
    run: Rc<FlowRun>,
    place: Rc<Place>,
    index: usize,
    mut user: User,
) {
    loop {
        let (start, live) = place.next().await;
        user.journey(start, run.end).await;
        shared.users.set(shared.users.get() - 1);
        if let Some(state) = run.open.borrow_mut().as_mut() {
            state.free.push_back(index);
        }
        drop(live);
    }
}

impl Place {
    fn give(&self, start: Start, live: Live) {
        *self.start.borrow_mut() = Some((start, live));
        let waker = self.waker.borrow().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn next(&self) -> (Start, Live) {
        poll_fn(|context| {
            if let Some(start) = self.start.borrow_mut().take() {
                return Poll::Ready(start);
            }
            let mut waker = self.waker.borrow_mut();
            if !waker
                .as_ref()
                .is_some_and(|known| known.will_wake(context.waker()))
            {
                *waker = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}
