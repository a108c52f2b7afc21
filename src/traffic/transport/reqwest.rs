//! The reqwest transport: HTTP/1.1 and HTTP/2, redirects, cookies, decompression.
//!
//! Each owner of a connection has a client of its own, whose pool holds that one connection, so that the scenario and
//! not a library decides who shares what. Nothing is retried: retries mask dead instances.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ::reqwest::{Client, Method, Request, Url, redirect, retry};
use http::{HeaderValue, header};
use hyper_util::client::legacy::connect::HttpInfo;
use tokio::sync::Semaphore;

use super::{Memory, Order};
use crate::record::{Clock, Micros, Outcome};
use crate::scenario::{ConnectionMode, Protocol, TransportChoice};
use crate::traffic::TrafficError;
use crate::traffic::classify::classify;
use crate::traffic::journey::CompiledFlow;
use crate::traffic::names::Turns;
use crate::traffic::origin::Origin;
use crate::traffic::reply::{Cause, Failure, Reply};
use crate::traffic::text::Scope;

use super::connector::{REQUEST, RequestContext, SystemResolver, Watch};

/// Redirects followed in a row.
const MAX_REDIRECTS: usize = 10;

/// The connections of one flow at one worker.
pub struct Shop {
    clock: Clock,
    flow: Arc<CompiledFlow>,
    origin: Arc<Origin>,
    tls: rustls::ClientConfig,
    turns: Arc<Turns>,
    /// This worker is the `shard`th of those that carry the flow.
    shard: usize,
    /// Each lives as long as a user of it.
    conns: RefCell<Vec<Weak<Conn>>>,
    pool: Option<Pool>,
}

/// Shared connections: each is in the queue once for every stream that it may carry.
struct Pool {
    free: RefCell<VecDeque<Rc<Conn>>>,
    permits: Semaphore,
}

/// A connection's owner: a client whose pool holds one connection.
struct Conn {
    /// Counts the connection among those of the whole flow; decides its source address.
    number: usize,
    client: RefCell<Client>,
    /// Of the connection that the client has now.
    memory: RefCell<Rc<Memory>>,
    opened_at: Cell<Option<Micros>>,
}

