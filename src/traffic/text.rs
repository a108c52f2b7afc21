//! Templates compiled for speed: names become slots, constants are folded, and each part knows how it must be escaped
//! where it stands.

use std::collections::BTreeMap;
use std::fmt::Write;

use rand::RngExt;
use rand_pcg::Pcg64;

use super::TrafficError;
use crate::scenario::template::{Part, Template};

/// The value of a variable; its buffer is kept from use to use.
#[derive(Debug, Clone, Default)]
pub struct Value {
    set: bool,
    text: String,
}

impl Value {
    /// Gives it a value.
    pub fn set(&mut self, text: &str) {
        self.set = true;
        self.text.clear();
        self.text.push_str(text);
    }
    /// Takes its value away.
    pub fn unset(&mut self) {
        self.set = false;
        self.text.clear();
    }
    /// Its value, empty when it has none: a journey may have taken the branch that does not extract it.
    pub fn get(&self) -> &str {
        &self.text
    }
    /// Whether it has a value.
    #[cfg(test)]
    pub fn is_set(&self) -> bool {
        self.set
    }
}

/// What templates are rendered with.
pub struct Scope<'a> {
    /// The variables of the journey.
    pub values: &'a [Value],
    /// The user's number, from 1.
    pub user: u64,
    /// How many times the user has begun the journey, from 1.
    pub iteration: u64,
    /// The journey's own generator.
    pub rng: &'a mut Pcg64,
}

/// What a name in a template stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// Always the same text.
    Constant(String),
    /// A variable.
    Slot(usize),
}

/// The names that the templates of a flow may use.
#[derive(Debug, Clone, Default)]
pub struct Names(BTreeMap<String, Binding>);

impl Names {
    /// Binds a name; a later binding wins.
    pub fn bind(&mut self, name: impl Into<String>, binding: Binding) {
        self.0.insert(name.into(), binding);
    }
    /// What a name stands for.
    pub fn get(&self, name: &str) -> Option<&Binding> {
        self.0.get(name)
    }
}

/// How a value must be written where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// As it is.
    None,
    /// Inside a JSON string.
    Json,
    /// In a request target: what may not stand there is percent-encoded, its structure (`/ ? & =`) is left alone.
    Target,
    /// A query parameter's name or value.
    Query,
    /// A form field's name or value.
    Form,
    /// A header value: line breaks and other controls become spaces, so that data cannot add headers.
    Header,
}

impl Escape {
    /// Appends a text, escaped.
    pub fn push(self, text: &str, out: &mut String) {
        match self {
            Escape::None => out.push_str(text),
            Escape::Json => push_json(text, out),
            Escape::Header => {
                out.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
            }
            Escape::Target => push_percent(text, out, |b| {
                b.is_ascii_graphic() && !br#""<>\^`{|}#"#.contains(&b)
            }),
            Escape::Query => push_percent(text, out, unreserved),
            Escape::Form => {
                let from = out.len();
                push_percent(text, out, |b| unreserved(b) || b == b' ');
                if out[from..].contains(' ') {
                    let plus = out[from..].replace(' ', "+");
                    out.replace_range(from.., &plus);
                }
            }
        }
    }
}

fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn push_percent(text: &str, out: &mut String, plain: impl Fn(u8) -> bool) {
    for byte in text.bytes() {
        if plain(byte) {
            out.push(byte as char);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

fn push_json(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
}

/// A compiled template.
#[derive(Debug, Clone, Default)]
pub struct Text(Vec<Piece>);

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Slot(usize, Escape),
    User,
    Iteration,
    Uuid,
    Random(i64, i64),
}

impl Text {
    /// Compiles a template's source.
    pub fn compile(source: &str, escape: Escape, names: &Names) -> Result<Self, TrafficError> {
        let mut text = Self::default();
        text.push(source, escape, names)?;
        Ok(text)
    }

    /// Appends the compiled form of a template's source.
    pub fn push(
        &mut self,
        source: &str,
        escape: Escape,
        names: &Names,
    ) -> Result<(), TrafficError> {
        let template = Template::parse(source).map_err(|e| {
            TrafficError::Scenario(format!("`{source}`: {e}, expected {}", e.expected))
        })?;
        for part in template.parts {
            match part {
                Part::Text(text) => self.push_text(&text, escape),
                Part::User => self.0.push(Piece::User),
                Part::Iteration => self.0.push(Piece::Iteration),
                Part::Uuid => self.0.push(Piece::Uuid),
                Part::Random(low, high) => self.0.push(Piece::Random(low, high)),
                Part::Variable(name) => match names.get(&name) {
                    Some(Binding::Constant(value)) => self.push_text(value, escape),
                    Some(Binding::Slot(slot)) => self.0.push(Piece::Slot(*slot, escape)),
                    None => {
                        return Err(TrafficError::Scenario(format!(
                            "`{source}`: nothing gives `{name}` a value: no variable, secret, extraction or \
                             data field of this flow has that name"
                        )));
                    }
                },
            }
        }
        Ok(())
    }

    /// Appends text that is no template.
    pub fn push_text(&mut self, text: &str, escape: Escape) {
        if !matches!(self.0.last(), Some(Piece::Text(_))) {
            self.0.push(Piece::Text(String::new()));
        }
        if let Some(Piece::Text(last)) = self.0.last_mut() {
            escape.push(text, last);
        }
    }

    /// Compiles a JSON value whose strings are templates.
    pub fn push_json(
        &mut self,
        value: &serde_json::Value,
        names: &Names,
    ) -> Result<(), TrafficError> {
        use serde_json::Value as Json;
        match value {
            Json::String(source) => {
                self.push_text("\"", Escape::None);
                self.push(source, Escape::Json, names)?;
                self.push_text("\"", Escape::None);
            }
            Json::Array(items) => {
                self.push_text("[", Escape::None);
                for (i, item) in items.iter().enumerate() {
                    self.push_text(if i > 0 { "," } else { "" }, Escape::None);
                    self.push_json(item, names)?;
                }
                self.push_text("]", Escape::None);
            }
            Json::Object(fields) => {
                self.push_text("{", Escape::None);
                for (i, (key, item)) in fields.iter().enumerate() {
                    self.push_text(if i > 0 { ",\"" } else { "\"" }, Escape::None);
                    self.push_text(key, Escape::Json);
                    self.push_text("\":", Escape::None);
                    self.push_json(item, names)?;
                }
                self.push_text("}", Escape::None);
            }
            plain => self.push_text(&plain.to_string(), Escape::None),
        }
        Ok(())
    }

    /// The text, if nothing in it changes from use to use.
    pub fn constant(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// How it begins whatever its variables are; `None` where one of them decides. A number or a UUID is none, but begins
    /// with a letter or digit.
    pub fn known_start(&self) -> Option<&str> {
        match self.0.first() {
            Some(Piece::Slot(..)) => None,
            Some(Piece::Text(text)) => Some(text),
            Some(Piece::User | Piece::Iteration | Piece::Uuid | Piece::Random(..)) => Some("0"),
            None => Some(""),
        }
    }

    /// Appends the text with its values.
    pub fn render(&self, scope: &mut Scope<'_>, out: &mut String) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Slot(slot, escape) => {
                    let value = scope.values.get(*slot).map_or("", Value::get);
                    escape.push(value, out);
                }
                Piece::User => push_number(scope.user, out),
                Piece::Iteration => push_number(scope.iteration, out),
                Piece::Random(low, high) => push_number(scope.rng.random_range(*low..=*high), out),
                Piece::Uuid => push_uuid(scope.rng.random(), out),
            }
        }
    }
}

