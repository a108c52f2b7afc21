//! The lean transport: HTTP/1.1 through [`lean`](crate::traffic::lean), at little more than the cost of the two system
//! calls. Who owns a connection, how old it may get and where it comes from is decided here; what is on it is not.
//!
//! Nothing is retried. A connection that turns out to be closed *before* a byte of the request was handed to the
//! network is replaced by a new one, once: no server can have seen the request, and a client that keeps connections
//! would do the same. A request of which a byte was sent fails with its connection.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::Method;
use http::uri::Authority;
use rustls::pki_types::ServerName;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout_at;

use super::{Memory, Order};
use crate::record::{Clock, Micros, Outcome};
use crate::scenario::ConnectionMode;
use crate::traffic::TrafficError;
use crate::traffic::classify::{NameError, classify};
use crate::traffic::journey::CompiledFlow;
use crate::traffic::lean::{
    self, Alarm, BodyUse, ConnectTimings, Connection, Connector, Options, Request, Tls,
};
use crate::traffic::names::Turns;
use crate::traffic::origin::Origin;
use crate::traffic::reply::{Cause, Failure, Opened, Reply, SAMPLE_BYTES};
use crate::traffic::request::Wire;
use crate::traffic::text::Scope;

/// The connections of one flow at one worker.
pub struct Shop {
    clock: Clock,
    flow: Arc<CompiledFlow>,
    origin: Arc<Origin>,
    host: Host,
    turns: Turns,
    tls: Option<Tls>,
    /// This worker is the `shard`th of those that carry the flow.
    shard: usize,
    per_request: bool,
    max_age: Option<std::time::Duration>,
    pool: Option<Pool>,
}

/// Where the server is.
enum Host {
    Address(SocketAddr),
    /// Looked up for each connection, since the answer may change.
    Name(String, u16),
}

/// Shared connections.
struct Pool {
    free: RefCell<VecDeque<Box<Conn>>>,
    permits: Semaphore,
}

/// A place for a connection.
struct Conn {
    /// Counts it among those of the whole flow; decides its source address.
    number: usize,
    /// The connection, once it is open.
    live: Option<Connection>,
    /// Of the connection that is there, or was last.
    memory: Rc<Memory>,
    opened_at: Instant,
    /// Of the last connection.
    alarm: Alarm,
}

impl Conn {
    fn close(&mut self) {
        if let Some(connection) = self.live.take() {
            self.alarm = connection.close();
        }
    }
}

/// One user's way to the server.
pub struct Link {
    shop: Rc<Shop>,
    own: Option<Box<Conn>>,
    wire: Wire,
}

impl Shop {
    /// The connections of a worker that is the `shard`th of a flow's; none is opened yet.
    pub fn new(
        clock: Clock,
        flow: Arc<CompiledFlow>,
        origin: Arc<Origin>,
        tls: &rustls::ClientConfig,
        shard: usize,
    ) -> Result<Self, TrafficError> {
        let bad = |problem: String| TrafficError::Scenario(problem).in_flow(&flow.name);
        let authority: Authority = origin
            .authority
            .parse()
            .map_err(|e| bad(format!("`{}` is no host: {e}", origin.authority)))?;
        let port = authority
            .port_u16()
            .unwrap_or(if origin.tls { 443 } else { 80 });
        let name = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        let host = match name.parse() {
            Ok(ip) => Host::Address(SocketAddr::new(ip, port)),
            Err(_) => Host::Name(name.to_string(), port),
        };
        let tls = match origin.tls {
            false => None,
            true => {
                let mut config = tls.clone();
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                let name = ServerName::try_from(name.to_string())
                    .map_err(|e| bad(format!("`{name}` is no name for TLS: {e}")))?;
                Some(Tls::new(Arc::new(config), name))
            }
        };
        let connections = &flow.spec.connections;
        let mut shop = Self {
            clock,
            host,
            turns: Turns::default(),
            tls,
            shard,
            per_request: connections.mode == ConnectionMode::PerRequest,
            max_age: connections.max_age,
            pool: None,
            origin,
            flow,
        };
        if let ConnectionMode::Pooled(total) = shop.flow.spec.connections.mode {
            let mine = shop.flow.share(total, shard).max(1);
            shop.pool = Some(Pool {
                free: RefCell::new((0..mine).map(|index| shop.conn(index)).collect()),
                permits: Semaphore::new(mine),
            });
        }
        Ok(shop)
    }

