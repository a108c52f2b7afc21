//! What a Prometheus reads at `/metrics`: requests by status, their times, how many are under way, and readiness.
//!
//! Only the shop's own pages count, not probes and not `/metrics` itself.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use http::StatusCode;

/// The text format of Prometheus.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// Upper bounds of the histogram's buckets, seconds.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// The numbers.
#[derive(Debug, Default)]
pub(super) struct Metrics(Mutex<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    by_status: BTreeMap<u16, u64>,
    /// Requests that took as long as the bucket of this index, and no longer; the last is for all longer ones.
    buckets: [u64; BUCKETS.len() + 1],
    seconds: f64,
    in_flight: u64,
}

/// A request under way; one that is given up, because its client left, counts as under way no longer.
#[derive(Debug)]
pub(super) struct UnderWay<'a> {
    metrics: &'a Metrics,
    since: Instant,
}

impl Metrics {
    /// A request has come.
    pub fn begin(&self) -> UnderWay<'_> {
        self.numbers().in_flight += 1;
        UnderWay {
            metrics: self,
            since: Instant::now(),
        }
    }

    fn ended(&self, status: StatusCode, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound);
        let mut numbers = self.numbers();
        *numbers.by_status.entry(status.as_u16()).or_default() += 1;
        numbers.buckets[bucket.unwrap_or(BUCKETS.len())] += 1;
        numbers.seconds += seconds;
    }

    /// All of it as text.
    pub fn text(&self, ready: bool) -> String {
        let numbers = self.numbers();
        let mut out = String::new();
        head(
            &mut out,
            "shop_requests_total",
            "counter",
            "Requests answered, by status.",
        );
        for (code, n) in &numbers.by_status {
            line(
                &mut out,
                &format!("shop_requests_total{{code=\"{code}\"}}"),
                n,
            );
        }
        let name = "shop_request_duration_seconds";
        head(
            &mut out,
            name,
            "histogram",
            "From the request to its answer.",
        );
        let mut sum = 0;
        let bounds = BUCKETS.iter().map(ToString::to_string);
        for (bound, n) in bounds.chain(["+Inf".into()]).zip(numbers.buckets) {
            sum += n;
            line(&mut out, &format!("{name}_bucket{{le=\"{bound}\"}}"), sum);
        }
        line(&mut out, &format!("{name}_sum"), numbers.seconds);
        line(&mut out, &format!("{name}_count"), sum);
        head(
            &mut out,
            "shop_requests_in_flight",
            "gauge",
            "Requests under way.",
        );
        line(&mut out, "shop_requests_in_flight", numbers.in_flight);
        head(
            &mut out,
            "shop_ready",
            "gauge",
            "Whether it says that it may get traffic.",
        );
        line(&mut out, "shop_ready", u8::from(ready));
        out
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        // Plain numbers cannot be left half changed: a poisoned lock still holds good ones.
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl UnderWay<'_> {
    /// It is answered.
    pub fn end(self, status: StatusCode) {
        self.metrics.ended(status, self.since.elapsed());
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.metrics.numbers().in_flight -= 1;
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    line(out, &format!("# HELP {name}"), help);
    line(out, &format!("# TYPE {name}"), kind);
}

fn line(out: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(out, "{name} {value}"); // writing to a String cannot fail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up_and_what_is_given_up_is_no_longer_under_way() {
        let metrics = Metrics::default();
        for ms in [1, 3, 30, 9_000] {
            metrics.ended(StatusCode::OK, Duration::from_millis(ms));
        }
        metrics.ended(StatusCode::INTERNAL_SERVER_ERROR, Duration::from_millis(1));
        let under_way = metrics.begin();
        drop(metrics.begin());
        let text = metrics.text(true);
        for line in [
            "shop_requests_total{code=\"200\"} 4",
            "shop_requests_total{code=\"500\"} 1",
            "shop_request_duration_seconds_bucket{le=\"0.001\"} 2",
            "shop_request_duration_seconds_bucket{le=\"0.005\"} 3",
            "shop_request_duration_seconds_bucket{le=\"5\"} 4",
            "shop_request_duration_seconds_bucket{le=\"+Inf\"} 5",
            "shop_request_duration_seconds_count 5",
            "shop_requests_in_flight 1",
            "shop_ready 1",
        ] {
            assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
        }
        under_way.end(StatusCode::OK);
        assert!(metrics.text(false).contains("shop_requests_in_flight 0\n"));
        assert!(metrics.text(false).contains("shop_ready 0\n"));
    }
}
