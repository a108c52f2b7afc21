//! Status line and headers of one response: parsed in place, and turned into the few facts that framing needs.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Response, Status};

use super::failure::Violation;

/// A response with more headers than this is refused.
const MAX_HEADERS: usize = 128;

/// Where a header lies in the buffer that was parsed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    name: u32,
    value: u32,
    name_len: u32,
    value_len: u32,
}

impl Field {
    pub(super) fn name<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        &head[self.name as usize..][..self.name_len as usize]
    }
    pub(super) fn value<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        &head[self.value as usize..][..self.value_len as usize]
    }
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// What a head says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// Its length in bytes.
    pub(super) len: usize,
    pub(super) status: u16,
    pub(super) keep_alive: bool,
    pub(super) framing: Framing,
}

/// Parses the head at the front of `input`; `None` when it is not complete. Its headers go into `fields`, which is
/// only allocated for when it has never held so many.
pub(super) fn parse(
    input: &[u8],
    head_request: bool,
    fields: &mut Vec<Field>,
) -> Result<Option<Head>, Violation> {
    let mut storage = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_HEADERS];
    let mut response = Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        input,
        &mut storage,
    );
    let len = match parsed {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(Violation::Head(error)),
    };
    // A complete parse has both.
    let status = response.code.unwrap_or(0);
    let http_1_1 = response.version == Some(1);
    if status < 100 {
        return Err(Violation::Status(status));
    }
    let bodiless = head_request || status < 200 || status == 204 || status == 304;
    let mut facts = Facts::default();
    fields.clear();
    let start = input.as_ptr() as usize;
    for header in response.headers.iter() {
        facts.take(header.name.as_bytes(), header.value);
        fields.push(Field {
            name: (header.name.as_ptr() as usize - start) as u32,
            value: (header.value.as_ptr() as usize - start) as u32,
            name_len: header.name.len() as u32,
            value_len: header.value.len() as u32,
        });
    }
    let framing = if bodiless {
        Framing::Length(0)
    } else {
        facts.framing(http_1_1)?
    };
    // A response to no upgrade that we asked for: what follows is not HTTP/1.1.
    let keep_alive = status != 101
        && framing != Framing::UntilClose
        && !facts.close
        && (http_1_1 || facts.keep_alive);
    Ok(Some(Head {
        len,
        status,
        keep_alive,
        framing,
    }))
}

/// What the headers say that matters for framing.
#[derive(Default)]
struct Facts {
    length: Option<Result<u64, Violation>>,
    encoded: bool,
    /// `chunked` is the last transfer coding so far.
    chunked: bool,
    /// `chunked` was followed by another coding, or came twice.
    chunked_before: bool,
    close: bool,
    keep_alive: bool,
}

