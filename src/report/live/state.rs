//! What is known of a run so far, and how it is put.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::judge::words::{self, count, micros, percent};
use crate::record::{
    AlertState, Event, FaultEvent, FaultStage, InstanceEvent, InstanceState, Interval, Level,
    Micros, RunPhase, UndoEvent, What,
};
use crate::report::table::{Style, Tone, clean, cut};
use crate::report::{phrases, series};
use crate::scenario::{Scenario, Target};

/// So many happenings are kept; a display that draws four times a second cannot miss any.
const KEPT: usize = 256;
/// So many of them are shown in the block.
const SHOWN: usize = 4;

/// The last second of traffic.
#[derive(Debug, Clone, Default)]
struct Second {
    rate: f64,
    failed: u64,
    ended: u64,
    p50: Option<Micros>,
    p99: Option<Micros>,
    in_flight: u64,
}

/// A fault in force.
#[derive(Debug, Clone)]
struct Active {
    title: String,
    since: Micros,
    /// The instances that it still holds.
    instances: Vec<String>,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub(super) struct Happening {
    pub(super) at: Micros,
    pub(super) text: String,
    tone: Tone,
}

/// A run as it is now, from the entries of its record. Pure: time is handed in.
#[derive(Debug, Clone)]
pub struct LiveState {
    name: String,
    length: Duration,
    /// Planned first injections, from the start of traffic.
    planned: Vec<(Duration, String)>,
    instances: Option<u32>,
    phase: RunPhase,
    traffic_start: Option<Micros>,
    second: Option<Second>,
    ended: u64,
    failed: u64,
    ready: Option<usize>,
    states: BTreeMap<String, InstanceState>,
    slots: BTreeMap<String, String>,
    active: BTreeMap<u32, Active>,
    happened: VecDeque<Happening>,
    /// How many happenings there were in all.
    pub(super) happened_total: u64,
}

type Line = Vec<(Tone, String)>;

impl LiveState {
    /// Before anything has happened.
    pub fn new(scenario: &Scenario) -> Self {
        let planned = scenario.faults.iter().map(|f| (f.at, f.name.clone()));
        Self {
            name: clean(&scenario.name),
            length: scenario.duration(),
            planned: planned.collect(),
            instances: match &scenario.target {
                Target::Local(local) => Some(local.instances),
                Target::Url(_) | Target::Kubernetes(_) => None,
            },
            phase: RunPhase::Starting,
            traffic_start: None,
            second: None,
            ended: 0,
            failed: 0,
            ready: None,
            states: BTreeMap::new(),
            slots: BTreeMap::new(),
            active: BTreeMap::new(),
            happened: VecDeque::new(),
            happened_total: 0,
        }
    }

    /// Takes in an event of the record.
    pub fn event(&mut self, event: &Event) {
        let at = event.at;
        match &event.what {
            What::Phase { phase } => {
                self.phase = *phase;
                if *phase == RunPhase::Traffic {
                    self.traffic_start = Some(at);
                }
            }
            What::Fault(fault) => self.fault(at, fault),
            What::Undo(undo) => self.undo(at, undo),
            What::Instance(instance) => self.instance(at, instance),
            // What was there before the run is no news.
            What::Alert(alert) if alert.not_before_us.is_some() => {
                let text = format!(
                    "{} at {}: {:?}",
                    alert.name,
                    alert.source.name(),
                    alert.state
                );
                let tone = match alert.state {
                    AlertState::Resolved => Tone::Good,
                    _ => Tone::Unsure,
                };
                self.happen(at, tone, text);
            }
            What::Endpoints { ready } => self.ready = Some(ready.len()),
            What::Note { level, text } if *level > Level::Info => {
                let tone = if *level == Level::Error {
                    Tone::Bad
                } else {
                    Tone::Unsure
                };
                self.happen(at, tone, text.clone());
            }
            _ => {}
        }
    }

    /// Takes in a second of traffic.
    pub fn interval(&mut self, interval: &Interval) {
        let second = &interval.second;
        let length = second.end_us.saturating_sub(second.start_us) as f64 / 1e6;
        let mut now = Second::default();
        for step in &second.steps {
            for (outcome, n) in &step.ended {
                now.ended += n;
                now.failed += if outcome.failed() { *n } else { 0 };
            }
            now.in_flight += step.in_flight;
        }
        if length > 0.0 {
            now.rate = now.ended as f64 / length;
        }
        let response = series::response(&interval.histograms);
        if !response.is_empty() {
            now.p50 = Some(response.value_at_quantile(0.50));
            now.p99 = Some(response.value_at_quantile(0.99));
        }
        self.ended += now.ended;
        self.failed += now.failed;
        self.second = Some(now);
    }

    fn happen(&mut self, at: Micros, tone: Tone, text: String) {
        let text = clean(&text);
        self.happened.push_back(Happening { at, text, tone });
        self.happened_total += 1;
        if self.happened.len() > KEPT {
            self.happened.pop_front();
        }
    }

