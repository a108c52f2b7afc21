//! Carries the bytes of one balanced connection, through whatever fault its instance's route has at the moment.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The faults of one instance's route; all can hold at once.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Route {
    /// Latency and jitter.
    pub delay: Option<(Duration, Duration)>,
    /// Share of new connections that is swallowed.
    pub drop: f64,
    /// Share of new connections that is reset; 1.0 resets open ones too.
    pub reset: f64,
    /// Nothing passes.
    pub black_hole: bool,
}

impl Route {
    fn clear(&self) -> bool {
        self.delay.is_none() && !self.black_hole
    }
    fn resets_all(&self) -> bool {
        self.reset >= 1.0
    }
}

/// A view of an instance's route that outlives the instance: once it has ended there is no fault any more.
#[derive(Debug, Clone)]
pub(super) struct RouteView {
    rx: watch::Receiver<Route>,
    ended: bool,
}

impl RouteView {
    pub fn new(rx: watch::Receiver<Route>) -> Self {
        Self { rx, ended: false }
    }
    pub fn now(&self) -> Route {
        match self.ended {
            true => Route::default(),
            false => *self.rx.borrow(),
        }
    }
    async fn changed(&mut self) {
        if self.ended {
            return std::future::pending().await;
        }
        self.ended = self.rx.changed().await.is_err();
    }
}

/// At most so many bytes are held back in each direction; then the sender feels it, as on a full network path.
const HELD_LIMIT: usize = 256 << 10;
/// Size of one read.
const READ: usize = 64 << 10;
/// A client that has closed its side waits so long at most for the connection to the instance.
const HALF_CLOSED_PATIENCE: Duration = Duration::from_secs(1);

thread_local! {
    /// Bytes pass through here; one buffer for the thread and not one a connection, of which there are thousands.
    static SCRATCH: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; READ]);
}

/// Bytes on their way in one direction, in order.
struct Held {
    chunks: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    last_due: Instant,
    eof: bool,
    rng: Pcg64Mcg,
}

impl Held {
    fn new(seed: u64) -> Self {
        Self {
            chunks: VecDeque::new(),
            bytes: 0,
            last_due: Instant::now(),
            eof: false,
            rng: Pcg64Mcg::seed_from_u64(seed),
        }
    }
    fn push(&mut self, data: &[u8], route: &Route) {
        let due = due(Instant::now(), self.last_due, route.delay, &mut self.rng);
        self.last_due = due;
        self.bytes += data.len();
        self.chunks.push_back((due, Bytes::copy_from_slice(data)));
    }
    /// When the end of the stream may be passed on, once all chunks are.
    fn finish(&mut self, route: &Route) {
        self.eof = true;
        self.last_due = due(Instant::now(), self.last_due, route.delay, &mut self.rng);
    }
    fn may_read(&self) -> bool {
        !self.eof && self.bytes < HELD_LIMIT
    }
    fn next_due(&self) -> Option<Instant> {
        let chunk = self.chunks.front().map(|(due, _)| *due);
        chunk.or(self.eof.then_some(self.last_due))
    }
}

/// When a chunk that arrived at `now` may leave: after the latency, plus or minus the jitter, never before an earlier
/// one.
fn due(
    now: Instant,
    last: Instant,
    delay: Option<(Duration, Duration)>,
    rng: &mut Pcg64Mcg,
) -> Instant {
    let Some((latency, jitter)) = delay else {
        return now.max(last);
    };
    let shift = match jitter.is_zero() {
        true => Duration::ZERO,
        false => jitter.mul_f64(rng.random_range(0.0..=2.0)),
    };
    (now + (latency + shift).saturating_sub(jitter)).max(last)
}

/// How a relay ended before both sides were through.
#[derive(Debug)]
pub(super) struct Broken;

/// Carries a client's connection to the instance at `address` until both sides are done. Where it breaks, both sides
/// are reset: a layer-4 balancer in the kernel would pass the reset on.
pub(super) async fn relay(
    mut client: TcpStream,
    address: std::net::SocketAddr,
    mut view: RouteView,
    seed: u64,
) {
    let mut request = Held::new(seed);
    let Some(mut upstream) = connect(&mut client, address, &mut view, &mut request).await else {
        return;
    };
    let done = {
        let (client_read, mut client_write) = client.split();
        let (upstream_read, mut upstream_write) = upstream.split();
        let back = Held::new(seed ^ 0x5bd1_e995);
        let ways = async {
            tokio::try_join!(
                carry(
                    client_read,
                    &mut upstream_write,
                    request,
                    view.clone(),
                    true
                ),
                carry(upstream_read, &mut client_write, back, view.clone(), false),
            )
        };
        ways.await
    };
    if done.is_err() {
        reset(&client);
        reset(&upstream);
    }
}

/// Makes the next close of this socket a reset.
pub(super) fn reset(stream: &TcpStream) {
    // Fails only on a socket that is gone, which needs no reset.
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Holds a connection open and answers nothing, until the client gives up.
pub(super) async fn swallow(mut client: TcpStream) {
    let (mut read, _write) = client.split();
    while matches!(take(&mut read, |_| ()).await, Ok(n) if n > 0) {}
}

/// Connects to the instance once its route lets something pass. Reads the client meanwhile, for a client that leaves
/// would otherwise not be noticed, and each one kept costs a file descriptor.
async fn connect(
    client: &mut TcpStream,
    address: std::net::SocketAddr,
    view: &mut RouteView,
    request: &mut Held,
) -> Option<TcpStream> {
    loop {
        let route = view.now();
        if route.resets_all() {
            reset(client);
            return None;
        }
        let connected = async {
            match route.black_hole {
                true => std::future::pending().await,
                false => TcpStream::connect(address).await,
            }
        };
        let (mut read, _write) = client.split();
        tokio::select! {
            biased;
            () = view.changed() => {}
            stream = connected => match stream {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    return Some(stream);
                }
                Err(_) => {
                    reset(client);
                    return None;
                }
            },
            () = client_gone(&mut read, request, &route) => return None,
        }
    }
}

