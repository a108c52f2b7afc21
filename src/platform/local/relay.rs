//! Carries the bytes of one balanced connection, through whatever fault its instance's route has at the moment.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::held::Held;

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

/// Size of one read.
const READ: usize = 64 << 10;
/// A client that has closed its side waits so long at most for the connection to the instance.
const HALF_CLOSED_PATIENCE: Duration = Duration::from_secs(1);

thread_local! {
    /// Bytes pass through here; one buffer for the thread and not one a connection, of which there are thousands.
    static SCRATCH: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; READ]);
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;

    /// A client, a relay to a server that this test plays, and the relay's route.
    async fn through(
        route: Route,
    ) -> (TcpStream, TcpListener, watch::Sender<Route>, JoinHandle<()>) {
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(front.local_addr().unwrap())
            .await
            .unwrap();
        let (accepted, _) = front.accept().await.unwrap();
        let (tx, rx) = watch::channel(route);
        let address = server.local_addr().unwrap();
        let relay = tokio::spawn(relay(accepted, address, RouteView::new(rx), 3));
        (client, server, tx, relay)
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_megabyte_and_a_half_close_survive_delay_and_jitter_in_order() {
        let route = Route {
            delay: Some((Duration::from_millis(20), Duration::from_millis(20))),
            ..Route::default()
        };
        let (client, server, _route, relay) = through(route).await;
        let sent: Vec<u8> = (0..1u32 << 20)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let (mut server, _) = server.accept().await.unwrap();
        let (mut read, mut write) = client.into_split();
        let payload = sent.clone();
        let sender = tokio::spawn(async move {
            write.write_all(&payload).await.unwrap();
            // Only this side is closed: the answer must still come.
            write.shutdown().await.unwrap();
        });
        let mut received = Vec::new();
        server.read_to_end(&mut received).await.unwrap();
        assert!(
            received == sent,
            "{} of {} bytes",
            received.len(),
            sent.len()
        );
        server.write_all(b"thanks").await.unwrap();
        drop(server);
        let mut answer = String::new();
        read.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "thanks");
        sender.await.unwrap();
        tokio::time::timeout(PATIENCE, relay)
            .await
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn a_client_that_gives_up_on_a_black_hole_costs_nothing_more() {
        let hole = Route {
            black_hole: true,
            ..Route::default()
        };
        // One that never got through, and one that was open before.
        let (mut fresh, _server, _route, fresh_relay) = through(hole).await;
        fresh.write_all(b"hello").await.unwrap();
        drop(fresh);
        let (mut open, server, route, open_relay) = through(Route::default()).await;
        let (mut served, _) = server.accept().await.unwrap();
        open.write_all(b"a").await.unwrap();
        assert_eq!(served.read_u8().await.unwrap(), b'a');
        route.send_replace(hole);
        open.write_all(b"b").await.unwrap();
        drop(open);
        for relay in [fresh_relay, open_relay] {
            tokio::time::timeout(PATIENCE, relay)
                .await
                .unwrap()
                .unwrap();
        }
        assert!(
            served.read_u8().await.is_err(),
            "the hole let something through"
        );
    }

    #[tokio::test]
    async fn the_reset_of_a_server_reaches_the_client_as_a_reset() {
        let (mut client, server, _route, _relay) = through(Route::default()).await;
        let (served, _) = server.accept().await.unwrap();
        reset(&served);
        drop(served);
        let error = client.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    }
}
