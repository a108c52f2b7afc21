//! Flows compiled: the journey as a flat program, every name resolved, every step's request prepared.

use std::time::Duration;

use rand::RngExt;
use rand_pcg::Pcg64;

use super::TrafficError;
use super::arrivals::exponential;
use super::check::Expected;
use super::compile::Compiler;
use super::feeder::FeederPlan;
use super::origin::Origin;
use super::request::RequestTemplate;
use super::text::Value;
use crate::record::Micros;
use crate::scenario::{ConnectionMode, Flow, Load, Node, Protocol, Scenario, Step, Think};

/// A compiled step.
#[derive(Debug)]
pub struct CompiledStep {
    /// Index among all steps of the scenario.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Its request.
    pub request: RequestTemplate,
    /// What its response must be.
    pub expected: Expected,
    /// Whether redirects are followed.
    pub follow_redirects: bool,
}

/// One operation of a journey's program.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Make a request: index into the flow's steps.
    Step(usize),
    /// Pause.
    Think(Think),
    /// Go on at one of these places, by cumulative weight (the last is the sum of all).
    Choose(Vec<(f64, usize)>),
    /// Go on there.
    Jump(usize),
}

/// A compiled flow.
#[derive(Debug)]
pub struct CompiledFlow {
    /// Index in the scenario.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// As written.
    pub spec: Flow,
    /// Its steps in file order.
    pub steps: Vec<CompiledStep>,
    /// What a user does.
    pub program: Vec<Op>,
    /// The variables' values at the start of a journey.
    pub initial: Vec<Value>,
    /// Data.
    pub feeders: Vec<FeederPlan>,
    /// Whether responses are decompressed: a step asks for compressed ones.
    pub decompress: bool,
    /// Over how many workers the flow is spread.
    pub shards: usize,
}

impl CompiledFlow {
    /// Compiles a flow. `first_step` is the index of its first step among all steps; `workers` the number of worker
    /// threads.
    pub fn compile(
        scenario: &Scenario,
        index: usize,
        first_step: usize,
        origin: &Origin,
        workers: usize,
    ) -> Result<Self, TrafficError> {
        let spec = scenario.traffic[index].clone();
        let mut compiler = Compiler::new(scenario, &spec, first_step, origin);
        let feeders = compiler.bind_feeders().map_err(|e| e.in_flow(&spec.name))?;
        compiler.nodes(&spec.journey)?;
        let Compiler {
            steps,
            program,
            initial,
            ..
        } = compiler;
        if steps.is_empty() {
            let problem = TrafficError::Scenario("the journey makes no request".into());
            return Err(problem.in_flow(&spec.name));
        }
        let asks = |(name, _): &(String, String)| name.eq_ignore_ascii_case("accept-encoding");
        let decompress = spec.headers.iter().any(asks)
            || all_steps(&spec.journey).any(|step| step.headers.iter().any(asks));
        let shards = workers.min(parallelism(&spec)).max(1);
        Ok(Self {
            index,
            name: spec.name.clone(),
            steps,
            program,
            initial,
            feeders,
            decompress,
            shards,
            spec,
        })
    }

    /// A worker's share of so many.
    pub fn share(&self, total: u32, shard: usize) -> usize {
        let total = total as usize;
        total / self.shards + usize::from(shard < total % self.shards)
    }

    /// How many connections there are to a worker's journeys, where each journey is one request over one of a pool.
    pub fn requests_at_once(&self, shard: usize) -> Option<usize> {
        let ConnectionMode::Pooled(connections) = self.spec.connections.mode else {
            return None;
        };
        // A connection of HTTP/2 carries several.
        let one_each = self.spec.protocol == Protocol::Http1;
        let one_request = matches!(self.program[..], [Op::Step(_)]);
        (one_each && one_request).then(|| self.share(connections, shard).max(1))
    }

    /// Runs the program from `pc` to the next operation that takes time; jumps and choices are taken on the way.
    /// `None` at its end.
    pub fn advance(&self, mut pc: usize, rng: &mut Pcg64) -> Option<usize> {
        loop {
            match self.program.get(pc)? {
                Op::Step(_) | Op::Think(_) => return Some(pc),
                Op::Jump(to) => pc = *to,
                Op::Choose(branches) => {
                    let total = branches.last().map_or(0.0, |(sum, _)| *sum);
                    let drawn = rng.random::<f64>() * total;
                    let chosen = branches
                        .iter()
                        .find(|(sum, _)| drawn < *sum)
                        .or(branches.last());
                    pc = chosen?.1;
                }
            }
        }
    }

    /// The first request from `pc` on, thinking skipped.
    pub fn first_request(&self, pc: usize, rng: &mut Pcg64) -> Option<usize> {
        let mut at = self.advance(pc, rng)?;
        loop {
            match &self.program[at] {
                Op::Step(step) => return Some(*step),
                _ => at = self.advance(at + 1, rng)?,
            }
        }
    }

    /// The longest timeout of a step.
    pub fn longest_timeout(&self) -> Duration {
        self.steps
            .iter()
            .map(|step| step.request.timeout)
            .max()
            .unwrap_or_default()
    }
}

