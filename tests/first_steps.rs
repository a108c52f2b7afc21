//! What a new user does first: what the documentation shows, `squall init`, and a run without a file.

mod common;

use std::path::{Path, PathBuf};

use common::{Bench, demo};
use squall::scenario::{Node, Scenario, Target, parse};

/// README and everything in `docs/`.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> = docs
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .collect();
    pages.push(root.join("README.md"));
    pages
}

/// The blocks of a page in this language.
fn blocks<'a>(page: &'a str, language: &str) -> impl Iterator<Item = &'a str> {
    let fence = format!("```{language}\n");
    let starts: Vec<_> = page.match_indices(&fence).collect();
    starts.into_iter().map(|(at, fence)| {
        let block = &page[at + fence.len()..];
        &block[..block.find("```").expect("a block ends")]
    })
}

/// What a page leaves out of a scenario, since it is not its matter.
const REST: [(&str, &str); 5] = [
    ("squall:", "squall: 1"),
    ("name:", "name: of the documentation"),
    (
        "target:",
        "target: { kubernetes: { namespace: shop, service: front } }",
    ),
    (
        "traffic:",
        "traffic: { browse: { arrivals: { rate: 50/s, hold: 10m }, journey: [ { get: / } ] } }",
    ),
    ("faults:", "faults: [ { at: 5m, pod-kill: { pick: 1 } } ]"),
];

/// A block with what it leaves out; `None` for one that is no part of a scenario.
fn whole(block: &str) -> Option<String> {
    let has = |key: &str| block.lines().any(|line| line.starts_with(key));
    let parts = ["target:", "faults:", "guard:", "observe:", "expect:"];
    if has("squall:") {
        return Some(block.to_string());
    }
    let rest = REST.iter().filter(|(key, _)| !has(key));
    let rest: Vec<_> = rest.map(|(_, text)| *text).collect();
    { parts.iter() }
        .any(|key| block.starts_with(key))
        .then(|| format!("{}\n{block}", rest.join("\n")))
}

#[test]
fn its_scenarios_are_right() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("members.csv"), "name,password\na,b\n").unwrap();
    let env = |name: &str| (name == "API_KEY").then(|| "hunter2".to_string());
    let mut seen = 0;
    for path in pages() {
        let page = std::fs::read_to_string(&path).unwrap();
        for text in blocks(&page, "yaml").filter_map(whole) {
            let scenario = parse(&path.to_string_lossy(), &text, folder.path(), &env);
            scenario.unwrap_or_else(|problems| panic!("{problems}\n{text}"));
            seen += 1;
        }
    }
    assert!(seen >= 12, "{seen}");
}

/// What `squall init` writes, read.
fn init(flags: &[&str]) -> Scenario {
    let output = Bench::new("")
        .command(&[&["init"], flags].concat())
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    parse("init", &text, Path::new("."), &|_| None).unwrap_or_else(|p| panic!("{p}\n{text}"))
}

#[test]
fn init_asks_a_service_for_what_its_user_named() {
    for (flags, base, path) in [
        (&["--url", "http://h:81"][..], "http://h:81", "/"),
        (&["--url", "http://h/a?b=c#d"], "http://h", "/a?b=c"),
        (&["--url", "http://h/a", "--path", "/b"], "http://h/a", "/b"),
        (&["--command", "./server"], "", "/"),
        (&[], "", "/products"),
    ] {
        let scenario = init(flags);
        if let Target::Url(target) = &scenario.target {
            assert_eq!(target.url, base, "{flags:?}");
            assert!(!scenario.name.contains("kill"), "{}", scenario.name);
        }
        let [Node::Step(step)] = scenario.traffic[0].journey.as_slice() else {
            panic!("{flags:?}: {:?}", scenario.traffic[0].journey);
        };
        assert_eq!(step.path, path, "{flags:?}");
    }
    let bare = Bench::new("")
        .command(&["init", "--url", "localhost:8080"])
        .output();
    assert_eq!(bare.unwrap().status.code(), Some(2));
}

#[test]
fn a_url_is_run_without_a_file() {
    let (_shop, address) = demo(&[], &[]);
    let bench = Bench::new("");
    let run = |path: &str, out: &str, flags: &[&str]| {
        let url = format!("http://{address}{path}");
        let args = ["run", &url, "--duration", "2s", "--quiet", "--out", out];
        bench
            .command(&[&args[..], flags].concat())
            .output()
            .unwrap()
    };
    let failing = run("/nowhere", "failing", &["--expect", "errors < 50%"]);
    assert_eq!(failing.status.code(), Some(1), "{failing:?}");
    let flags = ["--rate", "50/s", "--expect", "errors < 50%"];
    let passing = run("/products?all=1", "passing", &flags);
    // 3 on a machine that is too busy for the generator to keep its schedule.
    assert!(matches!(passing.status.code(), Some(0 | 3)), "{passing:?}");
    let result = common::read_json(&bench.path("passing/result.json"));
    let summary = &result["summary"];
    assert_eq!(summary["all"]["due"], 100, "{result:#}");
    assert_eq!(summary["all"]["failed"], 0, "{result:#}");
    assert_eq!(summary["steps"][0]["step"], "GET /products", "{result:#}");

    let wrong = run("/products", "wrong", &["--expect", "p50 < 1"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    let file = bench
        .command(&["run", "scenario.yaml", "--rate", "50/s"])
        .output();
    let file = file.unwrap();
    assert_eq!(file.status.code(), Some(2), "{file:?}");
    assert!(
        common::squeezed(&file.stderr).contains("go with a URL"),
        "{file:?}"
    );
}

#[test]
fn a_plan_says_all_that_a_run_does() {
    let plan = |file: &str| {
        let path = format!("{}/scenarios/{file}", env!("CARGO_MANIFEST_DIR"));
        let output = Bench::new("").command(&["plan", &path]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        common::squeezed(&output.stdout)
    };
    let closed = plan("closed-users.yaml");
    for words in [
        "think exp(500ms) after each request",
        "think 1s..2s",
        "lasts 30s, the first 5s not judged",
    ] {
        assert!(closed.contains(words), "`{words}` in: {closed}");
    }
    let faults = plan("game-day.yaml");
    for words in [
        "at 12s: kill 1 of the instances",
        "stop (grace ",
        "delay (jitter 0s, latency 300ms) 1 of the instances for 4s",
    ] {
        assert!(faults.contains(words), "`{words}` in: {faults}");
    }
}
