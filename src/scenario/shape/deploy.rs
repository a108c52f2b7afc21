//! The shape of `deploy` in `expect`.

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
