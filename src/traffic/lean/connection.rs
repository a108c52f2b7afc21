//! One connection: writes a request, reads its response, tells the times.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Instant;

use super::Options;
use super::alarm::Alarm;
use super::failure::{Cause, Doing, Failure, Missing, Violation};
use super::reader::{Progress, Reader};
use super::wire::Wire;
use crate::record::Outcome;

/// A request as it is sent.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Head and body.
    pub bytes: &'a [u8],
    /// How to read the response.
    pub options: Options,
    /// When it is given up.
    pub deadline: Instant,
}

/// When the parts of an exchange were over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When the first byte of the request was handed to the network.
    pub sent_at: Instant,
    /// When the first bytes of the response, interim ones included, were there.
    pub first_byte_at: Instant,
    /// When the response was complete.
    pub done_at: Instant,
}

/// A connection that carries one request at a time.
#[derive(Debug)]
pub struct Connection {
    wire: Wire,
    reader: Reader,
    request: Vec<u8>,
    alarm: Alarm,
    /// Requests answered so far.
    answered: u64,
    /// Why no further request can be sent.
    ended: Option<End>,
}

/// Why a connection can carry no further request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The server said so, or a request failed on it.
    Closed,
    /// Bytes came that belong to no request.
    Excess(u64),
}

/// A response, until the connection's next request.
#[derive(Debug)]
pub struct Reply<'a> {
    reader: &'a Reader,
    /// When the first byte of the request was handed to the network.
    pub sent_at: Instant,
    /// When the first bytes of the response, interim ones included, were there.
    pub first_byte_at: Instant,
    /// When the response was complete.
    pub done_at: Instant,
}

impl<'a> Reply<'a> {
    /// The status.
    pub fn status(&self) -> u16 {
        self.reader.status()
    }
    /// The body; empty when it was not to be kept.
    pub fn body(&self) -> &'a [u8] {
        self.reader.body()
    }
    /// The length of the body, kept or not.
    pub fn body_len(&self) -> u64 {
        self.reader.body_len()
    }
    /// The first header of this name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.reader.header(name.as_bytes())
    }
    /// All headers, in the order of the response.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.reader.headers()
    }
    /// Bytes received for this request: headers, interim responses and transfer coding included, TLS not.
    pub fn received_bytes(&self) -> u64 {
        self.reader.received()
    }
    /// Interim (1xx) responses that came before.
    pub fn interim(&self) -> u32 {
        self.reader.interim()
    }
    /// Bytes that came after the end of the response, with it. They belong to no request: the response stands,
    /// and the connection is not used again.
    pub fn excess_bytes(&self) -> usize {
        self.reader.excess()
    }
}

/// How far one exchange has come.
struct Exchange {
    written: usize,
    flushed: bool,
    sent_at: Instant,
    first_byte_at: Option<Instant>,
    done_at: Instant,
    /// Why the request could not be sent whole. A server may answer and close before it has read all.
    write_error: Option<io::Error>,
    /// It has been polled before: time has passed.
    waited: bool,
}

impl Connection {
    pub(super) fn new(wire: Wire, alarm: Alarm) -> Self {
        Self {
            wire,
            reader: Reader::new(),
            request: Vec::new(),
            alarm,
            answered: 0,
            ended: None,
        }
    }

    /// Where the caller puts the bytes of the next request, head and body. Empty, and as large as the last request.
    pub fn request_buffer(&mut self) -> &mut Vec<u8> {
        self.request.clear();
        &mut self.request
    }

    /// Closes the connection, and keeps its alarm for the next one.
    pub fn close(self) -> Alarm {
        self.alarm
    }

