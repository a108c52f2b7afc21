//! The traffic engine against real servers on real sockets: counts, kinds of errors, times, connections. Everything is
//! tried with the transport that is chosen by itself, nearly always the lean one, and with reqwest.
#![allow(clippy::duplicate_mod, reason = "the same tests on either transport")]

mod harness;
mod limits;
mod server;

#[path = "."]
mod auto {
    use squall::scenario::{Flow, Load, TransportChoice};

    mod connections;
    mod errors;
    mod journeys;
    mod load;
    mod pace;

    const TRANSPORT: &str = "lean";

    fn flow(load: Load) -> Flow {
        crate::harness::flow_on(TransportChoice::Auto, load)
    }
}

#[path = "."]
mod reqwest {
    use squall::scenario::{Flow, Load, TransportChoice};

    mod connections;
    mod errors;
    mod journeys;
    mod load;
    mod pace;

    const TRANSPORT: &str = "reqwest";

    fn flow(load: Load) -> Flow {
        crate::harness::flow_on(TransportChoice::Reqwest, load)
    }
}
