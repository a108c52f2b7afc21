//! What a user does: variables, data, branches, redirects, cookies, secrets.

use std::sync::{Arc, Mutex};

use squall::record::Outcome;
use squall::scenario::*;

use super::flow;
use crate::harness::*;
use crate::server::*;

/// A server that keeps the targets of its requests.
fn recording(
    answer: impl Fn(&str) -> hyper::Response<http_body_util::Full<bytes::Bytes>> + Send + Sync + 'static,
) -> (Server, Arc<Mutex<Vec<String>>>) {
    let targets = Arc::new(Mutex::new(Vec::new()));
    let seen = targets.clone();
    let server = Server::http(move |request, _| {
        let target = request.uri().path_and_query().unwrap().to_string();
        let response = answer(&target);
        seen.lock().unwrap().push(target);
        at_once(response)
    });
    (server, targets)
}

fn extract(variable: &str, from: ExtractFrom) -> Vec<Extract> {
    vec![Extract {
        variable: variable.into(),
        from,
        default: None,
    }]
}

#[test]
fn a_value_goes_from_one_step_to_the_next() {
    let (server, targets) = recording(|target| match target {
        "/list" => ok(r#"{"items": [{"id": "a b"}]}"#),
        _ => ok("[]"),
    });
    let mut list = get("/list");
    list.extract = extract("id", ExtractFrom::Json("$.items[0].id".into()));
    let mut item = get("/items/{{ id }}");
    item.query = vec![("shop".into(), "{{ shop }}".into())];
    let mut flow = flow(rate(20.0, ms(100)));
    flow.variables = [("shop".to_string(), "x&y".to_string())].into();
    flow.journey = journey([list, item]);
    let run = run(scenario(flow), &server.url());
    assert_eq!(run.outcomes(), [(Outcome::Ok, 4)].into());
    let targets = targets.lock().unwrap();
    assert_eq!(
        targets
            .iter()
            .filter(|t| *t == "/items/a%20b?shop=x%26y")
            .count(),
        2,
        "{targets:?}"
    );
}

#[test]
fn a_missing_value_ends_the_journey_and_a_failed_check_does_not() {
    let (server, _) = recording(|_| ok("{}"));
    let mut checked = get("/checked");
    checked.checks = vec![Check::Body(TextTest::Contains("nothing".into()))];
    let mut missing = get("/missing");
    missing.extract = extract("id", ExtractFrom::Json("$.id".into()));
    let mut flow = flow(rate(50.0, ms(100)));
    flow.journey = journey([checked, missing, get("/never/{{ id }}")]);
    let run = run(scenario(flow), &server.url());
    assert_eq!(run.step_ended("GET /checked", Outcome::Check), 5);
    assert_eq!(run.step_ended("GET /missing", Outcome::Check), 5);
    assert_eq!(run.end.ended, 10);
    let words: Vec<&str> = run.samples.iter().map(|s| s.error.as_str()).collect();
    assert!(words.iter().any(|w| w.contains("`id`")), "{words:?}");
}

fn data(file: &tempfile::NamedTempFile, order: FeederOrder) -> Vec<Feeder> {
    let (name, file) = ("row".to_string(), file.path().to_path_buf());
    vec![Feeder {
        name,
        file,
        format: FeederFormat::Csv,
        order,
    }]
}

#[test]
fn rows_are_used_once_and_the_flow_ends_with_them() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let rows: String = (0..25).map(|i| format!("{i}\n")).collect();
    std::fs::write(file.path(), format!("id\n{rows}")).unwrap();
    for (load, threads) in [
        (users(4, ms(60_000), Think::None), 2),
        (rate(100.0, ms(60_000)), 2),
    ] {
        let (server, targets) = recording(|_| ok(""));
        let mut flow = flow(load);
        flow.data = data(&file, FeederOrder::Once);
        flow.journey = journey([get("/{{ row.id }}")]);
        let mut scenario = scenario(flow);
        scenario.run.threads = Some(threads);
        let run = run(scenario, &server.url());
        assert_eq!(run.outcomes(), [(Outcome::Ok, 25)].into());
        let mut ids: Vec<u32> = targets
            .lock()
            .unwrap()
            .iter()
            .map(|t| t[1..].parse().unwrap())
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..25).collect::<Vec<_>>());
        assert_eq!(run.notes.len(), 1, "{:?}", run.notes);
        // It did not wait for its schedule.
        assert!(run.end.ended_us - run.end.started_us < 30_000_000);
    }
}

