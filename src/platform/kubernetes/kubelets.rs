//! What the pods use, from the kubelets: CPU and memory where the cluster does not serve `metrics.k8s.io`, and
//! throttling, which that never tells.
//!
//! A kubelet shows counters, each with the time at which it was read; what was used is the difference of two of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Map, Value, json};

use super::api::{Cluster, chain};
use super::view::View;
use crate::observe::USAGE_NOT_RECORDED;
use crate::record::{self, Level, Micros, ObjectChange, ObjectEvent, Sink, WatchEvent, What};
use crate::scenario::NODE_LABEL;

/// Kubelets are looked at so often; they read their containers then, or every 10 to 15 s, by the kind of runtime.
const EVERY: Duration = Duration::from_secs(4);
/// A look that takes longer has failed.
const ANSWER: Duration = Duration::from_secs(5);

/// What is asked of kubelets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// CPU and memory.
    pub usage: bool,
    /// Throttling.
    pub throttling: bool,
}

/// A kubelet's page of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    /// CPU and memory, as metrics-server reads them.
    Resource,
    /// All that cAdvisor knows, of which throttling is read.
    Cadvisor,
}

impl Page {
    fn path(self) -> &'static str {
        match self {
            Page::Resource => "resource",
            Page::Cadvisor => "cadvisor",
        }
    }
}

/// The counters of a container, and when they were read, in milliseconds of the node's wall time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Counters {
    at: i64,
    cpu_seconds: Option<f64>,
    memory: Option<f64>,
    periods: Option<f64>,
    throttled: Option<f64>,
}

/// The containers that are looked for.
struct Containers {
    /// The namespace of their pods.
    namespace: String,
    /// Pod and container by what the runtime calls the container.
    ids: BTreeMap<String, (String, String)>,
}

impl Containers {
    /// The pod and the container that a sample is of.
    fn of(&self, labels: &str) -> Option<(String, String)> {
        let label = |name: &str| label(labels, name).filter(|value| !value.is_empty());
        match (label("namespace"), label("pod"), label("container")) {
            (Some(namespace), Some(pod), Some(name)) => {
                let wanted = namespace == self.namespace && name != "POD";
                wanted.then(|| (pod.to_string(), name.to_string()))
            }
            // A kubelet that does not find its runtime's socket knows containers by their cgroups alone, which end in the
            // container's id: `/kubepods/podUID/ID`, `/kubepods.slice/.../cri-containerd-ID.scope`.
            _ => {
                let cgroup = label("id")?.rsplit('/').next()?;
                let id = cgroup.trim_end_matches(".scope").rsplit('-').next()?;
                self.ids.get(id).cloned()
            }
        }
    }
}

/// By pod and container.
type All = BTreeMap<(String, String), Counters>;

/// A label's value in the labels of a sample: `container="web",pod="shop-1"`.
fn label<'a>(mut labels: &'a str, name: &str) -> Option<&'a str> {
    while let Some((key, rest)) = labels.split_once("=\"") {
        let mut end = rest.find('"')?;
        while rest[..end].ends_with('\\') {
            end += 1 + rest[end + 1..].find('"')?;
        }
        if key.trim_start_matches(',') == name {
            return Some(&rest[..end]);
        }
        labels = &rest[end + 1..];
    }
    None
}

/// Reads the counters of containers.
fn read(page: Page, text: &str, wanted: &Containers, into: &mut All) {
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, rest)) = line.split_once('{') else {
            continue;
        };
        let set: fn(&mut Counters) -> &mut Option<f64> = match (page, name) {
            (Page::Resource, "container_cpu_usage_seconds_total") => |c| &mut c.cpu_seconds,
            (Page::Resource, "container_memory_working_set_bytes") => |c| &mut c.memory,
            (Page::Cadvisor, "container_cpu_cfs_periods_total") => |c| &mut c.periods,
            (Page::Cadvisor, "container_cpu_cfs_throttled_periods_total") => |c| &mut c.throttled,
            _ => continue,
        };
        let Some((labels, numbers)) = rest.rsplit_once("} ") else {
            continue;
        };
        let mut numbers = numbers.split(' ');
        let value = numbers.next().and_then(|n| n.parse::<f64>().ok());
        let read = numbers.next().and_then(|n| n.parse::<i64>().ok());
        let (Some(value), Some(read), Some(key)) = (value, read, wanted.of(labels)) else {
            continue;
        };
        let counters = into.entry(key).or_default();
        *set(counters) = Some(value);
        counters.at = counters.at.max(read);
    }
}

