//! Connections of the demo service: accepting them, HTTP/1.1 and HTTP/2 on them, and the graceful end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Request, Response, Version};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::shop::{JSON, Reply, Shop};

/// Larger request bodies are refused.
const BODY_LIMIT: usize = 64 << 10;

/// How far the graceful end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Stage {
    Serving,
    /// Responses ask clients to leave; HTTP/2 clients are told to open no more streams.
    Draining,
    /// Idle connections are closed, busy ones after their response.
    Closing,
}

/// Serves until SIGTERM (gracefully) or SIGINT (without the drain delay).
pub(super) async fn serve(
    shop: Arc<Shop>,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    drain_delay: Duration,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = listen(address).with_context(|| format!("cannot listen on {address}"))?;
    println!("{} listens on {}", shop.name, listener.local_addr()?);
    let (stage, stages) = watch::channel(Stage::Serving);
    let connections = TaskTracker::new();
    let accept = async {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let shop = shop.clone();
                    let (tls, stages) = (tls.clone(), stages.clone());
                    connections.spawn(connection(shop, stream, peer, tls, stages));
                }
                // Out of file descriptors: the next attempt would fail at once, again and again.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let mut accept = pin!(accept);
    let delay = tokio::select! {
        () = &mut accept => Duration::ZERO,
        _ = terminate.recv() => drain_delay,
        _ = interrupt.recv() => Duration::ZERO,
    };
    if shop.defects.no_drain {
        std::process::exit(0);
    }
    shop.drain();
    stage.send_replace(Stage::Draining);
    tokio::select! {
        () = &mut accept => {}
        () = tokio::time::sleep(delay) => {}
    }
    stage.send_replace(Stage::Closing);
    connections.close();
    connections.wait().await;
    Ok(())
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

async fn connection(
    shop: Arc<Shop>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    stages: watch::Receiver<Stage>,
) {
    shop.counters.connected();
    let _ = stream.set_nodelay(true);
    let local = peer.ip().is_loopback();
    // Whatever goes wrong on a connection is the client's to see; the service goes on.
    match tls {
        None => http(shop, stream, local, stages).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                http(shop, stream, local, stages).await;
            }
        }
    }
}

async fn http<S>(shop: Arc<Shop>, stream: S, local: bool, mut stages: watch::Receiver<Stage>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handed_over = Arc::new(AtomicU64::new(0));
    let multiplexed = Arc::new(AtomicBool::new(false));
    let stream = Flushed {
        inner: stream,
        shop: shop.clone(),
        handed_over: handed_over.clone(),
    };
    let service = service_fn({
        let multiplexed = multiplexed.clone();
        move |request: Request<Incoming>| {
            multiplexed.store(request.version() == Version::HTTP_2, Ordering::Relaxed);
            respond(shop.clone(), request, local, handed_over.clone())
        }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            changed = stages.changed() => {
                // An idle HTTP/1.1 connection can only be closed, never told to stop, and a request may be on its
                // way: it gets the drain delay to be used once more and hear `connection: close`.
                let stage = *stages.borrow();
                if changed.is_err() || stage == Stage::Closing || multiplexed.load(Ordering::Relaxed) {
                    connection.as_mut().graceful_shutdown();
                    break;
                }
            }
        }
    }
    let _ = connection.await;
}

async fn respond(
    shop: Arc<Shop>,
    request: Request<Incoming>,
    local: bool,
    handed_over: Arc<AtomicU64>,
) -> Result<Response<Counted>, Infallible> {
    let http1 = request.version() <= Version::HTTP_11;
    let (head, body) = request.into_parts();
    let reply = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => {
            let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
            let body = body.to_bytes();
            shop.answer(&head.method, path, query, &body, local).await
        }
        Err(_) => Reply {
            status: http::StatusCode::PAYLOAD_TOO_LARGE,
            body: Bytes::new(),
            application: true,
            content_type: JSON,
        },
    };
    if reply.application {
        shop.counters.begin();
    }
    let mut response = Response::new(Counted {
        bytes: Some(reply.body).filter(|b| !b.is_empty()),
        handed_over: reply.application.then_some(handed_over),
    });
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    let instance = HeaderName::from_static("x-squall-instance");
    headers.insert(instance, shop.header.clone());
    if http1 && shop.draining() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// A body of one piece that says when the HTTP layer is through with it.
struct Counted {
    bytes: Option<Bytes>,
    handed_over: Option<Arc<AtomicU64>>,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }
    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |b| b.len() as u64))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(handed_over) = &self.handed_over {
            handed_over.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A stream that counts responses as finished when they are flushed.
///
/// hyper's HTTP/1.1 flushes the stream only after it has written all it had encoded, and drops a body while it
/// encodes the body's last bytes: every body dropped before a flush is with the kernel after it.
struct Flushed<S> {
    inner: S,
    shop: Arc<Shop>,
    handed_over: Arc<AtomicU64>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Flushed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Flushed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        let finished = self.handed_over.swap(0, Ordering::Relaxed);
        if finished > 0 {
            self.shop.counters.finish(finished);
        }
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
