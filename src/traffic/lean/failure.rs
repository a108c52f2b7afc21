//! What can go wrong between a request and its response, cheap to make and put into words only when asked.

use std::fmt;
use std::io;
use std::time::Instant;

use crate::record::Outcome;

/// Why there is no response.
#[derive(Debug)]
pub enum Cause {
    /// The system said no while connecting, writing or reading.
    Io(Doing, io::Error),
    /// The TLS handshake failed, or a record could not be read.
    Tls(io::Error),
    /// The deadline passed.
    Timeout(Doing),
    /// The server closed the connection before the response was complete.
    Closed(Missing),
    /// The response breaks the rules of HTTP/1.1.
    Protocol(Violation),
    /// The body is larger than what the caller is willing to keep, in bytes.
    BodyTooLarge(u64),
}

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// Opening the socket, or binding it to its source address.
    Socket,
    /// Connecting.
    Connect,
    /// Agreeing on TLS.
    Handshake,
    /// Sending the request.
    Write,
    /// Waiting for the response, or reading it.
    Read,
}

/// What had not come when the connection was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Closed before the request was sent.
    Request,
    /// Not one byte of a response came.
    Response,
    /// The headers were not complete.
    Head,
    /// The body was shorter than its Content-Length.
    Body {
        /// Bytes that came.
        got: u64,
        /// Bytes that were promised.
        expected: u64,
    },
    /// The last chunk did not come; so many bytes of the body did.
    LastChunk(u64),
    /// TLS was cut off without its closing message, where only that message would end the body.
    CloseNotify,
}

/// A broken rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// Status line or header do not parse.
    Head(httparse::Error),
    /// The status is below 100.
    Status(u16),
    /// Headers go past the limit, in bytes.
    HeadTooLarge(usize),
    /// More interim (1xx) responses than the limit.
    TooManyInterim(u32),
    /// Content-Length is not a number.
    ContentLength,
    /// Two Content-Lengths that differ.
    ContentLengths,
    /// Content-Length and Transfer-Encoding in one response.
    LengthAndEncoding,
    /// Transfer-Encoding in a response of HTTP/1.0, or `chunked` not once and last.
    TransferEncoding,
    /// A chunk's size line does not parse.
    ChunkSize,
    /// A chunk is not followed by the end of line.
    ChunkEnd,
    /// Chunk extensions or trailers go past their limit, in bytes.
    ChunkTooWordy(usize),
    /// So many bytes after the end of the previous response, to no request; 0: not known how many.
    Excess(u64),
}

impl Cause {
    /// How the request counts.
    pub fn outcome(&self) -> Outcome {
        match self {
            Cause::Io(doing, error) => io_outcome(*doing, error),
            Cause::Tls(error) => match error.raw_os_error() {
                Some(_) => io_outcome(Doing::Handshake, error),
                None if error.kind() == io::ErrorKind::UnexpectedEof => Outcome::Closed,
                None => Outcome::Tls,
            },
            Cause::Timeout(_) => Outcome::Timeout,
            Cause::Closed(_) => Outcome::Closed,
            Cause::Protocol(_) => Outcome::Protocol,
            Cause::BodyTooLarge(_) => Outcome::Local,
        }
    }
}

/// How an error of the system counts.
fn io_outcome(doing: Doing, error: &io::Error) -> Outcome {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => Outcome::Refused,
        Kind::ConnectionReset | Kind::ConnectionAborted => Outcome::Reset,
        // The peer closed in order, and then said that it does not take what we send.
        Kind::BrokenPipe | Kind::UnexpectedEof | Kind::NotConnected => Outcome::Closed,
        // The kernel gave up on a peer that does not answer.
        Kind::TimedOut => Outcome::Timeout,
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => {
            Outcome::Unreachable
        }
        // No port left (EADDRNOTAVAIL, EADDRINUSE), no descriptor left, no memory left, not permitted: ours.
        Kind::AddrNotAvailable | Kind::AddrInUse | Kind::OutOfMemory | Kind::PermissionDenied => {
            Outcome::Local
        }
        _ if matches!(doing, Doing::Socket | Doing::Connect) => Outcome::Local,
        _ => Outcome::Reset,
    }
}

