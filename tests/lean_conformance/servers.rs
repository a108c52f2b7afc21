//! Real servers: hyper in this process; nginx and HAProxy where they are installed.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use squall::record::Outcome;
use squall::traffic::lean::{Connection, Options};
use tokio::net::TcpListener;

use crate::{keep, open, run, send};

type Body = BoxBody<Bytes, Infallible>;

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed()
}

/// Sends its body in chunks, then a trailer.
fn chunks(n: usize) -> Body {
    let data = (0..n).map(|i| Frame::data(Bytes::from(format!("chunk {i}\n"))));
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    let frames = data.chain([Frame::trailers(trailers)]);
    Frames(frames).boxed()
}

/// An iterator as a body, of which every frame is ready.
struct Frames<I>(I);

impl<I: Iterator<Item = Frame<Bytes>> + Unpin> hyper::body::Body for Frames<I> {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(Ok))
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let response = Response::builder();
    let response = match path.as_str() {
        "/chunks" => response.header("trailer", "x-sum").body(chunks(20)),
        "/empty" => response.status(StatusCode::NO_CONTENT).body(full("")),
        "/unchanged" => response.status(StatusCode::NOT_MODIFIED).body(full("")),
        "/close" => response.header("connection", "close").body(full("bye")),
        "/large" => response.body(full(vec![b'x'; 1 << 20])),
        "/fails" => response.status(503).body(full("no")),
        "/echo" => {
            let body = request.into_body().collect().await;
            response.body(full(body.map(|b| b.to_bytes()).unwrap_or_default()))
        }
        _ => response.body(full(format!("you asked for {path}"))),
    };
    Ok(response.unwrap())
}

/// A hyper server; counts what it answers.
async fn hyper_server() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let counter = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let counter = counter.clone();
            let service = hyper::service::service_fn(move |request| {
                counter.fetch_add(1, Ordering::Relaxed);
                answer(request)
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(async move { drop(connection.await) });
        }
    });
    (address, count)
}

/// Requests that behave the same at hyper and through a proxy in front of it; returns how many were answered.
async fn all_paths(address: SocketAddr) -> u64 {
    let chunked: String = (0..20).map(|i| format!("chunk {i}\n")).collect();
    let large = "x".repeat(1 << 20);
    let cases: [(&str, &str, u16, &str); 9] = [
        ("GET", "/", 200, "you asked for /"),
        ("GET", "/chunks", 200, &chunked),
        ("HEAD", "/", 200, ""),
        ("HEAD", "/chunks", 200, ""),
        ("GET", "/empty", 204, ""),
        ("GET", "/unchanged", 304, ""),
        ("GET", "/large", 200, &large),
        ("HEAD", "/large", 200, ""),
        ("GET", "/fails", 503, "no"),
    ];
    let mut connection = open(address).await;
    let mut answered = 0;
    for round in 0..50 {
        let (method, path, status, body) = cases[round % cases.len()];
        for kept in [true, false] {
            let options = Options {
                head_request: method == "HEAD",
                ..if kept { keep() } else { Options::default() }
            };
            let reply = send(&mut connection, method, path, &options).await.unwrap();
            assert_eq!(reply.status(), status, "{method} {path}");
            assert_eq!(reply.body_len(), body.len() as u64, "{method} {path}");
            assert_eq!(reply.body(), if kept { body.as_bytes() } else { b"" });
            assert!(reply.header("DATE").is_some());
            assert!(connection.reusable(), "{method} {path}");
            answered += 1;
        }
    }
    answered
}

async fn post(connection: &mut Connection, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let buffer = connection.request_buffer();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    buffer.extend_from_slice(head.as_bytes());
    buffer.extend_from_slice(body);
    let reply = connection.exchange(&keep(), crate::soon()).await.unwrap();
    (reply.status(), reply.body().to_vec())
}

#[test]
fn hyper_counts_what_we_count() {
    run(async {
        let (address, count) = hyper_server().await;
        let answered = all_paths(address).await;
        assert_eq!(count.load(Ordering::Relaxed), answered);
        let mut connection = open(address).await;
        for size in [0, 1, 1_000, 3 << 20] {
            let body: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            assert!(post(&mut connection, "/echo", &body).await == (200, body));
        }
        let reply = send(&mut connection, "GET", "/close", &keep())
            .await
            .unwrap();
        assert_eq!(reply.body(), b"bye");
        assert!(!connection.reusable());
    });
}

#[test]
fn an_expectation_is_met_with_100_continue() {
    run(async {
        let (address, _) = hyper_server().await;
        let mut connection = open(address).await;
        let request = b"POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nhi";
        let reply = connection
            .exchange_bytes(request, &keep(), crate::soon())
            .await
            .unwrap();
        assert_eq!((reply.status(), reply.body()), (200, &b"hi"[..]));
    });
}

