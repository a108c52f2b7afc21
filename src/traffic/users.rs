//! How many users of a closed load there are at a time, and when each comes and goes. Pure.
//!
//! Users are numbered from 0, and user `u` is there while the number of users is above `u`: the last to come is the
//! first to go.

use crate::scenario::UserStage;

/// A span of time, in seconds from the start of the flow, in which a user is there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stay {
    /// Comes.
    pub from: f64,
    /// Goes.
    pub until: f64,
}

/// The most users at any time.
pub fn peak(stages: &[UserStage]) -> u32 {
    stages
        .iter()
        .filter(|stage| !stage.ramp.is_zero() || !stage.hold.is_zero())
        .map(|stage| stage.users)
        .max()
        .unwrap_or(0)
}

/// When user `user` is there, in order; spans that touch are one.
pub fn stays(stages: &[UserStage], user: u32) -> Vec<Stay> {
    let mut stays: Vec<Stay> = Vec::new();
    let mut add = |from: f64, until: f64| match stays.last_mut() {
        _ if until <= from => {}
        Some(last) if from <= last.until + 1e-9 => last.until = last.until.max(until),
        _ => stays.push(Stay { from, until }),
    };
    let mut at = 0.0;
    let mut before = 0.0;
    let threshold = f64::from(user);
    for stage in stages {
        let (ramp, hold) = (stage.ramp.as_secs_f64(), stage.hold.as_secs_f64());
        let after = f64::from(stage.users);
        if ramp > 0.0 {
            // When the straight line from `before` to `after` crosses the user's number.
            let crossing = at + ramp * ((threshold - before) / (after - before));
            match (before > threshold, after > threshold) {
                (true, true) => add(at, at + ramp),
                (false, true) => add(crossing, at + ramp),
                (true, false) => add(at, crossing),
                (false, false) => {}
            }
        }
        if after > threshold {
            add(at + ramp, at + ramp + hold);
        }
        at += ramp + hold;
        before = after;
    }
    stays
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn stage(users: u32, ramp: u64, hold: u64) -> UserStage {
        UserStage {
            users,
            ramp: Duration::from_secs(ramp),
            hold: Duration::from_secs(hold),
        }
    }

    fn stay(from: f64, until: f64) -> Stay {
        Stay { from, until }
    }

    #[test]
    fn a_ramp_brings_users_one_by_one_and_takes_the_last_first() {
        let stages = [stage(10, 10, 5), stage(0, 10, 0)];
        assert_eq!(peak(&stages), 10);
        assert_eq!(stays(&stages, 0), [stay(0.0, 25.0)]);
        assert_eq!(stays(&stages, 4), [stay(4.0, 21.0)]);
        assert_eq!(stays(&stages, 9), [stay(9.0, 16.0)]);
        assert_eq!(stays(&stages, 10), []);
    }

    #[test]
    fn a_jump_starts_all_at_once() {
        let stages = [stage(3, 0, 4)];
        assert_eq!(stays(&stages, 2), [stay(0.0, 4.0)]);
        assert_eq!(stays(&stages, 3), []);
    }

    #[test]
    fn users_come_back() {
        let stages = [stage(2, 0, 1), stage(1, 0, 1), stage(2, 0, 1)];
        assert_eq!(stays(&stages, 0), [stay(0.0, 3.0)]);
        assert_eq!(stays(&stages, 1), [stay(0.0, 1.0), stay(2.0, 3.0)]);
    }

    #[test]
    fn an_empty_stage_counts_for_nothing() {
        assert_eq!(peak(&[stage(5, 0, 0)]), 0);
        assert_eq!(stays(&[stage(5, 0, 0)], 0), []);
    }
}
