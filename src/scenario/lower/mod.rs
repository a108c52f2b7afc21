//! From the tree to the model, with the checks that need more than one place of the file.
//!
//! Runs on invalid trees too, so that everything wrong is told at once: what has the wrong shape has been reported
//! already and is read as absent here, without another word.

mod alert;
mod autoscale;
mod balance;
mod capacity;
mod deploy;
mod expect;
mod fault_kind;
mod faults;
mod journey;
mod scope;
mod target;
mod traffic;
mod usage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::model::{RunOptions, Scenario, Secret};
use super::problem::Problem;
use super::tree::{Entry, Node};
use super::units::parse_duration;

/// What all parts of the lowering share.
struct Lower<'a> {
    problems: &'a mut Vec<Problem>,
    base_dir: &'a Path,
    /// Whether this is a pod, whose own account reaches its cluster: a kubeconfig of elsewhere need not be here.
    in_pod: bool,
}

pub use capacity::at_least;

/// Makes a scenario of a tree whose defaults are filled in. `None` only where there are problems.
pub fn scenario(
    root: &Node,
    base_dir: &Path,
    in_pod: bool,
    problems: &mut Vec<Problem>,
) -> Option<Scenario> {
    let mut lower = Lower {
        problems,
        base_dir,
        in_pod,
    };
    let secrets = lower.secrets(root);
    let target = root.get("target").and_then(|node| lower.target(node));
    let traffic = lower.traffic(root, &secrets);
    let faults = lower.faults(root, target.as_ref(), traffic.as_deref());
    let guard = lower.guard(root, target.as_ref(), faults.as_deref());
    let observe = lower.observe(root);
    let expect = lower.expect(root, target.as_ref(), traffic.as_deref(), faults.as_deref());
    let capacity = lower.capacity(
        root,
        traffic.as_deref(),
        faults.as_deref(),
        expect.as_deref(),
    );
    let run = lower.run(root, traffic.as_deref());
    Some(Scenario {
        name: root.get("name").and_then(Node::text)?.trim().to_string(),
        description: text(root, "description"),
        seed: parsed(root, "seed"),
        target: target?,
        traffic: traffic?,
        faults: faults?,
        guard: guard?,
        observe: observe?,
        expect: expect?,
        capacity: capacity?,
        run: run?,
        secrets,
        base_dir: base_dir.to_path_buf(),
    })
}

impl Lower<'_> {
    fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    fn secrets(&mut self, root: &Node) -> BTreeMap<String, Secret> {
        let mut secrets = BTreeMap::new();
        for entry in entries(root, "secrets") {
            self.check_variable_name(entry);
            let Some(value) = entry.value.text() else {
                continue;
            };
            if value.is_empty() && entry.value.scalar().is_some_and(|s| s.substituted) {
                let problem =
                    Problem::new(entry.value.at, format!("secret `{}` is empty", entry.key));
                self.report(problem.expected("a value in the environment"));
            }
            secrets.insert(entry.key.clone(), Secret::new(value));
        }
        secrets
    }

    fn run(&mut self, root: &Node, traffic: Option<&[super::Flow]>) -> Option<RunOptions> {
        let node = root.get("run")?;
        let warm_up = duration(node, "warm-up")?;
        let lasts = traffic.map(traffic_end).unwrap_or(Duration::MAX);
        if warm_up >= lasts && !lasts.is_zero() && !warm_up.is_zero() {
            let at = node.get("warm-up").map(|n| n.at).unwrap_or(node.at);
            let problem = Problem::new(
                at,
                "the warm-up is as long as all traffic: nothing would be judged",
            );
            self.report(problem.expected(format!("less than {}", show(lasts))));
        }
        Some(RunOptions {
            threads: parsed(node, "threads"),
            warm_up,
            graceful_stop: duration(node, "graceful-stop"),
        })
    }

    /// A file that must be there; the path stays as it is written.
    fn file(&mut self, node: &Node) -> Option<PathBuf> {
        let written = node.text().filter(|text| !text.trim().is_empty())?;
        let path = self.base_dir.join(written);
        if !path.is_file() {
            // A path from the environment is not shown, as nothing from there is.
            let from_environment = node.scalar().is_some_and(|s| s.substituted);
            let message = match from_environment {
                true => "there is no such file".to_string(),
                false => format!("there is no file `{}`", path.display()),
            };
            let problem = Problem::new(node.at, message);
            self.report(
                problem.expected("a file that can be read, relative to the scenario's folder"),
            );
        }
        Some(PathBuf::from(written))
    }
}

/// When the last flow ends.
fn traffic_end(flows: &[super::Flow]) -> Duration {
    let ends = flows
        .iter()
        .map(|f| f.start.saturating_add(f.load.duration()));
    ends.max().unwrap_or_default()
}

fn show(duration: Duration) -> String {
    super::units::format_duration(duration)
}

/// The entries of the map under a key; none where it is no map.
fn entries<'n>(node: &'n Node, key: &str) -> &'n [Entry] {
    node.get(key).and_then(Node::map).unwrap_or_default()
}

/// A single node or the nodes of a list: both are ways to write one or several.
fn one_or_more(node: &Node) -> &[Node] {
    match node.list() {
        Some(items) => items,
        None => std::slice::from_ref(node),
    }
}

fn text(node: &Node, key: &str) -> Option<String> {
    let value = node.get(key).filter(|value| !value.is_null())?;
    value.text().map(str::to_string)
}

fn parsed<T: FromStr>(node: &Node, key: &str) -> Option<T> {
    node.get(key)?.text()?.trim().parse().ok()
}

fn duration(node: &Node, key: &str) -> Option<Duration> {
    parse_duration(node.get(key)?.text()?).ok()
}

/// A time that is zero when it is not given, and nothing when it is given wrongly.
fn duration_or_zero(node: &Node, key: &str) -> Option<Duration> {
    match node.get(key) {
        None => Some(Duration::ZERO),
        Some(_) => duration(node, key),
    }
}

/// A word of the file as a variant of the model, which uses the same words.
fn word<T: serde::de::DeserializeOwned>(node: &Node, key: &str) -> Option<T> {
    serde_json::from_value(node.get(key)?.text()?.into()).ok()
}
