//! A platform with its events, and small clients.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use squall::platform::local::LocalPlatform;
use squall::platform::{Change, Platform};
use squall::record::{Clock, Entry, Event, InstanceEvent, InstanceState, Micros, Sink, What};
use squall::scenario::{FaultKind, LocalTarget, Probe, Restart};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;

/// Conditions come within this time on the slowest machine; on a healthy one within milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn demo(instances: u32, args: &[&str]) -> LocalTarget {
    let mut command = ["squall", "demo", "--drain-delay", "300ms"]
        .map(String::from)
        .to_vec();
    command.extend(args.iter().map(|a| a.to_string()));
    LocalTarget {
        name: "shop".into(),
        command,
        instances,
        env: [("SQUALL_TEST_RUN".into(), unique())].into(),
        port: None,
        first_port: None,
        scheme: "http".into(),
        ready: Probe {
            http: Some("/readyz".into()),
            every: Duration::from_millis(50),
            // Generous: a busy machine must not make an instance that is well look ill.
            timeout: Duration::from_millis(1000),
            failures: 2,
            successes: 1,
        },
        start_timeout: PATIENCE,
        stop_grace: Duration::from_secs(10),
        restart: Restart {
            enabled: true,
            backoff: Duration::from_millis(10),
            max_backoff: Duration::from_secs(5),
        },
        common: Default::default(),
    }
}

/// A mark by which the processes of one test are found.
pub fn unique() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Processes, zombies aside, that carry the mark in their environment.
pub fn marked(mark: &str) -> Vec<u32> {
    let wanted = format!("SQUALL_TEST_RUN={mark}");
    let carries = |pid: &u32| {
        let env = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        env.split(|b| *b == 0).any(|v| v == wanted.as_bytes())
    };
    let entries = std::fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(carries).collect()
}

pub fn change(kind: FaultKind, instance: &str) -> Change {
    Change {
        kind,
        instance: instance.into(),
    }
}

pub struct Rig {
    pub platform: LocalPlatform,
    pub address: SocketAddr,
    pub dir: tempfile::TempDir,
    mark: String,
    events: Events,
    rx: UnboundedReceiver<Entry>,
}

/// What was recorded so far.
#[derive(Default)]
pub struct Events(Vec<Event>);

/// A platform that is not started.
pub fn rig(target: LocalTarget) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let (sink, rx) = Sink::new(Clock::start());
    let mark = target.env["SQUALL_TEST_RUN"].clone();
    let logs = dir.path().join("logs");
    let platform = LocalPlatform::new(target, PathBuf::new(), logs, sink, 7);
    Rig {
        platform: platform.with_program(env!("CARGO_BIN_EXE_squall")),
        address: ([127, 0, 0, 1], 0).into(),
        dir,
        mark,
        events: Events::default(),
        rx,
    }
}

impl Rig {
    pub async fn start(target: LocalTarget) -> Rig {
        let mut rig = rig(target);
        let endpoint = rig.platform.start().await.unwrap();
        rig.address = endpoint
            .base_url
            .split("://")
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        rig
    }
    pub async fn apply(&self, kind: FaultKind, instance: &str) {
        self.platform.apply(&change(kind, instance)).await.unwrap();
    }
    pub async fn stop(self) {
        self.platform.stop().await.unwrap();
        self.assert_nothing_left();
    }
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        assert_eq!(marked(&self.mark), Vec::<u32>::new(), "processes are left");
    }
    fn read(&mut self) {
        while let Ok(entry) = self.rx.try_recv() {
            if let Entry::Event(event) = entry {
                self.events.0.push(event);
            }
        }
    }
    pub async fn wait_for(&mut self, what: &str, holds: impl Fn(&Events) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.read();
            if holds(&self.events) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "not in time: {what}; {:#?}",
                self.events.0
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    pub fn endpoints(&mut self) -> Vec<Vec<String>> {
        self.read();
        self.events.endpoints()
    }
    /// The one event with which this instance entered this state.
    #[track_caller]
    pub fn event(&mut self, name: &str, state: InstanceState) -> (Micros, InstanceEvent) {
        self.read();
        let found: Vec<_> = self
            .events
            .of(name)
            .filter(|(_, e)| e.state == state)
            .collect();
        assert_eq!(found.len(), 1, "{name} {state:?}: {:#?}", self.events.0);
        (found[0].0, found[0].1.clone())
    }
    pub fn port_of(&mut self, name: &str) -> u16 {
        let detail = self.event(name, InstanceState::Started).1.detail.unwrap();
        detail.rsplit(' ').next().unwrap().parse().unwrap()
    }
    pub fn pid_of(&mut self, name: &str) -> u32 {
        let detail = self.event(name, InstanceState::Started).1.detail.unwrap();
        let number = detail.trim_start_matches("process ").split(',').next();
        number.unwrap().parse().unwrap()
    }
}

