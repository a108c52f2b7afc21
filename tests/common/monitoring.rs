//! A real Prometheus with its Alertmanager, as `scenarios/prometheus` sets them up, on free ports.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use super::{Bench, Ends, free_port, within};

const PROMETHEUS: &str = include_str!("../../scenarios/prometheus/prometheus.yml");
const RULES: &str = include_str!("../../scenarios/prometheus/rules.yml");
const ALERTMANAGER: &str = include_str!("../../scenarios/prometheus/alertmanager.yml");

/// Both, and the port at which Prometheus looks for the first instance.
pub struct Monitoring {
    pub prometheus: String,
    pub alertmanager: String,
    pub first_port: u16,
    pub alertmanager_process: Ends,
    _prometheus_process: Ends,
}

/// Whether this machine has them.
pub fn installed() -> bool {
    let runs = |program| Command::new(program).arg("--version").output().is_ok();
    runs("prometheus") && runs("prometheus-alertmanager")
}

impl Monitoring {
    /// Starts both in the bench's folder, with these rules besides the shipped one.
    pub fn start(bench: &Bench, rules: &str) -> Self {
        let (am_port, port, first_port) = (free_port(), free_port(), three_ports());
        let mut config = PROMETHEUS.replace("9093", &am_port.to_string());
        for i in 0..3 {
            let (from, to) = (9101 + i, first_port + i);
            config = config.replace(&from.to_string(), &to.to_string());
        }
        for (name, text) in [
            ("prometheus.yml", config.as_str()),
            ("rules.yml", &format!("{RULES}{rules}")),
            ("alertmanager.yml", ALERTMANAGER),
        ] {
            std::fs::write(bench.path(name), text).unwrap();
        }
        let start = |program: &str, config: &str, storage: &str, port: u16, more: &[&str]| {
            let data = bench.path(&format!("{program}-data"));
            let log = std::fs::File::create(bench.path(&format!("{program}.log"))).unwrap();
            let child = Command::new(program)
                .arg(format!("--config.file={}", bench.path(config).display()))
                .arg(format!("--{storage}={}", data.display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .args(more)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .unwrap();
            let url = format!("http://127.0.0.1:{port}");
            let ends = Ends(child);
            let ready = || answers(&format!("127.0.0.1:{port}"), "/-/ready");
            assert!(
                within(Duration::from_secs(60), ready),
                "{program} is not ready: {}",
                tail(&bench.path(&format!("{program}.log")))
            );
            (url, ends)
        };
        // Alone: it looks for no others.
        let alone = ["--cluster.listen-address="];
        let (alertmanager, alertmanager_process) = start(
            "prometheus-alertmanager",
            "alertmanager.yml",
            "storage.path",
            am_port,
            &alone,
        );
        let (prometheus, prometheus_process) = start(
            "prometheus",
            "prometheus.yml",
            "storage.tsdb.path",
            port,
            &[],
        );
        Self {
            prometheus,
            alertmanager,
            first_port,
            alertmanager_process,
            _prometheus_process: prometheus_process,
        }
    }

    /// The environment that `scenarios/alert.yaml` takes.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("FIRST_PORT", self.first_port.to_string()),
            ("ALERTMANAGER", self.alertmanager.clone()),
            ("PROMETHEUS", self.prometheus.clone()),
        ]
    }
}

/// Whether a GET is answered with 200.
fn answers(address: &str, path: &str) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect(address) else {
        return false;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let mut answer = [0; 15];
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer.starts_with(b"HTTP/1.1 200")
}

/// The first of three free ports in a row, below those of outgoing connections; other ones for each test of a process.
fn three_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let start = 20_000 + (std::process::id() % 3_000) as u16 * 3;
    loop {
        let first = start + NEXT.fetch_add(3, Ordering::Relaxed);
        assert!(first < 32_000, "no three free ports in a row");
        if (first..first + 3).all(free) {
            return first;
        }
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(10).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
