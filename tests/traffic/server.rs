//! Servers that behave, and servers that misbehave on purpose, on 127.0.0.1 and a thread of their own.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a server has counted by itself.
#[derive(Default)]
pub struct Stats {
    pub connections: AtomicU64,
    pub requests: AtomicU64,
}

impl Stats {
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

/// A server; ends when dropped.
pub struct Server {
    pub address: SocketAddr,
    pub stats: Arc<Stats>,
    _end: tokio::sync::oneshot::Sender<()>,
}

pub type Answer = Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;
type Handler = dyn Fn(Request<Incoming>, u64) -> Answer + Send + Sync;
type Each = Arc<dyn Fn(TcpStream, u64) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

impl Server {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Hands every connection to `each`, with its number from 0.
    pub fn raw<F>(each: impl Fn(TcpStream, u64, Arc<Stats>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stats = Arc::<Stats>::default();
        let counted = stats.clone();
        let each: Each = Arc::new(move |stream, n| Box::pin(each(stream, n, counted.clone())));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let connections = stats.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                let serve = async {
                    while let Ok((stream, _)) = listener.accept().await {
                        stream.set_nodelay(true).unwrap();
                        let number = connections.connections.fetch_add(1, Ordering::SeqCst);
                        tokio::spawn(each(stream, number));
                    }
                };
                tokio::select! { () = serve => {}, _ = ended => {} }
            });
        });
        Server {
            address,
            stats,
            _end: end,
        }
    }

    /// An HTTP/1.1 and HTTP/2 (prior knowledge) server; the handler gets the number of the connection.
    pub fn http(
        handler: impl Fn(Request<Incoming>, u64) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let handler: Arc<Handler> = Arc::new(handler);
        Self::raw(move |stream, number, stats| {
            serve(TokioIo::new(stream), number, stats, handler.clone())
        })
    }

    /// The same behind TLS.
    pub fn https(
        tls: Arc<rustls::ServerConfig>,
        handler: impl Fn(Request<Incoming>, u64) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let handler: Arc<Handler> = Arc::new(handler);
        let acceptor = tokio_rustls::TlsAcceptor::from(tls);
        Self::raw(move |stream, number, stats| {
            let (acceptor, handler) = (acceptor.clone(), handler.clone());
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(TokioIo::new(stream), number, stats, handler).await;
                }
            }
        })
    }

    /// A server that answers each request with what `answer` makes of its head and its number on the connection;
    /// `None` ends the connection.
    pub fn scripted(answer: impl Fn(&str, u64) -> Option<String> + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        Self::raw(move |mut stream, _, stats| {
            let answer = answer.clone();
            async move {
                for number in 0.. {
                    let Some(head) = read_head(&mut stream).await else {
                        return;
                    };
                    stats.requests.fetch_add(1, Ordering::SeqCst);
                    let Some(response) = answer(&head, number) else {
                        return;
                    };
                    if stream.write_all(response.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        })
    }
}

async fn serve<S>(io: TokioIo<S>, number: u64, stats: Arc<Stats>, handler: Arc<Handler>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (stats, handler) = (stats.clone(), handler.clone());
        async move {
            stats.requests.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Infallible>(handler(request, number).await)
        }
    });
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    // A client that goes away is no news.
    let _ = builder.serve_connection(io, service).await;
}

/// Reads a request without a body; `None` at the end of the connection.
pub async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// `200 OK` with a body.
pub fn ok(body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::new(Full::new(body.into()))
}

/// `200 OK` after no time at all.
pub fn at_once(response: Response<Full<Bytes>>) -> Answer {
    Box::pin(async move { response })
}

/// A certificate for `localhost` and 127.0.0.1 signed by an authority, whose PEM file is returned.
pub fn tls(alpn: &[&str]) -> (Arc<rustls::ServerConfig>, tempfile::NamedTempFile) {
    use rcgen::{CertificateParams, IsCa, Issuer, KeyPair};
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_string(), "127.0.0.1".to_string()];
    let certificate = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), authority.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = alpn
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect();
    (Arc::new(config), file)
}
