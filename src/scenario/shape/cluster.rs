//! The faults that only a cluster can make. Each hits pods, or the node or workload of the pods it selects.

use super::faults::{HINTS, NAME, PICK, SELECT};
use super::{Field, Object, Scalar};

const NODE: Field = Field::of("node", Scalar::Name, "Only pods on this node.").example("n1");
const ZONE: Field = Field::of("zone", Scalar::Name, "Only pods in this zone.").example("z1");
const OWNER: Field = Field::of(
    "owner",
    Scalar::Name,
    "Only pods that this workload makes, as KIND/NAME.",
)
.example("Deployment/front");
const IMAGE: Field = Field::of("image", Scalar::Name, "The image that cannot be had.")
    .default("squall.invalid/no-such-image:1");

/// A fault without settings of its own.
const fn plain(name: &'static str, doc: &'static str) -> Object {
    Object {
        name,
        doc,
        fields: &[NAME, SELECT, NODE, ZONE, OWNER, PICK],
        hints: HINTS,
        ..Object::NEW
    }
}

/// A fault with one setting.
macro_rules! with {
    ($name:literal, $doc:literal, $($field:expr),+) => {
        Object {
            name: $name,
            doc: $doc,
            fields: &[NAME, SELECT, NODE, ZONE, OWNER, PICK, $($field),+],
            hints: HINTS,
            ..Object::NEW
        }
    };
}

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
        "Which container; the pod's first when absent."
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
