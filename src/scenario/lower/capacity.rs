//! The search for capacity, and what it takes of the rest of the file.

use std::time::Duration;

use super::{Lower, duration, parsed, show};
use crate::scenario::model::{
    Capacity, Expectation, FaultSpec, Flow, Limit, Load, Metric, SloExpectation,
};
use crate::scenario::problem::Problem;
use crate::scenario::tree::{Entry, Node};
use crate::scenario::units::Rate;

impl Lower<'_> {
    /// `Some(None)` where the file says nothing of it.
    pub(super) fn capacity(
        &mut self,
        root: &Node,
        traffic: Option<&[Flow]>,
        faults: Option<&[FaultSpec]>,
        expect: Option<&[Expectation]>,
    ) -> Option<Option<Capacity>> {
        let Some(entry) = root.entry("capacity") else {
            return Some(None);
        };
        let node = &entry.value;
        let capacity = Capacity {
            from: parsed(node, "from")?,
            to: parsed(node, "to")?,
            hold: duration(node, "hold")?,
            resolution: parsed(node, "resolution")?,
            at_least: parsed(node, "at-least"),
            level: None,
        };
        self.check_rates(node, &capacity);
        self.check_rest(entry, traffic, faults);
        if let Some(expect) = expect {
            self.check_bounds(entry, &capacity, expect);
        }
        Some(Some(capacity))
    }

    fn check_rates(&mut self, node: &Node, capacity: &Capacity) {
        let (from, to) = (capacity.from, capacity.to);
        let at = |key: &str| node.get(key).map_or(node.at, |n| n.at);
        if from >= to {
            let problem = Problem::new(
                at("to"),
                format!("the search ends at {to}, not above {from}"),
            );
            self.report(problem.expected(format!("a rate above {from}")));
        } else if let Some(least) = capacity.at_least
            && !(from..=to).contains(&least)
        {
            let problem = Problem::new(at("at-least"), format!("{least} is not searched"));
            self.report(problem.expected(format!("a rate from {from} to {to}")));
        }
    }

    fn check_rest(
        &mut self,
        entry: &Entry,
        traffic: Option<&[Flow]>,
        faults: Option<&[FaultSpec]>,
    ) {
        let mut flows = traffic.unwrap_or_default().iter();
        if let Some(flow) = flows.find(|f| matches!(f.load, Load::Closed(_))) {
            let message = format!(
                "flow `{}` has users, who wait: it sends no more than the service answers, at any load",
                flow.name
            );
            let problem = Problem::new(entry.key_at, message);
            self.report(problem.expected("`arrivals` in each flow"));
        }
        if faults.is_some_and(|faults| !faults.is_empty()) {
            let message = "capacity is that of a service which is whole, and there are faults";
            self.report(Problem::new(entry.key_at, message).expected("no `faults`"));
        }
    }

    /// An overload by as little as the resolution must show within the hold: its queue grows by that share of it.
    fn check_bounds(&mut self, entry: &Entry, capacity: &Capacity, expect: &[Expectation]) {
        let bounds: Vec<&SloExpectation> = expect
            .iter()
            .filter_map(|e| match e {
                Expectation::Slo(slo) => Some(slo),
                _ => None,
            })
            .collect();
        let shows = |slo: &&&SloExpectation| slo.bound.metric != Metric::Throughput;
        if !bounds.iter().any(|slo| shows(&slo)) {
            let message = "nothing in `expect` would show that the service is beyond its capacity";
            let problem = Problem::new(entry.key_at, message);
            self.report(problem.expected("a bound on latency or errors, such as `p99 < 250ms`"));
        }
        let times = bounds.iter().filter_map(|slo| match slo.bound.limit {
            Limit::Time(limit) => Some(limit),
            _ => None,
        });
        let Some(longest) = times.max() else {
            return;
        };
        let queue = capacity.hold.mul_f64(capacity.resolution.get());
        if queue <= longest {
            let needed = longest.as_secs_f64() / capacity.resolution.get();
            // Whole seconds, and more than just reached.
            let needed = Duration::from_secs((needed + 1e-6).floor() as u64 + 1);
            let message = format!(
                "at {} beyond capacity a queue of {} builds up in {}, which a limit of {} does not show",
                capacity.resolution,
                show(queue),
                show(capacity.hold),
                show(longest)
            );
            let at = entry.value.get("hold").map_or(entry.key_at, |n| n.at);
            let problem = Problem::new(at, message);
            self.report(problem.expected(format!("hold: {}", show(needed))));
        }
    }
}

/// A rate for a flag that stands for `at-least`: within the search.
pub fn at_least(capacity: &Capacity, rate: Rate) -> Result<(), String> {
    match (capacity.from..=capacity.to).contains(&rate) {
        true => Ok(()),
        false => Err(format!(
            "{rate} is not searched: expected a rate from {} to {}",
            capacity.from, capacity.to
        )),
    }
}
