//! Opening a connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::alarm::Alarm;
use super::connection::Connection;
use super::failure::{Cause, Doing, Failure};
use super::wire::{Wire, watched};

/// TLS towards a server.
#[derive(Clone)]
pub struct Tls {
    /// The connector; its configuration must not offer `h2` by ALPN.
    pub connector: TlsConnector,
    /// The name that the server must prove, and that is sent to it (SNI).
    pub name: ServerName<'static>,
}

impl Tls {
    /// TLS with this configuration towards this name.
    pub fn new(config: Arc<rustls::ClientConfig>, name: ServerName<'static>) -> Self {
        Self {
            connector: TlsConnector::from(config),
            name,
        }
    }
}

/// How long the parts of opening took. What was not reached is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectTimings {
    /// From the first SYN until TCP was connected.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
}

/// Where to, from where, and how.
#[derive(Clone)]
pub struct Connector {
    /// The server.
    pub address: SocketAddr,
    /// The local address to connect from; the system chooses when absent.
    pub source: Option<IpAddr>,
    /// TLS, if any.
    pub tls: Option<Tls>,
}

impl Connector {
    /// Opens a connection before `deadline`. `timings` is filled as far as it got, also on failure.
    pub async fn open(
        &self,
        deadline: Instant,
        timings: &mut ConnectTimings,
    ) -> Result<Connection, Failure> {
        self.open_with(Alarm::default(), deadline, timings).await
    }

    /// As [`Connector::open`], with the alarm of a connection that was closed: where each request has a connection of
    /// its own, a timer for each would be felt.
    pub async fn open_with(
        &self,
        mut alarm: Alarm,
        deadline: Instant,
        timings: &mut ConnectTimings,
    ) -> Result<Connection, Failure> {
        match self.wire(&mut alarm, deadline, timings).await {
            Ok(wire) => Ok(Connection::new(wire, alarm)),
            Err(cause) => Err(Failure::unsent(cause)),
        }
    }

    async fn wire(
        &self,
        alarm: &mut Alarm,
        deadline: Instant,
        timings: &mut ConnectTimings,
    ) -> Result<Wire, Cause> {
        let started = Instant::now();
        let wire = self.connect(alarm, deadline).await?;
        let connected = Instant::now();
        timings.connect = Some(connected - started);
        let Some(tls) = &self.tls else {
            return Ok(wire);
        };
        let tcp = wire
            .into_tcp()
            .map_err(|e| Cause::Io(Doing::Handshake, e))?;
        let stream = self.handshake(tls, tcp, alarm, deadline).await?;
        timings.tls = Some(connected.elapsed());
        Ok(stream)
    }

    async fn connect(&self, alarm: &mut Alarm, deadline: Instant) -> Result<Wire, Cause> {
        let failed = |error: io::Error| Cause::Io(Doing::Connect, error);
        let socket = self.socket();
        let socket = socket.map_err(|e| Cause::Io(Doing::Socket, e))?;
        match net::connect(&socket, &self.address) {
            Err(Errno::INPROGRESS) if !connected(&socket) => {}
            Ok(()) | Err(Errno::INPROGRESS) => return Ok(Wire::fresh(socket)),
            Err(error) => return Err(failed(error.into())),
        }
        let tcp = watched(socket.into()).map_err(failed)?;
        let writable = alarm.within(deadline, tcp.writable()).await;
        writable
            .ok_or(Cause::Timeout(Doing::Connect))?
            .map_err(failed)?
            .retain_ready();
        match tcp.get_ref().take_error() {
            Ok(None) => Ok(Wire::Plain(tcp)),
            Ok(Some(error)) | Err(error) => Err(failed(error)),
        }
    }

    fn socket(&self) -> io::Result<OwnedFd> {
        let family = match self.address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
        // A request is one write: holding back its end (Nagle) would only distort its latency.
        sockopt::set_tcp_nodelay(&socket, true)?;
        if let Some(source) = self.source {
            // Else the kernel would choose the port now, one that nobody has from this address to anywhere. Where it
            // cannot wait (before Linux 4.2), it does that.
            let _ = setsockopt(&socket, IpBindAddressNoPort, &true);
            net::bind(&socket, &SocketAddr::new(source, 0))?;
        }
        Ok(socket)
    }

    async fn handshake(
        &self,
        tls: &Tls,
        tcp: TcpStream,
        alarm: &mut Alarm,
        deadline: Instant,
    ) -> Result<Wire, Cause> {
        let handshake = tls.connector.connect(tls.name.clone(), tcp);
        let stream = alarm.within(deadline, handshake).await;
        let stream = stream.ok_or(Cause::Timeout(Doing::Handshake))?;
        Ok(Wire::Tls(Box::new(stream.map_err(Cause::Tls)?)))
    }
}

/// Whether a connection that was begun is there already, as it is on the loopback device, where the handshake is over
/// when the call returns. An error is left for the poller to find.
fn connected(socket: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(socket, PollFlags::OUT)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut polled, Some(&now)) == Ok(1) && polled[0].revents() == PollFlags::OUT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_left_open_until_the_server_is_known() {
        for (server, source) in [("127.0.0.1:1", "127.0.0.2"), ("[::1]:1", "::1")] {
            let connector = Connector {
                address: server.parse().unwrap(),
                source: Some(source.parse().unwrap()),
                tls: None,
            };
            let socket = match connector.socket() {
                Err(error)
                    if source == "::1" && error.kind() == io::ErrorKind::AddrNotAvailable =>
                {
                    eprintln!("SKIPPED for {source}: this machine has no IPv6");
                    continue;
                }
                socket => socket.unwrap(),
            };
            let bound = std::net::TcpStream::from(socket).local_addr().unwrap();
            assert_eq!(bound, SocketAddr::new(source.parse().unwrap(), 0));
        }
    }
}
