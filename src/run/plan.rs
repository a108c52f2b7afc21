//! What a run would do, and whether it can.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::RunError;
use crate::fault::occurrences;
use crate::judge::{alert, usage};
use crate::platform::Endpoint;
use crate::record::{Clock, Level, Sink};
use crate::scenario::units::format_duration;
use crate::scenario::{
    BalanceExpectation, BalanceKind, Capacity, ClosedLoad, Expectation, FaultKind, FaultSpec, Flow,
    KeepReady, KubernetesTarget, Load, LocalTarget, Node, OpenLoad, Pick, Process, Scenario,
    Target, Think,
};
use crate::traffic;

/// Fails where a run would fail before it touches anything.
pub fn check(scenario: &Scenario) -> Result<(), RunError> {
    sentences(scenario).map(drop)
}

/// The platform's sentences and the generator's findings.
fn sentences(scenario: &Scenario) -> Result<(Vec<String>, Vec<traffic::Finding>), RunError> {
    let (sink, _nobody) = Sink::new(Clock::start());
    let platform = super::platform(scenario, PathBuf::from("logs"), sink.clone(), 0);
    let target = platform.plan()?;
    let findings = traffic::preflight(scenario);
    let errors: Vec<&str> = findings
        .iter()
        .filter(|f| f.level == Level::Error)
        .map(|f| f.text.as_str())
        .collect();
    if !errors.is_empty() {
        return Err(RunError::BadInput(errors.join("\n")));
    }
    // Data files and certificates are looked at before the target is started, wherever it will be.
    let job = traffic::Job {
        scenario: Arc::new(scenario.clone()),
        endpoint: Endpoint {
            base_url: some_url(&scenario.target),
            describe: String::new(),
            routes: None,
        },
        seed: 0,
        sink,
    };
    traffic::prepare(&job).map_err(|e| RunError::BadInput(e.to_string()))?;
    Ok((target, findings))
}

/// A URL such as the target's will be.
fn some_url(target: &Target) -> String {
    match target {
        Target::Url(target) => target.url.clone(),
        Target::Local(LocalTarget { scheme, .. })
        | Target::Kubernetes(KubernetesTarget { scheme, .. }) => format!("{scheme}://127.0.0.1:1"),
    }
}

/// Prints what a run would do and to what.
pub fn plan(scenario: &Scenario) -> Result<String, RunError> {
    let (target, findings) = sentences(scenario)?;
    let mut out = format!("{}\n", scenario.name);
    section(&mut out, "Target", target);
    section(&mut out, "Traffic", scenario.traffic.iter().flat_map(flow));
    section(&mut out, "Faults", faults(scenario));
    section(&mut out, "Guard", guard(scenario));
    section(&mut out, "Watched", watched(scenario));
    section(
        &mut out,
        "Expected",
        scenario.expect.iter().map(expectation),
    );
    section(&mut out, "Capacity", scenario.capacity.iter().map(capacity));
    let length = format_duration(scenario.duration());
    let warm_up = match scenario.run.warm_up {
        Duration::ZERO => String::new(),
        time => format!(", the first {} not judged", format_duration(time)),
    };
    let seed = scenario
        .seed
        .map_or("drawn and recorded".to_string(), |s| s.to_string());
    let run = [
        format!("traffic lasts {length}{warm_up}; seed {seed}"),
        "the record goes to a new folder under reports/".to_string(),
    ];
    section(&mut out, "Run", run);
    section(&mut out, "Warnings", findings.into_iter().map(|f| f.text));
    out.push_str("\nNothing was started and nothing was sent.\n");
    Ok(out)
}

fn section(out: &mut String, title: &str, lines: impl IntoIterator<Item = String>) {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_none() {
        return;
    }
    let _ = writeln!(out, "\n{title}"); // writing to a String cannot fail
    for line in lines {
        let _ = writeln!(out, "  {line}");
    }
}

fn flow(flow: &Flow) -> Vec<String> {
    let load = match &flow.load {
        Load::Open(open) => open_load(open),
        Load::Closed(closed) => closed_load(closed),
    };
    let start = match flow.start {
        Duration::ZERO => String::new(),
        late => format!(", from {}", format_duration(late)),
    };
    let mut lines = vec![format!("{}: {load}{start}", flow.name)];
    steps(&flow.journey, "  ", &mut lines);
    lines
}

