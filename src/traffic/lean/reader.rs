//! Bytes in, one response out: no I/O and no clock, so that any split of any bytes can be tried.

use std::cell::RefCell;

use super::chunked::{Decoder, Piece};
use super::failure::{Cause, Missing, Violation};
use super::head::{self, Field, Framing};
use super::{BodyUse, Options, heads};

/// The size of a new buffer: holds a small response whole.
const FIRST_BUFFER: usize = 2 << 10;
/// No read asks for more than this; larger buffers only wait longer for the same bytes.
const LARGEST_READ: usize = 64 << 10;
/// A read should have room for this much, or the number of system calls would explode.
const SMALLEST_READ: usize = 1 << 10;
/// A server that sends interim responses for ever is cut off here.
const MAX_INTERIM: u32 = 1_000;

thread_local! {
    /// Buffers that no reader of this thread needs now, as many as were ever needed at once. The one put down last is
    /// taken first: it is still in the cache, where a buffer for each connection would have left it long ago, and ten
    /// thousand idle users cost no memory.
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Whether a response is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    More,
    /// The response is complete.
    Done,
}

/// Reads one response at a time, out of a buffer that it has from its first byte until [`Reader::put_down`].
///
/// The caller puts received bytes at the front of [`Reader::space`], says how many with [`Reader::advance`], and
/// says with [`Reader::end`] that no more will come. Where nothing has come, [`Reader::idle`].
#[derive(Debug)]
pub struct Reader {
    /// Always initialised to its end; `filled` says how far it holds bytes of this response.
    buffer: Vec<u8>,
    filled: usize,
    /// Where the next read may put its bytes, and what it offered last.
    offered: usize,
    /// The last read filled all that it was offered: the next gets more.
    hungry: bool,
    stage: Stage,
    /// How many bytes of a body are kept at most.
    keep: usize,
    head_request: bool,
    max_header_bytes: usize,
    max_body_bytes: u64,
    /// The final head lies at `head_start..head_end`; a kept body follows up to `body_end`.
    head_start: usize,
    head_end: usize,
    body_end: usize,
    fields: Vec<Field>,
    status: u16,
    keep_alive: bool,
    body_len: u64,
    received: u64,
    interim: u32,
    excess: usize,
}

#[derive(Debug, Clone)]
enum Stage {
    Head,
    Length(u64),
    Chunked(Decoder),
    UntilClose,
    Done,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// A reader that has allocated nothing yet.
    pub fn new() -> Self {
        Self {
            buffer: Vec::new(),
            filled: 0,
            offered: 0,
            hungry: false,
            stage: Stage::Head,
            keep: 0,
            head_request: false,
            max_header_bytes: 0,
            max_body_bytes: 0,
            head_start: 0,
            head_end: 0,
            body_end: 0,
            fields: Vec::new(),
            status: 0,
            keep_alive: false,
            body_len: 0,
            received: 0,
            interim: 0,
            excess: 0,
        }
    }

    /// Forgets the last response and expects one to a request sent with these options.
    pub fn begin(&mut self, options: &Options) {
        self.forget();
        self.stage = Stage::Head;
        self.keep = match options.want_body {
            BodyUse::Discard => 0,
            BodyUse::Start(bytes) => bytes,
            BodyUse::Keep => usize::MAX,
        };
        self.head_request = options.head_request;
        // Positions within a head are 32 bits wide.
        self.max_header_bytes = options.max_header_bytes.min(1 << 30);
        self.max_body_bytes = options.max_body_bytes;
        self.status = 0;
        self.keep_alive = false;
        self.body_len = 0;
        self.received = 0;
        self.interim = 0;
        self.excess = 0;
    }

