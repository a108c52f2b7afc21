//! Monitoring beside the service: an alert for each instance that is down, as Alertmanager lists it, looked at once a
//! second.

use std::collections::BTreeMap;

use squall::record::{AlertEvent, AlertState, View, WatchEvent, What};
use squall::scenario::AlertSource;

use super::engine::{Engine, Next};
use super::{MS, Micros, S, seconds};

/// How an alert behaves.
#[derive(Debug, Clone, Default)]
pub struct Alarm {
    /// An instance is down for so long before it fires.
    pub waits_us: Micros,
    /// It is up again for so long before it is gone.
    pub lingers_us: Micros,
    /// It does not fire at all.
    pub mute: bool,
    /// It fires for the instance of another place.
    pub mistaken: bool,
    /// It is never gone.
    pub stuck: bool,
    /// The first time that an instance is down for so long, one look finds it up, so that all begins anew.
    pub blinks_us: Option<Micros>,
    /// An alert of this name fires for the first place at a time at which nothing is wrong, seconds of traffic.
    pub false_one: Option<(&'static str, f64)>,
}

/// The alert that tells of an instance that is down.
pub const DOWN: &str = "InstanceDown";

/// What is known of one place.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    since: Micros,
    down: bool,
    firing: bool,
    blinked: bool,
}

/// What monitoring knows.
#[derive(Default)]
pub struct Monitor {
    looked_us: Option<Micros>,
    places: Vec<Place>,
}

impl Engine<'_> {
    /// One look at Alertmanager, which has looked at all instances.
    pub fn look(&mut self) {
        let Some(alarm) = &self.world.alarm else {
            return;
        };
        let before = self.monitor.looked_us.replace(self.now);
        if before.is_none() {
            self.tell_watch(View::Relisted);
        }
        self.monitor
            .places
            .resize(self.slots.len(), Place::default());
        for slot in 0..self.slots.len() {
            if let Some(state) = self.change_of(slot, alarm) {
                let about = slot + usize::from(alarm.mistaken);
                self.tell_alert(DOWN, about % self.slots.len(), state, before);
            }
        }
        if let Some((name, at)) = alarm.false_one {
            let at = self.start + seconds(at);
            if before < Some(at) && at <= self.now {
                self.tell_alert(name, 0, AlertState::Firing, before);
            }
        }
        let next = self.dice.whole(950, 1_050) * MS;
        self.after(next, Next::Look);
    }

    /// What changes of the alert for a place.
    fn change_of(&mut self, slot: usize, alarm: &Alarm) -> Option<AlertState> {
        let newest = &self.cast[self.slots[slot].0];
        let mut down = newest.dead || newest.found_out || !newest.ready;
        let place = &mut self.monitor.places[slot];
        let lasted = self.now - place.since;
        if let Some(blinks) = alarm.blinks_us.filter(|_| place.down && !place.blinked)
            && lasted >= blinks
        {
            (place.blinked, down) = (true, false);
        }
        if place.down != down {
            (place.down, place.since) = (down, self.now);
        }
        let lasted = self.now - place.since;
        if down && !place.firing && lasted >= alarm.waits_us && !alarm.mute {
            place.firing = true;
            return Some(AlertState::Firing);
        }
        if !down && place.firing && lasted >= alarm.lingers_us && !alarm.stuck {
            place.firing = false;
            return Some(AlertState::Resolved);
        }
        None
    }

    fn tell_alert(&mut self, name: &str, slot: usize, state: AlertState, before: Option<Micros>) {
        let labels = [("instance", self.slot_name(slot)), ("job", "shop".into())];
        let event = AlertEvent {
            source: AlertSource::Alertmanager,
            name: name.into(),
            labels: BTreeMap::from(labels.map(|(k, v)| (k.to_string(), v))),
            state,
            not_before_us: before,
        };
        self.recorder.event(self.now, What::Alert(event));
    }

    /// The watch begins or ends.
    pub fn tell_watch(&mut self, view: View) {
        let event = WatchEvent {
            of: AlertSource::Alertmanager.key().into(),
            view,
            detail: "the run is over".into(),
        };
        self.recorder.event(self.now, What::Watch(event));
    }

    /// The last look of a run was a moment ago.
    pub fn stop_looking(&mut self) {
        if self.monitor.looked_us.is_some() {
            self.now = self.now.saturating_sub(S / 10);
            self.tell_watch(View::Lost);
            self.now += S / 10;
        }
    }
}
