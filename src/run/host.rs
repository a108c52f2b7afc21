//! The machine that generates the load, for the record's header.

use std::hash::{BuildHasher, Hasher};

use crate::record::Host;

/// A seed for a scenario that names none. 53 bits: it survives every JSON reader.
pub fn random_seed() -> u64 {
    // The standard library seeds its hash maps from the operating system.
    let random = std::collections::hash_map::RandomState::new();
    random.build_hasher().finish() >> 11
}

/// What can be read of this machine; unknown parts stay empty.
pub fn describe() -> Host {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key))
            .map(|rest| rest.trim_start_matches([':', ' ', '\t']).trim().to_string())
            .unwrap_or_default()
    };
    let memory_kib: u64 = field(&read("/proc/meminfo"), "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or(0);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    Host {
        name: read("/proc/sys/kernel/hostname").trim().to_string(),
        os: format!(
            "{} {}",
            read("/proc/sys/kernel/ostype").trim(),
            read("/proc/sys/kernel/osrelease").trim()
        ),
        cores: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        cpu: field(&read("/proc/cpuinfo"), "model name"),
        memory_bytes: memory_kib * 1024,
        open_files: limit.current.unwrap_or(u64::MAX),
    }
}
