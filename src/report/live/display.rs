//! Drawing live progress.

use std::io::{self, Write};

use super::LiveState;
use crate::record::Micros;
use crate::report::table::Style;

/// Without a terminal, one line on how it goes in so much time.
const EVERY: Micros = 5_000_000;

/// Draws a [`LiveState`]: a block that is redrawn in its place on a terminal, plain lines elsewhere.
pub struct LiveDisplay {
    out: Box<dyn Write + Send>,
    style: Style,
    interactive: bool,
    /// Lines of the block on the screen.
    drawn: usize,
    /// Happenings printed so far.
    told: u64,
    /// When the last status line was due.
    last: Option<Micros>,
}

impl LiveDisplay {
    /// Draws on standard error; `interactive` says that it is a terminal.
    pub fn new(style: Style, interactive: bool) -> Self {
        Self::to(Box::new(io::stderr()), style, interactive)
    }

    /// Draws to any writer.
    pub fn to(out: Box<dyn Write + Send>, style: Style, interactive: bool) -> Self {
        Self {
            out,
            style,
            interactive,
            drawn: 0,
            told: 0,
            last: None,
        }
    }

    /// Tells a new terminal width.
    pub fn resize(&mut self, width: usize) {
        self.style.width = width;
    }

    /// Shows the state as of now. A screen that cannot be written to must not end a run: errors are dropped.
    pub fn draw(&mut self, state: &LiveState, now: Micros) {
        let text = if self.interactive {
            self.block(state, now)
        } else {
            self.lines(state, now)
        };
        if !text.is_empty() {
            let _ = self.out.write_all(text.as_bytes());
            let _ = self.out.flush();
        }
    }

    /// Takes the block off the screen, so that what follows starts on a clean line.
    pub fn clear(&mut self) {
        if self.drawn > 0 {
            let text = format!("\x1b[{}A\r\x1b[J", self.drawn);
            let _ = self.out.write_all(text.as_bytes());
            let _ = self.out.flush();
            self.drawn = 0;
        }
    }

    /// The block in one write, each line cleared behind its end, so that it does not flicker.
    fn block(&mut self, state: &LiveState, now: Micros) -> String {
        let block = state.render(now, self.style);
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A\r", self.drawn));
        }
        let mut lines = 0;
        for line in block.lines() {
            text.push_str(line);
            text.push_str("\x1b[K\n");
            lines += 1;
        }
        text.push_str("\x1b[J");
        self.drawn = lines;
        text
    }

    /// What happened since the last call, and how it goes when that is due.
    fn lines(&mut self, state: &LiveState, now: Micros) -> String {
        let mut text = String::new();
        for h in state.happened_since(self.told) {
            text.push_str(&format!("[{:>8}] {}\n", state.moment(h.at), h.text));
        }
        self.told = state.happened_total;
        if self.last.is_none_or(|last| now >= last + EVERY) {
            text.push_str(&state.plain(now));
            text.push('\n');
            self.last = Some(now);
        }
        text
    }
}
