//! Closed loads: users that wait for each response, come and go with the stages, and think in between.

use std::cell::Cell;
use std::rc::Rc;

use super::shared::{FlowRun, Live, Shared};
use super::timer::Alarm;
use super::user::User;
use super::users::{Stay, peak, stays};
use crate::record::Micros;
use crate::scenario::ClosedLoad;

/// The users of a closed flow that one worker has.
pub fn user_numbers(shard: usize, shards: usize, load: &ClosedLoad) -> impl Iterator<Item = usize> {
    (shard..peak(&load.stages) as usize).step_by(shards)
}

/// Starts the users of a closed flow that this worker has.
pub fn launch(shared: &Rc<Shared>, run: &Rc<FlowRun>, load: &ClosedLoad) {
    // The flow lasts as long as its schedule, also while nobody is there.
    let live = shared.live();
    let (keeper, own) = (shared.clone(), run.clone());
    tokio::task::spawn_local(async move {
        let _live = live;
        let alarm = Alarm::default();
        // A flow whose data is used up ends before its time.
        while !own.over.get() && keeper.clock.now() < own.end {
            let look = keeper.clock.now() + 100_000;
            if !keeper.timer.until(&alarm, look.min(own.end)).await {
                return;
            }
        }
    });
    let links = run.links.take();
    for (link, number) in links
        .into_iter()
        .zip(user_numbers(run.shard, run.flow.shards, load))
    {
        let user = User::new(shared.clone(), shared.seat(run), link, number as u64 + 1);
        let stays = stays(&load.stages, number as u32);
        tokio::task::spawn_local(live_through(user, stays, shared.live()));
    }
}

/// A closed user's life: it comes, goes through the journey over and over, and leaves.
async fn live_through(mut user: User, stays: Vec<Stay>, _live: Live) {
    let (shared, slot) = user.place();
    let run = &slot.run;
    let alarm = Alarm::default();
    for stay in stays {
        let at = |seconds: f64| run.start + (seconds * 1e6) as Micros;
        let until = at(stay.until).min(run.end);
        if !shared.timer.until(&alarm, at(stay.from)).await {
            return;
        }
        let present = Present::enter(&shared.users);
        let (mut intended, mut timed) = (at(stay.from), true);
        // Where no clock decides, the next journey begins at the very end of the one before.
        let now = |intended, timed| if timed { shared.clock.now() } else { intended };
        while now(intended, timed) < until && !run.over.get() {
            if !shared.begin_journey(run, &mut slot.values.borrow_mut()) {
                return;
            }
            let end = user.again(intended, timed, until).await;
            (intended, timed) = (end.next, end.timed);
            if !end.took_time {
                // A branch with nothing in it must not keep the worker from everybody else.
                (intended, timed) = (shared.clock.now() + 1000, true);
                shared.timer.until(&alarm, intended).await;
            }
        }
        drop(present);
    }
}

/// Counts a user as there while it lives.
struct Present<'a>(&'a Cell<u64>);

impl<'a> Present<'a> {
    fn enter(users: &'a Cell<u64>) -> Self {
        users.set(users.get() + 1);
        Self(users)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
