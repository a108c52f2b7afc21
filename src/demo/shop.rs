//! The shop itself: its state and its routes. Knows of requests and responses, not of connections.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::counters::Counters;
use super::defect::{Answer, Defects, Fate};
use super::line::Line;
use super::metrics::Metrics;
use super::upstream::Upstreams;

/// The cart keeps this many entries; older ones make room.
const CART_LIMIT: usize = 10_000;
/// The defect `leak` stops here: it must be seen, not take the machine down.
const LEAK_LIMIT: usize = 1 << 30;

/// One instance of the shop.
#[derive(Debug)]
pub(super) struct Shop {
    /// Name of the instance.
    pub name: String,
    /// The name as a header.
    pub header: HeaderValue,
    /// What it counts.
    pub counters: Counters,
    metrics: Metrics,
    /// What it does wrong.
    pub defects: Defects,
    upstreams: Upstreams,
    started: Instant,
    work: Duration,
    ready: AtomicBool,
    draining: AtomicBool,
    requests: AtomicU64,
    catalog: Vec<(Product, Bytes)>,
    catalog_page: Bytes,
    cart: Mutex<Cart>,
    leaked: Mutex<Vec<Vec<u8>>>,
    line: Option<Mutex<Line>>,
}

#[derive(Debug, Serialize)]
struct Product {
    id: String,
    name: String,
    price_cents: u32,
}

#[derive(Debug, Default)]
struct Cart {
    added: u64,
    items: VecDeque<String>,
}

/// A response before it is put into HTTP.
#[derive(Debug)]
pub(super) struct Reply {
    pub status: StatusCode,
    pub body: Bytes,
    /// Whether it counts in [`Counters`]: only what the shop is there for does.
    pub application: bool,
    /// Of its body.
    pub content_type: &'static str,
}

/// What nearly all replies are.
pub(super) const JSON: &str = "application/json";

fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    Reply {
        content_type: JSON,
        status,
        // Maps with string keys and plain numbers always serialize.
        body: serde_json::to_vec(value).unwrap_or_default().into(),
        application: true,
    }
}

pub(super) fn error(status: StatusCode, text: &str) -> Reply {
    json(status, &serde_json::json!({ "error": text }))
}

impl Shop {
    /// A shop that opens now.
    pub fn new(
        name: String,
        work: Duration,
        defects: Defects,
        counters: Counters,
        upstreams: Upstreams,
    ) -> anyhow::Result<Self> {
        let header = HeaderValue::from_str(&name)
            .with_context(|| format!("the instance name `{name}` cannot be sent in a header"))?;
        let catalog = catalog()
            .into_iter()
            .map(|p| Ok((Bytes::from(serde_json::to_vec(&p)?), p)))
            .map(|r: anyhow::Result<_>| r.map(|(bytes, p)| (p, bytes)))
            .collect::<Result<Vec<_>, _>>()?;
        let products: Vec<&Product> = catalog.iter().map(|(p, _)| p).collect();
        let page = serde_json::to_vec(&serde_json::json!({ "items": products }))?;
        let queue = defects.queue;
        let line = queue.map(|(workers, each)| Line::new(workers, each, Instant::now()));
        Ok(Self {
            name,
            header,
            counters,
            metrics: Metrics::default(),
            defects,
            upstreams,
            started: Instant::now(),
            work,
            ready: AtomicBool::new(true),
            draining: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            catalog_page: page.into(),
            catalog,
            cart: Mutex::default(),
            leaked: Mutex::default(),
            line: line.map(Mutex::new),
        })
    }