/// What a container used between two times at which its counters were read; `None` where they have not moved on, or
/// began anew with the container.
fn used(old: &Counters, new: &Counters) -> Option<Value> {
    if new.at <= old.at {
        return None;
    }
    let more = |of: fn(&Counters) -> Option<f64>| Some((of(old)?, of(new)?));
    let pairs = [
        more(|c| c.cpu_seconds),
        more(|c| c.periods),
        more(|c| c.throttled),
    ];
    if pairs.iter().flatten().any(|(old, new)| new < old) {
        return None;
    }
    let [cpu, periods, throttled] = pairs.map(|pair| pair.map(|(old, new)| new - old));
    let seconds = (new.at - old.at) as f64 / 1e3;
    let taken = jiff::Timestamp::from_millisecond(new.at).ok()?;
    let mut told = json!({"timestamp": taken.to_string(), "window": format!("{seconds:.3}s")});
    let mut fact = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            told[name] = value;
        }
    };
    // Quantities as metrics.k8s.io writes them.
    let nanos = cpu.map(|cpu| (cpu / seconds * 1e9).round());
    fact("cpu", nanos.map(|n| format!("{n:.0}n").into()));
    fact(
        "memory",
        new.memory.map(|bytes| format!("{bytes:.0}").into()),
    );
    fact("periods", periods.map(Value::from));
    fact("throttled-periods", throttled.map(Value::from));
    Some(told)
}

/// The counters of one page as last read, and what each container used of CPU and memory.
struct Reader {
    page: Page,
    last: All,
    latest: BTreeMap<(String, String), (f64, f64)>,
}

impl Reader {
    fn new(page: Page) -> Self {
        Self {
            page,
            last: All::new(),
            latest: BTreeMap::new(),
        }
    }

    /// Takes in counters that were read; what was used, for each pod of which something is new.
    fn told(&mut self, now: All) -> Vec<What> {
        let mut pods: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
        for (key, new) in now {
            let old = self.last.insert(key.clone(), new);
            let Some(told) = old.and_then(|old| used(&old, &new)) else {
                // Read at the same time still: the older counters stay what the next are held against.
                continue;
            };
            if let (Some(cpu), Some(memory)) = (told["cpu"].as_str(), new.memory) {
                let nanos: f64 = cpu.trim_end_matches('n').parse().unwrap_or(0.0);
                self.latest.insert(key.clone(), (nanos / 1e6, memory));
            }
            pods.entry(key.0).or_default().insert(key.1, told);
        }
        pods.into_iter()
            .flat_map(|(pod, containers)| self.events(pod, containers))
            .collect()
    }

    fn events(&self, pod: String, containers: Map<String, Value>) -> Vec<What> {
        let own = self.latest.iter().filter(|((name, _), _)| *name == pod);
        let sum = own.fold(None, |sum: Option<(f64, f64)>, (_, (cpu, memory))| {
            let (all_cpu, all_memory) = sum.unwrap_or_default();
            Some((all_cpu + cpu, all_memory + memory))
        });
        let usage = sum.map(|(cpu, memory)| What::Usage {
            instance: pod.clone(),
            cpu_millicores: cpu.round() as u64,
            memory_bytes: memory as u64,
        });
        let sample = What::Object(ObjectEvent {
            object: "PodUsage".into(),
            name: pod,
            change: ObjectChange::Changed,
            version: String::new(),
            facts: BTreeMap::from([("containers".to_string(), containers.into())]),
        });
        std::iter::once(sample).chain(usage).collect()
    }
}