#[test]
fn a_row_that_cannot_be_read_ends_the_run_and_not_a_part_of_the_load() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let rows: String = (0..25).map(|i| format!("{i}\n")).collect();
    std::fs::write(file.path(), format!("id\n{rows}25,1\n26\n")).unwrap();
    let (server, _) = recording(|_| ok(""));
    let mut with_data = flow(rate(100.0, ms(60_000)));
    with_data.data = data(&file, FeederOrder::InOrder);
    with_data.journey = journey([get("/{{ row.id }}")]);
    let mut without = flow(rate(100.0, ms(60_000)));
    without.name = "without".into();
    let mut scenario = scenario(with_data);
    scenario.traffic.push(without);
    scenario.run.threads = Some(2);
    let (job, _entries) = job(scenario, &server.url());
    let begin = std::time::Instant::now();
    let mut engine = squall::traffic::start(squall::traffic::prepare(&job).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let error = runtime.block_on(engine.finished()).unwrap_err().to_string();
    assert!(
        error.contains(file.path().to_str().unwrap()) && error.contains("line: 27"),
        "{error}"
    );
    assert!(begin.elapsed().as_secs() < 30, "{:?}", begin.elapsed());
}

#[test]
fn rows_come_in_order_and_again() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "id\n0\n1\n2\n").unwrap();
    let (server, targets) = recording(|_| ok(""));
    let mut flow = flow(users(1, ms(300), Think::Fixed(ms(5))));
    flow.data = data(&file, FeederOrder::InOrder);
    flow.journey = journey([get("/{{ row.id }}?{{ user }}.{{ iteration }}")]);
    run(scenario(flow), &server.url());
    let targets = targets.lock().unwrap();
    assert!(targets.len() > 5);
    for (i, target) in targets.iter().enumerate() {
        assert_eq!(*target, format!("/{}?1.{}", i % 3, i + 1));
    }
}

#[test]
fn choices_repeat_with_the_seed() {
    let branch = |path: &str| Branch {
        weight: 1.0,
        journey: journey([get(path)]),
    };
    let walk = || {
        let (server, targets) = recording(|_| ok(""));
        let mut flow = flow(rate(200.0, ms(200)));
        flow.journey = vec![Node::Choose(vec![
            branch("/a/{{ random(1, 1000) }}"),
            branch("/b"),
        ])];
        run(scenario(flow), &server.url());
        let mut targets = targets.lock().unwrap().clone();
        targets.sort();
        targets
    };
    let first = walk();
    assert_eq!(first.len(), 40);
    assert!(first.iter().any(|t| t == "/b") && first.iter().any(|t| t.starts_with("/a/")));
    assert_eq!(first, walk());
}

#[test]
fn a_redirect_to_another_host_is_an_error_and_no_load_there() {
    let (other, elsewhere) = recording(|_| ok("the status page"));
    // Another name of this machine.
    let location = other.url().replace("127.0.0.1", "localhost");
    let (server, _) = recording(move |_| {
        let mut response = ok("");
        *response.status_mut() = hyper::StatusCode::FOUND;
        let headers = response.headers_mut();
        headers.insert("location", location.parse().unwrap());
        response
    });
    let mut follow = get("/");
    follow.follow_redirects = true;
    let mut flow = flow(rate(10.0, ms(100)));
    flow.journey = journey([follow]);
    let run = run(scenario(flow), &server.url());
    assert_eq!(run.step_ended("GET /", Outcome::Protocol), 1);
    let error = &run.samples[0].error;
    assert!(error.contains("another host"), "{error}");
    assert!(elsewhere.lock().unwrap().is_empty());
}

#[test]
fn redirects_are_followed_only_where_asked() {
    let (server, targets) = recording(|target| {
        let mut response = ok("");
        if let Some(next) = target
            .strip_prefix("/hop/")
            .and_then(|n| n.parse::<u32>().ok())
        {
            *response.status_mut() = hyper::StatusCode::FOUND;
            let location = if next == 0 {
                "/end".to_string()
            } else {
                format!("/hop/{}", next - 1)
            };
            response
                .headers_mut()
                .insert("location", location.parse().unwrap());
        }
        response
    });
    let mut follow = get("/hop/2");
    follow.follow_redirects = true;
    let mut endless = get("/hop/50");
    endless.follow_redirects = true;
    let mut flow = flow(rate(10.0, ms(100)));
    flow.journey = journey([get("/hop/9"), follow, endless]);
    let run = run(scenario(flow), &server.url());
    assert_eq!(run.step_ended("GET /hop/9", Outcome::Ok), 1);
    assert_eq!(run.step_ended("GET /hop/2", Outcome::Ok), 1);
    assert_eq!(run.step_ended("GET /hop/50", Outcome::Protocol), 1);
    let statuses: Vec<u16> = run
        .steps()
        .flat_map(|s| s.statuses.keys().copied())
        .collect();
    assert_eq!(statuses, [302, 200]);
    let targets = targets.lock().unwrap();
    assert_eq!(
        targets[..5],
        ["/hop/9", "/hop/2", "/hop/1", "/hop/0", "/end"]
    );
}