    /// From now on it is not ready, and each response asks the client to leave.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
    /// Whether it is draining.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
    /// Whether it says that it may get traffic.
    pub fn ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed) && !self.draining() && !self.defects.never_ready
    }

    /// Answers a request; for a defect `hang` never.
    pub async fn answer(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        body: &[u8],
        local: bool,
    ) -> Reply {
        let own = |mut reply: Reply| {
            reply.application = false;
            reply
        };
        match path {
            "/readyz" => own(self.readiness()),
            "/healthz" => own(json(StatusCode::OK, &serde_json::json!({ "ok": true }))),
            "/counters" => own(self.counts()),
            "/metrics" => own(Reply {
                status: StatusCode::OK,
                body: self.metrics.text(self.ready()).into(),
                application: false,
                content_type: super::metrics::CONTENT_TYPE,
            }),
            _ if path.starts_with("/admin/") => own(self.admin(method, path, query, local)),
            _ => {
                let under_way = self.metrics.begin();
                let reply = self.application(method, path, query, body).await;
                under_way.end(reply.status);
                reply
            }
        }
    }

    async fn application(&self, method: &Method, path: &str, query: &str, body: &[u8]) -> Reply {
        let index = self.requests.fetch_add(1, Ordering::Relaxed);
        self.leak();
        let (wait, with) = match self.defects.fate(index, self.started.elapsed()) {
            Fate::Hang => std::future::pending().await,
            Fate::Answer { wait, with } => (wait, with),
        };
        self.stand_in_line().await;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        match with {
            Answer::Cold => error(StatusCode::SERVICE_UNAVAILABLE, "still starting"),
            Answer::Error => error(StatusCode::INTERNAL_SERVER_ERROR, "defect: errors"),
            Answer::Empty => Reply {
                content_type: JSON,
                status: StatusCode::OK,
                body: Bytes::new(),
                application: true,
            },
            Answer::Normal => match self.upstreams.of(path) {
                Some(upstream) => upstream.forward(method, path, query, body).await,
                None => self.route(method, path, body),
            },
        }
    }

    /// The defect `queue`.
    async fn stand_in_line(&self) {
        if let Some(line) = &self.line {
            let now = Instant::now();
            let done = line
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .join(now);
            tokio::time::sleep_until(done.into()).await;
        }
    }

    fn route(&self, method: &Method, path: &str, body: &[u8]) -> Reply {
        let read = method == Method::GET || method == Method::HEAD;
        match path {
            "/products" if read => self.page(&self.catalog_page),
            "/work" if read => {
                let sum = burn(self.work);
                json(StatusCode::OK, &serde_json::json!({ "sum": sum }))
            }
            "/cart" if read => self.show_cart(),
            "/cart" if method == Method::POST => self.add_to_cart(body),
            "/products" | "/work" | "/cart" => {
                error(StatusCode::METHOD_NOT_ALLOWED, "wrong method")
            }
            _ => match path.strip_prefix("/products/") {
                Some(id) if read => match self.product(id) {
                    Some(page) => self.page(page),
                    None => error(StatusCode::NOT_FOUND, "no such product"),
                },
                Some(_) => error(StatusCode::METHOD_NOT_ALLOWED, "wrong method"),
                None => error(StatusCode::NOT_FOUND, "no such page"),
            },
        }
    }

    fn page(&self, body: &Bytes) -> Reply {
        Reply {
            content_type: JSON,
            status: StatusCode::OK,
            body: body.clone(),
            application: true,
        }
    }

    fn product(&self, id: &str) -> Option<&Bytes> {
        let found = self.catalog.iter().find(|(p, _)| p.id == id);
        found.map(|(_, page)| page)
    }

    fn add_to_cart(&self, body: &[u8]) -> Reply {
        #[derive(Deserialize)]
        struct Add {
            id: String,
        }
        let Ok(Add { id }) = serde_json::from_slice(body) else {
            return error(StatusCode::BAD_REQUEST, "expected {\"id\": \"p1\"}");
        };
        if self.product(&id).is_none() {
            return error(StatusCode::NOT_FOUND, "no such product");
        }
        let mut cart = self.cart.lock().unwrap_or_else(|e| e.into_inner());
        if cart.items.len() == CART_LIMIT {
            cart.items.pop_front();
        }
        cart.items.push_back(id);
        cart.added += 1;
        json(
            StatusCode::CREATED,
            &serde_json::json!({ "count": cart.added }),
        )
    }

    fn show_cart(&self) -> Reply {
        let cart = self.cart.lock().unwrap_or_else(|e| e.into_inner());
        // The last few: a page whose size grows with the run would make every run slower than it should be.
        let last: Vec<&String> = cart.items.iter().rev().take(20).collect();
        let page = serde_json::json!({ "count": cart.added, "last": last });
        json(StatusCode::OK, &page)
    }

    fn readiness(&self) -> Reply {
        match self.ready() {
            true => json(StatusCode::OK, &serde_json::json!({ "ready": true })),
            false => error(StatusCode::SERVICE_UNAVAILABLE, "not ready"),
        }
    }

    fn counts(&self) -> Reply {
        let counts = self.counters.get();
        let page = serde_json::json!({
            "instance": self.name,
            "begun": counts.begun,
            "finished": counts.finished,
            "connections": self.counters.connections.load(Ordering::Relaxed),
        });
        json(StatusCode::OK, &page)
    }

    fn admin(&self, method: &Method, path: &str, query: &str, local: bool) -> Reply {
        if !local {
            return error(StatusCode::FORBIDDEN, "only from this machine");
        }
        match (method == Method::POST, path, query) {
            (true, "/admin/ready", "ready=true") => self.ready.store(true, Ordering::Relaxed),
            (true, "/admin/ready", "ready=false") => self.ready.store(false, Ordering::Relaxed),
            _ => {
                let text = "expected POST /admin/ready?ready=true or ready=false";
                return error(StatusCode::BAD_REQUEST, text);
            }
        }
        json(
            StatusCode::OK,
            &serde_json::json!({ "ready": self.ready() }),
        )
    }

    fn leak(&self) {
        let size = self.defects.leak as usize;
        if size == 0 {
            return;
        }
        let mut leaked = self.leaked.lock().unwrap_or_else(|e| e.into_inner());
        if (leaked.len() + 1).saturating_mul(size) <= LEAK_LIMIT {
            // Not zeros: those would be given out without being resident.
            leaked.push(vec![1; size]);
        }
    }
}

fn catalog() -> Vec<Product> {
    const NAMES: [&str; 20] = [
        "Umbrella",
        "Raincoat",
        "Rubber boots",
        "Barometer",
        "Storm lantern",
        "Weather vane",
        "Sou'wester",
        "Sea chest",
        "Compass",
        "Sextant",
        "Anchor",
        "Rope, 30 m",
        "Signal flags",
        "Fog horn",
        "Life jacket",
        "Spyglass",
        "Chart of the coast",
        "Log book",
        "Ship's bell",
        "Hammock",
    ];
    let product = |(i, name): (usize, &&str)| Product {
        id: format!("p{}", i + 1),
        name: name.to_string(),
        price_cents: 995 + 450 * i as u32,
    };
    NAMES.iter().enumerate().map(product).collect()
}

/// Keeps this thread's CPU busy until it has used so much CPU time: time during which the thread waits for a core
/// does not count, so the work is the same on a busy machine.
fn burn(work: Duration) -> u64 {
    let cpu = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    };
    let end = cpu() + work;
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    while cpu() < end {
        for _ in 0..2_000 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
    }
    x
}
