//! Properties of the reader: any valid response is read right in any split; any bytes at all end in a result.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{BodyUse, Cause, Options, Progress, Reader};
use crate::record::Outcome;

/// What a reader makes of a stream.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    Response {
        status: u16,
        keep_alive: bool,
        body_len: u64,
        body: Vec<u8>,
        headers: Vec<(Vec<u8>, Vec<u8>)>,
        interim: u32,
        /// Bytes of the stream that belong to it.
        used: u64,
    },
    Failure(Outcome),
}

/// Another reader, which leaves what it read in the buffers that nobody needs.
fn scribble() {
    let mut other = Reader::new();
    other.begin(&options(true));
    other.space().fill(b'!');
    other.put_down();
}

/// Feeds `stream` in pieces of the given sizes, over and over, and then the end.
fn read(reader: &mut Reader, stream: &[u8], sizes: &[usize], options: &Options) -> Read {
    reader.begin(options);
    let mut rest = stream;
    let mut sizes = sizes.iter().cycle();
    let result = loop {
        if rest.is_empty() {
            break reader.end();
        }
        // Nothing was there yet: another reader has the buffer for a moment, where nothing is in it.
        reader.space();
        reader.idle();
        scribble();
        let space = reader.space();
        let n = *sizes.next().unwrap_or(&usize::MAX);
        let n = n.clamp(1, space.len()).min(rest.len());
        space[..n].copy_from_slice(&rest[..n]);
        rest = &rest[n..];
        match reader.advance(n) {
            Ok(Progress::More) => {}
            Ok(Progress::Done) => break Ok(()),
            Err(cause) => break Err(cause),
        }
    };
    if let Err(cause) = result {
        return Read::Failure(cause.outcome());
    }
    let owned = |(name, value): (&[u8], &[u8])| (name.to_vec(), value.to_vec());
    Read::Response {
        status: reader.status(),
        keep_alive: reader.keep_alive(),
        body_len: reader.body_len(),
        body: reader.body().to_vec(),
        headers: reader.headers().map(owned).collect(),
        interim: reader.interim(),
        used: reader.received() - reader.excess() as u64,
    }
}

fn options(keep: bool) -> Options {
    Options {
        want_body: if keep {
            BodyUse::Keep
        } else {
            BodyUse::Discard
        },
        ..Options::default()
    }
}

#[derive(Debug, Clone)]
enum Coding {
    Length,
    /// The sizes of the chunks, and an extension and a trailer.
    Chunked(Vec<usize>, String, String),
    UntilClose,
}

#[derive(Debug, Clone)]
struct Made {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    coding: Coding,
    interim: Vec<u16>,
}

impl Made {
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for status in &self.interim {
            out.extend(format!("HTTP/1.1 {status} Wait\r\nlink: x\r\n\r\n").bytes());
        }
        out.extend(format!("HTTP/1.1 {} Reason\r\n", self.status).bytes());
        for (name, value) in &self.headers {
            out.extend(format!("{name}: {value}\r\n").bytes());
        }
        match &self.coding {
            Coding::Length => {
                out.extend(format!("content-length: {}\r\n\r\n", self.body.len()).bytes());
                out.extend(&self.body);
            }
            Coding::UntilClose => {
                out.extend(b"\r\n");
                out.extend(&self.body);
            }
            Coding::Chunked(sizes, extension, trailer) => {
                out.extend(b"transfer-encoding: chunked\r\n\r\n");
                let mut rest = &self.body[..];
                let mut sizes = sizes.iter().cycle();
                while !rest.is_empty() {
                    let n = (*sizes.next().unwrap_or(&1)).clamp(1, rest.len());
                    out.extend(format!("{n:X}{extension}\r\n").bytes());
                    out.extend(&rest[..n]);
                    out.extend(b"\r\n");
                    rest = &rest[n..];
                }
                out.extend(format!("0{extension}\r\n{trailer}\r\n").bytes());
            }
        }
        out
    }

    /// Header lines that the bytes have, framing headers included.
    fn header_count(&self) -> usize {
        self.headers.len() + usize::from(!matches!(self.coding, Coding::UntilClose))
    }
}

fn made() -> impl Strategy<Value = Made> {
    let coding = prop_oneof![
        Just(Coding::Length),
        (
            vec(1usize..5_000, 1..4),
            "(;[a-z]{1,5}=\"[a-z ]{0,9}\")?",
            "(x-[a-z]{1,9}: [a-z]{0,9}\r\n){0,3}"
        )
            .prop_map(|(sizes, extension, trailer)| Coding::Chunked(sizes, extension, trailer)),
        Just(Coding::UntilClose),
    ];
    let status = prop_oneof![200u16..204, 205u16..304, 305u16..600];
    let header = ("x-[a-zA-Z0-9]{1,20}", "([!-~]([ -~]{0,40}[!-~])?)?");
    let body = prop_oneof![vec(any::<u8>(), 0..200), vec(any::<u8>(), 0..20_000)];
    let interim = vec(prop_oneof![Just(100u16), 102u16..200], 0..4);
    (status, vec(header, 0..20), body, coding, interim).prop_map(
        |(status, headers, body, coding, interim)| Made {
            status,
            headers,
            body,
            coding,
            interim,
        },
    )
}