#[test]
fn secrets_are_sent_and_never_shown() {
    let secret = "tok/en &\"1";
    let server = Server::http(move |request, _| {
        let sent = request.headers()["authorization"]
            .to_str()
            .unwrap()
            .to_string();
        assert_eq!(sent, format!("Bearer {secret}"));
        let query = request.uri().query().unwrap().to_string();
        let mut response = ok(format!("you sent {sent} and {query}"));
        *response.status_mut() = hyper::StatusCode::FORBIDDEN;
        response
            .headers_mut()
            .insert("x-echo", sent.parse().unwrap());
        at_once(response)
    });
    let mut step = get("/x");
    step.headers = vec![("Authorization".into(), "Bearer {{ token }}".into())];
    step.query = vec![("t".into(), "{{ token }}".into())];
    let mut flow = flow(rate(10.0, ms(100)));
    flow.journey = journey([step]);
    let mut scenario = scenario(flow);
    scenario.secrets = [("token".to_string(), Secret::new(secret))].into();
    let run = run(scenario, &server.url());
    assert_eq!(run.ended(Outcome::Status), 1);
    let sample = &run.samples[0];
    assert!(sample.request.ends_with("/x?t=***"), "{}", sample.request);
    assert_eq!(sample.headers["x-echo"], "Bearer ***");
    assert_eq!(
        sample.body.as_deref(),
        Some("you sent Bearer *** and t=***")
    );
}

#[test]
fn compressed_bodies_are_unpacked_where_asked_for() {
    let server = Server::http(|request, _| {
        let asked = request
            .headers()
            .get("accept-encoding")
            .map(|v| v.to_str().unwrap().to_string());
        at_once(ok(format!("{asked:?}")))
    });
    let step = |name: &str, asks: Option<&str>, expected: &str| {
        let mut step = get("/");
        step.name = name.into();
        step.headers = asks
            .map(|v| ("accept-encoding".to_string(), v.to_string()))
            .into_iter()
            .collect();
        step.checks = vec![Check::Body(TextTest::Equals(expected.into()))];
        step
    };
    let mut plain = flow(rate(10.0, ms(100)));
    plain.journey = journey([step("plain", None, "None")]);
    assert_eq!(run(scenario(plain), &server.url()).ended(Outcome::Ok), 1);
    let mut mixed = flow(rate(10.0, ms(100)));
    let asking = step("asking", Some("gzip"), "Some(\"gzip\")");
    mixed.journey = journey([asking, step("not", None, "Some(\"identity\")")]);
    assert_eq!(run(scenario(mixed), &server.url()).ended(Outcome::Ok), 2);
}

#[test]
fn mistakes_are_found_before_anything_is_sent() {
    let server = Server::http(|_, _| at_once(ok("")));
    let base = || scenario(flow(rate(10.0, ms(100))));
    let mut unknown = base();
    unknown.traffic[0].journey = journey([get("/{{ nothing }}")]);
    let mut no_file = base();
    let feeder = Feeder {
        name: "row".into(),
        file: "/nonexistent.csv".into(),
        format: FeederFormat::Csv,
        order: FeederOrder::InOrder,
    };
    no_file.traffic[0].data = vec![feeder];
    let mut no_body = base();
    no_body.traffic[0].journey = journey([Step {
        body: Body::File("/nonexistent".into()),
        ..get("/")
    }]);
    let mut no_ca = base();
    let Target::Url(target) = &mut no_ca.target else {
        unreachable!()
    };
    target.common.tls.ca = Some("/nonexistent.pem".into());
    for (scenario, expected) in [
        (unknown, "`nothing`"),
        (no_file, "/nonexistent.csv"),
        (no_body, "/nonexistent"),
        (no_ca, "nonexistent.pem"),
    ] {
        let error = prepare_error(scenario, &server.url()).to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(server.stats.connections(), 0);
}
