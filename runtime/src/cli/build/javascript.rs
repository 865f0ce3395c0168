//! JavaScript and TypeScript projects: the SDK's build program bundles the class and takes a snapshot of an engine that
//! has evaluated it.

use std::path::PathBuf;

use super::npm;
use super::tools::compile;
use crate::cli::project::Project;

/// Builds the project. Requires what [`npm::program`] requires.
pub fn build(project: &Project) -> anyhow::Result<PathBuf> {
    let component = project.component()?;
    // The name in the SDK's package.json.
    let mut program = npm::program(project, "holdfast-build")?;
    compile("holdfast-build", program.arg("--out").arg(&component))?;
    Ok(component)
}
