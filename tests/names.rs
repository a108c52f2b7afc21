//! A target whose name has several addresses, as that of a service with several front ends has.

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use common::Bench;

/// Answers each request, and says from which address.
fn serve(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let name = stream.local_addr().unwrap().ip();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nx-squall-instance: {name}\r\ncontent-length: 0\r\n\r\n"
                );
                let mut request = [0; 4096];
                while stream.read(&mut request).is_ok_and(|n| n > 0) {
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

#[test]
fn connections_spread_over_the_addresses_of_a_name() {
    let addresses = ["127.0.0.2", "127.0.0.3", "127.0.0.4"];
    let first = TcpListener::bind((addresses[0], 0)).unwrap();
    let port = first.local_addr().unwrap().port();
    let more = addresses[1..]
        .iter()
        .map(|ip| TcpListener::bind((*ip, port)).unwrap());
    let all: Vec<_> = std::iter::once(first).chain(more).collect();
    all.into_iter().for_each(serve);
    for transport in ["lean", "reqwest"] {
        let bench = Bench::new(&format!(
            "squall: 1
name: names
target: {{ url: 'http://many.squall-test:{port}' }}
traffic:
  browse:
    arrivals: {{ rate: 100/s, hold: 3s }}
    connections: per-request
    transport: {transport}
    journey: [ {{ get: / }} ]
run: {{ threads: 1 }}
expect: [ 'errors < 1%' ]
"
        ));
        let hosts: String = addresses
            .iter()
            .map(|ip| format!("{ip} many.squall-test\n"))
            .collect();
        std::fs::write(bench.path("hosts"), hosts).unwrap();
        // Names are this process's own affair only in a mount namespace of its own.
        let inside =
            "mount --bind hosts /etc/hosts && exec \"$0\" run scenario.yaml --out out --quiet";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", inside, common::SQUALL]);
        let run = command.current_dir(bench.dir.path()).output();
        let Some(run) = run.ok().filter(|_| bench.path("out/record.jsonl").exists()) else {
            skip!("a name of one's own takes a mount namespace, which takes root");
        };
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(matches!(run.status.code(), Some(0 | 3)), "{said}");
        let mut answered = std::collections::BTreeMap::<String, u64>::new();
        for event in common::events(&bench.path("out")) {
            for step in event["steps"].as_array().into_iter().flatten() {
                for (name, instance) in step["instances"].as_object().into_iter().flatten() {
                    *answered.entry(name.clone()).or_default() +=
                        instance["answered"].as_u64().unwrap();
                }
            }
        }
        let even = addresses.map(|ip| (ip.to_string(), 100));
        assert_eq!(answered, even.into(), "{transport}");
    }
}
