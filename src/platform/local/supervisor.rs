//! Keeps one slot filled: starts an instance, probes it, notices its end, and starts the next one.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use super::command::{self, Identity};
use super::port::Ports;
use super::probe::{Prober, Readiness};
use super::process::{Exit, Orders, Spec, Started};
use super::state::State;
use crate::scenario::{LocalTarget, Restart};

/// An instance that ran so long is taken as healthy: the next crash is a first one again.
const HEALTHY_AFTER: Duration = Duration::from_secs(600);

/// Waits between restarts: doubled for each crash, from the start again after a long healthy time.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    crashes: u32,
}

impl Backoff {
    /// How long to wait after an instance that ran for `ran` crashed.
    fn after(&mut self, restart: &Restart, ran: Duration) -> Duration {
        if ran >= HEALTHY_AFTER {
            self.crashes = 0;
        }
        let factor = 2u32.checked_pow(self.crashes).unwrap_or(u32::MAX);
        self.crashes = self.crashes.saturating_add(1);
        restart
            .backoff
            .saturating_mul(factor)
            .min(restart.max_backoff)
    }
}

/// What the supervisors of all slots share.
pub(super) struct Supervisor {
    pub target: LocalTarget,
    pub squall: PathBuf,
    pub dir: PathBuf,
    pub logs_dir: PathBuf,
    pub orders: Orders,
    pub ports: Mutex<Ports>,
    pub prober: Prober,
    pub state: Arc<State>,
}

impl Supervisor {
    /// Fills the slot until the platform stops, or once where the dead stay dead.
    pub async fn run(self: Arc<Self>, index: usize) {
        let slot = format!("{}-{}", self.target.name, index + 1);
        let mut backoff = Backoff::default();
        let mut incarnation = 0u32;
        while !self.state.stopping.is_cancelled() {
            let name = match incarnation {
                0 => slot.clone(),
                n => format!("{slot}-r{n}"),
            };
            let began = Instant::now();
            let told = self.live(index, &name, &slot).await;
            if !self.target.restart.enabled {
                return;
            }
            // One that was told to end is replaced at once: a rollout is no crash.
            let wait = match told {
                true => Duration::ZERO,
                false => backoff.after(&self.target.restart, began.elapsed()),
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.state.stopping.cancelled() => return,
            }
            incarnation += 1;
        }
    }

    /// The life of one incarnation; `true` if it was told to end.
    async fn live(&self, index: usize, name: &str, slot: &str) -> bool {
        let (started, port) = match self.spawn(index, name, slot).await {
            Ok(started) => started,
            Err(e) => {
                let why = format!("cannot be started: {e}");
                self.state.not_started(index, name, why);
                return false;
            }
        };
        let Started { group, mut exit } = started;
        self.state.started(index, name, port, group);
        let exit = tokio::select! {
            exit = &mut exit => exit,
            never = self.probe(index, port) => match never {},
        };
        let exit = exit.unwrap_or_else(|_| Exit {
            at: Instant::now(),
            how: "ended, nobody knows how".into(),
        });
        self.state.ended(index, &exit)
    }

    async fn spawn(&self, index: usize, name: &str, slot: &str) -> std::io::Result<(Started, u16)> {
        let port = match self.target.first_port {
            // A scenario is refused where the last one would not be a port.
            Some(first) => first.saturating_add(index as u16),
            None => self
                .ports
                .lock()
                .unwrap_or_else(|e| e.into_inner())
                .free()?,
        };
        let who = Identity {
            instance: name.to_string(),
            slot: slot.to_string(),
            port,
            logs_dir: self.logs_dir.clone(),
        };
        let spec = Spec {
            command: command::command(&self.target, &self.squall, &who),
            env: command::environment(&self.target, &who),
            dir: self.dir.clone(),
            log: log_file(&self.logs_dir, name),
        };
        Ok((self.orders.spawn(spec).await?, port))
    }

    async fn probe(&self, index: usize, port: u16) -> std::convert::Infallible {
        let mut readiness = Readiness::default();
        let mut ticks =
            tokio::time::interval(self.prober.probe().every.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let result = self.prober.check(([127, 0, 0, 1], port).into()).await;
            let passed = result.is_ok();
            if let Err(why) = result {
                self.state.probe_failed(index, why);
            }
            if let Some(ready) = readiness.observe(self.prober.probe(), passed) {
                self.state.ready(index, ready);
            }
        }
    }
}

/// Where the output of an instance goes.
pub(super) fn log_file(logs_dir: &std::path::Path, name: &str) -> PathBuf {
    logs_dir.join(format!("{name}.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_again_after_a_healthy_time() {
        let restart = Restart {
            enabled: true,
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(5),
        };
        let mut backoff = Backoff::default();
        let mut after = |ran| backoff.after(&restart, Duration::from_secs(ran)).as_secs();
        assert_eq!([after(1), after(1), after(1), after(1)], [1, 2, 4, 5]);
        assert_eq!([after(599), after(600), after(1)], [5, 1, 2]);
        let mut many = Backoff { crashes: u32::MAX };
        assert_eq!(many.after(&restart, Duration::ZERO), restart.max_backoff);
    }
}
