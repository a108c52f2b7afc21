//! `${NAME}` and `${NAME:-default}` in the values of a scenario; `$$` is a literal `$`.
//!
//! What is put in is never shown again: it may be a password, and a message is read by many.

use std::cell::RefCell;

use super::problem::Problem;
use super::tree::{Node, Scalar, Value};

/// Looks a variable up.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Puts environment variables into all values of a tree; keys stay as they are written. Gives the values that were
/// put in, so that they can be kept out of messages.
pub fn substitute(node: &mut Node, env: Lookup<'_>, problems: &mut Vec<Problem>) -> Vec<String> {
    let mut values = RefCell::new(Vec::new());
    let noted = |name: &str| {
        let value = env(name)?;
        values.borrow_mut().push(value.clone());
        Some(value)
    };
    walk(node, &noted, problems);
    std::mem::take(values.get_mut())
}

fn walk(node: &mut Node, env: Lookup<'_>, problems: &mut Vec<Problem>) {
    match &mut node.value {
        Value::Scalar(scalar) => {
            if scalar.text.contains('$')
                && let Err((message, expected)) = expand(scalar, env)
            {
                scalar.broken = true;
                problems.push(Problem::new(node.at, message).expected(expected));
            }
        }
        Value::List(items) => {
            for item in items {
                walk(item, env, problems);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                walk(&mut entry.value, env, problems);
            }
        }
    }
}

const SYNTAX: &str = "${NAME} or ${NAME:-default}; a literal `$` before `{` is written `$$`";

/// Expands one scalar; the error is the message and what was expected.
fn expand(scalar: &mut Scalar, env: Lookup<'_>) -> Result<(), (String, String)> {
    let mut out = String::with_capacity(scalar.text.len());
    let mut rest = scalar.text.as_str();
    let mut substituted = false;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = after.find('}').ok_or_else(|| {
                (
                    "`${` is never closed by `}`".to_string(),
                    SYNTAX.to_string(),
                )
            })?;
            out.push_str(&value(&after[..end], env)?);
            substituted = true;
            rest = &after[end + 1..];
        } else {
            // JSON paths and regular expressions are full of it.
            out.push('$');
        }
    }
    out.push_str(rest);
    scalar.text = out;
    scalar.substituted = substituted;
    Ok(())
}

/// The value of what stands between the braces.
fn value(inner: &str, env: Lookup<'_>) -> Result<String, (String, String)> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !valid {
        let message = format!("`{name}` cannot be the name of an environment variable");
        return Err((message, SYNTAX.into()));
    }
    // As in a shell, `:-` also stands in for a variable that is empty.
    match (env(name), default) {
        (Some(set), Some(default)) if set.is_empty() => Ok(default.to_string()),
        (Some(set), _) => Ok(set),
        (None, Some(default)) => Ok(default.to_string()),
        (None, None) => Err((
            format!("environment variable `{name}` is not set"),
            format!("{name} in the environment, or a default: ${{{name}:-default}}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::problem::Span;

    fn run(text: &str) -> Result<String, String> {
        let mut node = Node::plain(text, Span::default());
        let mut problems = Vec::new();
        let env = |name: &str| match name {
            "HOST" => Some("example.org".to_string()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        substitute(&mut node, &env, &mut problems);
        match problems.pop() {
            Some(problem) => Err(problem.message),
            None => Ok(node.text().unwrap_or_default().to_string()),
        }
    }

    #[test]
    fn variables_defaults_and_escapes() {
        for (text, expected) in [
            ("https://${HOST}/x", "https://example.org/x"),
            ("${NO:-8080}", "8080"),
            ("${EMPTY:-y}${EMPTY}", "y"),
            ("$.items[0] $", "$.items[0] $"),
            ("$${HOST} costs $$5", "${HOST} costs $5"),
        ] {
            assert_eq!(run(text).as_deref(), Ok(expected), "{text}");
        }
        assert!(run("${NO}").unwrap_err().contains("`NO` is not set"));
        assert!(run("${HOST").unwrap_err().contains("never closed"));
        assert!(run("${1x}").unwrap_err().contains("cannot be the name"));
    }
}
