//! When requests are sent, what is counted, and what the times mean.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use squall::record::Outcome;
use squall::scenario::*;
use tokio::io::AsyncWriteExt;

use super::flow;
use crate::harness::*;
use crate::server::*;

#[test]
fn closed_users_are_counted_exactly_over_two_workers() {
    let server = Server::http(|_, _| at_once(ok("hello")));
    let mut scenario = scenario(flow(users(7, ms(1500), Think::None)));
    scenario.run.threads = Some(2);
    let run = run(scenario, &server.url());
    assert_eq!(run.ended(Outcome::Ok), server.stats.requests());
    assert_eq!(run.outcomes().len(), 1, "{:?}", run.outcomes());
    assert!(run.end.ended > 100);
    assert_eq!((run.connections(), server.stats.connections()), (7, 7));
    let first = &run.intervals[0].second;
    assert_eq!(first.generator.users, 7);
    assert_eq!(first.generator.cpu_millicores.len(), 2);
    assert!(first.generator.open_files > 7);
    let received: u64 = run.steps().map(|s| s.received_bytes).sum();
    assert!(received > 20 * run.end.ended && received < 500 * run.end.ended);
}

#[test]
fn a_constant_rate_sends_exactly_its_count_on_time() {
    let server = Server::http(|_, _| at_once(ok("")));
    let mut scenario = scenario(flow(rate(200.0, ms(2000))));
    scenario.run.threads = Some(2);
    let run = run(scenario, &server.url());
    assert_eq!(run.end.due, 400);
    assert_eq!(run.ended(Outcome::Ok), 400);
    assert_eq!(server.stats.requests(), 400);
    // Every second has exactly its arrivals, however late it was dispatched.
    let due: Vec<u64> = run
        .intervals
        .iter()
        .map(|i| i.second.steps.iter().map(|s| s.due).sum())
        .collect();
    assert_eq!(due[..2], [200, 200]);
    assert!(run.end.ended_us - run.end.started_us >= 2_000_000);
}

#[test]
fn poisson_arrivals_are_repeated_by_their_seed() {
    let server = Server::http(|_, _| at_once(ok("")));
    let due = || {
        let mut flow = flow(rate(300.0, ms(1000)));
        if let Load::Open(open) = &mut flow.load {
            open.process = Process::Poisson;
        }
        run(scenario(flow), &server.url()).end.due
    };
    let first = due();
    // Six standard deviations.
    assert!((200..400).contains(&first), "{first}");
    assert_eq!(first, due());
}

#[test]
fn a_stall_shows_in_the_percentiles_as_arithmetic_says() {
    // Stalls 400 ms in every 2 s: a fifth of the arrivals wait, evenly from 0 to 400 ms.
    let begin = Instant::now();
    let server = Server::http(move |_, _| {
        let phase = begin.elapsed().as_millis() as u64 % 2000;
        let wait = if (1000..1400).contains(&phase) {
            1400 - phase
        } else {
            0
        };
        Box::pin(async move {
            tokio::time::sleep(ms(wait)).await;
            ok("")
        })
    });
    let run = run(scenario(flow(rate(200.0, ms(6000)))), &server.url());
    assert_eq!(run.ended(Outcome::Ok), 1200);
    let response = run.response();
    for (quantile, expected) in [(0.95, 300.0), (0.99, 380.0)] {
        let measured = response.value_at_quantile(quantile) as f64 / 1000.0;
        // A client that waits for its answers would tell next to nothing of the stalls. A busy machine makes answers later
        // and none sooner; how exact the figures are on a quiet one is measured by the benchmarks.
        let error = measured / expected - 1.0;
        assert!(
            (-0.05..0.25).contains(&error),
            "p{}: {measured} ms, expected {expected} ms",
            quantile * 100.0
        );
    }
}

