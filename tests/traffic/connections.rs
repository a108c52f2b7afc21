//! Who owns a connection, over which protocol: what a load balancer would see.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use squall::record::Outcome;
use squall::scenario::*;

use super::flow;
use crate::harness::*;
use crate::server::*;

/// A server whose connections are instances of their own.
fn server() -> Server {
    Server::http(|_, connection| {
        let mut response = ok("hello");
        let name = format!("i-{connection}").parse().unwrap();
        response.headers_mut().insert("x-squall-instance", name);
        at_once(response)
    })
}

fn run_mode(server: &Server, load: Load, set: impl FnOnce(&mut Flow)) -> Run {
    let mut flow = flow(load);
    set(&mut flow);
    let run = run(scenario(flow), &server.url());
    assert_eq!(
        run.ended(Outcome::Ok),
        run.end.ended,
        "{:?}",
        run.outcomes()
    );
    assert_eq!(run.end.ended, server.stats.requests());
    // Recorded and seen by the server are the same, and so are those that instances count.
    assert_eq!(run.connections(), server.stats.connections());
    let by_instance = |f: fn(&squall::record::InstanceSecond) -> u64| -> u64 {
        run.steps().flat_map(|s| s.instances.values()).map(f).sum()
    };
    assert_eq!(by_instance(|i| i.connections), server.stats.connections());
    assert_eq!(by_instance(|i| i.answered), run.end.ended);
    run
}

#[test]
fn per_user_keeps_one_alive_each() {
    let server = server();
    run_mode(&server, users(5, ms(700), Think::None), |_| {});
    assert_eq!(server.stats.connections(), 5);
}

#[test]
fn per_user_keeps_one_alive_with_large_bodies_too() {
    let server = Server::http(|_, _| at_once(ok(vec![b'x'; 300_000])));
    let mut flow = flow(users(3, ms(700), Think::None));
    flow.journey = journey([get("/")]);
    let run = run(scenario(flow), &server.url());
    assert_eq!(run.ended(Outcome::Ok), server.stats.requests());
    assert_eq!((run.connections(), server.stats.connections()), (3, 3));
}

#[test]
fn per_request_opens_one_each_time() {
    let server = server();
    run_mode(&server, users(3, ms(500), Think::Fixed(ms(5))), |flow| {
        flow.connections.mode = ConnectionMode::PerRequest;
    });
    assert_eq!(server.stats.connections(), server.stats.requests());
}

#[test]
fn pooled_shares_so_many() {
    let server = server();
    run_mode(&server, users(10, ms(500), Think::None), |flow| {
        flow.connections.mode = ConnectionMode::Pooled(3);
    });
    assert_eq!(server.stats.connections(), 3);
}

#[test]
fn an_old_connection_is_replaced() {
    let server = server();
    run_mode(&server, users(2, ms(1000), Think::Fixed(ms(5))), |flow| {
        flow.connections.max_age = Some(ms(200));
    });
    // Two users replace theirs every 200 ms and a little: ten at most in a second, and more than one each.
    let connections = server.stats.connections();
    assert!((5..=10).contains(&connections), "{connections}");
}

/// A server whose responses take a while, and the most requests that each of its connections had at once.
fn slow_server() -> (Server, Arc<Mutex<BTreeMap<u64, Streams>>>) {
    let streams: Arc<Mutex<BTreeMap<u64, Streams>>> = Arc::default();
    let counted = streams.clone();
    let server = Server::http(move |request, connection| {
        assert_eq!(request.version(), hyper::Version::HTTP_2);
        let counted = counted.clone();
        counted
            .lock()
            .unwrap()
            .entry(connection)
            .or_default()
            .begin();
        Box::pin(async move {
            tokio::time::sleep(ms(30)).await;
            counted.lock().unwrap().entry(connection).or_default().now -= 1;
            let mut response = ok("hello");
            let name = format!("i-{connection}").parse().unwrap();
            response.headers_mut().insert("x-squall-instance", name);
            response
        })
    });
    (server, streams)
}

/// Requests on one connection.
#[derive(Default)]
struct Streams {
    now: u32,
    most: u32,
}

impl Streams {
    fn begin(&mut self) {
        self.now += 1;
        self.most = self.most.max(self.now);
    }
}

#[test]
fn http2_multiplexes_as_told() {
    let per_user = ConnectionMode::PerUser;
    for (mode, count, streams) in [
        (per_user, 6, 3),
        (ConnectionMode::Pooled(2), 10, 4),
        (per_user, 2, 1),
    ] {
        let (server, seen) = slow_server();
        run_mode(&server, users(count, ms(900), Think::None), |flow| {
            flow.protocol = Protocol::Http2;
            flow.connections.mode = mode;
            flow.connections.streams = Some(streams);
        });
        assert_eq!(server.stats.connections(), 2);
        // Really at once, and never more than told, though more users wait.
        let most: Vec<u32> = seen.lock().unwrap().values().map(|s| s.most).collect();
        assert_eq!(most, [streams, streams], "{mode:?}");
    }
}

