//! A sheet in every way it is shown, with names that try to break out of each.

use super::*;
use crate::judge::compare::{CompareExpectation, Compared, ComparedPart, Excluded};

const HOSTILE: &str = "<script>alert(1)</script>|x\u{1b}[2J";

fn sheet() -> Sheet {
    let verdict = Verdict {
        oracle: "compare".into(),
        expectation: format!("{HOSTILE}: p99 at most 10% above the baseline"),
        verdict: Ruling::Inconclusive,
        because: format!("{HOSTILE} has 298 samples"),
        missing: Some("runs with at least 299 requests each".into()),
        evidence: Vec::new(),
    };
    let compared = Compared {
        settings: CompareExpectation::default(),
        baseline: vec!["a/run-01".into()],
        candidate: vec![HOSTILE.into()],
        excluded: vec![Excluded {
            run: HOSTILE.into(),
            why: "it was aborted".into(),
        }],
        parts: vec![ComparedPart {
            flow: "browse".into(),
            step: HOSTILE.into(),
            latency: None,
            errors: None,
        }],
        verdicts: vec![verdict],
    };
    let again = ["squall", "compare", "a", "--", "it's"].map(String::from);
    Sheet::comparison(&compared, again.into())
}

#[test]
fn a_terminal_gets_no_escape_sequence_and_the_command_to_judge_again() {
    let text = sheet().terminal(Style::default(), None);
    assert!(!text.contains('\u{1b}'), "{text}");
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    for part in [
        "INCONCLUSIVE",
        "missing: runs with at least 299 requests each",
        "is left out: it was aborted",
        r"again   squall compare a -- 'it'\''s'",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_page_and_a_comment_get_no_markup() {
    let dir = tempfile::tempdir().unwrap();
    let written = sheet().write(dir.path()).unwrap();
    assert_eq!(written.len(), 4);
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let junit = read("junit.xml");
    assert!(
        junit.contains(r#"tests="1" failures="0" errors="1""#)
            && junit.contains("has 298 samples")
            && !junit.contains("<script>"),
        "{junit}"
    );
    let page = read("report.html");
    assert!(
        page.contains("&lt;script&gt;alert(1)"),
        "it is shown as it is"
    );
    assert!(!page.contains("<script>alert"), "and does nothing");
    let markdown = read("summary.md");
    assert!(!markdown.contains("| <script>") && markdown.contains("&lt;script&gt;alert(1)"));
    let rows = markdown.lines().filter(|l| l.starts_with("| browse"));
    for row in rows {
        let cells = row.replace("\\|", "").matches('|').count();
        assert_eq!(cells, 9, "{row}");
    }
    let json: serde_json::Value = serde_json::from_str(&read("result.json")).unwrap();
    assert_eq!(json["kind"], "comparison");
    assert_eq!(json["verdict"], "INCONCLUSIVE");
    assert_eq!(json["comparison"]["excluded"][0]["run"], HOSTILE);
}
