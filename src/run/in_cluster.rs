//! A run that is carried out inside the target's cluster: started from here, watched from here, its record brought back.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Finished, Options, RunError, folder, pack, plan, runtime};
use crate::platform::PlatformError;
use crate::platform::kubernetes::runner::{self, Bundle, Pod, Runner, Told};
use crate::say;
use crate::scenario::{KubernetesTarget, Scenario, Target};

/// How long the pod waits for its record to be taken.
const HOLD: Duration = Duration::from_secs(600);
/// Beside traffic and the wait, a run takes no longer than this: start, drain, undo.
const BESIDE: Duration = Duration::from_secs(900);

/// What the pod is to be.
#[derive(Debug, Clone)]
pub struct InCluster {
    /// The scenario file.
    pub file: PathBuf,
    /// The environment variables that the scenario uses.
    pub env: BTreeMap<String, String>,
    /// The account it runs as, instead of the guardian's.
    pub account: Option<String>,
    /// Leave Job and pod where they are at the end.
    pub keep: bool,
    /// Show no progress.
    pub quiet: bool,
}

/// How it ended.
#[derive(Debug)]
pub struct Remote {
    /// The run, judged here from its record; `None` where it ended before it had one.
    pub finished: Option<Finished>,
    /// The exit code of squall in the pod.
    pub code: i32,
}

/// Runs the scenario in a pod of the target's cluster, and gives what it gave.
pub fn run_in_cluster(
    scenario: Scenario,
    options: Options,
    remote: &InCluster,
) -> Result<Remote, RunError> {
    plan::check(&scenario)?;
    let Target::Kubernetes(target) = &scenario.target else {
        return Err(RunError::BadInput(
            "--in-cluster needs a target in a cluster (target.kubernetes)".into(),
        ));
    };
    let Some(image) = target.guardian.image.clone() else {
        return Err(RunError::BadInput(
            "--in-cluster needs squall's own image: --image, SQUALL_IMAGE or target.kubernetes.guardian.image".into(),
        ));
    };
    let bundle = bundle(&scenario, remote)?;
    let pod = Pod {
        image,
        account: remote
            .account
            .clone()
            .unwrap_or_else(|| target.guardian.service_account.clone()),
        pull: target.guardian.pull,
        args: arguments(&scenario, remote),
        deadline_s: (scenario.duration() + BESIDE + HOLD).as_secs(),
    };
    let (packed, code) = runtime()?.block_on(conduct(target, &pod, &bundle, remote))?;
    let finished = match packed {
        Some(packed) => Some(unpacked(&scenario, &options, &packed)?),
        None => None,
    };
    Ok(Remote { finished, code })
}

fn unpacked(scenario: &Scenario, options: &Options, packed: &[u8]) -> Result<Finished, RunError> {
    let dir = folder::create(scenario, options)?;
    pack::unpack(packed, &dir).map_err(|e| {
        RunError::Aborted(format!(
            "the record cannot be written to {}: {e}",
            dir.display()
        ))
    })?;
    super::finish(dir, Vec::new())
}

/// What squall is told in the pod.
fn arguments(scenario: &Scenario, remote: &InCluster) -> Vec<String> {
    let name = remote
        .file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let mut args = vec![
        "run".to_string(),
        format!("{}/{name}", runner::SCENARIO),
        format!("--out={}/run", runner::RECORD),
        format!("--hold={}s", HOLD.as_secs()),
        "--as-runner".into(),
    ];
    if remote.quiet {
        args.push("--quiet".into());
    }
    args.extend(scenario.seed.map(|seed| format!("--seed={seed}")));
    args
}

/// The scenario with all that it needs of this machine.
fn bundle(scenario: &Scenario, remote: &InCluster) -> Result<Bundle, RunError> {
    let read = |path: &Path| {
        std::fs::read(path)
            .map_err(|e| RunError::BadInput(format!("cannot read {}: {e}", path.display())))
    };
    let mut bundle = Bundle {
        env: remote.env.clone(),
        ..Bundle::default()
    };
    let name = remote
        .file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    bundle.files.insert(name.into_owned(), read(&remote.file)?);
    for (file, secret) in scenario.files() {
        let inside = file
            .components()
            .all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !inside {
            return Err(RunError::BadInput(format!(
                "{} is outside the scenario's folder, and would not be there in the cluster",
                file.display()
            )));
        }
        let plain: PathBuf = file
            .components()
            .filter(|c| *c != Component::CurDir)
            .collect();
        let bytes = read(&scenario.base_dir.join(file))?;
        let to = match secret {
            true => &mut bundle.secret_files,
            false => &mut bundle.files,
        };
        to.insert(plain.to_string_lossy().into_owned(), bytes);
    }
    bundle.check().map_err(RunError::BadInput)?;
    Ok(bundle)
}

