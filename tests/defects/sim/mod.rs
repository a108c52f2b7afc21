//! A service, its balancer and a load generator in virtual time. What it writes is a record as a run writes it: judges
//! cannot tell the two apart, and here it is known beforehand what is wrong.
//!
//! Requests queue for the workers of an instance; instances start, die, hang, drain; the balancer knows of that as late
//! as it is told; the generator sends as late as its machine lets it. Nothing here knows of any verdict.

use std::collections::BTreeMap;

use squall::record::Record;
use squall::scenario::Scenario;

mod cast;
mod client;
mod clock;
mod dice;
mod engine;
mod injections;
mod kubelet;
mod life;
mod monitor;
mod recorder;
mod requests;
mod workload;

pub use clock::{MS, Micros, S, seconds};
pub use dice::Dice;
pub use kubelet::{Burst, Container};
pub use monitor::{Alarm, DOWN};
pub use recorder::write_and_read;
pub use workload::Deployment;

/// All there is to know before a run.
#[derive(Debug, Clone)]
pub struct World {
    /// Read from text as a user writes it.
    pub scenario: Scenario,
    /// Every random choice follows from it.
    pub seed: u64,
    /// How instances behave.
    pub service: Service,
    /// Those that differ from the start, by index.
    pub odd: BTreeMap<usize, Service>,
    /// Those that start in the middle of the run, where they differ.
    pub later: Option<Service>,
    /// The balancer in front of them.
    pub balancer: Balancer,
    /// The load generator.
    pub generator: Generator,
    /// Changes of the number of instances that nobody injected: seconds from the start of traffic, and how many.
    pub scaled: Vec<(f64, usize)>,
    /// Crashes that nobody injected: seconds, and which instance.
    pub crashes: Vec<(f64, usize)>,
    /// Instances that are stopped and replaced, one after another, by a rollout: when it begins, and the pause between.
    pub rollout: Option<(f64, f64)>,
    /// What makes the instances, in a cluster.
    pub deployment: Option<Deployment>,
    /// What pods may use, and use, where somebody looks at it.
    pub container: Option<Container>,
    /// The node of each place, where there are nodes.
    pub nodes: Vec<usize>,
    /// Monitoring, where somebody looks at it.
    pub alarm: Option<Alarm>,
}

/// How an instance behaves.
#[derive(Debug, Clone)]
pub struct Service {
    /// Mean work of a request.
    pub work_us: f64,
    /// How even the work is: 1 is exponential, more is more even.
    pub shape: u32,
    /// Requests worked on at once.
    pub workers: usize,
    /// Requests that may wait; the others get 503.
    pub queue: usize,
    /// Share of answers that are 500.
    pub errors: f64,
    /// Share of answers that are 200 without the body that was asked for.
    pub empty: f64,
    /// The step whose answers are 500 in this share.
    pub bad_step: Option<(usize, f64)>,
    /// From the start of the process until it can serve; it answers 503 until then.
    pub start_us: Micros,
    /// From the start of the process until it says that it is ready; when it can serve, where it tells the truth.
    pub says_ready_us: Option<Micros>,
    /// After its start it is so many times as slow for so long.
    pub cold: Option<(Micros, f64)>,
    /// What it does when it is told to end.
    pub on_term: OnTerm,
    /// Every so often it stands still for so long.
    pub pause: Option<(Micros, Micros)>,
    /// Memory that each request leaves behind.
    pub leak: Option<Leak>,
    /// Restarts it when it answers late.
    pub liveness: Option<Liveness>,
    /// Whether it is started again when it has died.
    pub restarts: bool,
    /// From its death to the start of the next one.
    pub backoff_us: Micros,
    /// It takes so many times as long after each further death.
    pub backoff_grows: f64,
    /// A kept-alive connection that is reused closes in the client's face with this chance.
    pub closes_idle: f64,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            work_us: 8_000.0,
            shape: 4,
            workers: 16,
            queue: 1_000,
            errors: 0.0,
            empty: 0.0,
            bad_step: None,
            start_us: 400 * MS,
            says_ready_us: None,
            cold: None,
            on_term: OnTerm::Drain,
            pause: None,
            leak: None,
            liveness: None,
            restarts: true,
            backoff_us: S,
            backoff_grows: 1.0,
            closes_idle: 0.0,
        }
    }
}

/// What an instance does when it is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTerm {
    /// It goes on until the balancer has let it go and everything is answered.
    Drain,
    /// It ends at once, with all that was under way.
    Exit,
    /// It finishes what is under way, and refuses what still comes.
    Close,
}

