//! Tests of live progress.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use super::*;
use crate::platform::Undo;
use crate::record::{Event, UndoEvent, What};
use crate::report::fixture::{self, ZERO};
use crate::report::table::Style;

/// The state of the made-up run up to a second after the start of traffic.
fn at(second: u64) -> (LiveState, u64) {
    let run = fixture::kill();
    let mut state = LiveState::new(&run.record.header.scenario);
    let now = ZERO + second * 1_000_000;
    for event in run.record.events.iter().filter(|e| e.at <= now) {
        state.event(event);
    }
    for interval in &run.record.intervals {
        if interval.second.end_us <= now {
            state.interval(interval);
        }
    }
    (state, now)
}

fn block(second: u64, style: Style) -> String {
    let (state, now) = at(second);
    state.render(now, style)
}

#[test]
fn the_block_before_during_and_after_a_kill() {
    let style = Style::default();
    let all = [0, 8, 13, 30].map(|s| format!("--- {s} s\n{}", block(s, style)));
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn no_line_is_as_wide_as_the_terminal() {
    for width in [24, 40, 80, 120] {
        let style = Style {
            color: false,
            width,
        };
        for line in block(13, style).lines() {
            assert!(line.chars().count() < width, "{width}: {line}");
        }
    }
}

#[test]
fn a_lasting_fault_is_in_force_until_it_is_undone() {
    let (mut state, now) = at(8);
    let undo = Undo::Thaw {
        instance: "shop-2".into(),
        pid: 1,
        start_ticks: 1,
    };
    let (mut kill, undone) = (
        fixture::events(40)
            .into_iter()
            .find(|e| matches!(&e.what, What::Fault(f) if f.stage == crate::record::FaultStage::Injected))
            .unwrap(),
        |done| Event {
            at: now + 2,
            what: What::Undo(UndoEvent {
                injection: 1,
                undo: undo.clone(),
                done,
                detail: None,
            }),
        },
    );
    if let What::Fault(fault) = &mut kill.what {
        fault.fault = "freeze".into();
    }
    state.event(&kill);
    assert!(state.plain(now).contains("fault freeze shop-2"));
    state.event(&undone(None));
    assert!(state.plain(now).contains("fault freeze shop-2"));
    state.event(&undone(Some(true)));
    assert!(!state.plain(now).contains("fault freeze"));
}

/// A writer whose text can be read back.
#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Vec<u8>>>);

impl Write for Tape {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tape {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[test]
fn without_a_terminal_each_happening_is_told_once_and_a_line_comes_every_five_seconds() {
    let tape = Tape::default();
    let mut display = LiveDisplay::to(Box::new(tape.clone()), Style::default(), false);
    for second in 0..=20 {
        let (state, now) = at(second);
        // Four draws a second, as in a run.
        for quarter in 0..4 {
            display.draw(&state, now + quarter * 250_000);
        }
    }
    display.clear();
    let text = tape.text();
    assert!(!text.contains('\u{1b}'), "{text}");
    assert_eq!(text.matches("fault: kill shop-2").count(), 1, "{text}");
    assert_eq!(text.matches("shop-2-r1 ready").count(), 1);
    let status = text.lines().filter(|l| l.contains("] traffic")).count();
    assert_eq!(status, 5, "{text}");
}

#[test]
fn on_a_terminal_the_block_is_drawn_over_itself_and_taken_away() {
    let tape = Tape::default();
    let mut display = LiveDisplay::to(Box::new(tape.clone()), Style::default(), true);
    let (state, now) = at(13);
    let lines = state.render(now, Style::default()).lines().count();
    display.draw(&state, now);
    assert!(!tape.text().contains(&format!("\u{1b}[{lines}A")));
    display.draw(&state, now);
    assert_eq!(tape.text().matches(&format!("\u{1b}[{lines}A")).count(), 1);
    display.clear();
    display.clear();
    assert!(tape.text().ends_with(&format!("\u{1b}[{lines}A\r\u{1b}[J")));
}
