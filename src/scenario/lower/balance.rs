//! What is expected of the load balancer.

use super::{Lower, duration, parsed, word};
use crate::scenario::model::{BalanceExpectation, BalanceKind, Target};
use crate::scenario::problem::Problem;
use crate::scenario::tree::Node;

impl Lower<'_> {
    pub(super) fn balance(
        &mut self,
        node: &Node,
        target: Option<&Target>,
    ) -> Option<BalanceExpectation> {
        if let Some(Target::Local(local)) = target
            && local.instances < 2
        {
            let problem = Problem::new(node.at, "there is one instance, and nothing to balance");
            self.report(problem.expected("`instances` of at least 2 in the target"));
        }
        if let Some(text) = node.text() {
            return Some(BalanceExpectation {
                by: serde_json::from_value(text.into()).ok()?,
                ..BalanceExpectation::default()
            });
        }
        let listed = matches!(target, Some(Target::Local(_) | Target::Kubernetes(_)));
        if let (true, Some(entry)) = (listed, node.entry("instances")) {
            let message = "this target lists its instances itself";
            self.report(
                Problem::new(entry.key_at, message)
                    .expected("`instances` here with a `url` target only"),
            );
        }
        let kind = node.get("kind")?;
        Some(BalanceExpectation {
            by: word(node, "by")?,
            kind: match kind.text() {
                Some(_) => word(node, "kind")?,
                None => BalanceKind::ClientIp(duration(kind, "client-ip")?),
            },
            tolerance: parsed(node, "tolerance")?,
            lag: duration(node, "lag")?,
            instances: parsed(node, "instances"),
        })
    }
}
