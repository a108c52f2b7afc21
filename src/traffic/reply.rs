//! What a transport hands back for one request. Buffers are kept from request to request.

use http::HeaderMap;

use super::lean::Reader;
use crate::record::{Micros, Outcome};

/// At most so much of a body is kept for a sample.
pub const SAMPLE_BYTES: usize = 2048;

/// A response and the times of its request. Times are on the run's clock.
#[derive(Debug, Default)]
pub struct Reply {
    /// Status; 0 before there is one.
    pub status: u16,
    /// Headers, and the body or its beginning where no check needs it.
    pub held: Held,
    /// How much of the body to keep.
    pub keep: usize,
    /// Size of the whole body.
    pub body_bytes: u64,
    /// When the request was sent: after its connection was there, where it had to be opened.
    pub sent: Micros,
    /// When the head of the response was there.
    pub first_byte: Micros,
    /// When the response was complete, where the transport has taken the time; 0 where it has not.
    pub ended: Micros,
    /// Bytes of the request.
    pub sent_bytes: u64,
    /// Bytes of the response.
    pub received_bytes: u64,
    /// Connections that were opened for the request, usually none or one.
    pub opened: Vec<Opened>,
}

/// Where headers and body are: in the form in which the transport has them, so that nothing is copied.
#[derive(Debug)]
pub enum Held {
    /// As parts.
    Parts(HeaderMap, Vec<u8>),
    /// As the bytes that came.
    Bytes(Box<Reader>),
}

impl Default for Held {
    fn default() -> Self {
        Held::Parts(HeaderMap::new(), Vec::new())
    }
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
        match &mut self.held {
            Held::Parts(headers, body) => {
                headers.clear();
                body.clear();
            }
            Held::Bytes(reader) => reader.put_down(),
        }
        self.keep = keep;
        self.body_bytes = 0;
        self.sent = 0;
        self.first_byte = 0;
        self.ended = 0;
        self.sent_bytes = 0;
        self.received_bytes = 0;
        self.opened.clear();
    }

    /// Headers and body as parts that can be filled.
    pub fn parts(&mut self) -> (&mut HeaderMap, &mut Vec<u8>) {
        if let Held::Bytes(_) = self.held {
            self.held = Held::default();
        }
        match &mut self.held {
            Held::Parts(headers, body) => (headers, body),
            Held::Bytes(_) => unreachable!("replaced above"),
        }
    }

    /// A reader that can be filled.
    pub fn reader(&mut self) -> &mut Reader {
        if let Held::Parts(..) = self.held {
            self.held = Held::Bytes(Box::default());
        }
        match &mut self.held {
            Held::Bytes(reader) => reader,
            Held::Parts(..) => unreachable!("replaced above"),
        }
    }

    /// Gives up headers and body once they have been looked at: their room serves others until the next response.
    pub fn put_down(&mut self) {
        if let Held::Bytes(reader) = &mut self.held {
            reader.put_down();
        }
    }

    /// Takes over what the reader counted.
    pub fn take_from_reader(&mut self) {
        if let Held::Bytes(reader) = &self.held {
            self.status = reader.status();
            self.body_bytes = reader.body_len();
            self.received_bytes = reader.received();
        }
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        match &self.held {
            Held::Parts(headers, _) => headers.get(name).map(|value| value.as_bytes()),
            Held::Bytes(reader) => reader.header(name.as_bytes()),
        }
    }

    /// Whether a header has a value for which this holds.
    pub fn any_header(&self, name: &str, mut holds: impl FnMut(&[u8]) -> bool) -> bool {
        match &self.held {
            Held::Parts(headers, _) => headers
                .get_all(name)
                .into_iter()
                .any(|value| holds(value.as_bytes())),
            Held::Bytes(reader) => reader
                .headers()
                .any(|(other, value)| other.eq_ignore_ascii_case(name.as_bytes()) && holds(value)),
        }
    }

    /// All headers, their names in lower case.
    pub fn each_header(&self, mut each: impl FnMut(String, &[u8])) {
        match &self.held {
            Held::Parts(headers, _) => headers
                .iter()
                .for_each(|(name, value)| each(name.to_string(), value.as_bytes())),
            Held::Bytes(reader) => reader.headers().for_each(|(name, value)| {
                each(String::from_utf8_lossy(name).to_ascii_lowercase(), value);
            }),
        }
    }

    /// The body, or its beginning where no check needs it.
    pub fn body(&self) -> &[u8] {
        match &self.held {
            Held::Parts(_, body) => body,
            Held::Bytes(reader) => reader.body(),
        }
    }

    /// Takes in a part of the body.
    pub fn push_body(&mut self, part: &[u8]) {
        self.body_bytes += part.len() as u64;
        let keep = self.keep;
        let (_, body) = self.parts();
        let room = keep.saturating_sub(body.len());
        body.extend_from_slice(&part[..part.len().min(room)]);
    }
}
