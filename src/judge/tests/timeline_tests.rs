use super::*;
use crate::judge::timeline::{Scope, Timeline, WindowState, call, windows};
use crate::record::{Interval, Outcome, TrafficSecond};

#[test]
fn windows_put_a_hang_where_it_was_due() {
    let mut sim = Sim::steady(100, 30);
    sim.change(10.0, 14.0, |_, r| r.fail(Outcome::Timeout, 5 * S));
    let record = sim.record();
    let timeline = Timeline::new(&record);
    let bounds = [errors_below(0.01)];
    let windows = windows(&timeline, &Scope::default(), &bounds);
    for (i, window) in windows.iter().enumerate().take(30) {
        let state = call(window, &bounds, false);
        match i {
            10..=13 => assert!(matches!(state, WindowState::Bad(..)), "{i}: {state:?}"),
            _ => assert_eq!(state, WindowState::Good, "{i}"),
        }
    }
    assert_eq!(windows[12].tallies[0].failed, 100);
    // In the record itself the errors lie five seconds later.
    assert!(
        !record.intervals[12]
            .second
            .steps
            .iter()
            .any(|s| s.ended.contains_key(&Outcome::Timeout))
    );
    assert_eq!(
        record.intervals[17].second.steps[0].ended[&Outcome::Timeout],
        100
    );
}

#[test]
fn what_still_hangs_at_the_end_makes_its_windows_unknown() {
    let mut sim = Sim::steady(100, 30);
    sim.change(20.0, 30.0, |i, r| {
        if i % 3 == 0 {
            r.fail(Outcome::Timeout, 10 * S);
        }
    });
    sim.cut = Some(at(24.0));
    sim.ended = None;
    let record = sim.record();
    let timeline = Timeline::new(&record);
    let bounds = [errors_below(0.01)];
    let states: Vec<WindowState> = windows(&timeline, &Scope::default(), &bounds)
        .iter()
        .map(|w| call(w, &bounds, false))
        .collect();
    assert_eq!(states.len(), 24);
    assert_eq!(states[10], WindowState::Good, "older than any timeout");
    assert_eq!(states[20..24], [WindowState::Unknown; 4]);
}

#[test]
fn a_hole_in_the_record_is_unknown() {
    let mut record = Sim::steady(100, 30).record();
    record.intervals.drain(10..13);
    let timeline = Timeline::new(&record);
    let windows = windows(&timeline, &Scope::default(), &[]);
    assert_eq!(call(&windows[10], &[], false), WindowState::Unknown);
    assert_eq!(
        (windows[10].start_us, windows[10].end_us),
        (at(10.0), at(13.0))
    );
    assert_eq!(windows.len(), record.intervals.len() + 1);
}

#[test]
fn scopes_merge_what_they_name() {
    let mut sim = Sim::steady(100, 20);
    sim.change(0.0, 20.0, |i, r| {
        if i % 4 == 0 {
            r.step = "pay";
        }
    });
    let record = sim.record();
    let timeline = Timeline::new(&record);
    let count = |scope: &Scope<'_>| timeline.slice(scope).ended();
    assert_eq!(count(&Scope::default()), 2_000);
    assert_eq!(
        count(&Scope {
            step: Some("pay"),
            ..Scope::default()
        }),
        500
    );
    assert_eq!(
        count(&Scope {
            flow: Some("other"),
            ..Scope::default()
        }),
        0
    );
    let some: Vec<usize> = (5..8).collect();
    let slice = timeline.slice(&Scope {
        seconds: Some(&some),
        ..Scope::default()
    });
    assert_eq!(slice.due, 300);
    assert!((slice.seconds - 3.0).abs() < 1e-9);
}

#[test]
fn what_is_left_of_the_last_second_is_no_window() {
    let mut record = Sim::steady(100, 20).record();
    let whole = windows(&Timeline::new(&record), &Scope::default(), &[]).len();
    let end = record.intervals.last().unwrap().second.end_us;
    record.intervals.push(Interval {
        second: TrafficSecond {
            start_us: end,
            end_us: end + 30 * MS,
            ..TrafficSecond::default()
        },
        histograms: Vec::new(),
    });
    let windows = windows(&Timeline::new(&record), &Scope::default(), &[]);
    assert_eq!(windows.len(), whole);
}
