//! Lines of `intervals.hlog`: the HdrHistogram interval log (version 1.3, V2 deflate), which the HdrHistogram tools
//! of any language read. What a tag means is decided here; when a line is written is for `writer`.

use std::fmt;
use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use miniz_oxide::deflate::CompressionLevel::BestCompression;
use miniz_oxide::deflate::core::{
    CompressionStrategy, CompressorOxide, TDEFLFlush, TDEFLStatus, compress_to_output,
    create_comp_flags_from_zip_params,
};
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;

use super::{Latency, Micros, Outcome};

/// First bytes of a compressed histogram (V2), as the format defines them.
const COMPRESSED_COOKIE: u32 = 0x1c84_9314;

/// No histogram of ours is longer inflated; a damaged length must not make the reader ask for gigabytes.
const MAX_INFLATED: usize = 4 << 20;

/// What a histogram holds, within its flow and step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Series {
    /// Response time of requests that ended so.
    Response(Outcome),
    /// Service time of answered requests.
    Service,
    /// Time to connect.
    Connect,
    /// Time to agree on TLS.
    Tls,
    /// Time to the first byte.
    FirstByte,
    /// Service time at one instance.
    Instance(String),
}

impl Series {
    /// Whether the line may cover several seconds.
    pub(super) fn is_rolled_up(&self) -> bool {
        !matches!(self, Series::Response(_) | Series::Service)
    }
}

/// The tag of a line: `FLOW/STEP;response;OUTCOME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) flow: String,
    pub(super) step: String,
    pub(super) series: Series,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{};", escape(&self.flow), escape(&self.step))?;
        match &self.series {
            Series::Response(outcome) => write!(f, "response;{outcome}"),
            Series::Service => f.write_str("service"),
            Series::Connect => f.write_str("connect"),
            Series::Tls => f.write_str("tls"),
            Series::FirstByte => f.write_str("first-byte"),
            Series::Instance(name) => write!(f, "instance;{}", escape(name)),
        }
    }
}

impl Tag {
    /// Reads a tag; `None` for one that is not ours.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';');
        let (flow, step) = parts.next()?.split_once('/')?;
        let series = match (parts.next()?, parts.next()) {
            ("response", Some(outcome)) => Series::Response(outcome.parse().ok()?),
            ("service", None) => Series::Service,
            ("connect", None) => Series::Connect,
            ("tls", None) => Series::Tls,
            ("first-byte", None) => Series::FirstByte,
            ("instance", Some(name)) => Series::Instance(unescape(name)?),
            _ => return None,
        };
        if parts.next().is_some() {
            return None;
        }
        let (flow, step) = (unescape(flow)?, unescape(step)?);
        Some(Self { flow, step, series })
    }
}

/// Names are free text; a tag's own separators, the log's and anything unprintable are percent-escaped.
fn escape(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, ',' | ';' | '/' | '%') || c.is_whitespace() || c.is_control() {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                out.push_str(&format!("%{byte:02X}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let (hex, tail) = tail.split_at_checked(2)?;
        out.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(out).ok()
}

/// The head of the file; all times after it are seconds since the base time, which is the record's zero.
pub(super) fn head(started: jiff::Timestamp) -> String {
    let seconds = started.as_microsecond() as f64 / 1e6;
    format!(
        "#[squall: latencies in microseconds, tags FLOW/STEP;WHAT, zero is the start of the record]\n\
         #[Histogram log format version 1.3]\n\
         #[StartTime: {seconds:.3} (seconds since epoch), {started}]\n\
         #[BaseTime: {seconds:.3} (seconds since epoch)]\n\
         \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n"
    )
}

/// Writes lines, reusing its buffers.
pub(super) struct Encoder {
    v2: V2Serializer,
    raw: Vec<u8>,
    deflaters: [Deflater; 2],
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            v2: V2Serializer::new(),
            raw: Vec::new(),
            // The counts of a busy second are noise: what repeats in it does so by chance, and costs more to point at
            // than to write out. A histogram of few values is mostly what repeats.
            deflaters: [
                CompressionStrategy::HuffmanOnly,
                CompressionStrategy::Default,
            ]
            .map(Deflater::new),
        }
    }
}

impl Encoder {
    /// Appends one line.
    pub(super) fn line(
        &mut self,
        out: &mut Vec<u8>,
        tag: &Tag,
        (start, end): (Micros, Micros),
        histogram: &Latency,
    ) -> std::io::Result<()> {
        self.raw.clear();
        self.v2
            .serialize(histogram, &mut self.raw)
            .map_err(|e| std::io::Error::other(e.to_string()))?;
        let [one, other] = &mut self.deflaters;
        let (one, other) = (one.deflate(&self.raw)?, other.deflate(&self.raw)?);
        let deflated = if one.len() < other.len() { one } else { other };
        let packed = packed(deflated);
        // Times to the microsecond (the format's usual three digits would not find their second again).
        writeln!(
            out,
            "Tag={tag},{},{},{},{}",
            seconds(start),
            seconds(end.saturating_sub(start)),
            histogram.max(),
            STANDARD.encode(&packed),
        )
    }
}

