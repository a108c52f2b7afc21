//! The top of the file, and the target.

use super::alert::OBSERVE;
use super::capacity::CAPACITY;
use super::faults::{EXPECT, FAULT, GUARD, RUN};
use super::traffic::FLOW;
use super::{Field, Keys, Object, Rule, Scalar, Shape};

/// Text under keys of the user's choice.
pub(super) const TEXTS: Shape = Shape::Map {
    keys: Keys::Text,
    value: &Shape::Scalar(Scalar::Text),
    min: 0,
};
/// Template values by template name.
pub(super) const VARIABLES: Shape = Shape::Map {
    keys: Keys::Variable,
    value: &Shape::Scalar(Scalar::Text),
    min: 0,
};

/// The whole file.
pub static SCENARIO: Object = Object {
    name: "scenario",
    doc: "A load test with faults, and what must hold: traffic hits a target, faults break it, verdicts say whether it stayed well.",
    fields: &[
        Field::of("squall", Scalar::Int(1, 1), "Version of this file format; always 1.")
            .required()
            .example("1"),
        Field::of("name", Scalar::Name, "What the run shows, in words; also names the folder of its record.")
            .required()
            .example("shop survives a kill"),
        Field::of("description", Scalar::Text, "Longer text for the report."),
        Field::of("seed", Scalar::Int(0, u64::MAX), "Makes every random choice repeatable; drawn and recorded when absent.")
            .example("42"),
        Field::new("target", Shape::Object(&TARGET), "The system under test: processes of this machine (`local`), a Service of a cluster (`kubernetes`), or a service that already runs (`url`).")
            .required()
            .example("{ url: https://example.org }"),
        Field::new(
            "traffic",
            Shape::Map { keys: Keys::Label, value: &Shape::Object(&FLOW), min: 1 },
            "Streams of traffic by name; they run side by side.",
        )
        .required()
        .example("{ browse: { arrivals: { rate: 50/s, hold: 1m }, journey: [{ get: / }] } }"),
        Field::new("faults", Shape::List(&Shape::Object(&FAULT), 0), "What is broken, and when. Needs a `local` or `kubernetes` target."),
        Field::new("guard", Shape::Object(&GUARD), "What must stay whole, and when to give up.").default("{}"),
        Field::new("capacity", Shape::Object(&CAPACITY), "How `squall capacity` searches for the highest rate at which all of `expect` holds. `squall run` takes no notice.")
            .example("{ from: 100/s, to: 5000/s, at-least: 500/s }"),
        Field::new("observe", Shape::Object(&OBSERVE), "What is watched beside the target: where alerts are looked for.")
            .example("{ alertmanager: http://127.0.0.1:9093 }"),
        Field::new("expect", Shape::List(&EXPECT, 0), "What must hold: bounds such as `p99 < 250ms`, recovery after each fault, balance, alerts, autoscaling, and what instances use."),
        Field::new("run", Shape::Object(&RUN), "How the run itself is carried out.").default("{}"),
        Field::new("secrets", VARIABLES, "Values for templates that are never printed or recorded, usually `${NAME}` from the environment.")
            .example("{ token: \"${TOKEN}\" }"),
    ],
    hints: &[
        ("version", "the version of the format is written `squall: 1`"),
        ("scenario", "a scenario's traffic stands under `traffic`"),
        ("thresholds", "what must hold stands under `expect`"),
        ("load", "load is described under `traffic`"),
    ],
    extensible: true,
    ..Object::NEW
};

static TARGET: Object = Object {
    name: "target",
    doc: "The system under test.",
    fields: &[
        Field::new("local", Shape::Object(&LOCAL), "Processes of this machine, started for the run, behind a loopback balancer."),
        Field::new("kubernetes", Shape::Object(&KUBERNETES), "A Service of a Kubernetes cluster and the pods behind it.")
            .example("{ namespace: shop, service: front }"),
        Field::new(
            "url",
            Shape::Kinds { scalar: Some(Scalar::Url), list: None, map: Some(&Shape::Object(&URL)) },
            "A service that already runs. It can be loaded and measured, but not broken or watched.",
        )
        .example("https://example.org/api"),
    ],
    rules: &[Rule::One(&["local", "kubernetes", "url"])],
    ..Object::NEW
};

