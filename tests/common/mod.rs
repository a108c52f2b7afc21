//! Shared by the end-to-end tests: runs the real binary on a scenario text in a folder of its own.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

pub mod monitoring;

/// The binary under test.
pub const SQUALL: &str = env!("CARGO_BIN_EXE_squall");

/// One scenario in a temporary folder.
pub struct Bench {
    pub dir: Arc<tempfile::TempDir>,
    pub mark: String,
    /// More environment for squall.
    pub env: Vec<(&'static str, String)>,
}

impl Bench {
    /// A folder with `scenario.yaml`; `MARK` in the text becomes a value that finds this run's processes again.
    pub fn new(scenario: &str) -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let mark = format!(
            "squall-test-{}-{}",
            std::process::id(),
            dir.path().file_name().unwrap().to_string_lossy()
        );
        std::fs::write(
            dir.path().join("scenario.yaml"),
            scenario.replace("MARK", &mark),
        )
        .unwrap();
        let dir = Arc::new(dir);
        let env = Vec::new();
        Self { dir, mark, env }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(SQUALL);
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("NO_COLOR", "1")
            .envs(self.env.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// `squall run`, record in `out/`.
    pub fn run(&self) -> Run {
        let child = self.spawn();
        self.wait(child)
    }

    /// Exit code and text of a command that makes several runs into `out/`. Where the machine was too busy for enough of
    /// them to count, which squall says rather than guess, they are made once more, as its user would.
    pub fn conclusive(&self, make: impl Fn() -> (Option<i32>, String)) -> (Option<i32>, String) {
        let (code, text) = make();
        if code != Some(3) {
            return (code, text);
        }
        eprintln!("made again: {text}");
        std::fs::remove_dir_all(self.path("out")).unwrap();
        make()
    }

    /// As `run`; where the machine was too busy for the generator to keep its schedule, which squall says rather than
    /// guess, the run is made again, as its user would.
    pub fn run_conclusive(&self) -> Run {
        for _ in 0..2 {
            let run = self.run();
            if run.code != 3 || run.verdict("generator").0 == "PASS" {
                return run;
            }
            eprintln!("made again: {}", run.verdict("generator").1);
            std::fs::remove_dir_all(&run.out).unwrap();
        }
        self.run()
    }

    /// As `run`, but only started.
    pub fn spawn(&self) -> Child {
        self.command(&["run", "scenario.yaml", "--out", "out", "--quiet"])
            .spawn()
            .expect("squall starts")
    }

    /// Waits for a started run; a run that hangs fails the test.
    pub fn wait(&self, child: Child) -> Run {
        let output = wait_bounded(child, Duration::from_secs(120));
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            out: self.path("out"),
            dir: self.dir.clone(),
        }
    }

    /// Processes of this run that are alive (zombies do not count).
    pub fn alive(&self) -> Vec<u32> {
        processes_with(&self.mark)
    }

    /// Waits until no process of this run is left.
    pub fn gone_within(&self, limit: Duration) -> bool {
        within(limit, || self.alive().is_empty())
    }
}

/// What a run printed and left.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub out: PathBuf,
    /// Keeps the folder for as long as the result is looked at.
    pub dir: Arc<tempfile::TempDir>,
}

impl Run {
    #[track_caller]
    pub fn expect_code(&self, code: i32) -> &Self {
        assert_eq!(
            self.code, code,
            "exit code\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// A run whose verdicts are not the matter: it only must have ended as planned.
    #[track_caller]
    pub fn expect_completed(&self) -> &Self {
        match self.code {
            3 => self,
            _ => self.expect_code(0),
        }
    }

    pub fn result(&self) -> Value {
        read_json(&self.out.join("result.json"))
    }

    /// Verdict, sentence and whole entry of the first expectation that contains the text.
    #[track_caller]
    pub fn verdict(&self, expectation: &str) -> (String, String) {
        let result = self.result();
        let found = result["verdicts"].as_array().unwrap().iter().find(|v| {
            v["expectation"].as_str().unwrap().contains(expectation)
                || v["oracle"].as_str() == Some(expectation)
        });
        let found = found.unwrap_or_else(|| panic!("no verdict {expectation} in {result:#}"));
        (
            found["verdict"].as_str().unwrap().to_string(),
            found["because"].as_str().unwrap().to_string(),
        )
    }

    /// Lines of record.jsonl after the header.
    pub fn events(&self) -> Vec<Value> {
        events(&self.out)
    }
}

pub fn events(out: &Path) -> Vec<Value> {
    std::fs::read_to_string(out.join("record.jsonl"))
        .unwrap()
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub fn read_json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// What was printed, on one line with single spaces: a sentence is found wherever it was wrapped.
pub fn squeezed(printed: &[u8]) -> String {
    let text = String::from_utf8_lossy(printed);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Waits for a process, and kills it when it takes too long.
pub fn wait_bounded(mut child: Child, limit: Duration) -> Output {
    let deadline = Instant::now() + limit;
    // Read while waiting: a full pipe would block the child.
    let out = drain(child.stdout.take().unwrap());
    let err = drain(child.stderr.take().unwrap());
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            let status = child.wait().unwrap();
            panic!(
                "squall took longer than {limit:?} ({status})\n{}\n{}",
                String::from_utf8_lossy(&out.join().unwrap()),
                String::from_utf8_lossy(&err.join().unwrap())
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    Output {
        status,
        stdout: out.join().unwrap(),
        stderr: err.join().unwrap(),
    }
}

fn drain(mut from: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// A process that ends with the test.
pub struct Ends(pub Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `squall demo` with these flags in a process of its own, started by way of the words before it, and its address.
pub fn demo(before: &[&str], flags: &[&str]) -> (Ends, String) {
    let words = [before, &[SQUALL, "demo", "--port", "0"], flags].concat();
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    let ends = Ends(child);
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let address = line.trim().rsplit(' ').next().unwrap().to_string();
    assert!(address.contains(':'), "no address in {line:?}");
    (ends, address)
}

/// The most memory that a process has had, in KiB; none once it has ended.
pub fn peak_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Tries until it holds.
pub fn within(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Live processes whose environment holds the text.
pub fn processes_with(text: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit(')').next().unwrap_or("").trim_start();
        if String::from_utf8_lossy(&environ).contains(text) && !state.starts_with('Z') {
            found.push(pid);
        }
    }
    found
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

pub fn signal(pid: u32, signal: &str) {
    let status = Command::new("kill")
        .args([&format!("-{signal}"), &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success(), "kill -{signal} {pid}");
}

/// A test that needs something this machine lacks: says so, or fails where it must run (CI).
#[macro_export]
macro_rules! skip {
    ($($why:tt)*) => {{
        let why = format!($($why)*);
        if std::env::var_os("SQUALL_TESTS_MUST_RUN").is_some() {
            panic!("this test must run here, and cannot: {why}");
        }
        eprintln!("SKIPPED {}: {why}", module_path!());
        return;
    }};
}
