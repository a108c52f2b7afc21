//! Writes a record's two files as the run goes, so that nothing is lost that was written, however the program ends.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::hlog::{self, Encoder, Series, Tag};
use super::{
    Event, HISTOGRAM_FILE, Header, Interval, Latency, Micros, RECORD_FILE, RecordError,
    StepHistograms, What,
};

/// Histograms that no verdict needs by the second (connect, TLS, first byte, instances) are written for so long
/// together. Written each second they would be more than half of the record.
const ROLL_UP: Micros = 30_000_000;

/// Writes a record.
///
/// Each line is one write call with nothing held back in memory, so that a killed process loses no line that it
/// wrote. The exception are the histograms that are rolled up over half a minute: of a killed process the last
/// are missing, and the reader says so.
pub struct Writer {
    events: Appender,
    histograms: Appender,
    encoder: Encoder,
    rolled_up: RollUp,
    /// A fault, an undo or a new phase was written: what follows is not mixed with what was before.
    cut: bool,
}

impl Writer {
    /// Creates the files in a folder, which is made if it is not there, and writes the header. When this returns,
    /// the record exists on disk.
    pub fn create(dir: &Path, header: &Header) -> Result<Writer, RecordError> {
        let started: jiff::Timestamp = header
            .started
            .parse()
            .map_err(|_| RecordError::Started(header.started.clone()))?;
        std::fs::create_dir_all(dir).map_err(io("create", dir))?;
        let mut events = Appender::create(dir.join(RECORD_FILE))?;
        let mut histograms = Appender::create(dir.join(HISTOGRAM_FILE))?;
        histograms.append(hlog::head(started).as_bytes())?;
        events.append(&json_line(header, &events.path)?)?;
        histograms.sync()?;
        events.sync()?;
        let folder = File::open(dir).map_err(io("open", dir))?;
        folder.sync_all().map_err(io("sync", dir))?;
        Ok(Self::new(events, histograms))
    }

    fn new(events: Appender, histograms: Appender) -> Self {
        Self {
            events,
            histograms,
            encoder: Encoder::default(),
            rolled_up: RollUp::default(),
            cut: false,
        }
    }

    /// Writes an event.
    pub fn write_event(&mut self, event: &Event) -> Result<(), RecordError> {
        if matches!(
            event.what,
            What::Phase { .. } | What::Fault(_) | What::Undo(_)
        ) {
            self.cut = true;
        }
        let line = json_line(event, &self.events.path)?;
        self.events.append(&line)
    }

    /// Writes an event and returns when it is on disk.
    pub fn write_durable(&mut self, event: &Event) -> Result<(), RecordError> {
        self.write_event(event)?;
        self.events.sync()
    }

    /// Writes a second of traffic: its counts as an event, stamped with its end, and its histograms.
    ///
    /// The histograms go first: killed between the two, the record lacks a second at its end, not the latencies
    /// of a second that it counts.
    pub fn write_interval(&mut self, interval: &Interval) -> Result<(), RecordError> {
        let second = &interval.second;
        let mut lines = Vec::new();
        if self.cut || second.end_us.saturating_sub(self.rolled_up.start) > ROLL_UP {
            self.roll_up(&mut lines)?;
        }
        self.cut = false;
        let span = (second.start_us, second.end_us);
        for (step, histograms) in second.steps.iter().zip(&interval.histograms) {
            let mut tag = Tag {
                flow: step.flow.clone(),
                step: step.step.clone(),
                series: Series::Service,
            };
            for (&outcome, histogram) in &histograms.response {
                tag.series = Series::Response(outcome);
                self.line(&mut lines, &tag, span, histogram)?;
            }
            if let Some(histogram) = &histograms.service {
                tag.series = Series::Service;
                self.line(&mut lines, &tag, span, &hlog::coarse(histogram))?;
            }
            self.rolled_up.add(span, &step.flow, &step.step, histograms);
        }
        self.histograms.append(&lines)?;
        let event = Event {
            at: second.end_us,
            what: What::Traffic(second.clone()),
        };
        let line = json_line(&event, &self.events.path)?;
        self.events.append(&line)
    }

    /// Writes what is still held back and syncs both files.
    pub fn finish(mut self) -> Result<(), RecordError> {
        self.flush()?;
        self.histograms.sync()?;
        self.events.sync()
    }

    fn flush(&mut self) -> Result<(), RecordError> {
        let mut lines = Vec::new();
        self.roll_up(&mut lines)?;
        self.histograms.append(&lines)
    }