/// Starts, follows and fetches; whatever happens, what was created is removed.
async fn conduct(
    target: &KubernetesTarget,
    pod: &Pod,
    bundle: &Bundle,
    remote: &InCluster,
) -> Result<(Option<Vec<u8>>, i32), RunError> {
    let mut interrupts = super::interrupts::signals()?;
    let mut runner = Runner::connect(target, bundle).await?;
    let outcome = drive(&mut runner, pod, bundle, &mut interrupts).await;
    if remote.keep {
        let (name, namespace) = (runner.name(), runner.namespace());
        say::err(format_args!(
            "kept: Job {name} in namespace {namespace} (kubectl -n {namespace} delete job {name})"
        ));
        return outcome;
    }
    match (runner.remove().await, outcome) {
        (Ok(()), outcome) => outcome,
        // What the run found out is worth more than this.
        (Err(error), Ok(outcome)) => {
            say::err(format_args!("warning: {error}"));
            Ok(outcome)
        }
        (Err(error), Err(first)) => {
            say::err(format_args!("warning: {error}"));
            Err(first)
        }
    }
}

async fn drive(
    runner: &mut Runner,
    pod: &Pod,
    bundle: &Bundle,
    interrupts: &mut mpsc::UnboundedReceiver<&'static str>,
) -> Result<(Option<Vec<u8>>, i32), RunError> {
    let given_up = |signal| RunError::Aborted(format!("stopped by {signal}; the run was removed"));
    tokio::select! {
        started = runner.start(pod, bundle) => started?,
        signal = interrupts.recv() => return Err(given_up(signal.unwrap_or("nobody"))),
    }
    let mut packed = None;
    let mut asked = false;
    loop {
        let told = tokio::select! {
            told = runner.next() => told?,
            Some(signal) = interrupts.recv() => {
                if asked {
                    return Err(given_up(signal));
                }
                asked = true;
                say::err(format_args!(
                    "{signal}: the run in the cluster is asked to end; once more removes it at once"
                ));
                runner.interrupt().await?;
                continue;
            }
        };
        match told {
            Told::Line(line) => say::err(line),
            Told::RecordWaits => {
                packed = Some(fetch(runner).await?);
                runner.taken().await?;
            }
            Told::Ended(code) => return Ok((packed, code)),
        }
    }
}

/// The record, asked for again where a connection breaks.
async fn fetch(runner: &Runner) -> Result<Vec<u8>, PlatformError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match runner.fetch().await {
            Err(PlatformError::Unreachable(_)) if tries < 5 => {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    fn asked(dir: &Path, text: &str) -> Result<Bundle, RunError> {
        let file = dir.join("s.yaml");
        std::fs::write(&file, text).unwrap();
        let scenario = scenario::load(&file, &|_| None).unwrap();
        let remote = InCluster {
            file,
            env: BTreeMap::new(),
            account: None,
            keep: false,
            quiet: true,
        };
        bundle(&scenario, &remote)
    }

    const TEXT: &str = "squall: 1\nname: x\ntarget: { kubernetes: { service: web } }\n\
        traffic:\n  a:\n    arrivals: { rate: 1/s, hold: 1s }\n    data: { users: { csv: FILE } }\n    journey: [ get: / ]\n";

    #[test]
    fn a_file_that_the_scenario_names_goes_with_it_under_its_path() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        std::fs::write(dir.path().join("data/users.csv"), "id\n1\n").unwrap();
        let bundle = asked(dir.path(), &TEXT.replace("FILE", "./data/users.csv")).unwrap();
        let names: Vec<_> = bundle.files.keys().collect();
        assert_eq!(names, ["data/users.csv", "s.yaml"]);
    }

    #[test]
    fn one_from_elsewhere_is_refused_before_anything_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("in")).unwrap();
        std::fs::write(dir.path().join("users.csv"), "id\n1\n").unwrap();
        let error = asked(
            &dir.path().join("in"),
            &TEXT.replace("FILE", "../users.csv"),
        )
        .unwrap_err();
        assert!(
            error.to_string().contains("outside the scenario's folder"),
            "{error}"
        );
    }
}
