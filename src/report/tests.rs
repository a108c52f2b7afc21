//! Tests of all outputs together.

use super::fixture::{self, Run};
use super::*;

fn rendered(run: &Run, name: &str) -> String {
    let output = outputs().into_iter().find(|o| o.file_name() == name);
    let bytes = output.unwrap().render(&run.judged()).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn plain(run: &Run, width: usize) -> String {
    let style = Style {
        color: false,
        width,
    };
    terminal(&run.judged(), style, Some(Path::new("reports/the-shop")))
}

#[test]
fn terminal_summary() {
    insta::assert_snapshot!(plain(&fixture::kill(), 80));
}

#[test]
fn terminal_summary_of_nothing() {
    insta::assert_snapshot!(plain(&fixture::empty(), 80));
}

#[test]
fn where_no_answer_names_its_instance_nothing_is_said_of_instances_that_is_not_known() {
    let mut run = fixture::kill();
    for instance in &mut run.summary.instances {
        instance.answered = 0;
        instance.share = 0.0;
    }
    let text = plain(&run, 80);
    let row = text.lines().find(|line| line.starts_with("  shop-1"));
    let cells: Vec<&str> = row.unwrap().split_whitespace().skip(1).take(3).collect();
    assert_eq!(cells, ["-", "-", "-"], "{text}");
    assert!(text.contains("x-squall-instance"), "{text}");
    assert!(rendered(&run, "report.html").contains("x-squall-instance"));
    assert!(!plain(&fixture::kill(), 80).contains("x-squall-instance"));
}

#[test]
fn junit() {
    insta::assert_snapshot!(rendered(&fixture::kill(), "junit.xml"));
}

#[test]
fn markdown() {
    insta::assert_snapshot!(rendered(&fixture::kill(), "summary.md"));
}

#[test]
fn json() {
    insta::assert_snapshot!(rendered(&fixture::kill(), "result.json"));
}

#[test]
fn no_terminal_line_is_too_wide() {
    for run in [fixture::kill(), fixture::empty(), fixture::hostile()] {
        for width in [60, 80, 100, 132] {
            for line in plain(&run, width).lines() {
                // The path and the command stay whole, to be copied.
                let whole = line.starts_with("report ") || line.starts_with("again ");
                assert!(whole || line.chars().count() <= width, "{width}: {line}");
            }
        }
    }
}

#[test]
fn colours_only_where_wanted_and_no_escape_sequence_from_outside() {
    let text = plain(&fixture::hostile(), 80);
    assert!(!text.contains('\u{1b}'));
    let style = Style {
        color: true,
        width: 80,
    };
    let coloured = terminal(&fixture::hostile().judged(), style, None);
    assert!(coloured.contains("\u{1b}[1m\u{1b}[31mFAIL") || coloured.contains("\u{1b}[31m"));
    assert!(!coloured.contains("\u{1b}[2J"));
}

#[test]
fn hostile_text_is_no_markup_in_any_file() {
    let run = fixture::hostile();
    let page = rendered(&run, "report.html");
    assert!(!page.contains("<script>alert"));
    assert_eq!(
        page.matches("<script>").count(),
        1,
        "only the page's own script"
    );
    assert!(page.contains("&lt;script&gt;alert(1)"));
    let xml = rendered(&run, "junit.xml");
    assert!(!xml.contains("<script>") && !xml.contains('\u{1b}'));
    let markdown = rendered(&run, "summary.md");
    // In a code span of a table cell the text is verbatim and cannot be markup.
    assert!(!markdown.contains("@all") || markdown.contains("'@all'"));
    assert!(!markdown.contains('\u{1b}'));
    let json: serde_json::Value = serde_json::from_str(&rendered(&run, "result.json")).unwrap();
    assert_eq!(json["summary"]["scenario"], run.summary.scenario);
}

#[test]
fn a_run_of_nothing_breaks_no_output() {
    let run = fixture::empty();
    for output in outputs() {
        let bytes = output.render(&run.judged()).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let name = output.file_name();
        assert!(!text.contains("NaN") && !text.contains("inf"), "{name}");
    }
    assert!(rendered(&run, "report.html").contains("the record stops in the middle"));
}

#[test]
fn a_run_of_one_second_has_its_charts() {
    let mut run = fixture::kill();
    run.record.intervals.truncate(1);
    run.summary.traffic_end_us = fixture::ZERO + 1_000_000;
    run.summary.faults.clear();
    let page = rendered(&run, "report.html");
    assert!(page.contains("<circle"), "a single point is a dot");
    assert!(!page.contains("NaN"));
}

#[test]
fn the_page_asks_nobody() {
    let page = rendered(&fixture::kill(), "report.html");
    for outside in ["src=\"", "url(", "@import", "fetch(", "<link rel=\"style"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn the_overall_verdict_is_the_worst_and_never_a_pass_for_a_cut_run() {
    let mut run = fixture::kill();
    assert_eq!(run.judged().overall(), Some(Ruling::Fail));
    run.verdicts.retain(|v| v.verdict != Ruling::Fail);
    assert_eq!(run.judged().overall(), Some(Ruling::Inconclusive));
    run.verdicts.retain(|v| v.verdict == Ruling::Pass);
    assert_eq!(run.judged().overall(), Some(Ruling::Pass));
    run.summary.ended = None;
    assert_eq!(run.judged().overall(), Some(Ruling::Inconclusive));
    run.verdicts.clear();
    assert_eq!(run.judged().overall(), None);
}

#[test]
fn the_files_are_written_and_a_missing_folder_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let run = fixture::kill();
    let paths = write_all(dir.path(), &run.judged()).unwrap();
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["junit.xml", "report.html", "result.json", "summary.md"]
    );
    assert_eq!(paths.len(), 4);
    let error = write_all(&dir.path().join("gone"), &run.judged()).unwrap_err();
    assert!(error.to_string().contains("gone"), "{error}");
}

/// To look at: `SQUALL_SAMPLE_REPORTS=/tmp/r cargo test --lib report::tests::sample_pages`.
#[test]
fn sample_pages() {
    let kept = std::env::var_os("SQUALL_SAMPLE_REPORTS").map(PathBuf::from);
    let dir = tempfile::tempdir().unwrap();
    let root = kept.unwrap_or_else(|| dir.path().to_path_buf());
    let runs = [
        ("kill", fixture::kill()),
        ("empty", fixture::empty()),
        ("hostile", fixture::hostile()),
    ];
    for (name, run) in runs {
        let dir = root.join(name);
        fs::create_dir_all(&dir).unwrap();
        assert_eq!(write_all(&dir, &run.judged()).unwrap().len(), 4);
    }
}
