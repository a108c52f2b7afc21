//! The demo service as a process: its pages, counters, graceful end and seeded defects.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, Response, StatusCode, Version};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

struct Demo {
    process: Child,
    url: String,
    client: Client,
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command
        .args(["demo", "--port", "0", "--drain-delay", "300ms"])
        .args(args)
        .env("SQUALL_INSTANCE", "shop-1")
        .env("SQUALL_SLOT", "shop-1")
        .stdout(Stdio::piped());
    command
}

fn client(change: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder) -> Client {
    // Fails where another test of this process was first; any provider will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder().timeout(Duration::from_secs(30));
    change(builder).build().unwrap()
}

impl Demo {
    fn start(args: &[&str]) -> Demo {
        Self::with(args, "http", client(|b| b))
    }
    fn with(args: &[&str], scheme: &str, client: Client) -> Demo {
        let mut process = command(args).spawn().unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap();
        Demo {
            process,
            url: format!("{scheme}://{address}"),
            client,
        }
    }
    async fn get(&self, path: &str) -> Response {
        let request = self.client.get(format!("{}{path}", self.url));
        request.send().await.unwrap()
    }
    async fn json(&self, path: &str) -> Value {
        json_of(self.get(path).await).await
    }
    async fn status(&self, path: &str) -> u16 {
        self.get(path).await.status().as_u16()
    }
    async fn post(&self, path: &str, body: &str) -> Response {
        let request = self.client.post(format!("{}{path}", self.url));
        request.body(body.to_string()).send().await.unwrap()
    }
    fn terminate(&self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
    }
    /// Without blocking: a client takes part in the end of its connections.
    async fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn json_of(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

#[tokio::test]
async fn prometheus_can_read_what_it_did() {
    let demo = Demo::start(&["--defect", "errors:50%"]);
    for _ in 0..4 {
        demo.status("/products").await;
    }
    demo.status("/readyz").await;
    let page = demo.get("/metrics").await;
    let kind = page.headers()["content-type"].to_str().unwrap();
    assert_eq!(kind, "text/plain; version=0.0.4");
    let text = String::from_utf8(page.bytes().await.unwrap().to_vec()).unwrap();
    for line in [
        "shop_requests_total{code=\"200\"} 2",
        "shop_requests_total{code=\"500\"} 2",
        "shop_request_duration_seconds_count 4",
        "shop_requests_in_flight 0",
        "shop_ready 1",
    ] {
        assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
    }
}

#[tokio::test]
async fn the_shop_sells() {
    let demo = Demo::start(&[]);
    let products = demo.get("/products").await;
    assert_eq!(products.headers()["x-squall-instance"], "shop-1");
    let products = json_of(products).await;
    let items = products["items"].as_array().unwrap();
    assert_eq!(items.len(), 20);
    assert_eq!(items[0]["id"], "p1");
    assert_eq!(demo.json("/products/p20").await, items[19]);
    assert_eq!(demo.status("/products/p21").await, 404);
    assert_eq!(demo.status("/nothing").await, 404);

    for count in 1..=2 {
        let added = demo.post("/cart", r#"{"id": "p3"}"#).await;
        assert_eq!(added.status(), StatusCode::CREATED);
        assert_eq!(json_of(added).await, json!({ "count": count }));
    }
    assert_eq!(
        demo.json("/cart").await,
        json!({ "count": 2, "last": ["p3", "p3"] })
    );
    assert_eq!(demo.post("/cart", "{}").await.status(), 400);
    assert_eq!(demo.post("/cart", r#"{"id": "p99"}"#).await.status(), 404);
    assert_eq!(demo.post("/cart", &" ".repeat(100_000)).await.status(), 413);
    assert_eq!(demo.post("/products", "").await.status(), 405);
}

#[tokio::test]
async fn work_costs_the_cpu_time_that_was_asked_for() {
    let demo = Demo::start(&["--work", "20ms"]);
    demo.status("/healthz").await;
    let ticks = || {
        squall::observe::usage::Stat::of(demo.process.id())
            .unwrap()
            .cpu_ticks
    };
    let before = ticks();
    for _ in 0..20 {
        assert_eq!(demo.status("/work").await, 200);
    }
    // 400 ms are 40 ticks; a debug build adds some of its own around the work.
    let used = ticks() - before;
    assert!((39..=60).contains(&used), "{used} ticks");
}

#[tokio::test]
async fn readiness_can_be_made_to_fail_and_the_service_goes_on() {
    let demo = Demo::start(&[]);
    assert_eq!(demo.status("/readyz").await, 200);
    assert_eq!(
        demo.post("/admin/ready?ready=false", "").await.status(),
        200
    );
    assert_eq!(demo.status("/readyz").await, 503);
    assert_eq!(demo.status("/healthz").await, 200);
    assert_eq!(demo.status("/products").await, 200);
    assert_eq!(demo.post("/admin/ready?ready=true", "").await.status(), 200);
    assert_eq!(demo.status("/readyz").await, 200);
    assert_eq!(
        demo.post("/admin/ready?ready=maybe", "").await.status(),
        400
    );
}

fn counters(path: &Path) -> (u64, u64) {
    let bytes = std::fs::read(path).unwrap();
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    (number(0), number(8))
}

#[tokio::test]
async fn counters_count_application_requests_only_and_survive_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("counters");
    let file_arg = file.to_str().unwrap();
    let mut demo = Demo::start(&[
        "--counter-file",
        file_arg,
        "--defect",
        "errors:10%",
        "--defect",
        "hang:1%",
    ]);
    let mut by_status = [0, 0];
    for _ in 0..99 {
        match demo.status("/products").await {
            200 => by_status[0] += 1,
            500 => by_status[1] += 1,
            other => panic!("{other}"),
        }
        demo.status("/readyz").await;
    }
    assert_eq!(by_status, [90, 9]);
    let page = demo.json("/counters").await;
    assert_eq!([&page["begun"], &page["finished"]], [99, 99], "{page}");
    assert_eq!(page["connections"], 1, "{page}");
    // The hundredth is never answered, so it is never begun.
    let url = format!("{}/products", demo.url);
    let hanging = demo
        .client
        .get(url)
        .timeout(Duration::from_millis(300))
        .send();
    assert!(hanging.await.unwrap_err().is_timeout());
    demo.process.kill().unwrap();
    demo.wait().await;
    assert_eq!(counters(&file), (99, 99));
}

#[tokio::test]
async fn what_a_killed_service_answered_lies_between_its_counters() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("counters");
    let mut demo = Demo::start(&["--counter-file", file.to_str().unwrap()]);
    let url = format!("{}/products", demo.url);
    let users: Vec<_> = (0..8)
        .map(|_| {
            let (client, url) = (demo.client.clone(), url.clone());
            tokio::spawn(async move {
                let mut answered = 0;
                while let Ok(response) = client.get(&url).send().await {
                    if response.bytes().await.is_err() {
                        break;
                    }
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    let deadline = Instant::now() + Duration::from_secs(30);
    while counters(&file).0 < 300 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    demo.process.kill().unwrap();
    demo.wait().await;
    let mut answered: u64 = 0;
    for user in users {
        answered += user.await.unwrap();
    }
    let (begun, finished) = counters(&file);
    assert!(begun >= 300 && begun - finished <= 8, "{begun} {finished}");
    assert!(
        (finished..=begun).contains(&answered),
        "{finished} <= {answered} <= {begun}"
    );
}

#[tokio::test]
async fn sigterm_drains() {
    let mut demo = Demo::start(&["--defect", "slow:1s"]);
    let url = format!("{}/products", demo.url);
    let in_flight = tokio::spawn(demo.client.get(&url).send());
    while demo.json("/counters").await["connections"] != 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    demo.terminate();
    // Still serving, but no longer ready, and asking each client to leave.
    loop {
        let ready = demo.get("/readyz").await;
        if ready.status() == 503 {
            assert_eq!(ready.headers()["connection"], "close");
            break;
        }
    }
    let answered = in_flight.await.unwrap().unwrap();
    assert_eq!(answered.status(), 200);
    assert_eq!(answered.headers()["connection"], "close");
    assert_eq!(demo.wait().await.code(), Some(0));
    assert!(demo.client.get(&url).send().await.is_err());
}

#[tokio::test]
async fn without_drain_sigterm_drops_what_is_in_flight() {
    let mut demo = Demo::start(&["--defect", "slow:20s", "--defect", "no-drain"]);
    let url = format!("{}/products", demo.url);
    let in_flight = tokio::spawn(demo.client.get(&url).send());
    while demo.json("/counters").await["connections"] != 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    demo.terminate();
    demo.wait().await;
    assert!(in_flight.await.unwrap().is_err());
}

#[tokio::test]
async fn readiness_can_lie() {
    let early = Demo::start(&["--defect", "ready-early:1s"]);
    let began = Instant::now();
    assert_eq!(early.status("/readyz").await, 200);
    assert_eq!(early.status("/products").await, 503);
    while early.status("/products").await == 503 {
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let never = Demo::start(&["--defect", "never-ready"]);
    assert_eq!(never.status("/readyz").await, 503);
    assert_eq!(never.status("/products").await, 200);
    let other = Demo::start(&["--defect", "never-ready", "--defect-on", "shop-2"]);
    assert_eq!(other.status("/readyz").await, 200);
}

#[tokio::test]
async fn slow_empty_and_leaking_responses() {
    let demo = Demo::start(&[
        "--defect",
        "slow:100ms",
        "--defect",
        "empty-body",
        "--defect",
        "leak:1MiB",
    ]);
    let began = Instant::now();
    for _ in 0..3 {
        let response = demo.get("/products").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.bytes().await.unwrap().len(), 0);
    }
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(demo.json("/healthz").await, json!({ "ok": true }));
    let status = std::fs::read_to_string(format!("/proc/{}/status", demo.process.id())).unwrap();
    let resident = status
        .lines()
        .find_map(|l| l.strip_prefix("RssAnon:"))
        .unwrap();
    let kib: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib > 3 * 1024, "{kib} KiB");
}

#[tokio::test]
async fn one_that_dies_on_restart_starts_once() {
    let dir = tempfile::tempdir().unwrap();
    let marker = dir.path().join("marker");
    let args = [
        "--defect",
        "dies-on-restart",
        "--marker",
        marker.to_str().unwrap(),
    ];
    let first = Demo::start(&args);
    assert_eq!(first.status("/products").await, 200);
    drop(first);
    let second = command(&args).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("dies-on-restart"), "{said}");
}

#[tokio::test]
async fn http2_in_clear_text_and_over_tls() {
    let clear = Demo::with(&[], "http", client(|b| b.http2_prior_knowledge()));
    let response = clear.get("/products").await;
    assert_eq!(
        (response.status().as_u16(), response.version()),
        (200, Version::HTTP_2)
    );

    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_string()]).unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let args = [
        "--tls-cert",
        cert.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ];
    let trusting = client(|b| {
        let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
        b.tls_certs_only([root])
    });
    let mut tls = Demo::with(&args, "https", trusting);
    let response = tls.get("/products").await;
    assert_eq!(
        (response.status().as_u16(), response.version()),
        (200, Version::HTTP_2)
    );
    tls.terminate();
    assert_eq!(
        tls.wait().await.code(),
        Some(0),
        "an idle HTTP/2 connection does not hold the end up"
    );
}

#[test]
fn wrong_flags_are_refused_with_what_was_expected() {
    for (args, part) in [
        (["--defect", "errors"], "such as errors:5%"),
        (["--defect", "eror:5%"], "unknown defect"),
        (["--work", "2"], "has no unit"),
    ] {
        let output = command(&args).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(part), "{said}");
    }
}

#[tokio::test]
async fn a_front_asks_the_services_behind_it() {
    let catalog = Demo::start(&["--instance", "catalog-1"]);
    let cart = Demo::start(&["--instance", "cart-1"]);
    let front = Demo::start(&["--catalog-url", &catalog.url, "--cart-url", &cart.url]);
    let response = front.get("/products/p1").await;
    assert_eq!(
        response.headers()["x-squall-instance"],
        "shop-1",
        "the front names itself"
    );
    assert_eq!(json_of(response).await["id"], "p1");
    assert_eq!(front.post("/cart", r#"{"id": "p2"}"#).await.status(), 201);
    assert_eq!(cart.json("/cart").await["count"], 1);
    assert_eq!(catalog.json("/cart").await["count"], 0);
    assert_eq!(catalog.json("/counters").await["finished"], 2);
    // What the service behind refuses is refused in front, and what does not answer is a bad gateway.
    assert_eq!(front.status("/products/none").await, 404);
    assert_eq!(front.status("/work").await, 200);
    drop(catalog);
    let response = front.get("/products").await;
    assert_eq!(response.status(), 502);
    let text = json_of(response).await["error"].to_string();
    assert!(text.contains("catalog"), "{text}");
    assert_eq!(front.status("/cart").await, 200);
}
