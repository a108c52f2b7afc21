//! TCP, in clear text or under TLS.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::failure::{Cause, Doing};

/// A connected stream.
#[derive(Debug)]
pub(super) enum Wire {
    /// Just connected, and not yet known to the poller, which would only tell that it can be written to: the first
    /// request is written at once, and the poller is asked for its response.
    Fresh(Option<std::net::TcpStream>),
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// A connected socket that does not block.
    pub(super) fn fresh(socket: OwnedFd) -> Self {
        Wire::Fresh(Some(socket.into()))
    }

    /// The TCP connection of a wire that is not under TLS, known to the poller.
    pub(super) fn into_tcp(mut self) -> io::Result<TcpStream> {
        self.settle()?;
        match self {
            Wire::Plain(tcp) => Ok(tcp),
            Wire::Fresh(_) | Wire::Tls(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// This side's address.
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        let address = match self {
            Wire::Fresh(fresh) => fresh.as_ref()?.local_addr(),
            Wire::Plain(tcp) => tcp.local_addr(),
            Wire::Tls(tls) => tls.get_ref().0.local_addr(),
        };
        address.ok()
    }

    /// Makes a fresh connection known to the poller.
    fn settle(&mut self) -> io::Result<()> {
        if let Wire::Fresh(fresh) = self {
            let tcp = fresh.take().ok_or(io::ErrorKind::NotConnected)?;
            *self = Wire::Plain(TcpStream::from_std(tcp)?);
        }
        Ok(())
    }

    /// Reads what there is. tokio knows that a read that did not fill its buffer has emptied the socket: the next
    /// one waits for the poller at once, without a system call that would only say "not yet".
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        space: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.settle()?;
        let mut buffer = ReadBuf::new(space);
        let polled = match self {
            Wire::Fresh(_) => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            Wire::Plain(tcp) => Pin::new(tcp).poll_read(cx, &mut buffer),
            Wire::Tls(tls) => Pin::new(tls).poll_read(cx, &mut buffer),
        };
        polled.map_ok(|()| buffer.filled().len())
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Wire::Fresh(Some(tcp)) = self {
            match tcp.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.settle()?,
                written => return Poll::Ready(written),
            }
        }
        match self {
            Wire::Fresh(_) => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            Wire::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
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
            Wire::Plain(tcp) => match tcp.try_read(&mut byte) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                read => Some(read),
            },
            // Session tickets and key updates arrive here, and are taken in.
            Wire::Tls(_) => match self.poll_read(cx, &mut byte) {
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
