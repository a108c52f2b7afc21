//! Under TLS, through tokio.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::heads::{Heads, LONGEST};

/// Makes a certificate for localhost, and writes it to the file.
pub fn acceptor(cert_file: &str) -> Result<TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()])?;
    std::fs::write(cert_file, made.cert.pem())?;
    let key = made.signing_key.serialize_der();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Answers all requests, for ever.
#[tokio::main(flavor = "current_thread")]
pub async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    responses: Vec<&'static [u8]>,
    close: bool,
) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut responses = responses.into_iter().cycle();
    loop {
        let Ok((tcp, _)) = listener.accept().await else {
            // Out of descriptors: those in use come free.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        tcp.set_nodelay(true)?;
        let response = responses.next().context("no instance")?;
        tokio::spawn(answer(tcp, acceptor.clone(), response, close));
    }
}

/// Answers each request whose head has ended.
async fn answer(
    tcp: TcpStream,
    acceptor: TlsAcceptor,
    response: &'static [u8],
    close: bool,
) -> std::io::Result<()> {
    let mut stream = acceptor.accept(tcp).await?;
    let mut buffer = vec![0u8; LONGEST];
    let mut heads = Heads::default();
    loop {
        let n = stream.read(&mut buffer).await?;
        let ended = heads.take(&buffer[..n]).filter(|_| n > 0);
        let Some(ended) = ended else {
            return Ok(());
        };
        for _ in 0..ended {
            stream.write_all(response).await?;
            stream.flush().await?;
            if close {
                return stream.shutdown().await;
            }
        }
    }
}
