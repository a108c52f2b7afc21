//! Any bytes, in any split, end in the same response or in the same kind of error.
//!
//! `cargo +nightly fuzz run lean_reader -- -max_total_time=60`

#![no_main]

use libfuzzer_sys::fuzz_target;
use squall::record::Outcome;
use squall::traffic::lean::{BodyUse, Options, Progress, Reader};

type Response = (u16, bool, u64, Vec<u8>, Option<Vec<u8>>, u64);

/// Feeds the stream in pieces of at most `step` bytes, and then the end.
fn read(stream: &[u8], step: usize, options: &Options) -> Result<Response, Outcome> {
    let mut reader = Reader::new();
    reader.begin(options);
    let mut rest = stream;
    loop {
        if rest.is_empty() {
            reader.end().map_err(|cause| cause.outcome())?;
            break;
        }
        let space = reader.space();
        let n = step.min(space.len()).min(rest.len());
        space[..n].copy_from_slice(&rest[..n]);
        rest = &rest[n..];
        if reader.advance(n).map_err(|cause| cause.outcome())? == Progress::Done {
            break;
        }
    }
    let used = reader.received() - reader.excess() as u64;
    assert!(used <= stream.len() as u64);
    assert!(reader.body_len() <= used);
    let body = reader.body().to_vec();
    let header = reader.header(b"x-squall-instance").map(<[u8]>::to_vec);
    Ok((reader.status(), reader.keep_alive(), reader.body_len(), body, header, used))
}

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (flags, step, stream) = input;
    let options = Options {
        want_body: if flags & 1 == 0 { BodyUse::Discard } else { BodyUse::Keep },
        head_request: flags & 2 != 0,
        max_header_bytes: 4 << 10,
        max_body_bytes: 1 << 20,
    };
    let whole = read(stream, usize::MAX, &options);
    let split = read(stream, usize::from(step) + 1, &options);
    assert_eq!(whole, split);
});