fn open_load(open: &OpenLoad) -> String {
    let process = match open.process {
        Process::Constant => "evenly spaced",
        Process::Poisson => "Poisson",
    };
    let mut before = 0.0;
    let mut journeys = 0.0;
    let mut stages = Vec::new();
    for stage in &open.stages {
        let rate = stage.rate.get();
        journeys += (before + rate) / 2.0 * stage.ramp.as_secs_f64();
        journeys += rate * stage.hold.as_secs_f64();
        before = rate;
        stages.push(format!(
            "{} (ramp {}, hold {})",
            stage.rate,
            format_duration(stage.ramp),
            format_duration(stage.hold)
        ));
    }
    format!(
        "open, {process}, {}; about {journeys:.0} journeys, at most {} at once",
        stages.join(", then "),
        open.max_in_flight
    )
}

fn closed_load(closed: &ClosedLoad) -> String {
    let stages: Vec<String> = closed
        .stages
        .iter()
        .map(|s| {
            format!(
                "{} users (ramp {}, hold {})",
                s.users,
                format_duration(s.ramp),
                format_duration(s.hold)
            )
        })
        .collect();
    let think = match closed.think {
        Think::None => String::new(),
        think => format!("; think {think} after each request"),
    };
    format!("closed, {}{think}", stages.join(", then "))
}

fn steps(nodes: &[Node], indent: &str, lines: &mut Vec<String>) {
    for node in nodes {
        match node {
            Node::Step(step) => {
                let request = format!("{} {}", step.method, step.path);
                if step.name == request {
                    lines.push(format!("{indent}{request}"));
                } else {
                    lines.push(format!("{indent}{}: {request}", step.name));
                }
            }
            Node::Think(think) => lines.push(format!("{indent}think {think}")),
            Node::Choose(branches) => {
                let total: f64 = branches.iter().map(|b| b.weight).sum();
                for branch in branches {
                    let share = 100.0 * branch.weight / total;
                    lines.push(format!("{indent}{share:.0}% of the time:"));
                    steps(&branch.journey, &format!("{indent}  "), lines);
                }
            }
        }
    }
}

fn faults(scenario: &Scenario) -> Vec<String> {
    const SHOWN: usize = 20;
    let all = occurrences(&scenario.faults, scenario.duration());
    let mut lines: Vec<String> = all
        .iter()
        .take(SHOWN)
        .map(|o| {
            let spec = &scenario.faults[o.spec];
            let lasts = o
                .lasts
                .map(|d| format!(" for {}", format_duration(d)))
                .unwrap_or_default();
            format!(
                "at {}: {}{} {}{lasts}",
                format_duration(o.at),
                spec.kind.name(),
                settings(&spec.kind),
                victims(spec)
            )
        })
        .collect();
    if all.len() > SHOWN {
        lines.push(format!("and {} more", all.len() - SHOWN));
    }
    lines
}

/// What a fault is set to, in the words of its file: ` (jitter 0s, latency 300ms)`.
fn settings(kind: &FaultKind) -> String {
    let json = serde_json::to_value(kind).unwrap_or_default();
    let fields = json
        .as_object()
        .and_then(|kind| kind.values().next()?.as_object());
    let shown: Vec<String> = { fields.into_iter().flatten() }
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_string);
            format!("{} {value}", name.replace('_', "-"))
        })
        .collect();
    match shown.is_empty() {
        true => String::new(),
        false => format!(" ({})", shown.join(", ")),
    }
}

fn victims(spec: &FaultSpec) -> String {
    let pick = match spec.select.pick {
        Pick::Count(n) => format!("{n} of"),
        Pick::Share(share) => format!("{share} of"),
        Pick::All => "all of".to_string(),
        Pick::Each => "the next, until each was hit once, of".to_string(),
    };
    let mut who: Vec<String> = spec.select.names.clone();
    who.extend(spec.select.labels.iter().map(|(k, v)| format!("{k}={v}")));
    if who.is_empty() {
        format!("{pick} the instances")
    } else {
        format!("{pick} {}", who.join(", "))
    }
}

