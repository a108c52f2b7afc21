//! `squall stress`: uses up CPU and memory, exactly what it says and for a bounded time, and tells what it used.
//!
//! It runs beside a service, in the service's own container, and must never stay behind: it ends when its time is up,
//! when its standard input is closed (whoever started it is gone) and, where a silence is set, when nothing has come
//! on its standard input for so long (whoever started it cannot be heard any more).

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::scenario::units::{Ratio, Size};

/// Work and rest of a worker alternate within this.
const SLOT: Duration = Duration::from_millis(100);
/// Memory is touched in pieces, so that an end is noticed in between.
const PIECE: usize = 4 << 20;
/// What the line begins with that says: all of it is in force.
pub const ON: &str = "stress: on";

/// What to use up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Threads that use CPU.
    pub cpu: u32,
    /// The share of a core that each of them uses.
    pub load: Ratio,
    /// Memory that is held and touched.
    pub memory: Option<Size>,
    /// For so long at the most.
    pub lasts: Duration,
    /// Ends after so long without anything on standard input.
    pub silence: Option<Duration>,
}

/// Why it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Time,
    Closed,
    Silence,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            End::Time => "its time was up",
            End::Closed => "its standard input was closed",
            End::Silence => "nothing came on its standard input for too long",
        })
    }
}

/// Uses it up until one of the ends, and says on `out` when it is in force and what it came to. Each line that comes
/// on `input` is answered with a line on what was used so far.
pub fn run(
    options: &Options,
    input: impl Read + Send + 'static,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let (began, until) = (Instant::now(), Instant::now() + options.lasts);
    let heard = listen(input);
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..options.cpu)
        .map(|_| {
            let (stop, load) = (stop.clone(), options.load.get());
            thread::spawn(move || burn(load, &stop))
        })
        .collect();
    let size = options.memory.map_or(0, Size::get);
    let held = hold(size, &heard, until, options.silence);
    let end = match &held {
        Ok(Held::All(_)) => {
            say(out, ON, options, began)?;
            wait(&heard, until, options.silence, |()| {
                say(out, ON, options, began)
            })?
        }
        Ok(Held::Ended(end)) => *end,
        Err(_) => End::Time,
    };
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        // It only counts: it cannot panic.
        let _ = worker.join();
    }
    if let Err(text) = held {
        return Err(std::io::Error::other(text));
    }
    say(out, &format!("stress: over ({end})"), options, began)
}

fn say(out: &mut impl Write, what: &str, o: &Options, began: Instant) -> std::io::Result<()> {
    let cpu = time_of(ClockId::ProcessCPUTime);
    let memory = o.memory.map(|m| format!(", {m} held")).unwrap_or_default();
    writeln!(
        out,
        "{what}: after {:.1} s: {:.1} s of CPU used by {} workers at {}{memory}",
        began.elapsed().as_secs_f64(),
        cpu.as_secs_f64(),
        o.cpu,
        o.load,
    )?;
    out.flush()
}

fn time_of(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Uses this share of a core: counted in CPU time, so that a core shared with others is not taken for work done.
fn burn(load: f64, stop: &AtomicBool) {
    let mut x = 1u64;
    while !stop.load(Ordering::Relaxed) {
        let (slot, before) = (Instant::now(), time_of(ClockId::ThreadCPUTime));
        let work = SLOT.mul_f64(load);
        while slot.elapsed() < SLOT && time_of(ClockId::ThreadCPUTime) - before < work {
            for _ in 0..20_000 {
                x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            }
        }
        thread::sleep(SLOT.saturating_sub(slot.elapsed()));
    }
}

/// A word for each piece that comes on the input; its end closes the channel.
fn listen(mut input: impl Read + Send + 'static) -> mpsc::Receiver<()> {
    let (tx, rx) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(1..) = input.read(&mut buffer) {
            if tx.send(()).is_err() {
                return;
            }
        }
    });
    rx
}