proptest! {
    #[test]
    fn reads_any_valid_response_in_any_split(
        made in made(),
        sizes in vec(1usize..3_000, 1..6),
        keep: bool,
        excess in vec(any::<u8>(), 0..50),
    ) {
        let mut stream = made.bytes();
        let len = stream.len();
        let until_close = matches!(made.coding, Coding::UntilClose);
        if !until_close {
            stream.extend(&excess);
        }
        // The buffer of a reader that has already read something else.
        let mut reader = Reader::new();
        read(&mut reader, b"HTTP/1.1 200 OK\r\nold: header\r\ncontent-length: 3\r\n\r\nold", &[7], &options(true));
        let Read::Response { status, keep_alive, body_len, body, headers, interim, used } =
            read(&mut reader, &stream, &sizes, &options(keep))
        else {
            panic!("not read: {:?}", String::from_utf8_lossy(&stream));
        };
        prop_assert_eq!(status, made.status);
        prop_assert_eq!(keep_alive, !until_close);
        prop_assert_eq!(body_len, made.body.len() as u64);
        prop_assert_eq!(&body[..], if keep { &made.body[..] } else { &[] });
        prop_assert_eq!(interim as usize, made.interim.len());
        prop_assert_eq!(used, len as u64);
        prop_assert_eq!(headers.len(), made.header_count());
        for ((name, value), (made_name, made_value)) in headers.iter().zip(&made.headers) {
            prop_assert_eq!(&name[..], made_name.as_bytes());
            prop_assert_eq!(&value[..], made_value.as_bytes());
            prop_assert!(reader.header(made_name.to_uppercase().as_bytes()).is_some());
        }
    }

    #[test]
    fn cut_short_it_is_closed(made in made(), at: prop::sample::Index, sizes in vec(1usize..3_000, 1..6)) {
        let stream = made.bytes();
        let end = match made.coding {
            Coding::UntilClose => stream.len() - made.body.len(),
            _ => stream.len(),
        };
        let cut = &stream[..at.index(end)];
        let got = read(&mut Reader::new(), cut, &sizes, &options(true));
        prop_assert_eq!(got, Read::Failure(Outcome::Closed));
    }

    #[test]
    fn a_damaged_response_is_the_same_in_any_split(
        made in made(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        sizes in vec(1usize..3_000, 1..6),
        keep: bool,
    ) {
        let mut stream = made.bytes();
        for (at, byte) in damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let whole = read(&mut Reader::new(), &stream, &[], &options(keep));
        let split = read(&mut Reader::new(), &stream, &sizes, &options(keep));
        prop_assert_eq!(whole, split);
    }

    #[test]
    fn any_bytes_end_in_a_result(
        stream in "(HTTP/1\\.[01] [0-9]{3} ?[a-z]{0,3}\r?\n)?([a-zA-Z-]{0,18}:? ?[ -~]{0,20}\r?\n){0,5}\r?\n?[ -~\r\n]{0,60}",
        sizes in vec(1usize..20, 1..6),
        head_request: bool,
    ) {
        let options = Options { head_request, ..options(true) };
        let whole = read(&mut Reader::new(), stream.as_bytes(), &[], &options);
        let split = read(&mut Reader::new(), stream.as_bytes(), &sizes, &options);
        prop_assert_eq!(whole, split);
    }
}

#[test]
fn a_long_body_does_not_grow_the_buffer_when_it_is_discarded() {
    let mut reader = Reader::new();
    reader.begin(&options(false));
    let mut stream = b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n".to_vec();
    stream.resize(stream.len() + 10_000_000, b'x');
    let mut rest = &stream[..];
    let mut largest = 0;
    while !rest.is_empty() {
        let space = reader.space();
        largest = largest.max(space.len());
        let n = space.len().min(rest.len());
        space[..n].copy_from_slice(&rest[..n]);
        rest = &rest[n..];
        reader.advance(n).unwrap();
    }
    assert_eq!(reader.body_len(), 10_000_000);
    assert!((32 << 10..=64 << 10).contains(&largest), "{largest}");
}

#[test]
fn says_what_is_missing() {
    let cases = [
        ("", "connection closed before a response came"),
        (
            "HTTP/1.1 200 OK\r\n",
            "connection closed within the response's headers",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello",
            "connection closed within the body, after 5 of 9 bytes",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "connection closed before the last chunk, after 5 bytes of the body",
        ),
    ];
    for (stream, text) in cases {
        let mut reader = Reader::new();
        reader.begin(&options(true));
        let space = reader.space();
        space[..stream.len()].copy_from_slice(stream.as_bytes());
        if !stream.is_empty() {
            assert_eq!(reader.advance(stream.len()).unwrap(), Progress::More);
        }
        let cause: Cause = reader.end().unwrap_err();
        assert_eq!(cause.to_string(), text);
    }
}

#[test]
fn a_buffer_serves_the_next_reader_and_nothing_is_left_to_look_at() {
    let text = b"HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 4\r\n\r\nbody";
    let (mut first, mut second) = (Reader::new(), Reader::new());
    read(&mut first, text, &[], &options(true));
    assert_eq!(
        (first.header(b"a"), first.body()),
        (Some(&b"b"[..]), &b"body"[..])
    );
    let body = first.body().as_ptr();
    first.put_down();
    assert_eq!(
        (first.header(b"a"), first.headers().count(), first.body()),
        (None, 0, &b""[..])
    );
    assert_eq!((first.status(), first.body_len()), (200, 4));
    assert!(
        second.space().as_ptr_range().contains(&body),
        "a new buffer"
    );
}
