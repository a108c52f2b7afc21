//! Seeded defects: what the demo does wrong when told to, as data and pure decisions.

use std::str::FromStr;
use std::time::Duration;

use crate::scenario::units::{Ratio, Size, parse_duration};

/// One way to misbehave, as given by `--defect`.
#[derive(Debug, Clone, PartialEq)]
pub enum Defect {
    /// Every response takes so much longer.
    Slow(Duration),
    /// This share is answered with 500.
    Errors(Ratio),
    /// 200 with no body.
    EmptyBody,
    /// SIGTERM ends the process at once.
    NoDrain,
    /// Ready at once, but 503 for so long.
    ReadyEarly(Duration),
    /// Never ready.
    NeverReady,
    /// Exit 1 on every start but the first.
    DiesOnRestart,
    /// Keeps so much memory for each request.
    Leak(Size),
    /// This share is never answered.
    Hang(Ratio),
    /// Slower while the cache is cold.
    SlowStart(Duration),
    /// So many workers take so long for each request; the others wait in line.
    Queue(u32, Duration),
}

impl FromStr for Defect {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let need = |example: &str| {
            value.ok_or_else(|| format!("`{name}` needs a value, such as {name}:{example}"))
        };
        let time = |example: &str| parse_duration(need(example)?).map_err(|e| e.to_string());
        let share = |example: &str| -> Result<Ratio, String> {
            let ratio: Ratio = need(example)?.parse().map_err(|e| format!("{e}"))?;
            if (0.0..=1.0).contains(&ratio.get()) {
                Ok(ratio)
            } else {
                Err(format!("`{name}` is a share between 0% and 100%"))
            }
        };
        let plain = |defect: Defect| match value {
            None => Ok(defect),
            Some(value) => Err(format!("`{name}` takes no value, found `{value}`")),
        };
        match name {
            "slow" => Ok(Defect::Slow(time("200ms")?)),
            "errors" => Ok(Defect::Errors(share("5%")?)),
            "empty-body" => plain(Defect::EmptyBody),
            "no-drain" => plain(Defect::NoDrain),
            "ready-early" => Ok(Defect::ReadyEarly(time("3s")?)),
            "never-ready" => plain(Defect::NeverReady),
            "dies-on-restart" => plain(Defect::DiesOnRestart),
            "leak" => {
                let size = need("1MiB")?.parse::<Size>().map_err(|e| e.to_string())?;
                Ok(Defect::Leak(size))
            }
            "hang" => Ok(Defect::Hang(share("1%")?)),
            "slow-start" => Ok(Defect::SlowStart(time("5s")?)),
            "queue" => {
                let text = need("4x20ms")?;
                let wrong = || format!("`{text}` is not workers x time, such as queue:4x20ms");
                let (workers, each) = text.split_once('x').ok_or_else(wrong)?;
                let workers = workers.parse().ok().filter(|n| (1..=10_000).contains(n));
                let each = parse_duration(each).map_err(|e| e.to_string())?;
                Ok(Defect::Queue(workers.ok_or_else(wrong)?, each))
            }
            _ => Err(format!(
                "unknown defect `{name}`: expected slow, errors, empty-body, no-drain, ready-early, never-ready, \
                 dies-on-restart, leak, hang, slow-start or queue"
            )),
        }
    }
}

/// All defects of one instance, one field each; the default misbehaves in no way.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Defects {
    pub slow: Duration,
    pub errors: f64,
    pub empty_body: bool,
    pub no_drain: bool,
    pub ready_early: Duration,
    pub never_ready: bool,
    pub dies_on_restart: bool,
    pub leak: u64,
    pub hang: f64,
    pub slow_start: Duration,
    /// Workers, and what each request takes one of them.
    pub queue: Option<(u32, Duration)>,
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fate {
    /// Never answered.
    Hang,
    /// Answered after the wait.
    Answer {
        /// How much later.
        wait: Duration,
        /// With what.
        with: Answer,
    },
}

/// With what a request is answered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Answer {
    /// What it asked for.
    Normal,
    /// 200 and nothing.
    Empty,
    /// 500.
    Error,
    /// 503: not warm yet.
    Cold,
}

/// How much slower the first request of a cold cache is.
const COLD: Duration = Duration::from_millis(500);

