//! One thing found out, before it becomes a verdict.

use super::Ruling;

/// One thing found out about one injection, or one rollout.
#[derive(Debug)]
pub(super) struct Finding {
    pub ruling: Ruling,
    pub because: String,
    pub missing: Option<String>,
}

impl Finding {
    pub fn pass(because: String) -> Self {
        Self {
            ruling: Ruling::Pass,
            because,
            missing: None,
        }
    }
    pub fn fail(because: String) -> Self {
        Self {
            ruling: Ruling::Fail,
            because,
            missing: None,
        }
    }
    pub fn unclear(because: String, missing: impl Into<String>) -> Self {
        Self {
            ruling: Ruling::Inconclusive,
            because,
            missing: Some(missing.into()),
        }
    }
}
