//! The chunked transfer coding as a state machine that can be fed any piece of the stream.

use super::failure::Violation;

/// The size line of one chunk, and the trailers after the last, may take so many bytes. The number of chunks is not
/// limited: they use up no memory, and the request's deadline ends them.
pub(super) const WORDY_LIMIT: usize = 16 << 10;

/// Where in the coding the next byte lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first digit of a chunk's size.
    Size,
    /// After at least one digit of the size.
    Digits,
    /// After the size: optional space, or an extension.
    Extension,
    /// The end of line after the size.
    SizeEnd,
    /// The chunk's data.
    Data,
    /// The two bytes after the data.
    DataCr,
    DataLf,
    /// The start of a trailer line.
    Trailer,
    /// Within a trailer line.
    TrailerLine,
    /// The end of a trailer line.
    TrailerLf,
    /// The end of the empty line that ends all.
    EndLf,
    Done,
}

/// Decodes one chunked body.
#[derive(Debug, Clone)]
pub(super) struct Decoder {
    state: State,
    /// The size being read, then what is left of the chunk.
    left: u64,
    /// Bytes of the size line, or of it and the trailers, so far.
    wordy: usize,
}

/// What a piece of the stream held.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// So many bytes of framing were used up; there is nothing more.
    Framing(usize),
    /// So many bytes of framing, then so many of data.
    Data(usize, usize),
    /// So many bytes, and the body is complete.
    End(usize),
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            state: State::Size,
            left: 0,
            wordy: 0,
        }
    }

    /// Takes framing and at most one run of data from the front of `input`.
    pub(super) fn next(&mut self, input: &[u8]) -> Result<Piece, Violation> {
        let mut at = 0;
        while at < input.len() {
            if self.state == State::Data {
                // `left` is not zero here: a size of zero goes to the trailers.
                let run = usize::try_from(self.left)
                    .unwrap_or(usize::MAX)
                    .min(input.len() - at);
                self.left -= run as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                return Ok(Piece::Data(at, run));
            }
            self.framing(input[at])?;
            at += 1;
            if self.state == State::Done {
                return Ok(Piece::End(at));
            }
        }
        Ok(Piece::Framing(at))
    }

    /// One byte of framing.
    fn framing(&mut self, byte: u8) -> Result<(), Violation> {
        self.state = match (self.state, byte) {
            (State::Size | State::Digits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.digit(byte)?;
                State::Digits
            }
            (State::Digits | State::Extension, b'\r') => State::SizeEnd,
            (State::Digits, b' ' | b'\t' | b';') => State::Extension,
            // A bare line feed in an extension is how responses are smuggled past a lenient parser.
            (State::Extension, b'\n') => return Err(Violation::ChunkSize),
            (State::Extension, _) => {
                self.word()?;
                State::Extension
            }
            (State::SizeEnd, b'\n') if self.left == 0 => State::Trailer,
            (State::SizeEnd, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.wordy = 0;
                State::Size
            }
            (State::DataCr | State::DataLf, _) => return Err(Violation::ChunkEnd),
            (State::Trailer, b'\r') => State::EndLf,
            (State::TrailerLine, b'\r') => State::TrailerLf,
            (State::Trailer | State::TrailerLine, b'\n') => return Err(Violation::ChunkEnd),
            (State::Trailer | State::TrailerLine, _) => {
                self.word()?;
                State::TrailerLine
            }
            (State::TrailerLf, b'\n') => State::Trailer,
            (State::EndLf, b'\n') => State::Done,
            (State::TrailerLf | State::EndLf, _) => return Err(Violation::ChunkEnd),
            (State::Size | State::Digits | State::SizeEnd, _) => return Err(Violation::ChunkSize),
            (State::Data | State::Done, _) => unreachable!("not framing"),
        };
        Ok(())
    }

    fn digit(&mut self, byte: u8) -> Result<(), Violation> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            _ => (byte | 0x20) - b'a' + 10,
        };
        if self.left >> 60 != 0 {
            return Err(Violation::ChunkSize);
        }
        self.left = self.left << 4 | u64::from(digit);
        // Leading zeros never overflow the size, and would go on for ever.
        self.word()
    }

    fn word(&mut self) -> Result<(), Violation> {
        self.wordy += 1;
        if self.wordy > WORDY_LIMIT {
            return Err(Violation::ChunkTooWordy(WORDY_LIMIT));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `input` in pieces of `step` bytes: the body, and what was left after its end.
    fn decode(input: &[u8], step: usize) -> Result<Option<(Vec<u8>, usize)>, Violation> {
        let (mut decoder, mut body, mut at) = (Decoder::new(), Vec::new(), 0);
        while at < input.len() {
            let piece = &input[at..input.len().min(at + step)];
            match decoder.next(piece)? {
                Piece::Framing(n) => at += n,
                Piece::Data(framing, n) => {
                    body.extend_from_slice(&piece[framing..framing + n]);
                    at += framing + n;
                }
                Piece::End(n) => return Ok(Some((body, input.len() - at - n))),
            }
        }
        Ok(None)
    }

    #[test]
    fn decodes_whatever_the_pieces() {
        type Decoded<'a> = Option<(&'a [u8], usize)>;
        let cases: [(&[u8], Decoded<'_>); 6] = [
            (b"0\r\n\r\n", Some((b"", 0))),
            (b"5\r\nhello\r\n0\r\n\r\n", Some((b"hello", 0))),
            (
                b"A;x=\"1\"; y \r\n0123456789\r\n000\r\na: b\r\nc: d\r\n\r\nXY",
                Some((b"0123456789", 2)),
            ),
            (b"1 \r\nz\r\n1\r\ny\r\n0\r\n\r\n", Some((b"zy", 0))),
            (b"5\r\nhello\r\n0\r\n\r", None),
            (b"5\r\nhel", None),
        ];
        for (input, expected) in cases {
            for step in 1..=input.len() {
                let got = decode(input, step).unwrap();
                let got = got.as_ref().map(|(body, left)| (&body[..], *left));
                assert_eq!(
                    got,
                    expected,
                    "{:?} by {step}",
                    String::from_utf8_lossy(input)
                );
            }
        }
    }

    #[test]
    fn refuses_what_is_not_chunked() {
        let long = format!("1;{}\r\n", "x".repeat(WORDY_LIMIT + 1));
        let zeros = "0".repeat(WORDY_LIMIT + 2);
        let cases: [(&[u8], Violation); 13] = [
            (b"\r\n", Violation::ChunkSize),
            (b";x\r\n", Violation::ChunkSize),
            (b" 5\r\nhello\r\n", Violation::ChunkSize),
            (b"-5\r\nhello", Violation::ChunkSize),
            (b"0x5\r\nhello", Violation::ChunkSize),
            (b"5\nhello\r\n", Violation::ChunkSize),
            (b"5;a\nhello\r\n", Violation::ChunkSize),
            (b"5\r\rhello\r\n", Violation::ChunkSize),
            (b"10000000000000000\r\n", Violation::ChunkSize),
            (b"5\r\nhello6\r\n", Violation::ChunkEnd),
            (b"0\r\n\n", Violation::ChunkEnd),
            (long.as_bytes(), Violation::ChunkTooWordy(WORDY_LIMIT)),
            (zeros.as_bytes(), Violation::ChunkTooWordy(WORDY_LIMIT)),
        ];
        for (input, expected) in cases {
            for step in [1, 2, 3, 7, input.len()] {
                let got = decode(input, step).unwrap_err();
                assert_eq!(
                    got,
                    expected,
                    "{:?} by {step}",
                    String::from_utf8_lossy(&input[..9.min(input.len())])
                );
            }
        }
    }
}
