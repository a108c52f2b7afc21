//! The TLS settings of the target, read and checked once, before anything is touched.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, NamedGroup, RootCertStore};

use super::TrafficError;
use crate::insecure::AnyCertificate;
use crate::scenario::Tls;

/// Reads the settings' files and builds the client configuration, without ALPN: flows set their own. With `needed`
/// false (no https in the scenario) the system's certificates are not looked for.
pub fn client_config(
    tls: &Tls,
    base_dir: &Path,
    needed: bool,
) -> Result<ClientConfig, TrafficError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| TrafficError::Tls(e.to_string()))?;
    let builder = if tls.insecure {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        builder.with_root_certificates(roots(tls, base_dir, needed)?)
    };
    let mut config = match (&tls.cert, &tls.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let (cert, key) = (base_dir.join(cert), base_dir.join(key));
            let chain = certificates(&cert)?;
            let secret =
                PrivateKeyDer::from_pem_file(&key).map_err(|e| bad_pem(&key, "private key", e))?;
            builder.with_client_auth_cert(chain, secret).map_err(|e| {
                TrafficError::Tls(format!(
                    "{} and {} do not fit: {e}",
                    cert.display(),
                    key.display()
                ))
            })?
        }
        _ => {
            let problem = "a client certificate needs both `cert` and `key`";
            return Err(TrafficError::Tls(problem.into()));
        }
    };
    // Each user is a client of its own: it has no session of another's to resume.
    config.resumption = Resumption::store(Arc::new(NoSessions));
    Ok(config)
}

fn bad_pem(path: &Path, what: &str, error: rustls::pki_types::pem::Error) -> TrafficError {
    TrafficError::Tls(format!(
        "{}: expected a PEM {what}: {error}",
        path.display()
    ))
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, TrafficError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|e| bad_pem(path, "certificate", e))?
        .collect();
    let all = all.map_err(|e| bad_pem(path, "certificate", e))?;
    if all.is_empty() {
        return Err(TrafficError::Tls(format!(
            "{}: there is no certificate in it",
            path.display()
        )));
    }
    Ok(all)
}

fn roots(tls: &Tls, base_dir: &Path, needed: bool) -> Result<RootCertStore, TrafficError> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = &tls.ca {
        let path = base_dir.join(ca);
        for certificate in certificates(&path)? {
            roots.add(certificate).map_err(|e| {
                TrafficError::Tls(format!(
                    "{}: not a certificate authority: {e}",
                    path.display()
                ))
            })?;
        }
    } else if needed {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let problem = "this machine has no certificate authorities: install `ca-certificates`, \
                           or name a file with `tls: { ca: FILE }`";
            return Err(TrafficError::Tls(problem.into()));
        }
    }
    Ok(roots)
}

tokio::task_local! {
    /// Called when the TLS handshake of the connection being opened begins.
    pub static HANDSHAKE_BEGINS: Arc<dyn Fn() + Send + Sync>;
}

/// Keeps no session. rustls asks it for a hint just before the handshake begins, which no other hook tells.
#[derive(Debug)]
struct NoSessions;

impl ClientSessionStore for NoSessions {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        // Outside of a scope nobody wants to know.
        let _ = HANDSHAKE_BEGINS.try_with(|tell| tell());
        None
    }
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {}
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_certificates_are_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_path_buf();
        for tls in [
            Tls {
                ca: Some(path.clone()),
                ..Tls::default()
            },
            Tls {
                cert: Some(path.clone()),
                key: Some(path.clone()),
                insecure: true,
                ..Tls::default()
            },
        ] {
            let error = client_config(&tls, Path::new("/"), true)
                .unwrap_err()
                .to_string();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
        let half = Tls {
            cert: Some(path),
            insecure: true,
            ..Tls::default()
        };
        assert!(client_config(&half, Path::new("/"), true).is_err());
    }
}
