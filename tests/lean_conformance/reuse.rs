//! Several exchanges on one connection.

use std::time::{Duration, Instant};

use squall::record::Outcome;
use squall::traffic::lean::{ConnectTimings, Options};
use tokio::net::TcpListener;

use crate::script::{Act, say, serve};
use crate::{connector, keep, open, run, send};

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

#[test]
fn a_thousand_requests_on_one_connection() {
    let sizes = [0usize, 1, 100, 3_000, 70_000, 10];
    let responses = sizes.map(|size| {
        let mut response =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n").into_bytes();
        response.resize(response.len() + size, b'z');
        response
    });
    run(async {
        let script = responses.iter().cycle().take(1_000);
        let script = script.flat_map(|response| [Act::Request, say(response)]);
        let mut connection = open(serve(script.collect()).await).await;
        for (i, size) in sizes.iter().cycle().take(1_000).enumerate() {
            let options = if i % 2 == 0 {
                keep()
            } else {
                Options::default()
            };
            let reply = send(&mut connection, "GET", "/", &options).await.unwrap();
            assert_eq!(reply.body_len(), *size as u64);
            assert_eq!(reply.body().len(), if i % 2 == 0 { *size } else { 0 });
            assert!(reply.body().iter().all(|b| *b == b'z'));
        }
        assert_eq!(connection.answered(), 1_000);
    });
}

#[test]
fn bytes_after_a_response_end_the_connection() {
    run(async {
        let script = vec![Act::Request, say(format!("{HELLO}{HELLO}")), Act::Silence];
        let mut connection = open(serve(script).await).await;
        let reply = send(&mut connection, "GET", "/", &keep()).await.unwrap();
        assert_eq!(
            (reply.body(), reply.excess_bytes()),
            (&b"hello"[..], HELLO.len())
        );
        assert!(!connection.reusable());
        let failure = send(&mut connection, "GET", "/", &keep())
            .await
            .unwrap_err();
        assert_eq!(failure.outcome, Outcome::Protocol);
        assert!(
            !failure.sent,
            "nothing may be sent that could be answered wrongly"
        );
    });
}

#[test]
fn a_response_to_no_request_is_never_counted_as_an_answer() {
    run(async {
        let script = vec![Act::Request, say(HELLO), Act::Gap, say(HELLO), Act::Silence];
        let mut connection = open(serve(script).await).await;
        send(&mut connection, "GET", "/", &keep()).await.unwrap();
        // The server's gap is over after the first of these, and its second response is there after the others.
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let failure = send(&mut connection, "GET", "/", &keep())
            .await
            .unwrap_err();
        assert_eq!(failure.outcome, Outcome::Protocol, "{failure}");
        assert!(!failure.sent);
    });
}

#[test]
fn a_connection_closed_while_idle_says_so() {
    for (last, outcome) in [(Act::Close, Outcome::Closed), (Act::Reset, Outcome::Reset)] {
        run(async {
            let script = vec![Act::Request, say(HELLO), Act::Gap, last.clone()];
            let mut connection = open(serve(script).await).await;
            send(&mut connection, "GET", "/", &keep()).await.unwrap();
            assert!(connection.reusable());
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let failure = send(&mut connection, "GET", "/", &keep())
                .await
                .unwrap_err();
            assert_eq!(failure.outcome, outcome, "{last:?}: {failure}");
            assert!(failure.on_reused_idle && !failure.sent, "{last:?}");
            assert!(!connection.reusable());
        });
    }
}

#[test]
fn a_connection_closed_by_the_next_request_says_so() {
    run(async {
        let script = vec![Act::Request, say(HELLO), Act::Request, Act::Close];
        let mut connection = open(serve(script).await).await;
        send(&mut connection, "GET", "/", &keep()).await.unwrap();
        let failure = send(&mut connection, "GET", "/", &keep())
            .await
            .unwrap_err();
        assert_eq!(failure.outcome, Outcome::Closed, "{failure}");
        assert!(failure.on_reused_idle && failure.sent);
    });
}

#[test]
fn a_dropped_exchange_leaves_nothing_to_be_mistaken() {
    run(async {
        let script = vec![Act::Request, Act::Gap, say(HELLO), Act::Silence];
        let mut connection = open(serve(script).await).await;
        let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        let options = keep();
        {
            let exchange = connection.exchange_bytes(request, &options, crate::soon());
            tokio::pin!(exchange);
            // Polled once: the request is under way.
            let once = tokio::time::timeout(Duration::ZERO, &mut exchange).await;
            assert!(once.is_err());
        }
        assert!(!connection.reusable());
        let failure = send(&mut connection, "GET", "/", &options)
            .await
            .unwrap_err();
        assert_eq!(failure.outcome, Outcome::Closed);
        assert!(!failure.sent);
    });
}

/// The timer is shared by all requests of a connection: each must still meet its own deadline.
#[test]
fn each_request_has_its_own_deadline() {
    run(async {
        let mut script = vec![Act::Request, say(HELLO)];
        script.extend(script.clone());
        script.extend([Act::Request, say(HELLO), Act::Request, Act::Silence]);
        let address = serve(script).await;
        let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        let options = keep();
        for (first, last) in [(20_000, 200), (1_500, 2_000), (1_500, 1_510)] {
            let mut connection = open(address).await;
            let after = |ms| Instant::now() + Duration::from_millis(ms);
            for _ in 0..3 {
                let reply = connection
                    .exchange_bytes(request, &options, after(first))
                    .await;
                reply.unwrap();
            }
            let begun = Instant::now();
            let failure = connection
                .exchange_bytes(request, &options, after(last))
                .await;
            assert_eq!(failure.unwrap_err().outcome, Outcome::Timeout);
            let took = begun.elapsed();
            assert!(
                took >= Duration::from_millis(last),
                "{first} {last}: {took:?}"
            );
            assert!(took < Duration::from_secs(10), "{first} {last}: {took:?}");
        }
    });
}

#[test]
fn an_idle_timer_that_went_off_is_armed_again() {
    run(async {
        let script = vec![
            Act::Request,
            Act::Gap,
            say(HELLO),
            Act::Request,
            Act::Silence,
        ];
        let mut connection = open(serve(script).await).await;
        let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        let deadline = Instant::now() + Duration::from_millis(1_000);
        let options = keep();
        connection
            .exchange_bytes(request, &options, deadline)
            .await
            .unwrap();
        // Thinks past the time for which the timer is armed.
        tokio::time::sleep_until((deadline + Duration::from_millis(20)).into()).await;
        let deadline = Instant::now() + Duration::from_millis(1_000);
        let failure = connection.exchange_bytes(request, &options, deadline).await;
        assert_eq!(failure.unwrap_err().outcome, Outcome::Timeout);
    });
}

#[test]
fn connects_from_the_source_address() {
    run(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let source = "127.0.0.77".parse().unwrap();
        let mut connector = connector(listener.local_addr().unwrap());
        connector.source = Some(source);
        let mut timings = ConnectTimings::default();
        let _connection = connector.open(crate::soon(), &mut timings).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.ip(), source);
    });
}
