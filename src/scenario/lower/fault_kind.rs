//! What a fault does, of its entry, and what its settings must be.

use std::collections::BTreeMap;

use super::{Lower, duration, entries, parsed, text, word};
use crate::scenario::expression;
use crate::scenario::model::{Direction, FaultKind, IoFiles, StressPlace, Target};
use crate::scenario::problem::Problem;
use crate::scenario::shape::{CLUSTER_KINDS, KINDS, LOCAL_KINDS};
use crate::scenario::tree::{Entry, Node};

impl Lower<'_> {
    /// A process has no node to drain, a pod no balancer of ours in front of it.
    pub(super) fn check_kind(&mut self, kind: &Entry, target: &Target) {
        let Some(made) = fault_kind(kind) else {
            return;
        };
        let (wrong, other, kinds) = match target {
            Target::Local(_) if made.is_of_cluster() => {
                ("local", "kubernetes", &KINDS[..LOCAL_KINDS])
            }
            Target::Kubernetes(_) if made.is_local() => {
                ("kubernetes", "local", &KINDS[CLUSTER_KINDS..])
            }
            Target::Local(_) => return self.check_places(kind),
            _ => return,
        };
        let message = format!("`{}` cannot be done to a `{wrong}` target", kind.key);
        let expected = format!("a `{other}` target, or {}", kinds.join(", "));
        self.report(Problem::new(kind.key_at, message).expected(expected));
    }

    /// Processes of this machine are told apart by name alone.
    fn check_places(&mut self, kind: &Entry) {
        for key in ["namespace", "node", "zone", "owner"] {
            if let Some(entry) = kind.value.entry(key) {
                let problem = Problem::new(entry.key_at, format!("a `local` target has no {key}s"));
                self.report(problem.expected(format!("no `{key}`, or a `kubernetes` target")));
            }
        }
    }

    /// What a fault's settings must be together, and what whoever makes it asks of them.
    pub(super) fn check_settings(&mut self, kind: &Entry) {
        match fault_kind(kind) {
            Some(FaultKind::Partition { direction, .. }) => self.check_direction(kind, direction),
            Some(FaultKind::IoDelay { files, .. } | FaultKind::IoError { files, .. }) => {
                let percent = files.share.get() * 100.0;
                if let (Some(share), true) = (
                    kind.value.get("share"),
                    (percent - percent.round()).abs() > 1e-6,
                ) {
                    let problem =
                        Problem::new(share.at, "Chaos Mesh counts whole percent of calls");
                    self.report(problem.expected("a share from 1% to 100% without a fraction"));
                }
            }
            Some(FaultKind::DnsFault { .. }) => {
                let domains = kind.value.get("domains").and_then(Node::list);
                for domain in domains.unwrap_or_default() {
                    let text = domain.text().unwrap_or_default();
                    if text.find('*').is_some_and(|at| at + 1 != text.len()) {
                        let problem =
                            Problem::new(domain.at, "the `*` is not at the end of the name");
                        self.report(problem.expected("a name, or its beginning and `*`"));
                    }
                }
            }
            _ => {}
        }
    }

    /// What comes from somewhere is not cut by cutting what goes out.
    fn check_direction(&mut self, kind: &Entry, direction: Direction) {
        for (key, other, way) in [
            ("from", Direction::Egress, "ingress"),
            ("to", Direction::Ingress, "egress"),
        ] {
            if let (Some(entry), true) = (kind.value.entry(key), direction == other) {
                let message = format!("`{key}` says nothing about that direction");
                self.report(
                    Problem::new(entry.key_at, message)
                        .expected(format!("no `{key}`, or `direction: {way}` or `both`")),
                );
            }
        }
    }
}

/// A map of labels; empty where there is none.
pub(super) fn labels(node: &Node, key: &str) -> BTreeMap<String, String> {
    let labels = entries(node, key).iter();
    let labels = labels.filter_map(|e| Some((e.key.clone(), e.value.text()?.to_string())));
    labels.collect()
}

