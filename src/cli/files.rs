//! Small commands: `validate`, `schema`, and the hidden `__exec`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use squall::say;
use squall::scenario::{self, Scenario};

use super::exit::Exit;

/// Which files to check.
#[derive(Debug, clap::Args)]
pub struct ValidateArgs {
    /// Scenario files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Reads a scenario with the process's environment.
pub fn load(path: &Path) -> Result<Scenario, scenario::Problems> {
    scenario::load(path, &|name| std::env::var(name).ok())
}

/// Takes squall's own image from the command line, where it is given there and the target is a cluster.
pub fn use_image(scenario: &mut Scenario, image: Option<String>) {
    if let scenario::Target::Kubernetes(target) = &mut scenario.target {
        let settings = &mut target.guardian;
        settings.image = image.filter(|i| !i.is_empty()).or(settings.image.take());
    }
}

/// Checks each file and prints every problem of each.
pub fn validate(args: ValidateArgs) -> anyhow::Result<Exit> {
    let mut exit = Exit::Pass;
    for file in &args.files {
        match load(file) {
            Ok(scenario) => {
                say::out(format_args!("{}: ok ({})\n", file.display(), scenario.name))?;
            }
            Err(problems) => {
                say::err(problems);
                exit = Exit::BadInput;
            }
        }
    }
    Ok(exit)
}

/// Prints the JSON Schema.
pub fn schema() -> anyhow::Result<Exit> {
    let schema = serde_json::to_string_pretty(&scenario::schema())?;
    say::out(format_args!("{schema}\n"))?;
    Ok(Exit::Pass)
}

/// What the shim starts.
#[derive(Debug, clap::Args)]
pub struct ExecArgs {
    /// Process that the command must not outlive.
    parent: u32,
    /// Program and arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Becomes the command; returns only when that fails.
pub fn exec(args: ExecArgs) -> anyhow::Result<Exit> {
    Err(squall::platform::local::shim::exec(
        args.parent,
        args.command,
    ))
}
