//! The command line: one file a command. Commands are thin: they read flags, call the library, map to exit codes.

mod audit;
mod capacity;
mod compare;
mod completions;
mod connect;
pub mod exit;
mod explain;
mod files;
mod guard;
mod init;
mod judge;
pub mod log;
mod pack;
mod place;
mod plan;
mod quick;
mod run;
mod stress;
mod undo;

use clap::{Parser, Subcommand};
use exit::Exit;

const EXAMPLES: &str = "\
Examples:
  squall run http://127.0.0.1:8080/search --rate 200/s --duration 30s --expect 'p99 < 250ms'
  squall run scenarios/quickstart.yaml          three real processes, one is killed, a verdict
  squall init --url http://127.0.0.1:8080 --rate 200/s --duration 1m > mine.yaml
  squall validate mine.yaml                     every problem at once, with line and column
  squall plan mine.yaml                         what a run would do, and to what; does nothing
  squall run new.yaml --repeat 5 --against old.yaml   five runs of each, in turn, compared
  squall judge reports/mine-20260101T120000Z    the verdicts again, from the record alone

Exit codes:
  0 all verdicts pass   1 a verdict failed   2 bad input, nothing was touched   3 inconclusive
  4 aborted, everything undone   5 platform or target not reached   6 an undo failed";

/// Load testing and chaos verification on one clock, with a verdict.
#[derive(Debug, Parser)]
#[command(name = "squall", version, about, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// Say more on standard error (-v: what the program does, -vv: details).
    #[arg(short, long, global = true, action = clap::ArgAction::Count, display_order = 900)]
    pub verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario and judge it.
    Run(run::Args),
    /// Check scenario files: every problem at once, with line and column.
    #[command(alias = "check")]
    Validate(files::ValidateArgs),
    /// Print exactly what a run would do and to what. Does nothing.
    Plan(plan::Args),
    /// Look for what would bring a service in a cluster down: single points of failure, budgets, probes. Breaks nothing.
    Audit(audit::Args),
    /// Write a commented scenario from a few flags, to standard output.
    Init(init::Args),
    /// Print the JSON Schema of scenario files, for editors.
    Schema,
    /// Judge a recorded run again, from its record alone.
    Judge(judge::JudgeArgs),
    /// Write the report files of a recorded run again.
    Report(judge::ReportArgs),
    /// Write the folder of a run to standard output, as a gzipped tar: `kubectl exec ... squall pack /record | tar xz`.
    Pack(pack::Args),
    /// Search for the highest rate at which everything expected holds.
    Capacity(capacity::Args),
    /// Say whether a candidate is slower or fails more than a baseline, from recorded runs of both.
    Compare(compare::Args),
    /// Take back what a crashed run left, from its ledger.
    Undo(undo::Args),
    /// Say what a verdict checks, why, and how it can be wrong.
    Explain(explain::Args),
    /// Run the demo shop: a small real service to try squall on.
    Demo(squall::demo::Options),
    /// Use up CPU and memory for a bounded time, and say what was used.
    Stress(stress::Args),
    /// Print completions for a shell, to standard output.
    Completions(completions::Args),
    /// Start a command that dies with squall (used by the local platform).
    #[command(name = "__exec", hide = true)]
    Exec(files::ExecArgs),
    /// Say whether an address takes a connection from here (used by the Kubernetes platform).
    #[command(name = "__connect", hide = true)]
    Connect(connect::Args),
    /// End process groups when squall is gone (used by the local platform).
    #[command(name = "__reaper", hide = true)]
    Reaper,
    /// Ask the first process of this container to end in order (used by `run --in-cluster`).
    #[command(name = "__interrupt", hide = true)]
    Interrupt,
    /// Take back what a run left in a cluster, once it is dead (the guardian that a run starts there).
    #[command(name = "__guard", hide = true)]
    Guard(guard::Args),
}

impl Cli {
    /// Carries the command out.
    pub fn run(self) -> anyhow::Result<Exit> {
        match self.command {
            Command::Run(args) => run::main(args),
            Command::Validate(args) => files::validate(args),
            Command::Plan(args) => plan::main(args),
            Command::Audit(args) => audit::main(args),
            Command::Init(args) => init::main(args),
            Command::Schema => files::schema(),
            Command::Judge(args) => judge::judge(args),
            Command::Report(args) => judge::report(args),
            Command::Pack(args) => pack::main(args),
            Command::Interrupt => interrupt(),
            Command::Capacity(args) => capacity::main(args),
            Command::Compare(args) => compare::main(args),
            Command::Undo(args) => undo::main(args),
            Command::Explain(args) => explain::main(args),
            Command::Demo(options) => Ok(demo(options)),
            Command::Stress(args) => stress::main(args),
            Command::Connect(args) => Ok(connect::main(args)),
            Command::Completions(args) => completions::main(args),
            Command::Exec(args) => files::exec(args),
            Command::Guard(args) => guard::main(args),
            Command::Reaper => {
                squall::platform::local::reaper::main(std::io::stdin().lock())?;
                Ok(Exit::Pass)
            }
        }
    }
}

/// Serves the demo. It is a service, not a verdict: whatever ends it early is exit code 1.
fn demo(options: squall::demo::Options) -> Exit {
    match squall::demo::main(options) {
        Ok(()) => Exit::Pass,
        Err(error) => {
            squall::say::err(format_args!("error: {error:#}"));
            Exit::Fail
        }
    }
}

/// Sends SIGINT to the first process here.
fn interrupt() -> anyhow::Result<Exit> {
    rustix::process::kill_process(rustix::process::Pid::INIT, rustix::process::Signal::INT)?;
    Ok(Exit::Pass)
}