/// One user's way to the server.
pub struct Link {
    shop: Rc<Shop>,
    own: Option<Rc<Conn>>,
    context: Arc<RequestContext>,
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
        let mut tls = tls.clone();
        tls.alpn_protocols = match flow.spec.protocol {
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
            Protocol::Http2 => vec![b"h2".to_vec()],
        };
        let mut shop = Self {
            clock,
            tls,
            turns: Arc::default(),
            origin,
            shard,
            conns: RefCell::default(),
            pool: None,
            flow,
        };
        if let ConnectionMode::Pooled(total) = shop.flow.spec.connections.mode {
            let mine = shop.flow.share(total, shard).max(1);
            let conns: Result<Vec<_>, _> = (0..mine).map(|i| shop.conn(i)).collect();
            let conns = conns?;
            let streams = shop.streams(100) as usize;
            let queue = std::iter::repeat_n(&conns, streams)
                .flatten()
                .cloned()
                .collect();
            shop.pool = Some(Pool {
                free: RefCell::new(queue),
                permits: Semaphore::new(mine * streams),
            });
        }
        Ok(shop)
    }

    /// Streams that a connection carries at once.
    fn streams(&self, default: u32) -> u32 {
        match self.flow.spec.protocol {
            Protocol::Http1 => 1,
            Protocol::Http2 => self.flow.spec.connections.streams.unwrap_or(default).max(1),
        }
    }

    /// This worker's `index`th connection.
    fn conn(&self, index: usize) -> Result<Rc<Conn>, TrafficError> {
        let known = self.conns.borrow().get(index).and_then(Weak::upgrade);
        if let Some(conn) = known {
            return Ok(conn);
        }
        let number = index * self.flow.shards + self.shard;
        let conn = Rc::new(Conn {
            number,
            client: RefCell::new(self.client(number)?),
            memory: RefCell::default(),
            opened_at: Cell::new(None),
        });
        let mut conns = self.conns.borrow_mut();
        if index >= conns.len() {
            conns.resize(index + 1, Weak::new());
        }
        conns[index] = Rc::downgrade(&conn);
        Ok(conn)
    }

    /// The link of this worker's `index`th user.
    pub fn link(self: &Rc<Self>, index: usize) -> Result<Link, TrafficError> {
        let own = match self.flow.spec.connections.mode {
            ConnectionMode::Pooled(_) => None,
            ConnectionMode::PerRequest => Some(self.conn(index)?),
            ConnectionMode::PerUser => Some(self.conn(index / self.streams(1) as usize)?),
        };
        Ok(Link {
            shop: self.clone(),
            own,
            context: Arc::default(),
        })
    }

    /// A new client with no connection yet.
    fn client(&self, number: usize) -> Result<Client, TrafficError> {
        let spec = &self.flow.spec;
        let per_request = spec.connections.mode == ConnectionMode::PerRequest;
        let policy = redirect::Policy::custom(|attempt| {
            let follow = REQUEST.try_with(|c| c.follow_redirects.load(Ordering::Relaxed));
            let first = attempt.previous().first().and_then(Url::host_str);
            if !follow.unwrap_or(false) {
                attempt.stop()
            } else if first != attempt.url().host_str() {
                // Nobody has asked for load there, and its answers say nothing of the target.
                let text = format!("the redirect leads to another host: {}", attempt.url());
                attempt.error(text)
            } else if attempt.previous().len() > MAX_REDIRECTS {
                attempt.error(format!("more than {MAX_REDIRECTS} redirects"))
            } else {
                attempt.follow()
            }
        });
        let mut builder = Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .retry(retry::never())
            .redirect(policy)
            .referer(false)
            .no_proxy()
            .gzip(self.flow.decompress)
            .brotli(self.flow.decompress)
            .pool_idle_timeout(None::<Duration>)
            .pool_max_idle_per_host(if per_request { 0 } else { 1 })
            .tcp_keepalive(None::<Duration>)
            .dns_resolver(Arc::new(SystemResolver(self.turns.clone())))
            .connector_layer(Watch {
                clock: self.clock,
                keep_alive: !per_request,
            });
        builder = match spec.protocol {
            Protocol::Http1 => builder.http1_only(),
            Protocol::Http2 => builder.http2_prior_knowledge(),
        };
        // A user keeps its cookies where it is one user's client, and where reqwest was asked for.
        let one_user = !matches!(spec.connections.mode, ConnectionMode::Pooled(_));
        if spec.transport == TransportChoice::Reqwest && one_user {
            builder = builder.cookie_store(true);
        }
        let sources = &spec.connections.source;
        if let Some(source) = sources.get(number.checked_rem(sources.len()).unwrap_or(0)) {
            builder = builder.local_address(*source);
        }
        builder.build().map_err(|error| {
            let problem = Cause::Error(Box::new(error)).describe();
            TrafficError::Scenario(problem).in_flow(&self.flow.name)
        })
    }
}

/// A connection for one request; given back when dropped.
struct Held<'a> {
    conn: Rc<Conn>,
    pool: Option<(&'a Pool, tokio::sync::SemaphorePermit<'a>)>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some((pool, _)) = &self.pool {
            pool.free.borrow_mut().push_back(self.conn.clone());
        }
    }
}

impl Shop {
    /// The user's own connection, or the pool's next: whoever waits longest gets the one that was idle longest.
    async fn hold(&self, own: Option<&Rc<Conn>>) -> Result<Held<'_>, Failure> {
        if let Some(conn) = own {
            return Ok(Held {
                conn: conn.clone(),
                pool: None,
            });
        }
        let none = || Failure {
            outcome: Outcome::Local,
            cause: Cause::Text("the pool of connections is gone".into()),
        };
        let pool = self.pool.as_ref().ok_or_else(none)?;
        let permit = pool.permits.acquire().await.map_err(|_| none())?;
        // There are as many permits as entries.
        let conn = pool.free.borrow_mut().pop_front().ok_or_else(none)?;
        Ok(Held {
            conn,
            pool: Some((pool, permit)),
        })
    }
}