fn guard(scenario: &Scenario) -> Vec<String> {
    let guard = &scenario.guard;
    let empties = scenario.faults.iter().any(|f| f.kind.is_of_node());
    let others = match (&scenario.target, empties) {
        (Target::Kubernetes(_), true) => {
            "; of every other workload of the namespace too, where a drain or the loss of a node takes pods of it"
        }
        _ => "",
    };
    let keep = guard.keep_ready.map(|k| match k {
        KeepReady::Share(share) => format!("at least {share} of the instances stay ready{others}"),
        KeepReady::Count(n) => format!("at least {n} instances stay ready{others}"),
    });
    let most = guard.max_faults.map(|n| format!("at most {n} injections"));
    let abort = guard
        .abort_when
        .iter()
        .map(|a| format!("everything is undone and the run ends when {}", a.text));
    let namespaces = guard
        .namespaces
        .as_ref()
        .map(|n| format!("only pods in namespace {} are broken", n.join(", ")));
    let classes = guard.priority_classes.iter();
    let classes = classes.map(|c| format!("pods of priority class {c} may be broken too"));
    let opt_in = guard.opt_in.as_ref().map(|label| {
        format!("only pods with the label {label}, or of a workload with it, are broken")
    });
    let lines = keep.into_iter().chain(most).chain(abort);
    let cluster = namespaces.into_iter().chain(classes).chain(opt_in);
    lines.chain(cluster).collect()
}

fn capacity(search: &Capacity) -> String {
    let least = search
        .at_least
        .map_or(String::new(), |rate| format!(", at least {rate}"));
    format!(
        "squall capacity searches from {} to {}, each rate held for {}, to {}{least}",
        search.from,
        search.to,
        format_duration(search.hold),
        search.resolution
    )
}

fn watched(scenario: &Scenario) -> Vec<String> {
    let apis = scenario.observe.alerts();
    apis.map(|(source, api)| {
        format!(
            "the alerts that {} at {} lists, once a second",
            source.name(),
            api.url
        )
    })
    .collect()
}

/// An expectation in words.
pub(super) fn expectation(expectation: &Expectation) -> String {
    match expectation {
        Expectation::Slo(slo) => {
            let mut line = slo.text.clone();
            for (what, name) in [("flow", &slo.flow), ("step", &slo.step)] {
                if let Some(name) = name {
                    line.push_str(&format!(", {what} {name}"));
                }
            }
            if let Some(phase) = slo.phase {
                line.push_str(&format!(", {phase:?} faults").to_lowercase());
            }
            line
        }
        Expectation::Recovery(recovery) => format!(
            "recovery within {} of each fault",
            format_duration(recovery.within)
        ),
        Expectation::Balance(expected) => balance(expected),
        Expectation::Spread(expected) => format!(
            "each {} can be lost: at most {} of the requests of the {} after it fail",
            expected.over.name(),
            expected.errors,
            format_duration(expected.within)
        ),
        Expectation::Deploy(expected) => format!(
            "each rollout of the target's workload costs no request, keeps to its strategy and is complete within {}",
            format_duration(expected.within)
        ),
        Expectation::Alert(expected) => alert::written(expected),
        Expectation::Usage(expected) => usage::written(expected),
        Expectation::Autoscale(expected) => format!(
            "autoscaler {} decides what its metrics give, by a controller that looks every {}; nobody else scales its \
             target",
            expected.hpa,
            format_duration(expected.sync)
        ),
    }
}

fn balance(expected: &BalanceExpectation) -> String {
    let unit = expected.by.name();
    let lag = format_duration(expected.lag);
    match expected.kind {
        BalanceKind::Uniform => format!(
            "the balancer spreads {unit}s evenly over the instances, to {}; the first {lag} after a change of the set \
             are left out",
            expected.tolerance
        ),
        BalanceKind::LeastRequest => format!(
            "the balancer gives each instance some {unit}s, and a slow one fewer; the first {lag} after a change of \
             the set are left out"
        ),
        BalanceKind::ClientIp(timeout) => format!(
            "the balancer keeps a client at its instance until it pauses for {}",
            format_duration(timeout)
        ),
    }
}
