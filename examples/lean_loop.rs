//! The lean client in the barest closed loop that still records what a run records: the bound that the traffic
//! engine is measured against.
//!
//! `lean_loop PORT [CONNECTIONS] [SECONDS]`

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use squall::traffic::lean::{ConnectTimings, Connector, Options};

struct Recorder {
    response: Histogram<u64>,
    service: Histogram<u64>,
    first_byte: Histogram<u64>,
    ok: u64,
    failed: u64,
    received: u64,
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let port: u16 = args.next().context("PORT")?.parse()?;
    let connections: usize = args.next().map_or(Ok(50), |n| n.parse())?;
    let seconds: u64 = args.next().map_or(Ok(5), |n| n.parse())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(event_interval())
        .build()?;
    let local = tokio::task::LocalSet::new();
    let new = || Histogram::new_with_bounds(1, 3_600_000_000, 3);
    let recorder = Rc::new(RefCell::new(Recorder {
        response: new()?,
        service: new()?,
        first_byte: new()?,
        ok: 0,
        failed: 0,
        received: 0,
    }));
    let started = Instant::now();
    let end = started + Duration::from_secs(seconds);
    for _ in 0..connections {
        local.spawn_local(user(port, end, recorder.clone()));
    }
    runtime.block_on(local);
    let elapsed = started.elapsed();
    let r = recorder.borrow();
    let rate = r.ok as f64 / elapsed.as_secs_f64();
    println!(
        "{rate:.0} requests/s, ok {}, failed {}, p50 {} us, p99 {} us",
        r.ok,
        r.failed,
        r.response.value_at_quantile(0.5),
        r.response.value_at_quantile(0.99)
    );
    Ok(())
}

fn event_interval() -> u32 {
    std::env::var("EVENT_INTERVAL")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(61)
}

async fn user(port: u16, end: Instant, recorder: Rc<RefCell<Recorder>>) {
    let connector = Connector {
        address: ([127, 0, 0, 1], port).into(),
        source: None,
        tls: None,
    };
    let options = Options::default();
    let request = format!("GET / HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nuser-agent: squall\r\n\r\n");
    let timeout = Duration::from_secs(10);
    while Instant::now() < end {
        let mut timings = ConnectTimings::default();
        let deadline = Instant::now() + timeout;
        let Ok(mut connection) = connector.open(deadline, &mut timings).await else {
            recorder.borrow_mut().failed += 1;
            continue;
        };
        let mut now = Instant::now();
        while connection.reusable() && now < end {
            let intended = now;
            connection
                .request_buffer()
                .extend_from_slice(request.as_bytes());
            let reply = connection.exchange(&options, now + timeout).await;
            let mut r = recorder.borrow_mut();
            let Ok(reply) = reply else {
                r.failed += 1;
                break;
            };
            now = reply.done_at;
            if reply.status() == 200 && reply.header("x-squall-instance") == Some(b"bench-1") {
                r.ok += 1;
            } else {
                r.failed += 1;
            }
            r.received += reply.received_bytes();
            let micros = |from: Instant, to: Instant| (to - from).as_micros() as u64;
            r.response
                .saturating_record(micros(intended, reply.done_at));
            r.service
                .saturating_record(micros(reply.sent_at, reply.done_at));
            r.first_byte
                .saturating_record(micros(reply.sent_at, reply.first_byte_at));
        }
    }
}