fn io_files(node: &Node) -> Option<IoFiles> {
    Some(IoFiles {
        volume: text(node, "volume")?,
        path: text(node, "path"),
        share: expression::share(&text(node, "share")?)?,
        container: text(node, "container"),
    })
}

fn stress_place(node: &Node) -> Option<StressPlace> {
    Some(StressPlace {
        container: text(node, "container"),
        image: text(node, "image")?,
    })
}

/// The direction as written, or the one that `from` and `to` speak of.
fn direction(node: &Node) -> Option<Direction> {
    if node.get("direction").is_some() {
        return word(node, "direction");
    }
    Some(match (node.get("from"), node.get("to")) {
        (Some(_), None) => Direction::Ingress,
        (None, Some(_)) => Direction::Egress,
        _ => Direction::Both,
    })
}

/// What an entry of a fault does; nothing where it is no kind, or not whole.
pub(super) fn fault_kind(entry: &Entry) -> Option<FaultKind> {
    let node = &entry.value;
    Some(match entry.key.as_str() {
        "kill" => FaultKind::Kill,
        "stop" => FaultKind::Stop {
            grace: duration(node, "grace")?,
        },
        "freeze" => FaultKind::Freeze,
        "delay" => FaultKind::Delay {
            latency: duration(node, "latency")?,
            jitter: duration(node, "jitter")?,
        },
        "drop" => FaultKind::Drop {
            share: expression::share(&text(node, "share")?)?,
        },
        "reset" => FaultKind::Reset {
            share: expression::share(&text(node, "share")?)?,
        },
        "black-hole" => FaultKind::BlackHole,
        "pod-kill" => FaultKind::PodKill {
            grace: duration(node, "grace"),
        },
        "evict" => FaultKind::Evict {
            deadline: duration(node, "deadline")?,
        },
        "container-kill" => FaultKind::ContainerKill {
            container: text(node, "container"),
            signal: text(node, "signal")?,
        },
        "cordon" => FaultKind::Cordon,
        "drain" => FaultKind::Drain {
            deadline: duration(node, "deadline")?,
        },
        "scale" => FaultKind::Scale {
            replicas: parsed(node, "replicas")?,
        },
        "rollout-restart" => FaultKind::RolloutRestart,
        "bad-rollout" => FaultKind::BadRollout {
            image: text(node, "image")?,
        },
        "cpu-stress" => FaultKind::CpuStress {
            workers: parsed(node, "workers")?,
            load: expression::share(&text(node, "load")?)?,
            place: stress_place(node)?,
        },
        "memory-stress" => FaultKind::MemoryStress {
            size: parsed(node, "size")?,
            place: stress_place(node)?,
        },
        "partition" => FaultKind::Partition {
            direction: direction(node)?,
            from: labels(node, "from"),
            to: labels(node, "to"),
        },
        "loss" => FaultKind::Loss {
            share: expression::share(&text(node, "share")?)?,
        },
        "dns-fault" => FaultKind::DnsFault {
            answer: word(node, "answer")?,
            domains: match node.get("domains") {
                Some(domains) => {
                    let domains = domains.list()?.iter();
                    domains
                        .map(|d| d.text().map(str::to_string))
                        .collect::<Option<_>>()?
                }
                None => Vec::new(),
            },
        },
        "io-delay" => FaultKind::IoDelay {
            latency: duration(node, "latency")?,
            files: io_files(node)?,
        },
        "io-error" => FaultKind::IoError {
            errno: word(node, "errno")?,
            files: io_files(node)?,
        },
        "clock-skew" => FaultKind::ClockSkew {
            offset: duration(node, "ahead").or_else(|| duration(node, "behind"))?,
            behind: node.get("behind").is_some(),
            container: text(node, "container"),
        },
        "node-loss" => FaultKind::NodeLoss {
            down: text(node, "down")?,
            up: text(node, "up")?,
        },
        _ => return None,
    })
}
