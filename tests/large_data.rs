//! Data that is larger than the memory a run may take: rows are read as they are used.

mod common;

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Bench, peak_memory};

const ROWS: u64 = 400_000;
const MIB: u64 = 1 << 20;
/// Of the file; no part of it is a hole.
const FILE_MIB: u64 = 384;
/// The most that a run may take, with the program itself.
const MEMORY_MIB: u64 = 96;

/// A CSV file whose rows all differ.
fn write_csv(path: &Path) {
    let mut file = BufWriter::with_capacity(1 << 20, std::fs::File::create(path).unwrap());
    writeln!(file, "id,text,padding").unwrap();
    let padding = "0123456789abcdef".repeat(62);
    for row in 0..ROWS {
        writeln!(file, "{row},t{},{padding}", row * 7).unwrap();
    }
    file.flush().unwrap();
    let size = std::fs::metadata(path).unwrap().len();
    assert!(size > FILE_MIB * MIB, "{} MiB", size / MIB);
}

/// A server that keeps the path of every request, on threads of their own.
fn server() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let paths: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = paths.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, seen) = (stream.unwrap(), seen.clone());
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while let Some(Ok(line)) = lines.next() {
                    if let Some(rest) = line.strip_prefix("GET ") {
                        let path = rest.split(' ').next().unwrap();
                        seen.lock().unwrap().push(path.to_string());
                    }
                    if line.is_empty()
                        && stream
                            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                            .is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    (address, paths)
}

#[test]
fn a_file_larger_than_memory_feeds_a_run() {
    let (address, paths) = server();
    let bench = Bench::new(&format!(
        "squall: 1
name: large data
seed: 3
target: {{ url: \"http://{address}\" }}
run: {{ threads: 1 }}
traffic:
  in-order:
    users: {{ count: 2, hold: 3s, think: 10ms }}
    data: {{ rows: {{ csv: large.csv }} }}
    journey:
      - get: /o/{{{{ rows.id }}}}/{{{{ rows.text }}}}
  shuffled:
    users: {{ count: 2, hold: 3s, think: 10ms }}
    data: {{ rows: {{ csv: large.csv, order: shuffled }} }}
    journey:
      - get: /s/{{{{ rows.id }}}}/{{{{ rows.text }}}}
"
    ));
    write_csv(&bench.path("large.csv"));
    let child = bench.spawn();
    let pid = child.id();
    let watch = std::thread::spawn(move || {
        let mut most = 0;
        while let Some(now) = peak_memory(pid) {
            most = now.max(most);
            std::thread::sleep(Duration::from_millis(50));
        }
        most
    });
    let run = bench.wait(child);
    let most = watch.join().unwrap() / 1024;
    run.expect_completed();

    // Whole rows, in the file's order in one flow, from all over the file in the other.
    let paths = paths.lock().unwrap();
    let rows = |flow: &str| -> Vec<u64> {
        let of_flow = paths.iter().filter_map(|path| path.strip_prefix(flow));
        of_flow
            .map(|path| {
                let (id, text) = path.split_once('/').unwrap();
                let id: u64 = id.parse().unwrap();
                assert_eq!(text, format!("t{}", id * 7));
                id
            })
            .collect()
    };
    let (mut in_order, shuffled) = (rows("/o/"), rows("/s/"));
    // Two users: the server may see neighbours the other way round.
    in_order.sort_unstable();
    assert!(
        in_order.len() > 20 && shuffled.len() > 20,
        "{}, {}",
        in_order.len(),
        shuffled.len()
    );
    assert_eq!(in_order, (0..in_order.len() as u64).collect::<Vec<_>>());
    assert!(shuffled.iter().any(|row| *row > ROWS * 3 / 4));
    assert!(shuffled.iter().any(|row| *row < ROWS / 4));

    println!("{FILE_MIB} MiB of data: {most} MiB of memory at most");
    assert!(most > 0 && most < MEMORY_MIB, "{most} MiB");
}
