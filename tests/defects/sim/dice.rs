//! Randomness by seed.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// A seeded source of randomness.
pub struct Dice(Pcg64);

impl Dice {
    /// One source of several for a seed.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(Pcg64::seed_from_u64(
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .wrapping_add(stream),
        ))
    }
    /// From 0 up to 1.
    pub fn unit(&mut self) -> f64 {
        self.0.random()
    }
    /// From the first up to the second.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }
    /// A whole number from the first to the second, both possible.
    pub fn whole(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high)
    }
    /// A place in a list of so many.
    pub fn below(&mut self, n: usize) -> usize {
        self.0.random_range(0..n)
    }
    /// True with this chance.
    pub fn chance(&mut self, p: f64) -> bool {
        p > 0.0 && self.unit() < p
    }
    /// Exponential with this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
    /// Erlang with this mean: exponential for shape 1, ever more even above.
    pub fn erlang(&mut self, mean: f64, shape: u32) -> f64 {
        // The logarithm of a product is the sum of the logarithms, and one of them is cheaper.
        let product: f64 = (0..shape.max(1)).map(|_| 1.0 - self.unit()).product();
        -mean / f64::from(shape.max(1)) * product.ln()
    }
}
