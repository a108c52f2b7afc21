//! Flows: load, connections, data.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::journey::FlowRules;
use super::scope::Scope;
use super::{Lower, duration, duration_or_zero, entries, parsed, word};
use crate::scenario::expression;
use crate::scenario::model::{
    ClosedLoad, ConnectionMode, Connections, Feeder, FeederFormat, Flow, Load, OpenLoad, Protocol,
    RateStage, Secret, Think, TransportChoice, UserStage,
};
use crate::scenario::problem::{Problem, Span};
use crate::scenario::tree::{Entry, Node};

impl Lower<'_> {
    pub(super) fn traffic(
        &mut self,
        root: &Node,
        secrets: &BTreeMap<String, Secret>,
    ) -> Option<Vec<Flow>> {
        let flows = root.get("traffic")?.map()?;
        // All of them first: each has its problems to tell.
        let lowered: Vec<_> = flows
            .iter()
            .map(|entry| self.flow(entry, secrets))
            .collect();
        lowered.into_iter().collect()
    }

    fn flow(&mut self, entry: &Entry, secrets: &BTreeMap<String, Secret>) -> Option<Flow> {
        let node = &entry.value;
        let mut scope = Scope::new(secrets);
        let variables = self.variables(node, &mut scope);
        let data = self.data(node, &mut scope);
        let load = self.load(node);
        let protocol = word(node, "protocol");
        let transport = word(node, "transport");
        let connections = self.connections(node, protocol);
        let lean = transport == Some(TransportChoice::Lean);
        if lean && protocol == Some(Protocol::Http2) {
            let at = node.get("transport").map(|n| n.at).unwrap_or(entry.key_at);
            let problem = Problem::new(at, "the lean transport speaks HTTP/1.1 only");
            self.report(problem.expected("`transport: auto` or `reqwest` for `protocol: http2`"));
        }
        let headers = self.headers(node, &scope);
        let journey = node.get("journey").and_then(Node::list);
        let mut rules = FlowRules::new(lean);
        let journey = journey.and_then(|nodes| self.journey(nodes, &mut scope, &mut rules));
        if journey.is_some() && !rules.has_steps() {
            let problem = Problem::new(
                entry.key_at,
                format!("the journey of `{}` makes no request", entry.key),
            );
            self.report(problem.expected("at least one step such as `- get: /`"));
        }
        Some(Flow {
            name: entry.key.clone(),
            start: duration(node, "start")?,
            load: load?,
            connections: connections?,
            protocol: protocol?,
            transport: transport?,
            headers: headers?,
            timeout: duration(node, "timeout")?,
            variables,
            data: data?,
            journey: journey?,
        })
    }

    fn variables(&mut self, node: &Node, scope: &mut Scope) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::new();
        for entry in entries(node, "variables") {
            self.check_variable_name(entry);
            if scope.secrets.contains(&entry.key) {
                let problem =
                    Problem::new(entry.key_at, format!("`{}` is a secret already", entry.key));
                self.report(problem.expected("another name"));
            }
            let Some(value) = entry.value.text() else {
                continue;
            };
            if value.contains("{{") && !entry.value.scalar().is_some_and(|s| s.substituted) {
                let problem = Problem::new(
                    entry.value.at,
                    "a variable is constant: nothing is put into its value",
                );
                self.report(
                    problem
                        .expected("a text without {{ }}; templates go where the variable is used"),
                );
            }
            scope.variables.insert(entry.key.clone());
            variables.insert(entry.key.clone(), value.to_string());
        }
        variables
    }

    fn data(&mut self, node: &Node, scope: &mut Scope) -> Option<Vec<Feeder>> {
        let feeders = entries(node, "data");
        let mut all = Vec::with_capacity(feeders.len());
        for entry in feeders {
            self.check_variable_name(entry);
            let format = match entry.value.get("csv") {
                Some(_) => FeederFormat::Csv,
                None => FeederFormat::JsonLines,
            };
            let file = entry.value.get("csv").or(entry.value.get("jsonl"));
            let path = file.and_then(|file| self.file(file));
            let fields = match (&path, file) {
                (Some(path), Some(file)) => self.fields(path, format, file.at),
                _ => None,
            };
            scope.feeders.insert(entry.key.clone(), fields);
            all.push(path.and_then(|file| {
                let order = word(&entry.value, "order")?;
                Some(Feeder {
                    name: entry.key.clone(),
                    file,
                    format,
                    order,
                })
            }));
        }
        all.into_iter().collect()
    }

    /// The fields of a data file, as far as its head tells them; says what is wrong with the head.
    fn fields(&mut self, path: &Path, format: FeederFormat, at: Span) -> Option<Vec<String>> {
        let path = self.base_dir.join(path);
        if !path.is_file() {
            return None;
        }
        match read_head(&path, format) {
            Ok(fields) => fields,
            Err(message) => {
                let expected = match format {
                    FeederFormat::Csv => "a line of field names and at least one row",
                    FeederFormat::JsonLines => "one JSON object a line",
                };
                let message = format!("`{}` {message}", path.display());
                self.report(Problem::new(at, message).expected(expected));
                None
            }
        }
    }

    fn load(&mut self, flow: &Node) -> Option<Load> {
        if let Some(entry) = flow.entry("arrivals") {
            let node = &entry.value;
            let stages = stages(node, |stage| {
                Some(RateStage {
                    rate: parsed(stage, "rate")?,
                    ramp: duration_or_zero(stage, "ramp")?,
                    hold: duration_or_zero(stage, "hold")?,
                })
            })?;
            let silent = stages.iter().all(|stage| stage.rate.get() <= 0.0);
            let load = Load::Open(OpenLoad {
                process: word(node, "process")?,
                stages,
                max_in_flight: parsed(node, "max-in-flight")?,
            });
            self.check_load(&load, silent, entry);
            return Some(load);
        }
        let entry = flow.entry("users")?;
        let node = &entry.value;
        let stages = stages(node, |stage| {
            Some(UserStage {
                users: parsed(stage, "users").or_else(|| parsed(stage, "count"))?,
                ramp: duration_or_zero(stage, "ramp")?,
                hold: duration_or_zero(stage, "hold")?,
            })
        })?;
        let silent = stages.iter().all(|stage| stage.users == 0);
        let think = match node.get("think") {
            Some(think) => expression::think(think.text()?).ok()?,
            None => Think::None,
        };
        let load = Load::Closed(ClosedLoad { stages, think });
        self.check_load(&load, silent, entry);
        Some(load)
    }

    fn check_load(&mut self, load: &Load, silent: bool, entry: &Entry) {
        if load.duration().is_zero() {
            let problem = Problem::new(
                entry.key_at,
                format!("`{}` lasts no time at all", entry.key),
            );
            self.report(problem.expected("`ramp`, `hold` or both above 0s"));
        } else if silent {
            let problem = Problem::new(
                entry.key_at,
                format!("`{}` never sends anything", entry.key),
            );
            self.report(problem.expected("at least one stage above zero"));
        }
    }

    fn connections(&mut self, flow: &Node, protocol: Option<Protocol>) -> Option<Connections> {
        let node = flow.get("connections")?;
        if node.text().is_some() {
            return Some(Connections {
                mode: word(flow, "connections")?,
                ..Connections::default()
            });
        }
        let streams = node.entry("streams");
        if let (Some(entry), Some(Protocol::Http1)) = (streams, protocol) {
            let problem = Problem::new(entry.key_at, "only HTTP/2 has streams");
            self.report(problem.expected("`protocol: http2` in the flow, or no `streams`"));
        }
        let mode = match (node.get("pooled"), node.get("mode")) {
            (Some(_), _) => ConnectionMode::Pooled(parsed(node, "pooled")?),
            (None, Some(_)) => word(node, "mode")?,
            (None, None) => ConnectionMode::PerUser,
        };
        if let (ConnectionMode::PerRequest, Some(entry)) = (mode, node.entry("max-age")) {
            let problem =
                Problem::new(entry.key_at, "a connection for one request never grows old");
            self.report(problem.expected("`max-age` with per-user or pooled connections"));
        }
        let source = node.get("source").and_then(Node::list).unwrap_or_default();
        Some(Connections {
            mode,
            max_age: duration(node, "max-age"),
            streams: parsed(node, "streams"),
            source: source
                .iter()
                .filter_map(|ip| ip.text()?.parse().ok())
                .collect(),
        })
    }
}