impl Defects {
    /// The defects in force in this slot: all, or none where `--defect-on` names other slots.
    pub fn chosen(defects: &[Defect], only_on: &[String], slot: &str) -> Self {
        let mut chosen = Self::default();
        if !only_on.is_empty() && !only_on.iter().any(|s| s == slot) {
            return chosen;
        }
        for defect in defects {
            match *defect {
                Defect::Slow(d) => chosen.slow = d,
                Defect::Errors(r) => chosen.errors = r.get(),
                Defect::EmptyBody => chosen.empty_body = true,
                Defect::NoDrain => chosen.no_drain = true,
                Defect::ReadyEarly(d) => chosen.ready_early = d,
                Defect::NeverReady => chosen.never_ready = true,
                Defect::DiesOnRestart => chosen.dies_on_restart = true,
                Defect::Leak(s) => chosen.leak = s.get(),
                Defect::Hang(r) => chosen.hang = r.get(),
                Defect::SlowStart(d) => chosen.slow_start = d,
                Defect::Queue(workers, each) => chosen.queue = Some((workers, each)),
            }
        }
        chosen
    }

    /// The fate of application request number `index` (from 0) that comes `age` after the start.
    pub fn fate(&self, index: u64, age: Duration) -> Fate {
        if takes(self.hang, index) {
            return Fate::Hang;
        }
        let mut wait = self.slow;
        if age < self.slow_start {
            wait += COLD.mul_f64(1.0 - age.as_secs_f64() / self.slow_start.as_secs_f64());
        }
        let with = if age < self.ready_early {
            Answer::Cold
        } else if takes(self.errors, index) {
            Answer::Error
        } else if self.empty_body {
            Answer::Empty
        } else {
            Answer::Normal
        };
        Fate::Answer { wait, with }
    }
}

/// Whether request `index` is one of the share, spread evenly: for 5% every 20th.
fn takes(share: f64, index: u64) -> bool {
    // The small offset keeps shares such as 0.1, which no float holds exactly, from coming one request late.
    let upto = |n: u64| (n as f64 * share + 1e-9).floor();
    upto(index + 1) > upto(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_defect_of_the_help_parses_and_a_wrong_one_says_what_is_expected() {
        for text in [
            "slow:200ms",
            "errors:5%",
            "empty-body",
            "no-drain",
            "ready-early:3s",
            "never-ready",
            "dies-on-restart",
            "leak:1MiB",
            "hang:1%",
            "slow-start:5s",
            "queue:4x20ms",
        ] {
            assert!(text.parse::<Defect>().is_ok(), "{text}");
            let name = text.split(':').next().unwrap();
            assert!(super::super::DEFECT_HELP.contains(name), "{name}");
        }
        for (text, part) in [
            ("slow", "such as slow:200ms"),
            ("slow:200", "has no unit"),
            ("errors:500%", "between 0% and 100%"),
            ("no-drain:1s", "takes no value"),
            ("queue:4", "such as queue:4x20ms"),
            ("queue:0x20ms", "such as queue:4x20ms"),
            ("queue:4x20", "has no unit"),
            ("slwo:1s", "unknown defect `slwo`"),
        ] {
            let error = text.parse::<Defect>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_share_is_met_exactly_and_evenly() {
        for (share, n, expected) in [
            (0.05, 1000, 50),
            (0.01, 1000, 10),
            (0.1, 1000, 100),
            (1.0, 7, 7),
            (0.0, 1000, 0),
            (0.33, 100, 33),
        ] {
            let hits: Vec<u64> = (0..n).filter(|i| takes(share, *i)).collect();
            assert_eq!(hits.len(), expected, "{share}");
            if share == 0.05 {
                assert!(hits.windows(2).all(|w| w[1] - w[0] == 20));
            }
        }
    }

    #[test]
    fn defects_hold_only_in_the_chosen_slot() {
        let defects = [Defect::NeverReady];
        let on = ["shop-2".to_string()];
        assert!(Defects::chosen(&defects, &on, "shop-2").never_ready);
        assert!(!Defects::chosen(&defects, &on, "shop-1").never_ready);
        assert!(Defects::chosen(&defects, &[], "shop-1").never_ready);
    }

    #[test]
    fn a_cold_cache_warms_and_an_early_ready_instance_refuses_until_it_is_warm() {
        let defects = Defects {
            slow_start: Duration::from_secs(4),
            ready_early: Duration::from_secs(3),
            ..Defects::default()
        };
        let fate = |ms| defects.fate(0, Duration::from_millis(ms));
        let answer = |ms, with| Fate::Answer {
            wait: Duration::from_millis(ms),
            with,
        };
        assert_eq!(fate(0), answer(500, Answer::Cold));
        assert_eq!(fate(2000), answer(250, Answer::Cold));
        assert_eq!(fate(3000), answer(125, Answer::Normal));
        assert_eq!(fate(4000), answer(0, Answer::Normal));
    }
}
