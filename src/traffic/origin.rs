//! The server that traffic goes to.

use super::TrafficError;
use crate::platform::Routes;

/// The server that a flow talks to.
#[derive(Debug, Clone)]
pub struct Origin {
    /// `http://host:port`, without a path.
    pub base: String,
    /// `host:port` as the `host` header says it.
    pub authority: String,
    /// Path that every request starts with, without a trailing slash.
    pub prefix: String,
    /// Whether it is TLS.
    pub tls: bool,
    /// Who gets each connection, where squall balances itself.
    pub routes: Option<Routes>,
}

impl Origin {
    /// Splits a base URL.
    pub fn parse(base_url: &str) -> Result<Self, TrafficError> {
        let bad = |problem: &str| {
            TrafficError::Scenario(format!("the target's address `{base_url}` {problem}"))
        };
        let uri: http::Uri = base_url
            .parse()
            .map_err(|e| bad(&format!("is no URL: {e}")))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad("begins with neither http:// nor https://")),
        };
        let authority = uri.authority().ok_or_else(|| bad("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad(
                "has a user name in it; send an authorization header instead",
            ));
        }
        if uri.query().is_some() {
            return Err(bad("has a query"));
        }
        let authority = authority.to_string();
        let scheme = if tls { "https" } else { "http" };
        Ok(Self {
            base: format!("{scheme}://{authority}"),
            authority,
            prefix: uri.path().trim_end_matches('/').to_string(),
            tls,
            routes: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_split() {
        let origin = Origin::parse("https://h:81/a/").unwrap();
        assert_eq!(origin.base, "https://h:81");
        assert_eq!(
            (
                origin.authority.as_str(),
                origin.prefix.as_str(),
                origin.tls
            ),
            ("h:81", "/a", true)
        );
    }

    #[test]
    fn bad_addresses_are_refused() {
        for base in ["ftp://h", "h", "http://u:p@h", "http://h/?q"] {
            assert!(Origin::parse(base).is_err(), "{base}");
        }
    }
}