static KUBERNETES: Object = Object {
    name: "kubernetes-target",
    doc: "A Service of a Kubernetes cluster.",
    fields: &[
        Field::of("service", Scalar::Name, "Name of the Service that traffic goes to; faults hit the pods behind it.")
            .required()
            .example("front"),
        Field::of("namespace", Scalar::Name, "Its namespace; the context's own when absent.").example("shop"),
        Field::of("port", Scalar::Name, "Name or number of its port; may be left out where it has only one.").example("http"),
        Field::of("context", Scalar::Name, "Context of the kubeconfig; its current one when absent, or the pod's own account inside a cluster."),
        Field::of("kubeconfig", Scalar::File, "The kubeconfig; KUBECONFIG or ~/.kube/config when absent."),
        Field::of("scheme", Scalar::Choice(&[("http", "Clear text."), ("https", "TLS.")]), "What the pods speak.").default("http"),
        Field::of(
            "reach",
            Scalar::Choice(&[
                ("auto", "The first of the others, in their order, that takes a TCP connection from here."),
                ("cluster-ip", "The Service's cluster address: works from inside the cluster's network."),
                ("node-port", "A port of any node."),
                ("load-balancer", "The address of its load balancer."),
                ("ingress", "An Ingress that leads to it."),
                ("port-forward", "A tunnel through the API server to one pod: nothing is balanced."),
            ]),
            "How traffic gets to the Service.",
        )
        .default("auto"),
        Field::new("guardian", Shape::Object(&GUARDIAN), "A Job in the cluster that undoes what this run has changed there, when squall is killed.")
            .default("{}"),
        INSTANCE_HEADER,
        TLS_FIELD,
    ],
    hints: &[
        ("selector", "the pods are those of the Service; a fault selects among them"),
        ("deployment", "traffic needs a Service: name that"),
    ],
    ..Object::NEW
};

static GUARDIAN: Object = Object {
    name: "guardian",
    doc: "A Job in the target's namespace that watches the run and undoes what it has changed when it is dead.",
    fields: &[
        Field::of("image", Scalar::Name, "Squall's own image. Without one there is no guardian; inside a cluster it is the image of squall's own pod.")
            .example("registry.example/squall:0.1.0"),
        Field::of("service-account", Scalar::Name, "The account it runs as; deploy/kubernetes/rbac.yaml makes one.").default("squall"),
        Field::of(
            "pull",
            Scalar::Choice(&[
                ("if-not-present", "Where the node does not have the image."),
                ("always", "Each time."),
                ("never", "The nodes have it."),
            ]),
            "When the image is pulled.",
        )
        .default("if-not-present"),
    ],
    ..Object::NEW
};

static URL: Object = Object {
    name: "url-target",
    doc: "A service that already runs.",
    fields: &[
        Field::of(
            "url",
            Scalar::Url,
            "Base URL, with an optional path prefix.",
        )
        .required()
        .example("https://example.org/api"),
        INSTANCE_HEADER,
        TLS_FIELD,
    ],
    ..Object::NEW
};

const INSTANCE_HEADER: Field = Field::of(
    "instance-header",
    Scalar::Header,
    "The response header that names the instance which served a request. Where no response has it, the balancer of a local target knows.",
)
.default("x-squall-instance");
pub(super) const TLS_FIELD: Field = Field::new(
    "tls",
    Shape::Object(&TLS),
    "TLS towards it, when its scheme is https.",
)
.default("{}");

