//! A journey: requests with their checks and extractions, pauses, choices.

use super::{Field, Keys, Object, Rule, Scalar, Shape};

/// The methods, as keys of a step.
pub const METHODS: [&str; 7] = ["get", "post", "put", "patch", "delete", "head", "options"];

/// Text, or several texts under one name.
static TEXT_OR_MORE: Shape = Shape::Kinds {
    scalar: Some(Scalar::Text),
    list: Some(&Shape::Scalar(Scalar::Text)),
    map: None,
};
/// Header values by name.
pub(super) const HEADERS: Shape = Shape::Map {
    keys: Keys::Header,
    value: &TEXT_OR_MORE,
    min: 0,
};
const PARAMETERS: Shape = Shape::Map {
    keys: Keys::Text,
    value: &TEXT_OR_MORE,
    min: 0,
};

/// A node of a journey. Journeys hold journeys, so this is a static that others point at.
pub(super) static NODE: Shape =
    Shape::Tagged(&[("get", &STEP), ("think", &THINK), ("choose", &CHOOSE)]);

static THINK: Object = Object {
    name: "think",
    doc: "A pause.",
    fields: &[Field::of(
        "think",
        Scalar::Think,
        "How long: 500ms, 1s..3s (uniform) or exp(2s) (exponential).",
    )
    .required()
    .example("1s..3s")],
    ..Object::NEW
};

static CHOOSE: Object = Object {
    name: "choose",
    doc: "One of several branches, by weight.",
    fields: &[Field::new(
        "choose",
        Shape::List(&Shape::Object(&BRANCH), 1),
        "The branches.",
    )
    .required()],
    ..Object::NEW
};

static BRANCH: Object = Object {
    name: "branch",
    doc: "A branch of a choice.",
    fields: &[
        Field::of(
            "weight",
            Scalar::Positive,
            "Its share among its siblings' weights.",
        )
        .default("1"),
        Field::new("journey", Shape::List(&NODE, 1), "What it does.")
            .required()
            .example("[{ get: / }]"),
    ],
    ..Object::NEW
};

const PATH: &str = "Request this path of the target. Values may be put in: /products/{{ id }}.";

static STEP: Object = Object {
    name: "step",
    doc: "One request, and what its response must be.",
    fields: &[
        Field::of("get", Scalar::Name, PATH).example("/products"),
        Field::of("post", Scalar::Name, PATH).example("/cart"),
        Field::of("put", Scalar::Name, PATH),
        Field::of("patch", Scalar::Name, PATH),
        Field::of("delete", Scalar::Name, PATH),
        Field::of("head", Scalar::Name, PATH),
        Field::of("options", Scalar::Name, PATH),
        Field::of(
            "name",
            Scalar::Name,
            "Name in reports, unique in its flow; method and path (`GET /products`) when not given.",
        ),
        Field::new("query", PARAMETERS, "Query parameters; encoded when sent.")
            .example("{ q: \"{{ users.word }}\" }"),
        Field::new("headers", HEADERS, "Headers.").example("{ accept: application/json }"),
        Field::new(
            "json",
            Shape::Any,
            "Body as JSON; its texts may hold {{ values }}.",
        )
        .example("{ id: \"{{ id }}\" }"),
        Field::of("body", Scalar::Text, "Body as text."),
        Field::new("form", PARAMETERS, "Body as a form.").example("{ q: tea }"),
        Field::of("file", Scalar::File, "Body from a file, as it is."),
        Field::of(
            "timeout",
            Scalar::SomeTime,
            "From the send to the last byte; the flow's when absent.",
        )
        .example("2s"),
        Field::of(
            "follow-redirects",
            Scalar::Bool,
            "Follow redirects, at most 10. One to another host is not followed, and an error.",
        )
        .default("false"),
        Field::new(
            "check",
            Shape::Object(&CHECK),
            "What the response must be. Without a status among it, any status under 400 will do.",
        )
        .example("{ status: 200, time: \"< 250ms\" }"),
        Field::new(
            "extract",
            Shape::Map {
                keys: Keys::Variable,
                value: &Shape::Kinds {
                    scalar: Some(Scalar::JsonPath),
                    list: None,
                    map: Some(&Shape::Object(&EXTRACT)),
                },
                min: 0,
            },
            "Values of the response, kept for later steps.",
        )
        .example("{ id: $.items[0].id }"),
    ],
    rules: &[
        Rule::One(&METHODS),
        Rule::AtMostOne(&["json", "body", "form", "file"]),
    ],
    hints: &[
        ("url", "a step names its method: `get: /path`"),
        ("path", "a step names its method: `get: /path`"),
        ("method", "a step names its method: `get: /path`"),
        ("request", "a step names its method: `get: /path`"),
        ("checks", "it is `check` here"),
    ],
    ..Object::NEW
};

