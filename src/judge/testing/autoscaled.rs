//! A cluster with one autoscaler, as squall's watches tell of it. Its controller decides by the oracle from the pods
//! as they are; what a judge makes of the record has to find that again from what was told.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{S, Sim, flow};
use crate::judge::autoscale::*;
use crate::record::{Micros, ObjectChange, ObjectEvent, Record, What};
use crate::scenario::units::Rate;
use crate::scenario::{AutoscaleExpectation, Expectation, Load, RateStage};

/// A pod.
#[derive(Debug, Clone)]
struct Made {
    name: String,
    created: Micros,
    ready: bool,
    deleted: bool,
}

/// Changes what the controller decides or remembers, at each time.
type Tamper = Box<dyn Fn(u64, &mut Decision, &mut Memory)>;

/// How a run is to go. Times are seconds since the record began.
pub struct Plan {
    /// The autoscaler's spec, without its target.
    pub spec: Value,
    /// CPU wanted in all, thousandths of a core, at each time.
    pub wanted: Box<dyn Fn(u64) -> i64>,
    /// The traffic's steps: from when on, requests per second.
    pub steps: Vec<(u64, u64)>,
    /// How long it lasts.
    pub seconds: u64,
    /// Changes the controller's decisions or memory.
    pub tamper: Tamper,
    /// Somebody else scales: when, to what, who.
    pub foreign: Option<(u64, i32, Option<&'static str>)>,
    /// A new controller takes over.
    pub leader_change: Option<u64>,
    /// The lease of the controllers can be read.
    pub leader_seen: bool,
    /// The pods are replaced one by one from then on.
    pub rollout: Option<u64>,
    /// What the pods request.
    pub request: Option<&'static str>,
    /// Requests go to the pods that were there first.
    pub pinned: bool,
    /// What users wait for fails in this time.
    pub failing: std::ops::Range<u64>,
    /// The target is not there.
    pub no_target: bool,
    /// Seconds after each quarter of a minute at which the controller decides and samples are taken.
    pub phases: (u64, u64),
    /// From a pod's creation until it is ready, seconds.
    pub starts_in: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            spec: json!({"minReplicas": 1, "maxReplicas": 8,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": 60}}}],
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}}),
            wanted: Box::new(|t| if (120..420).contains(&t) { 2_600 } else { 300 }),
            steps: vec![(0, 4), (120, 12), (420, 4)],
            seconds: 720,
            tamper: Box::new(|_, _, _| {}),
            foreign: None,
            leader_change: None,
            leader_seen: true,
            rollout: None,
            request: Some("1"),
            pinned: false,
            failing: 0..0,
            no_target: false,
            phases: (7, 3),
            starts_in: 4,
        }
    }
}

/// Kubernetes writes times in whole seconds.
fn wall(at: Micros) -> String {
    let zero: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    (zero + jiff::SignedDuration::from_secs((at / S) as i64)).to_string()
}

struct Cluster {
    plan: Plan,
    sim: Sim,
    spec: Value,
    pods: Vec<Made>,
    names: usize,
    replicas: i32,
    /// What the metrics API has: when taken, how much.
    samples: BTreeMap<String, (Micros, i64)>,
    told: BTreeMap<String, BTreeMap<String, Value>>,
    metrics: Value,
    desired: i32,
    memory: Option<Memory>,
    /// Which pods were ready in each second.
    ready: Vec<Vec<String>>,
    generation: u64,
    version: u64,
}

/// The record of a run.
pub fn run(plan: Plan) -> Record {
    let mut sim = Sim::steady(4, plan.seconds).expect(Expectation::Autoscale(expected()));
    sim.events.clear();
    let mut browse = flow("browse", 4, plan.seconds);
    let mut stages = Vec::new();
    for (i, (from, rate)) in plan.steps.iter().enumerate() {
        let until = plan
            .steps
            .get(i + 1)
            .map_or(plan.seconds, |(next, _)| *next);
        stages.push(RateStage {
            rate: Rate::per_second(*rate as f64),
            ramp: Duration::ZERO,
            hold: Duration::from_secs(until - from),
        });
    }
    if let Load::Open(open) = &mut browse.load {
        open.stages = stages;
    }
    sim.scenario.traffic = vec![browse];
    let mut spec = plan.spec.clone();
    spec["scaleTargetRef"] = json!({"kind": "Deployment", "name": "shop"});
    let mut cluster = Cluster {
        sim,
        spec,
        pods: Vec::new(),
        names: 0,
        replicas: 1,
        samples: BTreeMap::new(),
        told: BTreeMap::new(),
        metrics: Value::Null,
        desired: 0,
        memory: None,
        ready: Vec::new(),
        generation: 1,
        version: 1,
        plan,
    };
    cluster.live();
    cluster.record()
}

/// The expectation of [`run`].
pub fn expected() -> AutoscaleExpectation {
    AutoscaleExpectation::of("shop")
}

