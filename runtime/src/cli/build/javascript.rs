//! JavaScript and TypeScript projects: the SDK's build program bundles the class and takes a picture of an engine that has evaluated it.

use std::path::PathBuf;

use super::npm;
use super::tools::compile;
use crate::cli::project::Project;

/// Needs what [`npm::program`] needs.
pub fn build(project: &Project) -> anyhow::Result<PathBuf> {
    let component = project.component()?;
    // As the SDK's package.json names it.
    let mut program = npm::program(project, "holdfast-build")?;
    compile("holdfast-build", program.arg("--out").arg(&component))?;
    Ok(component)
}
