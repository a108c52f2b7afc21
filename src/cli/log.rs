//! Diagnosis on standard error: `-v`, `-vv`, or the environment variable SQUALL_LOG.

use tracing_subscriber::EnvFilter;

/// Sets up tracing. Results never go here.
pub fn init(verbose: u8) {
    let default = match verbose {
        // The client says of each call that the API server is away, as the record does once: a run would fill a pipe that
        // nobody reads, and stand still.
        0 => "error,kube_client=off",
        1 => "squall=info",
        _ => "squall=debug",
    };
    let filter = EnvFilter::try_from_env("SQUALL_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would say on standard error that standard error is gone, and panic.
        .log_internal_errors(false)
        .init();
}