impl Cluster {
    fn tell(&mut self, at: Micros, kind: &str, name: &str, facts: Value) {
        let facts: BTreeMap<String, Value> = serde_json::from_value(facts).unwrap();
        let key = format!("{kind}/{name}");
        if self.told.get(&key) == Some(&facts) {
            return;
        }
        self.told.insert(key, facts.clone());
        let change = match facts.is_empty() {
            true => ObjectChange::Deleted,
            false => ObjectChange::Changed,
        };
        let event = ObjectEvent {
            object: kind.into(),
            name: name.into(),
            change,
            version: self.version.to_string(),
            facts,
        };
        self.version += 1;
        self.sim.push(at, What::Object(event));
    }

    fn live(&mut self) {
        let phase = crate::record::RunPhase::Traffic;
        self.sim.push(2 * S, What::Phase { phase });
        if self.plan.leader_seen {
            self.tell(
                0,
                "Lease",
                "kube-controller-manager",
                json!({"holderIdentity": "a"}),
            );
        }
        self.tell_deployment(0, None);
        self.add(0);
        for t in 1..self.plan.seconds {
            let now = t * S;
            self.start(now);
            if t % 15 == self.plan.phases.1 {
                self.sample(now);
            }
            self.change(t, now);
            if t % 15 == self.plan.phases.0 {
                self.sync(t, now);
            }
            let ready = self.pods.iter().filter(|p| p.ready && !p.deleted);
            self.ready.push(ready.map(|p| p.name.clone()).collect());
        }
    }

    fn add(&mut self, now: Micros) {
        self.names += 1;
        let pod = Made {
            name: format!("shop-{}", self.names),
            created: now,
            ready: false,
            deleted: false,
        };
        self.pods.push(pod);
        self.tell_pod(now, self.pods.len() - 1);
    }

    fn remove(&mut self, now: Micros, index: usize) {
        self.pods[index].deleted = true;
        self.tell_pod(now, index);
        let gone = self.pods.remove(index);
        self.tell(now + S / 2, "Pod", &gone.name.clone(), json!({}));
        self.samples.remove(&gone.name);
        self.tell(now + S, "PodMetrics", &gone.name, json!({}));
    }

    fn tell_pod(&mut self, at: Micros, index: usize) {
        let pod = self.pods[index].clone();
        let requests = self.plan.request.map(|cpu| json!({"cpu": cpu}));
        let mut facts = json!({"owner": "Deployment/shop", "phase": "Running", "node": "n1",
            "created": wall(pod.created), "started": wall(pod.created), "ready": if pod.ready { "True" } else { "False" },
            "ready-since": wall(self.changed(&pod)),
            "containers": {"web": {"requests": requests, "limits": null}}});
        if pod.deleted {
            facts["deleted"] = json!(wall(at));
        }
        self.tell(at, "Pod", &pod.name, facts);
    }

    fn tell_deployment(&mut self, at: Micros, manager: Option<&str>) {
        let writer = manager.map(|m| json!({"manager": m, "time": wall(at)}));
        let facts = json!({"replicas": self.replicas, "current": self.pods.len(), "generation": self.generation,
            "writer": writer});
        self.tell(at, "Deployment", "shop", facts);
    }

    /// When a pod became ready, or was made.
    fn changed(&self, pod: &Made) -> Micros {
        let after = if pod.ready { self.plan.starts_in } else { 0 };
        pod.created + after * S
    }

    fn start(&mut self, now: Micros) {
        for i in 0..self.pods.len() {
            if !self.pods[i].ready && now >= self.pods[i].created + self.plan.starts_in * S {
                self.pods[i].ready = true;
                self.tell_pod(now, i);
            }
        }
    }

    fn sample(&mut self, now: Micros) {
        let ready = self.pods.iter().filter(|p| p.ready).count().max(1) as i64;
        let share = (self.plan.wanted)(now / S) / ready;
        for pod in self.pods.clone() {
            let value = if pod.ready { share } else { 700 };
            self.samples.insert(pod.name.clone(), (now, value));
            let facts = json!({"timestamp": wall(now), "window": "15s",
                "containers": {"web": {"cpu": format!("{value}m"), "memory": "1Mi"}}});
            // The next look finds it.
            self.tell(now + 1_700_000, "PodMetrics", &pod.name, facts);
        }
    }

    fn change(&mut self, t: u64, now: Micros) {
        if let Some((when, to, manager)) = self.plan.foreign
            && when == t
        {
            self.scale(now, to, manager);
        }
        if self.plan.leader_change == Some(t) {
            self.memory = None;
            if self.plan.leader_seen {
                self.tell(
                    now,
                    "Lease",
                    "kube-controller-manager",
                    json!({"holderIdentity": "b"}),
                );
            }
        }
        if let Some(from) = self.plan.rollout
            && t >= from
            && (t - from).is_multiple_of(6)
            && self.pods.iter().any(|p| p.created < from * S)
        {
            if t == from {
                self.generation += 1;
                self.tell_deployment(now, None);
            }
            self.add(now);
            let old = self.pods.iter().position(|p| p.created < from * S).unwrap();
            self.remove(now, old);
        }
    }

