//! Draws any chart as SVG with plotters.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Chart, Ink, Series, Shape, Window};
use crate::judge::words;
use crate::report::phrases;

/// Units of the drawing per pixel of the page: plotters has whole coordinates, the page has finer ones.
const FINE: i32 = 2;
const HEIGHT: i32 = 248 * FINE;
const LEFT: i32 = 62 * FINE;
const RIGHT: i32 = 14 * FINE;
const TOP: i32 = 22 * FINE;
const BOTTOM: i32 = 26 * FINE;
/// About the width of a character of a label.
const CHARACTER: i32 = 6 * FINE;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// Why drawing failed; into a string it cannot, in practice.
type Failure = Box<dyn std::error::Error>;

/// A drawn chart.
#[derive(Debug, Clone)]
pub(in crate::report) struct Drawn {
    /// What is inside the `<svg>` element.
    pub body: String,
    pub width: i32,
    pub height: i32,
    /// For the tooltip, as JSON.
    pub hover: serde_json::Value,
}

/// The rectangle that holds the data.
#[derive(Debug, Clone, Copy)]
struct Frame<'a> {
    chart: &'a Chart,
    width: i32,
}

impl Frame<'_> {
    fn right(&self) -> i32 {
        self.width - RIGHT
    }
    fn bottom(&self) -> i32 {
        HEIGHT - BOTTOM
    }
    fn x(&self, value: f64) -> i32 {
        let room = f64::from(self.right() - LEFT);
        LEFT + (self.chart.x.place(value) * room).round() as i32
    }
    fn y(&self, value: f64) -> i32 {
        let room = f64::from(self.bottom() - TOP);
        self.bottom() - (self.chart.y.place(value) * room).round() as i32
    }
}

fn color(ink: Ink) -> RGBColor {
    let (r, g, b) = ink.rgb();
    RGBColor(r, g, b)
}

fn stroke(ink: Ink, width: u32) -> ShapeStyle {
    color(ink).stroke_width(width)
}

fn label(ink: Ink, h: HPos, v: VPos) -> TextStyle<'static> {
    // plotters divides font sizes by 1.24 on their way into SVG.
    let size = 11.0 * f64::from(FINE) * 1.24;
    let mut style = TextStyle::from(("sans-serif", size).into_font());
    style.color = color(ink).to_backend_color();
    style.pos = Pos::new(h, v);
    style
}

/// Draws a chart.
pub(in crate::report) fn draw(chart: &Chart) -> Result<Drawn, String> {
    let width = if chart.wide { 1100 } else { 538 } * FINE;
    let frame = Frame { chart, width };
    let mut svg = String::new();
    {
        let size = (width as u32, HEIGHT as u32);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        paint(&area, frame).map_err(|e| e.to_string())?;
        area.present().map_err(|e| e.to_string())?;
    }
    let body = svg
        .split_once('>')
        .and_then(|(_, rest)| rest.rsplit_once("</svg>"))
        .map(|(body, _)| body.to_string())
        .ok_or("plotters gave no SVG")?;
    Ok(Drawn {
        body,
        width,
        height: HEIGHT,
        hover: hover(frame),
    })
}

fn paint(area: &Area<'_>, frame: Frame<'_>) -> Result<(), Failure> {
    windows(area, frame)?;
    axes(area, frame)?;
    for series in &frame.chart.series {
        one(area, frame, series)?;
    }
    Ok(())
}

/// Faults are shaded behind everything, and named above.
fn windows(area: &Area<'_>, frame: Frame<'_>) -> Result<(), Failure> {
    // The end of the last label in each of two rows: one that would lie on another is left out.
    let mut free = LEFT;
    for Window {
        from,
        to,
        label: text,
    } in &frame.chart.windows
    {
        let (x0, x1) = (frame.x(*from), frame.x(*to).max(frame.x(*from) + FINE));
        let shade = color(Ink::Fault).mix(0.10).filled();
        area.draw(&Rectangle::new([(x0, TOP), (x1, frame.bottom())], shade))?;
        let edge = vec![(x0, TOP - 4 * FINE), (x0, frame.bottom())];
        area.draw(&PathElement::new(edge, stroke(Ink::Fault, FINE as u32)))?;
        let room = frame.right() - x0.min(frame.right() - 90 * FINE);
        let text = crate::report::table::cut(text, (room / CHARACTER) as usize);
        let length = text.chars().count() as i32 * CHARACTER;
        let start = x0.min(frame.right() - length);
        if start >= free || free == LEFT {
            let style = label(Ink::FaultText, HPos::Left, VPos::Bottom);
            area.draw_text(&text, &style, (start, TOP - 4 * FINE))?;
            free = start + length + CHARACTER;
        }
    }
    Ok(())
}

