//! Reads a record back, whole or damaged: what can be read is read, and what is wrong is named.
//!
//! Only a file that does not begin as a record, and one of a later format, are errors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::hlog::{self, Line, Series};
use super::{
    Event, FORMAT, HISTOGRAM_FILE, Header, Interval, Micros, RECORD_FILE, Record, RecordError,
    StepHistograms, TrafficSecond, What,
};

/// So many damaged lines of a file are named one by one; the rest are counted.
const NAMED: usize = 20;

impl Record {
    /// Reads a record from its folder, or from the path of its `record.jsonl`.
    pub fn load(path: &Path) -> Result<Record, RecordError> {
        let (events_path, histograms_path) = paths(path);
        let bytes = std::fs::read(&events_path).map_err(|source| RecordError::Io {
            what: "read",
            path: events_path.clone(),
            source,
        })?;
        let mut lines = lines(&bytes);
        let header = header(lines.next(), &events_path)?;
        let mut damage = Damage::default();
        let (mut events, mut intervals) = (Vec::new(), Vec::new());
        for line in lines {
            match read_event(&line, &mut damage) {
                Some(Read::Event(event)) => events.push(event),
                Some(Read::Traffic(second)) => intervals.push(interval(second)),
                None => {}
            }
        }
        // Lines are in the order of writing; an event may be stamped with a moment just past.
        events.sort_by_key(|event| event.at);
        intervals.sort_by_key(|interval| interval.second.end_us);
        let ended = events.iter().any(|e| matches!(e.what, What::End { .. }));
        if !ended {
            damage.other(no_end(&events, &intervals));
        }
        let mut damage = damage.sentences(RECORD_FILE);
        match std::fs::read(&histograms_path) {
            Ok(bytes) => damage.extend(add_histograms(&mut intervals, &bytes, ended)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => damage.push(format!(
                "{HISTOGRAM_FILE} is missing: the record has no latencies"
            )),
            Err(e) => damage.push(format!(
                "{HISTOGRAM_FILE} cannot be read ({e}): the record has no latencies"
            )),
        }
        Ok(Record {
            header,
            events,
            intervals,
            damage,
        })
    }
}

fn paths(path: &Path) -> (PathBuf, PathBuf) {
    if path.is_dir() {
        return (path.join(RECORD_FILE), path.join(HISTOGRAM_FILE));
    }
    (path.to_path_buf(), path.with_file_name(HISTOGRAM_FILE))
}

/// A line of a file.
struct RawLine<'a> {
    /// Number, from 1.
    number: usize,
    bytes: &'a [u8],
    /// It has its line end; the last line of a file that was cut has none.
    whole: bool,
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = RawLine<'_>> {
    bytes
        .split_inclusive(|&b| b == b'\n')
        .enumerate()
        .map(|(i, line)| {
            let (bytes, whole) = match line.strip_suffix(b"\n") {
                Some(bytes) => (bytes, true),
                None => (line, false),
            };
            let number = i + 1;
            RawLine {
                number,
                bytes,
                whole,
            }
        })
}

/// What is wrong with one file.
#[derive(Default)]
struct Damage {
    lines: Vec<String>,
    more_lines: usize,
    others: Vec<String>,
}

impl Damage {
    fn line(&mut self, line: &RawLine<'_>, what: impl std::fmt::Display) {
        if self.lines.len() == NAMED {
            self.more_lines += 1;
        } else if line.whole {
            self.lines.push(format!("line {}: {what}", line.number));
        } else {
            self.lines
                .push(format!("line {}, the last, is cut off", line.number));
        }
    }
    fn other(&mut self, sentence: String) {
        self.others.push(sentence);
    }
    fn sentences(self, file: &str) -> Vec<String> {
        let mut all: Vec<String> = self.lines.iter().map(|l| format!("{file} {l}")).collect();
        if self.more_lines > 0 {
            all.push(format!("{file}: {} more damaged lines", self.more_lines));
        }
        all.extend(self.others);
        all
    }
}

fn header(line: Option<RawLine<'_>>, path: &Path) -> Result<Header, RecordError> {
    let bad = |reason: String| RecordError::NotARecord {
        path: path.to_path_buf(),
        reason,
    };
    let line = line.ok_or_else(|| bad("it is empty".into()))?;
    let value: Value = match serde_json::from_slice(line.bytes) {
        Ok(value) => value,
        Err(_) if !line.whole => return Err(bad("its first line, the header, is cut off".into())),
        Err(e) => return Err(bad(format!("its first line is not JSON: {e}"))),
    };
    let format = value.get("squall_record").and_then(Value::as_u64);
    match format {
        None => Err(bad(
            "its first line has no `squall_record`, the format's version".into(),
        )),
        Some(found) if found > u64::from(FORMAT) => Err(RecordError::Newer {
            path: path.to_path_buf(),
            found,
            known: FORMAT,
        }),
        Some(_) => serde_json::from_value(value)
            .map_err(|e| bad(format!("its header cannot be read: {e}"))),
    }
}

/// What a line of `record.jsonl` became.
enum Read {
    Event(Event),
    Traffic(TrafficSecond),
}

/// Just enough of an event to say when, where the rest is from a later version.
#[derive(Deserialize)]
struct Stamp {
    #[serde(rename = "t_us")]
    at: Micros,
    kind: String,
}

