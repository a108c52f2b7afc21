//! A service that somebody else runs: it can be loaded and measured, not started, broken or watched.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;
use tokio::net::{TcpStream, lookup_host};

use super::{Change, Endpoint, Instance, Platform, PlatformError, Undo};
use crate::record::{Level, Sink};
use crate::scenario::UrlTarget;

/// How long the target may take to accept a connection before the run.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running service behind a URL.
#[derive(Debug)]
pub struct UrlPlatform {
    target: UrlTarget,
    sink: Sink,
}

impl UrlPlatform {
    /// A platform for the service at the target's URL.
    pub fn new(target: UrlTarget, sink: Sink) -> Self {
        Self { target, sink }
    }

    /// The URL with its host and port.
    fn parts(&self) -> Result<(Url, String, u16), PlatformError> {
        let text = &self.target.url;
        let wrong = |why: &str| {
            let text = format!(
                "the target's url `{text}` {why}: expected such as https://shop.example.com/api"
            );
            PlatformError::Unsupported(text)
        };
        let url = Url::parse(text).map_err(|e| wrong(&format!("is not a URL ({e})")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("does not begin with http:// or https://"));
        }
        let host = url.host_str().ok_or_else(|| wrong("has no host"))?;
        // An IPv6 address stands in brackets in a URL and nowhere else.
        let host = host.trim_matches(['[', ']']).to_string();
        let port = url
            .port_or_known_default()
            .ok_or_else(|| wrong("has no port"))?;
        Ok((url, host, port))
    }

    fn base_url(&self) -> String {
        self.target.url.trim_end_matches('/').to_string()
    }

    fn not_ours(&self, what: &str) -> PlatformError {
        PlatformError::Unsupported(format!(
            "squall does not run this service ({}), so it cannot {what}; faults need a `local:` target",
            self.base_url()
        ))
    }
}

#[async_trait]
impl Platform for UrlPlatform {
    fn plan(&self) -> Result<Vec<String>, PlatformError> {
        let (_, host, port) = self.parts()?;
        Ok(vec![
            format!(
                "Send traffic to {}, which runs already (host {host}, port {port}).",
                self.base_url()
            ),
            "Start and stop nothing there; instances cannot be seen or broken.".into(),
        ])
    }

    async fn start(&self) -> Result<Endpoint, PlatformError> {
        let (_, host, port) = self.parts()?;
        let unreachable = |text: String| Err(PlatformError::Unreachable(text));
        let addresses: Vec<_> = match lookup_host((host.as_str(), port)).await {
            Ok(addresses) => addresses.collect(),
            Err(e) => {
                return unreachable(format!(
                    "the host name `{host}` of the target does not resolve ({e}); check its spelling and this \
                     machine's DNS"
                ));
            }
        };
        let mut failures = Vec::new();
        for address in &addresses {
            match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
                Ok(Ok(_)) => {
                    let text = "the target runs elsewhere: its instances are known only by what responses say";
                    self.sink.note(Level::Info, text);
                    return Ok(Endpoint {
                        base_url: self.base_url(),
                        describe: format!("{host} (not run by squall)"),
                        routes: None,
                    });
                }
                Ok(Err(e)) => failures.push(format!("{address}: {e}")),
                Err(_) => failures.push(format!(
                    "{address}: no answer within {} s",
                    PATIENCE.as_secs()
                )),
            }
        }
        unreachable(format!(
            "the target {} does not accept connections ({}); start it, or check host, port and firewall",
            self.base_url(),
            failures.join("; ")
        ))
    }

    fn instances(&self) -> Vec<Instance> {
        Vec::new()
    }

    fn undo_of(&self, change: &Change) -> Result<Option<Undo>, PlatformError> {
        Err(self.not_ours(&format!("make the fault `{}`", change.kind.name())))
    }

    async fn apply(&self, change: &Change) -> Result<(), PlatformError> {
        Err(self.not_ours(&format!("make the fault `{}`", change.kind.name())))
    }

    async fn undo(&self, _: &Undo) -> Result<(), PlatformError> {
        Err(self.not_ours("have broken anything there"))
    }

    async fn stop(&self) -> Result<(), PlatformError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Clock;
    use crate::scenario::FaultKind;

    fn platform(url: &str) -> UrlPlatform {
        let (sink, _) = Sink::new(Clock::start());
        let url = url.to_string();
        let common = Default::default();
        UrlPlatform::new(UrlTarget { url, common }, sink)
    }

    #[tokio::test]
    async fn a_service_that_listens_is_reached_and_keeps_its_path() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/api/", listener.local_addr().unwrap());
        let endpoint = platform(&url).start().await.unwrap();
        assert_eq!(endpoint.base_url, url.trim_end_matches('/'));
    }

    #[tokio::test]
    async fn a_target_that_refuses_or_does_not_resolve_is_unreachable_and_says_so() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        for (url, part) in [
            (format!("http://{address}"), "does not accept connections"),
            ("http://no-such-host.invalid".into(), "does not resolve"),
        ] {
            match platform(&url).start().await {
                Err(PlatformError::Unreachable(text)) => assert!(text.contains(part), "{text}"),
                other => panic!("{url}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn faults_and_wrong_urls_are_unsupported() {
        let ours = platform("http://127.0.0.1:1");
        let change = Change {
            kind: FaultKind::Kill,
            instance: "x".into(),
        };
        let error = ours.undo_of(&change).unwrap_err().to_string();
        assert!(error.contains("does not run this service"), "{error}");
        assert!(matches!(
            ours.apply(&change).await,
            Err(PlatformError::Unsupported(_))
        ));
        for url in ["ftp://x", "shop:8080/x", "nonsense"] {
            assert!(
                matches!(platform(url).plan(), Err(PlatformError::Unsupported(_))),
                "{url}"
            );
        }
    }
}
