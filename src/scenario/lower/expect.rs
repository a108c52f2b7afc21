//! Expectations.

use super::{Lower, duration, one_or_more, parsed, text, word};
use crate::scenario::expression;
use crate::scenario::model::{
    Expectation, FaultPhase, FaultSpec, Flow, LatencyKind, Metric, Node as JourneyNode,
    RecoveryExpectation, SloExpectation, Target,
};
use crate::scenario::problem::{Problem, Span};
use crate::scenario::tree::Node;

impl Lower<'_> {
    pub(super) fn expect(
        &mut self,
        root: &Node,
        target: Option<&Target>,
        traffic: Option<&[Flow]>,
        faults: Option<&[FaultSpec]>,
    ) -> Option<Vec<Expectation>> {
        let Some(list) = root.get("expect") else {
            return Some(Vec::new());
        };
        let lowered: Vec<_> = list
            .list()?
            .iter()
            .map(|node| {
                if let Some(text) = node.text() {
                    slo(text).map(Expectation::Slo)
                } else if let Some(recovery) = node.get("recovery") {
                    self.recovery(recovery, faults).map(Expectation::Recovery)
                } else if let Some(balance) = node.get("balance") {
                    self.balance(balance, target).map(Expectation::Balance)
                } else if let Some(entry) = node.entry("deploy") {
                    self.deploy(entry, target).map(Expectation::Deploy)
                } else if let Some(spread) = node.get("spread") {
                    self.spread(spread, target, faults).map(Expectation::Spread)
                } else if let Some(alert) = node.get("alert") {
                    self.alert(alert, root, faults).map(Expectation::Alert)
                } else if let Some(autoscale) = node.get("autoscale") {
                    let autoscale = self.autoscale(autoscale, target);
                    autoscale.map(Expectation::Autoscale)
                } else if let Some(entry) = node.entry("usage") {
                    self.usage(entry, target).map(Expectation::Usage)
                } else {
                    self.scoped(node, root, traffic, faults)
                        .map(Expectation::Slo)
                }
            })
            .collect();
        let expect: Vec<Expectation> = lowered.into_iter().collect::<Option<_>>()?;
        self.check_recovery_has_bounds(list, &expect);
        Some(expect)
    }

    fn scoped(
        &mut self,
        node: &Node,
        root: &Node,
        traffic: Option<&[Flow]>,
        faults: Option<&[FaultSpec]>,
    ) -> Option<SloExpectation> {
        let mut expectation = slo(node.get("slo")?.text()?)?;
        expectation.flow = text(node, "flow");
        expectation.step = text(node, "step");
        expectation.of = word(node, "of")?;
        if let Some(traffic) = traffic {
            self.check_scope(node, &expectation, traffic);
        }
        let latency = !matches!(
            expectation.bound.metric,
            Metric::Errors | Metric::Throughput
        );
        if let (LatencyKind::Service, false, Some(entry)) =
            (expectation.of, latency, node.entry("of"))
        {
            let problem = Problem::new(
                entry.key_at,
                "`of` chooses between latencies, and this bound is on none",
            );
            self.report(problem.expected("`of` with a percentile, mean or max"));
        }
        if let Some(phase) = node.get("phase") {
            expectation.phase = Some(word(node, "phase")?);
            self.check_phase(expectation.phase, phase.at, root, faults);
        }
        Some(expectation)
    }

    fn check_scope(&mut self, node: &Node, expectation: &SloExpectation, traffic: &[Flow]) {
        let mut flows: Vec<&Flow> = traffic.iter().collect();
        if let (Some(name), Some(place)) = (&expectation.flow, node.get("flow")) {
            flows.retain(|flow| flow.name == *name);
            if flows.is_empty() {
                let names: Vec<_> = traffic.iter().map(|flow| flow.name.as_str()).collect();
                let problem = Problem::new(place.at, format!("there is no flow `{name}`"));
                let problem = problem.expected(format!("one of {}", names.join(", ")));
                self.report(problem.nearest(name, names));
                return;
            }
        }
        if let (Some(name), Some(place)) = (&expectation.step, node.get("step")) {
            let mut names = Vec::new();
            flows
                .iter()
                .for_each(|flow| step_names(&flow.journey, &mut names));
            if !names.contains(&name.as_str()) {
                let problem = Problem::new(place.at, format!("there is no step `{name}`"));
                let problem = problem.expected(format!("one of {}", names.join(", ")));
                self.report(problem.nearest(name, names));
            }
        }
    }

    fn check_phase(
        &mut self,
        phase: Option<FaultPhase>,
        at: Span,
        root: &Node,
        faults: Option<&[FaultSpec]>,
    ) {
        let Some(faults) = faults else {
            return;
        };
        let Some(first) = faults.iter().map(|fault| fault.at).min() else {
            let problem = Problem::new(at, "phases are told by faults, and there are none");
            self.report(problem.expected("`faults` in the scenario, or no `phase`"));
            return;
        };
        let warm_up = root
            .get("run")
            .and_then(|run| duration(run, "warm-up"))
            .unwrap_or_default();
        if phase == Some(FaultPhase::Before) && first <= warm_up {
            let problem = Problem::new(
                at,
                "there is no time before the first fault that could be judged",
            );
            self.report(
                problem.expected(format!("a first fault later than {}", super::show(warm_up))),
            );
        }
    }

    fn recovery(
        &mut self,
        node: &Node,
        faults: Option<&[FaultSpec]>,
    ) -> Option<RecoveryExpectation> {
        if faults.is_some_and(<[_]>::is_empty) {
            let problem = Problem::new(node.at, "recovery is from faults, and there are none");
            self.report(problem.expected("`faults` in the scenario"));
        }
        if let Some(text) = node.text() {
            let within = crate::scenario::units::parse_duration(text).ok()?;
            return Some(RecoveryExpectation {
                within,
                slo: Vec::new(),
                windows: 3,
                endpoint_removed_within: std::time::Duration::from_secs(30),
            });
        }
        let mut bounds = Vec::new();
        for bound in node.get("slo").map(one_or_more).unwrap_or_default() {
            bounds.push(expression::bound(bound.text()?).ok()?);
        }
        Some(RecoveryExpectation {
            within: duration(node, "within")?,
            slo: bounds,
            windows: parsed(node, "windows")?,
            endpoint_removed_within: duration(node, "endpoint-removed-within")?,
        })
    }

    /// A recovery without bounds of its own takes those of the scenario; with none, nothing says what well means.
    fn check_recovery_has_bounds(&mut self, list: &Node, expect: &[Expectation]) {
        let usable = expect.iter().any(|e| match e {
            Expectation::Slo(slo) => {
                slo.flow.is_none()
                    && slo.step.is_none()
                    && slo.phase.is_none()
                    && slo.bound.metric != Metric::Throughput
            }
            _ => false,
        });
        if usable {
            return;
        }
        for (expectation, node) in expect.iter().zip(list.list().unwrap_or_default()) {
            if let Expectation::Recovery(recovery) = expectation
                && recovery.slo.is_empty()
            {
                let at = node.entry("recovery").map(|e| e.key_at).unwrap_or(node.at);
                let problem = Problem::new(at, "nothing says when the service is well again");
                self.report(problem.expected(
                    "`slo` in the recovery, or a bound on latency or errors of all traffic beside it",
                ));
            }
        }
    }
}

fn slo(text: &str) -> Option<SloExpectation> {
    Some(SloExpectation {
        text: text.trim().to_string(),
        bound: expression::bound(text).ok()?,
        flow: None,
        step: None,
        phase: None,
        of: LatencyKind::default(),
    })
}

fn step_names<'f>(journey: &'f [JourneyNode], names: &mut Vec<&'f str>) {
    for node in journey {
        match node {
            JourneyNode::Step(step) => names.push(&step.name),
            JourneyNode::Choose(branches) => {
                branches
                    .iter()
                    .for_each(|branch| step_names(&branch.journey, names));
            }
            JourneyNode::Think(_) => {}
        }
    }
}