/// Memory that is not given back.
#[derive(Debug, Clone, Copy)]
pub struct Leak {
    /// Of each request.
    pub bytes: u64,
    /// In use from the start.
    pub base: u64,
    /// More than this kills it.
    pub limit: u64,
    /// Collecting what is there to collect makes it so many times as slow near the limit.
    pub slow: f64,
}

/// A liveness probe.
#[derive(Debug, Clone, Copy)]
pub struct Liveness {
    /// An answer that takes longer has failed.
    pub timeout_us: Micros,
    /// So many in a row, one a second, restart it.
    pub failures: u32,
}

/// The balancer.
#[derive(Debug, Clone)]
pub struct Balancer {
    /// Whom it chooses.
    pub policy: Policy,
    /// Whether it chooses for each request: the connection goes to a proxy.
    pub by_request: bool,
    /// From a change of an instance until the platform tells it.
    pub notices_us: Micros,
    /// From there until the set is another one.
    pub spreads_us: Micros,
    /// From there until traffic follows the set.
    pub follows_us: Micros,
    /// The set is seen so much later than it changed.
    pub seen_us: Micros,
    /// A hung instance is found out after so long; `None`: nobody looks.
    pub finds_hung_us: Option<Micros>,
    /// What has died stays in the set.
    pub keeps_dead: bool,
    /// What has left stays in the set that traffic follows.
    pub stale: bool,
    /// A request that was refused is sent to another instance, so many times.
    pub retries: u32,
}

impl Default for Balancer {
    fn default() -> Self {
        Self {
            policy: Policy::Random,
            by_request: false,
            notices_us: 2 * MS,
            spreads_us: MS,
            follows_us: 0,
            seen_us: 0,
            finds_hung_us: Some(1_200 * MS),
            keeps_dead: false,
            stale: false,
            retries: 0,
        }
    }
}

/// Whom a balancer chooses.
#[derive(Debug, Clone, PartialEq)]
pub enum Policy {
    /// Anyone, as iptables does.
    Random,
    /// One after the other, as IPVS does.
    InTurn,
    /// The one with the fewest requests under way, of two drawn.
    LeastBusy,
    /// Always the same one while it is there: source hashing.
    Source,
    /// By weight; an instance without one has weight 1.
    Weights(BTreeMap<usize, f64>),
}

/// The generator.
#[derive(Debug, Clone, Default)]
pub struct Generator {
    /// From and to when its machine stands still, seconds of traffic.
    pub stalls: Vec<(f64, f64)>,
    /// More than so many requests a second it cannot send.
    pub capacity: Option<f64>,
    /// So many local ports, each taken for a minute by a connection.
    pub ports: Option<usize>,
}

/// What really happened.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    /// The run's zero of traffic.
    pub start_us: Micros,
    /// Every instance that there was, in order of its start.
    pub instances: Vec<String>,
    /// Whom each injection hit, and when.
    pub hit: Vec<(String, Micros)>,
    /// When instances died, whatever the reason.
    pub died: Vec<(String, Micros)>,
    /// Requests that failed, by the instance they failed at (if they reached one).
    pub failed: BTreeMap<Option<String>, u64>,
    /// Requests that ended.
    pub ended: u64,
    /// When each instance began to use more than usual.
    pub bursts: BTreeMap<String, Micros>,
    /// Connections made to each instance.
    pub connections: BTreeMap<String, u64>,
}

impl Truth {
    /// Failures of an instance.
    pub fn failed_on(&self, name: &str) -> u64 {
        self.failed
            .get(&Some(name.to_string()))
            .copied()
            .unwrap_or(0)
    }
    /// All failures.
    pub fn all_failed(&self) -> u64 {
        self.failed.values().sum()
    }
}

/// Runs a world to its end.
pub fn run(world: &World) -> (Record, Truth) {
    engine::Engine::new(world).run()
}

/// A world of this scenario in which all is well.
pub fn healthy(scenario: Scenario, seed: u64) -> World {
    World {
        scenario,
        seed,
        service: Service::default(),
        odd: BTreeMap::new(),
        later: None,
        balancer: Balancer::default(),
        generator: Generator::default(),
        scaled: Vec::new(),
        crashes: Vec::new(),
        rollout: None,
        deployment: None,
        container: None,
        nodes: Vec::new(),
        alarm: None,
    }
}
