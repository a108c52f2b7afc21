//! A case of the matrix: a world with one thing wrong, or none, and what must be said of it.

use squall::audit::Objects;
use squall::judge::{Ruling, Verdict};
use squall::record::Record;
use squall::scenario::Scenario;

use super::sim::{Dice, Micros, Truth, World};

/// A world, and the right answer.
pub struct Case {
    /// What is wrong, or awkward.
    pub name: &'static str,
    /// The right answer.
    pub right: Right,
    /// A run with this in it; everything else is drawn.
    pub make: Make,
    /// Where the same is proven on real processes or a real cluster.
    pub real: &'static str,
}

/// How a run comes about.
pub enum Make {
    /// A world, in which it takes place.
    World(fn(&mut Dice) -> World),
    /// A record, made in another way.
    Record(fn(&mut Dice) -> (Record, Truth)),
    /// What stands in a cluster, of which there is no run.
    Objects(fn(&mut Dice) -> Objects),
}

/// The right answer.
pub enum Right {
    /// This verdict fails, and what it says is true.
    Fails(&'static str, fn(&Seen<'_>) -> Result<(), String>),
    /// There is too little for this verdict to be sure that it fails, and it does not pass.
    FailsOrUnsure(&'static str),
    /// Nothing can be told of the service, since the generator was at fault: no verdict passes or fails.
    Unknown(fn(&Seen<'_>) -> Result<(), String>),
    /// Nothing fails.
    Healthy,
    /// Nothing fails, and there is too little to say that all is well.
    TooLittle,
}

/// A run that was judged.
pub struct Seen<'a> {
    /// What was known beforehand.
    pub truth: &'a Truth,
    /// What was recorded, of a run.
    pub record: Option<&'a Record>,
    /// What was said of it.
    pub verdicts: &'a [Verdict],
}

impl Seen<'_> {
    /// The worst verdict of an oracle.
    pub fn of(&self, oracle: &str) -> Result<&Verdict, String> {
        let all = self.verdicts.iter().filter(|v| v.oracle == oracle);
        all.max_by_key(|v| v.verdict)
            .ok_or_else(|| format!("no verdict of {oracle}"))
    }
    /// The verdict that failed.
    pub fn failed(&self, oracle: &str) -> Result<&Verdict, String> {
        let verdict = self.of(oracle)?;
        match verdict.verdict {
            Ruling::Fail => Ok(verdict),
            other => Err(format!("{oracle} is {other:?}: {}", verdict.because)),
        }
    }
    /// What was recorded.
    pub fn record(&self) -> &Record {
        self.record.expect("the case is a run")
    }
    /// Seconds of traffic.
    pub fn since_start(&self, at: Micros) -> f64 {
        at.saturating_sub(self.truth.start_us) as f64 / 1e6
    }
    /// The first instance that an injection hit.
    pub fn victim(&self) -> Result<&str, String> {
        let first = self.truth.hit.first();
        first
            .map(|(name, _)| name.as_str())
            .ok_or_else(|| "nobody was hit".into())
    }
}

/// Whether the sentence of a verdict has all of these words.
pub fn says(verdict: &Verdict, words: &[&str]) -> Result<(), String> {
    match words.iter().find(|word| !verdict.because.contains(**word)) {
        Some(word) => Err(format!("does not say `{word}`: {}", verdict.because)),
        None => Ok(()),
    }
}

/// The value of the first piece of evidence of this name.
pub fn fact<'a>(verdict: &'a Verdict, what: &str) -> Result<&'a str, String> {
    let found = verdict.evidence.iter().find(|e| e.what == what);
    found.map(|e| e.value.as_str()).ok_or_else(|| {
        let known: Vec<&str> = verdict.evidence.iter().map(|e| e.what.as_str()).collect();
        format!("no evidence `{what}` among {known:?}")
    })
}

/// The time of the first piece of evidence of this name.
pub fn time_of(verdict: &Verdict, what: &str) -> Result<Micros, String> {
    let found = verdict.evidence.iter().find(|e| e.what == what);
    let found = found.and_then(|e| e.at_us);
    found.ok_or_else(|| format!("no time of `{what}`"))
}

/// The first number in a text that comes after these words, without separators of thousands.
pub fn number_after(text: &str, words: &str) -> Result<f64, String> {
    let rest = text.split_once(words).map(|(_, rest)| rest);
    let rest = rest.ok_or_else(|| format!("no `{words}` in: {text}"))?;
    let digits: String = rest
        .chars()
        .skip_while(|c| !c.is_ascii_digit())
        .take_while(|c| c.is_ascii_digit() || *c == '.' || *c == ',')
        .filter(|c| *c != ',')
        .collect();
    digits
        .trim_end_matches('.')
        .parse()
        .map_err(|_| format!("no number after `{words}` in: {text}"))
}

/// Whether a figure is what it should be, to within so much.
pub fn near(what: &str, seen: f64, right: f64, within: f64) -> Result<(), String> {
    match (seen - right).abs() <= within {
        true => Ok(()),
        false => Err(format!(
            "{what} is {seen:.3}, and was {right:.3} in truth (to {within:.3})"
        )),
    }
}

/// What scenarios of the matrix differ in.
pub struct Text {
    pub instances: u64,
    pub rate: f64,
    pub process: &'static str,
    pub hold: u64,
    pub connections: &'static str,
    pub timeout: &'static str,
    pub journey: &'static str,
    pub faults: String,
    pub expect: String,
    /// In place of the arrivals.
    pub users: Option<String>,
    pub max_in_flight: u64,
    /// In place of processes of this machine.
    pub target: Option<String>,
    /// What is watched besides, if anything.
    pub observe: &'static str,
}

impl Text {
    /// Usual traffic for usual instances.
    pub fn usual(dice: &mut Dice) -> Self {
        Self {
            instances: dice.whole(3, 4),
            rate: dice.between(90.0, 130.0),
            process: if dice.chance(0.7) {
                "poisson"
            } else {
                "constant"
            },
            hold: dice.whole(26, 34),
            connections: "per-user",
            timeout: "2s",
            journey: "[ get: /products ]",
            faults: "[]".into(),
            expect: "[ errors < 1% ]".into(),
            users: None,
            max_in_flight: 2_000,
            target: None,
            observe: "",
        }
    }

    /// Read as the file of a user.
    pub fn scenario(&self) -> Scenario {
        let load = match &self.users {
            Some(users) => format!("users: {users}"),
            None => format!(
                "arrivals: {{ rate: {:.1}/s, process: {}, hold: {}s, max-in-flight: {} }}",
                self.rate, self.process, self.hold, self.max_in_flight
            ),
        };
        let target = self.target.clone().unwrap_or_else(|| {
            format!(
                "{{ local: {{ name: shop, command: 'squall demo --port {{port}}', instances: {}, restart: {{ backoff: \
                 1s }} }} }}",
                self.instances
            )
        });
        let observe = match self.observe {
            "" => String::new(),
            observe => format!("observe: {observe}\n"),
        };
        let text = format!(
            "squall: 1
name: a case of the matrix
seed: 1
target: {target}
traffic:
  browse:
    {load}
    timeout: {}
    connections: {}
    journey: {}
faults: {}
expect: {}
{observe}",
            self.timeout, self.connections, self.journey, self.faults, self.expect
        );
        squall::scenario::parse("case.yaml", &text, std::path::Path::new("."), &|_| None)
            .unwrap_or_else(|problems| panic!("{problems}\n{text}"))
    }
}