/// Looks until the task is ended; returns only where the cluster refuses for good.
pub async fn sample(cluster: Cluster, namespace: String, view: View, wanted: Wanted, sink: Sink) {
    let pages = [
        (wanted.usage, Page::Resource),
        (wanted.throttling, Page::Cadvisor),
    ];
    let mut readers: Vec<Reader> = { pages.into_iter() }
        .filter(|(wanted, _)| *wanted)
        .map(|(_, page)| Reader::new(page))
        .collect();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut lost = BTreeSet::new();
    loop {
        ticks.tick().await;
        for reader in &mut readers {
            let nodes = nodes(&view);
            let looks = nodes.iter().map(|node| look(&cluster, node, reader.page));
            let looks = join_all(looks).await;
            let wanted = Containers {
                namespace: namespace.clone(),
                ids: view.pods().by_container_id(),
            };
            let mut now = All::new();
            for (node, looked) in nodes.iter().zip(looks) {
                match looked {
                    Ok(text) => {
                        read(reader.page, &text, &wanted, &mut now);
                        seen(&sink, &mut lost, node);
                    }
                    Err(Failed::Refused(why)) => {
                        let text = format!("{USAGE_NOT_RECORDED}: {why}");
                        return sink.note(Level::Warning, text);
                    }
                    Err(Failed::Unanswered(why)) => unseen(&sink, &mut lost, node, why),
                }
            }
            let at: Micros = sink.clock().now();
            for event in reader.told(now) {
                sink.emit_at(at, event);
            }
        }
    }
}

/// The nodes on which the target's pods run.
fn nodes(view: &View) -> BTreeSet<String> {
    let pods = view.pods().instances(&BTreeMap::new());
    let nodes = pods
        .into_iter()
        .map(|mut pod| pod.labels.remove(NODE_LABEL));
    nodes.flatten().collect()
}

/// Why a look failed: for good, or this time.
enum Failed {
    Refused(String),
    Unanswered(String),
}

async fn look(cluster: &Cluster, node: &str, page: Page) -> Result<String, Failed> {
    let path = format!("/api/v1/nodes/{node}/proxy/metrics/{}", page.path());
    let request = http::Request::get(path).body(Vec::new());
    let request = request.map_err(|e| Failed::Unanswered(e.to_string()))?;
    match tokio::time::timeout(ANSWER, cluster.client.request_text(request)).await {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            Err(Failed::Refused(status.message))
        }
        Ok(Err(error)) => Err(Failed::Unanswered(chain(&error))),
        Err(_) => Err(Failed::Unanswered(format!("no answer in {ANSWER:?}"))),
    }
}

fn seen(sink: &Sink, lost: &mut BTreeSet<String>, node: &str) {
    if lost.remove(node) {
        tell(sink, node, record::View::Relisted, "answers again".into());
    }
}

fn unseen(sink: &Sink, lost: &mut BTreeSet<String>, node: &str, why: String) {
    if lost.insert(node.into()) {
        tell(sink, node, record::View::Lost, why);
    }
}

