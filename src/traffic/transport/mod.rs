//! How requests get to the server and responses back: one enum over the transports, one file (or room) each.
//!
//! A transport sends one request and fills one [`Reply`]; it never retries, and says exactly what went wrong. Whose
//! connection is used is decided here, too, since it decides what a load balancer sees.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use rand_pcg::Pcg64;

use super::TrafficError;
use super::journey::{CompiledFlow, CompiledStep};
use super::meter::InstanceId;
use super::reply::{Failure, Reply};
use super::text::Value;
use crate::record::Micros;
use crate::scenario::TransportChoice;

mod connector;
pub mod reqwest;

/// Which transport carries a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// reqwest.
    Reqwest,
}

impl Kind {
    /// Its name in summaries.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Reqwest => "reqwest",
        }
    }

    /// The transport for a flow.
    pub fn choose(flow: &CompiledFlow) -> Result<Self, TrafficError> {
        match flow.spec.transport {
            TransportChoice::Auto | TransportChoice::Reqwest => Ok(Kind::Reqwest),
            TransportChoice::Lean => {
                let problem =
                    "the lean transport is not part of this build; use `transport: reqwest`";
                Err(TrafficError::Scenario(problem.into()).in_flow(&flow.name))
            }
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
}

impl Memory {
    /// A new connection takes the place of the old one.
    pub fn renew(&self) {
        self.last.set(None);
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

/// What a request is made from.
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
}

/// The connections of one flow at one worker.
pub enum Transport {
    /// Through reqwest.
    Reqwest(Rc<reqwest::Shop>),
}

/// One user's way to the server.
pub enum Link {
    /// Through reqwest.
    Reqwest(Box<reqwest::Link>),
}

impl Transport {
    /// The link of this worker's `index`th user.
    pub fn link(&self, index: usize) -> Result<Link, TrafficError> {
        match self {
            Transport::Reqwest(shop) => Ok(Link::Reqwest(Box::new(shop.link(index)?))),
        }
    }
}

impl Link {
    /// Sends a request and waits for the whole response, at most for the step's timeout.
    pub async fn send(
        &mut self,
        order: Order<'_>,
        progress: &Progress,
        reply: &mut Reply,
    ) -> Result<(), Failure> {
        match self {
            Link::Reqwest(link) => link.send(order, progress, reply).await,
        }
    }
}
