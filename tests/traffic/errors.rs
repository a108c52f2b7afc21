//! Every kind of failure, provoked for real: told apart, counted once, sampled once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use squall::record::Outcome;
use squall::scenario::*;
use tokio::io::AsyncWriteExt;

use super::flow;
use crate::harness::*;
use crate::server::*;

const ONE_OK: &str = "HTTP/1.1 200 OK\r\nx-squall-instance: one\r\ncontent-length: 2\r\n\r\nok";

/// Ten requests, all of which must end in the same way.
fn all_end_as(outcome: Outcome, scenario: Scenario, url: &str) -> Run {
    let run = run(scenario, url);
    assert_eq!(run.outcomes(), [(outcome, 10)].into(), "{:?}", run.samples);
    assert_eq!(run.samples.len(), 1, "{:?}", run.samples);
    assert_eq!(run.samples[0].outcome, outcome);
    assert!(!run.samples[0].error.is_empty());
    run
}

fn ten() -> Scenario {
    scenario(flow(rate(50.0, ms(200))))
}

#[test]
fn refused() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let run = all_end_as(Outcome::Refused, ten(), &url);
    assert_eq!(run.connections(), 0);
    assert!(run.samples[0].request.starts_with("GET http://127.0.0.1:"));
}

#[test]
fn reset_before_and_within_the_response() {
    for begin in ["", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc"] {
        let server = Server::raw(move |mut stream, _, _| async move {
            read_head(&mut stream).await;
            stream.write_all(begin.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            // What has been sent must arrive before the reset does, which discards it.
            tokio::time::sleep(ms(50)).await;
            socket2::SockRef::from(&stream)
                .set_linger(Some(ms(0)))
                .unwrap();
        });
        let run = all_end_as(Outcome::Reset, ten(), &server.url());
        assert_eq!(run.connections(), server.stats.connections());
    }
}

#[test]
fn closed_before_and_within_the_response() {
    for begin in [
        "",
        "HTTP/1.1 200 OK\r\nconte",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc",
    ] {
        let server = Server::raw(move |mut stream, _, _| async move {
            read_head(&mut stream).await;
            stream.write_all(begin.as_bytes()).await.unwrap();
        });
        all_end_as(Outcome::Closed, ten(), &server.url());
    }
}

#[test]
fn a_kept_connection_that_closes_on_the_next_request_fails_that_request_and_no_other() {
    // Answers once, and closes on the second request without a word.
    let server = Server::scripted(|_, number| (number == 0).then(|| ONE_OK.to_string()));
    let mut flow = flow(users(1, ms(400), Think::Fixed(ms(2))));
    flow.journey = journey([get("/")]);
    let run = run(scenario(flow), &server.url());
    // Nothing was sent twice: the server has seen each request once.
    assert_eq!(server.stats.requests(), run.end.ended);
    let (ok, failed) = (
        run.ended(Outcome::Ok),
        run.end.ended - run.ended(Outcome::Ok),
    );
    assert!(ok == failed || ok == failed + 1, "{:?}", run.outcomes());
    assert_eq!(
        failed,
        run.ended(Outcome::Closed) + run.ended(Outcome::Reset)
    );
    assert_eq!(run.connections(), server.stats.connections());
    // The failed ones are put down to the instance that had answered on their connection.
    let one = |f: fn(&squall::record::InstanceSecond) -> u64| -> u64 {
        run.steps()
            .filter_map(|s| s.instances.get("one"))
            .map(f)
            .sum()
    };
    assert_eq!((one(|i| i.answered), one(|i| i.failed)), (ok, failed));
    assert_eq!(one(|i| i.connections), server.stats.connections());
}

#[test]
fn timeout_before_and_within_the_response() {
    for begin in ["", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc"] {
        let server = Server::raw(move |mut stream, _, _| async move {
            read_head(&mut stream).await;
            stream.write_all(begin.as_bytes()).await.unwrap();
            std::future::pending().await
        });
        let mut scenario = ten();
        scenario.traffic[0].timeout = ms(150);
        let run = all_end_as(Outcome::Timeout, scenario, &server.url());
        let waited = run.response();
        assert!(
            waited.min() >= 149_000 && waited.max() < 2_000_000,
            "{}",
            waited.min()
        );
    }
}

#[test]
fn garbage() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc";
    for answer in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        chunked,
    ] {
        let server = Server::raw(move |mut stream, _, _| async move {
            read_head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
            std::future::pending().await
        });
        all_end_as(Outcome::Protocol, ten(), &server.url());
    }
}

#[test]
fn a_name_that_does_not_resolve() {
    all_end_as(Outcome::Dns, ten(), "http://nonexistent.invalid:81");
}