/// Reads ahead what the client sends; returns once it has left.
async fn client_gone(read: &mut ReadHalf<'_>, request: &mut Held, route: &Route) {
    while request.may_read() {
        match take(read, |data| request.push(data, route)).await {
            Ok(0) => request.finish(route),
            Ok(_) => {}
            Err(_) => return,
        }
    }
    match request.eof {
        true => tokio::time::sleep(HALF_CLOSED_PATIENCE).await,
        false => std::future::pending().await,
    }
}

/// Reads once into the thread's buffer and hands the bytes to `with`; 0 is the end of the stream.
async fn take(read: &mut ReadHalf<'_>, mut with: impl FnMut(&[u8])) -> io::Result<usize> {
    poll_fn(|cx| poll_take(read, cx, &mut with)).await
}

fn poll_take(
    read: &mut ReadHalf<'_>,
    cx: &mut Context<'_>,
    with: &mut impl FnMut(&[u8]),
) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut buf = ReadBuf::new(scratch);
        ready!(Pin::new(read).poll_read(cx, &mut buf))?;
        let data = buf.filled();
        if !data.is_empty() {
            with(data);
        }
        Poll::Ready(Ok(data.len()))
    })
}

/// Carries one direction to its end.
async fn carry(
    mut read: ReadHalf<'_>,
    write: &mut WriteHalf<'_>,
    mut held: Held,
    mut view: RouteView,
    from_client: bool,
) -> Result<(), Broken> {
    let latest = view.rx.clone();
    loop {
        let route = view.now();
        if route.resets_all() {
            return Err(Broken);
        }
        if route.black_hole && from_client && held.eof {
            // The client has given up. Keeping its connection for an instance that hears nothing would cost a file
            // descriptor each until the fault is undone.
            return Err(Broken);
        }
        let next = held.next_due().filter(|_| !route.black_hole);
        let due_now = next.is_some_and(|due| due <= Instant::now());
        if due_now && held.chunks.is_empty() {
            // All is passed on; so is the end. A peer that is gone already needs no more of it.
            let _ = socket2::SockRef::from(AsRef::<TcpStream>::as_ref(write))
                .shutdown(std::net::Shutdown::Write);
            return Ok(());
        }
        let mut passed = Ok(());
        tokio::select! {
            () = view.changed() => {}
            n = take(&mut read, |data| passed = pass(data, write, &mut held, &latest)), if held.may_read() => {
                if n.map_err(|_| Broken)? == 0 {
                    held.finish(&view.now());
                }
            }
            writable = write.writable(), if due_now => {
                writable.map_err(|_| Broken)?;
                drain_front(write, &mut held)?;
            }
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() && !due_now => {}
        }
        passed?;
    }
}

/// Passes fresh bytes on at once where nothing holds them back, else keeps them.
fn pass(
    data: &[u8],
    write: &WriteHalf<'_>,
    held: &mut Held,
    route: &watch::Receiver<Route>,
) -> Result<(), Broken> {
    // As it is at this very moment: a fault may have come while this task waited for the bytes.
    let route = match route.has_changed() {
        Err(_) => Route::default(),
        Ok(_) => *route.borrow(),
    };
    let mut rest = data;
    if held.chunks.is_empty() && route.clear() {
        match write.try_write(data) {
            Ok(n) => rest = &data[n..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(Broken),
        }
    }
    if !rest.is_empty() {
        held.push(rest, &route);
    }
    Ok(())
}

/// Writes the front chunk, as far as the socket takes it.
fn drain_front(write: &WriteHalf<'_>, held: &mut Held) -> Result<(), Broken> {
    let Some((_, chunk)) = held.chunks.front_mut() else {
        return Ok(());
    };
    match write.try_write(chunk) {
        Ok(n) => {
            held.bytes -= n;
            chunk.advance(n);
            if chunk.is_empty() {
                held.chunks.pop_front();
            }
            Ok(())
        }
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(_) => Err(Broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delayed_chunks_stay_in_order_and_within_the_jitter() {
        let mut rng = Pcg64Mcg::seed_from_u64(7);
        let ms = Duration::from_millis;
        let delay = Some((ms(100), ms(50)));
        let start = Instant::now();
        let mut last = start;
        let (mut least, mut most) = (ms(1000), ms(0));
        for i in 0..1000 {
            // Far apart, so that order never pushes a chunk back: each shift is its own.
            let now = start + ms(200 * i);
            let at = due(now, last, delay, &mut rng);
            assert!(at >= last);
            (least, most) = (least.min(at - now), most.max(at - now));
            last = at;
        }
        assert!(least >= ms(50) && least < ms(52), "{least:?}");
        assert!(most <= ms(150) && most > ms(148), "{most:?}");
        // Two at once: the second never overtakes.
        let first = due(start, start, Some((ms(100), ms(0))), &mut rng);
        assert_eq!(due(start, first, None, &mut rng), first);
        // A jitter larger than the latency does not reach into the past.
        assert!(due(start, start, Some((ms(1), ms(50))), &mut rng) >= start);
    }
}
