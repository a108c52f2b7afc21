//! What process groups use of this machine, read from `/proc`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The unit of CPU time in `/proc`: 10 ms on every architecture that Rust's standard library supports on Linux
/// (`USER_HZ` is 100, a part of the kernel's promise to programs).
const TICK: Duration = Duration::from_millis(10);

/// The fields of `/proc/PID/stat` that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// One letter: `R`, `S`, `T` (stopped), `Z` (ended, not yet waited for).
    pub state: char,
    /// The process group.
    pub group: u32,
    /// CPU time used so far, user and system, in ticks.
    pub cpu_ticks: u64,
    /// When it started, in ticks since boot: with the pid this names a process for good.
    pub start_ticks: u64,
}

impl Stat {
    /// Reads the text of `/proc/PID/stat`.
    pub fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, and may hold anything: count from its end.
        let rest = &text[text.rfind(')')? + 1..];
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The first of these is field 3 of proc(5).
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            state: fields.first()?.chars().next()?,
            group: number(5)? as u32,
            cpu_ticks: number(14)? + number(15)?,
            start_ticks: number(22)?,
        })
    }
    /// Of a process that exists.
    pub fn of(pid: u32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }
}

/// Resident memory in bytes, from the text of `/proc/PID/status`.
fn resident(status: &str) -> u64 {
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let number = line.and_then(|l| l.split_ascii_whitespace().next());
    let kib: u64 = number.and_then(|n| n.parse().ok()).unwrap_or(0);
    kib * 1024
}

/// Use of the machine by one process group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU since the sample before, thousandths of a core.
    pub cpu_millicores: u64,
    /// Resident memory now, bytes; shared pages count for each process that has them.
    pub memory_bytes: u64,
}

/// Samples process groups; remembers each process from one sample to the next.
#[derive(Debug, Default)]
pub struct UsageSampler {
    last: Option<Instant>,
    /// CPU ticks at the last sample, by pid and start.
    seen: HashMap<(u32, u64), u64>,
}

impl UsageSampler {
    /// The use of each group since the last call. The first call only takes the measure and returns nothing.
    pub fn sample(&mut self, groups: &[u32]) -> HashMap<u32, Usage> {
        let now = Instant::now();
        let elapsed = self.last.replace(now).map(|last| now - last);
        let members: Vec<(u32, Stat)> = processes()
            .filter_map(|pid| Some((pid, Stat::of(pid)?)))
            .filter(|(_, stat)| groups.contains(&stat.group))
            .collect();
        let usage = elapsed.map(|elapsed| {
            let mut usage: HashMap<u32, Usage> = HashMap::new();
            for (pid, stat) in &members {
                let before = self.seen.get(&(*pid, stat.start_ticks)).copied();
                // A process that is new since the last sample has used all of its time since.
                let ticks = stat.cpu_ticks.saturating_sub(before.unwrap_or(0));
                let of = usage.entry(stat.group).or_default();
                of.cpu_millicores += millicores(ticks, elapsed);
                let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
                of.memory_bytes += status.map_or(0, |s| resident(&s));
            }
            usage
        });
        self.seen = members
            .iter()
            .map(|(pid, stat)| ((*pid, stat.start_ticks), stat.cpu_ticks))
            .collect();
        usage.unwrap_or_default()
    }
}

fn millicores(ticks: u64, elapsed: Duration) -> u64 {
    let used = TICK.as_secs_f64() * ticks as f64;
    (used / elapsed.as_secs_f64().max(1e-3) * 1000.0).round() as u64
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let text =
            "42 (a) b (c) S 1 77 77 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 3 0 98765 1000 25 1 1\n";
        let expected = Stat {
            state: 'S',
            group: 77,
            cpu_ticks: 200,
            start_ticks: 98765,
        };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("42 (cut"), None);
        assert_eq!(Stat::parse("42 (short) S 1"), None);
    }

    #[test]
    fn memory_and_cpu_are_in_their_units() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t    2048 kB\n"), 2 << 20);
        assert_eq!(resident("Name:\tkernel thread\n"), 0);
        assert_eq!(millicores(150, Duration::from_secs(1)), 1500);
        assert_eq!(millicores(50, Duration::from_secs(2)), 250);
    }

    #[test]
    fn a_busy_group_of_two_processes_is_seen_as_busy_and_resident() {
        use std::os::unix::process::CommandExt;
        // The shell starts a busy child and is idle itself: only the group as a whole shows the use.
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sh -c 'while :; do :; done' & wait"])
            .process_group(0)
            .spawn()
            .unwrap();
        let mut sampler = UsageSampler::default();
        assert!(sampler.sample(&[child.id()]).is_empty());
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut usage = Usage::default();
        while usage.cpu_millicores < 20 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(200));
            usage = sampler
                .sample(&[child.id()])
                .remove(&child.id())
                .unwrap_or_default();
        }
        let group = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
        child.wait().unwrap();
        assert!(usage.cpu_millicores >= 20, "{usage:?}");
        assert!(usage.memory_bytes > 100_000, "{usage:?}");
    }
}
