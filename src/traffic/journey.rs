//! Flows compiled: the journey as a flat program, every name resolved, every step's request prepared.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rand::RngExt;
use rand_pcg::Pcg64;

use super::TrafficError;
use super::arrivals::exponential;
use super::check::Expected;
use super::feeder::FeederPlan;
use super::request::{Origin, RequestTemplate};
use super::text::{Binding, Names, Value};
use crate::record::Micros;
use crate::scenario::template::Template;
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
        Think::None => 0.0,
        Think::Fixed(time) => micros(time),
        Think::Uniform(low, high) => {
            micros(low) + rng.random::<f64>() * (micros(high) - micros(low))
        }
        Think::Exponential(mean) => micros(mean) * exponential(rng),
    };
    time.round() as Micros
}

struct Compiler<'a> {
    spec: &'a Flow,
    base_dir: &'a Path,
    origin: &'a Origin,
    first_step: usize,
    names: Names,
    initial: Vec<Value>,
    steps: Vec<CompiledStep>,
    program: Vec<Op>,
}

impl<'a> Compiler<'a> {
    fn new(scenario: &'a Scenario, spec: &'a Flow, first_step: usize, origin: &'a Origin) -> Self {
        let mut compiler = Self {
            spec,
            base_dir: &scenario.base_dir,
            origin,
            first_step,
            names: Names::default(),
            initial: Vec::new(),
            steps: Vec::new(),
            program: Vec::new(),
        };
        for (name, value) in &spec.variables {
            compiler.names.bind(name, Binding::Constant(value.clone()));
        }
        for (name, secret) in &scenario.secrets {
            compiler
                .names
                .bind(name, Binding::Constant(secret.reveal().to_string()));
        }
        for step in all_steps(&spec.journey) {
            for extract in &step.extract {
                compiler.variable(&extract.variable);
            }
        }
        compiler
    }

    /// The slot of a variable; one that has a constant value starts with it.
    fn variable(&mut self, name: &str) -> usize {
        let mut value = Value::default();
        match self.names.get(name) {
            Some(Binding::Slot(slot)) => return *slot,
            Some(Binding::Constant(constant)) => value.set(constant),
            None => {}
        }
        let slot = self.initial.len();
        self.initial.push(value);
        self.names.bind(name, Binding::Slot(slot));
        slot
    }

    /// Gives the fields that templates use a variable each, and opens the files.
    fn bind_feeders(&mut self) -> Result<Vec<FeederPlan>, TrafficError> {
        let mut used = BTreeSet::new();
        for source in templates(self.spec) {
            if let Ok(template) = Template::parse(source) {
                used.extend(template.variables().map(str::to_string));
            }
        }
        let mut plans = Vec::new();
        for feeder in &self.spec.data {
            let prefix = format!("{}.", feeder.name);
            let mut fields = Vec::new();
            for name in used.iter().filter(|name| name.starts_with(&prefix)) {
                fields.push((name[prefix.len()..].to_string(), self.variable(name)));
            }
            plans.push(FeederPlan::open(feeder, self.base_dir, &fields)?);
        }
        Ok(plans)
    }

    fn nodes(&mut self, nodes: &[Node]) -> Result<(), TrafficError> {
        for node in nodes {
            match node {
                Node::Think(think) => self.program.push(Op::Think(*think)),
                Node::Step(step) => {
                    self.step(step)
                        .map_err(|e| e.in_step(&self.spec.name, &step.name))?;
                }
                Node::Choose(branches) => {
                    let choose = self.program.len();
                    self.program.push(Op::Choose(Vec::new()));
                    let mut targets = Vec::new();
                    let mut jumps = Vec::new();
                    let mut sum = 0.0;
                    for branch in branches {
                        sum += branch.weight;
                        targets.push((sum, self.program.len()));
                        self.nodes(&branch.journey)?;
                        jumps.push(self.program.len());
                        self.program.push(Op::Jump(0));
                    }
                    let end = self.program.len();
                    for jump in jumps {
                        self.program[jump] = Op::Jump(end);
                    }
                    self.program[choose] = Op::Choose(targets);
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), TrafficError> {
        let close = self.spec.connections.mode == ConnectionMode::PerRequest
            && self.spec.protocol == Protocol::Http1;
        let request = RequestTemplate::compile(
            self.spec,
            step,
            &self.names,
            self.origin,
            self.base_dir,
            close,
        )?;
        let names = self.names.clone();
        // new() has given every extracted variable a slot.
        let slot_of = |name: &str| match names.get(name) {
            Some(Binding::Slot(slot)) => *slot,
            _ => usize::MAX,
        };
        let expected = Expected::compile(step, &names, slot_of)?;
        let index = self.first_step + self.steps.len();
        self.program.push(Op::Step(self.steps.len()));
        self.steps.push(CompiledStep {
            index,
            name: step.name.clone(),
            request,
            expected,
            follow_redirects: step.follow_redirects,
        });
        Ok(())
    }
}

/// Every text of a flow that may be a template.
fn templates(flow: &Flow) -> Vec<&str> {
    use crate::scenario::{Body, Check, TextTest};
    fn json<'a>(value: &'a serde_json::Value, out: &mut Vec<&'a str>) {
        match value {
            serde_json::Value::String(text) => out.push(text),
            serde_json::Value::Array(items) => items.iter().for_each(|item| json(item, out)),
            serde_json::Value::Object(fields) => fields.values().for_each(|item| json(item, out)),
            _ => {}
        }
    }
    fn pairs<'a>(pairs: &'a [(String, String)], out: &mut Vec<&'a str>) {
        out.extend(
            pairs
                .iter()
                .flat_map(|(name, value)| [name.as_str(), value.as_str()]),
        );
    }
    let mut out = Vec::new();
    pairs(&flow.headers, &mut out);
    for step in all_steps(&flow.journey) {
        out.push(&step.path);
        pairs(&step.query, &mut out);
        pairs(&step.headers, &mut out);
        match &step.body {
            Body::Text(text) => out.push(text),
            Body::Json(value) => json(value, &mut out),
            Body::Form(fields) => pairs(fields, &mut out),
            Body::None | Body::File(_) => {}
        }
        for check in &step.checks {
            match check {
                Check::Header { test, .. } | Check::Body(test) => match test {
                    TextTest::Equals(text) | TextTest::Contains(text) => out.push(text),
                    TextTest::Matches(_) => {}
                },
                Check::Json { value, .. } => json(value, &mut out),
                Check::Status(_) | Check::Size { .. } | Check::Time { .. } => {}
            }
        }
        out.extend(
            step.extract
                .iter()
                .filter_map(|extract| extract.default.as_deref()),
        );
    }
    out
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