    /// Room for the next read; never empty.
    pub fn space(&mut self) -> &mut [u8] {
        if self.buffer.is_empty() {
            self.buffer = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        let free = self.buffer.len() - self.filled;
        let wanted = if self.hungry {
            (free.max(FIRST_BUFFER) * 2).min(LARGEST_READ)
        } else {
            SMALLEST_READ
        };
        self.hungry = false;
        if free < wanted {
            let len = (self.filled + wanted).max(FIRST_BUFFER);
            self.buffer.resize(len.next_power_of_two(), 0);
        }
        let end = self.buffer.len().min(self.filled + LARGEST_READ);
        self.offered = end - self.filled;
        &mut self.buffer[self.filled..end]
    }

    /// Nothing is there to be read yet. Before the first byte the buffer serves others.
    pub fn idle(&mut self) {
        if self.received == 0 {
            self.give_back();
        }
    }

    /// Nobody will look at this response any more: its headers and body are gone.
    pub fn put_down(&mut self) {
        self.forget();
        self.give_back();
    }

    /// Nothing of what the buffer holds counts any more.
    fn forget(&mut self) {
        self.filled = 0;
        self.head_start = 0;
        self.head_end = 0;
        self.body_end = 0;
        self.fields.clear();
    }

    fn give_back(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        if !buffer.is_empty() {
            SPARE.with_borrow_mut(|spare| spare.push(buffer));
        }
    }

    /// Takes in the `n` bytes that were put at the front of [`Reader::space`].
    pub fn advance(&mut self, n: usize) -> Result<Progress, Cause> {
        self.hungry = n == self.offered;
        self.received += n as u64;
        let start = self.filled;
        self.filled += n;
        if let Stage::Head = self.stage {
            // A head is only worth another look when a line has ended: this keeps a drip of bytes from costing
            // the square of its length.
            let first = start == self.head_start;
            if !first && memchr::memchr(b'\n', &self.buffer[start..self.filled]).is_none() {
                return self.check_head_size().map(|()| Progress::More);
            }
            return self.head();
        }
        self.take_body(start)
    }

    /// No more bytes will come.
    pub fn end(&mut self) -> Result<(), Cause> {
        let missing = match &self.stage {
            Stage::Done => return Ok(()),
            Stage::UntilClose => {
                self.stage = Stage::Done;
                return Ok(());
            }
            Stage::Head if self.received == 0 => Missing::Response,
            Stage::Head => {
                // What is not the beginning of a response is not one that was cut short.
                let rest = &self.buffer[self.head_start..self.filled];
                head::parse(rest, self.head_request, &mut self.fields).map_err(Cause::Protocol)?;
                Missing::Head
            }
            Stage::Length(left) => Missing::Body {
                got: self.body_len,
                expected: self.body_len + left,
            },
            Stage::Chunked(_) => Missing::LastChunk(self.body_len),
        };
        Err(Cause::Closed(missing))
    }

    /// Whether only the end of the connection ends the body.
    pub fn until_close(&self) -> bool {
        matches!(self.stage, Stage::UntilClose)
    }
    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }
    /// Whether the server keeps the connection open for another request.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }
    /// The body, as much of it as is kept.
    pub fn body(&self) -> &[u8] {
        &self.buffer[self.head_end..self.body_end]
    }
    /// The length of the body, without its transfer coding, kept or not.
    pub fn body_len(&self) -> u64 {
        self.body_len
    }
    /// Bytes taken in, with headers, interim responses and transfer coding.
    pub fn received(&self) -> u64 {
        self.received
    }
    /// Interim (1xx) responses that came before.
    pub fn interim(&self) -> u32 {
        self.interim
    }
    /// Bytes that came after the end of the response.
    pub fn excess(&self) -> usize {
        self.excess
    }
    /// The headers, in the order of the response.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let head = &self.buffer[self.head_start..self.head_end];
        self.fields
            .iter()
            .map(move |f| (f.name(head), f.value(head)))
    }
    /// The first header of this name, in whatever case.
    pub fn header(&self, name: &[u8]) -> Option<&[u8]> {
        let mut headers = self.headers();
        let found = headers.find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }

    fn check_head_size(&self) -> Result<(), Cause> {
        if self.filled - self.head_start > self.max_header_bytes {
            let limit = self.max_header_bytes;
            return Err(Cause::Protocol(Violation::HeadTooLarge(limit)));
        }
        Ok(())
    }

    /// Parses heads until the final one, or until bytes are missing.
    fn head(&mut self) -> Result<Progress, Cause> {
        loop {
            let rest = &self.buffer[self.head_start..self.filled];
            let parsed = heads::parse(rest, self.head_request, &mut self.fields);
            let Some(head) = parsed.map_err(Cause::Protocol)? else {
                self.check_head_size()?;
                // What interim responses took is free again.
                self.buffer.copy_within(self.head_start..self.filled, 0);
                self.filled -= self.head_start;
                self.head_start = 0;
                return Ok(Progress::More);
            };
            if head.len > self.max_header_bytes {
                let limit = self.max_header_bytes;
                return Err(Cause::Protocol(Violation::HeadTooLarge(limit)));
            }
            if head.status < 200 && head.status != 101 {
                self.skip_interim(head.len)?;
                if self.filled == self.head_start {
                    return Ok(Progress::More);
                }
                continue;
            }
            self.status = head.status;
            self.keep_alive = head.keep_alive;
            self.head_end = self.head_start + head.len;
            self.body_end = self.head_end;
            self.stage = match head.framing {
                Framing::Length(length)
                    if self.keep == usize::MAX && length > self.max_body_bytes =>
                {
                    return Err(Cause::BodyTooLarge(self.max_body_bytes));
                }
                Framing::Length(length) => Stage::Length(length),
                Framing::Chunked => Stage::Chunked(Decoder::new()),
                Framing::UntilClose => Stage::UntilClose,
            };
            return self.take_body(self.head_end);
        }
    }

    /// Drops an interim response; what follows it moves to the front when nothing does.
    fn skip_interim(&mut self, len: usize) -> Result<(), Cause> {
        self.interim += 1;
        if self.interim > MAX_INTERIM {
            return Err(Cause::Protocol(Violation::TooManyInterim(MAX_INTERIM)));
        }
        self.head_start += len;
        if self.head_start == self.filled {
            self.head_start = 0;
            self.filled = 0;
        }
        Ok(())
    }

    /// Takes the bytes of the body from `from` on: counts them, moves kept ones together, and frees the rest.
    fn take_body(&mut self, from: usize) -> Result<Progress, Cause> {
        let new = self.filled - from;
        let room = self.keep - (self.body_end - self.head_end);
        let done = match &mut self.stage {
            Stage::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(new);
                *left -= taken as u64;
                let done = *left == 0;
                self.body_len += taken as u64;
                self.excess = new - taken;
                self.body_end += taken.min(room);
                done
            }
            Stage::Chunked(decoder) => {
                let mut decoder = decoder.clone();
                let done = self.take_chunks(&mut decoder, from)?;
                self.stage = Stage::Chunked(decoder);
                done
            }
            Stage::UntilClose => {
                self.body_len += new as u64;
                self.check_body_size()?;
                self.body_end += new.min(room);
                false
            }
            // A caller that goes on after the end has more bytes than the response.
            Stage::Done | Stage::Head => {
                self.excess += new;
                true
            }
        };
        self.filled = self.body_end;
        if !done {
            return Ok(Progress::More);
        }
        self.stage = Stage::Done;
        Ok(Progress::Done)
    }

    fn take_chunks(&mut self, decoder: &mut Decoder, from: usize) -> Result<bool, Cause> {
        let mut at = from;
        while at < self.filled {
            let piece = decoder.next(&self.buffer[at..self.filled]);
            match piece.map_err(Cause::Protocol)? {
                Piece::Framing(n) => at += n,
                Piece::Data(framing, n) => {
                    let data = at + framing;
                    at = data + n;
                    self.body_len += n as u64;
                    self.check_body_size()?;
                    let kept = n.min(self.keep - (self.body_end - self.head_end));
                    self.buffer.copy_within(data..data + kept, self.body_end);
                    self.body_end += kept;
                }
                Piece::End(n) => {
                    self.excess = self.filled - at - n;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn check_body_size(&self) -> Result<(), Cause> {
        if self.keep == usize::MAX && self.body_len > self.max_body_bytes {
            return Err(Cause::BodyTooLarge(self.max_body_bytes));
        }
        Ok(())
    }
}
