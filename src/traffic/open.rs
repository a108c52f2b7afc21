//! Open loads: arrivals on a schedule that does not wait for the service.
//!
//! An arrival is a visitor, and which instance serves a visitor must not depend on how fast that instance is. With
//! few kept-alive connections it would: those to a slow instance are busy most of the time, so that arrivals would
//! find the fast ones free and hide the slow one. So there are many more user places (each with its connections) than
//! journeys under way, as a service has many more open connections than requests; an arrival draws one of all
//! places, and where that one is busy the population grows. It has at least [`FEWEST_PLACES`] and up to
//! [`PLACES_PER_BUSY`] times the journeys under way, always within `max-in-flight`; what was needed once and is not any
//! longer is given up again. Over a pool of connections a place has none of its own to choose by: there it is as many as
//! the most journeys under way, and where a journey is one request no more than connections, since a place more could
//! only wait. Who finds them all busy waits in line instead (within `max-in-flight` too), at the cost of a line's entry:
//! what a stall of the service has held up is then worked off over places that are warm.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use rand_pcg::Pcg64;

use super::arrivals::{Arrivals, RateCurve};
use super::feeder::mix;
use super::journey::CompiledFlow;
use super::population::{Bounds, Choice, Population};
use super::shared::{FlowRun, Live, Shared, Slot};
use super::text::Value;
use super::user::{User, Walk, journey_rng};
use crate::record::{Level, Micros};
use crate::scenario::{ConnectionMode, Load};

/// A population over all workers begins with so many places (or `max-in-flight`, if that is less).
const FEWEST_PLACES: usize = 50;
/// And grows to so many times the places that are busy.
const PLACES_PER_BUSY: usize = 10;

/// The schedule of a flow at one worker, and its places.
pub struct OpenState {
    arrivals: Arrivals,
    next: Option<(u64, Micros)>,
    places: Vec<Rc<Place>>,
    population: Population,
    waiting: Line,
    draw: Pcg64,
}

/// A journey that has been begun, and keeps the worker alive.
type Journey = (Walk, Live);

/// Arrivals that wait for a place, with their data, and how many may.
struct Line {
    arrivals: VecDeque<(Journey, Vec<Value>)>,
    most: usize,
}

/// Where an arrival goes.
enum Seat {
    Place(usize),
    Line,
    Nowhere,
}

/// A place for one journey at a time.
struct Place {
    slot: Rc<Slot>,
    journey: RefCell<Option<Journey>>,
    /// No journey will come any more.
    given_up: Cell<bool>,
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
        let most = flow.share(open.max_in_flight, shard);
        let places = flow.requests_at_once(shard).unwrap_or(most).min(most);
        let mut state = Self {
            arrivals: Arrivals::new(curve, open.process, shard, flow.shards, rng),
            next: None,
            places: Vec::new(),
            population: Population::new(Bounds {
                fewest: FEWEST_PLACES.div_ceil(flow.shards),
                most: places,
                per_busy: match flow.spec.connections.mode {
                    ConnectionMode::Pooled(_) => 1,
                    ConnectionMode::PerUser | ConnectionMode::PerRequest => PLACES_PER_BUSY,
                },
            }),
            waiting: Line {
                arrivals: VecDeque::new(),
                most: most - places,
            },
            draw: Pcg64::new(u128::from(mix(seed, 0x9_1ace)), shard as u128),
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
            if is_behind(&shared, &run) {
                // At a rate beyond what can be dispatched something is always due: what has begun must go on all the same.
                tokio::task::yield_now().await;
            }
        }
    });
}

