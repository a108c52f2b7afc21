//! The shape of `capacity`.

use super::{Field, Object, Scalar};

pub(super) static CAPACITY: Object = Object {
    name: "capacity",
    doc: "How `squall capacity` searches for the highest rate at which everything in `expect` holds.",
    fields: &[
        Field::of(
            "from",
            Scalar::Rate,
            "The lowest rate tried: arrivals of all flows together, each with its share.",
        )
        .required()
        .example("100/s"),
        Field::of("to", Scalar::Rate, "The highest rate tried.")
            .required()
            .example("5000/s"),
        Field::of(
            "hold",
            Scalar::SomeTime,
            "How long each rate is held; the warm-up, during which it is reached, comes before.",
        )
        .default("10s"),
        Field::of("resolution", Scalar::Share, "How exact the answer is.").default("5%"),
        Field::of(
            "at-least",
            Scalar::Rate,
            "The capacity that must be there: less is a FAIL.",
        )
        .example("500/s"),
    ],
    hints: &[
        ("rate", "the search goes `from` one rate `to` another"),
        ("min", "it is `at-least` here"),
        ("duration", "it is `hold` here"),
    ],
    ..Object::NEW
};
