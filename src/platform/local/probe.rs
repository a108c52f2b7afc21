//! Readiness probes: one GET or one connection, and what a row of them means.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::insecure::AnyCertificate;
use crate::scenario::Probe;

/// Whether an instance is ready, given its probes so far.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    ready: bool,
    streak: u32,
}

impl Readiness {
    /// Takes a probe's result in; `Some` if it changes the readiness.
    pub fn observe(&mut self, probe: &Probe, passed: bool) -> Option<bool> {
        if passed == self.ready {
            self.streak = 0;
            return None;
        }
        self.streak += 1;
        let needed = if passed {
            probe.successes
        } else {
            probe.failures
        };
        if self.streak < needed {
            return None;
        }
        self.ready = passed;
        self.streak = 0;
        Some(passed)
    }
}

/// Probes one kind of target.
#[derive(Clone)]
pub(super) struct Prober {
    probe: Probe,
    tls: Option<TlsConnector>,
}

impl Prober {
    /// For instances that speak `scheme`.
    pub fn new(probe: Probe, scheme: &str) -> Self {
        let tls = (scheme == "https").then(|| {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = rustls::ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                // The ring provider has cipher suites of both versions.
                .expect("ring supports the default protocol versions")
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
                .with_no_client_auth();
            TlsConnector::from(Arc::new(config))
        });
        Self { probe, tls }
    }

    /// How it probes.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Probes once; the error says in words what came instead of readiness.
    pub async fn check(&self, address: SocketAddr) -> Result<(), String> {
        match tokio::time::timeout(self.probe.timeout, self.attempt(address)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {}", seconds(self.probe.timeout))),
        }
    }

    async fn attempt(&self, address: SocketAddr) -> Result<(), String> {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|e| format!("cannot connect to {address}: {e}"))?;
        let Some(path) = &self.probe.http else {
            return Ok(());
        };
        let status = match &self.tls {
            None => get(stream, path, address).await,
            Some(tls) => {
                let stream = tls.connect(ServerName::IpAddress(address.ip().into()), stream);
                let stream = stream
                    .await
                    .map_err(|e| format!("TLS with {address}: {e}"))?;
                get(stream, path, address).await
            }
        };
        match status {
            Ok(200..=399) => Ok(()),
            Ok(status) => Err(format!("GET {path} answered {status}, expected 200 to 399")),
            Err(e) => Err(format!("GET {path}: {e}")),
        }
    }
}

fn seconds(duration: Duration) -> String {
    crate::scenario::units::format_duration(duration)
}

/// The status of a GET. The body does not matter.
async fn get(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
    address: SocketAddr,
) -> io::Result<u16> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nuser-agent: squall-probe\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut head = Vec::new();
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::Error::other("closed without an answer"));
        }
        if let Some(status) = status_of(&head)? {
            return Ok(status);
        }
        if head.len() > 64 << 10 {
            return Err(io::Error::other("more than 64 KiB of headers"));
        }
    }
}

/// The status, once the whole head is there.
fn status_of(head: &[u8]) -> io::Result<Option<u16>> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(head) {
        Ok(httparse::Status::Complete(_)) => Ok(response.code),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(e) => Err(io::Error::other(format!("not HTTP: {e}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_changes_only_after_enough_probes_in_a_row() {
        let probe = Probe {
            failures: 3,
            successes: 2,
            ..Probe::default()
        };
        let mut readiness = Readiness::default();
        let mut see = |passed| readiness.observe(&probe, passed);
        assert_eq!(see(false), None);
        assert_eq!(see(true), None);
        assert_eq!(see(false), None);
        assert_eq!(see(true), None);
        assert_eq!(see(true), Some(true));
        assert_eq!([see(false), see(false), see(true)], [None; 3]);
        assert_eq!([see(false), see(false)], [None; 2]);
        assert_eq!(see(false), Some(false));
    }

    #[test]
    fn a_status_is_read_only_from_a_whole_head() {
        let head = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(status_of(head).unwrap(), Some(503));
        assert_eq!(status_of(&head[..30]).unwrap(), None);
        assert!(status_of(b"SSH-2.0-OpenSSH\r\n").is_err());
    }
}