/// Whether the next arrival is due already.
fn is_behind(shared: &Shared, run: &FlowRun) -> bool {
    let open = run.open.borrow();
    let next = open.as_ref().and_then(|state| state.next);
    next.is_some_and(|(_, at)| run.start + at <= shared.clock.now())
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
        let mut rng = journey_rng(shared.plan.seed, run.flow.index, number);
        state.give_up(at);
        match state.seat(shared, run) {
            Ok(Seat::Place(index)) => {
                let place = &state.places[index];
                let mut values = place.slot.values.borrow_mut();
                let Some(journey) = begin(shared, run, &mut values, rng, intended) else {
                    return;
                };
                place.give(journey);
            }
            Ok(Seat::Line) => {
                let mut values = Vec::new();
                let Some(journey) = begin(shared, run, &mut values, rng, intended) else {
                    return;
                };
                state.waiting.arrivals.push_back((journey, values));
            }
            Ok(Seat::Nowhere) => {
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

/// Begins an arrival's journey, which is due from here on; `None` where there are no data for it.
fn begin(
    shared: &Rc<Shared>,
    run: &Rc<FlowRun>,
    values: &mut Vec<Value>,
    rng: Pcg64,
    intended: Micros,
) -> Option<Journey> {
    if !shared.begin_journey(run, values) {
        return None;
    }
    shared.users.set(shared.users.get() + 1);
    let walk = Walk::new(&run.flow, rng, intended, shared);
    Some((walk, shared.live()))
}

impl OpenState {
    /// One of all places, or a new one where that is busy; none where `max-in-flight` are.
    fn seat(&mut self, shared: &Rc<Shared>, run: &Rc<FlowRun>) -> Result<Seat, String> {
        let index = match self.population.arrive(&mut self.draw) {
            Choice::Free(index) => return Ok(Seat::Place(index)),
            Choice::Full if self.waiting.arrivals.len() < self.waiting.most => {
                return Ok(Seat::Line);
            }
            Choice::Full => return Ok(Seat::Nowhere),
            Choice::New(index) => index,
        };
        let link = run.transport.link(index).map_err(|e| e.to_string())?;
        let slot = shared.seat(run);
        let place = Rc::new(Place {
            slot: slot.clone(),
            journey: RefCell::default(),
            given_up: Cell::default(),
            waker: RefCell::default(),
        });
        self.places.push(place.clone());
        let number = (index * run.flow.shards + run.shard + 1) as u64;
        let user = User::new(shared.clone(), slot, link, number);
        tokio::task::spawn_local(serve(shared.clone(), run.clone(), place, index, user));
        Ok(Seat::Place(index))
    }

    /// A journey has ended: whoever has waited longest takes its place, or it is free.
    fn leave(&mut self, index: usize) {
        let Some((journey, values)) = self.waiting.arrivals.pop_front() else {
            return self.population.leave(index);
        };
        let place = &self.places[index];
        place.slot.values.replace(values);
        // Its task, which this is, looks there next: nobody need be woken.
        place.journey.replace(Some(journey));
    }

    /// Gives up one place that is not needed any longer, and with it its connection: one for each arrival, since to close
    /// thousands at once would keep the worker from its schedule.
    fn give_up(&mut self, at: Micros) {
        if self.population.give_up(at)
            && let Some(place) = self.places.pop()
        {
            place.given_up.set(true);
            place.wake();
        }
    }
}

/// Takes back what waits in line and what has been given to a place whose task has not run since: the steps and intended
/// starts of requests that are due and will never begin.
pub fn take_back(run: &FlowRun) -> Vec<(usize, Micros)> {
    let mut open = run.open.borrow_mut();
    let Some(state) = open.as_mut() else {
        return Vec::new();
    };
    let given = state.places.iter().filter_map(|place| place.journey.take());
    let waiting = state.waiting.arrivals.drain(..);
    given
        .chain(waiting.map(|(journey, _)| journey))
        .filter_map(|(walk, _)| walk.counted(&run.flow))
        .collect()
}

/// Serves a place: one journey after the other.
async fn serve(
    shared: Rc<Shared>,
    run: Rc<FlowRun>,
    place: Rc<Place>,
    index: usize,
    mut user: User,
) {
    while let Some((mut walk, live)) = place.next().await {
        user.journey(&mut walk, run.end).await;
        shared.users.set(shared.users.get() - 1);
        if let Some(state) = run.open.borrow_mut().as_mut() {
            state.leave(index);
        }
        drop(live);
    }
    shared.unseat(&place.slot);
}

impl Place {
    fn give(&self, journey: Journey) {
        *self.journey.borrow_mut() = Some(journey);
        self.wake();
    }

    fn wake(&self) {
        let waker = self.waker.borrow().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The next journey; `None` when the place has been given up.
    async fn next(&self) -> Option<Journey> {
        poll_fn(|context| {
            if let Some(journey) = self.journey.borrow_mut().take() {
                return Poll::Ready(Some(journey));
            }
            if self.given_up.get() {
                return Poll::Ready(None);
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