    /// This worker's `index`th place for a connection.
    fn conn(&self, index: usize) -> Box<Conn> {
        Box::new(Conn {
            number: index * self.flow.shards + self.shard,
            live: None,
            memory: Rc::default(),
            opened_at: Instant::now(),
            alarm: Alarm::default(),
        })
    }

    /// The link of this worker's `index`th user.
    pub fn link(self: &Rc<Self>, index: usize) -> Link {
        Link {
            own: self.pool.is_none().then(|| self.conn(index)),
            shop: self.clone(),
            wire: Wire::default(),
        }
    }
}

/// A connection of the pool for one request; given back when dropped.
struct Held<'a> {
    conn: Option<Box<Conn>>,
    pool: &'a Pool,
    _permit: SemaphorePermit<'a>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.pool.free.borrow_mut().extend(self.conn.take());
    }
}

impl Pool {
    /// Whoever waits longest gets the connection that was idle longest.
    async fn hold(&self) -> Option<Held<'_>> {
        let permit = self.permits.acquire().await.ok()?;
        Some(Held {
            // There are as many permits as entries.
            conn: self.free.borrow_mut().pop_front(),
            pool: self,
            _permit: permit,
        })
    }
}

impl Link {
    /// Sends a request and waits for the whole response.
    pub async fn send(&mut self, order: &mut Order<'_>) -> Result<(), Failure> {
        let Link { shop, own, wire } = self;
        let mut held;
        let conn = match (&mut *own, &shop.pool) {
            (Some(conn), _) => Some(conn),
            (None, None) => None,
            (None, Some(pool)) => {
                held = pool.hold().await;
                held.as_mut().and_then(|held| held.conn.as_mut())
            }
        };
        let conn = conn.ok_or_else(|| local("the pool of connections is gone".into()))?;
        let template = &order.step.request;
        let bytes = match template.constant() {
            Some(bytes) => bytes,
            None => {
                let values = order.values.borrow();
                let mut scope = Scope {
                    values: &values,
                    user: order.user,
                    iteration: order.iteration,
                    rng: &mut *order.rng,
                };
                let rendered = template.render_http1(&shop.origin, &mut scope, wire);
                rendered.map_err(local)?;
                wire.bytes()
            }
        };
        let start = Instant::now();
        let request = Request {
            bytes,
            options: Options {
                want_body: match order.reply.keep {
                    usize::MAX => BodyUse::Keep,
                    // Costs nothing where it is not needed: it is not copied.
                    _ => BodyUse::Start(SAMPLE_BYTES),
                },
                head_request: template.method == Method::HEAD,
                ..Options::default()
            },
            deadline: start + template.timeout,
        };
        order.reply.sent = shop.micros(start);
        order.progress.started.set(order.reply.sent);
        let sent = shop.exchange(conn, order, &request, start).await;
        shop.retire(conn, &sent);
        sent.map(|_| ())
    }
}

fn local(problem: String) -> Failure {
    Failure {
        outcome: Outcome::Local,
        cause: Cause::Text(problem),
    }
}

impl Shop {
    /// A time on the run's clock; 0 stands for none.
    fn micros(&self, at: Instant) -> Micros {
        self.clock.micros(at).max(1)
    }

