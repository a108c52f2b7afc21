//! Heads that were parsed before. A server says nearly the same over and over: the date changes once a second, if
//! there is one. A comparison costs a tenth of a parse.

use std::cell::RefCell;

use super::failure::Violation;
use super::head::{self, Field, Head};

/// A thread remembers so many: an endpoint has few that are in use at once.
const REMEMBERED: usize = 4;
/// Longer ones are not worth the copy.
const LONGEST: usize = 1 << 10;

/// A head and what it said.
#[derive(Default)]
struct Known {
    bytes: Vec<u8>,
    head_request: bool,
    head: Option<Head>,
    fields: Vec<Field>,
}

#[derive(Default)]
struct Heads {
    known: [Known; REMEMBERED],
    /// The next to be forgotten.
    oldest: usize,
}

thread_local! {
    static HEADS: RefCell<Heads> = RefCell::default();
}

/// As [`head::parse`], at less cost for a head that came before.
pub(super) fn parse(
    input: &[u8],
    head_request: bool,
    fields: &mut Vec<Field>,
) -> Result<Option<Head>, Violation> {
    HEADS.with_borrow_mut(|heads| {
        // A head ends where it says itself: what begins with the same bytes begins with the same head.
        let same = heads.known.iter().find(|known| {
            known.head.is_some()
                && known.head_request == head_request
                && input.starts_with(&known.bytes)
        });
        if let Some(known) = same {
            fields.clear();
            fields.extend_from_slice(&known.fields);
            return Ok(known.head);
        }
        let parsed = head::parse(input, head_request, fields)?;
        if let Some(head) = parsed.filter(|head| head.len <= LONGEST) {
            heads.remember(&input[..head.len], head_request, head, fields);
        }
        Ok(parsed)
    })
}

impl Heads {
    fn remember(&mut self, bytes: &[u8], head_request: bool, head: Head, fields: &[Field]) {
        let known = &mut self.known[self.oldest];
        self.oldest = (self.oldest + 1) % REMEMBERED;
        known.bytes.clear();
        known.bytes.extend_from_slice(bytes);
        known.head_request = head_request;
        known.head = Some(head);
        known.fields.clear();
        known.fields.extend_from_slice(fields);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn pieces() -> impl Strategy<Value = String> {
        // One is the beginning of another, one is too long to be remembered, some are wrong.
        let lines = [
            "",
            "content-length: 3\r\n",
            "content-length: 33\r\n",
            "transfer-encoding: chunked\r\n",
            "x-squall-instance: a\r\n",
            "x-squall-instance: b\r\n",
            "connection: close\r\n",
            "no colon\r\n",
        ];
        let status =
            prop::sample::select(vec![" 100 Continue", " 200 OK", " 204 None", " 099 Low"]);
        let long = prop::bool::weighted(0.2);
        let end = prop::sample::select(vec!["\r\n", "\r\nbody", "\r", ""]);
        let lines = vec(prop::sample::select(lines.to_vec()), 0..3);
        (status, lines, long, end).prop_map(|(status, lines, long, end)| {
            let pad = format!("x-pad: {}\r\n", "p".repeat(if long { 1_100 } else { 0 }));
            format!("HTTP/1.1{status}\r\n{}{pad}{end}", lines.concat())
        })
    }

    proptest! {
        #[test]
        fn a_head_says_the_same_whatever_came_before(heads in vec((pieces(), any::<bool>(), any::<bool>()), 1..40)) {
            for (text, head_request, again) in heads {
                for _ in 0..=usize::from(again) {
                    let (mut new, mut known) = (Vec::new(), Vec::new());
                    let plain = head::parse(text.as_bytes(), head_request, &mut new);
                    let got = parse(text.as_bytes(), head_request, &mut known);
                    prop_assert_eq!(format!("{got:?}"), format!("{plain:?}"));
                    if let Ok(Some(_)) = plain {
                        prop_assert_eq!(format!("{known:?}"), format!("{new:?}"));
                    }
                }
            }
        }
    }
}
