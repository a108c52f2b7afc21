//! The watch against a server on a real socket that answers as it is told.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;

use super::*;
use crate::record::{AlertState, Clock, Entry};
use crate::scenario::{Observe, Secret, Tls};

const ONE: &str =
    r#"[{"labels":{"alertname":"Down","instance":"shop-2"},"status":{"state":"active"}}]"#;

/// Answers each request with the status and body of the moment; gives its address and the requests' texts.
async fn server(answer: Arc<Mutex<(u16, &'static str)>>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/am", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let kept = requests.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let n = stream.read(&mut request).await.unwrap();
            let text = String::from_utf8_lossy(&request[..n]).into_owned();
            kept.lock().unwrap().push(text);
            let (status, body) = *answer.lock().unwrap();
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    (url, requests)
}

fn scenario(url: String) -> Scenario {
    let mut scenario = crate::judge::testing::scenario(1, 1);
    scenario.observe = Observe {
        alertmanager: Some(AlertApi {
            url,
            authorization: Some(Secret::new("Bearer hunter2")),
            tls: Tls::default(),
        }),
        prometheus: None,
    };
    scenario
}

/// The next event about alerts, in short.
async fn next(entries: &mut UnboundedReceiver<Entry>) -> String {
    let entry = tokio::time::timeout(Duration::from_secs(20), entries.recv()).await;
    let Entry::Event(event) = entry.expect("an event within 20 s").unwrap() else {
        panic!("not an event");
    };
    match event.what {
        What::Alert(alert) => format!("{} {:?}", alert.name, alert.state),
        What::Watch(watch) => format!("{} {:?}: {}", watch.of, watch.view, watch.detail),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn changes_and_gaps_are_told_and_the_authorization_only_to_the_server() {
    let answer = Arc::new(Mutex::new((200, "[]")));
    let (url, requests) = server(answer.clone()).await;
    let (sink, mut entries) = Sink::new(Clock::start());
    let alerts = Alerts::start(&scenario(url), &sink).await.unwrap();
    assert_eq!(
        next(&mut entries).await,
        "alertmanager Relisted: the list is there"
    );
    let end = CancellationToken::new();
    let watch = tokio::spawn(alerts.watch(end.clone()));

    *answer.lock().unwrap() = (200, ONE);
    assert_eq!(
        next(&mut entries).await,
        format!("Down {:?}", AlertState::Firing)
    );
    *answer.lock().unwrap() = (503, "");
    let lost = next(&mut entries).await;
    assert!(
        lost.starts_with("alertmanager Lost: GET http://127.0.0.1:"),
        "{lost}"
    );
    assert!(lost.contains("/am/api/v2/alerts answered 503"), "{lost}");
    // A page that is no list is not "no alert".
    *answer.lock().unwrap() = (200, "<html>");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    *answer.lock().unwrap() = (200, "[]");
    assert_eq!(
        next(&mut entries).await,
        "alertmanager Relisted: the list is there"
    );
    assert_eq!(
        next(&mut entries).await,
        format!("Down {:?}", AlertState::Resolved)
    );

    end.cancel();
    watch.await.unwrap();
    assert_eq!(
        next(&mut entries).await,
        "alertmanager Lost: the watch ended with the run"
    );
    let requests = requests.lock().unwrap();
    assert!(
        requests
            .iter()
            .all(|r| r.contains("authorization: Bearer hunter2")),
        "{requests:?}"
    );
}

#[tokio::test]
async fn what_cannot_be_looked_at_is_told_before_the_run() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (sink, _entries) = Sink::new(Clock::start());
    let error = Alerts::start(&scenario(url.clone()), &sink)
        .await
        .unwrap_err();
    assert!(
        error.starts_with(&format!("Alertmanager at {url} does not tell of alerts")),
        "{error}"
    );
    assert!(error.contains("onnection refused"), "{error}");
}
