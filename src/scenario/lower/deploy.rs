//! What is expected of rollouts.

use super::{Lower, duration};
use crate::scenario::model::{DeployExpectation, Target};
use crate::scenario::problem::Problem;
use crate::scenario::shape::SETTLE;
use crate::scenario::tree::Entry;
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
}