/// A request that got no response.
#[derive(Debug)]
pub struct Failure {
    /// How it counts.
    pub outcome: Outcome,
    /// Why; its `Display` is the text for people.
    pub cause: Cause,
    /// Whether any byte of the request was handed to the network. If not, the server cannot have acted on it.
    pub sent: bool,
    /// When the first bytes of a response were there, if any were.
    pub first_byte_at: Option<Instant>,
    /// The connection had been answered before, and it ended without one byte of a response to this request: the
    /// server may have closed it for being idle at the very moment of the send.
    pub on_reused_idle: bool,
    /// Bytes received for this request before it failed.
    pub received_bytes: u64,
}

impl Failure {
    /// A failure before anything was sent on a connection.
    pub(super) fn unsent(cause: Cause) -> Self {
        Self {
            outcome: cause.outcome(),
            cause,
            sent: false,
            first_byte_at: None,
            on_reused_idle: false,
            received_bytes: 0,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)?;
        if self.on_reused_idle {
            f.write_str(" (a kept-alive connection that had been idle)")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Io(doing, error) => write!(f, "{doing}: {error}"),
            Cause::Tls(error) => write!(f, "TLS: {error}"),
            Cause::Timeout(doing) => write!(f, "{doing}: no answer in time"),
            Cause::Closed(missing) => write!(f, "connection closed {missing}"),
            Cause::Protocol(violation) => write!(f, "not valid HTTP/1.1: {violation}"),
            Cause::BodyTooLarge(limit) => {
                write!(
                    f,
                    "the body is larger than the {limit} bytes that are kept for checks"
                )
            }
        }
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Doing::Socket => "opening a socket",
            Doing::Connect => "connecting",
            Doing::Handshake => "TLS handshake",
            Doing::Write => "sending the request",
            Doing::Read => "reading the response",
        })
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Request => f.write_str("by the server before the request was sent"),
            Missing::Response => f.write_str("before a response came"),
            Missing::Head => f.write_str("within the response's headers"),
            Missing::Body { got, expected } => {
                write!(f, "within the body, after {got} of {expected} bytes")
            }
            Missing::LastChunk(got) => {
                write!(f, "before the last chunk, after {got} bytes of the body")
            }
            Missing::CloseNotify => {
                f.write_str("without TLS's closing message, so that the body may be cut off")
            }
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Head(error) => write!(f, "status line or headers: {error}"),
            Violation::Status(status) => write!(f, "status {status} is below 100"),
            Violation::HeadTooLarge(limit) => write!(f, "headers are larger than {limit} bytes"),
            Violation::TooManyInterim(limit) => {
                write!(f, "more than {limit} interim (1xx) responses")
            }
            Violation::ContentLength => f.write_str("Content-Length is not a number"),
            Violation::ContentLengths => f.write_str("two Content-Lengths that differ"),
            Violation::LengthAndEncoding => {
                f.write_str("both Content-Length and Transfer-Encoding")
            }
            Violation::TransferEncoding => f.write_str(
                "Transfer-Encoding in a response of HTTP/1.0, or `chunked` not once and last in it",
            ),
            Violation::ChunkSize => f.write_str("a chunk's size is not a hexadecimal number"),
            Violation::ChunkEnd => f.write_str("a chunk is longer than its size says"),
            Violation::ChunkTooWordy(limit) => {
                write!(
                    f,
                    "chunk extensions or trailers are larger than {limit} bytes"
                )
            }
            Violation::Excess(0) => f.write_str("bytes after the end of the previous response"),
            Violation::Excess(n) => {
                write!(f, "{n} bytes after the end of the previous response")
            }
        }
    }
}
