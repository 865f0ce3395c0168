//! Programs of a project's own npm packages, which are installed when its manifest or its lock file has changed.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use super::tools::run;
use crate::cli::project::Project;

/// Returns a program of one of the packages, to be run in the project's directory. Requires Node.js with npm, and the
/// registry when a package must be installed.
pub fn program(project: &Project, name: &str) -> anyhow::Result<Command> {
    let (root, language) = (&project.root, project.language);
    if !root.join("package.json").is_file() {
        bail!("{} has no package.json; `holdfast new NAME --lang {language}` creates one", root.display());
    }
    install(root, &project.work()?.join("packages"))?;
    let program = root.join("node_modules/.bin").join(name);
    if !program.exists() {
        bail!(
            "the project's packages have no program {name}; write them into package.json as \
             `holdfast new NAME --lang {language}` does it"
        );
    }
    let mut node = Command::new("node");
    node.arg(program).current_dir(root);
    Ok(node)
}

/// Makes npm install the packages of the project's manifest and lock file, unless it has done so for these files.
fn install(root: &Path, marker: &Path) -> anyhow::Result<()> {
    let manifests = ["package.json", "package-lock.json"].map(|file| fs::read(root.join(file)).unwrap_or_default());
    let wanted = hex::encode(Sha256::digest(manifests.concat()));
    if root.join("node_modules").is_dir() && fs::read_to_string(marker).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    // Not `ci`: it refuses a lock file without the optional packages that other systems would need.
    npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(root);
    run(&mut npm).context(
        "npm could not install the project's packages; install Node.js 20 or later with npm, check that the registry can be \
         reached, and try again",
    )?;
    fs::write(marker, wanted).with_context(|| format!("cannot write {}", marker.display()))
}
