//! Faults, the guard, expectations, and options of the run.

use super::file::TEXTS;
use super::{Field, Object, Rule, Scalar, Shape, chaos_mesh, cluster};

/// A kind of fault; nothing at all under it is a map of defaults.
macro_rules! kind {
    ($name:literal, $object:expr, $doc:literal) => {
        Field::new(
            $name,
            Shape::Kinds {
                scalar: Some(Scalar::Empty),
                list: None,
                map: Some(&Shape::Object($object)),
            },
            $doc,
        )
    };
}

/// The kinds of faults, as keys of a fault.
pub const KINDS: [&str; 24] = [
    "kill",
    "stop",
    "freeze",
    "drop",
    "reset",
    "delay",
    "black-hole",
    "pod-kill",
    "evict",
    "container-kill",
    "cordon",
    "drain",
    "scale",
    "rollout-restart",
    "bad-rollout",
    "cpu-stress",
    "memory-stress",
    "partition",
    "node-loss",
    "loss",
    "dns-fault",
    "io-delay",
    "io-error",
    "clock-skew",
];
/// So many of them, at the beginning, are of local targets.
pub const LOCAL_KINDS: usize = 7;
/// From this one on they are of clusters: a few are of both.
pub const CLUSTER_KINDS: usize = 5;

/// A fault, and when.
pub(super) static FAULT: Object = Object {
    name: "fault",
    doc: "A fault, and when.",
    fields: &[
        Field::of(
            "at",
            Scalar::Duration,
            "First injection, counted from the start of traffic.",
        )
        .required()
        .example("20s"),
        Field::of(
            "every",
            Scalar::SomeTime,
            "Again and again at this distance, until traffic ends.",
        )
        .example("30s"),
        Field::of(
            "times",
            Scalar::Int(1, 1_000_000),
            "At most so many injections.",
        )
        .example("2"),
        Field::of(
            "for",
            Scalar::SomeTime,
            "Undone after so long; without it at the end of the run.",
        )
        .example("10s"),
        Field::of(
            "when",
            Scalar::When,
            "Not before so many of the target's instances are ready; looked for from `at` on.",
        )
        .example("ready >= 5"),
        Field::of(
            "after",
            Scalar::Choice(&[(
                "rollout",
                "A rollout of the target's workload that is under way at `at`, or begins later, is complete.",
            )]),
            "Not before this; looked for from `at` on.",
        )
        .example("rollout"),
        Field::of(
            "within",
            Scalar::SomeTime,
            "What `when` or `after` waits for is given up after so long; at the end of traffic when absent.",
        )
        .example("60s"),
        Field::of(
            "name",
            Scalar::Name,
            "Name in reports; made from the kind when not given.",
        ),
        kind!(
            "kill",
            &KILL,
            "SIGKILL: the process is gone, nothing is said to anybody."
        ),
        kind!(
            "stop",
            &STOP,
            "SIGTERM, then SIGKILL after the grace: what an orchestrator does in a rollout."
        ),
        kind!(
            "freeze",
            &FREEZE,
            "SIGSTOP: connections stay open, nothing answers."
        ),
        kind!(
            "delay",
            &chaos_mesh::DELAY,
            "The balancer holds bytes back, both ways. In a cluster packets leave the pods late (Chaos Mesh)."
        ),
        kind!(
            "drop",
            &DROP,
            "The balancer swallows a share of new connections: accepted, never answered."
        ),
        kind!(
            "reset",
            &RESET,
            "The balancer resets a share of new connections, and with 100% the open ones too."
        ),
        kind!(
            "black-hole",
            &chaos_mesh::BLACK_HOLE,
            "The balancer passes nothing on, on open and new connections alike. In a cluster no packet leaves the pods (Chaos Mesh)."
        ),
        kind!(
            "pod-kill",
            &cluster::POD_KILL,
            "Deletes pods; the cluster makes others."
        ),
        kind!(
            "evict",
            &cluster::EVICT,
            "Asks for the pods' eviction, which their disruption budget may forbid."
        ),
        kind!(
            "container-kill",
            &cluster::CONTAINER_KILL,
            "Signals the first process of a container, from inside it."
        ),
        kind!(
            "cordon",
            &cluster::CORDON,
            "Marks the pods' nodes unschedulable."
        ),
        kind!(
            "drain",
            &cluster::DRAIN,
            "Cordons the pods' nodes and evicts what runs on them."
        ),
        kind!(
            "scale",
            &cluster::SCALE,
            "Sets the number of replicas of the pods' workload."
        ),
        kind!(
            "rollout-restart",
            &cluster::ROLLOUT_RESTART,
            "Rolls the pods' workload out again."
        ),
        kind!(
            "bad-rollout",
            &cluster::BAD_ROLLOUT,
            "Rolls out a version of the pods' workload that never becomes ready."
        ),
        kind!(
            "cpu-stress",
            &cluster::CPU_STRESS,
            "Threads in the pods' containers use up CPU."
        ),
        kind!(
            "memory-stress",
            &cluster::MEMORY_STRESS,
            "A process in the pods' containers holds memory."
        ),
        kind!(
            "partition",
            &cluster::PARTITION,
            "A NetworkPolicy cuts the pods off; whether the cluster enforces it is checked."
        ),
        kind!(
            "node-loss",
            &cluster::NODE_LOSS,
            "The pods' nodes are lost, by a command of yours."
        ),
        kind!(
            "loss",
            &chaos_mesh::LOSS,
            "A share of the packets that leave the pods is lost (Chaos Mesh)."
        ),
        kind!(
            "dns-fault",
            &chaos_mesh::DNS_FAULT,
            "The pods' questions to the DNS go wrong (Chaos Mesh)."
        ),
        kind!(
            "io-delay",
            &chaos_mesh::IO_DELAY,
            "What the pods do with files takes longer (Chaos Mesh)."
        ),
        kind!(
            "io-error",
            &chaos_mesh::IO_ERROR,
            "What the pods do with files fails (Chaos Mesh)."
        ),
        kind!(
            "clock-skew",
            &chaos_mesh::CLOCK_SKEW,
            "The time of day is another for the pods (Chaos Mesh)."
        ),
    ],
    rules: &[
        Rule::One(&KINDS),
        Rule::Needs("times", "every"),
        Rule::Not("for", "kill"),
        Rule::Not("for", "stop"),
        Rule::Not("for", "pod-kill"),
        Rule::Not("for", "evict"),
        Rule::Not("for", "container-kill"),
        Rule::Not("for", "rollout-restart"),
    ],
    hints: &[
        ("duration", "how long a fault lasts is `for`"),
        (
            "select",
            "selection stands within the kind: `kill: { select: ... }`",
        ),
        (
            "pick",
            "selection stands within the kind: `kill: { pick: 1 }`",
        ),
    ],
    ..Object::NEW
};

