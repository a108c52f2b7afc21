//! The generator: who sends what when, over which connection.

use std::collections::VecDeque;
use std::time::Duration;

use squall::scenario::{ConnectionMode, Flow, Load, Node, Process, Think};

use super::{Dice, Generator, Micros, S, seconds};

/// One request on its way.
#[derive(Debug, Clone)]
pub struct Request {
    pub step: usize,
    pub due: Micros,
    pub sent: Micros,
    pub place: usize,
    /// Who works on it.
    pub at: Option<usize>,
    /// Only the newest end of a request counts.
    pub version: u32,
    pub ended: bool,
    /// What comes if nothing else does before.
    pub fate: Option<Fate>,
    /// Given up then.
    pub deadline: Micros,
}

/// How a request is going to end.
#[derive(Debug, Clone, Copy)]
pub enum Fate {
    Answered(super::cast::Answer),
    /// Answered by the balancer itself, for want of an instance.
    Proxy(u16),
    Broken(squall::record::Outcome),
}

/// A connection that is kept.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    /// Where it leads.
    pub to: usize,
    /// Who answered on it last.
    pub last: Option<usize>,
    pub opened: Micros,
}

/// A user: one journey at a time.
#[derive(Debug, Clone, Default)]
pub struct Place {
    pub busy: bool,
    pub connection: Option<Connection>,
}

pub struct Client {
    pub places: Vec<Place>,
    /// Arrivals that wait for a connection of the pool: when they were due.
    pub waiting: VecDeque<Micros>,
    pub mode: ConnectionMode,
    pub max_age: Option<Micros>,
    pub timeout: Micros,
    pub steps: Vec<String>,
    pub max_in_flight: usize,
    pub busy: usize,
    pub closed: bool,
    generator: Generator,
    /// When the generator is free to send the next one.
    free: Micros,
    /// When connections were opened, for their ports.
    opened: VecDeque<Micros>,
}

impl Client {
    pub fn new(flow: &Flow, generator: &Generator, start: Micros) -> Self {
        let (places, max_in_flight, closed) = match (&flow.load, flow.connections.mode) {
            (Load::Closed(closed), _) => {
                let most = closed.stages.iter().map(|s| s.users as usize).max();
                (most.unwrap_or(1), usize::MAX, true)
            }
            (Load::Open(open), ConnectionMode::Pooled(n)) => {
                (n as usize, open.max_in_flight as usize, false)
            }
            (Load::Open(open), _) => (50, open.max_in_flight as usize, false),
        };
        let mut generator = generator.clone();
        for (from, to) in &mut generator.stalls {
            *from += start as f64 / 1e6;
            *to += start as f64 / 1e6;
        }
        Self {
            places: vec![Place::default(); places],
            waiting: VecDeque::new(),
            mode: flow.connections.mode,
            max_age: flow.connections.max_age.map(micros),
            timeout: micros(flow.timeout),
            steps: step_names(&flow.journey),
            max_in_flight,
            busy: 0,
            closed,
            generator,
            free: 0,
            opened: VecDeque::new(),
        }
    }

    /// A place for an arrival; `None` where all connections of a pool are taken.
    pub fn place(&mut self, dice: &mut Dice) -> Option<usize> {
        if matches!(self.mode, ConnectionMode::Pooled(_)) {
            let free: Vec<usize> = (0..self.places.len())
                .filter(|i| !self.places[*i].busy)
                .collect();
            return (!free.is_empty()).then(|| free[dice.below(free.len())]);
        }
        let drawn = dice.below(self.places.len());
        if !self.places[drawn].busy {
            return Some(drawn);
        }
        if self.places.len() < 10 * (self.busy + 1) {
            self.places.push(Place::default());
            return Some(self.places.len() - 1);
        }
        let free = self.places.iter().position(|p| !p.busy);
        free.or_else(|| {
            self.places.push(Place::default());
            Some(self.places.len() - 1)
        })
    }

    /// When a request that is due now is really sent, and whether the generator has no time left.
    pub fn send_at(&mut self, due: Micros, dice: &mut Dice) -> (Micros, bool) {
        let mut at = due + dice.exponential(60.0) as Micros + 10;
        let mut busy = false;
        for (from, to) in &self.generator.stalls {
            if at >= seconds(*from) && at < seconds(*to) {
                at = seconds(*to) + dice.whole(0, 500);
            }
        }
        if let Some(capacity) = self.generator.capacity {
            let gap = (1e6 / capacity) as Micros;
            busy = self.free > due + 10 * gap;
            at = at.max(self.free);
            self.free = at + gap;
        }
        (at, busy)
    }

    /// Opens a connection; `false` without a port for it.
    pub fn open(&mut self, now: Micros) -> bool {
        let Some(ports) = self.generator.ports else {
            return true;
        };
        // A closed connection keeps its port for a minute.
        while self.opened.front().is_some_and(|at| at + 60 * S <= now) {
            self.opened.pop_front();
        }
        if self.opened.len() >= ports {
            return false;
        }
        self.opened.push_back(now);
        true
    }
}

fn step_names(journey: &[Node]) -> Vec<String> {
    let names = journey.iter().filter_map(|node| match node {
        Node::Step(step) => Some(step.name.clone()),
        _ => None,
    });
    names.collect()
}

pub fn micros(duration: Duration) -> Micros {
    duration.as_micros() as Micros
}

/// When requests of an open flow are due, counted from its start.
pub fn arrivals(flow: &Flow, dice: &mut Dice) -> Vec<Micros> {
    let Load::Open(open) = &flow.load else {
        return Vec::new();
    };
    let mut due = Vec::new();
    let (mut begun, mut level) = (0.0, 0.0);
    // Of a rate that changes, the integral counts: the next arrival is due where it has grown by one.
    let mut owed = match open.process {
        Process::Constant => 0.0,
        Process::Poisson => dice.exponential(1.0),
    };
    for stage in &open.stages {
        let (target, ramp) = (stage.rate.get(), stage.ramp.as_secs_f64());
        let length = ramp + stage.hold.as_secs_f64();
        let (grain, mut t) = (0.01, 0.0);
        while t < length {
            let step = f64::min(grain, length - t);
            let rate = if t < ramp {
                level + (target - level) * (t + step / 2.0) / ramp
            } else {
                target
            };
            let mut done = 0.0;
            while owed <= rate * (step - done) && rate > 0.0 {
                done += owed / rate;
                due.push(seconds(begun + t + done));
                owed = match open.process {
                    Process::Constant => 1.0,
                    Process::Poisson => dice.exponential(1.0),
                };
            }
            owed -= rate * (step - done);
            t += step;
        }
        begun += length;
        level = target;
    }
    due
}

/// How long a user of a closed flow thinks.
pub fn think(flow: &Flow, dice: &mut Dice) -> Micros {
    let Load::Closed(closed) = &flow.load else {
        return 0;
    };
    match closed.think {
        Think::Exponential(mean) => dice.exponential(micros(mean) as f64) as Micros,
        Think::Fixed(time) => micros(time),
        _ => 0,
    }
}