impl Link {
    /// Sends a request and waits for the whole response.
    pub async fn send(&mut self, order: &mut Order<'_>) -> Result<(), Failure> {
        let shop = &self.shop;
        let held = shop.hold(self.own.as_ref()).await?;
        let conn = &held.conn;
        if shop.flow.spec.connections.mode == ConnectionMode::PerRequest {
            conn.memory.borrow().renew();
        }
        let memory = conn.memory.borrow().clone();
        let start = shop.clock.now();
        order.progress.on(&memory);
        order.progress.started.set(start);
        let step = order.step;
        let request = shop.request(order)?;
        let reply = &mut *order.reply;
        self.context
            .follow_redirects
            .store(step.follow_redirects, Ordering::Relaxed);

        let client = conn.client.borrow().clone();
        let deadline = Instant::now() + step.request.timeout;
        let exchange = REQUEST.scope(self.context.clone(), shop.exchange(client, request, reply));
        let result = tokio::time::timeout_at(deadline.into(), exchange).await;

        reply.sent = start;
        self.context.take(|opened, ready| {
            reply.opened.push(opened);
            reply.sent = ready;
            conn.opened_at.set(Some(ready));
            memory.renew();
        });
        shop.retire(conn);
        match result {
            Ok(Ok(client)) => {
                memory.client.set(client);
                Ok(())
            }
            Ok(Err(error)) => {
                let outcome = classify(&error);
                if never_sent(outcome) {
                    reply.sent_bytes = 0;
                }
                let cause = Cause::Error(Box::new(error));
                Err(Failure { outcome, cause })
            }
            Err(_) => Err(Failure {
                outcome: Outcome::Timeout,
                cause: Cause::Text(format!(
                    "no complete response within {:?}",
                    step.request.timeout
                )),
            }),
        }
    }
}

/// Failures that come before the first byte of a request.
fn never_sent(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Refused | Outcome::Dns | Outcome::Tls | Outcome::Unreachable | Outcome::Local
    )
}

impl Shop {
    fn request(&self, order: &mut Order<'_>) -> Result<Request, Failure> {
        let values = order.values.borrow();
        let mut scope = Scope {
            values: &values,
            user: order.user,
            iteration: order.iteration,
            rng: &mut *order.rng,
        };
        let template = &order.step.request;
        let rendered = template
            .render(&self.origin, &mut scope)
            .map_err(|problem| Failure {
                outcome: Outcome::Local,
                cause: Cause::Text(problem),
            })?;
        order.reply.sent_bytes = template.size(&self.origin, &rendered);
        let mut request = Request::new(template.method.clone(), rendered.url);
        let says_length = matches!(template.method, Method::POST | Method::PUT | Method::PATCH);
        if !rendered.body.is_empty() || says_length {
            *request.body_mut() = Some(rendered.body.into());
        }
        *request.headers_mut() = rendered.headers;
        if self.flow.decompress && !request.headers().contains_key(header::ACCEPT_ENCODING) {
            // The client would ask for compression in the name of a step that does not.
            let plain = HeaderValue::from_static("identity");
            request.headers_mut().insert(header::ACCEPT_ENCODING, plain);
        }
        Ok(request)
    }

    /// One exchange. Returns this side's address.
    async fn exchange(
        &self,
        client: Client,
        request: Request,
        reply: &mut Reply,
    ) -> Result<Option<SocketAddr>, ::reqwest::Error> {
        let mut response = client.execute(request).await?;
        let connection = response.extensions().get::<HttpInfo>();
        let client = connection.map(HttpInfo::local_addr);
        reply.first_byte = self.clock.now();
        reply.status = response.status().as_u16();
        let (headers, _) = reply.parts();
        std::mem::swap(headers, response.headers_mut());
        let reason = response.status().canonical_reason().map_or(0, str::len);
        let head: usize = headers
            .iter()
            .map(|(n, v)| n.as_str().len() + v.len() + 4)
            .sum();
        reply.received_bytes = ("HTTP/1.1 200 \r\n\r\n".len() + reason + head) as u64;
        if reply.status >= 400 {
            reply.keep = reply.keep.max(crate::traffic::reply::SAMPLE_BYTES);
        }
        while let Some(chunk) = response.chunk().await? {
            reply.received_bytes += chunk.len() as u64;
            reply.push_body(&chunk);
        }
        Ok(client)
    }

    /// Replaces a connection that is too old. Requests that still run on it keep it until they end.
    fn retire(&self, conn: &Conn) {
        let Some((age, opened)) = self.flow.spec.connections.max_age.zip(conn.opened_at.get())
        else {
            return;
        };
        let old = self.clock.now().saturating_sub(opened) >= age.as_micros() as Micros;
        // Clients with the same settings have been built before: where one cannot be, the old one goes on.
        if let Some(client) = old.then(|| self.client(conn.number).ok()).flatten() {
            *conn.client.borrow_mut() = client;
            conn.opened_at.set(None);
            // The request that has just ended is still counted by the old one.
            conn.memory.replace(Rc::default());
        }
    }
}