pub(super) const NAME: Field = Field::new(
    "name",
    Shape::Kinds {
        scalar: Some(Scalar::Name),
        list: Some(&Shape::Scalar(Scalar::Name)),
        map: None,
    },
    "Only this instance, or these.",
)
.example("shop-2");
pub(super) const SELECT: Field =
    Field::new("select", TEXTS, "Only instances with all these labels.");
pub(super) const READY: Field =
    Field::of("ready", Scalar::Bool, "Only instances that are ready.").default("false");
pub(super) const PICK: Field = Field::of(
    "pick",
    Scalar::Pick,
    "How many of them, at random by the seed: a count, a share or `all`; with `each` the next one every time, until each was hit once. 1 when not given; all, where `name` lists them.",
)
.example("1");
const SHARE: Field =
    Field::of("share", Scalar::Share, "The share of new connections.").default("100%");
pub(super) const HINTS: &[(&str, &str)] = &[
    ("count", "how many is `pick`"),
    ("labels", "labels stand under `select`"),
];

static KILL: Object = Object {
    name: "kill",
    doc: "The process is gone at once.",
    fields: &[NAME, SELECT, READY, PICK],
    hints: &[
        (
            "grace",
            "a kill gives no grace; that is `stop: { grace: ... }`",
        ),
        ("count", "how many is `pick`"),
    ],
    ..Object::NEW
};
static STOP: Object = Object {
    name: "stop",
    doc: "The process is asked to end, and made to after the grace.",
    fields: &[
        NAME,
        SELECT,
        READY,
        PICK,
        Field::of(
            "grace",
            Scalar::Duration,
            "Time between SIGTERM and SIGKILL.",
        )
        .default("10s"),
    ],
    hints: HINTS,
    ..Object::NEW
};
static FREEZE: Object = Object {
    name: "freeze",
    doc: "The process stands still.",
    fields: &[NAME, SELECT, READY, PICK],
    hints: HINTS,
    ..Object::NEW
};
static DROP: Object = Object {
    name: "drop",
    doc: "New connections are swallowed.",
    fields: &[NAME, SELECT, READY, PICK, SHARE],
    hints: HINTS,
    ..Object::NEW
};
static RESET: Object = Object {
    name: "reset",
    doc: "New connections are reset.",
    fields: &[NAME, SELECT, READY, PICK, SHARE],
    hints: HINTS,
    ..Object::NEW
};
/// What may be broken, and when to give up.
pub(super) static GUARD: Object = Object {
    name: "guard",
    doc: "What must stay whole, and when to give up.",
    fields: &[
        Field::of("keep-ready", Scalar::KeepReady, "At least this share or count of the instances must stay ready; an injection that would break it is not made. In a cluster it holds for each workload by itself, and a `drain` or `node-loss` keeps it for every workload of the namespace that has pods on the node.")
            .example("50%"),
        Field::of("max-faults", Scalar::Int(0, 1_000_000), "At most so many injections in the run.").example("5"),
        Field::new(
            "abort-when",
            Shape::Kinds { scalar: Some(Scalar::Abort), list: Some(&Shape::Scalar(Scalar::Abort)), map: None },
            "Undoes everything and ends the run when this holds in every second for so long: a metric of the traffic, or, in a cluster, a count of `nodes-not-ready` or of `others-degraded`, workloads that no fault was meant for.",
        )
        .example("errors > 50% for 10s"),
        Field::new(
            "namespaces",
            Shape::List(&Shape::Scalar(Scalar::Name), 1),
            "In a cluster: only pods in these may be broken; only the target's when not given, and never kube-system unless named here.",
        )
        .example("[shop]"),
        Field::new(
            "priority-classes",
            Shape::List(&Shape::Scalar(Scalar::Name), 1),
            "In a cluster: pods of these system-critical priority classes may be broken too; none when not given.",
        )
        .example("[system-cluster-critical]"),
        Field::of(
            "opt-in",
            Scalar::KeyValue,
            "In a cluster: only pods that have this label, or whose workload has it, may be broken.",
        )
        .example("squall.dev/allow=true"),
    ],
    ..Object::NEW
};