/// All steps of a journey, in file order.
pub fn all_steps(nodes: &[Node]) -> Box<dyn Iterator<Item = &Step> + '_> {
    Box::new(
        nodes
            .iter()
            .flat_map(|node| -> Box<dyn Iterator<Item = &Step>> {
                match node {
                    Node::Step(step) => Box::new(std::iter::once(step.as_ref())),
                    Node::Choose(branches) => {
                        Box::new(branches.iter().flat_map(|b| all_steps(&b.journey)))
                    }
                    Node::Think(_) => Box::new(std::iter::empty()),
                }
            }),
    )
}

/// How many workers a flow can use at most: one cannot have a fraction of a user or of a shared connection.
fn parallelism(flow: &Flow) -> usize {
    let users = match &flow.load {
        Load::Open(open) => open.max_in_flight,
        Load::Closed(closed) => super::users::peak(&closed.stages),
    };
    let streams = match flow.protocol {
        Protocol::Http2 => flow.connections.streams.unwrap_or(1).max(1),
        Protocol::Http1 => 1,
    };
    let limit = match flow.connections.mode {
        ConnectionMode::Pooled(connections) => connections.min(users),
        // Users that share a connection must be on one worker.
        ConnectionMode::PerUser => users.div_ceil(streams),
        ConnectionMode::PerRequest => users,
    };
    limit as usize
}

/// Draws a think time.
pub fn think_time(think: &Think, rng: &mut Pcg64) -> Micros {
    let micros = |duration: &Duration| duration.as_micros() as f64;
    let time = match think {
        Think::None => return 0,
        Think::Fixed(time) => micros(time),
        Think::Uniform(low, high) => {
            micros(low) + rng.random::<f64>() * (micros(high) - micros(low))
        }
        Think::Exponential(mean) => micros(mean) * exponential(rng),
    };
    time.round() as Micros
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Branch, Extract, ExtractFrom};
    use crate::traffic::testing::{flow, scenario, step};

    fn compile(journey: Vec<Node>) -> Result<CompiledFlow, TrafficError> {
        let mut flow = flow();
        flow.journey = journey;
        let scenario = scenario(vec![flow]);
        let origin = Origin::parse("http://127.0.0.1:1").unwrap();
        CompiledFlow::compile(&scenario, 0, 5, &origin, 4)
    }

    fn node(path: &str) -> Node {
        Node::Step(Box::new(step("GET", path)))
    }

    /// The paths of one walk.
    fn walk(flow: &CompiledFlow, rng: &mut Pcg64) -> Vec<String> {
        let mut out = Vec::new();
        let mut pc = 0;
        while let Some(at) = flow.advance(pc, rng) {
            if let Op::Step(step) = flow.program[at] {
                out.push(flow.steps[step].name.clone());
            }
            pc = at + 1;
        }
        out
    }

    #[test]
    fn branches_are_taken_by_weight_and_come_together_again() {
        let branch = |weight, journey| Branch { weight, journey };
        let nested = Node::Choose(vec![
            branch(1.0, vec![node("/c")]),
            branch(0.0, vec![node("/never")]),
        ]);
        let journey = vec![
            node("/a"),
            Node::Choose(vec![
                branch(3.0, vec![node("/b")]),
                branch(1.0, vec![nested, node("/d")]),
            ]),
            node("/e"),
        ];
        let flow = compile(journey).unwrap();
        assert_eq!(flow.steps[0].index, 5);
        let mut rng = Pcg64::new(3, 3);
        let mut left = 0;
        for _ in 0..4000 {
            match walk(&flow, &mut rng).join(" ").as_str() {
                "GET /a GET /b GET /e" => left += 1,
                "GET /a GET /c GET /d GET /e" => {}
                other => panic!("{other}"),
            }
        }
        // 3,000 expected, standard deviation 27.
        assert!((left as f64 - 3000.0).abs() < 120.0, "{left}");
    }

    #[test]
    fn the_first_request_is_found_behind_pauses_and_choices() {
        let branch = Branch {
            weight: 1.0,
            journey: vec![node("/x")],
        };
        let flow = compile(vec![
            Node::Think(Think::None),
            Node::Choose(vec![branch]),
            node("/y"),
        ])
        .unwrap();
        assert_eq!(flow.first_request(0, &mut Pcg64::new(0, 0)), Some(0));
    }

    #[test]
    fn names_must_come_from_somewhere() {
        let error = compile(vec![node("/{{ id }}")]).unwrap_err().to_string();
        assert!(
            error.contains("flow `main`, step `GET /{{ id }}`") && error.contains("`id`"),
            "{error}"
        );
        let mut first = step("GET", "/");
        first.extract = vec![Extract {
            variable: "id".into(),
            from: ExtractFrom::Header("x".into()),
            default: None,
        }];
        assert!(compile(vec![Node::Step(Box::new(first)), node("/{{ id }}")]).is_ok());
        assert!(compile(vec![]).is_err());
    }

    #[test]
    fn think_times_have_their_means() {
        let mut rng = Pcg64::new(5, 5);
        let ms = Duration::from_millis;
        for (think, mean) in [
            (Think::None, 0.0),
            (Think::Fixed(ms(20)), 20_000.0),
            (Think::Uniform(ms(10), ms(30)), 20_000.0),
            (Think::Exponential(ms(20)), 20_000.0),
        ] {
            let sum: u64 = (0..20_000).map(|_| think_time(&think, &mut rng)).sum();
            assert!((sum as f64 / 20_000.0 - mean).abs() <= 600.0, "{think:?}");
        }
    }
}
