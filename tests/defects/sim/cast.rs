//! The instances, and what they do with a request.

use squall::record::Micros;

use super::{Dice, S, Service};

/// One instance, from its start to its end.
pub struct Instance {
    /// Unique in the run.
    pub name: String,
    /// The place it fills, by index.
    pub slot: usize,
    /// How it behaves.
    pub service: Service,
    /// When its process started.
    pub started_us: Micros,
    /// Which version of the workload it is.
    pub version: u32,
    /// It has said that it is ready.
    pub ready: bool,
    /// It takes connections.
    pub listens: bool,
    /// It has been told to end.
    pub leaving: bool,
    /// It has ended.
    pub dead: bool,
    /// It answers nothing: frozen, or nothing gets through to it.
    pub hung: bool,
    /// It was told to be not ready, because it hung.
    pub found_out: bool,
    /// Added to each answer.
    pub delay_us: Micros,
    /// Share of new connections that are swallowed, and reset.
    pub dropped: f64,
    /// See `dropped`.
    pub reset: f64,
    /// Traffic is sent to it.
    pub followed: bool,
    /// Requests under way, by number.
    pub in_flight: Vec<usize>,
    /// When each worker is free.
    free: Vec<Micros>,
    /// Requests that it has still to do though nobody waits for them any more.
    pub left: u64,
    /// Requests worked on so far.
    pub handled: u64,
    /// Work done since the last look, microseconds.
    pub worked_us: u64,
    /// Liveness probes failed in a row.
    pub probes_failed: u32,
    /// When its pauses begin.
    phase_us: Micros,
}

/// What an instance makes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// As asked for.
    Good,
    /// 200 without the body.
    Empty,
    /// This status.
    Status(u16),
}

impl Instance {
    /// A process that starts now.
    pub fn new(name: String, slot: usize, service: Service, now: Micros, dice: &mut Dice) -> Self {
        let phase_us = service.pause.map_or(0, |(every, _)| dice.whole(0, every));
        Self {
            name,
            slot,
            free: vec![0; service.workers.max(1)],
            service,
            started_us: now,
            version: 0,
            ready: false,
            listens: true,
            leaving: false,
            dead: false,
            hung: false,
            found_out: false,
            delay_us: 0,
            dropped: 0.0,
            reset: 0.0,
            followed: false,
            in_flight: Vec::new(),
            left: 0,
            handled: 0,
            worked_us: 0,
            probes_failed: 0,
            phase_us,
        }
    }

    /// Memory in use.
    pub fn memory(&self) -> u64 {
        match self.service.leak {
            Some(leak) => leak.base + self.leaked(),
            None => 64 << 20,
        }
    }

    /// Memory that was not given back.
    pub fn leaked(&self) -> u64 {
        self.service
            .leak
            .map_or(0, |leak| leak.bytes * self.handled)
    }

    /// How long a request that comes now waits for a worker.
    pub fn wait_us(&self, now: Micros) -> Micros {
        let soonest = self.free.iter().min().copied().unwrap_or(0);
        soonest.saturating_sub(now)
    }

    /// Takes a request: when it is answered (not taking into account that the instance hangs), and how.
    pub fn serve(&mut self, now: Micros, step: usize, dice: &mut Dice) -> (Micros, Answer) {
        let service = &self.service;
        if now < self.started_us + service.start_us || self.in_flight.len() > service.queue {
            return (now + 800, Answer::Status(503));
        }
        let (worker, free) = (self.free.iter().copied().enumerate())
            .min_by_key(|(_, free)| *free)
            .unwrap_or((0, 0));
        let begins = self.after_pause(now.max(free));
        let work = dice.erlang(service.work_us * self.slowness(now), service.shape) as Micros + 200;
        let done = begins + work;
        self.free[worker] = done;
        self.handled += 1;
        self.worked_us += work;
        let failing = match service.bad_step {
            Some((bad, share)) if bad == step => share,
            _ => service.errors,
        };
        let answer = if dice.chance(failing) {
            Answer::Status(500)
        } else if dice.chance(service.empty) {
            Answer::Empty
        } else {
            Answer::Good
        };
        (done, answer)
    }

    fn slowness(&self, now: Micros) -> f64 {
        let mut times = 1.0;
        if let Some((lasts, cold)) = self.service.cold
            && now < self.started_us + self.service.start_us + lasts
        {
            times *= cold;
        }
        if let Some(leak) = self.service.leak {
            let full = self.memory() as f64 / leak.limit as f64;
            times *= 1.0 + (leak.slow - 1.0) * full.powi(4);
        }
        times
    }

    fn after_pause(&self, at: Micros) -> Micros {
        let Some((every, lasts)) = self.service.pause else {
            return at;
        };
        let into = (at + self.phase_us) % every;
        if into < lasts { at + lasts - into } else { at }
    }

    /// It goes on after it has hung, with all that has come meanwhile: it cannot know who has given up.
    pub fn wake(&mut self, now: Micros, dice: &mut Dice) {
        for free in &mut self.free {
            *free = (*free).max(now);
        }
        for _ in 0..std::mem::take(&mut self.left) {
            self.serve(now, 0, dice);
        }
    }

    /// CPU since the last look, thousandths of a core.
    pub fn cpu_millicores(&mut self) -> u64 {
        // Most of the time of a request is waiting for others.
        std::mem::take(&mut self.worked_us) * 1000 / S / 4
    }
}
