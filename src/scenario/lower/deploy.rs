//! What is expected of rollouts, and of the loss of each one.

use super::{Lower, duration, parsed, word};
use crate::scenario::expression;
use crate::scenario::model::{DeployExpectation, FaultSpec, SpreadExpectation, SpreadOver, Target};
use crate::scenario::problem::Problem;
use crate::scenario::shape::{SETTLE, SPREAD_ERRORS, SPREAD_WITHIN};
use crate::scenario::tree::{Entry, Node};
use crate::scenario::units::parse_duration;

impl Lower<'_> {
    pub(super) fn deploy(
        &mut self,
        entry: &Entry,
        target: Option<&Target>,
    ) -> Option<DeployExpectation> {
        let kind = match target {
            Some(Target::Local(_)) => Some("local"),
            Some(Target::Url(_)) => Some("url"),
            Some(Target::Kubernetes(_)) | None => None,
        };
        if let Some(kind) = kind {
            let problem = Problem::new(
                entry.key_at,
                format!("a `{kind}` target has no rollouts that squall could see"),
            );
            self.report(problem.expected("no `deploy`, or a `kubernetes` target"));
        }
        let node = &entry.value;
        Some(match node.text() {
            Some(text) => DeployExpectation {
                within: parse_duration(text).ok()?,
                settle: parse_duration(SETTLE).ok()?,
            },
            None => DeployExpectation {
                within: duration(node, "within")?,
                settle: duration(node, "settle")?,
            },
        })
    }
    pub(super) fn spread(
        &mut self,
        node: &Node,
        target: Option<&Target>,
        faults: Option<&[FaultSpec]>,
    ) -> Option<SpreadExpectation> {
        let spread = match node.text() {
            Some(text) => SpreadExpectation {
                over: serde_json::from_value(text.into()).ok()?,
                errors: expression::share(SPREAD_ERRORS)?,
                within: parse_duration(SPREAD_WITHIN).ok()?,
            },
            None => SpreadExpectation {
                over: word(node, "over")?,
                errors: parsed(node, "errors")?,
                within: duration(node, "within")?,
            },
        };
        let place = node.get("over").unwrap_or(node).at;
        if let (SpreadOver::Node, Some(Target::Local(_))) = (spread.over, target) {
            let problem = Problem::new(place, "a `local` target has one node: this machine");
            self.report(problem.expected("`instance`, or a `kubernetes` target"));
            return Some(spread);
        }
        let takes = |fault: &FaultSpec| {
            let right = spread.over == SpreadOver::Instance || fault.kind.is_of_node();
            right && fault.kind.takes_instance()
        };
        if faults.is_some_and(|all| !all.iter().any(takes)) {
            let what = match spread.over {
                SpreadOver::Instance => "no fault takes an instance away",
                SpreadOver::Node => "no fault takes a node away",
            };
            let expected = match spread.over {
                SpreadOver::Instance => "a kill, stop or freeze with `pick: each` and `every`",
                SpreadOver::Node => "a drain or node-loss with `pick: each` and `every`",
            };
            self.report(Problem::new(place, what).expected(expected));
        }
        Some(spread)
    }
}