#[test]
fn visitors_of_a_stall_leave_again_with_their_connections() {
    let open = Arc::new(AtomicU64::new(0));
    let most = Arc::new(AtomicU64::new(0));
    let (now, highest) = (open.clone(), most.clone());
    let begun = Instant::now();
    let server = Server::raw(move |mut stream, _, stats| {
        let (open, most) = (now.clone(), highest.clone());
        async move {
            most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            while read_head(&mut stream).await.is_some() {
                stats.requests.fetch_add(1, Ordering::SeqCst);
                // For the first two seconds nothing is answered.
                let left = ms(2_000).saturating_sub(begun.elapsed());
                tokio::time::sleep(left).await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                if stream.write_all(answer).await.is_err() {
                    break;
                }
            }
            open.fetch_sub(1, Ordering::SeqCst);
        }
    });
    // What was needed is known for 10 s, and at most for 20 s.
    let late = std::thread::spawn(move || {
        std::thread::sleep(ms(25_000));
        open.load(Ordering::SeqCst)
    });
    let run = run(scenario(flow(rate(100.0, ms(26_000)))), &server.url());
    let most = most.load(Ordering::SeqCst);
    assert!(most >= 150, "{most}");
    assert_eq!(run.ended(Outcome::Ok), 2_600);
    let opened = server.stats.connections();
    assert!(opened < most + 20, "{opened} opened, {most} at a time");
    let late = late.join().unwrap();
    // Ten for each request that is under way on a busy machine, and at least fifty.
    assert!(late < most * 3 / 4, "{late} after the stall, {most} in it");
}

#[test]
fn waiting_for_a_connection_is_in_the_response_time_and_not_in_the_service_time() {
    let server = Server::http(|_, _| {
        Box::pin(async {
            tokio::time::sleep(ms(100)).await;
            ok("")
        })
    });
    // 20 arrivals within 0.2 s share one connection that serves ten a second: the last waits 1.8 s.
    let mut flow = flow(rate(100.0, ms(200)));
    flow.connections.mode = ConnectionMode::Pooled(1);
    let run = run(scenario(flow), &server.url());
    assert_eq!(run.ended(Outcome::Ok), 20);
    assert_eq!(server.stats.connections(), 1);
    let (response, service) = (run.response(), run.service());
    assert!(response.max() > 1_750_000, "{}", response.max());
    assert!(
        service.value_at_quantile(0.5) < 150_000,
        "{}",
        service.value_at_quantile(0.5)
    );
}

#[test]
fn who_waits_for_a_connection_is_served_in_turn_with_the_data_of_its_arrival() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let rows: String = (0..70).map(|i| format!("{i}\n")).collect();
    std::fs::write(file.path(), format!("id\n{rows}")).unwrap();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = asked.clone();
    let server = Server::http(move |request, _| {
        seen.lock().unwrap().push(request.uri().path().to_string());
        Box::pin(async {
            tokio::time::sleep(ms(20)).await;
            ok("")
        })
    });
    // A hundred would come within 0.2 s, for whom two connections need a second; there are data for seventy.
    let mut flow = flow(rate(500.0, ms(200)));
    flow.connections.mode = ConnectionMode::Pooled(2);
    flow.data = vec![Feeder {
        name: "row".into(),
        file: file.path().to_path_buf(),
        format: FeederFormat::Csv,
        order: FeederOrder::Once,
    }];
    flow.journey = journey([get("/{{ row.id }}")]);
    let run = run(scenario(flow), &server.url());
    assert_eq!(run.outcomes(), [(Outcome::Ok, 70)].into());
    assert_eq!(server.stats.connections(), 2);
    let asked = asked.lock().unwrap();
    for (turn, path) in asked.iter().enumerate() {
        let row: usize = path[1..].parse().unwrap();
        // The two that are under way at a time may overtake each other.
        assert!(row.abs_diff(turn) <= 1, "{asked:?}");
    }
}

#[test]
fn who_still_waits_at_the_end_is_unfinished_and_who_finds_the_line_full_is_dropped() {
    let server = Server::http(|_, _| Box::pin(std::future::pending()));
    let mut flow = flow(rate(50.0, ms(1000)));
    flow.connections.mode = ConnectionMode::Pooled(2);
    if let Load::Open(open) = &mut flow.load {
        open.max_in_flight = 12;
    }
    let mut scenario = scenario(flow);
    scenario.run.graceful_stop = Some(ms(100));
    let run = run(scenario, &server.url());
    assert_eq!(
        (run.end.due, run.end.dropped, run.ended(Outcome::Unfinished)),
        (50, 38, 12)
    );
    assert_eq!(server.stats.requests(), 2);
    // The first of them came at once, the last some 220 ms later.
    let waited = run.response();
    assert!(waited.min() >= 800_000, "{}", waited.min());
    assert!(waited.max() >= 1_050_000, "{}", waited.max());
}

