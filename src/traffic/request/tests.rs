use rand_pcg::Pcg64;

use super::*;
use crate::traffic::testing::{flow, step};
use crate::traffic::text::{Binding, Value};

fn names() -> Names {
    let mut names = Names::default();
    names.bind("id", Binding::Slot(0));
    names
}

fn compile(step: &Step, flow: &Flow, base: &str) -> (RequestTemplate, Origin) {
    let origin = Origin::parse(base).unwrap();
    let template = RequestTemplate::compile(flow, step, &names(), &origin, Path::new("/"), false);
    (template.unwrap(), origin)
}

/// Renders both forms with `id` and checks that they agree on their size.
fn render(template: &RequestTemplate, origin: &Origin, id: &str) -> (String, Rendered) {
    let mut values = vec![Value::default()];
    values[0].set(id);
    let mut rng = Pcg64::new(1, 1);
    let mut scope = Scope {
        values: &values,
        user: 1,
        iteration: 1,
        rng: &mut rng,
    };
    let mut wire = Wire::default();
    template
        .render_http1(origin, &mut scope, &mut wire)
        .unwrap();
    let wire = wire.bytes().to_vec();
    let rendered = template.render(origin, &mut scope).unwrap();
    assert_eq!(template.size(origin, &rendered), wire.len() as u64);
    (String::from_utf8(wire).unwrap(), rendered)
}

#[test]
fn a_constant_request_is_prepared_whole() {
    let (template, origin) = compile(&step("GET", "/a b?x=1"), &flow(), "http://h:81/p/");
    assert!(template.fixed.wire.is_some());
    let (wire, rendered) = render(&template, &origin, "");
    assert_eq!(rendered.url.as_str(), "http://h:81/p/a%20b?x=1");
    let agent = concat!("squall/", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        wire,
        format!(
            "GET /p/a%20b?x=1 HTTP/1.1\r\nhost: h:81\r\naccept: */*\r\nuser-agent: {agent}\r\n\r\n"
        )
    );
}

#[test]
fn variables_go_everywhere_and_break_nothing() {
    let mut flow = flow();
    flow.headers = vec![("X-Flow".into(), "f".into()), ("x-both".into(), "f".into())];
    let mut step = step("POST", "/i/{{ id }}");
    step.query = vec![("q".into(), "{{ id }}".into())];
    step.headers = vec![("X-Both".into(), "{{ id }}".into())];
    step.body = Body::Json(serde_json::json!({"id": "{{ id }}"}));
    let (template, origin) = compile(&step, &flow, "https://h");
    let (wire, rendered) = render(&template, &origin, "1&\r\n\"2");
    assert_eq!(
        rendered.url.as_str(),
        "https://h/i/1&%0D%0A%222?q=1%26%0D%0A%222"
    );
    assert_eq!(rendered.headers["x-both"], "1&  \"2");
    assert_eq!(rendered.headers["x-flow"], "f");
    assert_eq!(rendered.headers["content-type"], "application/json");
    assert!(
        wire.starts_with("POST /i/1&%0D%0A%222?q=1%26%0D%0A%222 HTTP/1.1\r\nhost: h\r\n"),
        "{wire}"
    );
    assert!(
        wire.ends_with("content-length: 18\r\n\r\n{\"id\":\"1&\\r\\n\\\"2\"}"),
        "{wire}"
    );
}

#[test]
fn what_does_not_begin_as_a_path_is_sent_nowhere() {
    for base in ["http://h", "http://h/base"] {
        let (template, origin) = compile(&step("GET", "{{ id }}"), &flow(), base);
        assert!(render(&template, &origin, "/42").0.contains("/42 HTTP/1.1"));
        // Behind `http://h` these would be other hosts.
        for id in [
            "42",
            "",
            ".example.org/",
            "@example.org/",
            "https://example.org/",
        ] {
            let mut value = Value::default();
            value.set(id);
            let mut rng = Pcg64::new(1, 1);
            let mut scope = Scope {
                values: &[value],
                user: 1,
                iteration: 1,
                rng: &mut rng,
            };
            let sent = template.render(&origin, &mut scope);
            assert!(sent.is_err_and(|e| e.contains("no path")), "{base} {id}");
            let sent = template.render_http1(&origin, &mut scope, &mut Wire::default());
            assert!(sent.is_err_and(|e| e.contains("no path")), "{base} {id}");
        }
    }
}

#[test]
fn a_path_that_can_be_none_is_refused_before_the_run() {
    let mut names = names();
    names.bind("constant", Binding::Constant("items".into()));
    for (path, right) in [
        ("{{ constant }}/{{ id }}", false),
        ("{{ user }}", false),
        ("{{ random(1, 9) }}/x", false),
        ("{{ id }}", true),
        ("/{{ constant }}", true),
    ] {
        let origin = Origin::parse("http://h/base").unwrap();
        let step = step("GET", path);
        let compiled =
            RequestTemplate::compile(&flow(), &step, &names, &origin, Path::new("/"), false);
        assert_eq!(compiled.is_ok(), right, "{path}");
    }
}

#[test]
fn an_empty_post_says_so_and_a_form_is_encoded() {
    let (template, origin) = compile(&step("POST", "/"), &flow(), "http://h");
    assert!(
        render(&template, &origin, "")
            .0
            .ends_with("\r\ncontent-length: 0\r\n\r\n")
    );
    let mut form = step("POST", "/");
    form.body = Body::Form(vec![("a b".into(), "{{ id }}".into())]);
    let (template, origin) = compile(&form, &flow(), "http://h");
    assert!(
        render(&template, &origin, "x y&")
            .0
            .ends_with("\r\n\r\na+b=x+y%26")
    );
}
