//! Journeys: steps with their checks and extractions, choices, pauses.

use std::collections::HashMap;

use super::scope::Scope;
use super::{Lower, duration, entries, one_or_more, parsed, text};
use crate::scenario::expression;
use crate::scenario::model::{
    Body, Branch, Check, Extract, ExtractFrom, Node as JourneyNode, Step, TextTest,
};
use crate::scenario::problem::{Problem, Span};
use crate::scenario::shape::METHODS;
use crate::scenario::template::Part;
use crate::scenario::tree::{Entry, Node};

/// What holds for all steps of a flow.
pub(super) struct FlowRules {
    /// The lean transport was asked for.
    lean: bool,
    /// Names of steps and the line of each.
    names: HashMap<String, usize>,
}

impl FlowRules {
    pub fn new(lean: bool) -> Self {
        Self {
            lean,
            names: HashMap::new(),
        }
    }
    pub fn has_steps(&self) -> bool {
        !self.names.is_empty()
    }
}

impl Lower<'_> {
    pub(super) fn journey(
        &mut self,
        nodes: &[Node],
        scope: &mut Scope,
        rules: &mut FlowRules,
    ) -> Option<Vec<JourneyNode>> {
        let lowered: Vec<_> = nodes
            .iter()
            .map(|node| match (node.get("think"), node.get("choose")) {
                (Some(think), _) => expression::think(think.text()?)
                    .ok()
                    .map(JourneyNode::Think),
                (None, Some(choose)) => self.choose(choose, scope, rules),
                (None, None) => self
                    .step(node, scope, rules)
                    .map(|step| JourneyNode::Step(Box::new(step))),
            })
            .collect();
        lowered.into_iter().collect()
    }

    fn choose(
        &mut self,
        node: &Node,
        scope: &mut Scope,
        rules: &mut FlowRules,
    ) -> Option<JourneyNode> {
        let mut scopes = Vec::new();
        let mut branches = Vec::new();
        for branch in node.list()? {
            let mut inner = scope.clone();
            let journey = branch.get("journey").and_then(Node::list);
            let journey = journey.and_then(|nodes| self.journey(nodes, &mut inner, rules));
            scopes.push(inner);
            let weight = parsed(branch, "weight");
            branches.push(journey.and_then(|journey| {
                Some(Branch {
                    weight: weight?,
                    journey,
                })
            }));
        }
        scope.join(scopes);
        let branches: Option<Vec<_>> = branches.into_iter().collect();
        branches.map(JourneyNode::Choose)
    }

    fn step(&mut self, node: &Node, scope: &mut Scope, rules: &mut FlowRules) -> Option<Step> {
        let request = node
            .map()?
            .iter()
            .find(|entry| METHODS.contains(&entry.key.as_str()));
        let method = request.map(|entry| entry.key.to_uppercase());
        let path = request.and_then(|entry| self.path(&entry.value, scope));
        let name = match (node.get("name"), &method, &path) {
            (Some(_), _, _) => text(node, "name").map(|name| name.trim().to_string()),
            (None, Some(method), Some(path)) => {
                let path = path.split('?').next().unwrap_or_default();
                Some(format!("{method} {path}"))
            }
            _ => None,
        };
        let at = node
            .get("name")
            .map(|n| n.at)
            .or(request.map(|entry| entry.value.at));
        if let (Some(name), Some(at)) = (&name, at) {
            self.unique(name, at, rules);
        }
        let query = self.pairs(node, "query", scope);
        let headers = self.headers(node, scope);
        let body = self.body(node, scope);
        let checks = node
            .get("check")
            .map_or(Some(Vec::new()), |check| self.checks(check, scope));
        let follow_redirects: Option<bool> = parsed(node, "follow-redirects");
        if let (Some(true), true, Some(entry)) =
            (follow_redirects, rules.lean, node.entry("follow-redirects"))
        {
            let problem =
                Problem::new(entry.key_at, "the lean transport does not follow redirects");
            self.report(problem.expected("`transport: auto` or `reqwest` in the flow"));
        }
        // Last: what a step extracts is known to the steps after it, not to itself.
        let extract = self.extractions(node, scope);
        Some(Step {
            name: name?,
            method: method?,
            path: path?,
            query: query?,
            headers: headers?,
            body: body?,
            timeout: duration(node, "timeout"),
            follow_redirects: follow_redirects?,
            checks: checks?,
            extract: extract?,
        })
    }

    fn unique(&mut self, name: &str, at: Span, rules: &mut FlowRules) {
        match rules.names.get(name) {
            Some(line) => {
                let problem = Problem::new(
                    at,
                    format!("a step of this flow is called `{name}` already, on line {line}"),
                );
                self.report(problem.expected("a name of its own for each step: `name: ...`"));
            }
            None => {
                rules.names.insert(name.to_string(), at.line);
            }
        }
    }

    fn path(&mut self, node: &Node, scope: &Scope) -> Option<String> {
        let text = node.text()?.to_string();
        let parts = self.parts(node, scope)?;
        const EXPECTED: &str =
            "a path that begins with `/`, with blanks and the like percent-encoded";
        let constant: String = parts
            .iter()
            .map(|part| {
                if let Part::Text(text) = part {
                    text.as_str()
                } else {
                    "x"
                }
            })
            .collect();
        // Only a variable may hold a path; a number or a UUID is none.
        let begins = constant.starts_with('/') || matches!(parts.first(), Some(Part::Variable(_)));
        let problem = if constant.contains("://") && !constant.starts_with('/') {
            Some(
                Problem::new(
                    node.at,
                    "a step has a path only; scheme and host are the target's",
                )
                .expected(EXPECTED),
            )
        } else if !begins {
            Some(
                Problem::new(node.at, "a path begins with `/`")
                    .expected(EXPECTED)
                    .help(format!("did you mean `/{text}`?")),
            )
        } else if constant.contains('#')
            || format!("/{constant}")
                .parse::<http::uri::PathAndQuery>()
                .is_err()
        {
            Some(
                Problem::new(
                    node.at,
                    "the path has characters that a request cannot have",
                )
                .expected(EXPECTED),
            )
        } else {
            None
        };
        if let Some(mut problem) = problem {
            if node.scalar().is_some_and(|s| s.substituted) {
                problem.help = None;
            }
            self.report(problem);
        }
        Some(text)
    }

    /// Pairs of a map whose values may be lists, templates checked.
    fn pairs(&mut self, node: &Node, key: &str, scope: &Scope) -> Option<Vec<(String, String)>> {
        let mut pairs = Vec::new();
        for entry in entries(node, key) {
            for value in one_or_more(&entry.value) {
                pairs.push(
                    self.template(value, scope)
                        .map(|text| (entry.key.clone(), text)),
                );
            }
        }
        pairs.into_iter().collect()
    }

    pub(super) fn headers(&mut self, node: &Node, scope: &Scope) -> Option<Vec<(String, String)>> {
        for entry in entries(node, "headers") {
            let computed = ["content-length", "transfer-encoding", "connection"];
            if computed
                .iter()
                .any(|name| entry.key.eq_ignore_ascii_case(name))
            {
                let problem = Problem::new(
                    entry.key_at,
                    format!("`{}` is set by the program itself", entry.key),
                );
                self.report(
                    problem.expected("no such header; connections are set under `connections`"),
                );
            }
            for value in one_or_more(&entry.value) {
                self.not_recorded(entry, value);
                let text = value.text().unwrap_or_default();
                if http::HeaderValue::from_bytes(text.as_bytes()).is_err() {
                    let problem = Problem::new(
                        value.at,
                        "a header's value has no line ends or control characters",
                    );
                    self.report(problem.expected("text on one line"));
                }
            }
        }
        self.pairs(node, "headers", scope)
    }

    /// The record has the scenario in it, and is shown around: a credential must be known for one.
    fn not_recorded(&mut self, header: &Entry, value: &Node) {
        const CREDENTIALS: [&str; 4] = [
            "authorization",
            "proxy-authorization",
            "cookie",
            "x-api-key",
        ];
        let credential = { CREDENTIALS.iter() }.any(|name| header.key.eq_ignore_ascii_case(name));
        if credential && value.scalar().is_some_and(|s| s.substituted) {
            let problem = Problem::new(
                value.at,
                format!("`{}` from the environment would be recorded", header.key),
            );
            let problem = problem.expected("the name of a secret, such as {{ token }}");
            self.report(problem.help("with `secrets: { token: \"${TOKEN}\" }` at the top of the file it is recorded as ***"));
        }
    }

    fn body(&mut self, node: &Node, scope: &Scope) -> Option<Body> {
        if let Some(json) = node.get("json") {
            self.json_templates(json, scope);
            return Some(Body::Json(json.to_json()));
        }
        if let Some(body) = node.get("body") {
            return self.template(body, scope).map(Body::Text);
        }
        if node.get("form").is_some() {
            return self.pairs(node, "form", scope).map(Body::Form);
        }
        match node.get("file") {
            Some(file) => self.file(file).map(Body::File),
            None => Some(Body::None),
        }
    }

    fn checks(&mut self, node: &Node, scope: &Scope) -> Option<Vec<Check>> {
        let mut checks = Vec::new();
        if let Some(status) = node.get("status") {
            let status = one_or_more(status)
                .iter()
                .map(|s| expression::status(s.text()?).ok());
            checks.push(status.collect::<Option<_>>().map(Check::Status));
        }
        for entry in entries(node, "header") {
            let test = match entry.value.text() {
                Some(_) => self.template(&entry.value, scope).map(TextTest::Equals),
                None => self.text_test(&entry.value, scope),
            };
            let name = entry.key.to_ascii_lowercase();
            checks.push(test.map(|test| Check::Header { name, test }));
        }
        for test in node.get("body").map(one_or_more).unwrap_or_default() {
            checks.push(self.text_test(test, scope).map(Check::Body));
        }
        for entry in entries(node, "json") {
            checks.push(self.json_check(entry, scope));
        }
        if let Some(size) = node.get("size") {
            let size = size
                .text()
                .and_then(|text| expression::size_check(text).ok());
            checks.push(size.map(|(op, value)| Check::Size { op, value }));
        }
        if let Some(time) = node.get("time") {
            let time = time
                .text()
                .and_then(|text| expression::time_check(text).ok());
            checks.push(time.map(|(op, value)| Check::Time { op, value }));
        }
        checks.into_iter().collect()
    }

    fn text_test(&mut self, node: &Node, scope: &Scope) -> Option<TextTest> {
        if let Some(text) = node.get("equals") {
            return self.template(text, scope).map(TextTest::Equals);
        }
        if let Some(text) = node.get("contains") {
            return self.template(text, scope).map(TextTest::Contains);
        }
        text(node, "matches").map(TextTest::Matches)
    }

    fn json_check(&mut self, entry: &Entry, scope: &Scope) -> Option<Check> {
        self.template(&entry.value, scope)?;
        match expression::json_check(entry.value.to_json()) {
            Ok((op, value)) => Some(Check::Json {
                path: entry.key.clone(),
                op,
                value,
            }),
            Err(wrong) => {
                let hidden = entry.value.scalar().is_some_and(|s| s.substituted);
                let message = if hidden {
                    "the value from the environment is no comparison".into()
                } else {
                    wrong.message
                };
                self.report(Problem::new(entry.value.at, message).expected(wrong.expected));
                None
            }
        }
    }

    fn extractions(&mut self, node: &Node, scope: &mut Scope) -> Option<Vec<Extract>> {
        let mut extract = Vec::new();
        for entry in entries(node, "extract") {
            self.check_variable_name(entry);
            if scope.secrets.contains(&entry.key) {
                let problem =
                    Problem::new(entry.key_at, format!("`{}` is a secret already", entry.key));
                self.report(problem.expected("another name"));
            }
            let from = self.extract_from(&entry.value);
            let default = text(&entry.value, "default");
            extract.push(from.map(|from| Extract {
                variable: entry.key.clone(),
                from,
                default,
            }));
        }
        for entry in entries(node, "extract") {
            scope.perhaps.remove(&entry.key);
            scope.variables.insert(entry.key.clone());
        }
        extract.into_iter().collect()
    }

    fn extract_from(&mut self, node: &Node) -> Option<ExtractFrom> {
        if let Some(path) = node.text() {
            return Some(ExtractFrom::Json(path.to_string()));
        }
        if let Some(path) = text(node, "json") {
            return Some(ExtractFrom::Json(path));
        }
        if let Some(header) = text(node, "header") {
            return Some(ExtractFrom::Header(header.to_ascii_lowercase()));
        }
        let pattern = text(node, "regex")?;
        let groups = regex::Regex::new(&pattern).ok()?.captures_len() - 1;
        let group = match node.get("group") {
            Some(_) => parsed(node, "group")?,
            None => groups.min(1),
        };
        if group > groups {
            let at = node.get("group").map(|n| n.at).unwrap_or(node.at);
            let problem = Problem::new(at, format!("the expression has no group {group}"));
            self.report(problem.expected(format!("a group from 0 (all of the match) to {groups}")));
        }
        Some(ExtractFrom::Regex { pattern, group })
    }
}
