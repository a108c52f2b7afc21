//! The server that the benchmarks load: a bare read and write loop that answers every request with the same bytes,
//! so that a measurement shows the client and not the server.
//!
//! `bench_server [--port N] [--body BYTES] [--instances N] [--tls CERT_FILE] [--close] [--stall]` listens on 127.0.0.1
//! and prints its port. With `--instances` connections belong to so many instances in turn, as behind a balancer. `--tls`
//! makes a certificate for localhost and writes it to the file. `--close` closes each connection after one response.
//! `--stall` makes the whole server stand still for the last second of every ten; after each stall it prints how long after
//! its end the answers to those that had waited left, in microseconds: what no client can make up for.

use std::cell::RefCell;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

struct Args {
    port: u16,
    body: usize,
    instances: usize,
    tls: Option<String>,
    close: bool,
    stall: bool,
}

fn args() -> Result<Args> {
    let mut args = Args {
        port: 0,
        body: 100,
        instances: 1,
        tls: None,
        close: false,
        stall: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().context(format!("{word} needs a value"));
        match word.as_str() {
            "--port" => args.port = value()?.parse()?,
            "--body" => args.body = value()?.parse()?,
            "--instances" => args.instances = value()?.parse()?,
            "--tls" => args.tls = Some(value()?),
            "--close" => args.close = true,
            "--stall" => args.stall = true,
            _ => bail!("unknown argument {word}"),
        }
    }
    Ok(args)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = args()?;
    let responses = (1..=args.instances.max(1)).map(|instance| response(&args, instance));
    let responses: Vec<&'static [u8]> = responses.map(|r| &*r.leak()).collect();
    let mut responses = responses.into_iter().cycle();
    let acceptor = args.tls.as_deref().map(acceptor).transpose()?;
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(([127, 0, 0, 1], args.port).into())?;
    let listener: TcpListener = socket.listen(4096)?;
    println!("{}", listener.local_addr()?.port());
    std::io::stdout().flush()?;
    if args.stall {
        tokio::spawn(stall());
    }
    let close = args.close;
    loop {
        let Ok((tcp, _)) = listener.accept().await else {
            // Out of descriptors: those in use come free.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        tcp.set_nodelay(true)?;
        let response = responses.next().context("no instance")?;
        match acceptor.clone() {
            None => tokio::spawn(serve(tcp, response, close)),
            Some(acceptor) => tokio::spawn(async move {
                let tls = acceptor.accept(tcp).await?;
                serve(tls, response, close).await
            }),
        };
    }
}

fn response(args: &Args, instance: usize) -> Vec<u8> {
    // ab speaks HTTP/1.0, and keeps a connection only when it is told so.
    let connection = if args.close { "close" } else { "keep-alive" };
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nx-squall-instance: bench-{instance}\r\nconnection: {connection}\r\n\r\n",
        args.body
    )
    .into_bytes();
    bytes.resize(bytes.len() + args.body, b'x');
    bytes
}

fn acceptor(cert_file: &str) -> Result<TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()])?;
    std::fs::write(cert_file, made.cert.pem())?;
    let key = made.signing_key.serialize_der();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Answers each request head; requests with a body are not known here.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    response: &'static [u8],
    close: bool,
) -> std::io::Result<()> {
    let mut buffer = vec![0u8; 4096];
    let mut filled = 0;
    loop {
        let n = stream.read(&mut buffer[filled..]).await?;
        if n == 0 {
            return Ok(());
        }
        filled += n;
        let mut from = 0;
        while let Some(end) = memchr::memmem::find(&buffer[from..filled], b"\r\n\r\n") {
            from += end + 4;
            stream.write_all(response).await?;
            stream.flush().await?;
            answered();
            if close {
                return stream.shutdown().await;
            }
        }
        buffer.copy_within(from..filled, 0);
        filled -= from;
        if filled == buffer.len() {
            return Ok(());
        }
    }
}

/// When answers left after a stall, until this is told.
struct Drain {
    stalled_until: Instant,
    left_us: Vec<u64>,
}

thread_local! {
    static DRAIN: RefCell<Option<Drain>> = const { RefCell::new(None) };
}

fn answered() {
    DRAIN.with_borrow_mut(|drain| {
        if let Some(drain) = drain {
            drain
                .left_us
                .push(drain.stalled_until.elapsed().as_micros() as u64);
        }
    });
}

/// Blocks the server's only thread, as a long garbage collection would.
async fn stall() {
    let start = Instant::now();
    for round in 1u32.. {
        let at = start + Duration::from_secs(10) * round - Duration::from_secs(1);
        tokio::time::sleep_until(at.into()).await;
        let stalled_until = at + Duration::from_secs(1);
        std::thread::sleep(stalled_until.saturating_duration_since(Instant::now()));
        let left_us = Vec::with_capacity(10_000);
        DRAIN.set(Some(Drain {
            stalled_until,
            left_us,
        }));
        // Those that waited are answered within a tenth of that; the rest is traffic as usual.
        tokio::time::sleep(Duration::from_millis(400)).await;
        let left: Vec<String> = DRAIN
            .take()
            .into_iter()
            .flat_map(|d| d.left_us)
            .map(|us| us.to_string())
            .collect();
        println!("{}", left.join(" "));
    }
}
