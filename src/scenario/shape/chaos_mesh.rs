//! The faults that Chaos Mesh makes in a cluster. Two of them a local target's balancer makes too.

use super::cluster::{CONTAINER, NAMESPACE, NODE, OWNER, ZONE, plain, with};
use super::faults::{HINTS, NAME, PICK, READY, SELECT};
use super::{Field, Object, Rule, Scalar, Shape};

pub(super) static DELAY: Object = with!(
    "delay",
    "Bytes to and from the instance come late; in a cluster, packets that leave the pod.",
    Field::of("latency", Scalar::SomeTime, "For so long.")
        .required()
        .example("200ms"),
    Field::of("jitter", Scalar::Duration, "Plus or minus up to so long.").default("0s")
);
pub(super) static BLACK_HOLE: Object = plain("black-hole", "Nothing comes through.");
pub(super) static LOSS: Object = with!(
    "loss",
    "Packets that leave the pod are lost, each by chance.",
    Field::of("share", Scalar::Share, "The share that is lost.")
        .required()
        .example("10%")
);
pub(super) static DNS_FAULT: Object = with!(
    "dns-fault",
    "What the pod asks the DNS is not answered as it should be.",
    Field::of(
        "answer",
        Scalar::Choice(&[
            ("error", "An error."),
            ("random", "A random address."),
        ]),
        "What a question gets.",
    )
    .default("error"),
    Field::new(
        "domains",
        Shape::List(&Shape::Scalar(Scalar::Name), 1),
        "Only for these names, where `?` is any letter and a `*` at the end anything; for all when not given.",
    )
    .example("[ \"cart.shop.*\" ]")
);

const VOLUME: Field = Field::of(
    "volume",
    Scalar::UrlPath,
    "Where the volume of the files is mounted in the container.",
)
.required()
.example("/data");
const PATH: Field = Field::of(
    "path",
    Scalar::UrlPath,
    "Only files that match this pattern; all of the volume when not given.",
)
.example("/data/wal/*");
const SHARE: Field = Field::of(
    "share",
    Scalar::Share,
    "The share of calls, in whole percent.",
)
.default("100%");
pub(super) static IO_DELAY: Object = with!(
    "io-delay",
    "Calls on files take longer.",
    Field::of("latency", Scalar::SomeTime, "By so much.")
        .required()
        .example("100ms"),
    VOLUME,
    PATH,
    SHARE,
    CONTAINER
);
pub(super) static IO_ERROR: Object = with!(
    "io-error",
    "Calls on files fail.",
    Field::of(
        "errno",
        Scalar::Choice(&[
            ("EIO", "Input or output failed."),
            ("ENOSPC", "The device is full."),
            ("EROFS", "The file system is read-only."),
            ("EDQUOT", "The quota is used up."),
            ("EACCES", "Not permitted."),
            ("ENOENT", "No such file."),
        ]),
        "The error.",
    )
    .default("EIO"),
    VOLUME,
    PATH,
    SHARE,
    CONTAINER
);
pub(super) static CLOCK_SKEW: Object = Object {
    rules: &[Rule::One(&["ahead", "behind"])],
    ..with!(
        "clock-skew",
        "The time of day that the container reads is another. Monotonic time is not changed.",
        Field::of("ahead", Scalar::SomeTime, "So far in the future.").example("10m"),
        Field::of("behind", Scalar::SomeTime, "So far in the past.").example("10m"),
        CONTAINER
    )
};
