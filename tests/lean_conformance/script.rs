//! A server that plays a script to whoever connects.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the server does, in order.
#[derive(Debug, Clone)]
pub enum Act {
    /// Reads to the end of a request's headers.
    Request,
    /// Reads and drops everything until the client closes.
    Drain,
    Send(Vec<u8>),
    /// Lets the client see what has been sent so far. The client and the server share a thread: when this timer
    /// puts the thread to sleep, all that is readable is delivered first.
    Gap,
    /// Sends the same bytes over and over, with a gap after each.
    Forever(Vec<u8>),
    /// Half-closes: the client reads the end.
    Close,
    /// Closes with a reset.
    Reset,
    /// Keeps the connection open and says nothing.
    Silence,
}

/// Sends `bytes` as text or bytes.
pub fn say(bytes: impl AsRef<[u8]>) -> Act {
    Act::Send(bytes.as_ref().to_vec())
}

/// Plays the script on each connection that comes, from its start.
pub async fn serve(script: Vec<Act>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let script = Arc::new(script);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let script = script.clone();
            // A client that goes away in the middle is part of the tests.
            tokio::spawn(async move { drop(play(stream, &script).await) });
        }
    });
    address
}

async fn play(mut stream: TcpStream, script: &[Act]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    for act in script {
        match act {
            Act::Request => read_request(&mut stream).await?,
            Act::Drain => drain(&mut stream).await?,
            Act::Send(bytes) => stream.write_all(bytes).await?,
            Act::Gap => tokio::time::sleep(Duration::from_millis(1)).await,
            Act::Forever(bytes) => loop {
                stream.write_all(bytes).await?;
                tokio::time::sleep(Duration::from_millis(1)).await;
            },
            Act::Close => stream.shutdown().await?,
            Act::Reset => {
                stream.set_zero_linger()?;
                return Ok(());
            }
            Act::Silence => std::future::pending().await,
        }
    }
    drain(&mut stream).await
}

async fn drain(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut sink = [0; 4096];
    while stream.read(&mut sink).await? > 0 {}
    Ok(())
}

async fn read_request(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(())
}
