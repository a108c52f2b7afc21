//! A data file, read row by row: CSV with a header line, or one JSON object a line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::text::Value;
use crate::scenario::FeederFormat;

/// An open file that is read row by row.
#[derive(Debug)]
pub enum Source {
    Csv(Box<csv::Reader<File>>, csv::StringRecord),
    Json(BufReader<File>, u64, Vec<u8>, serde_json::Value),
}

impl Source {
    /// Opens a file.
    pub fn open(path: &Path, format: FeederFormat) -> Result<Self, String> {
        let file = File::open(path).map_err(|e| e.to_string())?;
        Ok(match format {
            FeederFormat::Csv => {
                let reader = csv::ReaderBuilder::new()
                    .buffer_capacity(64 << 10)
                    .from_reader(file);
                Source::Csv(Box::new(reader), csv::StringRecord::new())
            }
            FeederFormat::JsonLines => {
                let reader = BufReader::with_capacity(64 << 10, file);
                Source::Json(reader, 0, Vec::new(), serde_json::Value::Null)
            }
        })
    }

    /// The names in the header line; must be called before rows are read.
    pub fn columns(&mut self) -> Result<Option<Vec<String>>, String> {
        match self {
            Source::Csv(reader, _) => {
                let headers = reader.headers().map_err(|e| e.to_string())?;
                Ok(Some(headers.iter().map(|h| h.trim().to_string()).collect()))
            }
            Source::Json(..) => Ok(None),
        }
    }

    /// The row, where it is JSON.
    pub fn json(&self) -> Option<&serde_json::Value> {
        match self {
            Source::Json(_, _, _, row) => Some(row),
            Source::Csv(..) => None,
        }
    }

    /// Offset of the next row.
    pub fn offset(&self) -> u64 {
        match self {
            Source::Csv(reader, _) => reader.position().byte(),
            Source::Json(_, offset, ..) => *offset,
        }
    }

    /// Goes on at the row at this offset.
    pub fn seek(&mut self, offset: u64) -> Result<(), String> {
        match self {
            Source::Csv(reader, _) => {
                let mut position = csv::Position::new();
                position.set_byte(offset);
                reader.seek(position).map_err(|e| e.to_string())
            }
            Source::Json(reader, at, ..) => {
                // Relative, since a step within the buffer keeps it.
                let step = offset as i64 - *at as i64;
                *at = offset;
                reader.seek_relative(step).map_err(|e| e.to_string())
            }
        }
    }

    /// Reads the next row; `false` at the end of the file.
    pub fn read(&mut self) -> Result<bool, String> {
        match self {
            Source::Csv(reader, record) => reader.read_record(record).map_err(|e| e.to_string()),
            Source::Json(reader, offset, line, row) => loop {
                line.clear();
                let n = reader.read_until(b'\n', line).map_err(|e| e.to_string())?;
                if n == 0 {
                    return Ok(false);
                }
                let at = *offset;
                *offset += n as u64;
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                *row = serde_json::from_slice(line)
                    .map_err(|e| format!("the line at byte {at} is not JSON: {e}"))?;
                if !row.is_object() {
                    return Err(format!("the line at byte {at} is not a JSON object"));
                }
                return Ok(true);
            },
        }
    }

    /// Takes a field of the row.
    pub fn field(&self, name: &str, column: usize, value: &mut Value) {
        match self {
            Source::Csv(_, record) => match record.get(column) {
                Some(text) => value.set(text),
                None => value.unset(),
            },
            Source::Json(_, _, _, row) => match lookup(row, name) {
                Some(serde_json::Value::String(text)) => value.set(text),
                Some(other) => value.set(&other.to_string()),
                None => value.unset(),
            },
        }
    }
}

/// A field of a JSON row: by its name, or level by level along `a.b.c`.
pub fn lookup<'a>(row: &'a serde_json::Value, name: &str) -> Option<&'a serde_json::Value> {
    row.get(name).or_else(|| {
        let mut parts = name.split('.');
        parts.try_fold(row, |value, part| value.get(part))
    })
}
