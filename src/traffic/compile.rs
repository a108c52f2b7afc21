//! Compiles a flow: names become slots, nodes become a flat program, steps become prepared requests.

use std::collections::BTreeSet;
use std::path::Path;

use super::TrafficError;
use super::check::Expected;
use super::feeder::FeederPlan;
use super::journey::{CompiledStep, Op, all_steps};
use super::origin::Origin;
use super::request::RequestTemplate;
use super::text::{Binding, Names, Value};
use crate::scenario::template::Template;
use crate::scenario::{
    Body, Check, ConnectionMode, Flow, Node, Protocol, Scenario, Step, TextTest,
};

/// A flow on its way to being compiled.
pub struct Compiler<'a> {
    spec: &'a Flow,
    base_dir: &'a Path,
    origin: &'a Origin,
    first_step: usize,
    names: Names,
    /// As in [`CompiledFlow`](super::journey::CompiledFlow).
    pub initial: Vec<Value>,
    /// As in [`CompiledFlow`](super::journey::CompiledFlow).
    pub steps: Vec<CompiledStep>,
    /// As in [`CompiledFlow`](super::journey::CompiledFlow).
    pub program: Vec<Op>,
}

impl<'a> Compiler<'a> {
    /// Gives every extracted variable of the flow a slot.
    pub fn new(
        scenario: &'a Scenario,
        spec: &'a Flow,
        first_step: usize,
        origin: &'a Origin,
    ) -> Self {
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
    pub fn bind_feeders(&mut self) -> Result<Vec<FeederPlan>, TrafficError> {
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

    /// Appends the program of these nodes.
    pub fn nodes(&mut self, nodes: &[Node]) -> Result<(), TrafficError> {
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
