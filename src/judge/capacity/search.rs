//! Which rate to try next: doubling until one fails, halving the gap until it is as narrow as asked for, and each side
//! of it seen twice. Pure: the same trials always lead to the same next one, so that a search can be judged again.

use super::Outcome;
use crate::scenario::Capacity;

/// Agreeing runs that a boundary takes.
const AGREE: usize = 2;
/// No more runs at one rate: if they disagree so often, it cannot be told.
const MOST_AT_ONE: usize = 5;
/// No more runs in all: a search between 1/s and 1,000,000/s at 1% takes fewer.
const MOST: usize = 60;

/// A run at a rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Arrivals per second.
    pub rate: f64,
    /// What was seen.
    pub outcome: Outcome,
    /// Why, in a sentence.
    pub why: String,
}

/// Where the search stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Boundary {
    /// The highest rate that holds, below all that do not.
    pub held: Option<f64>,
    /// The lowest rate that does not hold.
    pub failed: Option<f64>,
    /// Enough runs agree that it holds.
    pub held_twice: bool,
    /// Enough runs agree that it does not.
    pub failed_twice: bool,
    /// The lowest rate at which it cannot be told, with the reason.
    pub unclear: Option<(f64, String)>,
    /// The search is over, and both sides that there are were seen twice.
    pub confirmed: bool,
}

/// The runs at one rate.
#[derive(Debug, Default)]
struct Rate {
    rate: f64,
    holds: usize,
    fails: usize,
    unclear: usize,
    why: String,
}

impl Rate {
    fn runs(&self) -> usize {
        self.holds + self.fails + self.unclear
    }
    /// What most of its runs say; `None` while that is open.
    fn leans(&self) -> Option<Outcome> {
        let open = self.runs() < MOST_AT_ONE;
        match self.holds.cmp(&self.fails) {
            std::cmp::Ordering::Greater => Some(Outcome::Holds),
            std::cmp::Ordering::Less => Some(Outcome::Fails),
            // One that disagrees, or one that could not be told, gets another run.
            std::cmp::Ordering::Equal if open && (self.holds > 0 || self.unclear < AGREE) => None,
            std::cmp::Ordering::Equal => Some(Outcome::Unclear),
        }
    }
}

fn rates(trials: &[Trial]) -> Vec<Rate> {
    let mut rates: Vec<Rate> = Vec::new();
    for trial in trials {
        let at = rates.iter().position(|r| r.rate == trial.rate);
        let at = at.unwrap_or_else(|| {
            rates.push(Rate {
                rate: trial.rate,
                ..Rate::default()
            });
            rates.len() - 1
        });
        let rate = &mut rates[at];
        match trial.outcome {
            Outcome::Holds => rate.holds += 1,
            Outcome::Fails => rate.fails += 1,
            Outcome::Unclear => {
                rate.unclear += 1;
                rate.why.clone_from(&trial.why);
            }
        }
    }
    rates.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    rates
}

/// The rate to try next; `None` when the search is over.
pub fn next(search: &Capacity, trials: &[Trial]) -> Option<f64> {
    let rates = rates(trials);
    if trials.len() >= MOST {
        return None;
    }
    if let Some(open) = rates.iter().find(|r| r.leans().is_none()) {
        return Some(open.rate);
    }
    let (low, high) = sides(&rates);
    let (from, to) = (search.from.get(), search.to.get());
    let wanted = match (low, high) {
        (None, None) => Some(search.at_least.map_or(from, |r| r.get())),
        (Some(low), None) if low.rate < to => Some(round(low.rate * 2.0).min(to)),
        (None, Some(high)) if high.rate > from => Some(round(high.rate / 2.0).max(from)),
        (Some(low), Some(high)) if high.leans() == Some(Outcome::Fails) => {
            middle(low.rate, high.rate, search.resolution.get())
        }
        _ => None,
    };
    let again = |side: Option<&Rate>, count: fn(&Rate) -> usize| {
        let side = side.filter(|r| r.leans() != Some(Outcome::Unclear))?;
        (count(side) < AGREE).then_some(side.rate)
    };
    wanted
        .or_else(|| again(low, |r| r.holds))
        .or_else(|| again(high, |r| r.fails))
}

/// The highest rate that holds below the lowest that does not, and that one (or the lowest that cannot be told).
fn sides(rates: &[Rate]) -> (Option<&Rate>, Option<&Rate>) {
    let high = rates
        .iter()
        .find(|r| matches!(r.leans(), Some(Outcome::Fails | Outcome::Unclear)));
    let below = |r: &&Rate| high.is_none_or(|high| r.rate < high.rate);
    let mut low = rates.iter().rev().filter(below);
    let low = low.find(|r| r.leans() == Some(Outcome::Holds));
    (low, high)
}

/// A rate between two, unless they are close enough.
fn middle(low: f64, high: f64, resolution: f64) -> Option<f64> {
    // Rounding of the rates must not ask for one more run.
    if high <= low * (1.0 + resolution) + 1e-9 {
        return None;
    }
    let exact = (low * high).sqrt();
    let rounded = round(exact);
    let inside = rounded > low && rounded < high;
    Some(if inside { rounded } else { exact })
}

/// Three digits, so that a report reads well.
fn round(rate: f64) -> f64 {
    let scale = 10f64.powf(2.0 - rate.log10().floor());
    (rate * scale).round() / scale
}

/// Where the search stands after some trials.
pub fn boundary(search: &Capacity, trials: &[Trial]) -> Boundary {
    let rates = rates(trials);
    let (low, high) = sides(&rates);
    let failed = high.filter(|r| r.leans() == Some(Outcome::Fails));
    let unclear = rates
        .iter()
        .find(|r| matches!(r.leans(), Some(Outcome::Unclear)) || (r.leans().is_none()));
    let unclear = unclear.map(|r| {
        let why = match r.holds {
            0 => r.why.clone(),
            n => format!("{n} runs held and {} did not", r.fails),
        };
        (r.rate, why)
    });
    let held_twice = low.is_some_and(|r| r.holds >= AGREE);
    let failed_twice = failed.is_some_and(|r| r.fails >= AGREE);
    let sure = (low.is_none() || held_twice) && (failed.is_none() || failed_twice);
    let over = next(search, trials).is_none() && trials.len() < MOST;
    Boundary {
        held: low.map(|r| r.rate),
        failed: failed.map(|r| r.rate),
        held_twice,
        failed_twice,
        confirmed: over && sure && unclear.is_none() && !trials.is_empty(),
        unclear,
    }
}
