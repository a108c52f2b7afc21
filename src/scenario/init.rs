//! A scenario to begin with, written from a few options and commented as a tutorial.

use std::fmt::Write;
use std::time::Duration;

use super::units::{Rate, format_duration};

/// What `init` writes a scenario for.
#[derive(Debug, Clone, PartialEq)]
pub struct InitOptions {
    /// What the run shows.
    pub name: String,
    /// What is tested.
    pub target: InitTarget,
    /// How much.
    pub load: InitLoad,
    /// How long traffic lasts.
    pub duration: Duration,
    /// The path that is requested.
    pub path: String,
    /// Kill one instance in the middle; of no effect for a URL.
    pub kill: bool,
}

impl Default for InitOptions {
    fn default() -> Self {
        Self {
            name: "my first scenario".into(),
            target: InitTarget::Command("squall demo --port {port}".into()),
            load: InitLoad::Rate(Rate::per_second(100.0)),
            duration: Duration::from_secs(30),
            path: "/products".into(),
            kill: true,
        }
    }
}

/// What is tested.
#[derive(Debug, Clone, PartialEq)]
pub enum InitTarget {
    /// Three instances of a command line.
    Command(String),
    /// A service that runs already.
    Url(String),
}

/// How much traffic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum InitLoad {
    /// Open: so many journeys a second.
    Rate(Rate),
    /// Closed: so many users.
    Users(u32),
}

/// Writes a commented scenario.
///
/// ```
/// use squall::scenario::{InitOptions, init, parse};
/// let text = init(&InitOptions::default());
/// assert!(parse("new.yaml", &text, std::path::Path::new("."), &|_| None).is_ok());
/// ```
pub fn init(options: &InitOptions) -> String {
    let mut out = String::new();
    let kill = options.kill && matches!(options.target, InitTarget::Command(_));
    // Writing to a String cannot fail.
    let _ = write_scenario(&mut out, options, kill);
    out
}

fn write_scenario(out: &mut String, options: &InitOptions, kill: bool) -> std::fmt::Result {
    writeln!(
        out,
        "# `squall validate FILE` checks this file, `squall plan FILE` says what a run would do,"
    )?;
    writeln!(
        out,
        "# `squall run FILE` does it. `squall schema` gives editors what they need to complete it."
    )?;
    writeln!(out, "squall: 1")?;
    writeln!(
        out,
        "name: {}",
        quote(match options.name.trim() {
            "" => "scenario",
            name => name,
        })
    )?;
    writeln!(
        out,
        "# Makes random choices the same in every run.\nseed: 1\n"
    )?;
    write_target(out, &options.target)?;
    write_traffic(out, options)?;
    if kill {
        let at = format_duration(whole_seconds(options.duration / 3));
        writeln!(
            out,
            "faults:\n  # Counted from the start of traffic.\n  - at: {at}"
        )?;
        writeln!(
            out,
            "    # Or stop, freeze, delay, drop, reset, black-hole."
        )?;
        writeln!(out, "    kill: {{ pick: 1 }}\n")?;
        writeln!(
            out,
            "guard:\n  # A fault that would leave fewer instances ready is not injected."
        )?;
        writeln!(
            out,
            "  keep-ready: 50%\n  # Undoes everything and ends the run."
        )?;
        writeln!(out, "  abort-when: errors > 50% for 10s\n")?;
    }
    writeln!(
        out,
        "# What must hold; squall exits with 1 if one of these does not.\nexpect:"
    )?;
    writeln!(out, "  - p99 < 500ms\n  - errors < 1%")?;
    if kill {
        let within = format_duration(whole_seconds(options.duration / 3));
        writeln!(
            out,
            "  # Well again, by the bounds above, so soon after each fault."
        )?;
        writeln!(out, "  - recovery: {{ within: {within} }}")?;
    }
    Ok(())
}

fn write_target(out: &mut String, target: &InitTarget) -> std::fmt::Result {
    writeln!(out, "target:")?;
    match target {
        InitTarget::Command(command) => {
            // An instance that is not told its port cannot be reached.
            let command = match command.contains("{port}") {
                true => command.clone(),
                false => format!("{command} --port {{port}}"),
            };
            writeln!(
                out,
                "  # Processes of this machine behind a balancer, started for the run and ended after it."
            )?;
            writeln!(
                out,
                "  local:\n    name: service\n    # Each instance gets a free port for {{port}}."
            )?;
            writeln!(out, "    command: {}\n    instances: 3", quote(&command))?;
            writeln!(
                out,
                "    # Ready when its port takes a connection; `ready: {{ http: /path }}` asks the instance."
            )?;
            writeln!(out, "    ready: tcp\n")
        }
        InitTarget::Url(url) => {
            writeln!(
                out,
                "  # A service that runs already: it can be loaded and measured, not broken."
            )?;
            writeln!(out, "  url: {}\n", quote(url))
        }
    }
}