/// Whether a program of that name can be run. A machine that must run all tests panics instead of going without.
fn installed(program: &str) -> bool {
    let found = Command::new(program)
        .arg("-v")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !found {
        let must = std::env::var("SQUALL_TESTS_MUST_RUN").is_ok_and(|v| v == "1");
        assert!(
            !must,
            "{program} is not installed, and SQUALL_TESTS_MUST_RUN=1"
        );
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// A child that dies with the test.
struct Server(Child);

impl Server {
    /// Starts what `command` says for a free port, and waits until it listens there.
    async fn start(command: impl Fn(SocketAddr) -> Command) -> (Self, SocketAddr) {
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            assert!(Instant::now() < limit, "the server does not start");
            let address = free_port();
            let child = command(address).stdout(Stdio::null()).spawn().unwrap();
            let mut server = Self(child);
            // It ends when the port was taken in the meantime: then with another one.
            while server.0.try_wait().unwrap().is_none() && Instant::now() < limit {
                if tokio::net::TcpStream::connect(address).await.is_ok() {
                    return (server, address);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that was free a moment ago.
fn free_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap()
}

fn nginx_config(folder: &Path, address: SocketAddr, backend: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
         events {{ worker_connections 64; }}
         http {{
           access_log off; gzip off;
           client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
           uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
           server {{
             listen {address}; keepalive_requests 100000; root {folder};
             location / {{ proxy_pass http://{backend}; proxy_http_version 1.1;
                           proxy_set_header connection ''; }}
             location /static/ {{ }}
             location /teapot {{ return 418 short; }}
             location /drop {{ return 444; }}
             location /one {{ keepalive_timeout 0; return 200 last; }}
           }}
         }}"
    )
}

#[test]
fn nginx() {
    if !installed("nginx") {
        return;
    }
    run(async {
        let (backend, count) = hyper_server().await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("static")).unwrap();
        std::fs::write(folder.path().join("static/page.html"), "<p>static</p>").unwrap();
        let (_server, address) = Server::start(|address| {
            let config = folder.path().join("nginx.conf");
            std::fs::write(&config, nginx_config(folder.path(), address, backend)).unwrap();
            let mut command = Command::new("nginx");
            command.arg("-c").arg(&config);
            command.arg("-e").arg(folder.path().join("error.log"));
            command
        })
        .await;

        let answered = all_paths(address).await;
        assert_eq!(count.load(Ordering::Relaxed), answered);
        let mut connection = open(address).await;
        let reply = send(&mut connection, "GET", "/static/page.html", &keep())
            .await
            .unwrap();
        assert_eq!((reply.status(), reply.body()), (200, &b"<p>static</p>"[..]));
        let reply = send(&mut connection, "GET", "/static/none.html", &keep())
            .await
            .unwrap();
        assert_eq!(reply.status(), 404);
        let reply = send(&mut connection, "GET", "/teapot", &keep())
            .await
            .unwrap();
        assert_eq!((reply.status(), reply.body()), (418, &b"short"[..]));
        let reply = send(&mut connection, "GET", "/one", &keep()).await.unwrap();
        assert_eq!(reply.body(), b"last");
        assert!(!connection.reusable());
        let mut connection = open(address).await;
        let failure = send(&mut connection, "GET", "/drop", &keep())
            .await
            .unwrap_err();
        assert_eq!(failure.outcome, Outcome::Closed, "{failure}");
        let mut connection = open(address).await;
        let request = b"GET / HTTP/1.1\r\n\r\n";
        let reply = connection
            .exchange_bytes(request, &keep(), crate::soon())
            .await
            .unwrap();
        assert_eq!(reply.status(), 400, "no host header");
        assert!(!connection.reusable());
    });
}

fn haproxy_config(address: SocketAddr, backend: SocketAddr, nobody: SocketAddr) -> String {
    format!(
        "defaults
           mode http
           timeout connect 1s
           timeout client 20s
           timeout server 20s
         frontend in
           bind {address}
           http-request return status 200 content-type text/plain string own if {{ path /own }}
           http-request deny deny_status 429 if {{ path /denied }}
           http-request silent-drop if {{ path /silent }}
           http-request reject if {{ path /rejected }}
           use_backend down if {{ path /down }}
           default_backend up
         backend up
           server one {backend}
         backend down
           retries 0
           server none {nobody}
"
    )
}

#[test]
fn haproxy() {
    if !installed("haproxy") {
        return;
    }
    run(async {
        let (backend, count) = hyper_server().await;
        let folder = tempfile::tempdir().unwrap();
        let nobody = free_port();
        let (_server, address) = Server::start(|address| {
            let config = folder.path().join("haproxy.cfg");
            std::fs::write(&config, haproxy_config(address, backend, nobody)).unwrap();
            let mut command = Command::new("haproxy");
            command.args(["-db", "-q", "-f"]).arg(&config);
            command
        })
        .await;

        let answered = all_paths(address).await;
        assert_eq!(count.load(Ordering::Relaxed), answered);
        for (path, status) in [("/own", 200), ("/denied", 429), ("/down", 503)] {
            let mut connection = open(address).await;
            let reply = send(&mut connection, "GET", path, &keep()).await.unwrap();
            assert_eq!(reply.status(), status, "{path}");
        }
        let mut connection = open(address).await;
        let failure = send(&mut connection, "GET", "/rejected", &keep())
            .await
            .unwrap_err();
        assert_eq!(failure.outcome, Outcome::Closed, "{failure}");
        let mut connection = open(address).await;
        let request = b"GET /silent HTTP/1.1\r\nhost: x\r\n\r\n";
        let deadline = Instant::now() + Duration::from_millis(300);
        let failure = connection
            .exchange_bytes(request, &keep(), deadline)
            .await
            .unwrap_err();
        // A silent drop without the right to drop packets is a reset.
        let expected = [Outcome::Timeout, Outcome::Reset];
        assert!(expected.contains(&failure.outcome), "{failure}");
    });
}
