//! What each slot's instance is doing now; every change goes through here to the balancer and to the record, in one
//! order.

use std::sync::{Arc, Mutex, MutexGuard};

use rustix::process::Signal;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::balancer::Balancer;
use super::process::{Exit, Group};
use crate::platform::{Instance, PlatformError};
use crate::record::{InstanceEvent, InstanceState, Sink, What};

/// One slot and the incarnation in it.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    /// `shop-2`.
    pub slot: String,
    /// `shop-2-r1`.
    pub name: String,
    /// What the incarnation is doing.
    pub state: InstanceState,
    /// Its processes, from its start on.
    pub group: Option<Arc<Group>>,
    /// Told to end by a fault or by the end of the run: its end is no crash.
    pub told: bool,
    /// What its last failed probe, or its end, said.
    pub trouble: Option<String>,
}

/// The state of all slots.
#[derive(Debug)]
pub(super) struct State {
    slots: Mutex<Vec<Slot>>,
    sink: Sink,
    balancer: Balancer,
    changes: watch::Sender<()>,
    /// Cancelled when the platform stops: nothing is restarted any more.
    pub stopping: CancellationToken,
}

impl State {
    /// Slots `NAME-1` to `NAME-N`, nothing in them yet.
    pub fn new(name: &str, count: u32, sink: Sink, balancer: Balancer) -> Self {
        let slots = (1..=count).map(|i| {
            let slot = format!("{name}-{i}");
            Slot {
                name: slot.clone(),
                slot,
                state: InstanceState::Started,
                group: None,
                told: false,
                trouble: None,
            }
        });
        Self {
            slots: Mutex::new(slots.collect()),
            sink,
            balancer,
            changes: watch::Sender::new(()),
            stopping: CancellationToken::new(),
        }
    }

    /// The balancer in front of them.
    pub fn balancer(&self) -> &Balancer {
        &self.balancer
    }
    /// Tells of every change.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
    /// All slots as they are now.
    pub fn slots(&self) -> Vec<Slot> {
        self.lock().clone()
    }
    /// All instances as they are now.
    pub fn instances(&self, service: &str) -> Vec<Instance> {
        let view = |slot: &Slot| Instance {
            name: slot.name.clone(),
            slot: slot.slot.clone(),
            labels: [
                ("app", service),
                ("slot", &slot.slot),
                ("instance", &slot.name),
            ]
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .into(),
            ready: slot.state == InstanceState::Ready,
            alive: slot.group.is_some() && slot.state != InstanceState::Ended,
        };
        self.lock().iter().map(view).collect()
    }
    /// The processes of the instance with this name, if it runs.
    pub fn group(&self, name: &str) -> Result<Arc<Group>, PlatformError> {
        let slots = self.lock();
        let running = slots
            .iter()
            .find(|s| s.name == name && s.state != InstanceState::Ended);
        running.and_then(|s| s.group.clone()).ok_or_else(|| {
            let now: Vec<&str> = slots.iter().map(|s| s.name.as_str()).collect();
            PlatformError::Failed(format!(
                "{name} does not run (instances now: {})",
                now.join(", ")
            ))
        })
    }

    /// A new incarnation runs.
    pub fn started(&self, index: usize, name: &str, port: u16, group: Arc<Group>) {
        let mut slots = self.lock();
        let slot = &mut slots[index];
        slot.name = name.to_string();
        slot.group = Some(group.clone());
        slot.told = false;
        slot.trouble = None;
        self.balancer.add(name, ([127, 0, 0, 1], port).into());
        let detail = format!("process {}, port {port}", group.id());
        self.enter(slot, InstanceState::Started, Some(detail));
        if self.stopping.is_cancelled() {
            // It was being started while everything else was told to end.
            self.terminate(slot);
        }
    }
    /// An incarnation could not even be started.
    pub fn not_started(&self, index: usize, name: &str, why: String) {
        let mut slots = self.lock();
        let slot = &mut slots[index];
        slot.name = name.to_string();
        slot.group = None;
        slot.trouble = Some(why.clone());
        self.enter(slot, InstanceState::Ended, Some(why));
    }
    /// Its readiness changed. One that is told to end stays out.
    pub fn ready(&self, index: usize, ready: bool) {
        let mut slots = self.lock();
        let slot = &mut slots[index];
        if slot.told {
            return;
        }
        let (state, detail) = match ready {
            true => (InstanceState::Ready, None),
            false => (InstanceState::NotReady, slot.trouble.clone()),
        };
        self.enter(slot, state, detail);
        self.balancer.set_ready(&slot.name, ready);
    }
    /// A probe failed, whether or not that changes anything.
    pub fn probe_failed(&self, index: usize, why: String) {
        self.lock()[index].trouble = Some(why);
    }
    /// Its process ended; `true` if it had been told to.
    pub fn ended(&self, index: usize, exit: &Exit) -> bool {
        let mut slots = self.lock();
        let slot = &mut slots[index];
        slot.state = InstanceState::Ended;
        slot.trouble = Some(exit.how.clone());
        let at = self.sink.clock().micros(exit.at);
        let event = event(slot, Some(exit.how.clone()));
        self.sink.emit_at(at, What::Instance(event));
        self.balancer.remove(&slot.name);
        self.changes.send_replace(());
        slot.told
    }
    /// Takes an instance out of the balancer's set and asks it to end, in one step as an orchestrator does.
    pub fn tell_to_end(&self, name: &str) {
        if let Some(slot) = self.lock().iter_mut().find(|s| s.name == name) {
            self.terminate(slot);
        }
    }
    /// The same for all, and nothing is restarted.
    pub fn tell_all_to_end(&self) {
        let mut slots = self.lock();
        self.stopping.cancel();
        // One change of the set, not one an instance.
        self.balancer.clear();
        slots.iter_mut().for_each(|slot| self.terminate(slot));
    }
    /// Kills all that still runs.
    pub fn kill_all(&self) {
        for slot in self.lock().iter() {
            if let Some(group) = &slot.group {
                group.signal(Signal::KILL);
            }
        }
    }

    fn terminate(&self, slot: &mut Slot) {
        let Some(group) = slot.group.clone() else {
            return;
        };
        if slot.state == InstanceState::Ended {
            return;
        }
        slot.told = true;
        self.balancer.set_ready(&slot.name, false);
        if slot.state != InstanceState::Terminating {
            self.enter(slot, InstanceState::Terminating, None);
        }
        group.signal(Signal::TERM);
    }

    fn enter(&self, slot: &mut Slot, state: InstanceState, detail: Option<String>) {
        slot.state = state;
        self.sink.emit(What::Instance(event(slot, detail)));
        self.changes.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        // No code that holds the lock can panic half way through a change.
        self.slots.lock().unwrap_or_else(|e| e.into_inner())
    }
}

fn event(slot: &Slot, detail: Option<String>) -> InstanceEvent {
    InstanceEvent {
        name: slot.name.clone(),
        slot: slot.slot.clone(),
        state: slot.state,
        detail,
    }
}
