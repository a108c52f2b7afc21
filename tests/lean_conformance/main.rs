//! The lean client against servers that mean well (hyper, nginx, HAProxy) and one that does not: the right result
//! or an error of a known kind, every time; never a hang, a panic or a wrong count.

mod hostile;
mod reuse;
mod script;
mod servers;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use squall::record::Outcome;
use squall::traffic::lean::{
    BodyUse, ConnectTimings, Connection, Connector, Failure, Options, Reply,
};

/// Runs a test on one thread, and ends it when it hangs.
fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let limit = Duration::from_secs(60);
    let result = runtime.block_on(async { tokio::time::timeout(limit, test).await });
    result.expect("the test hangs")
}

/// A deadline that no healthy exchange meets.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn keep() -> Options {
    Options {
        want_body: BodyUse::Keep,
        ..Options::default()
    }
}

fn connector(address: SocketAddr) -> Connector {
    Connector {
        address,
        source: None,
        tls: None,
    }
}

async fn open(address: SocketAddr) -> Connection {
    let mut timings = ConnectTimings::default();
    let connection = connector(address).open(soon(), &mut timings).await.unwrap();
    assert!(timings.connect.is_some() && timings.tls.is_none());
    connection
}

/// Sends one request with no body.
async fn send<'a>(
    connection: &'a mut Connection,
    method: &str,
    path: &str,
    options: &Options,
) -> Result<Reply<'a>, Failure> {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    connection
        .request_buffer()
        .extend_from_slice(request.as_bytes());
    connection.exchange(options, soon()).await
}

/// What a test expects of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Answer {
        status: u16,
        body: Vec<u8>,
        reusable: bool,
    },
    Failure(Outcome),
}

fn answer(status: u16, body: &str, reusable: bool) -> Seen {
    Seen::Answer {
        status,
        body: body.into(),
        reusable,
    }
}

/// One request on a new connection.
async fn get(address: SocketAddr, options: &Options) -> Seen {
    let mut connection = open(address).await;
    let method = if options.head_request { "HEAD" } else { "GET" };
    let (status, body) = match send(&mut connection, method, "/", options).await {
        Err(failure) => return Seen::Failure(failure.outcome),
        Ok(reply) => {
            assert!(reply.sent_at <= reply.first_byte_at && reply.first_byte_at <= reply.done_at);
            if options.want_body == BodyUse::Keep {
                assert_eq!(reply.body_len(), reply.body().len() as u64);
            } else {
                assert_eq!(reply.body(), b"");
            }
            (reply.status(), reply.body().to_vec())
        }
    };
    Seen::Answer {
        status,
        body,
        reusable: connection.reusable(),
    }
}