fn push_number(number: impl std::fmt::Display, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{number}");
}

/// Writes random bits as a version 4 UUID.
fn push_uuid(bits: u128, out: &mut String) {
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let _ = write!(
        out,
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        bits >> 96,
        (bits >> 80) & 0xffff,
        (bits >> 64) & 0xffff,
        (bits >> 48) & 0xffff,
        bits & 0xffff_ffff_ffff
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let mut names = Names::default();
        names.bind("who", Binding::Constant("a b\"".into()));
        names.bind("id", Binding::Slot(0));
        names
    }

    fn render(text: &Text, id: &str) -> String {
        let mut values = vec![Value::default()];
        values[0].set(id);
        let mut scope = Scope {
            values: &values,
            user: 7,
            iteration: 3,
            rng: &mut Pcg64::new(1, 1),
        };
        let mut out = String::new();
        text.render(&mut scope, &mut out);
        out
    }

    #[test]
    fn values_are_escaped_for_where_they_stand() {
        for (escape, expected) in [
            (Escape::None, "x/a b\"/1&é\r\n"),
            (Escape::Json, "x/a b\\\"/1&é\\r\\n"),
            (Escape::Target, "x/a%20b%22/1&%C3%A9%0D%0A"),
            (Escape::Query, "x%2Fa%20b%22%2F1%26%C3%A9%0D%0A"),
            (Escape::Form, "x%2Fa+b%22%2F1%26%C3%A9%0D%0A"),
            (Escape::Header, "x/a b\"/1&é  "),
        ] {
            let text = Text::compile("x/{{ who }}/{{ id }}", escape, &names()).unwrap();
            assert_eq!(render(&text, "1&é\r\n"), expected, "{escape:?}");
        }
    }

    #[test]
    fn constants_are_folded() {
        let text = Text::compile("<{{ who }}>", Escape::None, &names()).unwrap();
        assert_eq!(text.constant(), Some("<a b\">"));
        let text = Text::compile("{{ id }}", Escape::None, &names()).unwrap();
        assert_eq!(text.constant(), None);
    }

    #[test]
    fn json_stays_json_whatever_the_value() {
        let mut text = Text::default();
        let value =
            serde_json::json!({"a": ["{{ id }}", 1, null, true], "b\"": {"c": "{{ user }}"}});
        text.push_json(&value, &names()).unwrap();
        let out: serde_json::Value = serde_json::from_str(&render(&text, "\"},\n\u{1}")).unwrap();
        let expected = serde_json::json!({"a": ["\"},\n\u{1}", 1, null, true], "b\"": {"c": "7"}});
        assert_eq!(out, expected);
    }

    #[test]
    fn built_ins_have_their_forms() {
        let source = "{{ user }} {{ iteration }} {{ random(5, 6) }} {{ uuid }}";
        let out = render(&Text::compile(source, Escape::None, &names()).unwrap(), "");
        let words: Vec<&str> = out.split(' ').collect();
        assert_eq!(words[..2], ["7", "3"]);
        assert!(["5", "6"].contains(&words[2]), "{out}");
        let uuid: Vec<&str> = words[3].split('-').collect();
        assert_eq!(
            uuid.iter().map(|p| p.len()).collect::<Vec<_>>(),
            [8, 4, 4, 4, 12]
        );
        assert!(
            uuid[2].starts_with('4') && "89ab".contains(&uuid[3][..1]),
            "{out}"
        );
    }

    #[test]
    fn an_unknown_name_is_an_error_that_says_so() {
        let error = Text::compile("{{ nobody }}", Escape::None, &names()).unwrap_err();
        assert!(error.to_string().contains("`nobody`"), "{error}");
    }
}