#[test]
fn arrivals_beyond_the_limit_are_dropped_and_counted() {
    let server = Server::http(|_, _| Box::pin(std::future::pending()));
    let mut flow = flow(rate(50.0, ms(1000)));
    flow.timeout = ms(3000);
    if let Load::Open(open) = &mut flow.load {
        open.max_in_flight = 3;
    }
    let mut scenario = scenario(flow);
    scenario.run.threads = Some(2);
    scenario.run.graceful_stop = Some(ms(100));
    let run = run(scenario, &server.url());
    assert_eq!(
        (run.end.due, run.end.dropped, run.ended(Outcome::Unfinished)),
        (50, 47, 3)
    );
    assert_eq!(server.stats.requests(), 3);
    assert_eq!(run.notes.len(), 1, "{:?}", run.notes);
}

#[test]
fn a_rate_beyond_what_can_be_dispatched_holds_up_nothing_that_has_begun() {
    let server = Server::http(|_, _| at_once(ok("")));
    let load = rate(5_000_000.0, ms(2000));
    let run = run(
        scenario(flow_on(TransportChoice::Lean, load)),
        &server.url(),
    );
    assert_eq!(run.end.due, 10_000_000);
    let ended = |i: &squall::record::Interval| i.second.steps[0].ended.values().sum::<u64>();
    assert!(ended(&run.intervals[0]) > 0, "{:?}", run.outcomes());
}

#[test]
fn users_think_between_requests() {
    let server = Server::http(|_, _| at_once(ok("")));
    for think in [
        Think::Fixed(ms(50)),
        Think::Uniform(ms(40), ms(60)),
        Think::Exponential(ms(50)),
    ] {
        let run = run(scenario(flow(users(10, ms(1500), think))), &server.url());
        // 10 users, a request each 50 ms and a little: 300 at most on average.
        assert!(
            (180..360).contains(&run.end.ended),
            "{think:?}: {}",
            run.end.ended
        );
        // Think time is in no latency.
        assert!(run.response().value_at_quantile(0.5) < 30_000);
    }
}

#[test]
fn users_come_and_go_with_the_stages() {
    let server = Server::http(|_, _| at_once(ok("")));
    let stage = |users, ramp, hold| UserStage {
        users,
        ramp: ms(ramp),
        hold: ms(hold),
    };
    let stages = vec![stage(4, 0, 1500), stage(1, 0, 2000), stage(0, 0, 600)];
    let load = Load::Closed(ClosedLoad {
        stages,
        think: Think::Fixed(ms(20)),
    });
    let run = run(scenario(flow(load)), &server.url());
    let users: Vec<u64> = run
        .intervals
        .iter()
        .map(|i| i.second.generator.users)
        .collect();
    assert_eq!(users[..4], [4, 1, 1, 0], "{users:?}");
    assert!(run.end.ended_us - run.end.started_us >= 4_100_000);
}

#[test]
fn silent_seconds_are_recorded_too() {
    let server = Server::http(|_, _| at_once(ok("")));
    let mut flow = flow(rate(10.0, ms(500)));
    flow.start = ms(2100);
    let run = run(scenario(flow), &server.url());
    let due: Vec<u64> = run
        .intervals
        .iter()
        .map(|i| i.second.steps.iter().map(|s| s.due).sum())
        .collect();
    assert_eq!(due, [0, 0, 5]);
}

