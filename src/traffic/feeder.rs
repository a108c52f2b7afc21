//! Rows of data for journeys, from CSV and JSON Lines files that may be larger than memory.
//!
//! A file is never loaded. Rows in file order are streamed; for shuffled rows an index of every sixteenth row's offset
//! is kept, and the shuffle is a keyed permutation of the row numbers that is computed, not stored. Of the sequence of
//! rows, worker `w` of `N` takes numbers `w`, `w + N`, ..., so that no row is handed out twice and nothing is shared.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::TrafficError;
use super::datafile::{Source, lookup};
use super::text::Value;
use crate::scenario::{Feeder, FeederFormat, FeederOrder};

/// Every so many rows the index has an offset.
const STRIDE: u64 = 16;

/// A feeder that has been opened and looked at once.
#[derive(Debug, Clone)]
pub struct FeederPlan {
    name: String,
    file: PathBuf,
    format: FeederFormat,
    order: FeederOrder,
    fields: Vec<Field>,
    index: Option<Arc<Index>>,
}

/// A field that some template uses.
#[derive(Debug, Clone)]
struct Field {
    name: String,
    column: usize,
    slot: usize,
}

/// Where rows are.
#[derive(Debug, Default)]
struct Index {
    offsets: Vec<u64>,
    rows: u64,
}

impl FeederPlan {
    /// Opens a feeder's file; `fields` are the fields that templates use, with their variables.
    pub fn open(
        feeder: &Feeder,
        base: &Path,
        fields: &[(String, usize)],
    ) -> Result<Self, TrafficError> {
        let mut plan = Self {
            name: feeder.name.clone(),
            file: base.join(&feeder.file),
            format: feeder.format,
            order: feeder.order,
            fields: Vec::new(),
            index: None,
        };
        let mut source = Source::open(&plan.file, plan.format).map_err(|e| plan.error(e))?;
        let columns = source.columns().map_err(|e| plan.error(e))?;
        if !source.read().map_err(|e| plan.error(e))? {
            return Err(plan.error("the file has no rows"));
        }
        for (name, slot) in fields {
            let column = match &columns {
                Some(columns) => columns.iter().position(|column| column == name),
                None => source.json().and_then(|row| lookup(row, name)).map(|_| 0),
            };
            let column = column.ok_or_else(|| {
                let known = columns.clone().unwrap_or_default().join(", ");
                let known = if known.is_empty() {
                    String::new()
                } else {
                    format!("; it has {known}")
                };
                plan.error(format!("its first row has no field `{name}`{known}"))
            })?;
            let (name, slot) = (name.clone(), *slot);
            plan.fields.push(Field { name, column, slot });
        }
        if plan.order == FeederOrder::Shuffled {
            plan.index = Some(Arc::new(plan.build_index().map_err(|e| plan.error(e))?));
        }
        Ok(plan)
    }

    fn build_index(&self) -> Result<Index, String> {
        let mut source = Source::open(&self.file, self.format)?;
        source.columns()?;
        let mut index = Index::default();
        loop {
            let offset = source.offset();
            if !source.read()? {
                return Ok(index);
            }
            if index.rows.is_multiple_of(STRIDE) {
                index.offsets.push(offset);
            }
            index.rows += 1;
        }
    }

    fn error(&self, problem: impl std::fmt::Display) -> TrafficError {
        TrafficError::Feeder {
            name: self.name.clone(),
            file: self.file.clone(),
            problem: problem.to_string(),
        }
    }

    /// The rows of one worker of those that share the flow.
    pub fn rows(&self, shard: usize, shards: usize, seed: u64) -> Result<Rows, TrafficError> {
        let mut source = Source::open(&self.file, self.format).map_err(|e| self.error(e))?;
        source.columns().map_err(|e| self.error(e))?;
        Ok(Rows {
            start: source.offset(),
            plan: self.clone(),
            source,
            shard: shard as u64,
            shards: shards as u64,
            taken: 0,
            seed,
        })
    }
}

