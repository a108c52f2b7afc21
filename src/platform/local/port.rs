//! A free port for each instance.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// Finds ports on 127.0.0.1 that nobody listens on, below the range from which the kernel takes the local ports of
/// outgoing connections: under load a port of that range could be taken between its choice and its use.
#[derive(Debug)]
pub(super) struct Ports {
    rng: Pcg64Mcg,
    range: Range<u16>,
    given: std::collections::HashSet<u16>,
}

impl Ports {
    /// Ports that differ from process to process, so that several runs on one machine rarely want the same one.
    pub fn new() -> Self {
        let nanos = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64);
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
        Self {
            rng: Pcg64Mcg::seed_from_u64(nanos ^ u64::from(std::process::id()) << 32),
            range: below(&range.unwrap_or_default()),
            given: Default::default(),
        }
    }
    /// A port that is free now and was not given before.
    pub fn free(&mut self) -> std::io::Result<u16> {
        for _ in 0..1000 {
            let port = self.rng.random_range(self.range.clone());
            if !self.given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
            {
                self.given.insert(port);
                return Ok(port);
            }
        }
        // A crowded machine: whatever the kernel has.
        Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port())
    }
}

/// The ports to choose from, given the text of `ip_local_port_range`.
fn below(text: &str) -> Range<u16> {
    let low = text.split_ascii_whitespace().next();
    let low: u16 = low.and_then(|w| w.parse().ok()).unwrap_or(32768);
    match low {
        12_000.. => 10_000..low,
        // Nearly all ports are for outgoing connections; any is as good as another.
        _ => 20_000..60_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_distinct_and_below_the_range_of_outgoing_connections() {
        assert_eq!(below("32768\t60999\n"), 10_000..32_768);
        assert_eq!(below("1024 65535"), 20_000..60_000);
        assert_eq!(below(""), 10_000..32_768);
        let mut ports = Ports::new();
        let many: std::collections::HashSet<u16> = (0..50).map(|_| ports.free().unwrap()).collect();
        assert_eq!(many.len(), 50);
    }
}