fn axes(area: &Area<'_>, frame: Frame<'_>) -> Result<(), Failure> {
    let bottom = frame.bottom();
    for (value, text) in &frame.chart.y.ticks {
        let y = frame.y(*value);
        let across = vec![(LEFT, y), (frame.right(), y)];
        area.draw(&PathElement::new(across, stroke(Ink::Grid, FINE as u32)))?;
        let style = label(Ink::Text, HPos::Right, VPos::Center);
        area.draw_text(text, &style, (LEFT - 8 * FINE, y))?;
    }
    let base = vec![(LEFT, bottom), (frame.right(), bottom)];
    area.draw(&PathElement::new(base, stroke(Ink::Axis, FINE as u32)))?;
    for (value, text) in &frame.chart.x.ticks {
        let x = frame.x(*value);
        let tick = vec![(x, bottom), (x, bottom + 4 * FINE)];
        area.draw(&PathElement::new(tick, stroke(Ink::Axis, FINE as u32)))?;
        // The last label must not be cut off at the edge.
        let half = text.chars().count() as i32 * CHARACTER / 2;
        let (x, h) = if x + half > frame.width {
            (frame.width, HPos::Right)
        } else {
            (x, HPos::Center)
        };
        let style = label(Ink::Text, h, VPos::Top);
        area.draw_text(text, &style, (x, bottom + 8 * FINE))?;
    }
    Ok(())
}

/// The stretches of a series between its gaps, as indices.
fn stretches(series: &Series) -> Vec<std::ops::Range<usize>> {
    let mut out = Vec::new();
    let mut start = None;
    for (i, (x, y)) in series.points.iter().enumerate() {
        let there = x.is_finite() && y.is_some_and(f64::is_finite);
        match (there, start) {
            (true, None) => start = Some(i),
            (false, Some(from)) => {
                out.push(from..i);
                start = None;
            }
            _ => {}
        }
    }
    out.extend(start.map(|from| from..series.points.len()));
    out
}

fn one(area: &Area<'_>, frame: Frame<'_>, series: &Series) -> Result<(), Failure> {
    let ink = series.ink;
    for stretch in stretches(series) {
        let place = |i: usize| {
            let (x, y) = series.points[i];
            (frame.x(x), frame.y(y.unwrap_or(0.0)))
        };
        let mut line: Vec<(i32, i32)> = stretch.clone().map(place).collect();
        match &series.shape {
            Shape::Line => draw_line(area, line, ink, 4)?,
            Shape::Thin => draw_line(area, line, ink, 2)?,
            Shape::Steps => {
                line = steps(&line);
                let floor = [
                    (line[line.len() - 1].0, frame.bottom()),
                    (line[0].0, frame.bottom()),
                ];
                fill(area, line.iter().copied().chain(floor), ink, 0.14)?;
                draw_line(area, line, ink, 4)?;
            }
            Shape::Band(base) => {
                let under = stretch.clone().rev().map(|i| {
                    let low = base.get(i).copied().unwrap_or(0.0);
                    (frame.x(series.points[i].0), frame.y(low))
                });
                fill(area, line.iter().copied().chain(under), ink, 0.45)?;
                draw_line(area, line, ink, 3)?;
            }
        }
    }
    Ok(())
}

fn steps(line: &[(i32, i32)]) -> Vec<(i32, i32)> {
    let mut out: Vec<(i32, i32)> = Vec::with_capacity(line.len() * 2);
    for (x, y) in line {
        if let Some((_, before)) = out.last().copied() {
            out.push((*x, before));
        }
        out.push((*x, *y));
    }
    out
}

fn draw_line(area: &Area<'_>, line: Vec<(i32, i32)>, ink: Ink, width: u32) -> Result<(), Failure> {
    if let [(x, y)] = line[..] {
        // A single point has no line: show it as a dot.
        area.draw(&Circle::new((x, y), 3 * FINE, color(ink).filled()))?;
    } else {
        area.draw(&PathElement::new(line, stroke(ink, width)))?;
    }
    Ok(())
}

fn fill(
    area: &Area<'_>,
    outline: impl Iterator<Item = (i32, i32)>,
    ink: Ink,
    opacity: f64,
) -> Result<(), Failure> {
    let outline: Vec<_> = outline.collect();
    area.draw(&Polygon::new(outline, color(ink).mix(opacity).filled()))?;
    Ok(())
}

/// What the page's script shows at the pointer: for each series where its points lie and what they say. The
/// moments in words are those of the first series; the others have the same or nearly so.
fn hover(frame: Frame<'_>) -> serde_json::Value {
    let chart = frame.chart;
    let kept = |s: &Series| -> Vec<usize> { stretches(s).into_iter().flatten().collect() };
    let series = chart.series.iter().map(|s| {
        let kept = kept(s);
        let said = |i: &usize| {
            let value = s.said.as_ref().and_then(|said| said.get(*i).copied());
            chart.unit.value(value.or(s.points[*i].1).unwrap_or(0.0))
        };
        let x: Vec<i32> = kept.iter().map(|i| frame.x(s.points[*i].0)).collect();
        let v: Vec<String> = kept.iter().map(said).collect();
        let steps = s.shape == Shape::Steps;
        serde_json::json!({"name": s.name, "ink": s.ink.class(), "steps": steps, "x": x, "v": v})
    });
    let moments = chart.series.first().map_or(Vec::new(), |s| {
        let at = kept(s).into_iter().map(|i| x_text(chart, s.points[i].0));
        at.collect()
    });
    serde_json::json!({
        "left": LEFT, "right": frame.right(), "top": TOP, "bottom": frame.bottom(),
        "moments": moments, "series": series.collect::<Vec<_>>(),
    })
}

fn x_text(chart: &Chart, x: f64) -> String {
    if chart.id == "distribution" {
        let q = 100.0 * (1.0 - 1.0 / x.max(1.0));
        return format!("{}%", phrases::trim(format!("{q:.4}")));
    }
    if chart.id.starts_with("capacity") {
        return words::rate(x);
    }
    words::moment((x.max(0.0) * 1e6) as u64, 0)
}
