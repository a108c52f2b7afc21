//! From YAML events to the tree, within bounds.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::{Entry, Node, Value};
use crate::scenario::problem::{Problem, Span};

/// Deeper than any honest scenario.
const MAX_DEPTH: usize = 48;
/// More than any honest scenario has, aliases resolved.
const MAX_NODES: usize = 100_000;
/// A file larger than this is not a scenario.
const MAX_BYTES: usize = 4 << 20;

/// Parses a file into its tree. What can be told without one (duplicate keys) goes to `problems`; `None` means
/// that there is no tree at all.
pub fn parse(text: &str, problems: &mut Vec<Problem>) -> Option<Node> {
    if text.len() > MAX_BYTES {
        let message = format!("the file has {} bytes, which no scenario needs", text.len());
        problems.push(Problem::new(Span::default(), message).expected("at most 4MiB"));
        return None;
    }
    let mut builder = Builder::new(problems);
    for event in Parser::new_from_str(text) {
        let result = match event {
            Ok((event, span)) => builder.event(event, place(span.start, Some(span.end))),
            Err(error) => Err(syntax(*error.marker(), error.info(), text)),
        };
        if let Err(problem) = result {
            builder.problems.push(problem);
            return None;
        }
    }
    let root = builder.root.take();
    if root.as_ref().is_none_or(Node::is_null) {
        let problem = Problem::new(Span::default(), "the file is empty");
        problems.push(problem.expected("a scenario; `squall init` writes one to begin with"));
        return None;
    }
    root
}

/// A syntax error, with what most often causes it.
fn syntax(marker: Marker, info: &str, text: &str) -> Problem {
    let mut at = place(marker, None);
    let help = if info.contains("tab") {
        // The scanner stops before the blanks; the tab is what is to be seen.
        let lines = text.lines().enumerate().skip(at.line - 1).take(2);
        let mut tabs = lines.filter_map(|(n, line)| Some((n + 1, line.find('\t')?, line)));
        if let Some((line, byte, source)) = tabs.next() {
            at.line = line;
            at.column = source[..byte].chars().count() + 1;
        }
        Some("YAML is indented with blanks, never with tabs")
    } else if info.contains("flow") {
        Some(
            "within { } and [ ], a value that has one of { } [ ] , in it must be in quotes: \"$.items[0].id\"",
        )
    } else {
        None
    };
    let problem = Problem::new(at, format!("this is not valid YAML: {info}"));
    match help {
        Some(help) => problem.help(help),
        None => problem,
    }
}

fn place(start: Marker, end: Option<Marker>) -> Span {
    let width = match end {
        Some(end) if end.line() == start.line() => end.col().saturating_sub(start.col()),
        // Over several lines: up to the end of the first.
        Some(_) => usize::MAX,
        None => 1,
    };
    Span {
        line: start.line().max(1),
        column: start.col() + 1,
        width,
    }
}

/// A list or map that is not complete yet.
struct Open {
    node: Node,
    anchor: usize,
    /// The key that waits for its value.
    key: Option<(String, Span)>,
    /// The keys it has, and the line of each.
    keys: HashMap<String, usize>,
    /// How many nodes were there before it.
    before: usize,
}

/// Builds the tree without recursion: nesting is the file's to choose.
struct Builder<'p> {
    problems: &'p mut Vec<Problem>,
    stack: Vec<Open>,
    /// Complete anchored nodes and how many nodes and levels each has.
    anchors: HashMap<usize, (Node, usize, usize)>,
    nodes: usize,
    documents: usize,
    root: Option<Node>,
}

impl<'p> Builder<'p> {
    fn new(problems: &'p mut Vec<Problem>) -> Self {
        Self {
            problems,
            stack: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            documents: 0,
            root: None,
        }
    }

    /// Takes one event; an error ends the parsing.
    fn event(&mut self, event: Event<'_>, at: Span) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let problem = Problem::new(at, "a second YAML document begins here");
                    return Err(problem.expected("one scenario in one file"));
                }
            }
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let mut node = Node::plain(&text, at);
                if let Value::Scalar(scalar) = &mut node.value {
                    scalar.plain = plain;
                }
                // A long text counts for its length, or aliases of it would be a bomb.
                let weight = 1 + text.len() / 256;
                self.grow(weight, at)?;
                self.keep(anchor, &node, weight);
                self.add(node)?;
            }
            Event::SequenceStart(anchor, _) => self.open(Value::List(Vec::new()), anchor, at)?,
            Event::MappingStart(anchor, _) => self.open(Value::Map(Vec::new()), anchor, at)?,
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(mut open) = self.stack.pop() {
                    if let Value::Map(entries) = &mut open.node.value {
                        merge(entries, self.problems);
                    }
                    let nodes = self.nodes - open.before;
                    self.keep(open.anchor, &open.node, nodes);
                    self.add(open.node)?;
                }
            }
            Event::Alias(anchor) => {
                let Some((node, nodes, levels)) = self.anchors.get(&anchor).cloned() else {
                    return Err(Problem::new(at, "an alias stands inside of its own anchor"));
                };
                if self.stack.len() + levels > MAX_DEPTH {
                    return Err(too_deep(at));
                }
                self.grow(nodes, at)?;
                self.add(node)?;
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn open(&mut self, value: Value, anchor: usize, at: Span) -> Result<(), Problem> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(too_deep(at));
        }
        let before = self.nodes;
        self.grow(1, at)?;
        self.stack.push(Open {
            node: Node { value, at },
            anchor,
            key: None,
            keys: HashMap::new(),
            before,
        });
        Ok(())
    }

    fn grow(&mut self, nodes: usize, at: Span) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            let message = "the file has too many values once its aliases are resolved";
            return Err(Problem::new(at, message).expected(format!("at most {MAX_NODES}")));
        }
        Ok(())
    }

    fn keep(&mut self, anchor: usize, node: &Node, nodes: usize) {
        if anchor > 0 {
            let kept = (node.clone(), nodes, levels(node));
            self.anchors.insert(anchor, kept);
        }
    }

    /// Puts a complete node where it belongs.
    fn add(&mut self, mut node: Node) -> Result<(), Problem> {
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.node.value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => match open.key.take() {
                None => match &node.value {
                    Value::Scalar(scalar) => open.key = Some((scalar.text.clone(), node.at)),
                    _ => {
                        let problem = Problem::new(node.at, "a key must be a single word");
                        let problem = problem.expected("KEY: VALUE");
                        return Err(problem.help("a value with {{ }} in it must be in quotes"));
                    }
                },
                Some((key, key_at)) => {
                    if node.is_null() {
                        // Nothing stands there to point at.
                        node.at = key_at;
                    }
                    if let Some(line) = open.keys.get(&key) {
                        let problem = Problem::new(key_at, format!("duplicate key `{key}`"));
                        let help = format!("it is first given on line {line}");
                        self.problems.push(problem.help(help));
                        return Ok(());
                    }
                    open.keys.insert(key.clone(), key_at.line);
                    entries.push(Entry {
                        key,
                        key_at,
                        value: node,
                    });
                }
            },
            // Only lists and maps are opened.
            Value::Scalar(_) => {}
        }
        Ok(())
    }
}

