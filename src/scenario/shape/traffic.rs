//! A flow of traffic: arrivals or users, connections, data.

use super::file::VARIABLES;
use super::journey::{HEADERS, NODE};
use super::{Field, Keys, Object, Rule, Scalar, Shape};

const USERS: Scalar = Scalar::Int(1, 1_000_000);

/// One stream of traffic.
pub(super) static FLOW: Object = Object {
    name: "flow",
    doc: "One stream of traffic: a journey, and how often it is made.",
    fields: &[
        Field::new("arrivals", Shape::Object(&ARRIVALS), "Open load: journeys begin on a schedule that does not wait for the service.")
            .example("{ rate: 500/s, process: poisson, ramp: 10s, hold: 50s }"),
        Field::new("users", Shape::Object(&USERS_LOAD), "Closed load: so many users make the journey over and over, each waiting for its responses.")
            .example("{ count: 200, ramp: 10s, hold: 50s, think: 1s..3s }"),
        Field::of("start", Scalar::Duration, "Waits so long after the start of traffic.").default("0s"),
        Field::new(
            "connections",
            Shape::Kinds { scalar: Some(Scalar::Choice(MODES)), list: None, map: Some(&Shape::Object(&CONNECTIONS)) },
            "How connections are used, which decides what a load balancer sees.",
        )
        .default("per-user"),
        Field::of("protocol", Scalar::Choice(&[("http1", "HTTP/1.1."), ("http2", "HTTP/2.")]), "HTTP version.").default("http1"),
        Field::of(
            "transport",
            Scalar::Choice(&[
                ("auto", "The lean one wherever the flow needs nothing more."),
                ("lean", "HTTP/1.1 at the least cost."),
                ("reqwest", "HTTP/2 and redirects."),
            ]),
            "Which HTTP client carries the flow.",
        )
        .default("auto"),
        Field::of("timeout", Scalar::SomeTime, "Timeout of steps that name none.").default("10s"),
        Field::new("headers", HEADERS, "Headers sent with each request.").example("{ accept: application/json }"),
        Field::new("variables", VARIABLES, "Constant values for templates.").example("{ region: eu }"),
        Field::new(
            "data",
            Shape::Map { keys: Keys::Variable, value: &Shape::Object(&FEEDER), min: 0 },
            "Rows of data; each journey takes one, and its fields are {{ NAME.FIELD }} in templates.",
        )
        .example("{ users: { csv: users.csv, order: shuffled } }"),
        Field::new("journey", Shape::List(&NODE, 1), "What happens, in order: requests, pauses and choices.")
            .required()
            .example("[{ get: / }]"),
    ],
    rules: &[Rule::One(&["arrivals", "users"])],
    hints: &[
        ("rate", "the rate stands under `arrivals`"),
        ("steps", "the steps of a flow stand under `journey`"),
        ("requests", "the requests of a flow stand under `journey`"),
        ("vus", "users stand under `users: { count: ... }`"),
        ("think", "think time stands under `users`, or in the journey as `- think: 1s`"),
    ],
    ..Object::NEW
};

const MODES: &[(&str, &str)] = &[
    (
        "per-user",
        "Each user (closed) or concurrent journey (open) keeps one alive.",
    ),
    ("per-request", "A new one for each request."),
];

static CONNECTIONS: Object = Object {
    name: "connections",
    doc: "How connections are used.",
    fields: &[
        Field::of(
            "mode",
            Scalar::Choice(MODES),
            "Who owns a connection; `per-user` unless pooled.",
        ),
        Field::of(
            "pooled",
            Scalar::Int(1, 1_000_000),
            "All users share so many.",
        )
        .example("20"),
        Field::of(
            "max-age",
            Scalar::SomeTime,
            "A connection older than this is closed after its response and replaced.",
        ),
        Field::of(
            "streams",
            Scalar::Int(1, 10_000),
            "HTTP/2: concurrent streams per connection.",
        ),
        Field::new(
            "source",
            Shape::List(&Shape::Scalar(Scalar::Ip), 1),
            "Local source addresses to spread connections over.",
        )
        .example("[127.0.0.2]"),
    ],
    rules: &[Rule::AtMostOne(&["mode", "pooled"])],
    ..Object::NEW
};

