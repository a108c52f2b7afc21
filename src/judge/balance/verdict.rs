//! From what was observed to the verdict and its sentences.

use std::collections::BTreeMap;

use super::explain::{connection_mode, part, pinned, single_source, thinning};
use super::least::{BUSY, SLOW, SLOW_SHARE, judge_least};
use super::observe::{Counts, Observed, observe};
use super::share::{Band, Share, Shares, judge_shares};
use super::{BalanceExpectation, By, Kind, plain};
use crate::judge::{Evidence, Ruling, Verdict, sure, words};
use crate::record::{Micros, Record};

pub(super) fn judge(record: &Record, expect: &BalanceExpectation) -> Verdict {
    // Who is chosen does not depend on warm caches, and users open their connections at the very start: only
    // requests, of which there are plenty, leave the warm-up out.
    let warm_up = match expect.by {
        By::Connection => 0,
        By::Request => record.header.scenario.run.warm_up.as_micros() as Micros,
    };
    let seen = observe(record, expect, warm_up);
    let case = Case {
        record,
        expect,
        seen: &seen,
    };
    let mut verdict = case.first_look();
    case.kept(&mut verdict);
    if !verdict.evidence.iter().any(|e| e.what == sure::SURE) {
        let n = words::counted(sum(case.of(&seen.all)), case.unit());
        let told = format!("seen, not estimated; n = {n} of known instances");
        verdict.evidence.push(sure::row(told));
    }
    verdict
}

/// One judgement under way.
pub(super) struct Case<'a> {
    pub(super) record: &'a Record,
    pub(super) expect: &'a BalanceExpectation,
    pub(super) seen: &'a Observed,
}

