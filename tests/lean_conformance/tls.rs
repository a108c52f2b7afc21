//! Under TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use squall::record::Outcome;
use squall::traffic::lean::{ConnectTimings, Connector, Options, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::script::{Act, serve};
use crate::{keep, run, send, soon};

/// How the server ends a connection after its last response.
#[derive(Clone, Copy)]
enum Ending {
    CloseNotify,
    CutOff,
}

/// Answers each request on a connection with the next response.
async fn tls_server(
    responses: Vec<String>,
    ending: Ending,
) -> (SocketAddr, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, responses) = (acceptor.clone(), responses.clone());
            tokio::spawn(async move {
                let mut stream = acceptor.accept(tcp).await?;
                for response in &responses {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await?);
                    }
                    stream.write_all(response.as_bytes()).await?;
                    stream.flush().await?;
                }
                match ending {
                    Ending::CloseNotify => stream.shutdown().await,
                    Ending::CutOff => stream.into_inner().0.shutdown().await,
                }
            });
        }
    });
    (address, certificate)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn connector(address: SocketAddr, trusted: Option<CertificateDer<'static>>) -> Connector {
    let mut roots = RootCertStore::empty();
    if let Some(certificate) = trusted {
        roots.add(certificate).unwrap();
    }
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Connector {
        address,
        source: None,
        tls: Some(Tls::new(
            Arc::new(config),
            ServerName::try_from("localhost").unwrap(),
        )),
    }
}

fn with_length(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn answers_on_one_connection() {
    run(async {
        // The last is larger than a TLS record and than any buffer on the way.
        let bodies = [
            "hello".to_owned(),
            String::new(),
            "x".repeat(300_000),
            "end".to_owned(),
        ];
        let responses = bodies.iter().map(|body| with_length(body)).collect();
        let (address, certificate) = tls_server(responses, Ending::CloseNotify).await;
        let mut timings = ConnectTimings::default();
        let connector = connector(address, Some(certificate));
        let mut connection = connector.open(soon(), &mut timings).await.unwrap();
        assert!(timings.connect.is_some() && timings.tls.is_some());
        for body in &bodies {
            let reply = send(&mut connection, "GET", "/", &keep()).await.unwrap();
            assert!(reply.status() == 200 && reply.body() == body.as_bytes());
            assert!(connection.reusable());
        }
        let failure = send(&mut connection, "GET", "/", &keep())
            .await
            .unwrap_err();
        assert_eq!(failure.outcome, Outcome::Closed, "{failure}");
        assert!(failure.on_reused_idle);
    });
}

#[test]
fn a_body_that_only_the_close_ends_needs_the_closing_message() {
    let until_close = "HTTP/1.1 200 OK\r\n\r\nhello".to_owned();
    let cases = [
        (until_close.clone(), Ending::CloseNotify, Ok("hello")),
        (until_close, Ending::CutOff, Err(Outcome::Closed)),
        (with_length("hello"), Ending::CutOff, Ok("hello")),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello".into(),
            Ending::CutOff,
            Err(Outcome::Closed),
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-le".into(),
            Ending::CutOff,
            Err(Outcome::Closed),
        ),
        (String::new(), Ending::CutOff, Err(Outcome::Closed)),
        (String::new(), Ending::CloseNotify, Err(Outcome::Closed)),
    ];
    for (response, ending, expected) in cases {
        run(async {
            let (address, certificate) = tls_server(vec![response.clone()], ending).await;
            let connector = connector(address, Some(certificate));
            let mut timings = ConnectTimings::default();
            let mut connection = connector.open(soon(), &mut timings).await.unwrap();
            let got = send(&mut connection, "GET", "/", &keep()).await;
            let got = got.map(|reply| String::from_utf8_lossy(reply.body()).into_owned());
            let got = got.map_err(|failure| failure.outcome);
            assert_eq!(got, expected.map(str::to_owned), "{response:?}");
        });
    }
}

#[test]
fn who_cannot_be_trusted_is_a_tls_error() {
    run(async {
        let (address, _) = tls_server(vec![], Ending::CloseNotify).await;
        let mut timings = ConnectTimings::default();
        let failure = connector(address, None)
            .open(soon(), &mut timings)
            .await
            .unwrap_err();
        assert_eq!(failure.outcome, Outcome::Tls, "{failure}");
        assert!(timings.connect.is_some() && timings.tls.is_none());
    });
}

#[test]
fn who_does_not_speak_tls() {
    let hello = || crate::script::say("HTTP/1.1 400 Bad Request\r\n\r\n");
    let cases = [
        (vec![hello(), Act::Close], Outcome::Tls),
        (vec![Act::Close], Outcome::Closed),
        (vec![Act::Reset], Outcome::Reset),
        (vec![Act::Silence], Outcome::Timeout),
    ];
    for (script, expected) in cases {
        run(async {
            let address = serve(script.clone()).await;
            let mut timings = ConnectTimings::default();
            let deadline = std::time::Instant::now() + std::time::Duration::from_millis(500);
            let failure = connector(address, None).open(deadline, &mut timings).await;
            let failure = failure.unwrap_err();
            assert_eq!(failure.outcome, expected, "{script:?}: {failure}");
        });
    }
}

#[test]
fn clear_text_to_a_tls_port_is_not_an_answer() {
    run(async {
        let (address, _) = tls_server(vec![], Ending::CloseNotify).await;
        let mut connection = crate::open(address).await;
        let failure = send(&mut connection, "GET", "/", &Options::default()).await;
        // TLS answers with an alert, and may close before it is read.
        let outcome = failure.unwrap_err().outcome;
        let expected = [Outcome::Protocol, Outcome::Reset, Outcome::Closed];
        assert!(expected.contains(&outcome), "{outcome}");
    });
}
