//! One exchange with a server that splits, drips, cuts, floods, and breaks the rules.

use std::time::{Duration, Instant};

use squall::record::Outcome;
use squall::traffic::lean::{ConnectTimings, Options};

use crate::script::{Act, say, serve};
use crate::{Seen, answer, connector, get, keep, open, run};

struct Case {
    name: &'static str,
    response: &'static str,
    options: Options,
    /// The server closes after it.
    close: bool,
    seen: Seen,
}

/// Every way of framing a response.
fn well_formed() -> Vec<Case> {
    let head = Options {
        head_request: true,
        ..keep()
    };
    let case = |name, response, seen| Case {
        name,
        response,
        options: keep(),
        close: false,
        seen,
    };
    vec![
        case(
            "content-length",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello",
            answer(200, "hello", true),
        ),
        case(
            "chunked with extensions and trailers",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
             5;a=\"b\"\r\nhello\r\n0007 \r\n, world\r\n0\r\nx-sum: 1\r\n\r\n",
            answer(200, "hello, world", true),
        ),
        case(
            "100 and 103 first",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
             HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok",
            answer(201, "ok", true),
        ),
        Case {
            options: head,
            ..case(
                "HEAD with content-length",
                "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
                answer(200, "", true),
            )
        },
        Case {
            options: head,
            ..case(
                "HEAD with chunked",
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
                answer(200, "", true),
            )
        },
        case(
            "304 with content-length",
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
            answer(304, "", true),
        ),
        case(
            "204",
            "HTTP/1.1 204 No Content\r\n\r\n",
            answer(204, "", true),
        ),
        case(
            "no reason",
            "HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n",
            answer(200, "", true),
        ),
        case(
            "unix lines",
            "HTTP/1.1 200 OK\ncontent-length: 1\n\nz",
            answer(200, "z", true),
        ),
        case(
            "connection: close, with a length",
            "HTTP/1.1 500 Oops\r\nconnection: Close\r\ncontent-length: 3\r\n\r\nbad",
            answer(500, "bad", false),
        ),
        case(
            "HTTP/1.0 with a length",
            "HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nold",
            answer(200, "old", false),
        ),
        Case {
            close: true,
            ..case(
                "until close",
                "HTTP/1.1 200 OK\r\nserver: x\r\n\r\nall there is",
                answer(200, "all there is", false),
            )
        },
    ]
}

/// Plays the pieces with gaps between them.
fn pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, last: Act) -> Vec<Act> {
    let mut script = vec![Act::Request];
    for piece in pieces {
        script.extend([say(piece), Act::Gap]);
    }
    script.push(last);
    script
}

#[test]
fn the_same_answer_however_it_is_split() {
    for case in well_formed() {
        run(async {
            let bytes = case.response.as_bytes();
            let last = || if case.close { Act::Close } else { Act::Silence };
            let mut scripts = vec![pieces([bytes], last()), pieces(bytes.chunks(1), last())];
            for at in 1..bytes.len() {
                scripts.push(pieces([&bytes[..at], &bytes[at..]], last()));
            }
            let tests = scripts.into_iter().map(|script| {
                let options = case.options;
                tokio::spawn(async move { get(serve(script).await, &options).await })
            });
            for (at, test) in tests.collect::<Vec<_>>().into_iter().enumerate() {
                assert_eq!(test.await.unwrap(), case.seen, "{}, split {at}", case.name);
            }
        });
    }
}

#[test]
fn cut_anywhere_it_is_closed_or_reset() {
    for case in well_formed() {
        run(async {
            let bytes = case.response.as_bytes();
            // A body that only the close ends is complete wherever it is closed: there is no way to tell.
            let end = if case.close {
                case.response.find("\r\n\r\n").unwrap() + 4
            } else {
                bytes.len()
            };
            let mut tests = Vec::new();
            for at in 0..end {
                for last in [Act::Close, Act::Reset] {
                    let script = pieces([&bytes[..at]], last.clone());
                    let options = case.options;
                    let test = async move { get(serve(script).await, &options).await };
                    tests.push((at, last, tokio::spawn(test)));
                }
            }
            for (at, last, test) in tests {
                let seen = test.await.unwrap();
                let expected = match last {
                    Act::Reset => Outcome::Reset,
                    _ => Outcome::Closed,
                };
                assert_eq!(
                    seen,
                    Seen::Failure(expected),
                    "{}, {last:?} at {at}",
                    case.name
                );
            }
        });
    }
}

