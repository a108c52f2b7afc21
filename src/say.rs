//! What squall says to whoever started it. Nobody need be listening any more (`| head`, a terminal that was closed):
//! `print!` would panic then, in the middle of a run or in place of its exit code.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Writes to standard output. A reader that has gone has seen all that it wanted to see.
pub fn out(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Writes a line to standard error, where that is possible.
pub fn err(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
