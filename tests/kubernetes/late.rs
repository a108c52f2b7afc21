//! A way to the API server that keeps things back: a change reaches it after its undo, or nothing comes from it any more.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use squall::platform::kubernetes::UNDO_ANNOTATION;
use squall::platform::{Change, Platform, Undo};
use squall::scenario::{FaultKind, KubernetesTarget};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::watch;

use crate::bed::{Bed, SERVE};
use crate::chaos_agent::{Resources, chaos};
use crate::harness::{Running, run, target, with_bed};

/// The way to the API server, on which a request can be kept back.
pub struct Way {
    /// `kubectl proxy`, which speaks HTTP on this side.
    kubectl: Child,
    kubeconfig: PathBuf,
    state: Arc<State>,
}

struct State {
    server: SocketAddr,
    silent: AtomicBool,
    /// The next request that begins like this is kept back.
    armed: Mutex<Option<&'static str>>,
    /// One is kept back.
    holds: watch::Sender<bool>,
    /// It may go on.
    goes: watch::Sender<bool>,
    /// What the API server has answered to it.
    status: watch::Sender<Option<u16>>,
}

impl Drop for Way {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

impl Way {
    pub async fn open(bed: &Bed, dir: &Path) -> Self {
        let mut kubectl = Command::new("kubectl")
            .args(["proxy", "--port=0"])
            .env("KUBECONFIG", &bed.kubeconfig)
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl proxy");
        let mut says = String::new();
        let mut out = BufReader::new(kubectl.stdout.take().unwrap());
        out.read_line(&mut says).unwrap();
        let address = says.trim().rsplit(' ').next().unwrap();
        let state = Arc::new(State {
            server: address.parse().unwrap_or_else(|e| panic!("{says}: {e}")),
            silent: AtomicBool::new(false),
            armed: Mutex::default(),
            holds: watch::channel(false).0,
            goes: watch::channel(false).0,
            status: watch::channel(None).0,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap();
        let text = std::fs::read_to_string(&bed.kubeconfig).unwrap();
        let text = text.replace("https://10.200.0.1:6443", &format!("http://{own}"));
        let kubeconfig = dir.join("kubeconfig");
        std::fs::write(&kubeconfig, text).unwrap();
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(lead(client, shared.clone()));
            }
        });
        Self {
            kubectl,
            kubeconfig,
            state,
        }
    }

    /// A platform that goes by this way.
    pub async fn run(&self, bed: &Bed, namespace: &str) -> Running {
        let target = KubernetesTarget {
            kubeconfig: Some(self.kubeconfig.clone()),
            ..target(bed, namespace)
        };
        run(&target).await
    }

    /// Makes a change whose next request that begins like this is kept back; its undo. It is not waited for any longer,
    /// as when it takes too long or the run is ended.
    async fn keep_back(&self, run: &Running, change: &Change, begins: &'static str) -> Undo {
        let undo = run.platform.undo_of(change).unwrap().expect("an undo");
        self.hold_next(begins);
        tokio::select! {
            made = run.platform.apply(change) => panic!("{made:?}"),
            () = self.holds() => {}
        }
        undo
    }

    /// Nothing of what the API server says arrives any more, and no connection ends.
    pub fn fall_silent(&self, silent: bool) {
        self.state.silent.store(silent, Ordering::SeqCst);
    }

    fn hold_next(&self, begins: &'static str) {
        self.state.holds.send_replace(false);
        self.state.goes.send_replace(false);
        self.state.status.send_replace(None);
        *self.state.armed.lock().unwrap() = Some(begins);
    }

    async fn holds(&self) {
        let mut holds = self.state.holds.subscribe();
        holds.wait_for(|held| *held).await.unwrap();
    }

    /// Lets go on what was kept back; what the API server makes of it.
    async fn let_go(&self) -> u16 {
        self.state.goes.send_replace(true);
        let mut status = self.state.status.subscribe();
        let status = status.wait_for(Option::is_some).await.unwrap();
        status.unwrap()
    }
}