fn read_event(line: &RawLine<'_>, damage: &mut Damage) -> Option<Read> {
    if line.bytes.is_empty() {
        return None;
    }
    let stamp: Stamp = match serde_json::from_slice(line.bytes) {
        Ok(stamp) => stamp,
        Err(e) => {
            damage.line(line, format_args!("not an event: {e}"));
            return None;
        }
    };
    // Most lines of a record: read without the detour that the tagged enum takes.
    let read = if stamp.kind == "traffic" {
        serde_json::from_slice(line.bytes).map(Read::Traffic)
    } else {
        serde_json::from_slice(line.bytes).map(Read::Event)
    };
    Some(read.unwrap_or_else(|e| {
        damage.line(
            line,
            format_args!("the event `{}` is not understood: {e}", stamp.kind),
        );
        Read::Event(Event {
            at: stamp.at,
            what: What::Unknown,
        })
    }))
}

fn interval(second: TrafficSecond) -> Interval {
    let histograms = vec![StepHistograms::default(); second.steps.len()];
    Interval { second, histograms }
}

fn no_end(events: &[Event], intervals: &[Interval]) -> String {
    let event = events.last().map_or(0, |e| e.at);
    let last = event.max(intervals.last().map_or(0, |i| i.second.end_us));
    format!(
        "the record stops at {} without an end: the run was cut short",
        seconds(last)
    )
}

fn seconds(at: Micros) -> String {
    format!("{:.1} s", at as f64 / 1e6)
}

/// Gives each second its histograms; what is wrong with them.
fn add_histograms(intervals: &mut [Interval], bytes: &[u8], ended: bool) -> Vec<String> {
    let by_end: BTreeMap<Micros, usize> = (intervals.iter().enumerate())
        .map(|(i, interval)| (interval.second.end_us, i))
        .collect();
    let mut damage = Damage::default();
    let mut rolled_up_until = 0;
    for line in lines(bytes) {
        // The last line is read only when it is whole: cut base64 may still be valid base64.
        let text = match std::str::from_utf8(line.bytes) {
            Ok(text) if line.whole => text,
            _ => {
                damage.line(&line, "not UTF-8");
                continue;
            }
        };
        match hlog::parse_line(text) {
            Ok(None) => {}
            Ok(Some(entry)) => {
                if entry.tag.series.is_rolled_up() {
                    rolled_up_until = rolled_up_until.max(entry.end);
                }
                if !place(intervals, &by_end, entry) && ended {
                    damage.line(&line, "no second in the record has this histogram");
                }
            }
            Err(what) => damage.line(&line, what),
        }
    }
    missing_seconds(intervals, &mut damage);
    if !ended {
        missing_roll_up(intervals, rolled_up_until, &mut damage);
    }
    damage.sentences(HISTOGRAM_FILE)
}

/// Puts a histogram where it belongs; `false` if there is no such place.
fn place(intervals: &mut [Interval], by_end: &BTreeMap<Micros, usize>, line: Line) -> bool {
    let Some(&last) = by_end.get(&line.end) else {
        return false;
    };
    // What is rolled up goes to the last of its seconds in which the step was active.
    for interval in intervals[..=last].iter_mut().rev() {
        if interval.second.start_us < line.start {
            return false;
        }
        let mut steps = interval.second.steps.iter();
        let Some(i) = steps.position(|s| s.flow == line.tag.flow && s.step == line.tag.step) else {
            continue;
        };
        let all = &mut interval.histograms[i];
        let histogram = line.histogram;
        match line.tag.series {
            Series::Response(outcome) => drop(all.response.insert(outcome, histogram)),
            Series::Service => all.service = Some(histogram),
            Series::Connect => all.connect = Some(histogram),
            Series::Tls => all.tls = Some(histogram),
            Series::FirstByte => all.first_byte = Some(histogram),
            Series::Instance(name) => drop(all.instances.insert(name, histogram)),
        }
        return true;
    }
    false
}

/// Names the seconds whose requests have no response times.
fn missing_seconds(intervals: &[Interval], damage: &mut Damage) {
    let bare = intervals.iter().filter(|interval| {
        let mut steps = interval.second.steps.iter().zip(&interval.histograms);
        steps.any(|(step, all)| step.ended.values().any(|&n| n > 0) && all.response.is_empty())
    });
    let bare: Vec<Micros> = bare.map(|interval| interval.second.start_us).collect();
    if let Some(&first) = bare.first() {
        damage.other(format!(
            "{HISTOGRAM_FILE}: the latencies of {} of {} seconds are missing, the first at {}",
            bare.len(),
            intervals.len(),
            seconds(first)
        ));
    }
}

/// Of a run that was killed, the histograms not yet written.
fn missing_roll_up(intervals: &[Interval], until: Micros, damage: &mut Damage) {
    let late = intervals.iter().filter(|i| i.second.end_us > until);
    let lost = late
        .filter(|i| i.second.steps.iter().any(|s| !s.instances.is_empty()))
        .count();
    if lost > 0 {
        damage.other(format!(
            "{HISTOGRAM_FILE}: latencies by instance and times to connect of the last {lost} seconds are \
             missing, since the run was cut short"
        ));
    }
}
