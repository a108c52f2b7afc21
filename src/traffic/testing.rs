//! Small scenarios for unit tests.

use std::time::Duration;

use crate::scenario::*;

/// A step without checks.
pub fn step(method: &str, path: &str) -> Step {
    Step {
        name: format!("{method} {path}"),
        method: method.into(),
        path: path.into(),
        query: vec![],
        headers: vec![],
        body: Body::None,
        timeout: None,
        follow_redirects: false,
        checks: vec![],
        extract: vec![],
    }
}

/// One user for one second, `GET /`.
pub fn flow() -> Flow {
    Flow {
        name: "main".into(),
        start: Duration::ZERO,
        load: Load::Closed(ClosedLoad {
            stages: vec![UserStage {
                users: 1,
                ramp: Duration::ZERO,
                hold: Duration::from_secs(1),
            }],
            think: Think::None,
        }),
        connections: Connections::default(),
        protocol: Protocol::Http1,
        transport: TransportChoice::Auto,
        headers: vec![],
        timeout: Duration::from_secs(5),
        variables: Default::default(),
        data: vec![],
        journey: vec![Node::Step(Box::new(step("GET", "/")))],
    }
}

/// A scenario of these flows against a URL.
pub fn scenario(traffic: Vec<Flow>) -> Scenario {
    Scenario {
        name: "test".into(),
        description: None,
        seed: Some(1),
        target: Target::Url(UrlTarget {
            url: "http://127.0.0.1:1".into(),
            common: TargetCommon::default(),
        }),
        traffic,
        faults: vec![],
        guard: Guard::default(),
        expect: vec![],
        run: RunOptions::default(),
        capacity: None,
        observe: Default::default(),
        secrets: Default::default(),
        base_dir: "/".into(),
    }
}