/// Compresses with one strategy, in memory that it keeps.
struct Deflater {
    /// Boxed for its size, a hundred kilobytes.
    state: Box<CompressorOxide>,
    out: Vec<u8>,
}

impl Deflater {
    fn new(strategy: CompressionStrategy) -> Self {
        // A width above zero asks for the zlib header.
        let flags = create_comp_flags_from_zip_params(BestCompression as i32, 1, strategy as i32);
        Self {
            state: Box::new(CompressorOxide::new(flags)),
            out: Vec::new(),
        }
    }

    fn deflate(&mut self, bytes: &[u8]) -> std::io::Result<&[u8]> {
        self.out.clear();
        let take = |piece: &[u8]| {
            self.out.extend_from_slice(piece);
            true
        };
        let (status, _) = compress_to_output(&mut self.state, bytes, TDEFLFlush::Finish, take);
        self.state.reset();
        match status {
            TDEFLStatus::Done => Ok(&self.out),
            other => Err(std::io::Error::other(format!("deflate: {other:?}"))),
        }
    }
}

/// A compressed histogram with the head that says what it is.
fn packed(deflated: &[u8]) -> Vec<u8> {
    let length = deflated.len() as u32;
    let mut packed = Vec::with_capacity(8 + deflated.len());
    packed.extend(COMPRESSED_COOKIE.to_be_bytes());
    packed.extend(length.to_be_bytes());
    packed.extend(deflated);
    packed
}

fn seconds(micros: Micros) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// One line read back.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) tag: Tag,
    pub(super) start: Micros,
    pub(super) end: Micros,
    pub(super) histogram: Latency,
}

/// Reads a line; `Ok(None)` for a comment, the legend, an empty line and a tag of a later version.
pub(super) fn parse_line(line: &str) -> Result<Option<Line>, String> {
    let line = line.trim_end_matches('\r');
    if line.is_empty() || line.starts_with(['#', '"']) {
        return Ok(None);
    }
    let tagged = line.strip_prefix("Tag=").ok_or("it has no tag")?;
    let fields: Vec<&str> = tagged.split(',').collect();
    let [tag, start, length, _max, data] = fields[..] else {
        return Err(format!("it has {} fields, expected 5", fields.len()));
    };
    let start = micros(start)?;
    let length = micros(length)?;
    let histogram = decode(data)?;
    let Some(tag) = Tag::parse(tag) else {
        return Ok(None);
    };
    let end = start.saturating_add(length);
    Ok(Some(Line {
        tag,
        start,
        end,
        histogram,
    }))
}

fn micros(text: &str) -> Result<Micros, String> {
    let bad = || format!("`{text}` is not a time in seconds");
    let (whole, part) = text.split_once('.').ok_or_else(bad)?;
    if part.is_empty() || part.len() > 6 || !part.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let whole: u64 = whole.parse().map_err(|_| bad())?;
    let part: u64 = format!("{part:0<6}").parse().map_err(|_| bad())?;
    let sum = whole
        .checked_mul(1_000_000)
        .and_then(|w| w.checked_add(part));
    sum.ok_or_else(bad)
}

fn decode(data: &str) -> Result<Latency, String> {
    let packed = STANDARD
        .decode(data)
        .map_err(|e| format!("its histogram is not base64: {e}"))?;
    let cookie = packed
        .get(..4)
        .map(|c| c == COMPRESSED_COOKIE.to_be_bytes());
    let (Some(true), Some(deflated)) = (cookie, packed.get(8..)) else {
        return Err("its histogram is not in the compressed V2 format".into());
    };
    let raw = decompress_to_vec_zlib_with_limit(deflated, MAX_INFLATED)
        .map_err(|e| format!("its histogram cannot be inflated: {e}"))?;
    // Cookie, then the length of the counts, which follow a head of 40 bytes.
    let counts = raw
        .get(4..8)
        .and_then(|b| b.try_into().ok())
        .map(u32::from_be_bytes);
    if counts.is_none_or(|n| n as usize + 40 != raw.len()) {
        return Err("its histogram is cut off".into());
    }
    let histogram: Latency = Deserializer::new()
        .deserialize(&mut raw.as_slice())
        .map_err(|e| format!("its histogram cannot be read: {e}"))?;
    Ok(trimmed(&histogram))
}

/// The same histogram in the memory that its values need: one that reaches up to an hour takes 180 kB, and a long
/// record holds thousands of them. It grows when larger values are added to it.
fn trimmed(histogram: &Latency) -> Latency {
    rebinned(histogram, histogram.sigfig())
}

/// The same values at 2 significant digits.
pub(super) fn coarse(histogram: &Latency) -> Latency {
    rebinned(histogram, histogram.sigfig().min(2))
}

