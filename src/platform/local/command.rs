//! What an instance's command line and environment are, and whether its program can be run.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::scenario::LocalTarget;

/// What is put into the command and the environment of one incarnation.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// Unique name.
    pub instance: String,
    /// The place that it fills.
    pub slot: String,
    /// Where it must listen.
    pub port: u16,
    /// The folder of its log.
    pub logs_dir: PathBuf,
}

impl Identity {
    fn fill(&self, text: &str) -> String {
        text.replace("{port}", &self.port.to_string())
            .replace("{instance}", &self.instance)
            .replace("{slot}", &self.slot)
            .replace("{logs}", &self.logs_dir.to_string_lossy())
    }
}

/// The command of an incarnation; the program `squall` becomes this very program.
pub(super) fn command(target: &LocalTarget, squall: &Path, who: &Identity) -> Vec<OsString> {
    let words = target.command.iter().enumerate();
    words
        .map(|(i, word)| match (i, word.as_str()) {
            (0, "squall") => squall.into(),
            _ => who.fill(word).into(),
        })
        .collect()
}

/// What is added to the environment of an incarnation.
pub(super) fn environment(target: &LocalTarget, who: &Identity) -> BTreeMap<String, String> {
    let own = [
        ("SQUALL_INSTANCE", who.instance.clone()),
        ("SQUALL_SLOT", who.slot.clone()),
        ("PORT", who.port.to_string()),
    ];
    let own = own.map(|(name, value)| (name.to_string(), value));
    let given = target.env.iter().map(|(k, v)| (k.clone(), who.fill(v)));
    // The scenario's own words come last: they win.
    own.into_iter().chain(given).collect()
}

/// Checks that `program` can be run from the folder `dir`; the error is a sentence with the nearest hint.
pub(super) fn check(program: &str, dir: &Path, path: Option<&OsStr>) -> Result<(), String> {
    if program == "squall" {
        return Ok(());
    }
    if program.contains('/') {
        let file = dir.join(program);
        return match executable(&file) {
            Some(true) => Ok(()),
            Some(false) => Err(format!(
                "`{}` is not an executable file; `chmod +x` makes one of a script",
                file.display()
            )),
            None => Err(format!(
                "command not found: `{}` does not exist (relative programs start at the scenario's folder)",
                file.display()
            )),
        };
    }
    let dirs: Vec<PathBuf> = std::env::split_paths(path.unwrap_or_default()).collect();
    if dirs
        .iter()
        .any(|d| executable(&d.join(program)) == Some(true))
    {
        return Ok(());
    }
    let hint = if executable(&dir.join(program)).is_some() {
        format!("; did you mean `./{program}`, which is in the scenario's folder?")
    } else {
        match nearest(program, &dirs) {
            Some(name) => format!("; did you mean `{name}`?"),
            None => "; give its full path, or install it".to_string(),
        }
    };
    Err(format!(
        "command not found: no `{program}` in the folders of PATH{hint}"
    ))
}

/// Whether a file can be run; `None` if there is none.
fn executable(file: &Path) -> Option<bool> {
    let meta = std::fs::metadata(file).ok()?;
    Some(meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The program in `dirs` whose name is at most two slips away.
fn nearest(program: &str, dirs: &[PathBuf]) -> Option<String> {
    let entries = dirs
        .iter()
        .filter_map(|d| std::fs::read_dir(d).ok())
        .flatten();
    let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
    let slips = names.map(|name| (strsim::osa_distance(program, &name), name));
    let close = slips.filter(|(slips, _)| *slips <= 2.min(program.len() / 2));
    close.min().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: &Path, mode: u32) {
        std::fs::write(path, "").unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_missing_program_is_named_with_the_nearest_hint() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        touch(&bin.join("python3"), 0o755);
        touch(&dir.path().join("serve"), 0o755);
        touch(&dir.path().join("plain"), 0o644);
        let check = |program: &str| check(program, dir.path(), Some(bin.as_os_str()));
        assert_eq!(check("python3"), Ok(()));
        assert_eq!(check("squall"), Ok(()));
        assert_eq!(check("./serve"), Ok(()));
        for (program, part) in [
            ("pyhton3", "did you mean `python3`?"),
            ("serve", "did you mean `./serve`"),
            ("./gone", "does not exist"),
            ("./plain", "not an executable file"),
            ("something-else", "full path"),
        ] {
            let error = check(program).unwrap_err();
            assert!(error.contains(part), "{program}: {error}");
        }
    }
}
