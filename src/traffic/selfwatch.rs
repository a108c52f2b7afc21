//! The generator watches itself: the CPU of each worker, the process's open files.

use rustix::time::{ClockId, clock_gettime};

use crate::record::Micros;

/// The CPU use of the thread that asks.
#[derive(Debug)]
pub struct ThreadCpu {
    used_us: u64,
    at: Micros,
}

impl ThreadCpu {
    /// Starts counting.
    pub fn start(now: Micros) -> Self {
        Self {
            used_us: used_us(),
            at: now,
        }
    }

    /// Use since last asked, thousandths of a core.
    pub fn millicores(&mut self, now: Micros) -> u64 {
        let used = used_us();
        let (cpu, wall) = (
            used.saturating_sub(self.used_us),
            now.saturating_sub(self.at),
        );
        *self = Self {
            used_us: used,
            at: now,
        };
        (cpu * 1000).checked_div(wall).unwrap_or(0)
    }
}

fn used_us() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

/// Open file descriptors of this process.
pub fn open_files() -> u64 {
    // Newer kernels (6.2) say it as the folder's size: a listing of tens of thousands each second would be felt.
    match std::fs::metadata("/proc/self/fd") {
        Ok(folder) if folder.len() > 0 => folder.len(),
        _ => listed_files(),
    }
}

fn listed_files() -> u64 {
    // The listing itself is one of them.
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Clock;

    #[test]
    fn a_busy_thread_shows_and_a_waiting_one_does_not() {
        let clock = Clock::start();
        let mut cpu = ThreadCpu::start(clock.now());
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(cpu.millicores(clock.now()) < 500);
        let until = used_us() + 20_000;
        let mut spins = 0u64;
        while used_us() < until {
            spins += 1;
        }
        assert!(cpu.millicores(clock.now()) > 50, "{spins} spins");
    }

    #[test]
    fn open_files_are_counted() {
        let before = open_files();
        let _files: Vec<_> = (0..50)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .collect();
        assert!(open_files() >= before + 40);
        // Other tests open and close files meanwhile.
        assert!(open_files().abs_diff(listed_files()) < 40);
    }
}
