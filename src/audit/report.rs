//! An audit for people.

use std::fmt::Write;

use super::{Audit, Harm};
use crate::judge::words::counted;

/// The findings as text, the sum last, where the eye is.
pub fn text(audit: &Audit) -> String {
    let mut out = String::new();
    for finding in &audit.findings {
        let harm = match finding.harm {
            Harm::Breaks => "BREAKS ",
            Harm::Weakens => "WEAKENS",
        };
        let _ = writeln!(
            out,
            "{harm} {}: {} [{}]\n        why:    {}\n        change: {}",
            finding.object, finding.what, finding.rule, finding.why, finding.change
        );
    }
    for unseen in &audit.unseen {
        let _ = writeln!(out, "UNSEEN  {unseen}");
    }
    let of = |harm| audit.findings.iter().filter(|f| f.harm == harm).count();
    let _ = writeln!(
        out,
        "namespace {}: {} looked at ({}); findings that break availability: {}, that weaken it: {}",
        audit.namespace,
        counted(audit.workloads.len() as u64, "workload"),
        audit.workloads.join(", "),
        of(Harm::Breaks),
        of(Harm::Weakens)
    );
    out
}
