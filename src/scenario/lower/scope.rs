//! Which variables a template may use where it stands.

use std::collections::{BTreeMap, BTreeSet};

use super::Lower;
use crate::scenario::model::Secret;
use crate::scenario::problem::{Problem, Span};
use crate::scenario::template::{BUILTINS, Part, Template};
use crate::scenario::tree::{Entry, Node};

/// The variables known at a point of a journey.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// Constants, secrets and what earlier steps have extracted.
    pub variables: BTreeSet<String>,
    /// Feeders, with their fields where those are known.
    pub feeders: BTreeMap<String, Option<Vec<String>>>,
    /// What only some branches of an earlier choice extract.
    pub perhaps: BTreeSet<String>,
    /// Secrets, whose names are taken.
    pub secrets: BTreeSet<String>,
}

impl Scope {
    pub fn new(secrets: &BTreeMap<String, Secret>) -> Self {
        let secrets: BTreeSet<String> = secrets.keys().cloned().collect();
        Self {
            variables: secrets.clone(),
            secrets,
            ..Self::default()
        }
    }

    /// After a choice: certain is what every branch has set.
    pub fn join(&mut self, branches: Vec<Scope>) {
        let mut branches = branches.into_iter();
        let Some(first) = branches.next() else {
            return;
        };
        let mut all = first.variables.clone();
        let mut any = first.variables;
        any.extend(first.perhaps);
        for branch in branches {
            all.retain(|name| branch.variables.contains(name));
            any.extend(branch.variables);
            any.extend(branch.perhaps);
        }
        self.perhaps
            .extend(any.into_iter().filter(|name| !all.contains(name)));
        self.variables = all;
    }

    /// What is wrong with the use of a variable here, if anything.
    fn objection(&self, name: &str, at: Span) -> Option<Problem> {
        let (head, field) = match name.split_once('.') {
            Some((head, field)) => (head, Some(field)),
            None => (name, None),
        };
        match (self.feeders.get(head), field) {
            (None, None) if self.variables.contains(name) => None,
            (Some(None), Some(_)) => None,
            (Some(Some(fields)), Some(field)) => {
                let known = fields.iter().any(|known| known == field);
                (!known).then(|| {
                    Problem::new(at, format!("data `{head}` has no field `{field}`"))
                        .expected(format!("one of {}", fields.join(", ")))
                        .nearest(field, fields.iter().map(String::as_str))
                })
            }
            (Some(_), None) if self.variables.contains(name) => None,
            (Some(_), None) => Some(
                Problem::new(
                    at,
                    format!("`{head}` is data, and which of its fields is not said"),
                )
                .expected(format!("{{{{ {head}.FIELD }}}}")),
            ),
            (None, _) if self.perhaps.contains(name) => Some(
                Problem::new(
                    at,
                    format!("variable `{name}` is set in some branches only"),
                )
                .expected("a variable that is set whichever branch was taken"),
            ),
            (None, _) => {
                let names = self.variables.iter().chain(self.feeders.keys());
                let known: Vec<_> = names.map(String::as_str).chain(BUILTINS).collect();
                Some(
                    Problem::new(at, format!("variable `{name}` is not defined here"))
                        .expected(
                            "a variable of the flow, a secret, NAME.FIELD of its data, or what an earlier step extracts",
                        )
                        .nearest(name, known),
                )
            }
        }
    }
}

impl Lower<'_> {
    /// Checks the template in a scalar against what is known there, and gives the text back. Anything but a scalar
    /// is somebody else's problem.
    pub(super) fn template(&mut self, node: &Node, scope: &Scope) -> Option<String> {
        let text = node.text()?.to_string();
        self.parts(node, scope)?;
        Some(text)
    }

    /// Like [`Self::template`], but gives the parts.
    pub(super) fn parts(&mut self, node: &Node, scope: &Scope) -> Option<Vec<Part>> {
        let text = node.text()?;
        let template = match Template::parse(text) {
            Ok(template) => template,
            Err(error) => {
                let message = match node.scalar().is_some_and(|s| s.substituted) {
                    true => "the value from the environment is not a valid template".to_string(),
                    false => error.message,
                };
                let at = within(node, text, error.offset);
                self.report(Problem::new(at, message).expected(error.expected));
                return None;
            }
        };
        let mut from = 0;
        for name in template.variables() {
            // Each use is pointed at where it stands, in the order of the text.
            let offset = text[from..].find("{{").map_or(from, |found| from + found);
            let offset = text[offset..]
                .find(name)
                .map_or(offset, |found| offset + found);
            if let Some(problem) = scope.objection(name, within(node, text, offset)) {
                self.report(problem);
            }
            from = offset;
        }
        Some(template.parts)
    }

    /// Checks all texts of a JSON body.
    pub(super) fn json_templates(&mut self, node: &Node, scope: &Scope) {
        for item in node.list().unwrap_or_default() {
            self.json_templates(item, scope);
        }
        for entry in node.map().unwrap_or_default() {
            self.json_templates(&entry.value, scope);
        }
        self.template(node, scope);
    }

    /// A name that templates give a meaning of their own cannot be a variable's.
    pub(super) fn check_variable_name(&mut self, entry: &Entry) {
        if BUILTINS.contains(&entry.key.as_str()) {
            let message = format!("`{}` is built in and cannot be defined", entry.key);
            let expected = format!("a name other than {}", BUILTINS.join(", "));
            self.report(Problem::new(entry.key_at, message).expected(expected));
        }
    }
}

/// The place of a part of a scalar, where the file has it on one line as it is.
fn within(node: &Node, text: &str, offset: usize) -> Span {
    let Some(scalar) = node.scalar() else {
        return node.at;
    };
    if scalar.substituted || node.at.width == usize::MAX || node.at.line == 0 {
        return node.at;
    }
    let before = text.get(..offset).map_or(0, |t| t.chars().count()) + usize::from(!scalar.plain);
    let inner = text.get(offset..).unwrap_or_default();
    let length = match inner.strip_prefix("{{") {
        Some(rest) => rest.find("}}").map_or(inner.len(), |end| end + 4),
        None => inner
            .find(|c: char| !(c.is_alphanumeric() || "_-.".contains(c)))
            .unwrap_or(inner.len()),
    };
    Span {
        line: node.at.line,
        column: node.at.column + before,
        width: inner.get(..length).map_or(1, |t| t.chars().count()).max(1),
    }
}
