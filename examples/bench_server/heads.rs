//! Where heads of requests end.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// A head may be so long.
pub const LONGEST: usize = 4096;

static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

/// The heads of one connection's requests; requests with a body are not known here.
#[derive(Default)]
pub struct Heads {
    /// The beginning of one whose end has not come.
    begun: Vec<u8>,
}

impl Heads {
    /// Takes in bytes; tells how many heads have ended in them, or nothing when one is too long.
    pub fn take(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut begun = std::mem::take(&mut self.begun);
        let mut rest = bytes;
        if !begun.is_empty() {
            begun.extend_from_slice(bytes);
            rest = &begun;
        }
        let mut ended = 0;
        while let Some(end) = END.find(rest) {
            rest = &rest[end + 4..];
            ended += 1;
        }
        if !rest.is_empty() {
            self.begun = rest.to_vec();
        }
        (rest.len() <= LONGEST).then_some(ended)
    }
}
