//! What a transport hands back for one request. Buffers are kept from request to request.

use http::HeaderMap;

use crate::record::{Micros, Outcome};

/// At most so much of a body is kept for a sample.
pub const SAMPLE_BYTES: usize = 2048;

/// A response and the times of its request. Times are on the run's clock.
#[derive(Debug, Default)]
pub struct Reply {
    /// Status; 0 before there is one.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body, or its beginning where no check needs it.
    pub body: Vec<u8>,
    /// How much of the body to keep.
    pub keep: usize,
    /// Size of the whole body.
    pub body_bytes: u64,
    /// When the request was sent: after its connection was there, where it had to be opened.
    pub sent: Micros,
    /// When the head of the response was there.
    pub first_byte: Micros,
    /// Bytes of the request.
    pub sent_bytes: u64,
    /// Bytes of the response.
    pub received_bytes: u64,
    /// Connections that were opened for the request, usually none or one.
    pub opened: Vec<Opened>,
}

/// A connection that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Time to connect (with name resolution).
    pub connect_us: Micros,
    /// Time to agree on TLS.
    pub tls_us: Option<Micros>,
}

/// Why there is no complete response.
#[derive(Debug)]
pub struct Failure {
    /// Its kind.
    pub outcome: Outcome,
    /// The error as the transport gave it; put into words only where it is shown.
    pub cause: Cause,
}

/// What a failure came from.
#[derive(Debug)]
pub enum Cause {
    /// An error of a library.
    Error(Box<dyn std::error::Error>),
    /// Words.
    Text(String),
}

impl Cause {
    /// The cause in words, with all that it stems from.
    pub fn describe(&self) -> String {
        match self {
            Cause::Text(text) => text.clone(),
            Cause::Error(error) => {
                let mut text = error.to_string();
                let mut source = error.source();
                while let Some(inner) = source {
                    let words = inner.to_string();
                    // Many errors repeat their source's words.
                    if !text.contains(&words) {
                        text.push_str(": ");
                        text.push_str(&words);
                    }
                    source = inner.source();
                }
                text
            }
        }
    }
}

impl Reply {
    /// Ready for the next request.
    pub fn clear(&mut self, keep: usize) {
        self.status = 0;
        self.headers.clear();
        self.body.clear();
        self.keep = keep;
        self.body_bytes = 0;
        self.sent = 0;
        self.first_byte = 0;
        self.sent_bytes = 0;
        self.received_bytes = 0;
        self.opened.clear();
    }

    /// The values of a header.
    pub fn header_all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers
            .get_all(name)
            .into_iter()
            .map(|value| value.as_bytes())
    }

    /// Takes in a part of the body.
    pub fn push_body(&mut self, part: &[u8]) {
        self.body_bytes += part.len() as u64;
        let room = self.keep.saturating_sub(self.body.len());
        self.body.extend_from_slice(&part[..part.len().min(room)]);
    }
}
