//! Measurements that only mean something in a release build on a quiet machine:
//! `cargo test --release --test traffic -- --ignored --nocapture --test-threads 1`.

use squall::record::Outcome;
use squall::scenario::*;

use super::flow;
use crate::harness::*;
use crate::server::*;

fn server() -> Server {
    Server::scripted(|_, _| {
        let head = "HTTP/1.1 200 OK\r\nx-squall-instance: one\r\ncontent-length: 5\r\n\r\n";
        Some(format!("{head}hello"))
    })
}

fn show(name: &str, run: &Run) {
    let seconds = (run.end.ended_us - run.end.started_us) as f64 / 1e6;
    let generators = || run.intervals.iter().map(|i| &i.second.generator);
    let worst =
        |f: fn(&squall::record::GeneratorSecond) -> u64| generators().map(f).max().unwrap_or(0);
    let cpu: u64 = generators().flat_map(|g| &g.cpu_millicores).sum();
    println!(
        "{name}: {:.0}/s, {:.1} us of CPU each; response p50 {} p99 {} us; lag p50 {} p99 {} max {} us, late {}",
        run.end.ended as f64 / seconds,
        cpu as f64 * 1000.0 / run.end.ended as f64,
        run.response().value_at_quantile(0.5),
        run.response().value_at_quantile(0.99),
        worst(|g| g.lag_p50_us),
        worst(|g| g.lag_p99_us),
        worst(|g| g.lag_max_us),
        generators().map(|g| g.late).sum::<u64>(),
    );
}

#[test]
#[ignore = "a measurement"]
fn throughput_of_50_users() {
    let server = server();
    let run = run(
        scenario(flow(users(50, ms(5000), Think::None))),
        &server.url(),
    );
    show("50 users", &run);
    assert_eq!(run.ended(Outcome::Ok), server.stats.requests());
}

#[test]
#[ignore = "a measurement"]
fn lag_at_a_steady_rate() {
    for process in [Process::Constant, Process::Poisson] {
        for per_second in [100.0, 1000.0, 5000.0, 20_000.0] {
            let server = server();
            let mut flow = flow(rate(per_second, ms(5000)));
            if let Load::Open(open) = &mut flow.load {
                open.process = process;
            }
            let run = run(scenario(flow), &server.url());
            show(&format!("{per_second}/s {process:?}"), &run);
            assert_eq!(run.ended(Outcome::Ok), server.stats.requests());
        }
    }
}