    /// One exchange, on the connection that is there, or on a new one. Returns when the response was complete.
    async fn exchange(
        &self,
        conn: &mut Conn,
        order: &mut Order<'_>,
        request: &Request<'_>,
        start: Instant,
    ) -> Result<Instant, Failure> {
        order.progress.on(&conn.memory);
        let reply = &mut *order.reply;
        let mut now = start;
        loop {
            let fresh = conn.live.is_none();
            if fresh {
                // What the place's last connection was answered by says nothing about this one.
                conn.memory.renew();
                let opened = self.open(conn, start, request.deadline, reply).await;
                now = Instant::now();
                if !reply.opened.is_empty() {
                    reply.sent = self.micros(now);
                }
                conn.opened_at = now;
                let opened = opened?;
                if self.origin.routes.is_some() {
                    conn.memory.client.set(opened.local_addr());
                }
                conn.live = Some(opened);
            }
            let Some(connection) = conn.live.as_mut() else {
                return Err(local("a connection is gone".into()));
            };
            let exchange = connection.exchange_into(reply.reader(), request, now);
            let failure = match exchange.await {
                Ok(times) => {
                    reply.sent_bytes = request.bytes.len() as u64;
                    reply.first_byte = self.micros(times.first_byte_at);
                    reply.ended = self.micros(times.done_at);
                    reply.take_from_reader();
                    return Ok(times.done_at);
                }
                Err(failure) => failure,
            };
            conn.close();
            if !failure.sent && !fresh && failure.outcome != Outcome::Timeout {
                continue;
            }
            if failure.sent {
                reply.sent_bytes = request.bytes.len() as u64;
            }
            let first_byte = failure.first_byte_at;
            reply.first_byte = first_byte.map_or(0, |at| self.micros(at));
            reply.take_from_reader();
            return Err(told(failure));
        }
    }

    /// Opens a connection, and puts down how long it took.
    async fn open(
        &self,
        conn: &mut Conn,
        start: Instant,
        deadline: Instant,
        reply: &mut Reply,
    ) -> Result<Connection, Failure> {
        if let Host::Address(address) = self.host {
            return self.open_to(address, conn, start, deadline, reply).await;
        }
        let mut last = None;
        for address in self.look_up(deadline).await? {
            let opened = self.open_to(address, conn, start, deadline, reply).await;
            match opened {
                // A name may have addresses at which nobody listens: `localhost` often has.
                Err(failure) if reply.opened.is_empty() && failure.outcome != Outcome::Timeout => {
                    last = Some(failure);
                }
                opened => return opened,
            }
        }
        Err(last.unwrap_or_else(|| local("the name has no address".into())))
    }

    async fn open_to(
        &self,
        address: SocketAddr,
        conn: &mut Conn,
        start: Instant,
        deadline: Instant,
        reply: &mut Reply,
    ) -> Result<Connection, Failure> {
        let sources = &self.flow.spec.connections.source;
        let connector = Connector {
            address,
            source: conn
                .number
                .checked_rem(sources.len())
                .map(|index| sources[index]),
            tls: self.tls.clone(),
        };
        let before = Instant::now() - start;
        let mut timings = ConnectTimings::default();
        let alarm = std::mem::take(&mut conn.alarm);
        let opened = connector.open_with(alarm, deadline, &mut timings).await;
        if let Some(connect) = timings.connect {
            reply.opened.push(Opened {
                connect_us: (before + connect).as_micros() as Micros,
                tls_us: timings.tls.map(|tls| tls.as_micros() as Micros),
            });
        }
        opened.map_err(told)
    }

    async fn look_up(&self, deadline: Instant) -> Result<Vec<SocketAddr>, Failure> {
        let Host::Name(name, port) = &self.host else {
            return Ok(Vec::new());
        };
        let found = tokio::net::lookup_host((name.as_str(), *port));
        let found = timeout_at(deadline.into(), found)
            .await
            .map_err(|_| Failure {
                outcome: Outcome::Timeout,
                cause: Cause::Text(format!("the name `{name}` was not resolved in time")),
            })?;
        let mut found: Vec<_> = found.map(Iterator::collect).map_err(|source| {
            let name = name.clone();
            let error = NameError { name, source };
            Failure {
                outcome: classify(&error),
                cause: Cause::Error(Box::new(error)),
            }
        })?;
        self.turns.next(&mut found);
        Ok(found)
    }

    /// Closes a connection that is not to be used again.
    fn retire(&self, conn: &mut Conn, done: &Result<Instant, Failure>) {
        let (Ok(done), Some(connection)) = (done, &conn.live) else {
            conn.close();
            return;
        };
        let old = self
            .max_age
            .is_some_and(|age| done.saturating_duration_since(conn.opened_at) >= age);
        if old || self.per_request || !connection.reusable() {
            conn.close();
        }
    }
}

/// A failure as the engine knows it.
fn told(failure: lean::Failure) -> Failure {
    Failure {
        outcome: failure.outcome,
        cause: Cause::Error(Box::new(failure)),
    }
}