/// Something that must hold.
pub(super) static EXPECT: Shape = Shape::Kinds {
    scalar: Some(Scalar::Bound),
    list: None,
    map: Some(&Shape::Tagged(&[
        ("slo", &SLO),
        ("recovery", &RECOVERY_EXPECTATION),
        ("balance", &super::balance::BALANCE_EXPECTATION),
        ("deploy", &super::deploy::DEPLOY_EXPECTATION),
        ("spread", &super::deploy::SPREAD_EXPECTATION),
        ("alert", &super::alert::ALERT_EXPECTATION),
        ("autoscale", &super::autoscale::AUTOSCALE_EXPECTATION),
        ("usage", &super::usage::USAGE_EXPECTATION),
    ])),
};

static SLO: Object = Object {
    name: "slo",
    doc: "A bound on what users feel, for a part of the traffic.",
    fields: &[
        Field::of("slo", Scalar::Bound, "The bound.")
            .required()
            .example("p95 < 100ms"),
        Field::of("flow", Scalar::Text, "Only this flow."),
        Field::of("step", Scalar::Text, "Only this step."),
        Field::of(
            "phase",
            Scalar::Choice(&[
                ("before", "Before the first fault."),
                ("during", "From a fault until the service is well again."),
                ("after", "The rest, after the first fault."),
            ]),
            "Only this part of the run.",
        ),
        Field::of(
            "of",
            Scalar::Choice(&[
                (
                    "response",
                    "From the intended start of a request: what a user feels.",
                ),
                ("service", "From its send: what the service takes."),
            ]),
            "Which latency.",
        )
        .default("response"),
    ],
    ..Object::NEW
};

static RECOVERY_EXPECTATION: Object = Object {
    name: "recovery-expectation",
    doc: "The service is well again in time after each fault.",
    fields: &[Field::new(
        "recovery",
        Shape::Kinds {
            scalar: Some(Scalar::SomeTime),
            list: None,
            map: Some(&Shape::Object(&RECOVERY)),
        },
        "Within this time, or `{ within: 15s, ... }`.",
    )
    .required()],
    ..Object::NEW
};

static RECOVERY: Object = Object {
    name: "recovery",
    doc: "The service is well again in time after each fault.",
    fields: &[
        Field::of("within", Scalar::SomeTime, "From the fault (or from its undo, where it lasts) until the service is well again.").required().example("15s"),
        Field::new(
            "slo",
            Shape::Kinds { scalar: Some(Scalar::Bound), list: Some(&Shape::Scalar(Scalar::Bound)), map: None },
            "What well means, in windows of one second; the bounds of `expect` on all traffic when not given.",
        )
        .example("[ errors < 1% ]"),
        Field::of("windows", Scalar::Int(1, 3600), "So many good windows in a row.").default("3"),
        Field::of("endpoint-removed-within", Scalar::SomeTime, "At most so long from the fault until the balancer no longer lists the instance.").default("30s"),
    ],
    ..Object::NEW
};

/// How the run itself is carried out.
pub(super) static RUN: Object = Object {
    name: "run",
    doc: "How the run itself is carried out.",
    fields: &[
        Field::of(
            "threads",
            Scalar::Int(1, 1024),
            "Worker threads of the traffic; one per core, less one where there are several, when absent.",
        ),
        Field::of(
            "warm-up",
            Scalar::Duration,
            "Traffic of the first so long is shown, not judged.",
        )
        .default("0s"),
        Field::of(
            "graceful-stop",
            Scalar::Duration,
            "How long requests in flight may take to finish when traffic ends.",
        )
        .example("10s"),
    ],
    ..Object::NEW
};
