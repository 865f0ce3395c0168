//! AssemblyScript projects: their own compiler, with the options and the transform that the SDK has for it, then a component of the module.

use std::path::PathBuf;

use super::tools::compile;
use super::{component, npm};
use crate::cli::project::Project;

/// Needs what [`npm::program`] needs. The project's `asconfig.json` names the sources.
pub fn build(project: &Project) -> anyhow::Result<PathBuf> {
    let module = project.work()?.join("module.wasm");
    let mut asc = npm::program(project, "asc")?;
    compile("asc", asc.arg("--outFile").arg(&module))?;
    component::of_file(project, &module)
}
