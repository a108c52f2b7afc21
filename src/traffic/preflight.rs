//! Whether a scenario fits this machine, said before it starts.

use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::users::peak;
use crate::record::Level;
use crate::scenario::{ConnectionMode, Flow, Load, Protocol, Scenario, Target};

/// Files that the program itself needs, besides those of connections.
const OWN_FILES: u64 = 100;
/// How long the kernel keeps the port of a connection that this side closed.
const TIME_WAIT_S: f64 = 60.0;

/// One thing to know before the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// [`Level::Error`]: the scenario cannot fit.
    pub level: Level,
    /// A sentence.
    pub text: String,
}

/// What this machine allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open files of this process.
    pub files: u64,
    /// Open files that the kernel grants to any process (fs.nr_open).
    pub kernel_files: u64,
    /// Local ports for outgoing connections, of each source address.
    pub ports: u64,
}

/// Raises the open-file limit as far as is needed and allowed, and says whether the scenario fits.
pub fn preflight(scenario: &Scenario) -> Vec<Finding> {
    let limits = Limits {
        files: allowed_files(scenario),
        kernel_files: kernel_open_files(),
        ports: local_ports(),
    };
    judge(scenario, limits)
}

/// The scenario with `max-in-flight` lowered to what this process's open files allow, and what was lowered.
///
/// An arrival beyond is dropped, and known for the generator's limit. Without a descriptor it would be an error, and could
/// pass for the service's: the balancer of a local target is in this process, too.
pub(super) fn fitted(scenario: &Scenario) -> (Scenario, Vec<String>) {
    let allowed = allowed_files(scenario);
    let mut scenario = scenario.clone();
    let lowered = fit(&mut scenario, allowed);
    (scenario, lowered)
}

/// Lowers `max-in-flight` to so many open files. A pool is as large as it is asked for, and so is a number of users.
fn fit(scenario: &mut Scenario, allowed: u64) -> Vec<String> {
    let room = allowed.saturating_sub(OWN_FILES);
    let lowers = |flow: &Flow| {
        let pooled = matches!(flow.connections.mode, ConnectionMode::Pooled(_));
        matches!(flow.load, Load::Open(_)) && !pooled
    };
    let (mut fixed, mut open) = (0, 0);
    for flow in &scenario.traffic {
        let sum = if lowers(flow) { &mut open } else { &mut fixed };
        *sum += files(scenario, flow).0;
    }
    if fixed + open <= room {
        return Vec::new();
    }
    // A tenth is for connections that one side has closed and the other not yet.
    let share = room.saturating_sub(fixed) as f64 * 0.9 / open.max(1) as f64;
    let mut lowered = Vec::new();
    for flow in scenario.traffic.iter_mut().filter(|flow| lowers(flow)) {
        let name = &flow.name;
        if let Load::Open(load) = &mut flow.load {
            let most = ((f64::from(load.max_in_flight) * share) as u32).max(1);
            lowered.push(format!(
                "flow `{name}`: at most {most} journeys at once and not {}, which might need more open files than the \
                 {allowed} that this process may have (`ulimit -Hn`)",
                load.max_in_flight
            ));
            load.max_in_flight = most;
        }
    }
    lowered
}

/// The open files that this process may have, raised as far as the scenario needs and as is allowed.
fn allowed_files(scenario: &Scenario) -> u64 {
    let needed = scenario.traffic.iter().map(|flow| files(scenario, flow).0);
    raise_open_files(needed.sum::<u64>() + OWN_FILES)
}

/// Raises the soft limit of open files to the hard limit, and that, where this process may, to what is needed. Returns
/// the limit in force.
fn raise_open_files(needed: u64) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let set = |limit: Option<u64>| {
        let (current, maximum) = (limit, limit);
        let raised = setrlimit(Resource::Nofile, Rlimit { current, maximum });
        raised.ok().map(|()| limit.unwrap_or(u64::MAX))
    };
    // Only root (CAP_SYS_RESOURCE) may, and nobody goes beyond the kernel's own limit. None is no limit.
    let wanted = needed.min(kernel_open_files());
    let beyond = maximum.filter(|hard| wanted > *hard).and(Some(wanted));
    beyond
        .and_then(|wanted| set(Some(wanted)))
        .or_else(|| set(maximum))
        .unwrap_or(current.unwrap_or(u64::MAX))
}

/// What the kernel grants to one process at most.
fn kernel_open_files() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/fs/nr_open");
    // The kernel's default.
    let number = text.ok().and_then(|text| text.trim().parse().ok());
    number.unwrap_or(1 << 20)
}

