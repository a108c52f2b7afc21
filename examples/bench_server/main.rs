//! The server that the benchmarks load: a bare read and write loop that answers every request with the same bytes,
//! so that a measurement shows the client and not the server.
//!
//! `bench_server [--port N] [--body BYTES] [--instances N] [--tls CERT_FILE] [--close] [--stall]` listens on 127.0.0.1
//! and prints its port. With `--instances` connections belong to so many instances in turn, as behind a balancer. `--tls`
//! makes a certificate for localhost and writes it to the file. `--close` closes each connection after one response.
//! `--stall` makes the whole server stand still for the last second of every ten; after each stall it prints how long after
//! its end the answers to those that had waited left, in microseconds: what no client can make up for.

mod heads;
mod plain;
mod stall;
mod tls;

use std::net::TcpListener;

use anyhow::{Context, Result, bail};
use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};

use stall::Stall;

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

fn main() -> Result<()> {
    let args = args()?;
    let responses = (1..=args.instances.max(1)).map(|instance| response(&args, instance));
    let responses: Vec<&'static [u8]> = responses.map(|r| &*r.leak()).collect();
    let listener = listener(args.port)?;
    let acceptor = args.tls.as_deref().map(tls::acceptor).transpose()?;
    println!("{}", listener.local_addr()?.port());
    match acceptor {
        Some(_) if args.stall => bail!("--stall is for clear text"),
        Some(acceptor) => tls::serve(listener, acceptor, responses, args.close),
        None => plain::serve(
            &listener,
            &responses,
            args.close,
            args.stall.then(Stall::new),
        ),
    }
}

fn listener(port: u16) -> Result<TcpListener> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &std::net::SocketAddr::from(([127, 0, 0, 1], port)))?;
    listen(&socket, 4096)?;
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
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
