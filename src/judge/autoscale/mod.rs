//! stub
#[cfg(test)]
mod cases;
mod decide;
mod replicas;
mod types;
pub use decide::*;
pub use replicas::*;
pub use types::*;