    /// Ends the rolled-up time with what it has.
    fn roll_up(&mut self, lines: &mut Vec<u8>) -> Result<(), RecordError> {
        let done = std::mem::take(&mut self.rolled_up);
        let span = (done.start, done.end);
        for ((flow, step), series) in done.steps {
            for (series, histogram) in series {
                let (flow, step) = (flow.clone(), step.clone());
                self.line(lines, &Tag { flow, step, series }, span, &histogram)?;
            }
        }
        Ok(())
    }

    /// Appends one line of the interval log; an empty histogram says nothing and is left out.
    fn line(
        &mut self,
        lines: &mut Vec<u8>,
        tag: &Tag,
        span: (Micros, Micros),
        histogram: &Latency,
    ) -> Result<(), RecordError> {
        if histogram.is_empty() {
            return Ok(());
        }
        self.encoder
            .line(lines, tag, span, histogram)
            .map_err(io("encode a histogram for", &self.histograms.path))
    }
}

impl Drop for Writer {
    /// A writer that is dropped unfinished (a panic) still writes what it holds back.
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

/// Histograms held back, by flow and step.
#[derive(Default)]
struct RollUp {
    start: Micros,
    end: Micros,
    steps: BTreeMap<(String, String), Vec<(Series, Latency)>>,
}

impl RollUp {
    fn add(&mut self, span: (Micros, Micros), flow: &str, step: &str, new: &StepHistograms) {
        if self.steps.is_empty() {
            self.start = span.0;
        }
        self.end = span.1;
        let key = (flow.to_string(), step.to_string());
        let held = self.steps.entry(key).or_default();
        let mut add = |series: Series, histogram: &Latency| {
            match held.iter_mut().find(|(s, _)| *s == series) {
                // Cannot fail: the held one resizes itself.
                Some((_, sum)) => drop(sum.add(histogram)),
                None => held.push((series, hlog::coarse(histogram))),
            }
        };
        for (series, histogram) in [
            (Series::FirstByte, &new.first_byte),
            (Series::Connect, &new.connect),
            (Series::Tls, &new.tls),
        ] {
            if let Some(histogram) = histogram {
                add(series, histogram);
            }
        }
        for (name, histogram) in &new.instances {
            add(Series::Instance(name.clone()), histogram);
        }
    }
}

/// A file that only grows, line by line.
struct Appender {
    path: PathBuf,
    file: File,
    /// The last write failed, perhaps in the middle of a line.
    torn: bool,
}

impl Appender {
    fn create(path: PathBuf) -> Result<Self, RecordError> {
        let opened = OpenOptions::new().append(true).create_new(true).open(&path);
        match opened {
            Ok(file) => Ok(Self {
                path,
                file,
                torn: false,
            }),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(RecordError::Exists(path))
            }
            Err(e) => Err(io("create", &path)(e)),
        }
    }

    /// Writes whole lines in one call.
    fn append(&mut self, lines: &[u8]) -> Result<(), RecordError> {
        if lines.is_empty() {
            return Ok(());
        }
        let result = if self.torn {
            // A disk that was full may have room again: the next line must not grow together with the torn one.
            self.file.write_all(&[b"\n", lines].concat())
        } else {
            self.file.write_all(lines)
        };
        self.torn = result.is_err();
        result.map_err(io("write to", &self.path))
    }

    fn sync(&mut self) -> Result<(), RecordError> {
        self.file.sync_data().map_err(io("sync", &self.path))
    }
}

fn json_line<T: serde::Serialize>(value: &T, path: &Path) -> Result<Vec<u8>, RecordError> {
    let mut line = serde_json::to_vec(value)
        .map_err(std::io::Error::other)
        .map_err(io("encode a line for", path))?;
    line.push(b'\n');
    Ok(line)
}

fn io<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> RecordError + 'a {
    move |source| RecordError::Io {
        what,
        path: path.to_path_buf(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Level;

    fn appender(path: &str) -> Appender {
        let file = OpenOptions::new().append(true).open(path).unwrap();
        Appender {
            path: path.into(),
            file,
            torn: false,
        }
    }

    #[test]
    fn each_write_to_a_full_disk_is_an_error_that_names_the_file() {
        let mut writer = Writer::new(appender("/dev/full"), appender("/dev/null"));
        let what = What::Note {
            level: Level::Info,
            text: "x".into(),
        };
        let event = Event { at: 1, what };
        for error in [
            writer.write_event(&event).unwrap_err(),
            writer.write_durable(&event).unwrap_err(),
            writer.write_interval(&Interval::default()).unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(
                text.starts_with("cannot write to /dev/full: No space left"),
                "{text}"
            );
        }
    }
}