#[test]
fn a_graceful_stop_lets_requests_finish_and_starts_no_new_ones() {
    let begun = Arc::new(AtomicU64::new(0));
    let seen = begun.clone();
    let server = Server::http(move |_, _| {
        seen.fetch_add(1, Ordering::SeqCst);
        Box::pin(async {
            tokio::time::sleep(ms(300)).await;
            ok("")
        })
    });
    let begin = Instant::now();
    let run = run_with(
        scenario(flow(rate(100.0, Duration::from_secs(60)))),
        &server.url(),
        |engine| {
            while begun.load(Ordering::SeqCst) < 20 {
                std::thread::sleep(ms(5));
            }
            engine.stop();
            engine.stop();
        },
    );
    assert!(begin.elapsed() < Duration::from_secs(20));
    assert!(run.end.ended >= 20 && run.end.ended < 2000);
    assert_eq!(run.ended(Outcome::Ok), run.end.ended);
    assert_eq!(server.stats.requests(), run.end.ended);
}

#[test]
fn what_does_not_finish_in_time_ends_as_unfinished_with_the_time_it_waited() {
    let server = Server::http(|_, _| Box::pin(std::future::pending()));
    let mut scenario = scenario(flow(users(5, ms(400), Think::None)));
    scenario.run.graceful_stop = Some(ms(200));
    let stopped = run(scenario.clone(), &server.url());
    assert_eq!(stopped.outcomes(), [(Outcome::Unfinished, 5)].into());
    assert_eq!(stopped.end.unfinished, 5);
    let waited = stopped.response().min();
    assert!((590_000..2_000_000).contains(&waited), "{waited}");
    assert_eq!(stopped.samples.len(), 1);

    scenario.run.graceful_stop = Some(Duration::from_secs(600));
    let requests = server.stats.requests();
    let begin = Instant::now();
    let at_once = run_with(scenario, &server.url(), |engine| {
        while server.stats.requests() < requests + 5 {
            std::thread::sleep(ms(5));
        }
        engine.stop_now();
    });
    assert_eq!(at_once.end.unfinished, 5);
    assert!(begin.elapsed() < Duration::from_secs(30));
}

#[test]
fn several_flows_and_steps_are_told_apart() {
    let server = Server::http(|_, _| at_once(ok("")));
    let mut first = flow(rate(40.0, ms(500)));
    first.journey = journey([get("/a"), get("/b")]);
    let mut second = flow(rate(20.0, ms(500)));
    second.name = "other".into();
    second.journey = journey([get("/c")]);
    let mut scenario = scenario(first);
    scenario.traffic.push(second);
    scenario.run.threads = Some(2);
    let run = run(scenario, &server.url());
    assert_eq!(run.step_ended("GET /a", Outcome::Ok), 20);
    // The last journey may have had no time for its second step.
    assert!((19..=20).contains(&run.step_ended("GET /b", Outcome::Ok)));
    assert_eq!(run.step_ended("GET /c", Outcome::Ok), 10);
}

#[test]
fn stopping_at_once_under_load_loses_no_count() {
    let server = Server::http(|_, _| at_once(ok("")));
    for _ in 0..5 {
        let mut scenario = scenario(flow(rate(3000.0, Duration::from_secs(60))));
        scenario.run.threads = Some(2);
        let requests = server.stats.requests();
        let run = run_with(scenario, &server.url(), |engine| {
            while server.stats.requests() < requests + 200 {
                std::thread::sleep(ms(1));
            }
            engine.stop_now();
        });
        // Whatever was under way is unfinished; the harness checks that all that was due is accounted for.
        assert_eq!(
            run.ended(Outcome::Ok) + run.end.unfinished,
            run.end.ended,
            "{:?}",
            run.outcomes()
        );
    }
}

#[test]
fn the_end_can_be_waited_for_again_after_giving_up() {
    let server = Server::http(|_, _| at_once(ok("")));
    let (job, _entries) = job(scenario(flow(rate(20.0, ms(300)))), &server.url());
    let mut engine = squall::traffic::start(squall::traffic::prepare(&job).unwrap());
    assert_eq!(
        engine.transports(),
        [("main".to_string(), super::TRANSPORT)]
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        assert!(
            tokio::time::timeout(ms(10), engine.finished())
                .await
                .is_err()
        );
        assert_eq!(engine.finished().await.unwrap().ended, 6);
        assert!(engine.finished().await.is_err());
    });
}