    /// This side's address.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.wire.local_addr()
    }

    /// Whether another request can be sent: the last response was complete, and the server keeps the connection.
    pub fn reusable(&self) -> bool {
        self.ended.is_none()
    }

    /// How many requests it has answered.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Sends the request in the buffer and reads one complete final response.
    ///
    /// A dropped or failed exchange leaves the connection unusable: its response may still be under way.
    pub async fn exchange(
        &mut self,
        options: &Options,
        deadline: Instant,
    ) -> Result<Reply<'_>, Failure> {
        let bytes = std::mem::take(&mut self.request);
        let result = self.with_own_reader(&bytes, options, deadline).await;
        self.request = bytes;
        self.reply(result)
    }

    /// As [`Connection::exchange`], with request bytes that the caller owns.
    pub async fn exchange_bytes(
        &mut self,
        bytes: &[u8],
        options: &Options,
        deadline: Instant,
    ) -> Result<Reply<'_>, Failure> {
        let result = self.with_own_reader(bytes, options, deadline).await;
        self.reply(result)
    }

    async fn with_own_reader(
        &mut self,
        bytes: &[u8],
        options: &Options,
        deadline: Instant,
    ) -> Result<Times, Failure> {
        let mut reader = std::mem::take(&mut self.reader);
        let request = Request {
            bytes,
            options: *options,
            deadline,
        };
        let result = self
            .exchange_into(&mut reader, &request, Instant::now())
            .await;
        self.reader = reader;
        result
    }

    fn reply(&self, result: Result<Times, Failure>) -> Result<Reply<'_>, Failure> {
        let times = result?;
        Ok(Reply {
            reader: &self.reader,
            sent_at: times.sent_at,
            first_byte_at: times.first_byte_at,
            done_at: times.done_at,
        })
    }

    /// As [`Connection::exchange`], with request bytes and a reader that the caller owns: a request that never changes
    /// need not be copied, and a connection that is idle holds no buffer. `now` is the time, just read.
    pub async fn exchange_into(
        &mut self,
        reader: &mut Reader,
        request: &Request<'_>,
        now: Instant,
    ) -> Result<Times, Failure> {
        reader.begin(&request.options);
        let mut exchange = Exchange {
            written: 0,
            flushed: false,
            sent_at: now,
            first_byte_at: None,
            done_at: now,
            write_error: None,
            waited: false,
        };
        let before = self.ended;
        // Stays if this future is dropped half-way.
        self.ended = Some(End::Closed);
        let done = poll_fn(|cx| {
            if !exchange.waited
                && let Err(cause) = self.check_idle(cx, before)
            {
                return Poll::Ready(Err(cause));
            }
            self.poll(cx, reader, request, &mut exchange)
        });
        match done.await {
            Ok(()) => {
                self.answered += 1;
                self.ended = end_after(reader, &exchange, request.bytes);
                let first = exchange.first_byte_at.unwrap_or(exchange.done_at);
                Ok(Times {
                    sent_at: exchange.sent_at,
                    first_byte_at: first,
                    done_at: exchange.done_at,
                })
            }
            Err(cause) => Err(self.failure(cause, reader, &exchange)),
        }
    }

    /// Whether anything came while no request was in flight: the end of the connection, or bytes to no request.
    #[inline(always)]
    fn check_idle(&mut self, cx: &mut Context<'_>, ended: Option<End>) -> Result<(), Cause> {
        match ended {
            Some(End::Excess(n)) => return Err(Cause::Protocol(Violation::Excess(n))),
            Some(End::Closed) => return Err(Cause::Closed(Missing::Request)),
            None => {}
        }
        if self.answered == 0 {
            return Ok(());
        }
        match self.wire.poll_idle(cx) {
            None => Ok(()),
            Some(Ok(0)) => Err(Cause::Closed(Missing::Request)),
            Some(Ok(_)) => Err(Cause::Protocol(Violation::Excess(0))),
            Some(Err(error)) => Err(self.wire.cause(Doing::Write, error)),
        }
    }

    // Inlined as far as the system calls: after one, a return to a caller is as good as never predicted. That is worth 1 % of
    // the CPU of a request (by turns, thin link-time optimization).
    #[inline(always)]
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut Reader,
        request: &Request<'_>,
        exchange: &mut Exchange,
    ) -> Poll<Result<(), Cause>> {
        self.poll_send(cx, request.bytes, exchange);
        if let Poll::Ready(done) = self.poll_receive(cx, reader, exchange) {
            return Poll::Ready(done);
        }
        let now = if exchange.waited {
            Instant::now()
        } else {
            exchange.sent_at
        };
        exchange.waited = true;
        if now >= request.deadline {
            let whole = exchange.written == request.bytes.len();
            let doing = if whole { Doing::Read } else { Doing::Write };
            return Poll::Ready(Err(Cause::Timeout(doing)));
        }
        self.alarm.watch(cx, request.deadline);
        Poll::Pending
    }

    /// Sends as much of the request as the network takes.
    #[inline(always)]
    fn poll_send(&mut self, cx: &mut Context<'_>, request: &[u8], exchange: &mut Exchange) {
        while exchange.write_error.is_none() && exchange.written < request.len() {
            match self.wire.poll_write(cx, &request[exchange.written..]) {
                Poll::Ready(Ok(0)) => exchange.write_error = Some(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => exchange.written += n,
                Poll::Ready(Err(error)) => exchange.write_error = Some(error),
                Poll::Pending => return,
            }
        }
        if !exchange.flushed && exchange.write_error.is_none() {
            match self.wire.poll_flush(cx) {
                Poll::Ready(Ok(())) => exchange.flushed = true,
                Poll::Ready(Err(error)) => exchange.write_error = Some(error),
                Poll::Pending => {}
            }
        }
    }

    /// Reads until the response is complete.
    #[inline(always)]
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut Reader,
        exchange: &mut Exchange,
    ) -> Poll<Result<(), Cause>> {
        loop {
            let n = match self.wire.poll_read(cx, reader) {
                Poll::Ready(Ok(n)) => n,
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(self.broken(error, reader, exchange)));
                }
                Poll::Pending => {
                    reader.idle();
                    return Poll::Pending;
                }
            };
            let now = Instant::now();
            exchange.done_at = now;
            if n == 0 {
                return Poll::Ready(self.finished(reader, exchange));
            }
            exchange.first_byte_at.get_or_insert(now);
            match reader.advance(n) {
                Ok(Progress::More) => {}
                Ok(Progress::Done) => return Poll::Ready(Ok(())),
                Err(cause) => return Poll::Ready(Err(cause)),
            }
        }
    }

    /// The server has ended the connection in order.
    fn finished(&self, reader: &mut Reader, exchange: &mut Exchange) -> Result<(), Cause> {
        let ended = reader.end();
        match (ended, exchange.write_error.take()) {
            (Err(Cause::Closed(Missing::Response)), Some(error)) => {
                Err(self.wire.cause(Doing::Write, error))
            }
            (ended, _) => ended,
        }
    }

    /// The connection broke while reading. When the send had failed before, that was the beginning of it.
    fn broken(&self, error: io::Error, reader: &mut Reader, exchange: &mut Exchange) -> Cause {
        if let Some(first) = exchange.write_error.take() {
            return self.wire.cause(Doing::Write, first);
        }
        let cut_off =
            matches!(self.wire, Wire::Tls(_)) && error.kind() == io::ErrorKind::UnexpectedEof;
        if !cut_off {
            return self.wire.cause(Doing::Read, error);
        }
        match reader.until_close() {
            true => Cause::Closed(Missing::CloseNotify),
            false => reader
                .end()
                .err()
                .unwrap_or(Cause::Closed(Missing::CloseNotify)),
        }
    }

    fn failure(&self, cause: Cause, reader: &Reader, exchange: &Exchange) -> Failure {
        let outcome = cause.outcome();
        let ended_early = matches!(outcome, Outcome::Closed | Outcome::Reset);
        let received_bytes = reader.received();
        Failure {
            outcome,
            cause,
            sent: exchange.written > 0,
            first_byte_at: exchange.first_byte_at,
            on_reused_idle: ended_early && self.answered > 0 && received_bytes == 0,
            received_bytes,
        }
    }
}

/// Whether the connection can be used again after a response.
fn end_after(reader: &Reader, exchange: &Exchange, request: &[u8]) -> Option<End> {
    match reader.excess() {
        0 if reader.keep_alive() && exchange.written == request.len() => None,
        0 => Some(End::Closed),
        n => Some(End::Excess(n as u64)),
    }
}
