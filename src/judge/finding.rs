//! One thing found out, before it becomes a verdict.

use std::collections::BTreeSet;

use super::Ruling;
use super::analysis::Analysis;

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

    /// The first of the worst, of what was found about subjects (injections, rollouts) for reasons, both by number. What
    /// failed for another reason is told after it: who mends the first must know of the second.
    pub fn worst(found: Vec<(usize, usize, Self)>) -> Option<(usize, Self)> {
        let ruling = found.iter().map(|(.., f)| f.ruling).max()?;
        let mut worst = found.into_iter().filter(|(.., f)| f.ruling == ruling);
        let (subject, reason, mut first) = worst.next()?;
        if ruling == Ruling::Fail {
            let mut told = BTreeSet::from([reason]);
            for (_, reason, other) in worst {
                if told.insert(reason) {
                    first.because = format!("{}; also: {}", first.because, other.because);
                }
            }
        }
        Some((subject, first))
    }

    /// A pass that the whole run puts in doubt, cut short or with a saturated generator, is none.
    pub fn doubt(&mut self, analysis: &Analysis<'_>) {
        if self.ruling != Ruling::Pass {
            return;
        }
        let (why, missing) = if let Some(cut) = analysis.cut_short() {
            (cut.clone(), format!("the rest of the run: {cut}"))
        } else if let Some(why) = &analysis.generator.summary.saturated {
            (
                format!("the generator was saturated: {why}"),
                "a run whose generator keeps its schedule".to_string(),
            )
        } else {
            return;
        };
        self.ruling = Ruling::Inconclusive;
        self.because = format!("{}; but {why}", self.because);
        self.missing = Some(missing);
    }
}
