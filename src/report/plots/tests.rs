//! Tests of what is on the charts.

use super::*;
use crate::report::fixture;

#[test]
fn every_colour_of_a_chart_has_its_rule_in_the_style_sheet() {
    let style = include_str!("../assets/style.css");
    let mut inks = vec![
        Ink::Text,
        Ink::Axis,
        Ink::Grid,
        Ink::Fault,
        Ink::FaultText,
        Ink::Bad,
        Ink::Muted,
    ];
    inks.extend((0..SERIES).map(Ink::Series));
    for ink in inks {
        let (r, g, b) = ink.rgb();
        let selector = format!("=\"#{r:02X}{g:02X}{b:02X}\"]");
        assert!(style.contains(&selector), "{ink:?} {selector}");
        let variable = format!("var(--{})", ink.class());
        assert!(style.contains(&variable), "{ink:?} {variable}");
    }
}

#[test]
fn a_fault_is_shaded_until_the_service_is_restored() {
    let run = fixture::kill();
    let charts = all(&run.judged());
    let window = &charts[0].windows[0];
    assert_eq!((window.from, window.to), (12.0, 14.0));
    assert_eq!(window.label, "kill shop-2");
    assert!(
        charts
            .iter()
            .all(|c| c.id == "distribution" || c.windows.len() == 1)
    );
}

#[test]
fn a_fault_that_was_not_recovered_from_is_shaded_to_the_end() {
    let mut run = fixture::kill();
    run.summary.faults[0].restored_us = None;
    run.summary.faults[0].undone_us = Some(fixture::ZERO + 20_000_000);
    let charts = all(&run.judged());
    assert_eq!(charts[0].windows[0].to, 40.0);
}

#[test]
fn the_ready_steps_show_the_killed_instance() {
    let run = fixture::kill();
    let charts = all(&run.judged());
    let ready = charts.iter().find(|c| c.id == "ready").unwrap();
    let values: Vec<_> = ready.series[0].points.iter().map(|p| p.1).collect();
    assert_eq!(values, [3.0, 2.0, 3.0, 3.0].map(Some));
}

#[test]
fn stacked_bands_add_up_to_all_answered_requests() {
    let run = fixture::kill();
    let charts = all(&run.judged());
    let chart = charts.iter().find(|c| c.id == "per-instance").unwrap();
    let top = chart.series.last().unwrap();
    let shown: f64 = top.points.iter().filter_map(|p| p.1).sum();
    assert_eq!(shown as u64, run.summary.all.answered);
}

#[test]
fn missing_seconds_are_a_gap_and_not_a_line() {
    let mut run = fixture::kill();
    run.record.intervals.drain(20..25);
    let charts = all(&run.judged());
    let gaps = charts[0].series[0].points.iter().filter(|p| p.1.is_none());
    assert_eq!(gaps.count(), 1);
}

#[test]
fn a_request_that_ends_just_after_the_last_second_is_no_high_rate() {
    let mut run = fixture::kill();
    let usual = highest_rate(&run);
    let mut rest = run.record.intervals.last().unwrap().clone();
    rest.second.start_us = rest.second.end_us;
    rest.second.end_us += 5_000;
    run.record.intervals.push(rest);
    run.summary.traffic_end_us += 5_000;
    // The last second has twice its requests now, and not two hundred times.
    let highest = highest_rate(&run);
    assert!(highest < 2.1 * usual, "{highest} of {usual}");
}

fn highest_rate(run: &fixture::Run) -> f64 {
    let charts = all(&run.judged());
    let chart = charts.iter().find(|c| c.id == "per-instance").unwrap();
    let values = chart.series.iter().flat_map(|s| &s.points);
    values.filter_map(|p| p.1).fold(0.0, f64::max)
}

#[test]
fn more_instances_than_colours_are_put_together() {
    let mut run = fixture::kill();
    for (i, interval) in run.record.intervals.iter_mut().enumerate() {
        for step in &mut interval.second.steps {
            let one = step.instances.remove("shop-1").unwrap();
            step.instances.insert(format!("shop-x{i}"), one);
        }
    }
    let charts = all(&run.judged());
    let chart = charts.iter().find(|c| c.id == "per-instance").unwrap();
    assert_eq!(chart.series.len(), SERIES);
    assert_eq!(chart.series.last().unwrap().name, "others");
    let top = chart.series.last().unwrap();
    let shown: f64 = top.points.iter().filter_map(|p| p.1).sum();
    assert_eq!(shown as u64, run.summary.all.answered);
}

#[test]
fn a_long_run_is_merged_to_a_bounded_number_of_points() {
    let mut run = fixture::kill();
    let one = run.record.intervals[0].clone();
    run.record.intervals.clear();
    for i in 0..2_000u64 {
        let mut next = one.clone();
        next.second.start_us = fixture::ZERO + i * 1_000_000;
        next.second.end_us = next.second.start_us + 1_000_000;
        next.histograms.iter_mut().for_each(|h| h.instances.clear());
        // Histograms of a few of them are enough here, and keep the test small.
        if i % 100 != 0 {
            next.histograms.clear();
        }
        run.record.intervals.push(next);
    }
    run.summary.traffic_end_us = fixture::ZERO + 2_000_000_000;
    let charts = all(&run.judged());
    let traffic = charts.iter().find(|c| c.id == "traffic").unwrap();
    assert_eq!(traffic.series[0].points.len(), 500);
    let rate = traffic.series[0].points[7].1.unwrap();
    let ended: u64 = one.second.steps.iter().flat_map(|s| s.ended.values()).sum();
    assert_eq!(rate, ended as f64);
}

#[test]
fn ticks_are_round_and_inside_the_axis() {
    for (lowest, highest) in [(900.0, 5_000_000.0), (3_000.0, 21_000.0), (0.0, 0.0)] {
        let axis = Axis::latency(lowest, highest);
        assert!(axis.ticks.len() >= 2, "{axis:?}");
        for (value, _) in &axis.ticks {
            assert!((axis.min..=axis.max * 1.001).contains(value), "{axis:?}");
        }
        assert!(axis.max >= highest);
    }
    let axis = Axis::time(0.0, 40.0);
    assert_eq!(axis.ticks[1].1, "5 s");
    assert!(Axis::latency(900.0, 5e6).log && !Axis::latency(3e3, 2e4).log);
    assert_eq!(Axis::time(f64::NAN, f64::INFINITY).max, 1.0);
}