    fn fault(&mut self, at: Micros, fault: &FaultEvent) {
        let title = format!("{} {}", fault.fault, fault.instances.join(", "));
        let detail = fault.detail.as_deref().unwrap_or("no reason given");
        match fault.stage {
            FaultStage::Injecting => {}
            FaultStage::Injected => {
                self.happen(at, Tone::Title, format!("fault: {title}"));
                let active = Active {
                    title: clean(&title),
                    since: at,
                    instances: fault.instances.clone(),
                };
                self.active.insert(fault.injection, active);
            }
            FaultStage::Refused => {
                let text = format!("fault {} refused by the guard: {detail}", fault.name);
                self.happen(at, Tone::Unsure, text);
            }
            FaultStage::Ineffective => {
                let text = format!("fault {} had no effect: {detail}", fault.name);
                self.happen(at, Tone::Unsure, text);
            }
            FaultStage::Failed => {
                let text = format!("fault {} could not be made: {detail}", fault.name);
                self.happen(at, Tone::Bad, text);
            }
        }
    }

    fn undo(&mut self, at: Micros, undo: &UndoEvent) {
        let instance = undo.undo.instance();
        match undo.done {
            None => {}
            Some(true) => {
                self.happen(at, Tone::Plain, format!("fault undone at {instance}"));
                self.release(|active| active.instances.retain(|i| i != instance));
            }
            Some(false) => {
                let why = undo.detail.as_deref().unwrap_or("no reason given");
                let text = format!("UNDO FAILED at {instance}: {why}");
                self.happen(at, Tone::Bad, text);
            }
        }
    }

    fn instance(&mut self, at: Micros, event: &InstanceEvent) {
        self.states.insert(event.name.clone(), event.state);
        self.slots.insert(event.name.clone(), event.slot.clone());
        let (word, tone) = match event.state {
            InstanceState::Started => ("started", Tone::Quiet),
            InstanceState::Ready => ("ready", Tone::Good),
            InstanceState::NotReady => ("not ready", Tone::Unsure),
            InstanceState::Terminating => ("told to end", Tone::Quiet),
            InstanceState::Ended => ("ended", Tone::Bad),
        };
        let detail = event.detail.as_ref();
        let detail = detail.map_or(String::new(), |d| format!(": {d}"));
        self.happen(at, tone, format!("{} {word}{detail}", event.name));
        if event.state == InstanceState::Ready {
            // A killed instance's fault is over when its place is filled by a new one.
            let (slots, new) = (self.slots.clone(), event.name.clone());
            let replaced =
                |old: &String| *old != new && slots.get(old).is_some_and(|s| *s == event.slot);
            self.release(|active| active.instances.retain(|i| !replaced(i)));
        }
    }

    /// Changes the faults in force, and forgets those that hold no instance any more.
    fn release(&mut self, change: impl Fn(&mut Active)) {
        self.active.retain(|_, active| {
            change(active);
            !active.instances.is_empty()
        });
    }

    /// The happenings from a number on, for a display that prints each once.
    pub(super) fn happened_since(&self, number: u64) -> impl Iterator<Item = &Happening> {
        let new = self.happened_total.saturating_sub(number) as usize;
        let skip = self.happened.len().saturating_sub(new);
        self.happened.iter().skip(skip)
    }

    /// A moment on the run's clock, as it is shown.
    pub(super) fn moment(&self, at: Micros) -> String {
        words::moment(at, self.traffic_start.unwrap_or(0))
    }

    fn phase_word(&self) -> &'static str {
        match self.phase {
            RunPhase::Starting => "starting",
            RunPhase::Traffic => "traffic",
            RunPhase::Draining => "draining",
            RunPhase::Stopping => "stopping",
        }
    }

    /// Traffic so far; at most its planned length.
    fn elapsed(&self, now: Micros) -> Duration {
        let start = self.traffic_start.unwrap_or(now);
        Duration::from_micros(now.saturating_sub(start)).min(self.length)
    }

    /// Instances up: `2/3`, or nothing for a target that cannot be watched.
    fn up(&self) -> Option<(bool, String)> {
        let known = self.ready.is_some() || !self.states.is_empty();
        let all = self.instances.map(|n| n as usize).filter(|_| known)?;
        let by_state = || {
            let states = self.states.values();
            states.filter(|s| **s == InstanceState::Ready).count()
        };
        let ready = self.ready.unwrap_or_else(by_state);
        Some((ready >= all, format!("{ready}/{all}")))
    }

    /// Numbers of the last second, as label, value and tone.
    fn numbers(&self) -> Vec<(&'static str, String, Tone)> {
        let Some(s) = &self.second else {
            return Vec::new();
        };
        let time = |us: Option<Micros>| us.map_or(phrases::NONE.into(), micros);
        let mut errors = count(s.failed);
        if s.failed > 0 {
            errors = format!("{errors} ({})", percent(s.failed as f64 / s.ended as f64));
        }
        let bad = if s.failed > 0 { Tone::Bad } else { Tone::Plain };
        vec![
            ("rate", words::rate(s.rate), Tone::Plain),
            ("p50", time(s.p50), Tone::Plain),
            ("p99", time(s.p99), Tone::Plain),
            ("errors", errors, bad),
            ("in flight", count(s.in_flight), Tone::Plain),
        ]
    }

