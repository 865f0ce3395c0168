//! JavaScript and TypeScript projects: the project's own npm packages, among them the SDK with its build program, which bundles
//! the class and takes a picture of an engine that has evaluated it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use super::tools::{compile, run};
use crate::cli::project::Project;

/// As the SDK's package.json names it.
const PROGRAM: &str = "node_modules/.bin/holdfast-build";

/// Needs Node.js with npm, and the registry when a package has to be installed.
pub fn build(project: &Project) -> anyhow::Result<PathBuf> {
    if !project.root.join("package.json").is_file() {
        bail!("{} has no package.json; `holdfast new NAME --lang javascript` makes one", project.root.display());
    }
    let work = project.work()?;
    install(&project.root, &work.join("packages"))?;
    let program = project.root.join(PROGRAM);
    if !program.exists() {
        bail!("the project's packages have no {PROGRAM}; add the SDK to package.json, as `holdfast new` does it");
    }
    let component = project.component()?;
    let mut node = Command::new("node");
    node.arg(program).arg("--out").arg(&component).current_dir(&project.root);
    compile("holdfast-build", &mut node)?;
    Ok(component)
}

/// Has npm install what the project's manifest and lock say, unless it was done for these.
fn install(root: &Path, marker: &Path) -> anyhow::Result<()> {
    let manifests = ["package.json", "package-lock.json"].map(|file| fs::read(root.join(file)).unwrap_or_default());
    let wanted = hex::encode(Sha256::digest(manifests.concat()));
    if root.join("node_modules").is_dir() && fs::read_to_string(marker).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    // Not `ci`: it refuses a lock without the optional packages that other systems would need.
    npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(root);
    run(&mut npm).context(
        "npm could not install the project's packages; install Node.js 20 or later with npm, check that the registry can be \
         reached, and try again",
    )?;
    fs::write(marker, wanted).with_context(|| format!("cannot write {}", marker.display()))
}
