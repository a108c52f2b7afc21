//! A metrics API for the cluster, since no metrics-server is packaged: an extension API server that computes what each
//! pod uses from the kubelets' own counters, as metrics-server does, and is registered as an APIService.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use squall::platform::kubernetes::api::Cluster;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::bed::{Bed, until};

/// Time between two looks at the kubelets.
const SCRAPE: Duration = Duration::from_secs(3);
/// The client's address in the cluster's network, where the API server reaches this one.
const ADDRESS: &str = "10.200.0.1:0";

/// A counter of a container: CPU in nanoseconds, memory in bytes, and when, in milliseconds of wall time.
#[derive(Debug, Clone, Copy, Default)]
struct Counter {
    cpu: f64,
    memory: f64,
    at: i64,
}

/// By namespace, pod and container.
type Counters = BTreeMap<(String, String, String), Counter>;

/// What the API answers with: samples by namespace and pod.
type Samples = Arc<Mutex<BTreeMap<(String, String), Value>>>;

/// The API, registered until this is dropped.
pub struct MetricsApi {
    bed: Rc<Bed>,
}

impl Drop for MetricsApi {
    fn drop(&mut self) {
        // An APIService without its server keeps the cluster from deleting namespaces.
        let _ = std::process::Command::new("kubectl")
            .args(["delete", "apiservice", "v1beta1.metrics.k8s.io"])
            .env("KUBECONFIG", &self.bed.kubeconfig)
            .output();
    }
}

/// Serves and registers it; returns once the cluster serves it too.
pub async fn serve(bed: Rc<Bed>) -> MetricsApi {
    let api = MetricsApi { bed: bed.clone() };
    let listener = std::net::TcpListener::bind(ADDRESS).expect("a port");
    let address = listener.local_addr().unwrap();
    let kubeconfig = bed.kubeconfig.clone();
    // On a thread of its own: a test waits for kubectl without a thought of others.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let samples = Samples::default();
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            tokio::spawn(listen(listener, acceptor(), samples.clone()));
            let cluster = Cluster::connect(Some(&kubeconfig), None).await;
            scrape(cluster.expect("the cluster"), samples).await;
        });
    });
    register(&bed, address);
    for _ in 0..300 {
        let ready = bed.json(&["get", "apiservice", "v1beta1.metrics.k8s.io"]);
        let conditions = ready["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        if conditions
            .iter()
            .any(|c| c["type"] == "Available" && c["status"] == "True")
        {
            return api;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("the metrics API did not become available");
}

fn acceptor() -> TlsAcceptor {
    let key = rcgen::generate_simple_self_signed(["metrics.default.svc".to_string()]).unwrap();
    let private = key.signing_key.serialize_der().try_into().unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A Service without a selector leads to this machine.
fn register(bed: &Bed, address: SocketAddr) {
    let meta = json!({"name": "metrics", "namespace": "default"});
    bed.apply(
        &json!({"apiVersion": "v1", "kind": "Service", "metadata": meta,
        "spec": {"ports": [{"port": 443, "targetPort": address.port()}]}}),
    );
    bed.apply(&json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": meta,
        "subsets": [{"addresses": [{"ip": address.ip().to_string()}], "ports": [{"port": address.port()}]}]}));
    bed.apply(&json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "spec": {"group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "insecureSkipTLSVerify": true, "service": {"name": "metrics", "namespace": "default", "port": 443}}}));
    until("the service to be there", || {
        bed.json(&["get", "service", "metrics"])["spec"]["clusterIP"].is_string()
    });
}

async fn listen(listener: tokio::net::TcpListener, tls: TlsAcceptor, samples: Samples) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, samples) = (tls.clone(), samples.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let service = service_fn(|request: Request<Incoming>| {
                let answer = answer(&request, &samples);
                async move { Ok::<_, std::convert::Infallible>(answer) }
            });
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn answer(request: &Request<Incoming>, samples: &Samples) -> Response<Full<Bytes>> {
    const GROUP: &str = "metrics.k8s.io/v1beta1";
    let path: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
    let version = json!({"groupVersion": GROUP, "version": "v1beta1"});
    let body = match path[..] {
        ["apis"] => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [
            {"name": "metrics.k8s.io", "versions": [version], "preferredVersion": version}]}),
        ["apis", "metrics.k8s.io"] => {
            json!({"kind": "APIGroup", "apiVersion": "v1", "name": "metrics.k8s.io",
            "versions": [version], "preferredVersion": version})
        }
        ["apis", "metrics.k8s.io", "v1beta1"] => {
            json!({"kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": GROUP, "resources": [{"name": "pods", "singularName": "", "namespaced": true,
            "kind": "PodMetrics", "verbs": ["get", "list"]}]})
        }
        [
            "apis",
            "metrics.k8s.io",
            "v1beta1",
            "namespaces",
            namespace,
            "pods",
        ] => {
            // One application a namespace: the selector selects all of them.
            let all = samples.lock().unwrap();
            let items = all.iter().filter(|((ns, _), _)| ns == namespace);
            let items: Vec<&Value> = items.map(|(_, sample)| sample).collect();
            json!({"kind": "PodMetricsList", "apiVersion": GROUP, "metadata": {}, "items": items})
        }
        _ => json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}),
    };
    let status = if body["code"] == 404 { 404 } else { 200 };
    let response = Response::builder().status(status);
    let response = response.header("content-type", "application/json");
    response.body(Full::new(body.to_string().into())).unwrap()
}