    fn scale(&mut self, now: Micros, to: i32, manager: Option<&str>) {
        self.replicas = to;
        self.generation += 1;
        self.tell_deployment(now, manager);
        while (self.pods.len() as i32) < to {
            self.add(now + S / 5);
        }
        while self.pods.len() as i32 > to {
            self.remove(now + S / 5, self.pods.len() - 1);
        }
    }

    fn inputs(&self, now: Micros) -> Inputs {
        let request = self.plan.request.map(|r| r.parse::<i64>().unwrap() * 1000);
        let second = |at: Micros| at / S * S;
        let pods = self.pods.iter().map(|p| Pod {
            name: p.name.clone(),
            phase: Phase::Running,
            deleted: p.deleted,
            ready: Some(Readiness {
                status: Some(p.ready),
                since: second(self.changed(p)),
            }),
            started: Some(second(p.created)),
            requests: request
                .map(|r| ("cpu".to_string(), r))
                .into_iter()
                .collect(),
        });
        let samples = self.samples.iter().map(|(pod, (at, value))| Sample {
            pod: pod.clone(),
            value: *value,
            at: second(*at),
            window: Duration::from_secs(15),
        });
        let target = self.spec["metrics"][0]["resource"]["target"]["averageUtilization"].as_i64();
        Inputs {
            now,
            current: self.replicas,
            status_replicas: self.replicas,
            pods: pods.collect(),
            metrics: vec![Metric::Resource {
                name: "cpu".into(),
                container: None,
                target: ResourceTarget::Utilization(target.unwrap() as i32),
                samples: Some(samples.collect()),
            }],
        }
    }

    fn sync(&mut self, t: u64, now: Micros) {
        if self.plan.no_target {
            let conditions = json!([{"type": "AbleToScale", "status": "False", "reason": "FailedGetScale",
                "message": "deployments.apps \"shop\" not found"}]);
            return self.tell_autoscaler(now, conditions);
        }
        let (flags, spec) = (controller(&expected()), spec_of(&self.spec));
        let inputs = self.inputs(now);
        let current = self.replicas;
        let memory = self
            .memory
            .get_or_insert_with(|| Memory::first(now, current));
        let mut decision = decide(&flags, &spec, &inputs, memory);
        (self.plan.tamper)(t, &mut decision, memory);
        decision.rescale = decision.desired != current;
        memory.note(now, &spec, &decision);
        if decision.path != Path::Failed {
            let proposal = decision.proposals.first().and_then(|p| p.as_ref().ok());
            self.metrics = proposal.map_or(Value::Null, |p| {
                json!([{"type": "Resource", "resource": {"name": "cpu",
                    "current": {"averageUtilization": p.published, "averageValue": "1m"}}}])
            });
            self.desired = decision.desired;
        }
        let failed = decision.proposals.iter().find_map(|p| p.as_ref().err());
        let conditions = decision.conditions.iter().map(|c| {
            json!({"type": c.kind, "status": if c.status { "True" } else { "False" }, "reason": c.reason,
                "message": failed.map_or("", |f| &f.detail)})
        });
        let conditions = conditions.collect();
        if decision.rescale {
            self.scale(now + 20_000, decision.desired, None);
            let message = format!("New size: {}; reason: a test", decision.desired);
            let event = json!({"reason": "SuccessfulRescale", "of": "HorizontalPodAutoscaler", "name": "shop",
                "message": message, "at": t});
            self.tell(now + 30_000, "Event", "e", event);
        }
        let (old, new) = (current, self.replicas);
        self.replicas = old;
        self.tell_autoscaler(now + 100_000, conditions);
        self.replicas = new;
    }

    fn tell_autoscaler(&mut self, at: Micros, conditions: Value) {
        let facts = json!({"spec": self.spec, "current": self.replicas, "desired": self.desired,
            "metrics": self.metrics, "conditions": conditions});
        self.tell(at, "HorizontalPodAutoscaler", "shop", facts);
    }

    /// With each request sent to a pod that was ready when it was due.
    fn record(mut self) -> Record {
        let ready = std::mem::take(&mut self.ready);
        let (pinned, failing) = (self.plan.pinned, self.plan.failing.clone());
        let mut n = 0;
        for request in &mut self.sim.requests {
            let second = (request.due / S) as usize;
            let pods = &ready[second.min(ready.len() - 1)];
            n += 1;
            if let Some(pod) = pods.get(if pinned { 0 } else { n % pods.len().max(1) }) {
                request.instance = pod.clone();
            }
            if failing.contains(&(request.due / S)) {
                request.fail(crate::record::Outcome::Timeout, 5 * S);
            }
        }
        self.sim.record()
    }
}