/// The rows that one worker takes.
#[derive(Debug)]
pub struct Rows {
    plan: FeederPlan,
    source: Source,
    /// Offset of the first row.
    start: u64,
    shard: u64,
    shards: u64,
    taken: u64,
    seed: u64,
}

impl Rows {
    /// The feeder's name.
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// Takes the next row into the variables; `false` when each row has been taken once and that is the order.
    pub fn take(&mut self, values: &mut [Value]) -> Result<bool, TrafficError> {
        let found = match self.plan.index.clone() {
            Some(index) => self.seek_shuffled(&index),
            None => self.stream(),
        };
        if !found.map_err(|e| self.plan.error(e))? {
            return Ok(false);
        }
        self.taken += 1;
        for field in &self.plan.fields {
            if let Some(value) = values.get_mut(field.slot) {
                self.source.field(&field.name, field.column, value);
            }
        }
        Ok(true)
    }

    /// Reads on to this worker's next row in file order.
    fn stream(&mut self) -> Result<bool, String> {
        let skip = if self.taken == 0 {
            self.shard
        } else {
            self.shards - 1
        };
        for _ in 0..=skip {
            if self.source.read()? {
                continue;
            }
            if self.plan.order == FeederOrder::Once {
                return Ok(false);
            }
            self.source.seek(self.start)?;
            if !self.source.read()? {
                return Err("the file has no rows any more".into());
            }
        }
        Ok(true)
    }

    fn seek_shuffled(&mut self, index: &Index) -> Result<bool, String> {
        let number = self.shard + self.taken * self.shards;
        let (epoch, position) = (number / index.rows, number % index.rows);
        let row = permute(position, index.rows, mix(self.seed, epoch));
        let offset = index.offsets.get((row / STRIDE) as usize);
        self.source.seek(*offset.ok_or("the index ends early")?)?;
        for _ in 0..=row % STRIDE {
            if !self.source.read()? {
                return Err("the file has become shorter".into());
            }
        }
        Ok(true)
    }
}

