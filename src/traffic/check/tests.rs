use std::time::Duration;

use rand_pcg::Pcg64;
use serde_json::json;

use super::*;
use crate::scenario::units::Size;
use crate::scenario::{Extract, ExtractFrom, JsonOp, Op, TextTest};
use crate::traffic::testing::step;
use crate::traffic::text::Binding;

fn reply(status: u16, body: &str) -> Reply {
    let mut reply = Reply {
        status,
        ..Reply::default()
    };
    reply.keep = usize::MAX;
    reply.push_body(body.as_bytes());
    let (headers, _) = reply.parts();
    headers.append("x-a", "one".parse().unwrap());
    headers.append("x-a", "two".parse().unwrap());
    reply
}

fn names() -> Names {
    let mut names = Names::default();
    names.bind("id", Binding::Slot(0));
    names.bind("b", Binding::Slot(1));
    names
}

fn slot(name: &str) -> usize {
    if name == "id" { 0 } else { 1 }
}

fn holds(check: Check, reply: &Reply) -> bool {
    let mut step = step("GET", "/");
    step.checks = vec![check];
    let expected = Expected::compile(&step, &names(), slot).unwrap();
    let mut values = vec![Value::default(); 2];
    values[0].set("7");
    let mut rng = Pcg64::new(0, 0);
    let mut scope = Scope {
        values: &values,
        user: 1,
        iteration: 1,
        rng: &mut rng,
    };
    expected.judge(reply, 5_000, &mut scope).0 == Finding::Good
}

#[test]
fn without_a_check_any_status_under_400_is_good() {
    let expected = Expected::default();
    assert!(expected.accepts(200) && expected.accepts(302) && expected.accepts(399));
    assert!(!expected.accepts(400) && !expected.accepts(503));
}

#[test]
fn every_check_can_hold_and_fail() {
    let good = reply(
        200,
        r#"{"items": [{"id": 7, "s": "7", "n": null}], "text": "hello", "long": 9007199254740993}"#,
    );
    let text = |t: &str| TextTest::Contains(t.into());
    let header = |test| Check::Header {
        name: "x-a".into(),
        test,
    };
    let json = |path: &str, op, value| Check::Json {
        path: path.into(),
        op,
        value,
    };
    for (check, expected) in [
        (Check::Status(vec![StatusMatch::Exact(200)]), true),
        (
            Check::Status(vec![StatusMatch::Exact(201), StatusMatch::Class(2)]),
            true,
        ),
        (Check::Status(vec![StatusMatch::Class(4)]), false),
        (header(TextTest::Equals("two".into())), true),
        (header(TextTest::Equals("tw".into())), false),
        (header(TextTest::Matches("^t.o$".into())), true),
        (
            Check::Header {
                name: "x-b".into(),
                test: text(""),
            },
            false,
        ),
        (Check::Body(text("hello")), true),
        (Check::Body(text("\"id\": {{ id }}")), true),
        (Check::Body(text("\"id\": 1{{ id }}")), false),
        (Check::Body(text("Hello")), false),
        (Check::Body(TextTest::Matches(r"\d,".into())), true),
        (json("$.items[0].id", JsonOp::Exists, Json::Null), true),
        (json("$.items[0].n", JsonOp::Exists, Json::Null), true),
        (json("$.items[1]", JsonOp::Exists, Json::Null), false),
        (json("$.items[0].id", JsonOp::Equal, json!(7.0)), true),
        (
            json("$.items[0].id", JsonOp::Equal, json!("{{ id }}")),
            true,
        ),
        (json("$.items[0].s", JsonOp::Equal, json!(7)), false),
        // As floating point these two are one.
        (
            json("$.long", JsonOp::Equal, json!(9_007_199_254_740_993_u64)),
            true,
        ),
        (
            json("$.long", JsonOp::Equal, json!(9_007_199_254_740_992_u64)),
            false,
        ),
        (json("$.items[0].id", JsonOp::NotEqual, json!(8)), true),
        (json("$.nothing", JsonOp::NotEqual, json!(8)), false),
        (json("$.items[0].id", JsonOp::Less, json!(7)), false),
        (json("$.items[0].id", JsonOp::AtMost, json!(7)), true),
        (
            json("$.items[0].id", JsonOp::More, json!("{{ id }}")),
            false,
        ),
        (
            json("$.items[0].id", JsonOp::AtLeast, json!("{{ id }}")),
            true,
        ),
        (json("$.text", JsonOp::More, json!(1)), false),
        (
            Check::Size {
                op: Op::Less,
                value: Size::bytes(1000),
            },
            true,
        ),
        (
            Check::Size {
                op: Op::More,
                value: Size::bytes(1000),
            },
            false,
        ),
        (
            Check::Time {
                op: Op::AtMost,
                value: Duration::from_millis(5),
            },
            true,
        ),
        (
            Check::Time {
                op: Op::Less,
                value: Duration::from_millis(5),
            },
            false,
        ),
    ] {
        assert_eq!(holds(check.clone(), &good), expected, "{check:?}");
    }
    let broken = reply(200, "no json");
    assert!(!holds(json("$", JsonOp::Equal, json!(1)), &broken));
}

#[test]
fn values_are_extracted_or_defaulted_or_missed() {
    let mut step = step("GET", "/");
    let extract = |variable: &str, from, default: Option<&str>| Extract {
        variable: variable.into(),
        from,
        default: default.map(Into::into),
    };
    let run = |extracts: Vec<Extract>, step: &mut Step| {
        step.extract = extracts;
        let expected = Expected::compile(step, &names(), slot).unwrap();
        let mut values = vec![Value::default(); 2];
        let reply = reply(200, r#"{"a": [5, "x"]} tail=abc;"#);
        let json = reply_json();
        let mut rng = Pcg64::new(0, 0);
        let missing = expected.extract(&reply, Some(json), &mut values, 1, 1, &mut rng);
        (
            values[0].get().to_string(),
            values[1].get().to_string(),
            missing,
        )
    };
    fn reply_json() -> Json {
        json!({"a": [5, "x"]})
    }
    let pattern = |p: &str, group| ExtractFrom::Regex {
        pattern: p.into(),
        group,
    };
    let got = run(
        vec![
            extract("id", ExtractFrom::Json("$.a[0]".into()), None),
            extract("b", pattern("tail=(.*?);", 1), None),
        ],
        &mut step,
    );
    assert_eq!(got, ("5".into(), "abc".into(), None));
    let got = run(
        vec![
            extract("id", ExtractFrom::Header("x-a".into()), None),
            extract("b", ExtractFrom::Json("$.zzz".into()), Some("d-{{ id }}")),
        ],
        &mut step,
    );
    assert_eq!(got, ("one".into(), "d-one".into(), None));
    let got = run(
        vec![extract("id", ExtractFrom::Header("nope".into()), None)],
        &mut step,
    );
    assert_eq!(got, (String::new(), String::new(), Some(0)));
}
