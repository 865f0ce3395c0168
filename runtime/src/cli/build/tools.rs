//! Tools that a build needs and the machine may lack: installed once, at pinned versions, by ordinary package managers.
//!
//! Each set of tools has a directory named after its content, so a new version of this binary installs a new set and an
//! old one still finds its own. An incomplete installation is repeated. Concurrent builds that need the same set wait
//! for each other.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use super::CompilerFailed;
use crate::cli::project::Project;
use crate::config::DEFAULT_DATA;

/// The environment variable that names a directory of tools shared by several projects.
const SHARED: &str = "HOLDFAST_TOOLS";
/// The file that is written last, when the set is complete.
const COMPLETE: &str = ".complete";

/// The directory of installed tools.
pub struct Tools(PathBuf);

impl Tools {
    /// Returns the tools in a directory, which is created when something is installed.
    pub fn at(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Returns the tools of a project, or those that it shares with others.
    pub fn of(project: &Project) -> Self {
        let shared = std::env::var_os(SHARED).filter(|place| !place.is_empty());
        Self::at(shared.map_or_else(|| project.root.join(DEFAULT_DATA).join("tools"), PathBuf::from))
    }

    /// Returns a directory that tools may use as their cache; created if missing.
    pub fn cache(&self, name: &str) -> anyhow::Result<PathBuf> {
        let place = self.0.join("cache").join(name);
        fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
        Ok(place)
    }

    /// Creates a Python environment with these requirements (lines as pip reads them); returns its directory of
    /// programs.
    pub fn python(&self, name: &str, requirements: &str) -> anyhow::Result<PathBuf> {
        let place = self.install(name, &[requirements], |place| {
            let mut python = Command::new("python3");
            let said = "python3 cannot create an environment; install Python 3 with its venv module (python3 and python3-venv on Debian)";
            run(python.args(["-m", "venv", "--clear"]).arg(place)).context(said)?;
            fs::write(place.join("requirements.txt"), requirements)?;
            let mut pip = Command::new(place.join("bin/pip"));
            pip.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]);
            run(pip.arg(place.join("requirements.txt"))).context(
                "pip could not install what the build needs; check that the Python package index can be reached, and try again",
            )
        })?;
        Ok(place.join("bin"))
    }

    /// Installs a set of tools unless it is installed; `contents` distinguishes sets with the same name. Returns its
    /// directory.
    pub fn install(
        &self,
        name: &str,
        contents: &[&str],
        install: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<PathBuf> {
        let digest = hex::encode(Sha256::digest(contents.join("\0")));
        let place = self.0.join(format!("{name}-{digest:.12}"));
        let prepare = || {
            fs::create_dir_all(&place)?;
            let lock = File::create(place.with_extension("lock"))?;
            lock.lock()?;
            Ok::<_, std::io::Error>(lock)
        };
        let _lock = prepare().with_context(|| format!("cannot write {}", place.display()))?;
        if !place.join(COMPLETE).is_file() {
            note!("installing {name} into {}", place.display());
            install(&place)?;
            fs::write(place.join(COMPLETE), "").with_context(|| format!("cannot write {}", place.display()))?;
        }
        Ok(place)
    }
}

/// Runs a program whose output is for the user. An error reports that it was not found or failed.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let stderr = std::io::stderr().as_fd().try_clone_to_owned().context("standard error is closed")?;
    // Standard output is reserved for the component's path.
    let status = command.stdin(Stdio::null()).stdout(stderr).status();
    match status.with_context(|| format!("cannot run {program}"))? {
        status if status.success() => Ok(()),
        status => bail!("{program} failed ({status}); see its messages above"),
    }
}

/// Runs a compiler, which itself reports what is wrong with the project.
pub fn compile(name: &'static str, command: &mut Command) -> anyhow::Result<()> {
    run(command).map_err(|error| match error.downcast_ref::<std::io::Error>() {
        Some(_) => error,
        None => CompilerFailed(name).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_installed_until_it_is_complete_and_then_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let tools = Tools::at(directory.path().join("tools"));
        let mut runs = 0;
        let error = tools.install("cc", &["1"], |_| bail!("no network")).unwrap_err();
        assert_eq!(error.to_string(), "no network");
        for _ in 0..2 {
            let place = tools.install("cc", &["1"], |place| {
                runs += 1;
                Ok(fs::write(place.join("cc"), "")?)
            });
            assert!(place.unwrap().join("cc").is_file());
        }
        assert_eq!(runs, 1);
        let other = tools.install("cc", &["2"], |_| Ok(())).unwrap();
        assert!(!other.join("cc").exists(), "other contents are another set");
    }

    #[test]
    fn a_program_that_is_missing_is_not_the_projects_fault() {
        let missing = compile("cc", &mut Command::new("/nowhere/cc")).unwrap_err();
        assert!(!missing.is::<CompilerFailed>() && missing.to_string().contains("/nowhere/cc"), "{missing}");
        assert!(compile("cc", &mut Command::new("false")).unwrap_err().is::<CompilerFailed>());
    }
}
