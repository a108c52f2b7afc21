//! The lean HTTP/1.1 client: one connection that sends a request and reads exactly one response, at little more
//! than the cost of the two system calls.
//!
//! It holds what a load generator needs and nothing else: request bytes rendered by the caller, responses parsed in
//! place, no allocation per request once a connection is warm. Redirects, cookies, decompression, proxies and
//! HTTP/2 do not belong here; neither do retries, since a repeated request is another arrival and the engine's affair.
//!
//! Correct first: a response that breaks the framing rules of RFC 9112 is an error of a known kind ([`Cause`]),
//! never a guess, because a guess would be counted as an answer.
//!
//! - [`Connection`] does the I/O and the timing;
//! - [`Reader`] turns received bytes into one response and is pure, so that it can be fuzzed;
//! - [`Cause`] says what went wrong.

mod alarm;
mod chunked;
mod connection;
mod failure;
mod head;
mod heads;
mod open;
mod reader;
#[cfg(test)]
mod reader_tests;
mod wire;

pub use alarm::Alarm;
pub use connection::{Connection, Reply, Request, Times};
pub use failure::{Cause, Failure};
pub use open::{ConnectTimings, Connector, Tls};
pub use reader::{Progress, Reader};

/// What the caller does with the body of a response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BodyUse {
    /// It is read to its end and counted.
    #[default]
    Discard,
    /// So many bytes of its beginning are kept, to show what came; the rest is read and counted.
    Start(usize),
    /// It is kept for checks and extraction.
    Keep,
}

/// How to read a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether the body is kept.
    pub want_body: BodyUse,
    /// The request is a HEAD: the response has no body, whatever its headers say.
    pub head_request: bool,
    /// Status line and headers, with those of interim responses, may take so many bytes.
    pub max_header_bytes: usize,
    /// A body that is kept whole may take so many bytes; another is not limited.
    pub max_body_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            want_body: BodyUse::Discard,
            head_request: false,
            max_header_bytes: 64 << 10,
            max_body_bytes: 64 << 20,
        }
    }
}
