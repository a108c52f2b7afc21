//! The shape of `autoscale` in `expect`.

use super::{Field, Object, Scalar, Shape};

pub(super) static AUTOSCALE_EXPECTATION: Object = Object {
    name: "autoscale-expectation",
    doc: "A HorizontalPodAutoscaler decides what its metrics give, and the service follows its load.",
    fields: &[Field::new(
        "autoscale",
        Shape::Kinds {
            scalar: Some(Scalar::Name),
            list: None,
            map: Some(&Shape::Object(&AUTOSCALE)),
        },
        "Name of the HorizontalPodAutoscaler, or `{ hpa: NAME, ... }`.",
    )
    .required()
    .example("{ hpa: checkout }")],
    ..Object::NEW
};

static AUTOSCALE: Object = Object {
    name: "autoscale",
    doc: "An autoscaler, and the flags of its controller where they are not the usual ones: a cluster does not tell them.",
    fields: &[
        Field::of(
            "hpa",
            Scalar::Name,
            "Name of the HorizontalPodAutoscaler, in the target's namespace.",
        )
        .required()
        .example("checkout"),
        Field::of(
            "sync",
            Scalar::SomeTime,
            "--horizontal-pod-autoscaler-sync-period of the controller manager.",
        )
        .default("15s"),
        Field::of(
            "downscale-stabilization",
            Scalar::Duration,
            "--horizontal-pod-autoscaler-downscale-stabilization; an autoscaler's own window goes before.",
        )
        .default("5m"),
        Field::of(
            "cpu-initialization",
            Scalar::Duration,
            "--horizontal-pod-autoscaler-cpu-initialization-period.",
        )
        .default("5m"),
        Field::of(
            "initial-readiness-delay",
            Scalar::Duration,
            "--horizontal-pod-autoscaler-initial-readiness-delay.",
        )
        .default("30s"),
        Field::of(
            "tolerance",
            Scalar::Share,
            "--horizontal-pod-autoscaler-tolerance; an autoscaler's own one goes before.",
        )
        .default("10%"),
        Field::of(
            "at-max",
            Scalar::Duration,
            "The longest time in a row at `maxReplicas` with a metric above its target.",
        )
        .default("1m"),
    ],
    hints: &[
        ("name", "it is `hpa` here"),
        ("max", "the limits are the autoscaler's own: `maxReplicas` in its spec"),
    ],
    ..Object::NEW
};
