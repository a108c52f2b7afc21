//! How well an autoscaled service followed its load: the chain of times from the load step to the goal restored,
//! overshoot, settling, flapping, and whether the new pods got work.

use serde::{Deserialize, Serialize};

use super::timeline::Write;
use crate::judge::stats::binomial_tail;
use crate::record::Micros;

/// The links of the chain, in order; `None` for one that was not seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// The load stepped up.
    pub load: Option<Micros>,
    /// The metric left the tolerance.
    pub crossed: Option<Micros>,
    /// The autoscaler wrote a higher count.
    pub decided: Option<Micros>,
    /// The first new pod was bound to a node.
    pub scheduled: Option<Micros>,
    /// It was Ready.
    pub ready: Option<Micros>,
    /// It was a ready endpoint.
    pub endpoint: Option<Micros>,
    /// It served its first request.
    pub served: Option<Micros>,
    /// The goal held again, to the end or for the windows asked for.
    pub restored: Option<Micros>,
    /// The goal was never missed.
    pub held: bool,
}

/// One step of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// What took the time: `metric crosses`.
    pub name: &'static str,
    /// From the link before that was seen.
    pub took: Micros,
    /// When it ended.
    pub at: Micros,
}

impl Chain {
    /// The links that were seen, each with the time since the one before. What was seen out of order (a pod can be
    /// served from before its endpoint was noticed) takes no time.
    pub fn links(&self) -> Vec<Link> {
        let all = [
            ("load step", self.load),
            ("metric crosses", self.crossed),
            ("autoscaler decides", self.decided),
            ("pod scheduled", self.scheduled),
            ("pod ready", self.ready),
            ("endpoint ready", self.endpoint),
            ("first request served", self.served),
            ("goal restored", self.restored),
        ];
        let mut before: Option<Micros> = None;
        let seen = all.into_iter().filter_map(|(name, at)| Some((name, at?)));
        seen.map(|(name, at)| {
            let took = before.map_or(0, |b| at.saturating_sub(b));
            before = Some(before.map_or(at, |b| b.max(at)));
            Link { name, took, at }
        })
        .collect()
    }
    /// The link that took longest.
    pub fn slowest(&self) -> Option<Link> {
        self.links().into_iter().max_by_key(|l| l.took)
    }
    /// The first link that was never seen although an earlier one was.
    pub fn broken_at(&self) -> Option<&'static str> {
        let all = [
            ("metric crosses", self.crossed),
            ("autoscaler decides", self.decided),
            ("pod scheduled", self.scheduled),
            ("pod ready", self.ready),
            ("endpoint ready", self.endpoint),
            ("first request served", self.served),
            (
                "goal restored",
                self.restored.or(self.load.filter(|_| self.held)),
            ),
        ];
        self.load?;
        all.into_iter().find(|(_, at)| at.is_none()).map(|(n, _)| n)
    }
}

/// How far the count went above where it settled between two steps of the load, as a part of that:
/// (peak - final) / final.
pub fn overshoot(writes: &[Write], step: Micros, until: Micros) -> Option<f64> {
    let after = writes.iter().filter(|w| w.at >= step && w.at < until);
    let last = after.clone().next_back()?.to;
    let peak = after.map(|w| w.to).max()?;
    (last > 0).then(|| f64::from(peak - last) / f64::from(last))
}

/// From a load step to the last change that followed it before `until`; `None` where nothing changed.
pub fn settle(writes: &[Write], step: Micros, until: Micros) -> Option<Micros> {
    let after = writes.iter().filter(|w| w.at >= step && w.at < until);
    after.map(|w| w.at - step).max()
}

/// A change of direction at constant load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flap {
    /// The change that turned round.
    pub at: Micros,
    /// Replicas before the pair, between, and after.
    pub counts: (i32, i32, i32),
}

/// Changes of direction within two windows while the load was constant: none is expected. A turn with a load step
/// (from when to when it moved) between the two changes is an answer to the load.
pub fn flaps(writes: &[Write], steps: &[(Micros, Micros)], window: Micros) -> Vec<Flap> {
    let pairs = writes.windows(2).filter(|pair| {
        let (a, b) = (&pair[0], &pair[1]);
        let turned = (a.to > a.from) != (b.to > b.from);
        let near = b.at - a.at <= 2 * window;
        let between = steps
            .iter()
            .any(|(from, until)| a.at < *until && *from <= b.at);
        turned && near && !between
    });
    let pairs = pairs.map(|pair| Flap {
        at: pair[1].at,
        counts: (pair[0].from, pair[0].to, pair[1].to),
    });
    pairs.collect()
}

/// Flaps from which on it is a fault, not a correction.
pub const FLAPS: usize = 2;

/// What the new pods got of the requests over what was their share, some time after a scale-up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effect {
    /// Their part of the requests.
    pub share: f64,
    /// Their part of the pods.
    pub fair: f64,
    /// One over the other: 1 where they carry their part, 0 where they idle.
    pub effectiveness: f64,
    /// Requests that this rests on.
    pub requests: u64,
    /// So few would not come to them by chance where all get the same.
    pub sure: bool,
}

/// Under this the scale-up did not help: connections are pinned to the old pods.
pub const EFFECTIVE: f64 = 0.5;

/// In no more than one of a thousand runs in order the new pods are said to idle.
const SURE: f64 = 0.001;

/// Requests by pod, and whether it is new; taken from 60 s after the scale-up on. `None` without requests or without
/// both kinds of pods.
pub fn effectiveness(pods: &[(u64, bool)]) -> Option<Effect> {
    let requests: u64 = pods.iter().map(|(n, _)| n).sum();
    let new = pods.iter().filter(|(_, new)| *new).count();
    if requests == 0 || new == 0 || new == pods.len() {
        return None;
    }
    let got: u64 = pods.iter().filter(|(_, new)| *new).map(|(n, _)| n).sum();
    let share = got as f64 / requests as f64;
    let fair = new as f64 / pods.len() as f64;
    Some(Effect {
        share,
        fair,
        effectiveness: share / fair,
        requests,
        sure: binomial_tail(requests - got, requests, 1.0 - fair) < SURE,
    })
}
