//! Injections that wait for something to be seen: `when: "ready >= 5"`, `after: rollout`.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Injector;
use crate::fault::Occurrence;
use crate::platform::Rollouts;
use crate::record::FaultStage;
use crate::scenario::When;

/// What is waited for is looked at so often.
const LOOK: Duration = Duration::from_millis(100);

/// An injection whose time has come and whose condition has not.
pub(super) struct Waiting {
    occurrence: Occurrence,
    when: When,
    /// The platform's rollouts when the wait began.
    before: Rollouts,
    /// Not met by then, it is given up; `None`: at the end of traffic.
    until: Option<Instant>,
    looked: Instant,
}

/// Whether a condition is met, and if not, what was seen.
fn met(when: &When, before: Rollouts, ready: usize, now: Rollouts) -> Result<(), String> {
    if let Some((op, count)) = when.ready
        && !op.holds(ready as f64, f64::from(count))
    {
        return Err(format!("{ready} are ready"));
    }
    if !when.after_rollout {
        return Ok(());
    }
    let seen = before.under_way || now.begun > before.begun;
    match (seen, now.under_way) {
        (true, false) => Ok(()),
        (true, true) => Err("a rollout is under way".into()),
        (false, _) => Err("no rollout was seen".into()),
    }
}

impl Injector {
    /// When to look next at what is waited for.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.waiting.iter().map(|w| w.looked + LOOK).min()
    }

    /// Puts an injection off until its condition is met.
    pub(super) fn wait_for(&mut self, occurrence: Occurrence, when: When, now: Instant) {
        self.waiting.push(Waiting {
            occurrence,
            before: self.platform.rollouts(),
            until: when.within.map(|within| now + within),
            when,
            // Looked at at once.
            looked: now.checked_sub(LOOK).unwrap_or(now),
        });
    }

    /// Looks at what is waited for: what is met is injected, what is overdue given up.
    pub(super) async fn look(&mut self, end: Instant, cancel: &CancellationToken) {
        let now = Instant::now();
        let instances = self.platform.instances();
        let ready = instances
            .iter()
            .filter(|i| i.alive && i.ready && !i.is_foreign());
        let (ready, rollouts) = (ready.count(), self.platform.rollouts());
        for mut waiting in std::mem::take(&mut self.waiting) {
            waiting.looked = now;
            match met(&waiting.when, waiting.before, ready, rollouts) {
                Ok(()) if now < end => {
                    self.let_old_go(cancel).await;
                    self.inject(&waiting.occurrence, cancel).await;
                }
                Ok(()) => {}
                Err(seen) if waiting.until.is_some_and(|until| now >= until) => {
                    self.never_met(&waiting, &seen);
                }
                Err(_) => self.waiting.push(waiting),
            }
        }
    }

    /// Traffic is over: what has not come will not be waited for.
    pub(super) fn give_up_waiting(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            self.never_met(&waiting, "traffic is over");
        }
    }

    fn never_met(&mut self, waiting: &Waiting, seen: &str) {
        self.injections += 1;
        let stage = FaultStage::Failed;
        let event = self.event(self.injections, waiting.occurrence.spec, stage, vec![]);
        let within = waiting.when.within.map(|w| format!(" within {w:?}"));
        let reason = format!(
            "`{}` was not met{}: {seen}; nothing was done",
            waiting.when.text,
            within.unwrap_or_default()
        );
        self.emit_fault(event, Some(reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Op;

    fn rollouts(begun: u64, under_way: bool) -> Rollouts {
        Rollouts { begun, under_way }
    }

    #[test]
    fn a_condition_is_met_by_what_is_seen_and_not_before() {
        let five = When {
            text: "ready >= 5".into(),
            ready: Some((Op::AtLeast, 5)),
            after_rollout: false,
            within: None,
        };
        let quiet = rollouts(0, false);
        assert_eq!(met(&five, quiet, 5, quiet), Ok(()));
        assert_eq!(met(&five, quiet, 4, quiet), Err("4 are ready".into()));
        let after = When {
            text: "rollout".into(),
            ready: None,
            after_rollout: true,
            within: None,
        };
        for (before, now, is_met) in [
            // None began: there is nothing to be after.
            (rollouts(3, false), rollouts(3, false), false),
            (rollouts(3, false), rollouts(4, true), false),
            (rollouts(3, false), rollouts(4, false), true),
            (rollouts(3, true), rollouts(3, true), false),
            (rollouts(3, true), rollouts(3, false), true),
        ] {
            assert_eq!(
                met(&after, before, 1, now).is_ok(),
                is_met,
                "{before:?} {now:?}"
            );
        }
        let both = When {
            ready: five.ready,
            ..after
        };
        assert!(met(&both, rollouts(0, true), 4, quiet).is_err());
        assert!(met(&both, rollouts(0, true), 5, quiet).is_ok());
    }
}