static CHECK: Object = Object {
    name: "check",
    doc: "What must hold for the response; all of it.",
    fields: &[
        Field::new(
            "status",
            Shape::Kinds { scalar: Some(Scalar::Status), list: Some(&Shape::Scalar(Scalar::Status)), map: None },
            "Its status: 200, [200, 204] or 2xx.",
        )
        .example("200"),
        Field::new(
            "header",
            Shape::Map {
                keys: Keys::Header,
                value: &Shape::Kinds { scalar: Some(Scalar::Text), list: None, map: Some(&Shape::Object(&TEXT_TEST)) },
                min: 1,
            },
            "Headers by name, each a text that it must be, or a test.",
        )
        .example("{ content-type: { contains: json } }"),
        Field::new(
            "body",
            Shape::Kinds {
                scalar: None,
                list: Some(&Shape::Object(&TEXT_TEST)),
                map: Some(&Shape::Object(&TEXT_TEST)),
            },
            "A test on the body, or several.",
        )
        .example("{ contains: welcome }"),
        Field::new(
            "json",
            Shape::Map { keys: Keys::JsonPath, value: &Shape::Scalar(Scalar::Value), min: 1 },
            "JSON paths, each with what the first value there must be: \"exists\", 5, \"> 3\", \"!= x\".",
        )
        .example("{ \"$.items[0].id\": exists }"),
        Field::of("size", Scalar::SizeCheck, "The body's size.").example("\"< 4KiB\""),
        Field::of("time", Scalar::TimeCheck, "The response time.").example("\"< 250ms\""),
    ],
    rules: &[Rule::Some],
    hints: &[("headers", "it is `header` in a check")],
    ..Object::NEW
};

static TEXT_TEST: Object = Object {
    name: "text-test",
    doc: "A test on text.",
    fields: &[
        Field::of("equals", Scalar::Text, "It is exactly this."),
        Field::of("contains", Scalar::Text, "It has this in it."),
        Field::of(
            "matches",
            Scalar::Regex,
            "It matches this regular expression somewhere.",
        ),
    ],
    rules: &[Rule::One(&["equals", "contains", "matches"])],
    ..Object::NEW
};

static EXTRACT: Object = Object {
    name: "extract",
    doc: "Where a value is. A response without it fails the step, unless there is a default.",
    fields: &[
        Field::of("json", Scalar::JsonPath, "The first value at a JSON path.")
            .example("$.items[0].id"),
        Field::of("header", Scalar::Header, "A response header.").example("x-token"),
        Field::of("regex", Scalar::Regex, "The first match in the body.").example("'id=(\\d+)'"),
        Field::of(
            "group",
            Scalar::Int(0, 100),
            "Which group of the match; 0 is all of it. 1 when the expression has groups.",
        ),
        Field::of("default", Scalar::Text, "Used when the value is not there."),
    ],
    rules: &[
        Rule::One(&["json", "header", "regex"]),
        Rule::Needs("group", "regex"),
    ],
    ..Object::NEW
};
