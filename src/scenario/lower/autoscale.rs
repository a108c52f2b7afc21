//! What is expected of an autoscaler.

use super::{Lower, duration, parsed, text};
use crate::scenario::model::{AutoscaleExpectation, Target};
use crate::scenario::problem::Problem;
use crate::scenario::tree::Node;

impl Lower<'_> {
    pub(super) fn autoscale(
        &mut self,
        node: &Node,
        target: Option<&Target>,
    ) -> Option<AutoscaleExpectation> {
        if target.is_some_and(|t| !matches!(t, Target::Kubernetes(_))) {
            let problem = Problem::new(node.at, "only a cluster has autoscalers");
            self.report(problem.expected("`autoscale` with a `kubernetes` target"));
        }
        if let Some(hpa) = node.text() {
            return Some(AutoscaleExpectation::of(hpa));
        }
        Some(AutoscaleExpectation {
            hpa: text(node, "hpa")?,
            sync: duration(node, "sync")?,
            downscale_stabilization: duration(node, "downscale-stabilization")?,
            cpu_initialization: duration(node, "cpu-initialization")?,
            initial_readiness_delay: duration(node, "initial-readiness-delay")?,
            tolerance: parsed(node, "tolerance")?,
            at_max: duration(node, "at-max")?,
        })
    }
}