/// Waits for an end; tells of each word heard.
fn wait(
    heard: &mpsc::Receiver<()>,
    until: Instant,
    silence: Option<Duration>,
    mut told: impl FnMut(()) -> std::io::Result<()>,
) -> std::io::Result<End> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let quiet = silence.unwrap_or(Duration::MAX);
        match heard.recv_timeout(left.min(quiet)) {
            // Nobody reads what is said: whoever started it is gone.
            Ok(()) if told(()).is_err() => return Ok(End::Closed),
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(End::Closed),
            Err(RecvTimeoutError::Timeout) if Instant::now() >= until => return Ok(End::Time),
            Err(RecvTimeoutError::Timeout) => return Ok(End::Silence),
        }
    }
}

enum Held {
    All(#[allow(dead_code)] Vec<u8>),
    Ended(End),
}

/// Memory of this size, every page of it touched.
fn hold(
    size: u64,
    heard: &mpsc::Receiver<()>,
    until: Instant,
    silence: Option<Duration>,
) -> Result<Held, String> {
    let too_much = |_| format!("{size} bytes of memory cannot be had here");
    let size = usize::try_from(size).map_err(|_| too_much(()))?;
    let mut memory: Vec<u8> = Vec::new();
    memory.try_reserve_exact(size).map_err(|_| too_much(()))?;
    while memory.len() < size {
        let next = (memory.len() + PIECE).min(size);
        // Not zero: a page of zeros need not be a page of its own.
        memory.resize(next, 0xa5);
        let now = Instant::now();
        if now >= until || matches!(heard.try_recv(), Err(mpsc::TryRecvError::Disconnected)) {
            return wait(heard, now, silence, |()| Ok(()))
                .map(Held::Ended)
                .map_err(|e| e.to_string());
        }
    }
    Ok(Held::All(memory))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(cpu: u32, load: f64, memory: Option<u64>, ms: u64) -> Options {
        Options {
            cpu,
            load: Ratio::fraction(load),
            memory: memory.map(Size::bytes),
            lasts: Duration::from_millis(ms),
            silence: None,
        }
    }

    /// Blocks for ever: an input that nobody closes.
    struct Open(mpsc::Receiver<()>);
    impl Read for Open {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            match self.0.recv() {
                Ok(()) => {
                    buffer[0] = b'\n';
                    Ok(1)
                }
                Err(_) => Ok(0),
            }
        }
    }

    fn said(options: &Options, input: impl Read + Send + 'static) -> (String, Duration) {
        let (mut out, began) = (Vec::new(), Instant::now());
        run(options, input, &mut out).expect("a stress");
        (String::from_utf8(out).unwrap(), began.elapsed())
    }

    #[test]
    fn it_ends_by_its_time_when_its_input_closes_and_when_nobody_is_heard() {
        let (keep, open) = mpsc::channel();
        let (text, took) = said(&options(0, 1.0, Some(8 << 20), 300), Open(open));
        assert!(
            text.starts_with(ON) && text.contains("its time was up"),
            "{text}"
        );
        assert!(took >= Duration::from_millis(300), "{took:?}");
        drop(keep);

        let (text, took) = said(&options(1, 1.0, None, 60_000), std::io::empty());
        assert!(text.contains("input was closed"), "{text}");
        assert!(took < Duration::from_secs(30), "{took:?}");

        let (keep, open) = mpsc::channel();
        let silent = Options {
            silence: Some(Duration::from_millis(200)),
            ..options(0, 1.0, None, 60_000)
        };
        keep.send(()).unwrap();
        let (text, _) = said(&silent, Open(open));
        assert!(text.contains("for too long"), "{text}");
        assert_eq!(text.matches(ON).count(), 2, "a word is answered: {text}");
    }

    #[test]
    fn a_worker_uses_the_share_that_it_says() {
        // On a machine that others use too it can only use less.
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        let worker = thread::spawn(move || {
            let before = time_of(ClockId::ThreadCPUTime);
            burn(0.3, &ended);
            time_of(ClockId::ThreadCPUTime) - before
        });
        thread::sleep(Duration::from_millis(1500));
        stop.store(true, Ordering::Relaxed);
        let used = worker.join().unwrap().as_secs_f64();
        assert!(
            (0.05..0.65).contains(&used),
            "{used} s of CPU in 1.5 s at 30%"
        );
    }
}
