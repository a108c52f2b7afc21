//! What every command that runs a scenario takes: where records go, and what is chosen anew.

use std::path::PathBuf;

use squall::run::Options;
use squall::scenario::Scenario;

use super::run::progress;

/// Where to, and with what.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// Folder under which the folder of this run is made.
    #[arg(long, default_value = "reports", env = "SQUALL_REPORTS")]
    reports: PathBuf,
    /// The folder of this run; it must not exist yet.
    #[arg(long, conflicts_with = "reports")]
    out: Option<PathBuf>,
    /// Seed, instead of the scenario's: the same choices again.
    #[arg(long)]
    seed: Option<u64>,
    /// Squall's own image, for what runs in the cluster (the guardian), instead of the scenario's
    /// (target.kubernetes.guardian.image).
    #[arg(long, env = "SQUALL_IMAGE")]
    image: Option<String>,
    /// Show no progress; the summary is still printed.
    #[arg(short, long)]
    pub quiet: bool,
}

impl Place {
    /// How a run is carried out.
    pub fn options(&self) -> Options {
        Options {
            reports: self.reports.clone(),
            out: self.out.clone(),
            progress: progress(self.quiet),
        }
    }

    /// Puts what was chosen here in place of the scenario's.
    pub fn choose(&self, scenario: &mut Scenario) {
        scenario.seed = self.seed.or(scenario.seed);
        super::files::use_image(scenario, self.image.clone());
    }
}