#[test]
fn tls_that_cannot_be_agreed() {
    let (config, _authority) = tls(&[]);
    let server = Server::https(config, |_, _| at_once(ok("")));
    let (_, other_authority) = tls(&[]);
    let mut scenario = ten();
    let Target::Url(target) = &mut scenario.target else {
        unreachable!()
    };
    target.common.tls.ca = Some(other_authority.path().to_path_buf());
    let url = format!("https://localhost:{}", server.address.port());
    let run = all_end_as(Outcome::Tls, scenario.clone(), &url);
    assert_eq!(run.connections(), server.stats.connections());

    let plain = Server::scripted(|_, _| None);
    let garbage = Server::raw(|mut stream, _, _| async move {
        stream
            .write_all(b"this is not TLS at all, sorry\r\n")
            .await
            .unwrap();
        std::future::pending().await
    });
    all_end_as(
        Outcome::Tls,
        scenario,
        &format!("https://{}", garbage.address),
    );
    drop(plain);
}

#[test]
fn the_generators_own_limits() {
    let server = Server::http(|_, _| at_once(ok("")));
    let mut scenario = ten();
    // Documentation addresses (RFC 5737) belong to no machine.
    scenario.traffic[0].connections.source = vec!["192.0.2.1".parse().unwrap()];
    all_end_as(Outcome::Local, scenario, &server.url());
}

#[test]
fn users_that_fail_at_once_leave_the_worker_to_everybody_else() {
    let server = Server::http(|_, _| at_once(ok("")));
    let mut scenario = scenario(flow(rate(50.0, ms(400))));
    // As above: they wait for nothing, and have nothing to think about.
    let mut failing = flow(users(2, Duration::from_secs(30), Think::None));
    failing.name = "failing".into();
    failing.journey = journey([get("/failing")]);
    failing.connections.source = vec!["192.0.2.1".parse().unwrap()];
    scenario.traffic.push(failing);
    let begin = Instant::now();
    let patience = begin + Duration::from_secs(15);
    let run = run_with(scenario, &server.url(), |engine| {
        while server.stats.requests() < 20 && Instant::now() < patience {
            std::thread::sleep(ms(5));
        }
        engine.stop_now();
    });
    // The last of 20 may have been under way.
    assert!(run.step_ended("GET /", Outcome::Ok) >= 15);
    assert!(run.step_ended("GET /failing", Outcome::Local) > 0);
    assert!(Instant::now() < patience, "{:?}", begin.elapsed());
}

#[test]
fn statuses_and_checks() {
    let server = Server::http(|_, _| {
        let mut response = ok("{\"error\": \"no stock\"}");
        *response.status_mut() = hyper::StatusCode::SERVICE_UNAVAILABLE;
        response
            .headers_mut()
            .insert("x-why", "stock".parse().unwrap());
        at_once(response)
    });
    let run = all_end_as(Outcome::Status, ten(), &server.url());
    let sample = &run.samples[0];
    assert_eq!(sample.status, Some(503));
    assert_eq!(sample.headers["x-why"], "stock");
    assert_eq!(sample.body.as_deref(), Some("{\"error\": \"no stock\"}"));
    assert!(sample.error.contains("503"));
    assert_eq!(run.steps().map(|s| s.statuses[&503]).sum::<u64>(), 10);

    let mut scenario = ten();
    let mut step = get("/");
    step.checks = vec![
        Check::Status(vec![StatusMatch::Exact(503)]),
        Check::Json {
            path: "$.error".into(),
            op: JsonOp::Equal,
            value: "nothing".into(),
        },
    ];
    scenario.traffic[0].journey = journey([step]);
    let run = all_end_as(Outcome::Check, scenario, &server.url());
    assert!(
        run.samples[0].error.contains("$.error"),
        "{}",
        run.samples[0].error
    );
}

#[test]
fn errors_have_their_times() {
    let calls = AtomicU64::new(0);
    let server = Server::http(move |_, _| {
        let mut response = ok("");
        if (20..30).contains(&calls.fetch_add(1, Ordering::SeqCst)) {
            *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
        }
        at_once(response)
    });
    let run = run(scenario(flow(rate(50.0, ms(900)))), &server.url());
    assert_eq!(
        run.outcomes(),
        [(Outcome::Ok, 35), (Outcome::Status, 10)].into()
    );
    let step = &run.intervals[0].second.steps[0];
    let since = |t: Option<u64>| t.unwrap() - run.end.started_us;
    let (first, last) = (since(step.first_error_us), since(step.last_error_us));
    // The 21st request is due after 400 ms, the 30th after 580 ms.
    assert!((400_000..560_000).contains(&first), "{first}");
    assert!((580_000..750_000).contains(&last), "{last}");
}