impl Facts {
    fn take(&mut self, name: &[u8], value: &[u8]) {
        // The length is compared first, so that most headers cost one comparison.
        match name.len() {
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for token in tokens(value) {
                    self.close |= token.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                for token in tokens(value) {
                    let length = decimal(token).ok_or(Violation::ContentLength);
                    self.length = Some(match (self.length, length) {
                        (None, length) => length,
                        (Some(Ok(a)), Ok(b)) if a == b => Ok(a),
                        (Some(Ok(_)), Ok(_)) => Err(Violation::ContentLengths),
                        (Some(Err(error)), _) | (_, Err(error)) => Err(error),
                    });
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.encoded = true;
                for token in tokens(value) {
                    self.chunked_before |= self.chunked;
                    self.chunked = token.eq_ignore_ascii_case(b"chunked");
                }
            }
            _ => {}
        }
    }

    /// RFC 9112 section 6.3, where it leaves a choice on the strict side.
    fn framing(&self, http_1_1: bool) -> Result<Framing, Violation> {
        match (self.encoded, self.length) {
            (true, Some(_)) => Err(Violation::LengthAndEncoding),
            (true, None) if !http_1_1 || self.chunked_before => Err(Violation::TransferEncoding),
            (true, None) if self.chunked => Ok(Framing::Chunked),
            (_, None) => Ok(Framing::UntilClose),
            (false, Some(length)) => length.map(Framing::Length),
        }
    }
}

/// The elements of a comma-separated list. Empty ones stay, as no value of ours is empty.
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(|token| token.trim_ascii())
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then_some(byte & 0x0f)?;
        sum.checked_mul(10)?.checked_add(digit.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Head, Violation> {
        let mut fields = Vec::new();
        parse(text.as_bytes(), false, &mut fields).map(|head| head.expect("complete"))
    }

    #[test]
    fn framing_by_the_rules() {
        use Framing::{Chunked, Length, UntilClose};
        let cases = [
            ("200 OK\r\ncontent-length: 5", Length(5), true),
            (
                "200\r\nContent-Length: 5, 5\r\ncontent-length:5",
                Length(5),
                true,
            ),
            (
                "200 OK\r\nContent-Length: 18446744073709551615",
                Length(u64::MAX),
                true,
            ),
            ("200 OK\r\ntransfer-encoding: chunked", Chunked, true),
            ("200 OK\r\ntransfer-encoding: gzip, Chunked", Chunked, true),
            (
                "200 OK\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked",
                Chunked,
                true,
            ),
            ("200 OK\r\ntransfer-encoding: gzip", UntilClose, false),
            ("200 OK\r\nx: y", UntilClose, false),
            (
                "200 OK\r\ncontent-length: 0\r\nconnection: x, Close",
                Length(0),
                false,
            ),
            ("204 No Content", Length(0), true),
            (
                "204 No Content\r\ntransfer-encoding: chunked\r\ncontent-length: 5",
                Length(0),
                true,
            ),
            ("304 Not Modified\r\ncontent-length: 5", Length(0), true),
            ("101 Switching Protocols\r\nupgrade: x", Length(0), false),
        ];
        for (text, framing, keep_alive) in cases {
            let head = head(&format!("HTTP/1.1 {text}\r\n\r\n")).unwrap();
            assert_eq!(
                (head.framing, head.keep_alive),
                (framing, keep_alive),
                "{text}"
            );
        }
        let old = head("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n").unwrap();
        assert!(!old.keep_alive);
        let old = head("HTTP/1.0 200 OK\r\ncontent-length: 1\r\nConnection: Keep-Alive\r\n\r\n");
        assert!(old.unwrap().keep_alive);
    }

    #[test]
    fn refuses_what_could_be_read_in_two_ways() {
        let cases = [
            (
                "1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6",
                Violation::ContentLengths,
            ),
            (
                "1.1 200 OK\r\ncontent-length: 5, 6",
                Violation::ContentLengths,
            ),
            ("1.1 200 OK\r\ncontent-length: +5", Violation::ContentLength),
            ("1.1 200 OK\r\ncontent-length: 5x", Violation::ContentLength),
            ("1.1 200 OK\r\ncontent-length:", Violation::ContentLength),
            (
                "1.1 200 OK\r\ncontent-length: 18446744073709551616",
                Violation::ContentLength,
            ),
            (
                "1.1 200 OK\r\ncontent-length: x\r\ncontent-length: 5",
                Violation::ContentLength,
            ),
            (
                "1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked",
                Violation::LengthAndEncoding,
            ),
            (
                "1.1 200 OK\r\ntransfer-encoding: chunked, gzip",
                Violation::TransferEncoding,
            ),
            (
                "1.1 200 OK\r\ntransfer-encoding: chunked, chunked",
                Violation::TransferEncoding,
            ),
            (
                "1.0 200 OK\r\ntransfer-encoding: chunked",
                Violation::TransferEncoding,
            ),
            ("1.1 099 Low", Violation::Status(99)),
            ("2.0 200 OK", Violation::Head(httparse::Error::Version)),
            (
                "1.1 200 OK\r\nno colon",
                Violation::Head(httparse::Error::HeaderName),
            ),
            (
                "1.1 200 OK\r\na: b\r\n folded",
                Violation::Head(httparse::Error::HeaderName),
            ),
        ];
        for (text, violation) in cases {
            let got = head(&format!("HTTP/{text}\r\n\r\n")).map(|head| head.framing);
            assert_eq!(got, Err(violation), "{text}");
        }
    }

    #[test]
    fn finds_fields_where_they_are() {
        let text = b"HTTP/1.1 200 OK\r\nA: one\r\nb:\r\nC:  three \r\n\r\nbody";
        let mut fields = Vec::new();
        let head = parse(text, false, &mut fields).unwrap().unwrap();
        assert_eq!(head.len, text.len() - 4);
        let got: Vec<_> = fields
            .iter()
            .map(|f| (f.name(text), f.value(text)))
            .collect();
        let expected: [(&[u8], &[u8]); 3] = [(b"A", b"one"), (b"b", b""), (b"C", b"three")];
        assert_eq!(got, expected);
    }
}
