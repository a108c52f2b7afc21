//! How requests get to the server and responses back: one enum over the transports, one file (or room) each.
//!
//! A transport sends one request and fills one [`Reply`]; it never retries, and says exactly what went wrong. Whose
//! connection is used is decided here, too, since it decides what a load balancer sees.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use rand_pcg::Pcg64;

use super::TrafficError;
use super::journey::{CompiledFlow, CompiledStep};
use super::meter::InstanceId;
use super::reply::{Failure, Reply};
use super::text::Value;
use crate::record::Micros;
use crate::scenario::{Protocol, TransportChoice};

mod connector;
pub mod lean;
pub mod reqwest;

/// Which transport carries a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The lean client.
    Lean,
    /// reqwest.
    Reqwest,
}

impl Kind {
    /// Its name in summaries.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Lean => "lean",
            Kind::Reqwest => "reqwest",
        }
    }

    /// The transport for a flow.
    pub fn choose(flow: &CompiledFlow) -> Result<Self, TrafficError> {
        match flow.spec.transport {
            TransportChoice::Reqwest => Ok(Kind::Reqwest),
            TransportChoice::Auto if Self::beyond_lean(flow).is_some() => Ok(Kind::Reqwest),
            TransportChoice::Auto => Ok(Kind::Lean),
            TransportChoice::Lean => match Self::beyond_lean(flow) {
                None => Ok(Kind::Lean),
                Some(what) => {
                    let problem =
                        format!("`transport: lean` has no {what}; use `reqwest` or `auto`");
                    Err(TrafficError::Scenario(problem).in_flow(&flow.name))
                }
            },
        }
    }

    /// What a flow needs that only reqwest gives.
    fn beyond_lean(flow: &CompiledFlow) -> Option<&'static str> {
        if flow.spec.protocol == Protocol::Http2 {
            Some("HTTP/2")
        } else if flow.steps.iter().any(|step| step.follow_redirects) {
            Some("redirects")
        } else if flow.decompress {
            Some("decompression, which an `accept-encoding` header asks for")
        } else {
            None
        }
    }
}

/// What is known of a connection from its earlier responses.
#[derive(Debug, Default)]
pub struct Memory {
    /// The instance that answered last.
    pub last: Cell<Option<InstanceId>>,
    /// Whether it has never been answered.
    pub fresh: Cell<bool>,
    /// This side's address, where it tells who serves the connection.
    pub client: Cell<Option<SocketAddr>>,
}

impl Memory {
    /// A new connection takes the place of the old one.
    pub fn renew(&self) {
        self.last.set(None);
        self.client.set(None);
        self.fresh.set(true);
    }
}

/// How far the request under way is; read by the worker when it must end the request itself.
#[derive(Debug, Default)]
pub struct Progress {
    /// The connection that it is on.
    pub memory: RefCell<Option<Rc<Memory>>>,
    /// When its attempt began; 0 while it waits for a connection.
    pub started: Cell<Micros>,
}

impl Progress {
    /// The request is on this connection.
    pub fn on(&self, memory: &Rc<Memory>) {
        let mut known = self.memory.borrow_mut();
        if !known
            .as_ref()
            .is_some_and(|known| Rc::ptr_eq(known, memory))
        {
            *known = Some(memory.clone());
        }
    }
}

/// What a request is made from, and where its response goes.
pub struct Order<'a> {
    /// The step.
    pub step: &'a CompiledStep,
    /// The variables of the journey.
    pub values: &'a RefCell<Vec<Value>>,
    /// The user's number.
    pub user: u64,
    /// How many times the user has begun the journey.
    pub iteration: u64,
    /// The journey's generator.
    pub rng: &'a mut Pcg64,
    /// Where it is told how far it is.
    pub progress: &'a Progress,
    /// What comes back.
    pub reply: &'a mut Reply,
}

/// The connections of one flow at one worker.
pub enum Transport {
    /// Through the lean client.
    Lean(Rc<lean::Shop>),
    /// Through reqwest.
    Reqwest(Rc<reqwest::Shop>),
}

/// One user's way to the server.
pub enum Link {
    /// Through the lean client.
    Lean(lean::Link),
    /// Through reqwest.
    Reqwest(Box<reqwest::Link>),
}

impl Transport {
    /// The link of this worker's `index`th user.
    pub fn link(&self, index: usize) -> Result<Link, TrafficError> {
        match self {
            Transport::Lean(shop) => Ok(Link::Lean(shop.link(index))),
            Transport::Reqwest(shop) => Ok(Link::Reqwest(Box::new(shop.link(index)?))),
        }
    }
}

impl Link {
    /// Sends a request and waits for the whole response, at most for the step's timeout.
    pub async fn send(&mut self, order: &mut Order<'_>) -> Result<(), Failure> {
        match self {
            Link::Lean(link) => link.send(order).await,
            // Boxed, or every user would carry the room for it.
            Link::Reqwest(link) => Box::pin(link.send(order)).await,
        }
    }
}
