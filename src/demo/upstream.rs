//! The services behind a front: what it does not answer itself it asks of another shop.

use std::time::Duration;

use anyhow::{Context, ensure};
use http::{Method, StatusCode};

use super::shop::{JSON, Reply, error};

/// A service behind the front that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Who answers for the catalog and the cart.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    catalog: Option<Upstream>,
    cart: Option<Upstream>,
}

/// Another shop.
#[derive(Debug)]
pub(super) struct Upstream {
    name: &'static str,
    base: String,
    client: reqwest::Client,
}

impl Upstreams {
    pub fn new(catalog: Option<&str>, cart: Option<&str>) -> anyhow::Result<Self> {
        let upstream = |name, base: Option<&str>| base.map(|b| Upstream::new(name, b)).transpose();
        Ok(Self {
            catalog: upstream("catalog", catalog)?,
            cart: upstream("cart", cart)?,
        })
    }

    /// Who answers for this path, if not this shop itself.
    pub fn of(&self, path: &str) -> Option<&Upstream> {
        if path == "/products" || path.starts_with("/products/") {
            self.catalog.as_ref()
        } else if path == "/cart" {
            self.cart.as_ref()
        } else {
            None
        }
    }
}

impl Upstream {
    fn new(name: &'static str, base: &str) -> anyhow::Result<Self> {
        ensure!(
            base.starts_with("http://"),
            "--{name}-url is `{base}`, expected http://HOST[:PORT]"
        );
        // The client wants a TLS provider, though it speaks clear text only; fails where one is set already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .no_proxy()
            // It speaks clear text only; looking for the system's certificates fails where there are none.
            .tls_certs_only([])
            .build()
            .with_context(|| format!("cannot make a client for {base}"))?;
        let base = base.trim_end_matches('/').to_string();
        Ok(Self { name, base, client })
    }

    /// Asks it, and answers what it answered; 502 where it did not.
    pub async fn forward(&self, method: &Method, path: &str, query: &str, body: &[u8]) -> Reply {
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("{}{path}{mark}{query}", self.base);
        let mut request = self.client.request(method.clone(), url);
        if !body.is_empty() {
            request = request.body(body.to_vec());
        }
        let answer = async {
            let response = request.send().await?;
            Ok::<_, reqwest::Error>((response.status(), response.bytes().await?))
        };
        match answer.await {
            Ok((status, body)) => Reply {
                status,
                body,
                application: true,
                content_type: JSON,
            },
            Err(e) => error(StatusCode::BAD_GATEWAY, &format!("{}: {e}", self.name)),
        }
    }
}
