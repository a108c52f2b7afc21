//! The shape of `balance` in `expect`.

use super::{Field, Object, Scalar, Shape};

const BY: Scalar = Scalar::Choice(&[
    (
        "connection",
        "For each connection: kube-proxy, any layer-4 balancer.",
    ),
    ("request", "For each request: meshes, layer-7 proxies."),
]);

pub(super) static BALANCE_EXPECTATION: Object = Object {
    name: "balance-expectation",
    doc: "The load balancer spreads what it should spread.",
    fields: &[Field::new(
        "balance",
        Shape::Kinds {
            scalar: Some(BY),
            list: None,
            map: Some(&Shape::Object(&BALANCE)),
        },
        "What the balancer chooses an instance for, or `{ by: connection, ... }`.",
    )
    .required()
    .example("connection")],
    ..Object::NEW
};

static BALANCE: Object = Object {
    name: "balance",
    doc: "How the load balancer spreads.",
    fields: &[
        Field::of("by", BY, "What the balancer chooses an instance for.").default("connection"),
        Field::new(
            "kind",
            Shape::Kinds {
                scalar: Some(Scalar::Choice(&[
                    ("uniform", "All instances alike: at random or in turn."),
                    (
                        "least-request",
                        "The least busy instance: a slow one gets less.",
                    ),
                ])),
                list: None,
                map: Some(&Shape::Object(&AFFINITY)),
            },
            "How it chooses.",
        )
        .default("uniform")
        .example("{ client-ip: 3h }"),
        Field::of(
            "tolerance",
            Scalar::Share,
            "An instance may get so much more than its share, or less by the same factor: 25% is 0.8 to 1.25 times.",
        )
        .default("25%"),
        Field::of(
            "lag",
            Scalar::Duration,
            "Left out after each change of the instances, while it spreads.",
        )
        .default("5s"),
        Field::of(
            "instances",
            Scalar::Int(2, 1000),
            "How many instances there are all the time, behind a `url` target: nothing else tells of one that gets nothing.",
        )
        .example("3"),
    ],
    ..Object::NEW
};

static AFFINITY: Object = Object {
    name: "client-affinity",
    doc: "A client stays with its instance.",
    fields: &[Field::of(
        "client-ip",
        Scalar::SomeTime,
        "For so long after its last connection.",
    )
    .required()
    .example("3h")],
    ..Object::NEW
};
