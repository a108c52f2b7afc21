//! Holds a tree against its shape: says everything that is wrong, and puts in the defaults.

use super::{Field, Keys, Object, Rule, Shape};
use crate::scenario::problem::{Problem, Span, nearest};
use crate::scenario::template;
use crate::scenario::tree::{Entry, Node, Value};

/// Says what is wrong with a node. `at` is where a missing thing is reported: at the key that should hold it.
pub fn check(shape: &Shape, node: &Node, at: Span, problems: &mut Vec<Problem>) {
    if node.scalar().is_some_and(|scalar| scalar.broken) {
        return;
    }
    match (shape, &node.value) {
        (Shape::Any, _) => {}
        (Shape::Scalar(kind), Value::Scalar(scalar)) => {
            let null_fits = matches!(kind, super::Scalar::Value | super::Scalar::Empty);
            if node.is_null() {
                if !null_fits {
                    problems.push(wrong_kind(shape, node));
                }
            } else if let Err(wrong) = kind.check(scalar) {
                let message = if scalar.substituted {
                    "the value from the environment is not what is expected here".into()
                } else {
                    wrong.message
                };
                let mut problem = Problem::new(node.at, message).expected(wrong.expected);
                problem.help = wrong.help.filter(|_| !scalar.substituted);
                problems.push(problem);
            }
        }
        (Shape::Object(object), Value::Map(entries)) => {
            check_object(object, entries, at, problems);
        }
        (Shape::Tagged(_), Value::Map(entries)) => {
            if let Some(object) = shape.object(node) {
                check_object(object, entries, at, problems);
            }
        }
        (Shape::List(item, min), Value::List(items)) => {
            if items.len() < *min {
                problems.push(Problem::new(at, "the list is empty").expected(shape.expected()));
            }
            for node in items {
                check(item, node, node.at, problems);
            }
        }
        (Shape::Map { keys, value, min }, Value::Map(entries)) => {
            if entries.len() < *min {
                problems.push(Problem::new(at, "the map is empty").expected(shape.expected()));
            }
            for entry in entries {
                keys.check(entry, problems);
                check(value, &entry.value, entry.key_at, problems);
            }
        }
        (Shape::Kinds { .. }, _) => match shape.alternative(node) {
            Some(alternative) => check(&alternative, node, at, problems),
            None => problems.push(wrong_kind(shape, node)),
        },
        _ => problems.push(wrong_kind(shape, node)),
    }
}

fn wrong_kind(shape: &Shape, node: &Node) -> Problem {
    let expected = shape.expected();
    let what = expected.split([',', ':']).next().unwrap_or_default();
    Problem::new(
        node.at,
        format!("expected {what}, found {}", node.describe()),
    )
    .expected(expected)
}

fn check_object(object: &'static Object, entries: &[Entry], at: Span, problems: &mut Vec<Problem>) {
    for entry in entries {
        if let Some(field) = object.field(&entry.key) {
            check(&field.shape, &entry.value, entry.key_at, problems);
        }
    }
    let has = |name: &str| entries.iter().any(|entry| entry.key == name);
    for field in object.fields.iter().filter(|f| f.required && !has(f.name)) {
        let message = format!("missing key `{}` in `{}`", field.name, object.name);
        let example = match field.example.or(field.default) {
            Some(example) => example.to_string(),
            None => field.shape.expected(),
        };
        problems.push(Problem::new(at, message).expected(format!("{}: {example}", field.name)));
    }
    for rule in object.rules {
        check_rule(rule, object, entries, at, problems);
    }
}