impl Events {
    pub fn all(&self) -> &[Event] {
        &self.0
    }
    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (Micros, &'a InstanceEvent)> {
        self.0.iter().filter_map(move |e| match &e.what {
            What::Instance(i) if i.name == name => Some((e.at, i)),
            _ => None,
        })
    }
    pub fn state_of(&self, name: &str) -> Option<InstanceState> {
        self.of(name).last().map(|(_, e)| e.state)
    }
    fn endpoints(&self) -> Vec<Vec<String>> {
        let sets = self.0.iter().filter_map(|e| match &e.what {
            What::Endpoints { ready } => Some(ready.clone()),
            _ => None,
        });
        sets.collect()
    }
    pub fn endpoints_now(&self) -> Vec<String> {
        self.endpoints().pop().unwrap_or_default()
    }
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub instance: String,
    pub close: bool,
}

/// A keep-alive connection that carries one request at a time.
pub struct Connection(TcpStream);

impl Connection {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        Ok(Self(TcpStream::connect(address).await?))
    }
    /// One that leads to this instance.
    pub async fn to(rig: &mut Rig, instance: &str) -> Self {
        for _ in 0..200 {
            let mut connection = Self::open(rig.address).await.unwrap();
            if connection.get("/products").await.unwrap().instance == instance {
                return connection;
            }
        }
        panic!("no connection of 200 led to {instance}");
    }
    pub async fn get(&mut self, path: &str) -> io::Result<Reply> {
        self.send("GET", path).await?;
        self.receive().await
    }
    pub async fn send(&mut self, method: &str, path: &str) -> io::Result<()> {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: shop\r\n\r\n");
        self.0.write_all(request.as_bytes()).await
    }
    pub async fn receive(&mut self) -> io::Result<Reply> {
        let mut bytes = Vec::new();
        loop {
            if self.0.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let header = |name: &str| {
                let line = head.lines().find_map(|l| l.strip_prefix(name));
                line.map(|v| v.trim_start_matches(':').trim().to_string())
            };
            let length: usize = header("content-length").unwrap().parse().unwrap();
            if bytes.len() >= end + 4 + length {
                return Ok(Reply {
                    status: head[9..12].parse().unwrap(),
                    instance: header("x-squall-instance").unwrap(),
                    close: header("connection").is_some_and(|v| v == "close"),
                });
            }
        }
    }
    /// Whether nothing comes for a while.
    pub async fn silent(&mut self) -> bool {
        let mut byte = [0];
        let read = self.0.read(&mut byte);
        tokio::time::timeout(Duration::from_millis(300), read)
            .await
            .is_err()
    }
}

pub async fn get(address: SocketAddr, path: &str) -> io::Result<Reply> {
    Connection::open(address).await?.get(path).await
}

pub async fn admin_ready(port: u16, ready: bool) {
    let mut connection = Connection::open(([127, 0, 0, 1], port).into())
        .await
        .unwrap();
    let path = format!("/admin/ready?ready={ready}");
    connection.send("POST", &path).await.unwrap();
    assert_eq!(connection.receive().await.unwrap().status, 200);
}
