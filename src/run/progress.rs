//! What is shown while a run goes on: fed from the record, so that it shows what is recorded.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::record::{Clock, Tap, TapEntry};
use crate::report::{LiveDisplay, LiveState, Style};
use crate::scenario::Scenario;

/// What is shown meanwhile, on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing.
    None,
    /// A line every few seconds and one for each fault: for logs.
    Lines(Style),
    /// A block that is redrawn: for terminals.
    Redrawn(Style),
}

/// Keeps the display up to date until dropped.
pub struct Shown {
    state: Arc<Mutex<LiveState>>,
    display: Option<LiveDisplay>,
    clock: Clock,
}

impl Shown {
    /// A display, and the tap that feeds it.
    pub fn new(scenario: &Scenario, progress: Progress, clock: Clock) -> (Self, Tap) {
        let state = Arc::new(Mutex::new(LiveState::new(scenario)));
        let fed = state.clone();
        let tap: Tap = Box::new(move |entry| {
            let mut state = fed.lock().unwrap_or_else(PoisonError::into_inner);
            match entry {
                TapEntry::Event(event) => state.event(event),
                TapEntry::Interval(interval) => state.interval(interval),
            }
        });
        let display = match progress {
            Progress::None => None,
            Progress::Lines(style) => Some(LiveDisplay::new(style, false)),
            Progress::Redrawn(style) => Some(LiveDisplay::new(style, true)),
        };
        (
            Self {
                state,
                display,
                clock,
            },
            tap,
        )
    }

    /// Draws four times a second, for as long as it is polled.
    pub async fn keep_drawing(&mut self) {
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        loop {
            tick.tick().await;
            self.draw();
        }
    }

    fn draw(&mut self) {
        if let Some(display) = &mut self.display {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            display.draw(&state, self.clock.now());
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.draw();
        if let Some(display) = &mut self.display {
            display.clear();
        }
    }
}