fn write_traffic(out: &mut String, options: &InitOptions) -> std::fmt::Result {
    let total = options.duration.max(Duration::from_secs(1));
    let ramp = whole_seconds(total / 6).min(total / 2);
    let (ramp, hold) = (format_duration(ramp), format_duration(total - ramp));
    writeln!(out, "traffic:\n  main:")?;
    match options.load {
        InitLoad::Rate(rate) => {
            let rate = if rate.get() > 0.0 {
                rate
            } else {
                Rate::per_second(1.0)
            };
            writeln!(
                out,
                "    # Requests begin on a schedule, however slow the service is; `users` would wait for it."
            )?;
            writeln!(
                out,
                "    arrivals: {{ rate: {rate}, process: poisson, ramp: {ramp}, hold: {hold} }}"
            )?;
        }
        InitLoad::Users(users) => {
            let users = users.clamp(1, 1_000_000);
            writeln!(
                out,
                "    # Users who wait for each response, then think; `arrivals` would not wait."
            )?;
            writeln!(
                out,
                "    users: {{ count: {users}, ramp: {ramp}, hold: {hold}, think: 500ms..1500ms }}"
            )?;
        }
    }
    let path = request_path(&options.path);
    writeln!(out, "    journey:\n      - get: {}", quote(&path))?;
    writeln!(out, "        check: {{ status: 2xx }}\n")
}

/// The scenario of one request, without a word of comment: what is asked for, how much, and what must hold.
pub fn quick(url: &str, load: InitLoad, duration: Duration, expect: &[String]) -> String {
    let (base, path) = split_url(url);
    let hold = format_duration(duration);
    let load = match load {
        InitLoad::Rate(rate) => format!("arrivals: {{ rate: {rate}, hold: {hold} }}"),
        InitLoad::Users(users) => format!("users: {{ count: {users}, hold: {hold} }}"),
    };
    let expect: Vec<String> = expect.iter().map(|bound| quote(bound)).collect();
    format!(
        "squall: 1\nname: {}\ntarget: {{ url: {} }}\ntraffic:\n  main:\n    {load}\n    journey: [{{ get: {} }}]\n\
         expect: [{}]\n",
        quote(url),
        quote(base),
        quote(&request_path(path)),
        expect.join(", ")
    )
}

/// A URL as a target's base and the path of a request to it; what stands behind `#` is never sent.
///
/// ```
/// use squall::scenario::split_url;
/// assert_eq!(split_url("http://h:81/a?b=c#d"), ("http://h:81", "/a?b=c"));
/// assert_eq!(split_url("http://h"), ("http://h", "/"));
/// ```
pub fn split_url(url: &str) -> (&str, &str) {
    let url = url.split('#').next().unwrap_or_default();
    let host = url.find("://").map_or(0, |at| at + 3);
    match url[host..].find(['/', '?']) {
        Some(path) => url.split_at(host + path),
        None => (url, "/"),
    }
}

/// A path as a request may have it: from `/` on, and percent-encoded where it must be.
fn request_path(path: &str) -> String {
    let mut out = String::from("/");
    for byte in path.trim_start_matches('/').bytes() {
        match byte {
            b'"' | b'<' | b'>' | b'#' | b'`' | b'{' | b'}' | b'\\' | b'^' | b'|' => {
                out.push_str(&format!("%{byte:02X}"));
            }
            byte if byte.is_ascii_graphic() => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Rounded down to seconds, where that leaves any.
fn whole_seconds(duration: Duration) -> Duration {
    match duration.as_secs() {
        0 => Duration::from_millis(duration.as_millis().max(1) as u64),
        seconds => Duration::from_secs(seconds),
    }
}

/// A text as a double-quoted YAML scalar, which JSON's strings are; `$` is escaped from substitution.
fn quote(text: &str) -> String {
    serde_json::Value::from(text.replace('$', "$$")).to_string()
}
