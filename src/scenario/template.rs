//! Text with `{{ variable }}` in it: the syntax alone. Values are put in by traffic, which knows them.
//!
//! An expression is a variable (`id`, `users.name`), a built-in (`user`, `iteration`, `uuid`, `random(1, 100)`) or
//! a quoted text, which is how a literal `{{` is written: `{{ "{{" }}`. Outside of an expression everything is
//! text, `}}` too, since JSON bodies are full of it.

/// Names that have a meaning of their own and cannot be variables.
pub const BUILTINS: [&str; 4] = ["user", "iteration", "uuid", "random"];

/// A parsed template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    /// Its parts in order; two texts are never neighbours.
    pub parts: Vec<Part>,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// As it is.
    Text(String),
    /// The value of a variable, or of a feeder's field as `NAME.FIELD`.
    Variable(String),
    /// The number of the user.
    User,
    /// How many times this user has begun the journey.
    Iteration,
    /// A random UUID, new each time.
    Uuid,
    /// A whole number between the two, both included.
    Random(i64, i64),
}

/// Why a template could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// What is wrong.
    pub message: String,
    /// What would have been right.
    pub expected: String,
    /// Where, in bytes from the start of the template.
    pub offset: usize,
}

/// What an expression may be, for messages.
const EXPECTED: &str = "{{ NAME }}, {{ FEEDER.FIELD }}, {{ user }}, {{ iteration }}, {{ uuid }}, \
                        {{ random(LOW, HIGH) }} or {{ \"text\" }}";

impl Template {
    /// Parses a template.
    ///
    /// ```
    /// use squall::scenario::template::{Part, Template};
    /// let template = Template::parse("/products/{{ id }}").unwrap();
    /// assert_eq!(template.parts, [Part::Text("/products/".into()), Part::Variable("id".into())]);
    /// assert!(Template::parse("/products/{{ id").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut template = Template::default();
        let mut at = 0;
        while let Some(found) = text[at..].find("{{") {
            let open = at + found;
            template.push_text(&text[at..open]);
            let inner = open + 2;
            let close = closing(&text[inner..]).ok_or_else(|| TemplateError {
                message: "`{{` is never closed by `}}`".into(),
                expected: EXPECTED.into(),
                offset: open,
            })?;
            let part =
                expression(&text[inner..inner + close]).map_err(|message| TemplateError {
                    message,
                    expected: EXPECTED.into(),
                    offset: open,
                })?;
            match part {
                Part::Text(literal) => template.push_text(&literal),
                part => template.parts.push(part),
            }
            at = inner + close + 2;
        }
        template.push_text(&text[at..]);
        Ok(template)
    }

    /// Whether nothing in it changes from one use to the next.
    pub fn is_constant(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// The variables it needs, in order, as often as they are written.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            _ => None,
        })
    }

    fn push_text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        match self.parts.last_mut() {
            Some(Part::Text(last)) => last.push_str(text),
            _ => self.parts.push(Part::Text(text.to_string())),
        }
    }
}

/// Whether a text can name a variable: a letter or `_`, then letters, digits, `_` and `-`.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// Where the `}}` that ends an expression is; one inside quotes does not.
fn closing(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut quote = None;
    for (index, &byte) in bytes.iter().enumerate() {
        match (quote, byte) {
            (Some(open), _) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'}') if bytes.get(index + 1) == Some(&b'}') => return Some(index),
            (None, _) => {}
        }
    }
    None
}

/// Reads what stands between the braces; the error is the message.
fn expression(text: &str) -> Result<Part, String> {
    let text = text.trim();
    if let Some(arguments) = text
        .strip_prefix("random")
        .map(str::trim_start)
        .and_then(|rest| rest.strip_prefix('('))
    {
        return random(arguments).ok_or_else(|| {
            format!("`{text}`: random takes two whole numbers, the lower one first")
        });
    }
    for quote in ['"', '\''] {
        let inner = text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote));
        if let Some(literal) = inner.filter(|t| !t.contains(quote)) {
            return Ok(Part::Text(literal.to_string()));
        }
    }
    match text {
        "" => Err("`{{ }}` has nothing in it".into()),
        "user" => Ok(Part::User),
        "iteration" => Ok(Part::Iteration),
        "uuid" => Ok(Part::Uuid),
        "random" => Err("`random` needs its two bounds: random(LOW, HIGH)".into()),
        name if name.split('.').all(is_name) => Ok(Part::Variable(name.to_string())),
        other => Err(format!("`{other}` is not the name of a variable")),
    }
}

/// The two numbers of `random(`, after its parenthesis.
fn random(arguments: &str) -> Option<Part> {
    let (low, high) = arguments.trim_end().strip_suffix(')')?.split_once(',')?;
    let (low, high) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
    (low <= high).then_some(Part::Random(low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(t: &str) -> Part {
        Part::Text(t.into())
    }

    #[test]
    fn every_kind_of_part_is_read() {
        let cases: [(&str, Vec<Part>); 9] = [
            ("", vec![]),
            ("plain }} {", vec![text("plain }} {")]),
            (
                "{{a}}{{ b.c }}",
                vec![Part::Variable("a".into()), Part::Variable("b.c".into())],
            ),
            (
                "{{ user }}-{{ iteration }}",
                vec![Part::User, text("-"), Part::Iteration],
            ),
            ("{{uuid}}", vec![Part::Uuid]),
            ("{{ random(-1, 5) }}", vec![Part::Random(-1, 5)]),
            (r#"a{{ "{{" }}b{{ "}}" }}"#, vec![text("a{{b}}")]),
            (
                r#"{"id":{"n":"{{ id }}"}}"#,
                vec![
                    text(r#"{"id":{"n":""#),
                    Part::Variable("id".into()),
                    text("\"}}"),
                ],
            ),
            (
                "é{{ x-y_1 }}ü",
                vec![text("é"), Part::Variable("x-y_1".into()), text("ü")],
            ),
        ];
        for (source, parts) in cases {
            assert_eq!(Template::parse(source).unwrap().parts, parts, "{source}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (source, offset, message) in [
            ("ab{{ id", 2, "never closed"),
            ("{{ }}", 0, "nothing in it"),
            ("x{{ 1a }}", 1, "`1a` is not the name"),
            ("{{ a b }}", 0, "`a b` is not the name"),
            ("{{ a. }}", 0, "`a.` is not the name"),
            ("{{ random }}", 0, "needs its two bounds"),
            ("{{ random(5, 1) }}", 0, "the lower one first"),
            ("{{ random(1) }}", 0, "two whole numbers"),
            ("{{ \"a\"b\" }}", 0, "never closed"),
        ] {
            let error = Template::parse(source).unwrap_err();
            assert_eq!(error.offset, offset, "{source}");
            assert!(error.message.contains(message), "{source}: {error}");
        }
    }
}
