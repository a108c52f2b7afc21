//! TCP, in clear text or under TLS.
//!
//! Clear text goes to the kernel by the bare system call: the C library's `send` and `recv` would first make themselves
//! places where the thread can be cancelled, and then undo that.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::failure::{Cause, Doing};
use super::reader::Reader;

/// A connected stream.
#[derive(Debug)]
pub(super) enum Wire {
    /// Just connected, and not yet known to the poller, which would only tell that it can be written to: the first
    /// request is written at once, and the poller is asked for its response.
    Fresh(Option<TcpStream>),
    Plain(AsyncFd<TcpStream>),
    Tls(Box<TlsStream<tokio::net::TcpStream>>),
}

impl Wire {
    /// A connected socket that does not block.
    pub(super) fn fresh(socket: OwnedFd) -> Self {
        Wire::Fresh(Some(socket.into()))
    }

    /// The TCP connection of a wire that is not under TLS, for TLS to be put on.
    pub(super) fn into_tcp(self) -> io::Result<tokio::net::TcpStream> {
        match self {
            Wire::Fresh(Some(tcp)) => tokio::net::TcpStream::from_std(tcp),
            Wire::Plain(tcp) => tokio::net::TcpStream::from_std(tcp.into_inner()),
            Wire::Fresh(None) | Wire::Tls(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// This side's address.
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        let address = match self {
            Wire::Fresh(fresh) => fresh.as_ref()?.local_addr(),
            Wire::Plain(tcp) => tcp.get_ref().local_addr(),
            Wire::Tls(tls) => tls.get_ref().0.local_addr(),
        };
        address.ok()
    }

    /// Makes a fresh connection known to the poller.
    fn settle(&mut self) -> io::Result<()> {
        if let Wire::Fresh(fresh) = self {
            let tcp = fresh.take().ok_or(io::ErrorKind::NotConnected)?;
            *self = Wire::Plain(watched(tcp)?);
        }
        Ok(())
    }

    /// Reads what there is for a response.
    #[inline(always)]
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut Reader,
    ) -> Poll<io::Result<usize>> {
        self.settle()?;
        match self {
            Wire::Fresh(_) => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            Wire::Plain(tcp) => receive(tcp, cx, reader),
            Wire::Tls(tls) => receive_tls(tls, cx, reader.space()),
        }
    }

    #[inline(always)]
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Wire::Fresh(Some(tcp)) = self {
            match put(tcp, bytes) {
                Err(Errno::AGAIN) => self.settle()?,
                sent => return Poll::Ready(sent.map_err(io::Error::from)),
            }
        }
        match self {
            Wire::Fresh(_) => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            Wire::Plain(tcp) => transmit(tcp, cx, bytes),
            Wire::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    /// Hands over what the stream has held back. TCP holds nothing.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Wire::Fresh(_) | Wire::Plain(_) => Poll::Ready(Ok(())),
            Wire::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    /// What has come while no request was in flight: nothing (the normal case), some bytes, or the end (0).
    /// In clear text this costs no system call while the poller has nothing to tell.
    pub(super) fn poll_idle(&mut self, cx: &mut Context<'_>) -> Option<io::Result<usize>> {
        let mut byte = [0u8; 1];
        match self {
            Wire::Fresh(_) => None,
            Wire::Plain(tcp) => {
                match tcp.try_io(Interest::READABLE, |tcp| Ok(take(tcp, &mut byte)?)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                    read => Some(read),
                }
            }
            // Session tickets and key updates arrive here, and are taken in.
            Wire::Tls(tls) => match receive_tls(tls, cx, &mut byte) {
                Poll::Pending => None,
                Poll::Ready(read) => Some(read),
            },
        }
    }

    /// The cause for an error of this stream.
    pub(super) fn cause(&self, doing: Doing, error: io::Error) -> Cause {
        match self {
            Wire::Tls(_) if error.raw_os_error().is_none() => Cause::Tls(error),
            _ => Cause::Io(doing, error),
        }
    }
}

/// A socket that the poller knows.
pub(super) fn watched(tcp: TcpStream) -> io::Result<AsyncFd<TcpStream>> {
    // Deprecated because a type may return a descriptor that is not its own; a TcpStream does not, and the successor is
    // unsafe to call.
    #[expect(deprecated)]
    AsyncFd::new(tcp)
}

/// One `recv`.
#[inline(always)]
fn take(tcp: &TcpStream, space: &mut [u8]) -> Result<usize, Errno> {
    retry_on_intr(|| recv(tcp, &mut *space, RecvFlags::empty())).map(|(_, n)| n)
}

/// One `send`.
#[inline(always)]
fn put(tcp: &TcpStream, bytes: &[u8]) -> Result<usize, Errno> {
    retry_on_intr(|| send(tcp, bytes, SendFlags::NOSIGNAL))
}

/// Reads once the poller says that there is something; until then no buffer is taken. A read that did not fill its buffer
/// has emptied the socket: the next one waits for the poller at once, without a system call that would only say "not yet".
#[inline(always)]
fn receive(
    tcp: &AsyncFd<TcpStream>,
    cx: &mut Context<'_>,
    reader: &mut Reader,
) -> Poll<io::Result<usize>> {
    loop {
        let mut told = ready!(tcp.poll_read_ready(cx))?;
        let space = reader.space();
        match take(tcp.get_ref(), space) {
            Err(Errno::AGAIN) => told.clear_ready(),
            Ok(n) => {
                if n > 0 && n < space.len() {
                    told.clear_ready();
                }
                return Poll::Ready(Ok(n));
            }
            Err(error) => return Poll::Ready(Err(error.into())),
        }
    }
}

fn receive_tls(
    tls: &mut TlsStream<tokio::net::TcpStream>,
    cx: &mut Context<'_>,
    space: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(space);
    let polled = Pin::new(tls).poll_read(cx, &mut buffer);
    polled.map_ok(|()| buffer.filled().len())
}

/// Writes at once, and asks the poller only where the socket is full.
#[inline(always)]
fn transmit(
    tcp: &AsyncFd<TcpStream>,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    let mut sent = put(tcp.get_ref(), bytes);
    while sent == Err(Errno::AGAIN) {
        let mut told = ready!(tcp.poll_write_ready(cx))?;
        sent = put(tcp.get_ref(), bytes);
        if sent == Err(Errno::AGAIN) {
            told.clear_ready();
        }
    }
    Poll::Ready(sent.map_err(io::Error::from))
}
