//! Exit codes, and the one place where errors are printed.

use std::process::ExitCode;

use squall::judge::Ruling;
use squall::run::RunError;
use squall::say;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All verdicts pass.
    Pass = 0,
    /// A verdict failed.
    Fail = 1,
    /// Bad input; nothing was touched.
    BadInput = 2,
    /// It cannot be told.
    Inconclusive = 3,
    /// Ended before its time; everything undone.
    Aborted = 4,
    /// The platform or target could not be reached.
    Unreachable = 5,
    /// An undo failed.
    UndoFailed = 6,
}

impl Exit {
    /// The same of a squall that ran elsewhere; one that was killed there was not brought to its end.
    pub fn from_code(code: i32) -> Self {
        match code {
            0 => Exit::Pass,
            1 => Exit::Fail,
            2 => Exit::BadInput,
            3 => Exit::Inconclusive,
            5 => Exit::Unreachable,
            6 => Exit::UndoFailed,
            _ => Exit::Aborted,
        }
    }

    /// What a ruling stands for; nothing judged is nothing told.
    pub fn of(ruling: Option<Ruling>) -> Self {
        match ruling {
            Some(Ruling::Pass) => Exit::Pass,
            Some(Ruling::Fail) => Exit::Fail,
            Some(Ruling::Inconclusive) | None => Exit::Inconclusive,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// An error and its causes in one line; many an error names its cause itself, and then it is not said again.
fn with_causes(error: &anyhow::Error) -> String {
    error
        .chain()
        .skip(1)
        .fold(error.to_string(), |text, cause| {
            let cause = cause.to_string();
            match text.contains(&cause) {
                true => text,
                false => format!("{text}: {cause}"),
            }
        })
}

/// Prints an error with its causes and gives its exit code. An error of no known kind is bad input: everything
/// that can go wrong once a run has begun is a [`RunError`].
pub fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(problems) = error.downcast_ref::<squall::scenario::Problems>() {
        say::err(problems);
        return Exit::BadInput.into();
    }
    say::err(format_args!("error: {}", with_causes(error)));
    match error.downcast_ref::<RunError>() {
        Some(RunError::Unreachable(_)) => Exit::Unreachable,
        Some(RunError::Aborted(_)) => Exit::Aborted,
        Some(RunError::UndoFailed(_)) => Exit::UndoFailed,
        Some(RunError::BadInput(_)) | None => Exit::BadInput,
    }
    .into()
}
