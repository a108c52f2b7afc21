//! The cases, by what is wrong.

use super::case::Case;

mod balancers;
mod generator;
mod healthy;
mod rollouts;
mod services;

/// All of them.
pub fn all() -> Vec<Case> {
    let mut all = services::cases();
    all.extend(balancers::cases());
    all.extend(rollouts::cases());
    all.extend(generator::cases());
    all.extend(healthy::cases());
    all
}
