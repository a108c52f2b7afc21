//! The shape of `observe`, and of `alert` in `expect`.

use super::file::{TEXTS, TLS_FIELD};
use super::{Field, Object, Rule, Scalar, Shape};

/// An API that tells of alerts: its URL, or more.
const API: Shape = Shape::Kinds {
    scalar: Some(Scalar::Url),
    list: None,
    map: Some(&Shape::Object(&ALERT_API)),
};

/// What is watched beside the target.
pub(super) static OBSERVE: Object = Object {
    name: "observe",
    doc: "What is watched beside the target, once a second.",
    fields: &[
        Field::new(
            "alertmanager",
            API,
            "Base URL of an Alertmanager: an alert counts when it is here.",
        )
        .example("http://127.0.0.1:9093"),
        Field::new(
            "prometheus",
            API,
            "Base URL of a Prometheus: its own list of alerts shows what is pending, and counts where there is no Alertmanager.",
        )
        .example("http://127.0.0.1:9090"),
    ],
    rules: &[Rule::Some],
    ..Object::NEW
};

static ALERT_API: Object = Object {
    name: "alert-api",
    doc: "An HTTP API that tells of alerts.",
    fields: &[
        Field::of(
            "url",
            Scalar::Url,
            "Base URL, with an optional path prefix.",
        )
        .required()
        .example("https://alerts.example.org"),
        Field::of(
            "authorization",
            Scalar::Name,
            "The header `Authorization`, with `${NAME}` from the environment; never printed or recorded.",
        )
        .example("\"Bearer ${ALERTS_TOKEN}\""),
        TLS_FIELD,
    ],
    hints: &[("token", "a token is `authorization: \"Bearer ${TOKEN}\"`")],
    ..Object::NEW
};

pub(super) static ALERT_EXPECTATION: Object = Object {
    name: "alert-expectation",
    doc: "A fault raises an alert in time, and its end clears it.",
    fields: &[
        Field::new("alert", Shape::Object(&ALERT), "The alert, and how soon.")
            .required()
            .example("{ name: ShopInstanceDown, fires-within: 30s }"),
    ],
    ..Object::NEW
};

static ALERT: Object = Object {
    name: "alert",
    doc: "An alert that a fault must raise.",
    fields: &[
        Field::of("name", Scalar::Name, "Its name: the rule's `alert`, the label `alertname`.")
            .required()
            .example("ShopInstanceDown"),
        Field::new(
            "labels",
            TEXTS,
            "Labels that it must have, so that it names what is broken; `{instance}` in a value is the name of each instance hit.",
        )
        .example("{ instance: \"{instance}\" }"),
        Field::of("fires-within", Scalar::SomeTime, "At most so long after the fault.")
            .required()
            .example("60s"),
        Field::of(
            "resolves-within",
            Scalar::SomeTime,
            "Gone at most so long after the fault is over: undone, what died replaced, the service well again.",
        )
        .example("2m"),
        Field::of("fault", Scalar::Name, "The name of the fault that must raise it; each of them when absent."),
        Field::new(
            "ignore",
            Shape::Kinds { scalar: Some(Scalar::Name), list: Some(&Shape::Scalar(Scalar::Name)), map: None },
            "Names of alerts that may fire before any fault, such as one that always fires.",
        )
        .example("[Watchdog]"),
    ],
    hints: &[
        ("alertname", "the alert's name is `name`"),
        ("within", "how soon is `fires-within`, how soon it is gone `resolves-within`"),
        ("for", "`for` is the rule's; how soon the alert must be there is `fires-within`"),
    ],
    ..Object::NEW
};
