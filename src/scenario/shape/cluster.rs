//! The faults that only a cluster can make. Each hits pods, or the node or workload of the pods it selects.

use super::faults::{HINTS, NAME, PICK, READY, SELECT};
use super::file::TEXTS;
use super::{Field, Object, Scalar};

pub(super) const NODE: Field =
    Field::of("node", Scalar::Name, "Only pods on this node.").example("n1");
pub(super) const ZONE: Field =
    Field::of("zone", Scalar::Name, "Only pods in this zone.").example("z1");
pub(super) const NAMESPACE: Field = Field::of(
    "namespace",
    Scalar::Name,
    "Pods of this namespace instead of the target's own; `guard.namespaces` must name it.",
)
.example("backend");
pub(super) const OWNER: Field = Field::of(
    "owner",
    Scalar::Name,
    "Only pods that this workload makes, as KIND/NAME.",
)
.example("Deployment/front");
const IMAGE: Field = Field::of("image", Scalar::Name, "The image that cannot be had.")
    .default("squall.invalid/no-such-image:1");

/// A fault without settings of its own.
pub(super) const fn plain(name: &'static str, doc: &'static str) -> Object {
    Object {
        name,
        doc,
        fields: &[NAME, SELECT, NAMESPACE, NODE, ZONE, OWNER, READY, PICK],
        hints: HINTS,
        ..Object::NEW
    }
}

/// A fault with settings of its own.
macro_rules! with {
    ($name:literal, $doc:literal, $($field:expr),+) => {
        Object {
            name: $name,
            doc: $doc,
            fields: &[NAME, SELECT, NAMESPACE, NODE, ZONE, OWNER, READY, PICK, $($field),+],
            hints: HINTS,
            ..Object::NEW
        }
    };
}
pub(super) use with;

pub(super) static POD_KILL: Object = with!(
    "pod-kill",
    "The pod is deleted; its workload makes another.",
    Field::of(
        "grace",
        Scalar::Duration,
        "Time from SIGTERM to SIGKILL, whole seconds; 0s deletes at once, the pod's own when absent.",
    )
    .example("30s")
);
pub(super) static EVICT: Object = with!(
    "evict",
    "The pod is deleted if its disruption budget allows it.",
    Field::of(
        "deadline",
        Scalar::Duration,
        "Asked for again and again until then; after that the budget has held.",
    )
    .default("30s")
);
pub(super) static CONTAINER_KILL: Object = with!(
    "container-kill",
    "A container's first process gets a signal from inside; the kubelet starts it again.",
    Field::of(
        "container",
        Scalar::Name,
        "Which container; the pod's default one, or first, when absent."
    ),
    Field::of(
        "signal",
        Scalar::Choice(&[
            ("TERM", "What an orchestrator sends."),
            ("INT", "Ctrl-C."),
            ("HUP", "Hang-up."),
            ("QUIT", "Quit."),
            ("ABRT", "Abort."),
            ("USR1", "User-defined."),
            ("USR2", "User-defined."),
        ]),
        "The signal. There is no KILL: the kernel ignores it from inside a container.",
    )
    .default("TERM")
);
pub(super) static CORDON: Object = plain("cordon", "No new pod is put on the node.");
pub(super) static DRAIN: Object = with!(
    "drain",
    "The node is cordoned, and its pods of the target's namespace are evicted, but daemons and static pods.",
    Field::of(
        "deadline",
        Scalar::Duration,
        "Each eviction is asked for again until then."
    )
    .default("2m")
);
pub(super) static SCALE: Object = with!(
    "scale",
    "The workload gets so many replicas.",
    Field::of("replicas", Scalar::Int(0, 10_000), "So many.")
        .required()
        .example("2")
);
pub(super) static ROLLOUT_RESTART: Object = plain(
    "rollout-restart",
    "All pods of the workload are replaced, as by `kubectl rollout restart`.",
);
pub(super) static BAD_ROLLOUT: Object = with!(
    "bad-rollout",
    "The workload gets an image that cannot be had.",
    IMAGE
);

pub(super) const CONTAINER: Field = Field::of(
    "container",
    Scalar::Name,
    "In which container; the pod's default one, or first, when absent.",
);
const STRESS_IMAGE: Field = Field::of(
    "image",
    Scalar::Name,
    "Image with squall for an ephemeral container (Kubernetes 1.25 and later), where the pod's own has none.",
)
.default(concat!("squall:", env!("CARGO_PKG_VERSION")));
pub(super) static CPU_STRESS: Object = with!(
    "cpu-stress",
    "Threads in a container of the pod use up CPU, within the container's own limits.",
    Field::of("workers", Scalar::Int(1, 1024), "So many threads.").default("1"),
    Field::of(
        "load",
        Scalar::Share,
        "The share of a core that each of them uses."
    )
    .default("100%"),
    CONTAINER,
    STRESS_IMAGE
);
pub(super) static MEMORY_STRESS: Object = with!(
    "memory-stress",
    "A process in a container of the pod holds memory, within the container's own limits.",
    Field::of("size", Scalar::Size, "So much.")
        .required()
        .example("256MiB"),
    CONTAINER,
    STRESS_IMAGE
);
pub(super) static PARTITION: Object = with!(
    "partition",
    "A NetworkPolicy cuts the pod off.",
    Field::of(
        "direction",
        Scalar::Choice(&[
            ("ingress", "Connections that come to the pod."),
            ("egress", "Connections that it makes."),
            ("both", "All."),
        ]),
        "Which connections are cut; that of `from` and `to` where they stand, else both.",
    ),
    Field::new(
        "from",
        TEXTS,
        "Cut only what comes from pods of the namespace with all these labels.",
    )
    .example("{ app: front }"),
    Field::new(
        "to",
        TEXTS,
        "Cut only what goes to pods of the namespace with all these labels.",
    )
    .example("{ app: db }")
);
pub(super) static NODE_LOSS: Object = with!(
    "node-loss",
    "The pod's node is lost: only commands of yours know how. Both are run by /bin/sh in the scenario's folder.",
    Field::of(
        "down",
        Scalar::Name,
        "Takes the node away; `{node}` is replaced by its name.",
    )
    .required()
    .example("\"ssh admin@{node} poweroff -f\""),
    Field::of(
        "up",
        Scalar::Name,
        "Brings it back, also if it was never away."
    )
    .required()
    .example("\"ipmitool -H {node}-bmc power on\"")
);
