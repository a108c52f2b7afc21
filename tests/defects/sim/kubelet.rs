//! What containers may use, what they use, and what a kubelet tells of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use squall::record::{Incident, ObjectChange, ObjectEvent, What};

use super::engine::Engine;
use super::{Micros, S, seconds};

/// The one container of each pod.
#[derive(Debug, Clone)]
pub struct Container {
    /// Thousandths of a core, bytes.
    pub limits: (Option<u64>, Option<u64>),
    /// The same.
    pub requests: (Option<u64>, Option<u64>),
    /// CPU that each request takes.
    pub cpu_us: f64,
    /// CPU that is used whatever there is to do, thousandths of a core.
    pub idle: u64,
    /// Memory that is used from the start.
    pub memory: u64,
    /// What it uses besides, for a time.
    pub bursts: Vec<Burst>,
    /// A sample covers so much, and is told so much later.
    pub window: Micros,
    /// See `window`.
    pub late: Micros,
    /// From and to when samples are lost, seconds of traffic.
    pub holes: Vec<(f64, f64)>,
}

/// More use of one place's instance, for a time.
#[derive(Debug, Clone, Copy)]
pub struct Burst {
    pub place: usize,
    /// Seconds of traffic.
    pub from: f64,
    /// See `from`.
    pub to: f64,
    /// CPU asked for, thousandths of a core.
    pub cpu: u64,
    /// Memory.
    pub memory: u64,
    /// Share of its scheduling periods in which it wants all of its quota at once, however little it uses in all.
    pub spiky: f64,
}

/// Counters of an instance, and when they were told.
#[derive(Debug, Default)]
pub struct Meter {
    handled: u64,
    waiting_us: f64,
    told: Micros,
    cpu_us: f64,
    periods: f64,
    throttled: f64,
}

/// Scheduling periods of a second.
const PERIODS: f64 = 10.0;

impl Engine<'_> {
    /// What a watch tells of a pod.
    pub fn tell_pod(&mut self, one: usize, change: ObjectChange) {
        let Some(container) = &self.world.container else {
            return;
        };
        let amounts = |(cpu, memory): (Option<u64>, Option<u64>)| {
            let mut amounts = serde_json::Map::new();
            if let Some(cpu) = cpu {
                amounts.insert("cpu".into(), format!("{cpu}m").into());
            }
            if let Some(memory) = memory {
                amounts.insert("memory".into(), memory.to_string().into());
            }
            Value::from(amounts)
        };
        let resources =
            json!({"limits": amounts(container.limits), "requests": amounts(container.requests)});
        let facts = json!({"phase": "Running", "containers": {"web": resources}});
        self.tell_object("Pod", one, change, facts, 0);
    }

    fn tell_object(
        &mut self,
        kind: &str,
        one: usize,
        change: ObjectChange,
        facts: Value,
        later: Micros,
    ) {
        let object = ObjectEvent {
            object: kind.into(),
            name: self.cast[one].name.clone(),
            change,
            version: self.recorder.next_version(),
            facts: serde_json::from_value(facts).expect("an object of facts"),
        };
        self.recorder.event(self.now + later, What::Object(object));
    }

    /// One second of a container.
    pub fn use_up(&mut self, one: usize) {
        let Some(container) = self.world.container.clone() else {
            return;
        };
        let bursts: Vec<Burst> = { container.bursts.iter() }
            .filter(|b| b.place == self.cast[one].slot)
            .filter(|b| {
                let at = self.now.saturating_sub(self.start);
                at >= seconds(b.from) && at < seconds(b.to)
            })
            .copied()
            .collect();
        if !bursts.is_empty() {
            let name = self.cast[one].name.clone();
            self.truth.bursts.entry(name).or_insert(self.now);
        }
        let handled = self.cast[one].handled;
        let meter = self.meters.entry(one).or_insert_with(|| Meter {
            told: self.now,
            ..Meter::default()
        });
        let asked = (handled - meter.handled) as f64 * container.cpu_us
            + (container.idle + bursts.iter().map(|b| b.cpu).sum::<u64>()) as f64 * 1e3;
        meter.handled = handled;
        meter.waiting_us += asked;
        let most = container.limits.0.map_or(f64::MAX, |m| m as f64 * 1e3);
        let used = meter.waiting_us.min(most);
        // Who waits for more than a second has given up.
        meter.waiting_us = (meter.waiting_us - used).min(most);
        meter.cpu_us += used;
        meter.periods += PERIODS;
        let spiky = bursts.iter().map(|b| b.spiky).fold(0.0, f64::max);
        meter.throttled += match meter.waiting_us > 0.0 {
            true => PERIODS,
            false => (0..PERIODS as usize)
                .filter(|_| self.dice.chance(spiky))
                .count() as f64,
        };
        let memory = self.cast[one].leaked() + container.memory;
        let memory = memory + bursts.iter().map(|b| b.memory).sum::<u64>();
        if container.limits.1.is_some_and(|limit| memory > limit) {
            let killed = What::Incident {
                incident: Incident::OomKilled,
                instance: self.cast[one].name.clone(),
                detail: "container web: killed for its memory".into(),
            };
            self.recorder.event(self.now, killed);
            return self.die(one);
        }
        if self.now - self.meters[&one].told >= container.window {
            self.tell_use(one, &container, memory);
        }
    }

    fn tell_use(&mut self, one: usize, container: &Container, memory: u64) {
        let now = self.now;
        let meter = self.meters.entry(one).or_default();
        let window = now - meter.told;
        let (cpu, periods, throttled) = (meter.cpu_us, meter.periods, meter.throttled);
        *meter = Meter {
            handled: meter.handled,
            waiting_us: meter.waiting_us,
            told: now,
            ..Meter::default()
        };
        let at = now.saturating_sub(self.start);
        let lost = |(from, to): &(f64, f64)| at >= seconds(*from) && at < seconds(*to);
        if container.holes.iter().any(lost) {
            return;
        }
        // As the recorder has it.
        let zero: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let taken = zero + std::time::Duration::from_micros(now);
        let told = json!({
            "timestamp": taken.to_string(),
            "window": format!("{:.3}s", window as f64 / S as f64),
            "cpu": format!("{:.0}n", cpu * 1e3 / (window as f64 / 1e6)),
            "memory": memory.to_string(),
            "periods": periods,
            "throttled-periods": throttled,
        });
        let facts = json!({"containers": {"web": told}});
        self.tell_object(
            "PodUsage",
            one,
            ObjectChange::Changed,
            facts,
            container.late,
        );
    }
}

/// The meters of all instances, by number.
pub type Meters = BTreeMap<usize, Meter>;