fn local_ports() -> u64 {
    let range = std::fs::read_to_string(Path::new("/proc/sys/net/ipv4/ip_local_port_range"));
    let parse = |text: String| {
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        let (low, high) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(high.saturating_sub(low) + 1)
    };
    // The kernel's default.
    range.ok().and_then(parse).unwrap_or(28_232)
}

/// The connections that a flow has at once, and whether it surely has them (and not only when the service stalls).
fn connections(flow: &Flow) -> (u64, bool) {
    let (users, sure) = match &flow.load {
        Load::Open(open) => (u64::from(open.max_in_flight), false),
        Load::Closed(closed) => (u64::from(peak(&closed.stages)), true),
    };
    let streams = match flow.protocol {
        Protocol::Http1 => 1,
        Protocol::Http2 => u64::from(flow.connections.streams.unwrap_or(1).max(1)),
    };
    match flow.connections.mode {
        ConnectionMode::Pooled(connections) => (u64::from(connections).min(users), sure),
        ConnectionMode::PerUser => (users.div_ceil(streams), sure),
        ConnectionMode::PerRequest => (users, sure),
    }
}

/// The open files that a flow's connections take, at most and surely.
fn files(scenario: &Scenario, flow: &Flow) -> (u64, u64) {
    // The balancer of a local target is in this process: it accepts each connection and opens one to an instance.
    let each = match scenario.target {
        Target::Local(_) => 3,
        _ => 1,
    };
    let (count, sure) = connections(flow);
    (count * each, if sure { count * each } else { 0 })
}

/// Compares what a scenario needs with what there is. Pure.
pub fn judge(scenario: &Scenario, limits: Limits) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |level, text: String| findings.push(Finding { level, text });
    let local = matches!(scenario.target, Target::Local(_));
    let (mut sure_files, mut possible_files) = (0, 0);
    for flow in &scenario.traffic {
        let (count, sure) = connections(flow);
        let files = files(scenario, flow);
        possible_files += files.0;
        sure_files += files.1;
        let sources = flow.connections.source.len().max(1) as u64;
        let ports = limits.ports * sources;
        let (name, what) = (
            &flow.name,
            if sure {
                "users"
            } else {
                "journeys at once (`max-in-flight`)"
            },
        );
        if count > ports {
            let level = if sure { Level::Error } else { Level::Warning };
            find(
                level,
                format!(
                    "flow `{name}`: up to {count} connections for its {what}, but {sources} source address(es) \
                     have {ports} local ports (net.ipv4.ip_local_port_range); add addresses with \
                     `connections: {{ source: [...] }}`"
                ),
            );
        }
        if let (ConnectionMode::PerRequest, Load::Open(open)) = (flow.connections.mode, &flow.load)
        {
            let rate = open
                .stages
                .iter()
                .map(|stage| stage.rate.get())
                .fold(0.0, f64::max);
            let held = rate * TIME_WAIT_S;
            if held > ports as f64 && !local {
                find(
                    Level::Warning,
                    format!(
                        "flow `{name}`: {rate} new connections a second keep up to {held:.0} local ports for a \
                         minute each, and there are {ports}; where this side closes first, requests will fail \
                         as `local`"
                    ),
                );
            }
        }
    }
    let room = limits.files.saturating_sub(OWN_FILES);
    if sure_files > room {
        let what = format!("the scenario's users need {sure_files} open files");
        find(Level::Error, too_many_files(&what, sure_files, limits));
    } else if possible_files > room {
        let what = format!("when the service stalls, up to {possible_files} open files are needed");
        find(
            Level::Warning,
            too_many_files(&what, possible_files, limits),
        );
    }
    findings
}