async fn scrape(cluster: Cluster, samples: Samples) {
    let mut last = Counters::new();
    let mut ticks = tokio::time::interval(SCRAPE);
    loop {
        ticks.tick().await;
        let mut now = Counters::new();
        for node in ["n1", "n2"] {
            let path = format!("/api/v1/nodes/{node}/proxy/metrics/resource");
            let request = http::Request::get(path).body(Vec::new()).unwrap();
            if let Ok(text) = cluster.client.request_text(request).await {
                read(&text, &mut now);
            }
        }
        *samples.lock().unwrap() = rates(&mut last, &now);
    }
}

/// Reads the kubelet's text: `name{container="web",namespace="x",pod="y"} value milliseconds`.
fn read(text: &str, counters: &mut Counters) {
    for line in text.lines() {
        let Some((name, rest)) = line.split_once('{') else {
            continue;
        };
        let Some((labels, values)) = rest.split_once("} ") else {
            continue;
        };
        let label = |name: &str| {
            let mut labels = labels.split(',');
            let found = labels.find_map(|l| l.strip_prefix(name)?.strip_prefix("=\""));
            found.map(|v| v.trim_end_matches('"').to_string())
        };
        let (Some(ns), Some(pod), Some(container)) =
            (label("namespace"), label("pod"), label("container"))
        else {
            continue;
        };
        let mut values = values.split(' ').map(|v| v.parse::<f64>().unwrap_or(0.0));
        let value = values.next().unwrap_or(0.0);
        let counter = counters.entry((ns, pod, container)).or_default();
        match name {
            "container_cpu_usage_seconds_total" => {
                counter.cpu = value;
                counter.at = values.next().unwrap_or(0.0) as i64;
            }
            "container_memory_working_set_bytes" => counter.memory = value,
            _ => {}
        }
    }
}

/// What was used between two counters of each container; one that has not moved on keeps its older pair.
fn rates(last: &mut Counters, now: &Counters) -> BTreeMap<(String, String), Value> {
    static KEPT: Mutex<BTreeMap<(String, String), Value>> = Mutex::new(BTreeMap::new());
    let mut kept = KEPT.lock().unwrap();
    kept.retain(|(ns, pod), _| now.keys().any(|(n, p, _)| n == ns && p == pod));
    for (key, new) in now {
        let (ns, pod, container) = key;
        match last.get(key) {
            Some(old) if new.at > old.at && new.cpu >= old.cpu => {
                let seconds = (new.at - old.at) as f64 / 1e3;
                let nanos = (new.cpu - old.cpu) * 1e9 / seconds;
                let at: jiff::Timestamp = jiff::Timestamp::from_millisecond(new.at).unwrap();
                let at = jiff::Timestamp::from_second(at.as_second()).unwrap();
                let sample = json!({"metadata": {"name": pod, "namespace": ns}, "timestamp": at.to_string(),
                    "window": format!("{seconds:.3}s"), "containers": [{"name": container,
                        "usage": {"cpu": format!("{}n", nanos as u64), "memory": format!("{}", new.memory as u64)}}]});
                kept.insert((ns.clone(), pod.clone()), sample);
                last.insert(key.clone(), *new);
            }
            Some(old) if new.at > old.at => {
                // It was restarted.
                last.insert(key.clone(), *new);
            }
            Some(_) => {}
            None => {
                last.insert(key.clone(), *new);
            }
        }
    }
    last.retain(|key, _| now.contains_key(key));
    kept.clone()
}