    /// One plain line on how it goes.
    pub(super) fn plain(&self, now: Micros) -> String {
        let mut parts = vec![self.phase_word().to_string()];
        for (label, value, _) in self.numbers() {
            parts.push(format!("{label} {value}"));
        }
        if self.failed > 0 {
            parts.push(format!("errors so far {}", count(self.failed)));
        }
        if let Some((_, up)) = self.up() {
            parts.push(format!("up {up}"));
        }
        for active in self.active.values() {
            parts.push(format!("fault {}", active.title));
        }
        format!("[{:>8}] {}", self.moment(now), parts.join("  "))
    }

    /// The block for a terminal: a few lines, none wider than the terminal.
    pub fn render(&self, now: Micros, style: Style) -> String {
        let mut lines = vec![self.title_line(now, style), self.bar_line(now, style)];
        if self.second.is_some() {
            lines.push(self.number_line());
        }
        lines.extend(self.fault_line(now));
        for h in self.happened.iter().rev().take(SHOWN).rev() {
            let at = format!("  {:>8}  ", self.moment(h.at));
            lines.push(vec![(Tone::Quiet, at), (h.tone, h.text.clone())]);
        }
        let painted: Vec<_> = lines.iter().map(|line| paint(style, line)).collect();
        painted.join("\n")
    }

    fn title_line(&self, now: Micros, style: Style) -> Line {
        let left = self.length.saturating_sub(self.elapsed(now));
        let right = match self.phase {
            RunPhase::Traffic => format!("{} left", words::moment(left.as_micros() as u64, 0)),
            _ => format!("{} ...", self.phase_word()),
        };
        let room = room(style).saturating_sub(right.chars().count() + 2);
        let name = cut(&self.name, room);
        let gap = " ".repeat(room + 2 - name.chars().count());
        vec![
            (Tone::Title, name),
            (Tone::Plain, gap),
            (Tone::Plain, right),
        ]
    }

    fn bar_line(&self, now: Micros, style: Style) -> Line {
        let done = match self.phase {
            RunPhase::Starting => 0.0,
            RunPhase::Traffic if !self.length.is_zero() => {
                self.elapsed(now).as_secs_f64() / self.length.as_secs_f64()
            }
            _ => 1.0,
        };
        let text = format!(" {:>3.0}%", done * 100.0);
        let width = room(style).saturating_sub(text.len()).min(100);
        let full = (done * width as f64).round() as usize;
        vec![
            (Tone::Good, "━".repeat(full)),
            (Tone::Quiet, "─".repeat(width.saturating_sub(full))),
            (Tone::Plain, text),
        ]
    }

    fn number_line(&self) -> Line {
        let mut line = Line::new();
        for (label, value, tone) in self.numbers() {
            line.push((Tone::Quiet, format!("{label} ")));
            line.push((tone, value));
            line.push((Tone::Plain, "   ".into()));
        }
        line
    }

    /// Instances up, totals, the faults in force and the next one.
    fn fault_line(&self, now: Micros) -> Option<Line> {
        let mut line = Line::new();
        if let Some((whole, up)) = self.up() {
            line.push((Tone::Quiet, "up ".into()));
            line.push((if whole { Tone::Good } else { Tone::Bad }, up));
            line.push((Tone::Plain, "   ".into()));
        }
        if self.failed > 0 {
            line.push((Tone::Quiet, "errors so far ".into()));
            let text = format!("{} of {}   ", count(self.failed), count(self.ended));
            line.push((Tone::Plain, text));
        }
        for active in self.active.values() {
            let since = words::moment(now.max(active.since), active.since);
            line.push((Tone::Bad, format!("{} ", active.title)));
            line.push((Tone::Quiet, format!("for {since}   ")));
        }
        let elapsed = self.elapsed(now);
        let waiting = self.planned.iter().filter(|(at, _)| *at > elapsed);
        let next = waiting.min_by_key(|(at, _)| *at);
        if let (RunPhase::Traffic, Some((at, name))) = (self.phase, next) {
            let left = words::moment((*at - elapsed).as_micros() as u64, 0);
            line.push((Tone::Quiet, format!("next {} in {left}", clean(name))));
        }
        (!line.is_empty()).then_some(line)
    }
}

/// One column is left free: a full line makes some terminals wrap.
fn room(style: Style) -> usize {
    style.width.max(21) - 1
}

fn paint(style: Style, line: &Line) -> String {
    let mut left = room(style);
    let mut out = String::new();
    for (tone, text) in line {
        let text = cut(text, left);
        left -= text.chars().count();
        out.push_str(&style.paint(*tone, &text));
        if left == 0 {
            break;
        }
    }
    out
}
