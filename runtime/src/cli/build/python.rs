//! Python projects: runs the SDK's own build program, in an environment with its requirements and the project's. The
//! program runs componentize-py, which takes a snapshot of an interpreter that has imported the class.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use super::tools::{Tools, compile};
use crate::cli::project::Project;

const REQUIREMENTS: &str = "requirements.txt";

/// Builds the project. Requires Python 3, and the package index when a package must be installed.
pub fn build(project: &Project) -> anyhow::Result<PathBuf> {
    let sdk = project.sdk()?;
    let read = |file: PathBuf| match fs::read_to_string(&file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot read {}", file.display()))
        }
        text => Ok(text.unwrap_or_default()),
    };
    let requirements = read(sdk.join(REQUIREMENTS))? + "\n" + &read(project.root.join(REQUIREMENTS))?;
    let programs = Tools::of(project).python("python", &requirements)?;

    let component = project.component()?;
    let mut python = Command::new(programs.join("python"));
    python.args(["-m", "holdfast.build"]).arg(&project.root).arg("--output").arg(&component);
    // Compiled files beside the sources would be changes to a watcher of the sources.
    python.env("PYTHONPATH", sdk).env("PYTHONDONTWRITEBYTECODE", "1").current_dir(&project.root);
    compile("python", &mut python)?;
    Ok(component)
}