#[test]
fn a_discarded_body_is_counted_and_not_kept() {
    for case in well_formed() {
        run(async {
            let last = if case.close { Act::Close } else { Act::Silence };
            let script = pieces(case.response.as_bytes().chunks(3), last);
            let mut connection = open(serve(script).await).await;
            let options = Options {
                head_request: case.options.head_request,
                ..Options::default()
            };
            let reply = crate::send(&mut connection, "GET", "/", &options)
                .await
                .unwrap();
            let Seen::Answer { status, body, .. } = &case.seen else {
                unreachable!("all are answers");
            };
            assert_eq!(reply.status(), *status, "{}", case.name);
            assert_eq!(reply.body_len(), body.len() as u64, "{}", case.name);
            assert_eq!(reply.body(), b"", "{}", case.name);
            assert_eq!(
                reply.received_bytes(),
                case.response.len() as u64,
                "{}",
                case.name
            );
        });
    }
}

#[test]
fn broken_rules_are_protocol_errors() {
    let many = "a: b\r\n".repeat(129);
    let large = format!("x: {}\r\n", "y".repeat(100 << 10));
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let extension = "z".repeat(20 << 10);
    let cases: Vec<(&str, String)> = vec![
        ("not HTTP", "SSH-2.0-OpenSSH_9.2\r\n".into()),
        (
            "HTTP/2",
            "HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n".into(),
        ),
        ("binary", "\u{0}\u{1}\u{2}\u{3}".into()),
        (
            "status not a number",
            "HTTP/1.1 2x0 OK\r\ncontent-length: 0\r\n\r\n".into(),
        ),
        (
            "status 42",
            "HTTP/1.1 042 OK\r\ncontent-length: 0\r\n\r\n".into(),
        ),
        ("no colon", "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n".into()),
        (
            "too many headers",
            format!("HTTP/1.1 200 OK\r\n{many}content-length: 0\r\n\r\n"),
        ),
        (
            "too large headers",
            format!("HTTP/1.1 200 OK\r\n{large}content-length: 0\r\n\r\n"),
        ),
        (
            "a header without end",
            format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(100 << 10)),
        ),
        (
            "two lengths",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".into(),
        ),
        (
            "negative length",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n".into(),
        ),
        (
            "length and encoding",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
                .into(),
        ),
        (
            "chunked in HTTP/1.0",
            chunked.replace("/1.1", "/1.0") + "0\r\n\r\n",
        ),
        ("chunk size missing", format!("{chunked}\r\n\r\n")),
        (
            "chunk size not hexadecimal",
            format!("{chunked}5g\r\nhello\r\n0\r\n\r\n"),
        ),
        (
            "chunk size negative",
            format!("{chunked}-5\r\nhello\r\n0\r\n\r\n"),
        ),
        (
            "chunk size of 17 digits",
            format!("{chunked}10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ),
        (
            "chunk longer than its size",
            format!("{chunked}5\r\nhello!\r\n0\r\n\r\n"),
        ),
        (
            "chunk line ended by \\n",
            format!("{chunked}5\nhello\r\n0\r\n\r\n"),
        ),
        (
            "chunk extension too long",
            format!("{chunked}5;{extension}\r\nhello\r\n0\r\n\r\n"),
        ),
        (
            "trailers too long",
            format!("{chunked}0\r\nx: {extension}\r\n\r\n"),
        ),
        (
            "interim responses for ever",
            "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(2_000),
        ),
    ];
    for (name, response) in cases {
        run(async {
            // Whatever the server does next, the answer to this request is already spoilt.
            for last in [Act::Silence, Act::Close] {
                let script = vec![Act::Request, say(&response), last];
                let seen = get(serve(script).await, &keep()).await;
                assert_eq!(seen, Seen::Failure(Outcome::Protocol), "{name}");
            }
        });
    }
}

#[test]
fn a_drip_is_read_and_a_stall_times_out() {
    let endless = "HTTP/1.1 200 OK\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let cases = [
        ("silence", vec![Act::Request, Act::Silence]),
        (
            "half a head",
            vec![Act::Request, say("HTTP/1.1 200 OK\r\n"), Act::Silence],
        ),
        (
            "endless head",
            vec![
                Act::Request,
                say("HTTP/1.1 200 OK\r\nx: "),
                Act::Forever(b"y".into()),
            ],
        ),
        (
            "endless body",
            vec![Act::Request, say(endless), Act::Forever(vec![b'y'; 100])],
        ),
        (
            "endless flood",
            vec![
                Act::Request,
                say(endless),
                Act::Forever(vec![b'y'; 10 << 20]),
            ],
        ),
        (
            "endless chunks",
            vec![
                Act::Request,
                say(chunked),
                Act::Forever(b"1\r\nz\r\n".into()),
            ],
        ),
        (
            "endless blank lines",
            vec![Act::Request, Act::Forever(b"\r\n".into())],
        ),
    ];
    for (name, script) in cases {
        run(async {
            let mut connection = open(serve(script).await).await;
            let begun = Instant::now();
            let deadline = begun + Duration::from_millis(300);
            let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
            let options = Options::default();
            let failure = connection.exchange_bytes(request, &options, deadline).await;
            let failure = failure.expect_err(name);
            assert_eq!(failure.outcome, Outcome::Timeout, "{name}: {failure}");
            let took = begun.elapsed();
            assert!(took >= Duration::from_millis(300), "{name}: after {took:?}");
            assert!(took < Duration::from_secs(10), "{name}: after {took:?}");
            assert!(failure.sent && !connection.reusable(), "{name}");
        });
    }
}