/// Reports unknown keys. One that is a known key misspelt becomes that key, so that what stands under it is looked
/// into as well, and is not reported as missing.
pub fn respell(shape: &Shape, node: &mut Node, problems: &mut Vec<Problem>) {
    if let Some(alternative) = shape.alternative(node) {
        return respell(&alternative, node, problems);
    }
    let object = shape.object(node);
    match (shape, &mut node.value) {
        (Shape::List(item, _), Value::List(items)) => {
            items
                .iter_mut()
                .for_each(|node| respell(item, node, problems));
        }
        (Shape::Map { value, .. }, Value::Map(entries)) => {
            let values = entries.iter_mut().map(|entry| &mut entry.value);
            values.for_each(|node| respell(value, node, problems));
        }
        (_, Value::Map(entries)) => {
            let Some(object) = object else { return };
            let mut known: Vec<_> = entries
                .iter()
                .filter_map(|e| object.field(&e.key))
                .collect();
            for entry in entries {
                let own = object.extensible && entry.key.starts_with("x-");
                if object.field(&entry.key).is_none() && !own {
                    let (problem, meant) = unknown_key(object, entry);
                    problems.push(problem);
                    let free = meant.filter(|f| known.iter().all(|k| k.name != f.name));
                    if let Some(field) = free {
                        known.push(field);
                        entry.key = field.name.to_string();
                    }
                }
                if let Some(field) = object.field(&entry.key) {
                    respell(&field.shape, &mut entry.value, problems);
                }
            }
        }
        _ => {}
    }
}

/// What to say to an unknown key, and the field that was probably meant.
fn unknown_key(object: &Object, entry: &Entry) -> (Problem, Option<&'static Field>) {
    let names = || object.fields.iter().map(|field| field.name);
    let expected = match object.fields.len() {
        1 => names().collect(),
        _ => format!("one of {}", names().collect::<Vec<_>>().join(", ")),
    };
    let message = format!("unknown key `{}`", entry.key);
    let problem = Problem::new(entry.key_at, message).expected(expected);
    if let Some((_, hint)) = object.hints.iter().find(|(key, _)| *key == entry.key) {
        return (problem.help(*hint), None);
    }
    let meant = nearest(&entry.key, names()).and_then(|name| object.field(name));
    (problem.nearest(&entry.key, names()), meant)
}

fn check_rule(
    rule: &Rule,
    object: &Object,
    entries: &[Entry],
    at: Span,
    problems: &mut Vec<Problem>,
) {
    let find = |name: &str| entries.iter().find(|entry| entry.key == name);
    let one_of = |names: &[&str]| format!("exactly one of {}", names.join(", "));
    match rule {
        Rule::One(names) | Rule::AtMostOne(names) => {
            let given: Vec<_> = entries
                .iter()
                .filter(|e| names.contains(&e.key.as_str()))
                .collect();
            if let [first, second, ..] = given[..] {
                let message = format!(
                    "`{}` cannot stand together with `{}`",
                    second.key, first.key
                );
                problems.push(Problem::new(second.key_at, message).expected(one_of(names)));
            }
            let required = matches!(rule, Rule::One(_));
            // What the user put in its place has been reported: the first key tells what a map is for.
            let replaced = entries.iter().enumerate().any(|(index, entry)| {
                let hinted = object.hints.iter().any(|(key, _)| *key == entry.key);
                object.field(&entry.key).is_none() && (index == 0 || hinted)
            });
            if required && given.is_empty() && !replaced {
                let message = format!("{} names none of {}", object.doc_start(), names.join(", "));
                problems.push(Problem::new(at, message).expected(one_of(names)));
            }
        }
        Rule::Not(one, other) => {
            if let (Some(entry), Some(_)) = (find(one), find(other)) {
                let message = format!("`{one}` makes no sense together with `{other}`");
                problems.push(
                    Problem::new(entry.key_at, message).expected(format!("`{one}` or `{other}`")),
                );
            }
        }
        Rule::Needs(one, other) => {
            if let (Some(entry), None) = (find(one), find(other)) {
                let message = format!("`{one}` makes no sense without `{other}`");
                problems.push(
                    Problem::new(entry.key_at, message).expected(format!("`{other}` beside it")),
                );
            }
        }
        Rule::Some => {
            if entries.is_empty() {
                let names: Vec<_> = object.fields.iter().map(|field| field.name).collect();
                let problem = Problem::new(at, format!("{} is empty", object.doc_start()));
                problems.push(problem.expected(format!("at least one of {}", names.join(", "))));
            }
        }
    }
}

impl Object {
    /// What the object is, to be used within a sentence.
    fn doc_start(&self) -> String {
        format!("`{}`", self.name)
    }
}

