//! Which instance a connection was given to, as a balancer of squall's own knows it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The instance behind each connection, by the client's address and port. There is room for as many as there are ports: a
/// connection stays known until another has its port, since its last answer may be read when it is closed already.
#[derive(Debug, Clone, Default)]
pub struct Routes(Arc<Mutex<HashMap<SocketAddr, Arc<str>>>>);

impl Routes {
    /// The connection from this client is to this instance, or to none.
    pub fn set(&self, client: SocketAddr, instance: Option<&Arc<str>>) {
        match instance {
            Some(instance) => self.lock().insert(client, instance.clone()),
            None => self.lock().remove(&client),
        };
    }

    /// The instance behind the connection from this client.
    pub fn instance(&self, client: SocketAddr) -> Option<Arc<str>> {
        self.lock().get(&client).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Arc<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
