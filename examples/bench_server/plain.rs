//! Clear text: no runtime, nothing but the system calls.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::Result;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::heads::{Heads, LONGEST};
use crate::stall::Stall;

/// The listener among the connections, which are known by their descriptors.
const LISTENER: u64 = u64::MAX;
struct Connection {
    tcp: TcpStream,
    response: &'static [u8],
    heads: Heads,
}

struct Server<'a> {
    poller: std::os::fd::OwnedFd,
    listener: &'a TcpListener,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
    buffer: [u8; LONGEST],
    close: bool,
    stall: Option<Stall>,
}

/// Answers all requests, for ever.
pub fn serve(
    listener: &TcpListener,
    responses: &[&'static [u8]],
    close: bool,
    stall: Option<Stall>,
) -> Result<()> {
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let incoming = epoll::EventData::new_u64(LISTENER);
    epoll::add(&poller, listener, incoming, epoll::EventFlags::IN)?;
    let mut server = Server {
        poller,
        listener,
        connections: Vec::new(),
        buffer: [0; LONGEST],
        close,
        stall,
    };
    let mut responses = responses.iter().copied().cycle();
    let mut events = Vec::with_capacity(1024);
    loop {
        let wait = server.stall.as_ref().map(|stall| stall.wait().try_into());
        let wait: Option<Timespec> = wait.transpose()?;
        match epoll::wait(&server.poller, spare_capacity(&mut events), wait.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(stall) = &mut server.stall {
            stall.look();
        }
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => server.accept(&mut responses)?,
                descriptor => {
                    let flags = event.flags;
                    let ended = flags.contains(epoll::EventFlags::RDHUP);
                    server.read(descriptor as usize, ended);
                }
            }
        }
    }
}

impl Server<'_> {
    fn accept(&mut self, responses: &mut impl Iterator<Item = &'static [u8]>) -> Result<()> {
        loop {
            let tcp = match self.listener.accept() {
                Ok((tcp, _)) => tcp,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => {
                    // Out of descriptors: those in use come free.
                    std::thread::sleep(Duration::from_millis(1));
                    return Ok(());
                }
            };
            tcp.set_nonblocking(true)?;
            tcp.set_nodelay(true)?;
            let descriptor = tcp.as_raw_fd() as usize;
            let data = epoll::EventData::new_u64(descriptor as u64);
            let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
            epoll::add(&self.poller, &tcp, data, flags)?;
            if descriptor >= self.connections.len() {
                self.connections.resize_with(descriptor + 1, || None);
            }
            self.connections[descriptor] = responses.next().map(|response| Connection {
                tcp,
                response,
                heads: Heads::default(),
            });
        }
    }

    fn read(&mut self, descriptor: usize, ended: bool) {
        let slot = &mut self.connections[descriptor];
        let Some(connection) = slot else { return };
        loop {
            let n = match recv(&connection.tcp, &mut self.buffer, RecvFlags::empty()) {
                Ok((_, n)) if n > 0 => n,
                Err(Errno::AGAIN) => return,
                _ => break,
            };
            if !connection.take(&self.buffer[..n], self.close, &mut self.stall) {
                break;
            }
            // A read that did not fill its buffer has emptied the socket.
            if n < LONGEST && !ended {
                return;
            }
        }
        *slot = None;
    }
}

impl Connection {
    /// Answers each request whose head has ended. False when the connection is over.
    fn take(&mut self, bytes: &[u8], close: bool, stall: &mut Option<Stall>) -> bool {
        let Some(ended) = self.heads.take(bytes) else {
            return false;
        };
        for _ in 0..ended {
            if !self.answer() {
                return false;
            }
            if let Some(stall) = stall {
                stall.answered();
            }
            if close {
                return false;
            }
        }
        true
    }

    fn answer(&self) -> bool {
        let mut rest = self.response;
        while !rest.is_empty() {
            match send(&self.tcp, rest, SendFlags::NOSIGNAL) {
                Ok(n) => rest = &rest[n..],
                // No benchmark fills a socket; who does is waited for, one second at a time.
                Err(Errno::AGAIN) => {
                    let mut writable = [PollFd::new(&self.tcp, PollFlags::OUT)];
                    let second = Timespec {
                        tv_sec: 1,
                        tv_nsec: 0,
                    };
                    if poll(&mut writable, Some(&second)) != Ok(1) {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
        true
    }
}
