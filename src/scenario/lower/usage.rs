//! What is expected of what instances use.

use super::{Lower, duration, parsed};
use crate::scenario::model::{Most, Target, UsageExpectation};
use crate::scenario::problem::Problem;
use crate::scenario::tree::{Entry, Node};
use crate::scenario::units::Ratio;

impl Lower<'_> {
    pub(super) fn usage(
        &mut self,
        entry: &Entry,
        target: Option<&Target>,
    ) -> Option<UsageExpectation> {
        let node = &entry.value;
        let usual = Ratio::fraction(UsageExpectation::OF_LIMIT);
        let in_cluster = matches!(target, None | Some(Target::Kubernetes(_)));
        let expected = UsageExpectation {
            cpu: match node.get("cpu") {
                Some(_) => parsed(node, "cpu")?,
                None if in_cluster => Most::OfLimit(usual),
                None => Most::Any,
            },
            memory: match node.get("memory") {
                Some(_) => parsed(node, "memory")?,
                None if in_cluster => Most::OfLimit(usual),
                None => Most::Any,
            },
            throttled: match node.get("throttled") {
                Some(_) => Some(parsed(node, "throttled")?),
                None => None,
            },
            lasts: duration(node, "for")?,
            oom_kills: parsed(node, "oom-kills")?,
        };
        match target {
            Some(Target::Url(_)) => {
                let problem = Problem::new(
                    entry.key_at,
                    "nothing shows what stands behind a `url` target, or what it uses",
                );
                self.report(problem.expected("no `usage`, or a `local` or `kubernetes` target"));
            }
            Some(Target::Local(_)) => self.local_usage(entry, node, &expected),
            _ => {}
        }
        Some(expected)
    }

    /// Processes of this machine have no limits, and nobody throttles them.
    fn local_usage(&mut self, entry: &Entry, node: &Node, expected: &UsageExpectation) {
        let shares = [
            ("cpu", expected.cpu.base(), "an amount such as 500m, or any"),
            (
                "memory",
                expected.memory.base(),
                "an amount such as 200MiB, or any",
            ),
        ];
        for (key, base, instead) in shares {
            if let (Some(base), Some(given)) = (base, node.get(key)) {
                let message = format!("the processes of a `local` target have no {base}");
                self.report(Problem::new(given.at, message).expected(instead));
            }
        }
        if let Some(throttled) = node.entry("throttled") {
            let message = "nobody throttles the processes of a `local` target";
            let problem = Problem::new(throttled.key_at, message);
            self.report(problem.expected("no `throttled`, or a `kubernetes` target"));
        }
        if (expected.cpu, expected.memory) == (Most::Any, Most::Any) {
            let problem = Problem::new(entry.key_at, "nothing says how much is too much");
            self.report(problem.expected("`cpu: 500m`, `memory: 200MiB`, or both, in `usage`"));
        }
    }
}
