//! A Deployment: it replaces its pods by those of a new version, a few at a time.

use serde_json::json;
use squall::record::{ObjectChange, ObjectEvent, What};

use super::engine::{Engine, Next};
use super::{MS, Micros, Service};

/// How a Deployment rolls out, by what it says and by what it does.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// `maxSurge` and `maxUnavailable`, as it says.
    pub says: (usize, usize),
    /// As its controller does it.
    pub does: (usize, usize),
    /// The new version.
    pub service: Service,
}

/// A rollout under way, and what there was of each.
#[derive(Default)]
pub struct Rolling {
    /// The newest version.
    pub version: u32,
    pub under_way: bool,
}

/// So long a controller takes to act, and a watch to tell.
const ACTS_AFTER: Micros = 30 * MS;

impl Engine<'_> {
    /// The workload as it is before traffic.
    pub fn tell_of_workload(&mut self) {
        if self.world.deployment.is_some() {
            self.tell_workload("complete");
        }
    }

    pub fn begin_rollout(&mut self) {
        self.rolling.version += 1;
        self.rolling.under_way = true;
        self.tell_workload("under-way");
        self.after(ACTS_AFTER, Next::Reconcile);
    }

    /// One look of the controller: it starts and ends as many as it may.
    pub fn reconcile(&mut self) {
        let Some(deployment) = self
            .world
            .deployment
            .as_ref()
            .filter(|_| self.rolling.under_way)
        else {
            return;
        };
        let (wanted, version) = (self.replicas, self.rolling.version);
        let (surge, unavailable) = deployment.does;
        let there = |e: &Self, new: bool| -> Vec<usize> {
            let of = |one: &usize| {
                let pod = &e.cast[*one];
                !pod.dead && !pod.leaving && (pod.version == version) == new
            };
            (0..e.cast.len()).filter(of).collect()
        };
        let ready = |e: &Self| {
            (e.cast.iter())
                .filter(|p| p.ready && !p.dead && !p.leaving)
                .count()
        };
        for one in there(self, false) {
            let may = !self.cast[one].ready || ready(self) + unavailable > wanted;
            if may {
                self.cast[one].service.restarts = false;
                self.cast[one].ready = false;
                self.terminate(one);
            }
        }
        let (old, new) = (there(self, false).len(), there(self, true).len());
        for _ in (old + new)..(wanted + surge).min(old + wanted) {
            let free = self.slots.iter().position(|(one, _)| self.cast[*one].dead);
            let slot = free.unwrap_or(self.slots.len());
            self.start_in(slot);
        }
        let new = there(self, true);
        let all_ready = new.len() >= wanted && new.iter().all(|one| self.cast[*one].ready);
        if there(self, false).is_empty() && all_ready {
            self.rolling.under_way = false;
            return self.tell_workload("complete");
        }
        self.after(ACTS_AFTER, Next::Reconcile);
    }

    fn tell_workload(&mut self, rollout: &str) {
        let Some(deployment) = &self.world.deployment else {
            return;
        };
        let (surge, unavailable) = deployment.says;
        let facts = json!({
            "replicas": self.replicas,
            "serves": true,
            "template": format!("{:016x}", self.rolling.version),
            "rollout": rollout,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": { "maxSurge": surge, "maxUnavailable": unavailable },
            },
        });
        let object = ObjectEvent {
            object: "Deployment".into(),
            name: super::engine::service_name(&self.world.scenario.target).into(),
            change: ObjectChange::Changed,
            version: self.recorder.next_version(),
            facts: serde_json::from_value(facts).expect("an object of facts"),
        };
        self.recorder.event(self.now, What::Object(object));
    }
}
