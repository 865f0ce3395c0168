//! AssemblyScript projects: runs the project's own compiler with the options and the transform of the SDK, then makes a
//! component of the module.

use std::path::PathBuf;

use super::tools::compile;
use super::{component, npm};
use crate::cli::project::Project;

/// Builds the project. Requires what [`npm::program`] requires. The project's `asconfig.json` names the sources.
pub fn build(project: &Project) -> anyhow::Result<PathBuf> {
    let module = project.work()?.join("module.wasm");
    let mut asc = npm::program(project, "asc")?;
    compile("asc", asc.arg("--outFile").arg(&module))?;
    component::of_file(project, &module)
}