#[test]
fn a_kept_body_has_a_limit() {
    let small = Options {
        max_body_bytes: 4,
        ..keep()
    };
    let cases = [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\nhello",
    ];
    for response in cases {
        run(async {
            let address = serve(vec![Act::Request, say(response), Act::Close]).await;
            assert_eq!(
                get(address, &small).await,
                Seen::Failure(Outcome::Local),
                "{response}"
            );
        });
    }
}

#[test]
fn an_answer_before_the_request_was_sent_whole() {
    run(async {
        let response = "HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno";
        // The server answers to the headers alone, and reads the rest only then.
        let script = vec![Act::Request, say(response), Act::Gap, Act::Gap, Act::Drain];
        let mut connection = open(serve(script).await).await;
        let mut request =
            b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 67108864\r\n\r\n".to_vec();
        request.resize(request.len() + (64 << 20), b'x');
        let reply = connection
            .exchange_bytes(&request, &keep(), crate::soon())
            .await;
        let reply = reply.unwrap();
        assert_eq!((reply.status(), reply.body()), (413, &b"no"[..]));
        assert!(!connection.reusable());
    });
}

#[test]
fn a_server_that_reads_nothing_times_out_the_send() {
    run(async {
        let mut connection = open(serve(vec![Act::Silence]).await).await;
        let request = vec![b'x'; 64 << 20];
        let deadline = Instant::now() + Duration::from_millis(300);
        let failure = connection.exchange_bytes(&request, &keep(), deadline).await;
        let failure = failure.unwrap_err();
        assert_eq!(
            failure.to_string(),
            "sending the request: no answer in time"
        );
    });
}

#[test]
fn nobody_listens() {
    run(async {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let mut timings = ConnectTimings::default();
        let failure = connector(address).open(crate::soon(), &mut timings).await;
        let failure = failure.unwrap_err();
        assert_eq!(failure.outcome, Outcome::Refused, "{failure}");
        assert!(!failure.sent && timings.connect.is_none());
    });
}