fn too_deep(at: Span) -> Problem {
    Problem::new(at, "lists and maps are nested too deeply here")
        .expected(format!("at most {MAX_DEPTH} levels"))
}

/// How many levels of lists and maps a node has. The recursion is bounded by `MAX_DEPTH`.
fn levels(node: &Node) -> usize {
    match &node.value {
        Value::Scalar(_) => 0,
        Value::List(items) => 1 + items.iter().map(levels).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|e| levels(&e.value)).max().unwrap_or(0),
    }
}

/// Puts in what `<<` names: a map or a list of maps. What is written out wins, then the first map that has the key.
fn merge(entries: &mut Vec<Entry>, problems: &mut Vec<Problem>) {
    let Some(index) = entries.iter().position(|entry| entry.key == "<<") else {
        return;
    };
    let Entry { key_at, value, .. } = entries.remove(index);
    let sources = match value.value {
        Value::List(items) => items,
        _ => vec![value],
    };
    let mut known: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    for source in sources {
        let Value::Map(merged) = source.value else {
            let problem = Problem::new(key_at, "`<<` merges maps, and this is none");
            problems.push(problem.expected("<<: *ANCHOR, where the anchor is a map"));
            return;
        };
        entries.extend(merged.into_iter().filter(|e| known.insert(e.key.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Node>, Vec<Problem>) {
        let mut problems = Vec::new();
        let node = parse(text, &mut problems);
        (node, problems)
    }

    #[test]
    fn every_key_and_value_knows_its_place() {
        let (node, problems) = read("a: 1\nb:\n  - x\n  - { c: 'd e' }\n");
        assert_eq!(problems, []);
        let node = node.unwrap();
        let b = node.entry("b").unwrap();
        assert_eq!((b.key_at.line, b.key_at.column, b.key_at.width), (2, 1, 1));
        let c = b.value.list().unwrap()[1].get("c").unwrap();
        assert_eq!((c.at.line, c.at.column), (4, 10));
        assert!(!c.scalar().unwrap().plain);
    }

    #[test]
    fn aliases_and_merges_are_resolved() {
        let (node, problems) = read("a: &x { k: 1, l: 2 }\nb: *x\nc: { <<: *x, l: 3 }\n");
        assert_eq!(problems, []);
        let json = node.unwrap().to_json();
        assert_eq!(json["b"], serde_json::json!({"k": 1, "l": 2}));
        assert_eq!(json["c"], serde_json::json!({"k": 1, "l": 3}));
    }

    #[test]
    fn an_alias_bomb_is_refused_quickly() {
        let mut text = String::from("a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n");
        for i in 1..12 {
            let aliases = vec![format!("*a{}", i - 1); 10].join(",");
            text += &format!("a{i}: &a{i} [{aliases}]\n");
        }
        let (node, problems) = read(&text);
        assert!(node.is_none());
        assert!(
            problems[0].message.contains("too many values"),
            "{problems:?}"
        );
        // Few nodes, but each of them large.
        let aliases = vec!["*big"; 50_000].join(",");
        let text = format!("big: &big {}\nlist: [{aliases}]", "x".repeat(100_000));
        assert!(read(&text).1[0].message.contains("too many values"));
    }

    #[test]
    fn deep_nesting_is_refused() {
        for text in ["[".repeat(5000), "- ".repeat(5000), "a: {".repeat(60)] {
            assert!(read(&text).0.is_none());
        }
    }

    #[test]
    fn scalars_are_typed_as_yaml_types_them() {
        let text = "[1, -2.5, true, ~, '1', 1.0.0, .5, 1e3, inf, 18446744073709551615, +7]";
        assert_eq!(
            read(text).0.unwrap().to_json(),
            serde_json::json!([
                1,
                -2.5,
                true,
                null,
                "1",
                "1.0.0",
                0.5,
                1000.0,
                "inf",
                u64::MAX,
                7
            ])
        );
    }
}
