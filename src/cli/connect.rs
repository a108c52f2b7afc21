//! `squall __connect`: whether an address takes a TCP connection from here, for the check that a partition holds.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::exit::Exit;

/// Where to.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// IP address and port.
    address: SocketAddr,
}

/// Exit code 0 where it does.
pub fn main(args: Args) -> Exit {
    match TcpStream::connect_timeout(&args.address, Duration::from_secs(2)) {
        Ok(_) => Exit::Pass,
        Err(error) => {
            squall::say::err(format_args!("{}: {error}", args.address));
            Exit::Fail
        }
    }
}
