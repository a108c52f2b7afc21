//! How the capacity of a service is searched.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::traffic::{Load, OpenLoad, RateStage};
use super::{Flow, Scenario};
use crate::scenario::units::{Rate, Ratio, duration};

/// The search for the highest rate at which all expectations hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Capacity {
    /// The lowest rate tried: arrivals of all flows together.
    pub from: Rate,
    /// The highest.
    pub to: Rate,
    /// How long each rate is held.
    #[serde(with = "duration")]
    pub hold: Duration,
    /// The answer is that exact.
    pub resolution: Ratio,
    /// Less is a FAIL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Rate>,
    /// The rate of this run, in the record of one level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Rate>,
}

impl Scenario {
    /// The same at one rate: its flows keep their shares of the traffic, each ramps up during the warm-up and then
    /// holds. `None` where it says nothing of capacity.
    pub fn at_level(&self, rate: Rate) -> Option<Scenario> {
        let mut level = self.clone();
        let capacity = level.capacity.as_mut()?;
        capacity.level = Some(rate);
        let hold = capacity.hold;
        let all: f64 = level.traffic.iter().map(peak).sum();
        let ramp = level.run.warm_up;
        for flow in &mut level.traffic {
            let share = peak(flow) / all;
            let Load::Open(OpenLoad { stages, .. }) = &mut flow.load else {
                continue;
            };
            flow.start = Duration::ZERO;
            *stages = vec![RateStage {
                rate: Rate::per_second(rate.get() * share),
                ramp,
                hold,
            }];
        }
        Some(level)
    }
}

/// A flow's highest rate.
fn peak(flow: &Flow) -> f64 {
    match &flow.load {
        Load::Open(open) => open.stages.iter().map(|s| s.rate.get()).fold(0.0, f64::max),
        Load::Closed(_) => 0.0,
    }
}
