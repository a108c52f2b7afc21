//! The shape of `usage` in `expect`.

use super::{Field, Object, Scalar, Shape};

pub(super) static USAGE_EXPECTATION: Object = Object {
    name: "usage-expectation",
    doc: "No instance uses more of its machine than it should.",
    fields: &[Field::new(
        "usage",
        Shape::Kinds {
            scalar: Some(Scalar::Empty),
            list: None,
            map: Some(&Shape::Object(&USAGE)),
        },
        "How much each container may use, of its limits by default; or `{ memory: 80%, ... }`.",
    )
    .required()
    .example("{ cpu: 80% of limit, memory: 90% of limit }")],
    ..Object::NEW
};

static USAGE: Object = Object {
    name: "usage",
    doc: "How much each container of a pod (in a cluster) or each instance (a local target) may use.",
    fields: &[
        Field::of(
            "cpu",
            Scalar::CpuBound,
            "CPU, above which it must not be for as long as `for`. In a cluster 90% of limit when not given; of a local \
             target it must be an amount.",
        )
        .example("150% of request"),
        Field::of(
            "memory",
            Scalar::MemoryBound,
            "Memory, at any time. In a cluster 90% of limit when not given; of a local target it must be an amount.",
        )
        .example("200MiB"),
        Field::of(
            "throttled",
            Scalar::Share,
            "At most this share of a container's scheduling periods is throttled, in a cluster. 25% where it is seen when \
             not given.",
        )
        .example("5%"),
        Field::of(
            "for",
            Scalar::SomeTime,
            "CPU and throttling may be above their bounds for less than this in a row.",
        )
        .default("30s"),
        Field::of(
            "oom-kills",
            Scalar::Int(0, u32::MAX as u64),
            "At most so many containers are killed for their memory.",
        )
        .default("0"),
    ],
    hints: &[
        ("mem", "it is `memory` here"),
        ("oom", "it is `oom-kills` here"),
    ],
    ..Object::NEW
};
