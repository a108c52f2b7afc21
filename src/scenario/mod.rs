//! The scenario file: its model, parser, validation, schema and units. Knows of no platform.
//!
//! A file goes through four stages, each in a place of its own: `tree` (YAML with positions), `environment`
//! (`${NAME}`), `shape` (one description of the file, read as validation and as JSON Schema) and `lower` (the
//! model, with the checks that need more than one place). Problems are collected over all of them.

mod environment;
mod expression;
mod init;
mod lower;
pub mod model;
mod problem;
mod shape;
pub mod template;
mod tree;
pub mod units;

use std::path::Path;

pub use init::{InitLoad, InitOptions, InitTarget, init, quick, split_url};
pub use lower::at_least;
pub use model::*;
pub use problem::{Problem, Problems, Span};
pub use shape::is_url;

/// Reads and checks a scenario file. `env` looks environment variables up.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Scenario, Problems> {
    let name = path.display().to_string();
    let whole = |problem| Problems::new(&name, "", vec![problem], &[]);
    let bytes = std::fs::read(path).map_err(|error| {
        let message = format!("the scenario cannot be read: {error}");
        whole(
            Problem::new(Span::default(), message)
                .expected("a scenario file (`squall run` takes a URL, too)"),
        )
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        let message = format!("the file is not UTF-8 text, from line {line} on");
        whole(Problem::new(Span::default(), message).expected("YAML in UTF-8"))
    })?;
    let base_dir = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    parse(&name, &text, base_dir, env)
}

/// Checks the text of a scenario. `name` is what messages call the file, `base_dir` where relative paths start.
///
/// ```
/// use std::path::Path;
/// let text = "squall: 1\nname: x\ntarget: { url: 'http://localhost' }\n\
///             traffic: { a: { arrivals: { rate: 500, hold: 1m }, journey: [{ get: / }] } }";
/// let problems = squall::scenario::parse("x.yaml", text, Path::new("."), &|_| None).unwrap_err();
/// assert_eq!(problems.list[0].message, "`500` has no unit");
/// assert_eq!((problems.list[0].at.line, problems.list[0].at.column), (4, 35));
/// ```
pub fn parse(
    name: &str,
    text: &str,
    base_dir: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Scenario, Problems> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut problems = Vec::new();
    let mut hidden = Vec::new();
    let scenario = read(text, base_dir, env, &mut problems, &mut hidden);
    match scenario {
        Some(scenario) if problems.is_empty() => Ok(scenario),
        _ => {
            if problems.is_empty() {
                // Each stage reports what it refuses; should one fail to, silence would be worse.
                let message =
                    "the scenario was refused, and squall cannot say why: this is its own mistake";
                problems.push(Problem::new(Span::default(), message));
            }
            Err(Problems::new(name, text, problems, &hidden))
        }
    }
}

fn read(
    text: &str,
    base_dir: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<Problem>,
    hidden: &mut Vec<String>,
) -> Option<Scenario> {
    let mut root = tree::parse(text, problems)?;
    hidden.extend(environment::substitute(&mut root, env, problems));
    let secrets = root
        .get("secrets")
        .and_then(tree::Node::map)
        .unwrap_or_default();
    hidden.extend(
        secrets
            .iter()
            .filter_map(|e| Some(e.value.text()?.to_string())),
    );
    let shape = shape::Shape::Object(&shape::SCENARIO);
    shape::respell(&shape, &mut root, problems);
    shape::check(&shape, &root, root.at, problems);
    shape::fill(&shape, &mut root);
    let in_pod = env("KUBERNETES_SERVICE_HOST").is_some();
    lower::scenario(&root, base_dir, in_pod, problems)
}

/// The JSON Schema (2020-12) of scenario files.
pub fn schema() -> serde_json::Value {
    shape::schema(&shape::SCENARIO)
}

/// The YAML of a scenario as JSON, as an editor holds it against [`schema`]: variables stay as they are written.
pub fn yaml_to_json(text: &str) -> Result<serde_json::Value, Problems> {
    let mut problems = Vec::new();
    match tree::parse(text, &mut problems) {
        Some(root) => Ok(root.to_json()),
        None => Err(Problems::new("", text, problems, &[])),
    }
}

/// A scenario's name as the name of a folder: lower case letters, digits and single dashes.
///
/// ```
/// assert_eq!(squall::scenario::slug("Shop survives a kill!"), "shop-survives-a-kill");
/// ```
pub fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() >= 60 {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() {
        "scenario".into()
    } else {
        slug.to_string()
    }
}
