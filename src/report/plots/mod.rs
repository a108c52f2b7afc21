//! Charts of a run as inline SVG.
//!
//! `charts.rs` and `instances.rs` say what is shown (pure: series from the record), `axis.rs` chooses ticks, `draw.rs` draws any
//! chart with plotters. Colours are drawn as the fixed values of [`Ink`]; the page's style sheet selects elements by
//! those values and gives them the colours of the light or the dark theme.

mod axis;
mod charts;
mod draw;
mod instances;

pub(super) use charts::all;
pub(super) use draw::draw;

pub(super) use axis::Axis;

/// The colours a chart is drawn in; the values are known to `assets/style.css` (a test compares them).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    Text,
    Axis,
    Grid,
    Fault,
    FaultText,
    Bad,
    Muted,
    /// One of the eight series colours, chosen so that they can be told apart with any colour vision.
    Series(usize),
}

/// How many series colours there are.
pub(super) const SERIES: usize = 8;

impl Ink {
    /// Its red, green and blue.
    pub(super) fn rgb(self) -> (u8, u8, u8) {
        match self {
            Ink::Text => (0x59, 0x64, 0x6F),
            Ink::Axis => (0xB4, 0xBC, 0xC4),
            Ink::Grid => (0xE6, 0xEA, 0xEE),
            Ink::Fault => (0xC2, 0x5A, 0x00),
            Ink::FaultText => (0x9A, 0x46, 0x00),
            Ink::Bad => (0xC6, 0x28, 0x28),
            Ink::Muted => (0x8A, 0x95, 0xA1),
            Ink::Series(i) => match i % SERIES {
                0 => (0x00, 0x72, 0xB2),
                1 => (0xE6, 0x9F, 0x00),
                2 => (0x00, 0x9E, 0x73),
                3 => (0xCC, 0x79, 0xA7),
                4 => (0x56, 0xB4, 0xE9),
                5 => (0xD5, 0x5E, 0x00),
                6 => (0x7B, 0x5E, 0xA7),
                _ => (0x6B, 0x70, 0x79),
            },
        }
    }
    /// The style sheet's name for it.
    pub(super) fn class(self) -> String {
        match self {
            Ink::Text => "text".into(),
            Ink::Axis => "axis".into(),
            Ink::Grid => "grid".into(),
            Ink::Fault => "fault".into(),
            Ink::FaultText => "fault-text".into(),
            Ink::Bad => "bad".into(),
            Ink::Muted => "muted".into(),
            Ink::Series(i) => format!("s{}", i % SERIES),
        }
    }
}

/// How a series is drawn.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// A line.
    Line,
    /// A thin line, for what is there for context.
    Thin,
    /// A line that keeps its value until the next point, with the area under it lightly filled.
    Steps,
    /// An area from the lower edge given here up to the points.
    Band(Vec<f64>),
}

/// One series; a point without a value is a gap.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub name: String,
    pub ink: Ink,
    pub shape: Shape,
    pub points: Vec<(f64, Option<f64>)>,
    /// What the tooltip says for each point, where that is not the point's own value (a stacked band).
    pub said: Option<Vec<f64>>,
}

/// A quantity, for ticks and tooltips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Microseconds.
    Latency,
    /// Per second.
    Rate,
    /// A whole number.
    Count,
    /// Cores.
    Cores,
    /// Bytes.
    Bytes,
}

/// A fault in force, as a span of time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Window {
    pub from: f64,
    pub to: f64,
    pub label: String,
}

/// A chart, ready to be drawn.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chart {
    /// Unique in the page.
    pub id: &'static str,
    pub title: String,
    /// A sentence for those who cannot see it.
    pub describe: String,
    /// What is said below the title, in the page.
    pub note: String,
    /// Over the page's whole width.
    pub wide: bool,
    pub x: Axis,
    pub y: Axis,
    pub unit: Unit,
    pub series: Vec<Series>,
    pub windows: Vec<Window>,
}

#[cfg(test)]
mod tests;