/// Says what is needed, what there is, and how to get more.
fn too_many_files(what: &str, needed: u64, limits: Limits) -> String {
    let all = needed + OWN_FILES;
    let kernel = if all > limits.kernel_files {
        format!("`sysctl fs.nr_open={all}` and ")
    } else {
        String::new()
    };
    format!(
        "{what}, and {OWN_FILES} for squall itself, but this process may have {} (`ulimit -Hn`) and is not allowed to \
         raise that: as root set {kernel}`ulimit -Hn {all}`, or lower `users` or `max-in-flight`",
        limits.files
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scenario::units::Rate;
    use crate::scenario::{ClosedLoad, OpenLoad, Process, RateStage, Think, UserStage};
    use crate::traffic::testing::{flow, scenario};

    fn closed(users: u32) -> Scenario {
        let mut flow = flow();
        let stage = UserStage {
            users,
            ramp: Duration::ZERO,
            hold: Duration::from_secs(1),
        };
        flow.load = Load::Closed(ClosedLoad {
            stages: vec![stage],
            think: Think::None,
        });
        scenario(vec![flow])
    }

    fn open(rate: f64, max_in_flight: u32) -> Scenario {
        let mut flow = flow();
        let stage = RateStage {
            rate: Rate::per_second(rate),
            ramp: Duration::ZERO,
            hold: Duration::from_secs(1),
        };
        flow.load = Load::Open(OpenLoad {
            process: Process::Constant,
            stages: vec![stage],
            max_in_flight,
        });
        scenario(vec![flow])
    }

    fn levels(scenario: &Scenario, files: u64, ports: u64) -> Vec<Level> {
        let kernel_files = 1 << 20;
        let limits = Limits {
            files,
            kernel_files,
            ports,
        };
        judge(scenario, limits)
            .into_iter()
            .map(|f| f.level)
            .collect()
    }

    #[test]
    fn users_that_cannot_fit_are_an_error_and_possible_ones_a_warning() {
        assert_eq!(levels(&closed(900), 1000, 1000), []);
        assert_eq!(levels(&closed(901), 1000, 1000), [Level::Error]);
        assert_eq!(levels(&closed(1001), 10_000, 1000), [Level::Error]);
        assert_eq!(levels(&open(10.0, 2000), 1000, 10_000), [Level::Warning]);
        assert_eq!(levels(&open(10.0, 2000), 10_000, 1000), [Level::Warning]);
    }

    #[test]
    fn open_flows_share_what_the_users_and_pools_leave() {
        let most = |scenario: &Scenario| -> Vec<u32> {
            let loads = scenario.traffic.iter().map(|flow| &flow.load);
            loads
                .filter_map(|load| match load {
                    Load::Open(open) => Some(open.max_in_flight),
                    Load::Closed(_) => None,
                })
                .collect()
        };
        let mut scenario = open(10.0, 2000);
        for other in [open(10.0, 500), closed(200), open(10.0, 300)] {
            scenario.traffic.extend(other.traffic);
        }
        scenario.traffic[3].connections.mode = ConnectionMode::Pooled(50);
        // 2,500 of the two that can be lowered, and 250 of the others.
        assert!(fit(&mut scenario, 2850).is_empty());
        assert_eq!(most(&scenario), [2000, 500, 300]);
        let told = fit(&mut scenario, 1350);
        assert_eq!(most(&scenario), [720, 180, 300]);
        assert!(told.len() == 2 && told[0].contains("720"), "{told:?}");
        fit(&mut scenario, 0);
        assert_eq!(most(&scenario), [1, 1, 300]);
    }

    #[test]
    fn source_addresses_multiply_ports_and_pools_bound_connections() {
        let mut scenario = closed(1500);
        scenario.traffic[0].connections.source =
            vec!["127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap()];
        assert_eq!(levels(&scenario, 10_000, 1000), []);
        let mut scenario = closed(1500);
        scenario.traffic[0].connections.mode = ConnectionMode::Pooled(10);
        assert_eq!(levels(&scenario, 1000, 1000), []);
    }

    #[test]
    fn a_connection_per_request_uses_up_ports_by_rate() {
        let mut scenario = open(1000.0, 10);
        scenario.traffic[0].connections.mode = ConnectionMode::PerRequest;
        assert_eq!(levels(&scenario, 1000, 28_000), [Level::Warning]);
        assert_eq!(levels(&scenario, 1000, 60_000), []);
    }

    #[test]
    fn what_is_missing_is_said_with_what_to_do() {
        let limits = |kernel_files| Limits {
            files: 20_000,
            kernel_files,
            ports: 100_000,
        };
        let text = |kernel_files| judge(&closed(30_000), limits(kernel_files))[0].text.clone();
        assert!(text(1 << 20).contains("need 30000 open files"));
        assert!(
            text(1 << 20).contains("set `ulimit -Hn 30100`"),
            "{}",
            text(1 << 20)
        );
        let kernel = text(25_000);
        assert!(
            kernel.contains("`sysctl fs.nr_open=30100` and `ulimit -Hn 30100`"),
            "{kernel}"
        );
    }

    #[test]
    fn the_limit_is_raised() {
        let limit = raise_open_files(0);
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.current.unwrap_or(u64::MAX), limit);
        assert_eq!(now.current, now.maximum);
        assert!(local_ports() > 1000);
    }
}
