//! The JSON Schema (2020-12) of the file, made from its description.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::scalar::{HEADER, LABEL};
use super::{Field, Keys, Object, Rule, Shape};
use crate::scenario::tree;

/// The schema of the whole file.
pub fn schema(root: &'static Object) -> Json {
    let mut defs = BTreeMap::new();
    let mut schema = object(root, &mut defs);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "squall scenario".into();
    schema["$defs"] = defs
        .into_iter()
        .map(|(k, v)| (k.to_string(), v))
        .collect::<Map<_, _>>()
        .into();
    schema
}

type Defs = BTreeMap<&'static str, Json>;

fn reference(to: &'static Object, defs: &mut Defs) -> Json {
    if !defs.contains_key(to.name) {
        // Known before it is made, since a journey holds journeys.
        defs.insert(to.name, Json::Null);
        let made = object(to, defs);
        defs.insert(to.name, made);
    }
    json!({ "$ref": format!("#/$defs/{}", to.name) })
}

fn object(object: &'static Object, defs: &mut Defs) -> Json {
    let properties: Map<_, _> = object
        .fields
        .iter()
        .map(|f| (f.name.to_string(), property(f, defs)))
        .collect();
    let required: Vec<_> = object
        .fields
        .iter()
        .filter(|f| f.required)
        .map(|f| f.name)
        .collect();
    let mut schema = json!({
        "type": "object",
        "description": object.doc,
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if object.extensible {
        schema["patternProperties"] = json!({ "^x-": true });
    }
    let rules: Vec<_> = object.rules.iter().map(rule).collect();
    if !rules.is_empty() {
        schema["allOf"] = rules.into();
    }
    schema
}

fn property(field: &'static Field, defs: &mut Defs) -> Json {
    let mut schema = shape(&field.shape, defs);
    schema["description"] = field.doc.into();
    if let Some(default) = field.default {
        schema["default"] = literal(default);
    }
    if let Some(example) = field.example {
        schema["examples"] = json!([literal(example)]);
    }
    schema
}

/// A default or example, written as YAML in the description.
fn literal(yaml: &str) -> Json {
    let node = tree::parse(yaml, &mut Vec::new());
    node.map(|node| node.to_json())
        .unwrap_or_else(|| yaml.into())
}

fn rule(rule: &Rule) -> Json {
    let each = |names: &[&str]| {
        names
            .iter()
            .map(|n| json!({ "required": [n] }))
            .collect::<Vec<_>>()
    };
    match rule {
        Rule::One(names) => json!({ "oneOf": each(names) }),
        Rule::AtMostOne(names) => {
            let none = json!({ "not": { "anyOf": each(names) } });
            json!({ "oneOf": each(names).into_iter().chain([none]).collect::<Vec<_>>() })
        }
        Rule::Not(one, other) => json!({ "not": { "required": [one, other] } }),
        Rule::Needs(one, other) => json!({ "dependentRequired": { *one: [other] } }),
        Rule::Some => json!({ "minProperties": 1 }),
    }
}

fn shape(of: &'static Shape, defs: &mut Defs) -> Json {
    match of {
        Shape::Scalar(kind) => kind.schema(),
        Shape::Object(to) => reference(to, defs),
        Shape::List(item, min) => {
            json!({ "type": "array", "items": shape(item, defs), "minItems": min })
        }
        Shape::Map { keys, value, min } => {
            let mut schema = json!({
                "type": "object",
                "additionalProperties": shape(value, defs),
                "minProperties": min,
            });
            if let Some(pattern) = keys.pattern() {
                schema["propertyNames"] = json!({ "pattern": pattern });
            }
            schema
        }
        Shape::Kinds { scalar, list, map } => {
            let mut kinds = Vec::new();
            kinds.extend(scalar.map(|kind| kind.schema()));
            kinds.extend(
                list.map(
                    |item| json!({ "type": "array", "items": shape(item, defs), "minItems": 1 }),
                ),
            );
            kinds.extend(map.map(|map| shape(map, defs)));
            json!({ "anyOf": kinds })
        }
        Shape::Tagged(tags) => tagged(tags, defs),
        Shape::Any => json!({}),
    }
}

/// The first is what holds without any of the others' keys.
fn tagged(tags: &'static [(&'static str, &'static Object)], defs: &mut Defs) -> Json {
    let Some(((_, first), others)) = tags.split_first() else {
        return json!({});
    };
    let mut schema = reference(first, defs);
    for (key, to) in others {
        schema = json!({
            "if": { "type": "object", "required": [key] },
            "then": reference(to, defs),
            "else": schema,
        });
    }
    schema
}

impl Keys {
    fn pattern(self) -> Option<String> {
        match self {
            Keys::Text => None,
            Keys::Variable => Some("^[A-Za-z_][A-Za-z0-9_-]*$".into()),
            Keys::Label => Some(format!("^{LABEL}$")),
            Keys::Header => Some(format!("^{HEADER}$")),
            Keys::JsonPath => Some(r"^\$".into()),
        }
    }
}
