//! The plainest way to see a latency: blocking connections in turn, one request at a time, on a schedule, with nothing of
//! squall in it. What squall says is compared with what this says over as many connections, since one that has rested
//! may cost client and server more than one that is in the processor's caches.
//!
//! `bench_probe PORT RATE SECONDS CONNECTIONS`

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut number =
        |name: &'static str| -> Result<u64> { Ok(args.next().context(name)?.parse()?) };
    let (port, rate, seconds) = (number("PORT")?, number("RATE")?, number("SECONDS")?);
    let connections = number("CONNECTIONS")?;
    ensure!(
        (1..=100_000).contains(&rate)
            && (1..=600).contains(&seconds)
            && (1..=1000).contains(&connections),
        "out of bounds"
    );
    let address = ("127.0.0.1", u16::try_from(port)?);
    let connect = |_| {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    let mut streams: Vec<_> = (0..connections).map(connect).collect::<Result<_>>()?;
    let count = streams.len();
    let request = format!("GET / HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n");
    let mut buffer = [0; 64 << 10];
    let mut times = Vec::new();
    let started = Instant::now();
    for i in 0..rate * seconds {
        let due = started + Duration::from_nanos(1_000_000_000 / rate) * u32::try_from(i)?;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let stream = &mut streams[usize::try_from(i)? % count];
        let sent = Instant::now();
        stream.write_all(request.as_bytes())?;
        let mut filled = 0;
        while !buffer[..filled].ends_with(b"x") {
            let n = stream.read(&mut buffer[filled..])?;
            ensure!(n > 0, "the server closed the connection");
            filled += n;
        }
        times.push(sent.elapsed());
    }
    times.sort();
    let at = |share: f64| times[(times.len() as f64 * share) as usize].as_nanos() as f64 / 1000.0;
    println!("p50 {:.1} us, p99 {:.1} us", at(0.5), at(0.99));
    Ok(())
}