static LOCAL: Object = Object {
    name: "local-target",
    doc: "Instances of a command on this machine.",
    fields: &[
        Field::of("name", Scalar::Label, "Name of the service; its instances are NAME-1, NAME-2, ...").default("service"),
        Field::new(
            "command",
            Shape::Kinds { scalar: Some(Scalar::Name), list: Some(&Shape::Scalar(Scalar::Text)), map: None },
            "Program and arguments. `{port}` and `{instance}` are replaced for each instance; the program `squall` is this very program. A text is split as a shell would split it.",
        )
        .required()
        .example("squall demo --port {port}"),
        Field::of("instances", Scalar::Int(1, 1000), "How many instances.").default("1"),
        Field::new("env", TEXTS, "Extra environment of the instances. Its values are not recorded."),
        Field::of("port", Scalar::Int(1, 65535), "The balancer's port on 127.0.0.1; a free one when absent.").example("8080"),
        Field::of("first-port", Scalar::Int(1, 65535), "The first instance's port; the others have the ones after it, and a restarted one that of its predecessor. Free ones when absent: fixed ones are for what must find them, such as Prometheus.").example("9101"),
        Field::of("scheme", Scalar::Choice(&[("http", "Clear text."), ("https", "TLS.")]), "What the instances speak.")
            .default("http"),
        Field::new(
            "ready",
            Shape::Kinds {
                scalar: Some(Scalar::Choice(&[("tcp", "Ready when its port takes a connection.")])),
                list: None,
                map: Some(&Shape::Object(&READY)),
            },
            "How an instance shows that it is ready for traffic; `tcp` when nothing is said.",
        )
        .default("{}")
        .example("{ http: /readyz }"),
        Field::of("start-timeout", Scalar::SomeTime, "How long an instance may take to become ready at the start of the run.").default("30s"),
        Field::of("stop-grace", Scalar::Duration, "Time between SIGTERM and SIGKILL.").default("10s"),
        Field::new(
            "restart",
            Shape::Kinds {
                scalar: Some(Scalar::Choice(&[("never", "The dead stay dead."), ("always", "The dead are started again.")])),
                list: None,
                map: Some(&Shape::Object(&RESTART)),
            },
            "What happens when an instance dies: it is started again, as an orchestrator would.",
        )
        .default("{}")
        .example("never"),
        INSTANCE_HEADER,
        TLS_FIELD,
    ],
    hints: &[
        ("replicas", "it is `instances` here"),
        ("environment", "it is `env` here"),
    ],
    ..Object::NEW
};

static READY: Object = Object {
    name: "ready",
    doc: "A readiness probe.",
    fields: &[
        Field::of("http", Scalar::UrlPath, "GET this path and expect a status of 200 to 399; without it a TCP connection is enough.").example("/readyz"),
        Field::of("every", Scalar::SomeTime, "Time between probes.").default("500ms"),
        Field::of("timeout", Scalar::SomeTime, "A probe that takes longer has failed.").default("1s"),
        Field::of("failures", Scalar::Int(1, 1000), "So many failures in a row make an instance not ready.").default("3"),
        Field::of("successes", Scalar::Int(1, 1000), "So many successes in a row make an instance ready.").default("1"),
    ],
    ..Object::NEW
};

static RESTART: Object = Object {
    name: "restart",
    doc: "Restarting the dead, as an orchestrator does.",
    fields: &[
        Field::of(
            "backoff",
            Scalar::Duration,
            "Wait before the first restart; doubled for each further one.",
        )
        .default("1s"),
        Field::of("max-backoff", Scalar::Duration, "The longest wait.").default("30s"),
    ],
    ..Object::NEW
};

static TLS: Object = Object {
    name: "tls",
    doc: "How to speak TLS.",
    fields: &[
        Field::of(
            "ca",
            Scalar::File,
            "PEM file of certificate authorities to trust instead of the system's.",
        ),
        Field::of(
            "cert",
            Scalar::File,
            "PEM file with the client's certificate chain.",
        ),
        Field::of("key", Scalar::File, "PEM file with the client's key."),
        Field::of(
            "insecure",
            Scalar::Bool,
            "Accept any certificate. The report says so.",
        )
        .default("false"),
    ],
    rules: &[Rule::Needs("cert", "key"), Rule::Needs("key", "cert")],
    ..Object::NEW
};
