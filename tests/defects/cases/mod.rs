//! The cases, by what is wrong.

use super::case::Case;

mod alerts;
mod autoscalers;
mod balancers;
mod clusters;
mod generator;
mod healthy;
mod losses;
mod recoveries;
mod rollouts;
mod services;
mod usages;

/// All of them.
pub fn all() -> Vec<Case> {
    let mut all = services::cases();
    all.extend(recoveries::cases());
    all.extend(balancers::cases());
    all.extend(rollouts::cases());
    all.extend(alerts::cases());
    all.extend(autoscalers::cases());
    all.extend(losses::cases());
    all.extend(clusters::cases());
    all.extend(usages::cases());
    all.extend(generator::cases());
    all.extend(healthy::cases());
    all
}
