//! What is done to packets in a pod's network namespace: they are lost by a rule, or late by a relay.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

/// The network namespace of the pod with this address, by the process that holds it.
pub(super) fn network_of(ip: &str) -> Option<PathBuf> {
    let own = format!(" {ip}/");
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    // As the testbed's image of it says.
    let pauses = processes.filter(|e| {
        let line = std::fs::read_to_string(e.path().join("cmdline")).unwrap_or_default();
        line.ends_with("sleep\x002147483647\0")
    });
    pauses.map(|e| e.path().join("ns/net")).find(|net| {
        let shown = Command::new("nsenter")
            .arg(format!("--net={}", net.display()))
            .args(["ip", "-4", "-o", "address"])
            .output();
        shown.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains(&own))
    })
}

pub(super) fn iptables(net: &Path, verb: &str, rule: &[&str]) -> Result<(), String> {
    let out = Command::new("nsenter")
        .arg(format!("--net={}", net.display()))
        .args(["iptables", "-w", verb])
        .args(rule)
        .output()
        .map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    out.status.success().then_some(()).ok_or(said)
}

/// A relay in a network namespace that holds back what goes out; the answer is its port.
pub(super) fn relay(net: &Path, to: u16, delay: Arc<AtomicU64>, over: Arc<AtomicBool>) -> u16 {
    let net = std::fs::File::open(net).expect("the pod's network");
    let (tell, port) = mpsc::channel();
    std::thread::spawn(move || {
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&net), kind)
            .expect("entering it");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))
                .await
                .expect("a port");
            tell.send(listener.local_addr().unwrap().port()).unwrap();
            while !over.load(Ordering::Relaxed) {
                let accepted = tokio::time::timeout(Duration::from_millis(200), listener.accept());
                let Ok(Ok((client, _))) = accepted.await else {
                    continue;
                };
                let delay = delay.clone();
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await else {
                        return;
                    };
                    let ((from, out), (back, into)) = (client.into_split(), server.into_split());
                    tokio::join!(late(from, into, Arc::default()), late(back, out, delay));
                });
            }
        });
    });
    port.recv().expect("the relay's port")
}

async fn late(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Arc<AtomicU64>) {
    let (send, mut due) = tokio::sync::mpsc::unbounded_channel();
    let read = async move {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(n @ 1..) = from.read(&mut buffer).await {
            let at = Instant::now() + Duration::from_micros(delay.load(Ordering::Relaxed));
            let _ = send.send((at, buffer[..n].to_vec()));
        }
    };
    let write = async move {
        while let Some((at, bytes)) = due.recv().await {
            sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}