impl Case<'_> {
    /// What the counts say, with what lies outside of them.
    fn first_look(&self) -> Verdict {
        if let Some(verdict) = self.unusable() {
            return verdict;
        }
        let mut verdict = match self.expect.kind {
            Kind::Uniform => self.uniform(),
            Kind::LeastRequest => self.least(),
            Kind::ClientIp(timeout) => self.client_ip(timeout.as_micros() as Micros),
        };
        self.strays(&mut verdict);
        self.left_out(&mut verdict);
        verdict
    }

    pub(super) fn unit(&self) -> &'static str {
        self.expect.by.name()
    }

    pub(super) fn of<'c>(&self, counts: &'c Counts) -> &'c BTreeMap<String, u64> {
        match self.expect.by {
            By::Connection => &counts.connections,
            By::Request => &counts.requests,
        }
    }

    pub(super) fn inconclusive(&self, because: String, missing: String) -> Verdict {
        let mut verdict = plain(self.expect, Ruling::Inconclusive, because);
        verdict.missing = Some(missing);
        verdict
    }

    /// Why nothing can be judged at all.
    fn unusable(&self) -> Option<Verdict> {
        let header = &self.record.header.scenario.target.common().instance_header;
        if sum(&self.seen.all.requests) == 0 {
            return Some(self.inconclusive(
                format!("no response named the instance that served it (header {header})"),
                "the service's name for itself in each response, or `instance-header` set to the one it sends".into(),
            ));
        }
        if !self.seen.watched {
            return Some(self.inconclusive(
                "the platform does not tell which instances the balancer may choose".into(),
                "`instances`, their number, in the expectation: one that got nothing cannot be seen from its traffic"
                    .into(),
            ));
        }
        let most = self.seen.windows.iter().map(|w| w.eligible.len()).max();
        if let (Some(said), Some(seen)) = (self.expect.instances, most)
            && seen > said as usize
        {
            return Some(self.inconclusive(
                format!("{seen} instances answered, and {said} were said to be there"),
                "a run in which the instances stay the same, and their number".into(),
            ));
        }
        let listed = || self.seen.windows.iter().flat_map(|w| &w.eligible);
        let counted = self
            .seen
            .windows
            .iter()
            .flat_map(|w| w.counts.requests.keys());
        let named: Vec<String> = counted.cloned().collect();
        if !named.is_empty() && !named.iter().any(|n| listed().any(|l| l == n)) {
            let mut listed: Vec<String> = listed().cloned().collect();
            listed.dedup();
            return Some(self.inconclusive(
                format!(
                    "responses name {}, the platform lists {}: nothing ties the two together",
                    words::list(&named),
                    words::list(&listed)
                ),
                format!("the platform's name of the instance in {header}"),
            ));
        }
        if self.seen.windows.iter().all(|w| w.eligible.len() < 2) {
            return Some(self.inconclusive(
                "there was never more than one instance to choose from".into(),
                "a second ready instance".into(),
            ));
        }
        None
    }

    fn uniform(&self) -> Verdict {
        let band = Band::of_tolerance(self.expect.tolerance.get());
        let epochs = self.seen.epochs(|c| self.of(c));
        let scenario = &self.record.header.scenario;
        let pinned = self.pinned();
        let shares = judge_shares(&epochs, band, thinning(pinned));
        let mut verdict = plain(self.expect, shares.ruling, self.sentence(&shares, band));
        if shares.ruling == Ruling::Inconclusive {
            verdict.missing = Some(self.missing(&shares, band, pinned));
        }
        verdict.evidence.extend(self.rows(&shares));
        if let Some(text) = shares
            .shares
            .first()
            .filter(|_| shares.ruling == Ruling::Fail)
            .and_then(|_| {
                shares
                    .shares
                    .iter()
                    .find_map(|s| single_source(scenario, s))
            })
        {
            verdict.evidence.push(fact("one for all", text));
        }
        if let Some(text) = connection_mode(scenario, self.seen) {
            verdict.evidence.push(fact("connections", text));
        }
        let unnamed = self.unnamed();
        if unnamed > 0 && !shares.holds_with(unnamed, band) {
            self.doubt_unnamed(&mut verdict, unnamed);
        }
        verdict.evidence.push(numbers(&shares));
        verdict.evidence.push(self.sure(&shares));
        verdict
    }

    /// Units that were judged of which nobody knows who got them.
    fn unnamed(&self) -> u64 {
        let unnamed = self.seen.windows.iter().map(|w| {
            let all = match self.expect.by {
                By::Connection => w.opened,
                By::Request => w.answered,
            };
            all.saturating_sub(sum(self.of(&w.counts)))
        });
        unnamed.fold(0, u64::saturating_add)
    }

    /// An instance that does not give its name looks as if it got nothing.
    fn doubt_unnamed(&self, verdict: &mut Verdict, unnamed: u64) {
        let header = &self.record.header.scenario.target.common().instance_header;
        let why = format!(
            "{} more named no instance, and could be anybody's",
            words::counted(unnamed, self.unit())
        );
        if verdict.verdict != Ruling::Inconclusive {
            verdict.take_back(
                &why,
                format!("the instance's name ({header}) in each response"),
            );
        }
    }

    fn sure(&self, shares: &Shares) -> Evidence {
        sure::row(format!(
            "95% intervals, widened so that those of all {} instances hold together; n = {}",
            shares.shares.len(),
            words::counted(shares.units, self.unit())
        ))
    }

    fn sentence(&self, shares: &Shares, band: Band) -> String {
        let units = words::counted(shares.units, self.unit());
        let fails = shares.ruling == Ruling::Fail;
        let mut judged = shares.shares.iter().filter(|s| fails || !s.brief);
        let Some(worst) = judged.find(|s| s.ruling == shares.ruling) else {
            return format!("{units} over {} instances", shares.instances);
        };
        let ratio = format!(
            "{} times its fair share (95% interval {} to {})",
            times(worst.ratio),
            times(worst.low),
            times(worst.high)
        );
        let allowed = format!("allowed is {} to {}", times(band.low), times(band.high));
        match shares.ruling {
            Ruling::Fail if worst.observed == 0 => format!(
                "{} got none of {}, where a fair balancer sends it about {}",
                worst.instance,
                words::counted(worst.of, self.unit()),
                words::count(worst.expected.round() as u64)
            ),
            Ruling::Fail => format!(
                "{} got {} of {}, {ratio}; {allowed}",
                worst.instance,
                words::percent(part(worst.observed, worst.of)),
                words::counted(worst.of, self.unit()),
            ),
            Ruling::Pass => format!(
                "of {units} over {} instances, {} is the furthest from even with {ratio}; {allowed}",
                shares.instances, worst.instance
            ),
            Ruling::Inconclusive => format!(
                "{units} over {} instances are too few to tell: {} got {ratio}; {allowed}",
                shares.instances, worst.instance
            ),
        }
    }

    /// Requests on each connection, where they are what is counted and the connection decides.
    fn pinned(&self) -> Option<f64> {
        match self.expect.by {
            By::Connection => None,
            By::Request => pinned(&self.record.header.scenario, self.seen),
        }
    }

    fn missing(&self, shares: &Shares, band: Band, pinned: Option<f64>) -> String {
        if let Some(each) = pinned {
            return choices(shares.units, shares.needed, each);
        }
        let tolerance = words::percent(band.high - 1.0);
        if shares.needed <= shares.units {
            // Enough for a fair balancer: this one sits at the edge of the band.
            return format!(
                "about {}, four times as many, to tell which side of the band it is on",
                words::counted(shares.units * 4, self.unit())
            );
        }
        format!(
            "{}: about {} are needed to judge {} instances to {tolerance}",
            more(shares.needed - shares.units, self.unit()),
            words::count(shares.needed),
            shares.instances,
        )
    }

    fn least(&self) -> Verdict {
        let epochs = self.seen.epochs(|c| self.of(c));
        let instances = self.seen.service_us.len().max(1);
        let busy = self.seen.in_flight / instances as f64;
        let pinned = self.pinned();
        let least = judge_least(&epochs, &self.seen.service_us, busy, thinning(pinned));
        let shares = &least.shares;
        let units = words::counted(shares.units, self.unit());
        let starved = shares.shares.iter().find(|s| s.starved);
        let because = if let Some(starved) = starved {
            format!("{} got none of {units}", starved.instance)
        } else if let Some(slow) = least.slow.iter().max_by_key(|s| s.ruling) {
            let share = shares.shares.iter().find(|s| s.instance == slow.instance);
            let ratio = share.map_or(1.0, |s| s.ratio);
            format!(
                "{} answers {:.1} times as slowly as the others and got {} times a fair share of {units}; at most {} \
                 is expected of a balancer that prefers the least busy",
                slow.instance,
                slow.times,
                times(ratio),
                times(SLOW_SHARE)
            )
        } else {
            format!(
                "each of {} instances got some of {units}; none was slow (median {SLOW} times the others'), so \
                 avoiding a slow one was not tested",
                shares.instances
            )
        };
        let mut verdict = plain(self.expect, least.ruling, because);
        if least.ruling == Ruling::Inconclusive {
            verdict.missing = Some(if least.idle && !least.slow.is_empty() {
                format!(
                    "load: {busy:.1} requests under way per instance leave all of them idle to choose from; at \
                     least {BUSY} is needed"
                )
            } else if let Some(each) = pinned {
                choices(shares.units, least.needed, each)
            } else {
                let short = least.needed.saturating_sub(shares.units);
                more(short.max(1), self.unit())
            });
        }
        let unnamed = self.unnamed();
        if part(unnamed, shares.units.saturating_add(unnamed)) > FEW_UNNAMED {
            self.doubt_unnamed(&mut verdict, unnamed);
        }
        verdict.evidence.extend(self.rows(shares));
        for (name, us) in &self.seen.service_us {
            verdict.evidence.push(fact(
                &format!("{name} median service time"),
                words::micros(*us),
            ));
        }
        verdict.evidence.push(self.sure(shares));
        verdict
    }

    fn rows(&self, shares: &Shares) -> Vec<Evidence> {
        let rows = shares.shares.iter().map(|s| fact(&s.instance, self.row(s)));
        rows.collect()
    }

    fn row(&self, s: &Share) -> String {
        let brief = if s.brief {
            "; there too briefly to judge"
        } else {
            ""
        };
        format!(
            "{} of {}, expected {}: {} times its share ({} to {}){brief}",
            words::count(s.observed),
            words::counted(s.of, self.unit()),
            words::count(s.expected.round() as u64),
            times(s.ratio),
            times(s.low),
            times(s.high)
        )
    }
}

/// A balancer that is to prefer who is less busy is not judged with a larger part of nobody's.
const FEW_UNNAMED: f64 = 0.05;

/// What is missing where so many units, of those needed, are `each` to a connection.
fn choices(units: u64, needed: u64, each: f64) -> String {
    let connections = |n: u64| words::counted((n as f64 / each).ceil() as u64, "connection");
    format!(
        "independent choices: the requests follow the {} they are on; about {} are needed, or \
         `connections: per-request`",
        connections(units),
        connections(needed),
    )
}

fn numbers(shares: &Shares) -> Evidence {
    fact(
        "diagnostics, not judged by",
        format!(
            "chi-square {:.1} with {} degrees of freedom (p = {:.3}), Jain's index {:.3}",
            shares.chi_square, shares.degrees, shares.chi_square_p, shares.jain
        ),
    )
}

pub(super) fn fact(what: &str, value: String) -> Evidence {
    Evidence {
        what: what.into(),
        value,
        at_us: None,
    }
}

pub(super) fn sum(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().fold(0, |all, n| all.saturating_add(*n))
}

fn more(n: u64, unit: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} more {unit}{s}", words::count(n))
}

fn times(ratio: f64) -> String {
    format!("{ratio:.2}")
}
