//! The lean client allocates nothing per request, once its connections are warm.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use squall::traffic::lean::{BodyUse, ConnectTimings, Connection, Connector, Options};

/// A server on threads of its own, whose allocations are not counted: answers requests that have no body.
fn serve(response: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let response = response.clone();
            std::thread::spawn(move || drop(answer(stream.unwrap(), &response)));
        }
    });
    address
}

fn answer(mut stream: TcpStream, response: &[u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte)? > 0 {
        head.extend(byte);
        if head.ends_with(b"\r\n\r\n") {
            stream.write_all(response)?;
            head.clear();
        }
    }
    Ok(())
}

async fn open(address: SocketAddr) -> Connection {
    let connector = Connector {
        address,
        source: None,
        tls: None,
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut timings = ConnectTimings::default();
    connector.open(deadline, &mut timings).await.unwrap()
}

async fn requests(connection: &mut Connection, n: usize, want_body: BodyUse, body_len: u64) {
    let options = Options {
        want_body,
        ..Options::default()
    };
    for i in 0..n {
        let buffer = connection.request_buffer();
        buffer.extend_from_slice(b"GET / HTTP/1.1\r\nhost: localhost\r\nx-request: ");
        write!(buffer, "{:08}\r\n\r\n", i).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let reply = connection.exchange(&options, deadline).await.unwrap();
        assert_eq!((reply.status(), reply.body_len()), (200, body_len));
        assert_eq!(reply.header("x-squall-instance"), Some(&b"one"[..]));
    }
}

#[test]
fn ten_thousand_requests_allocate_nothing() {
    let head = "HTTP/1.1 200 OK\r\nx-squall-instance: one\r\n";
    let long = "z".repeat(16 << 10);
    let small = serve(format!("{head}content-length: 5\r\n\r\nhello").into());
    let large = serve(format!("{head}content-length: {}\r\n\r\n{long}", long.len()).into());
    let chunks = format!("{head}transfer-encoding: chunked\r\n\r\n4000\r\n{long}\r\n0\r\n\r\n");
    let chunked = serve(chunks.into());

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut connections = runtime.block_on(async {
        [
            open(small).await,
            open(small).await,
            open(large).await,
            open(chunked).await,
        ]
    });
    let [a, b, c, d] = &mut connections;
    let mut round = |n| {
        runtime.block_on(async {
            tokio::join!(
                requests(a, n, BodyUse::Discard, 5),
                requests(b, n, BodyUse::Keep, 5),
                requests(c, n, BodyUse::Keep, 16 << 10),
                requests(d, n, BodyUse::Keep, 16 << 10),
            )
        });
    };
    let cold = allocation_counter::measure(|| round(100));
    assert!(cold.count_total > 0, "the counter counts");
    // The runtime may put the whole round on the heap, once: what counts is that more requests allocate no more. A buffer
    // is allocated when more responses are half-way at once than ever before, and grows when it first holds a large one: up
    // to five times for each of four connections, whenever chance has it so, and then never again.
    let mut rounds = Vec::new();
    for _ in 0..8 {
        let short = allocation_counter::measure(|| round(1)).count_total;
        let long = allocation_counter::measure(|| round(2_500)).count_total;
        if short <= 1 && long == short {
            return;
        }
        rounds.push((short, long));
        assert!(short + long <= 2 + 20, "{rounds:?}");
    }
    panic!("after 80,000 requests they still allocate: {rounds:?}");
}
