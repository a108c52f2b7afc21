//! A layer-4 balancer on loopback: for each connection one of the ready instances at random, as kube-proxy does.
//!
//! It runs on a thread of its own, so that neither a busy control runtime nor the generator can slow it down. Faults
//! of the network are made here, because here is the only network that there is.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use super::relay::{self, Route, RouteView};
use crate::platform::Routes;
use crate::record::{Level, Sink, What};
use crate::scenario::FaultKind;

/// Connections that may wait to be accepted; the kernel may cap it (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// A running balancer; dropping it closes every connection.
#[derive(Debug)]
pub(super) struct Balancer {
    address: SocketAddr,
    backends: Arc<Mutex<Backends>>,
    routes: Routes,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The instances it knows.
#[derive(Debug)]
struct Backends {
    by_name: BTreeMap<Arc<str>, Backend>,
    rng: Pcg64Mcg,
    sink: Sink,
}

#[derive(Debug)]
struct Backend {
    address: SocketAddr,
    ready: bool,
    route: watch::Sender<Route>,
}

/// What is to be done with a new connection.
enum Choice {
    NoneReady,
    Reset,
    Swallow,
    Relay(SocketAddr, RouteView, u64),
}

impl Balancer {
    /// Listens on 127.0.0.1 and starts its thread; port 0 is a free one.
    pub fn start(port: u16, seed: u64, sink: Sink) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        socket.listen(BACKLOG)?;
        let listener: std::net::TcpListener = socket.into();
        let address = listener.local_addr()?;
        let backends = Arc::new(Mutex::new(Backends {
            by_name: BTreeMap::new(),
            rng: Pcg64Mcg::seed_from_u64(seed),
            sink,
        }));
        let routes = Routes::default();
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new().name("balancer".into()).spawn({
            let (backends, routes) = (backends.clone(), routes.clone());
            move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = accept(listener, &backends, &routes) => {}
                        _ = stopped => {}
                    }
                });
                // Dropping the runtime drops every connection with it.
            }
        })?;
        Ok(Self {
            address,
            backends,
            routes,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who gets each connection.
    pub fn routes(&self) -> Routes {
        self.routes.clone()
    }

    /// An instance that may become ready later.
    pub fn add(&self, name: &str, address: SocketAddr) {
        let backend = Backend {
            address,
            ready: false,
            route: watch::Sender::new(Route::default()),
        };
        self.lock().by_name.insert(name.into(), backend);
    }

    /// Takes an instance into the set, or out of it; its open connections stay.
    pub fn set_ready(&self, name: &str, ready: bool) {
        self.lock().change(|backends| {
            if let Some(backend) = backends.by_name.get_mut(name) {
                backend.ready = ready;
            }
        });
    }

    /// The instance has ended.
    pub fn remove(&self, name: &str) {
        self.lock().change(|backends| {
            backends.by_name.remove(name);
        });
    }

    /// Takes all out of the set.
    pub fn clear(&self) {
        self.lock().change(|backends| {
            for backend in backends.by_name.values_mut() {
                backend.ready = false;
            }
        });
    }

    /// Puts a fault on an instance's route; `false` if there is no such instance.
    pub fn fault(&self, name: &str, kind: &FaultKind) -> bool {
        self.change_route(name, |route| match *kind {
            FaultKind::Delay { latency, jitter } => route.delay = Some((latency, jitter)),
            FaultKind::Drop { share } => route.drop = share.get(),
            FaultKind::Reset { share } => route.reset = share.get(),
            FaultKind::BlackHole => route.black_hole = true,
            // Nothing that concerns a route.
            _ => {}
        })
    }

    /// Lifts a fault, by its name in a scenario, from an instance's route.
    pub fn lift(&self, name: &str, fault: &str) -> bool {
        self.change_route(name, |route| match fault {
            "delay" => route.delay = None,
            "drop" => route.drop = 0.0,
            "reset" => route.reset = 0.0,
            "black-hole" => route.black_hole = false,
            _ => {}
        })
    }

    fn change_route(&self, name: &str, change: impl FnOnce(&mut Route)) -> bool {
        match self.lock().by_name.get(name) {
            Some(backend) => {
                backend.route.send_modify(change);
                true
            }
            None => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Backends> {
        lock(&self.backends)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(backends: &Mutex<Backends>) -> MutexGuard<'_, Backends> {
    // No code that holds the lock can panic half way through a change.
    backends.lock().unwrap_or_else(|e| e.into_inner())
}

impl Backends {
    fn ready(&self) -> Vec<String> {
        let ready = self.by_name.iter().filter(|(_, b)| b.ready);
        ready.map(|(name, _)| name.to_string()).collect()
    }

    /// Makes a change, and records the set if it is another one now. Under the lock, so that records keep the order
    /// of the changes.
    fn change(&mut self, change: impl FnOnce(&mut Self)) {
        let before = self.ready();
        change(self);
        let ready = self.ready();
        if ready != before {
            self.sink.emit(What::Endpoints { ready });
        }
    }

    /// What to do with a new connection, and the instance that this is owed to.
    fn choose(&mut self) -> (Choice, Option<Arc<str>>) {
        let ready = self.by_name.values().filter(|b| b.ready).count();
        if ready == 0 {
            return (Choice::NoneReady, None);
        }
        let index = self.rng.random_range(0..ready);
        let (roll, seed) = (self.rng.random::<f64>(), self.rng.random());
        let Some((name, backend)) = self.by_name.iter().filter(|(_, b)| b.ready).nth(index) else {
            return (Choice::NoneReady, None);
        };
        let route = *backend.route.borrow();
        let choice = if roll < route.reset {
            Choice::Reset
        } else if roll < route.reset + route.drop {
            Choice::Swallow
        } else {
            let view = RouteView::new(backend.route.subscribe());
            Choice::Relay(backend.address, view, seed)
        };
        (choice, Some(name.clone()))
    }
}

async fn accept(listener: std::net::TcpListener, backends: &Mutex<Backends>, routes: &Routes) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(e) => {
            let text = format!("the balancer cannot listen: {e}");
            return lock(backends).sink.note(Level::Error, text);
        }
    };
    let mut told = false;
    loop {
        match listener.accept().await {
            Ok((client, from)) => {
                let _ = client.set_nodelay(true);
                let (choice, instance) = lock(backends).choose();
                // Before anything can come back.
                routes.set(from, instance.as_ref());
                match choice {
                    Choice::NoneReady | Choice::Reset => relay::reset(&client),
                    Choice::Swallow => drop(tokio::spawn(relay::swallow(client))),
                    Choice::Relay(address, view, seed) => {
                        tokio::spawn(relay::relay(client, address, view, seed));
                    }
                }
            }
            Err(e) => {
                if !told {
                    let text = format!("the balancer cannot accept connections: {e}");
                    lock(backends).sink.note(Level::Warning, text);
                    told = true;
                }
                // Out of file descriptors, most likely: at once again would fail again.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}
