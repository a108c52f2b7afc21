//! The traffic engine against real servers on real sockets: counts, kinds of errors, times, connections.

mod connections;
mod errors;
mod harness;
mod journeys;
mod load;
mod pace;
mod server;