fn tell(sink: &Sink, node: &str, view: record::View, detail: String) {
    let of = format!("kubelet of {node}");
    sink.emit(What::Watch(WatchEvent { of, view, detail }));
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESOURCE: &str = "\
# HELP container_cpu_usage_seconds_total [ALPHA] Cumulative cpu time consumed by the container in core-seconds
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container=\"web\",namespace=\"shop\",pod=\"front-1\"} 12.5 1700000000000
container_cpu_usage_seconds_total{container=\"side\",namespace=\"shop\",pod=\"front-1\"} 1 1700000000100
container_cpu_usage_seconds_total{container=\"web\",namespace=\"other\",pod=\"front-1\"} 99 1700000000000
container_memory_working_set_bytes{container=\"web\",namespace=\"shop\",pod=\"front-1\"} 3.145728e+07 1700000000000
container_memory_working_set_bytes{container=\"side\",namespace=\"shop\",pod=\"front-1\"} 1024 1700000000100
node_cpu_usage_seconds_total 4000 1700000000000
scrape_error 0
";

    fn counters(page: Page, text: &str) -> All {
        let web = ("front-1".to_string(), "web".to_string());
        let wanted = Containers {
            namespace: "shop".into(),
            ids: [("0a1b".to_string(), web)].into(),
        };
        let mut all = All::new();
        read(page, text, &wanted, &mut all);
        all
    }

    fn later(all: &All, seconds: f64, cpu: f64) -> All {
        let later = all.iter().map(|(key, c)| {
            let new = Counters {
                at: c.at + (seconds * 1e3) as i64,
                cpu_seconds: c.cpu_seconds.map(|old| old + cpu * seconds),
                ..*c
            };
            (key.clone(), new)
        });
        later.collect()
    }

    #[test]
    fn two_looks_at_the_counters_give_what_was_used_between_them() {
        let mut reader = Reader::new(Page::Resource);
        let first = counters(Page::Resource, RESOURCE);
        assert_eq!(first.len(), 2, "those of the namespace: {first:?}");
        assert!(
            reader.told(first.clone()).is_empty(),
            "one look tells nothing"
        );
        assert!(
            reader.told(first.clone()).is_empty(),
            "read at the same time"
        );
        let told = reader.told(later(&first, 10.0, 0.25));
        let [
            What::Object(object),
            What::Usage {
                instance,
                cpu_millicores,
                memory_bytes,
            },
        ] = &told[..]
        else {
            panic!("{told:?}")
        };
        assert_eq!(
            (object.object.as_str(), object.name.as_str()),
            ("PodUsage", "front-1")
        );
        let web = &object.facts["containers"]["web"];
        assert_eq!(web["cpu"], "250000000n");
        assert_eq!(web["memory"], "31457280");
        assert_eq!(web["window"], "10.000s");
        assert_eq!(web["timestamp"], "2023-11-14T22:13:30Z");
        assert_eq!(
            (instance.as_str(), *cpu_millicores, *memory_bytes),
            ("front-1", 500, (30 << 20) + 1024),
            "both containers"
        );
    }

    #[test]
    fn a_container_that_began_anew_has_used_nothing_yet() {
        let mut reader = Reader::new(Page::Resource);
        let first = counters(Page::Resource, RESOURCE);
        reader.told(first.clone());
        let anew = later(&first, 10.0, -0.05);
        assert!(reader.told(anew.clone()).is_empty());
        assert_eq!(reader.told(later(&anew, 10.0, 0.1)).len(), 2);
    }

    #[test]
    fn throttled_periods_are_read_from_the_other_page() {
        let text = |periods: u32, throttled: u32, at: u64| {
            let labels = "{container=\"web\",id=\"/kubepods/a,b\",image=\"x\\\"y\",name=\"\",namespace=\"shop\",pod=\"front-1\"}";
            let pause = labels.replace("\"web\"", "\"POD\"");
            format!(
                "container_cpu_cfs_periods_total{labels} {periods} {at}\n\
                 container_cpu_cfs_throttled_periods_total{labels} {throttled} {at}\n\
                 container_cpu_cfs_periods_total{pause} 7 {at}\n\
                 container_cpu_usage_seconds_total{labels} 5 {at}\n"
            )
        };
        tells_throttling(text);
    }

    #[test]
    fn a_container_is_known_by_its_cgroup_where_nothing_else_names_it() {
        for id in [
            "/kubepods/burstable/pod12/0a1b",
            "/kubepods.slice/kubepods-pod1_2.slice/cri-containerd-0a1b.scope",
        ] {
            tells_throttling(|periods, throttled, at| {
                let nameless = |id: &str, pod: &str| {
                    format!(
                        "{{container=\"\",id=\"{id}\",image=\"\",name=\"\",namespace=\"\",pod=\"{pod}\"}}"
                    )
                };
                let (labels, pod) = (
                    nameless(id, ""),
                    nameless("/kubepods/burstable/pod12", "front-1"),
                );
                format!(
                    "container_cpu_cfs_periods_total{pod} 7 {at}\n\
                     container_cpu_cfs_periods_total{labels} {periods} {at}\n\
                     container_cpu_cfs_throttled_periods_total{labels} {throttled} {at}\n"
                )
            });
        }
    }

    /// Half of a hundred periods, from two looks at such a page.
    fn tells_throttling(text: impl Fn(u32, u32, u64) -> String) {
        let mut reader = Reader::new(Page::Cadvisor);
        reader.told(counters(Page::Cadvisor, &text(100, 10, 1_000)));
        let told = reader.told(counters(Page::Cadvisor, &text(200, 60, 11_000)));
        let [What::Object(object)] = &told[..] else {
            panic!("{told:?}")
        };
        let web = &object.facts["containers"]["web"];
        assert_eq!(
            (&web["periods"], &web["throttled-periods"]),
            (&json!(100.0), &json!(50.0))
        );
        assert!(web["cpu"].is_null(), "that is the other page's: {web}");
    }
}