/// One connection of squall's: each request goes on, but for the one that is kept back.
async fn lead(client: TcpStream, state: Arc<State>) {
    let server = TcpStream::connect(state.server).await.unwrap();
    let (mut asks, mut hears) = client.into_split();
    let (mut answers, mut to_server) = server.into_split();
    let shared = state.clone();
    let back = tokio::spawn(async move {
        let mut bytes = [0; 65536];
        while let Ok(n @ 1..) = answers.read(&mut bytes).await {
            if shared.silent.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if hears.write_all(&bytes[..n]).await.is_err() {
                break;
            }
        }
    });
    while let Some(request) = request(&mut asks).await {
        let is_meant = |begins: &mut &str| request.starts_with(begins.as_bytes());
        if state.armed.lock().unwrap().take_if(is_meant).is_some() {
            // By a connection of its own: squall's will be gone by then.
            tokio::spawn(hold(request, state.clone()));
        } else if to_server.write_all(&request).await.is_err() {
            break;
        }
    }
    back.abort();
}

async fn hold(request: Vec<u8>, state: Arc<State>) {
    state.holds.send_replace(true);
    let mut goes = state.goes.subscribe();
    goes.wait_for(|goes| *goes).await.unwrap();
    let mut server = TcpStream::connect(state.server).await.unwrap();
    server.write_all(&request).await.unwrap();
    let mut head = [0; 12];
    server.read_exact(&mut head).await.unwrap();
    // `HTTP/1.1 409`
    let status = std::str::from_utf8(&head[9..]).unwrap().parse().unwrap();
    state.status.send_replace(Some(status));
}

/// The next request, head and body as they came.
async fn request(from: &mut tcp::OwnedReadHalf) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(from.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
    let length = head.lines().find_map(|l| l.strip_prefix("content-length:"));
    let mut body = vec![0; length.map_or(0, |n| n.trim().parse().unwrap())];
    from.read_exact(&mut body).await.ok()?;
    bytes.extend(body);
    Some(bytes)
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_change_that_comes_after_its_undo_is_refused() {
    with_bed(|bed| async move {
        let (ns, dir) = (&*bed.namespace("t-late"), tempfile::tempdir().unwrap());
        bed.web(ns, 3, SERVE);
        let way = Way::open(&bed, dir.path()).await;
        let run = way.run(&bed, ns).await;
        for kind in [FaultKind::Scale { replicas: 1 }, FaultKind::Cordon] {
            let instance = run.names()[0].clone();
            let node = run.platform.instances()[0].labels["squall.node"].clone();
            let change = Change { kind, instance };
            let undo = way.keep_back(&run, &change, "PATCH ").await;
            run.platform.undo(&undo).await.expect("undo");
            eprintln!("{:?}: {}", change.kind, way.let_go().await);
            let web = bed.json(&["-n", ns, "get", "deployment", "web"]);
            let node = bed.json(&["get", "node", &node]);
            assert_eq!(web["spec"]["replicas"], 3, "{:?}", change.kind);
            assert!(node["spec"]["unschedulable"].is_null(), "{:?}", change.kind);
            for object in [web, node] {
                let note = &object["metadata"]["annotations"][UNDO_ANNOTATION];
                assert!(note.is_null(), "{:?}: {note}", change.kind);
            }
        }
        run.platform.stop().await.unwrap();
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_resource_that_comes_while_it_is_removed_is_removed() {
    with_bed(|bed| async move {
        let _resources = Resources::install(&bed);
        let (ns, dir) = (&*bed.namespace("t-comes"), tempfile::tempdir().unwrap());
        bed.web(ns, 1, SERVE);
        let way = Way::open(&bed, dir.path()).await;
        let run = way.run(&bed, ns).await;
        let change = Change {
            kind: FaultKind::Delay {
                latency: Duration::from_millis(100),
                jitter: Duration::ZERO,
            },
            instance: run.names()[0].clone(),
        };
        let undo = way
            .keep_back(&run, &change, "POST /apis/chaos-mesh.org/")
            .await;
        let comes = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(way.let_go().await, 201, "created");
        };
        let (undone, ()) = tokio::join!(run.platform.undo(&undo), comes);
        undone.expect("undo");
        assert_eq!(chaos(&bed, ns), Vec::<serde_json::Value>::new());
        run.platform.stop().await.unwrap();
    });
}
