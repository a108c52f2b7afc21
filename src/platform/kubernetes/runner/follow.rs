//! The log of a pod, line by line.

use std::time::Duration;

use futures_util::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::LogParams;
use tokio::time::sleep;

use super::exit_code;

/// Sends each line of the pod's log once, until the pod has ended or nobody listens. A connection that breaks is made
/// again from where it was.
pub async fn follow(pods: Api<v1::Pod>, pod: String, lines: tokio::sync::mpsc::Sender<String>) {
    let mut last: Option<Timestamp> = None;
    loop {
        let seen = last;
        let params = LogParams {
            follow: true,
            timestamps: true,
            // A whole second: what was seen already is passed over by its time.
            since_time: last.map(|t| t - SignedDuration::from_secs(1)),
            ..LogParams::default()
        };
        if let Ok(stream) = pods.log_stream(&pod, &params).await {
            let mut stream = stream.lines();
            while let Ok(Some(line)) = stream.try_next().await {
                let (at, text) = line.split_once(' ').unwrap_or((&line, ""));
                let at: Option<Timestamp> = at.parse().ok();
                if at.is_some() && at <= seen {
                    continue;
                }
                last = at.or(last);
                if lines.send(text.to_string()).await.is_err() {
                    return;
                }
            }
        }
        // The log of a pod that runs ends only with its connection.
        let runs = |p: &v1::Pod| exit_code(p).is_none();
        match pods.get_opt(&pod).await {
            Ok(Some(pod)) if runs(&pod) => {}
            Ok(_) => return,
            Err(_) => {}
        }
        if lines.is_closed() {
            return;
        }
        sleep(Duration::from_millis(500)).await;
    }
}