/// The stages of a load; one without `stages` is a single stage itself.
fn stages<T>(load: &Node, read: impl Fn(&Node) -> Option<T>) -> Option<Vec<T>> {
    match load.get("stages") {
        Some(list) => list.list()?.iter().map(read).collect(),
        None => read(load).map(|stage| vec![stage]),
    }
}

/// Reads the head of a data file: the fields where the format fixes them. The error ends a sentence that begins
/// with the file's name.
fn read_head(path: &Path, format: FeederFormat) -> Result<Option<Vec<String>>, String> {
    match format {
        FeederFormat::Csv => {
            let unreadable = |error: csv::Error| format!("cannot be read: {error}");
            let mut reader = csv::Reader::from_path(path).map_err(unreadable)?;
            let headers = reader.headers().map_err(unreadable)?.clone();
            let mut row = csv::StringRecord::new();
            if !reader.read_record(&mut row).map_err(unreadable)? {
                return Err("has no rows".into());
            }
            Ok(Some(headers.iter().map(|h| h.trim().to_string()).collect()))
        }
        FeederFormat::JsonLines => {
            let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
            let file = std::fs::File::open(path).map_err(unreadable)?;
            for line in BufReader::new(file).lines() {
                let line = line.map_err(unreadable)?;
                if line.trim().is_empty() {
                    continue;
                }
                let row = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&line);
                // Rows may differ, so the first does not tell which fields there are.
                return row
                    .map(|_| None)
                    .map_err(|_| "does not begin with a JSON object".into());
            }
            Err("has no rows".into())
        }
    }
}