const RAMP: Field = Field::of(
    "ramp",
    Scalar::Duration,
    "Time to get there, linearly; 0s jumps.",
);
const HOLD: Field = Field::of("hold", Scalar::Duration, "Time to stay there.");
const STAGE_HINTS: &[(&str, &str)] = &[
    (
        "duration",
        "time stands under `ramp` (to get there) and `hold` (to stay there)",
    ),
    (
        "for",
        "time stands under `ramp` (to get there) and `hold` (to stay there)",
    ),
];

static ARRIVALS: Object = Object {
    name: "arrivals",
    doc: "Journeys that begin on a schedule, whatever the service does.",
    fields: &[
        Field::of("rate", Scalar::Rate, "Journeys begun per time.").example("500/s"),
        RAMP,
        HOLD,
        Field::new("stages", Shape::List(&Shape::Object(&RATE_STAGE), 1), "Several rates, one after the other."),
        Field::of(
            "process",
            Scalar::Choice(&[("constant", "Evenly spaced."), ("poisson", "As independent users arrive: exponential gaps.")]),
            "How arrivals are spaced.",
        )
        .default("constant"),
        Field::of("max-in-flight", Scalar::Int(1, 1_000_000), "At most so many journeys at once; an arrival beyond is dropped, and counted as dropped.")
            .default("10000"),
    ],
    rules: &[
        Rule::One(&["rate", "stages"]),
        Rule::Not("ramp", "stages"),
        Rule::Not("hold", "stages"),
    ],
    hints: STAGE_HINTS,
    ..Object::NEW
};

static RATE_STAGE: Object = Object {
    name: "rate-stage",
    doc: "One stage: the rate ramps to its own and holds.",
    fields: &[
        Field::of(
            "rate",
            Scalar::Rate,
            "Journeys begun per time, at the end of the ramp.",
        )
        .required()
        .example("500/s"),
        RAMP,
        HOLD,
    ],
    hints: STAGE_HINTS,
    ..Object::NEW
};

static USERS_LOAD: Object = Object {
    name: "users",
    doc: "Users that make the journey over and over.",
    fields: &[
        Field::of("count", USERS, "How many.").example("200"),
        RAMP,
        HOLD,
        Field::new(
            "stages",
            Shape::List(&Shape::Object(&USER_STAGE), 1),
            "Several counts, one after the other.",
        ),
        Field::of(
            "think",
            Scalar::Think,
            "Think time after each request: 500ms, 1s..3s (uniform) or exp(2s) (exponential).",
        )
        .example("1s..3s"),
    ],
    rules: &[
        Rule::One(&["count", "stages"]),
        Rule::Not("ramp", "stages"),
        Rule::Not("hold", "stages"),
    ],
    hints: STAGE_HINTS,
    ..Object::NEW
};

static USER_STAGE: Object = Object {
    name: "user-stage",
    doc: "One stage: the number of users ramps to its own and holds.",
    fields: &[
        Field::of(
            "users",
            Scalar::Int(0, 1_000_000),
            "Users at the end of the ramp.",
        )
        .required()
        .example("200"),
        RAMP,
        HOLD,
    ],
    hints: STAGE_HINTS,
    ..Object::NEW
};

static FEEDER: Object = Object {
    name: "data",
    doc: "A file of rows for templates.",
    fields: &[
        Field::of(
            "csv",
            Scalar::File,
            "Comma-separated values with a header line.",
        )
        .example("users.csv"),
        Field::of("jsonl", Scalar::File, "One JSON object a line.").example("users.jsonl"),
        Field::of(
            "order",
            Scalar::Choice(&[
                ("in-order", "In file order, then from the start again."),
                ("shuffled", "Shuffled by the seed, over and over."),
                (
                    "once",
                    "Each row once; the flow ends when they are used up.",
                ),
            ]),
            "In what order rows are taken, one a journey.",
        )
        .default("in-order"),
    ],
    rules: &[Rule::One(&["csv", "jsonl"])],
    hints: &[(
        "file",
        "the file stands under its format: `csv: FILE` or `jsonl: FILE`",
    )],
    ..Object::NEW
};
