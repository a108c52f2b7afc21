//! The shapes of `deploy` and `spread` in `expect`.

use super::{Field, Object, Scalar, Shape};

pub(super) static DEPLOY_EXPECTATION: Object = Object {
    name: "deploy-expectation",
    doc: "A new version is rolled out without anybody noticing.",
    fields: &[Field::new(
        "deploy",
        Shape::Kinds {
            scalar: Some(Scalar::SomeTime),
            list: None,
            map: Some(&Shape::Object(&DEPLOY)),
        },
        "Each rollout is complete within this time, or `{ within: 2m, ... }`. Needs a `kubernetes` target.",
    )
    .required()
    .example("2m")],
    ..Object::NEW
};

static DEPLOY: Object = Object {
    name: "deploy",
    doc: "Each rollout of the target's workload costs no request, keeps to its strategy and is complete in time.",
    fields: &[
        Field::of(
            "within",
            Scalar::SomeTime,
            "From the change of the workload until all its pods are new and available.",
        )
        .required()
        .example("2m"),
        Field::of(
            "settle",
            Scalar::Duration,
            "Errors count for so long after the last pod was replaced.",
        )
        .default(SETTLE),
    ],
    hints: &[(
        "errors",
        "a rollout costs none; a bound on all traffic stands beside it: `errors < 1%`",
    )],
    ..Object::NEW
};

/// What `settle` is where nothing is said.
pub const SETTLE: &str = "10s";

const OVER: Scalar = Scalar::Choice(&[
    ("instance", "Each instance."),
    (
        "node",
        "Each node that has instances; needs a `kubernetes` target.",
    ),
]);

pub(super) static SPREAD_EXPECTATION: Object = Object {
    name: "spread-expectation",
    doc: "No single instance or node is one that users need.",
    fields: &[Field::new(
        "spread",
        Shape::Kinds {
            scalar: Some(OVER),
            list: None,
            map: Some(&Shape::Object(&SPREAD)),
        },
        "What is lost one after another by faults with `pick: each`, or `{ over: instance, ... }`.",
    )
    .required()
    .example("instance")],
    ..Object::NEW
};

static SPREAD: Object = Object {
    name: "spread",
    doc: "Each one is lost once, and users hardly notice.",
    fields: &[
        Field::of("over", OVER, "What is lost one after another.").default(SPREAD_OVER),
        Field::of(
            "errors",
            Scalar::Share,
            "At most this share of the requests due after each loss fails.",
        )
        .default(SPREAD_ERRORS),
        Field::of("within", Scalar::SomeTime, "So long after each loss.").default(SPREAD_WITHIN),
    ],
    ..Object::NEW
};

const SPREAD_OVER: &str = "instance";
/// What `errors` is where nothing is said.
pub const SPREAD_ERRORS: &str = "1%";
/// What `within` is where nothing is said.
pub const SPREAD_WITHIN: &str = "10s";