fn rebinned(histogram: &Latency, digits: u8) -> Latency {
    let high = histogram.max().max(2);
    // Low 1, high at least 2 and 0 to 5 digits (they come from a valid histogram) are within the crate's bounds.
    let mut new = Histogram::new_with_bounds(1, high, digits).expect("valid histogram bounds");
    new.auto(true);
    for value in histogram.iter_recorded() {
        // Buckets of fewer digits are unions of buckets of more: nothing moves across a bound. It cannot fail on a
        // histogram that resizes itself.
        let _ = new.record_n(value.value_iterated_to(), value.count_at_value());
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::latency;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use proptest::prelude::*;

    fn tag(flow: &str, step: &str, series: Series) -> Tag {
        let (flow, step) = (flow.into(), step.into());
        Tag { flow, step, series }
    }

    #[test]
    fn a_tag_is_readable_and_escapes_what_would_break_the_format() {
        let plain = tag("browse", "GET /a,b", Series::Response(Outcome::Timeout));
        assert_eq!(plain.to_string(), "browse/GET%20%2Fa%2Cb;response;timeout");
        for bad in [
            "browse",
            "a/b;response",
            "a/b;response;no-such",
            "a/b;service;more",
            "a/b;instance;%4",
            "a/b;instance;%zz",
            "a/b;instance;x;y",
        ] {
            assert_eq!(Tag::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_hdrhistogram_crate_reads_what_is_written() {
        let mut h = latency();
        for v in [1, 100, 100, 5_000, 3_000_000] {
            h.record(v).unwrap();
        }
        let started: jiff::Timestamp = "2026-01-02T03:04:05.25Z".parse().unwrap();
        let mut file = head(started).into_bytes();
        let tag = tag("f", "s", Series::Service);
        let mut encoder = Encoder::default();
        encoder
            .line(&mut file, &tag, (1_000_007, 2_000_000), &h)
            .unwrap();
        let entries: Vec<_> = IntervalLogIterator::new(&file)
            .collect::<Result<_, _>>()
            .unwrap();
        let [
            LogEntry::StartTime(s),
            LogEntry::BaseTime(b),
            LogEntry::Interval(i),
        ] = &entries[..]
        else {
            panic!("{entries:?}");
        };
        assert_eq!((s, s.as_millis()), (b, started.as_millisecond() as u128));
        assert_eq!(i.tag().unwrap().as_str(), "f/s;service");
        assert_eq!(i.start_timestamp().as_micros(), 1_000_007);
        assert_eq!(i.duration().as_micros(), 999_993);
        let bytes = STANDARD.decode(i.encoded_histogram()).unwrap();
        let read: Latency = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
        assert_eq!(read, h);
    }

    #[test]
    fn a_line_that_is_damaged_says_how() {
        let mut h = latency();
        h.record(77).unwrap();
        let mut line = Vec::new();
        let tag = tag("f", "s", Series::Tls);
        Encoder::default()
            .line(&mut line, &tag, (0, 1_000_000), &h)
            .unwrap();
        let line = String::from_utf8(line).unwrap();
        let line = line.trim_end();
        assert_eq!(parse_line(line).unwrap().unwrap().tag, tag);
        for (damaged, says) in [
            (line.replace("Tag=", ""), "no tag"),
            (line.replace(",0.000000,", ","), "4 fields"),
            (line.replace(",0.000000,", ",x,"), "not a time"),
            (line.replace(",0.000000,", ",1.0000000,"), "not a time"),
            (line[..line.len() - 3].to_string(), "base64"),
            (line[..line.len() - 8].to_string(), "inflated"),
            (line.replace("HISTF", "AISTF"), "V2 format"),
        ] {
            let error = parse_line(&damaged).expect_err(&damaged);
            assert!(error.contains(says), "{damaged}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_name_comes_back(flow in ".*", step in ".*", name in ".*") {
            let tag = tag(&flow, &step, Series::Instance(name));
            let text = tag.to_string();
            prop_assert!(hdrhistogram::serialization::interval_log::Tag::new(&text).is_some());
            prop_assert!(!text.contains(char::is_whitespace));
            prop_assert_eq!(Tag::parse(&text), Some(tag));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(at in 0usize..300, to in any::<u8>(), values in prop::collection::vec(1u64..4_000_000_000, 1..50)) {
            let mut h = Histogram::<u64>::new(3).unwrap();
            for v in values { h.record(v).unwrap(); }
            let mut packed = Vec::new();
            hdrhistogram::serialization::V2DeflateSerializer::new().serialize(&h, &mut packed).unwrap();
            let mut raw = Vec::new();
            V2Serializer::new().serialize(&h, &mut raw).unwrap();
            let at_packed = at % packed.len();
            packed[at_packed] = to;
            let _ = decode(&STANDARD.encode(&packed));
            // Damage inside of the compressed part, which a checksum would hide from the decoder.
            let at_raw = at % raw.len();
            raw[at_raw] = to;
            let mut deflater = Deflater::new(CompressionStrategy::Default);
            let again = super::packed(deflater.deflate(&raw).unwrap());
            let _ = decode(&STANDARD.encode(&again));
        }
    }
}