/// Mixes two numbers into one (SplitMix64's finalizer).
pub fn mix(seed: u64, with: u64) -> u64 {
    let mut z = seed ^ with.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Where `position` of `0..count` goes in the shuffle of this key: a Feistel network over the next power of four,
/// walked until it lands inside.
fn permute(position: u64, count: u64, key: u64) -> u64 {
    let half = (64 - (count.max(2) - 1).leading_zeros()).div_ceil(2);
    let mask = (1u64 << half) - 1;
    let mut at = position;
    loop {
        let (mut left, mut right) = (at >> half, at & mask);
        for round in 0..4 {
            (left, right) = (right, left ^ (mix(key ^ round << 60, right) & mask));
        }
        at = left << half | right;
        if at < count {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(content: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        file
    }

    fn feeder(file: &tempfile::NamedTempFile, format: FeederFormat, order: FeederOrder) -> Feeder {
        Feeder {
            name: "users".into(),
            file: file.path().to_path_buf(),
            format,
            order,
        }
    }

    fn csv_of(rows: usize) -> String {
        let rows = (0..rows).map(|i| format!("{i},\"name {i}\nof two lines\"\n"));
        std::iter::once("id,name\n".to_string())
            .chain(rows)
            .collect()
    }

    fn json_of(rows: usize) -> String {
        let rows = (0..rows)
            .map(|i| format!("{{\"id\":{i},\"name\":\"name {i}\",\"in\":{{\"x\":{i}}}}}\n\n"));
        rows.collect()
    }

    /// What `count` takes by each of `shards` workers give, in the order in which workers take turns.
    fn ids(plan: &FeederPlan, shards: usize, count: usize) -> Vec<u64> {
        let mut workers: Vec<Rows> = (0..shards)
            .map(|s| plan.rows(s, shards, 11).unwrap())
            .collect();
        let mut values = vec![Value::default(); 2];
        let mut out = Vec::new();
        for turn in 0..count {
            if workers[turn % shards].take(&mut values).unwrap() {
                out.push(values[0].get().parse().unwrap());
            }
        }
        out
    }

    fn plan(
        file: &tempfile::NamedTempFile,
        format: FeederFormat,
        order: FeederOrder,
    ) -> FeederPlan {
        let fields = [("id".to_string(), 0), ("name".to_string(), 1)];
        FeederPlan::open(&feeder(file, format, order), Path::new("/"), &fields).unwrap()
    }

    #[test]
    fn each_order_hands_out_what_it_says_over_any_number_of_workers() {
        for (format, content) in [
            (FeederFormat::Csv, csv_of(70)),
            (FeederFormat::JsonLines, json_of(70)),
        ] {
            let file = file(&content);
            for shards in [1, 3] {
                let in_order = ids(&plan(&file, format, FeederOrder::InOrder), shards, 150);
                let expected: Vec<u64> = (0..150).map(|i| i % 70).collect();
                assert_eq!(in_order, expected, "{format:?} in {shards}");

                let once = ids(&plan(&file, format, FeederOrder::Once), shards, 150);
                assert_eq!(once, (0..70).collect::<Vec<_>>(), "{format:?} in {shards}");

                let shuffled = ids(&plan(&file, format, FeederOrder::Shuffled), shards, 140);
                let (first, second) = shuffled.split_at(70);
                for round in [first, second] {
                    let mut sorted = round.to_vec();
                    sorted.sort_unstable();
                    assert_eq!(sorted, (0..70).collect::<Vec<_>>());
                    assert_ne!(round, sorted);
                }
                assert_ne!(first, second);
            }
        }
    }

    #[test]
    fn fields_come_as_text() {
        let file = file("{\"id\": 5, \"name\": \"a\", \"in\": {\"x\": [1]}}\n{\"id\": \"b\"}\n");
        let fields = [("id".to_string(), 0), ("in.x".to_string(), 1)];
        let feeder = feeder(&file, FeederFormat::JsonLines, FeederOrder::InOrder);
        let mut rows = FeederPlan::open(&feeder, Path::new("/"), &fields)
            .unwrap()
            .rows(0, 1, 0)
            .unwrap();
        let mut values = vec![Value::default(); 2];
        assert!(rows.take(&mut values).unwrap());
        assert_eq!((values[0].get(), values[1].get()), ("5", "[1]"));
        assert!(rows.take(&mut values).unwrap());
        assert_eq!(values[0].get(), "b");
        assert!(!values[1].is_set());
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_before_the_run() {
        let open = |content: &str, format| {
            let file = file(content);
            let fields = [("id".to_string(), 0)];
            let feeder = feeder(&file, format, FeederOrder::Shuffled);
            FeederPlan::open(&feeder, Path::new("/"), &fields)
                .unwrap_err()
                .to_string()
        };
        for (content, format, expected) in [
            ("", FeederFormat::Csv, "no rows"),
            ("id\n", FeederFormat::Csv, "no rows"),
            (
                "x,y\n1,2\n",
                FeederFormat::Csv,
                "no field `id`; it has x, y",
            ),
            ("id,y\n1,2\n3\n", FeederFormat::Csv, "line: 3"),
            ("{\"x\":1}\n", FeederFormat::JsonLines, "no field `id`"),
            (
                "{\"id\":1}\n[1]\n",
                FeederFormat::JsonLines,
                "byte 9 is not a JSON object",
            ),
            (
                "{\"id\":1}\n{\n",
                FeederFormat::JsonLines,
                "byte 9 is not JSON",
            ),
        ] {
            let error = open(content, format);
            assert!(error.contains(expected), "{content:?}: {error}");
        }
    }

    #[test]
    fn permutations_are_whole_for_any_count() {
        for count in [1, 2, 3, 4, 5, 16, 17, 1000] {
            let mut seen: Vec<u64> = (0..count).map(|i| permute(i, count, 99)).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
        }
    }
}