impl Keys {
    /// Whether a key is right.
    fn check(self, entry: &Entry, problems: &mut Vec<Problem>) {
        let key = entry.key.as_str();
        let (right, expected) = match self {
            Keys::Text => (true, ""),
            Keys::Variable => (
                template::is_name(key),
                "a letter or `_`, then letters, digits, `-` and `_`",
            ),
            Keys::Label => (
                super::scalar::is_label(key),
                "letters, digits, `-`, `_` and `.`",
            ),
            Keys::Header => (
                http::HeaderName::from_bytes(key.as_bytes()).is_ok(),
                "a header name, such as content-type",
            ),
            Keys::JsonPath => {
                let parsed = serde_json_path::JsonPath::parse(key);
                (
                    parsed.is_ok(),
                    "a JSON path (RFC 9535), such as $.items[0].id",
                )
            }
        };
        if !right {
            let message = format!("`{key}` cannot be a key here");
            problems.push(Problem::new(entry.key_at, message).expected(expected));
        }
    }
}

impl Shape {
    /// What is expected here, for messages; what comes before a comma or colon can stand alone.
    fn expected(&self) -> String {
        match self {
            Shape::Scalar(kind) => kind.expected(),
            Shape::Object(object) => {
                let names: Vec<_> = object.fields.iter().map(|field| field.name).collect();
                format!("a map, with keys of {}", names.join(", "))
            }
            Shape::List(_, 0) => "a list".into(),
            Shape::List(..) => "a list, with at least one item".into(),
            Shape::Map { .. } => "a map, NAME: VALUE".into(),
            Shape::Kinds { scalar, list, map } => {
                let kinds = [
                    scalar.map(|kind| kind.expected()),
                    list.map(|_| "a list".to_string()),
                    map.map(|shape| shape.expected()),
                ];
                kinds
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
                    .join("; or ")
            }
            Shape::Tagged(tags) => {
                let names: Vec<_> = tags.iter().map(|(key, _)| *key).collect();
                format!("a map, with one of {}", names.join(", "))
            }
            Shape::Any => "anything".into(),
        }
    }

    /// The alternative of `Kinds` that fits what a node is.
    fn alternative(&self, node: &Node) -> Option<Shape> {
        let Shape::Kinds { scalar, list, map } = *self else {
            return None;
        };
        match node.value {
            Value::Scalar(_) => scalar.map(Shape::Scalar),
            Value::List(_) => list.map(|item| Shape::List(item, 1)),
            Value::Map(_) => map.copied(),
        }
    }

    /// The object that describes a map.
    fn object(&self, node: &Node) -> Option<&'static Object> {
        match self {
            Shape::Object(object) => Some(object),
            Shape::Tagged(tags) => {
                let tagged = tags.iter().find(|(key, _)| node.get(key).is_some());
                tagged.or(tags.first()).map(|(_, object)| *object)
            }
            _ => None,
        }
    }
}

/// Puts in the defaults, so that they stand in one place: the description. What does not fit its shape stays.
pub fn fill(shape: &Shape, node: &mut Node) {
    if let Shape::Kinds {
        scalar: Some(super::Scalar::Empty),
        ..
    } = shape
        && node.is_null()
    {
        // `kill:` with nothing under it.
        node.value = Value::Map(Vec::new());
    }
    if let Some(alternative) = shape.alternative(node) {
        return fill(&alternative, node);
    }
    let object = shape.object(node);
    let at = node.at;
    match (shape, &mut node.value) {
        (Shape::List(item, _), Value::List(items)) => {
            items.iter_mut().for_each(|node| fill(item, node));
        }
        (Shape::Map { value, .. }, Value::Map(entries)) => {
            entries
                .iter_mut()
                .for_each(|entry| fill(value, &mut entry.value));
        }
        (_, Value::Map(entries)) => {
            for field in object.map(|object| object.fields).unwrap_or_default() {
                fill_field(field, entries, at);
            }
        }
        _ => {}
    }
}

fn fill_field(field: &Field, entries: &mut Vec<Entry>, at: Span) {
    let given = entries.iter_mut().find(|entry| entry.key == field.name);
    if let Some(entry) = given {
        return fill(&field.shape, &mut entry.value);
    }
    let mut value = match field.default {
        None => return,
        Some("{}") => Node {
            value: Value::Map(Vec::new()),
            at,
        },
        Some(text) => Node::plain(text, at),
    };
    fill(&field.shape, &mut value);
    entries.push(Entry {
        key: field.name.into(),
        key_at: at,
        value,
    });
}
