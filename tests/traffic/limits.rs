//! What the choice of a transport means.

use squall::scenario::*;

use crate::harness::*;

fn chosen(set: impl FnOnce(&mut Flow)) -> Result<&'static str, String> {
    let mut flow = flow_on(TransportChoice::Auto, users(1, ms(1), Think::None));
    set(&mut flow);
    let (job, _entries) = job(scenario(flow), "http://127.0.0.1:1");
    let prepared = squall::traffic::prepare(&job).map_err(|e| e.to_string())?;
    let engine = squall::traffic::start(prepared);
    Ok(engine.transports()[0].1)
}

#[test]
fn lean_carries_all_that_needs_nothing_more() {
    assert_eq!(chosen(|_| {}), Ok("lean"));
    assert_eq!(
        chosen(|flow| flow.transport = TransportChoice::Lean),
        Ok("lean")
    );
    assert_eq!(
        chosen(|flow| flow.transport = TransportChoice::Reqwest),
        Ok("reqwest")
    );
    type Need = (fn(&mut Flow), &'static str);
    let needs: [Need; 3] = [
        (|flow| flow.protocol = Protocol::Http2, "HTTP/2"),
        (
            |flow| {
                let mut step = get("/");
                step.follow_redirects = true;
                flow.journey = journey([get("/"), step]);
            },
            "redirects",
        ),
        (
            |flow| flow.headers = vec![("Accept-Encoding".into(), "gzip".into())],
            "accept-encoding",
        ),
    ];
    for (need, what) in needs {
        assert_eq!(chosen(need), Ok("reqwest"));
        let problem = chosen(|flow| {
            need(flow);
            flow.transport = TransportChoice::Lean;
        });
        let problem = problem.unwrap_err();
        assert!(
            problem.contains(what) && problem.contains("`main`"),
            "{problem}"
        );
    }
}
