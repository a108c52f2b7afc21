//! The report's page in a real browser: charts drawn, no script error, no request off the page.

mod common;

use std::process::Command;

use common::SQUALL;

/// Added to a copy of the page: what the browser loaded besides the page itself, and what was drawn.
const PROBE: &str = "<script>addEventListener('load', () => setTimeout(() => {
  document.title = 'resources=' + performance.getEntriesByType('resource').length
    + ' charts=' + [...document.querySelectorAll('svg')].filter(s => s.getBoundingClientRect().height > 80).length
    + ' wider=' + (document.documentElement.scrollWidth > innerWidth);
}, 0))</script></body>";

#[test]
fn the_sample_report_opens_in_a_browser() {
    if Command::new("chromium").arg("--version").output().is_err() {
        skip!("chromium is not installed (Debian package chromium)");
    }
    let dir = tempfile::tempdir().unwrap();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/reports/sample");
    let written = Command::new(SQUALL)
        .args(["report", sample, "--out"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(written.status.success(), "{written:?}");
    let page = std::fs::read_to_string(dir.path().join("report.html")).unwrap();
    for attribute in [
        "src=\"http",
        "href=\"http",
        "url(http",
        "@import",
        "src=\"//",
    ] {
        assert!(!page.contains(attribute), "{attribute} leads off the page");
    }
    for (width, charts_at_least) in [(1280, 5), (420, 5)] {
        let title = title_in_browser(&page, dir.path(), width);
        assert!(title.starts_with("resources=0 "), "{title}");
        assert!(
            title.ends_with("wider=false"),
            "scrolls sideways at {width}: {title}"
        );
        let charts: u32 = title
            .split("charts=")
            .nth(1)
            .and_then(|rest| rest.split(' ').next())
            .and_then(|n| n.parse().ok())
            .unwrap();
        assert!(charts >= charts_at_least, "{title}");
    }
}

/// Opens the page with the probe in it; fails on any script error.
fn title_in_browser(page: &str, dir: &std::path::Path, width: u32) -> String {
    let probed = page.replace("</body>", PROBE);
    assert_ne!(page, probed, "the page has a body");
    let file = dir.join("probed.html");
    std::fs::write(&file, probed).unwrap();
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .args([
            "--enable-logging=stderr",
            "--virtual-time-budget=4000",
            "--dump-dom",
        ])
        .arg(format!("--window-size={width},2000"))
        .arg(format!("--user-data-dir={}", dir.join("profile").display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    let errors: Vec<&str> = log.lines().filter(|l| l.contains("CONSOLE")).collect();
    assert!(errors.is_empty(), "the page's console: {errors:#?}");
    let dom = String::from_utf8_lossy(&output.stdout);
    let start = dom.find("<title>").expect("a title") + "<title>".len();
    let end = dom.find("</title>").expect("a title's end");
    dom[start..end].to_string()
}