#[test]
fn tls_with_an_own_authority_over_both_protocols() {
    for (protocol, alpn) in [(Protocol::Http1, "http/1.1"), (Protocol::Http2, "h2")] {
        let (config, authority) = tls(&[alpn]);
        let server = Server::https(config, |request, _| {
            at_once(ok(format!("{:?}", request.version())))
        });
        let mut flow = flow(users(3, ms(500), Think::None));
        flow.protocol = protocol;
        let mut step = get("/");
        let version = if protocol == Protocol::Http1 {
            "HTTP/1.1"
        } else {
            "HTTP/2.0"
        };
        step.checks = vec![Check::Body(TextTest::Equals(version.into()))];
        flow.journey = journey([step]);
        let mut scenario = scenario(flow);
        let Target::Url(target) = &mut scenario.target else {
            unreachable!()
        };
        target.common.tls.ca = Some(authority.path().to_path_buf());
        let run = run(
            scenario,
            &format!("https://localhost:{}", server.address.port()),
        );
        assert_eq!(
            run.ended(Outcome::Ok),
            server.stats.requests(),
            "{:?}",
            run.samples
        );
        assert_eq!(run.outcomes().len(), 1);
        assert_eq!((run.connections(), server.stats.connections()), (3, 3));
        let agreed: u64 = run
            .intervals
            .iter()
            .flat_map(|i| &i.histograms)
            .filter_map(|h| h.tls.as_ref())
            .map(|h| h.len())
            .sum();
        assert_eq!(agreed, 3);
    }
}

#[test]
fn insecure_accepts_any_certificate() {
    let (config, _) = tls(&[]);
    let server = Server::https(config, |_, _| at_once(ok("")));
    let mut scenario = scenario(flow(users(1, ms(200), Think::None)));
    let Target::Url(target) = &mut scenario.target else {
        unreachable!()
    };
    target.common.tls.insecure = true;
    let run = run(scenario, &format!("https://{}", server.address));
    assert_eq!(run.outcomes().keys().collect::<Vec<_>>(), [&Outcome::Ok]);
}

#[test]
fn source_addresses_take_turns() {
    let sources = Arc::new(Mutex::new(Vec::new()));
    let seen = sources.clone();
    let server = Server::raw(move |mut stream, _, _| {
        seen.lock()
            .unwrap()
            .push(stream.peer_addr().unwrap().ip().to_string());
        async move {
            while read_head(&mut stream).await.is_some() {
                let response = b"HTTP/1.1 204 No Content\r\n\r\n";
                if tokio::io::AsyncWriteExt::write_all(&mut stream, response)
                    .await
                    .is_err()
                {
                    return;
                }
            }
        }
    });
    let mut flow = flow(users(4, ms(300), Think::None));
    flow.connections.source = vec!["127.0.0.2".parse().unwrap(), "127.0.0.3".parse().unwrap()];
    let mut scenario = scenario(flow);
    scenario.run.threads = Some(2);
    run(scenario, &server.url());
    let mut sources = sources.lock().unwrap().clone();
    sources.sort();
    assert_eq!(
        sources,
        ["127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.3"]
    );
}

#[test]
fn many_connections_are_spread_evenly_over_source_addresses() {
    let sources: Vec<std::net::IpAddr> = (2..6)
        .map(|last| std::net::Ipv4Addr::new(127, 0, 0, last).into())
        .collect();
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let counts = seen.clone();
    let server = Server::raw(move |mut stream, _, _| {
        let source = stream.peer_addr().unwrap().ip();
        *counts.lock().unwrap().entry(source).or_insert(0) += 1;
        async move {
            while read_head(&mut stream).await.is_some() {
                let response = b"HTTP/1.1 204 No Content\r\n\r\n";
                if tokio::io::AsyncWriteExt::write_all(&mut stream, response)
                    .await
                    .is_err()
                {
                    return;
                }
            }
        }
    });
    let mut flow = flow(users(200, ms(1500), Think::Fixed(ms(200))));
    flow.connections.source = sources.clone();
    let run = run(scenario(flow), &server.url());
    assert_eq!(run.ended(Outcome::Ok), run.end.ended, "{:?}", run.samples);
    assert_eq!(run.connections(), 200);
    let expected = sources.into_iter().map(|source| (source, 50)).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
}
