//! Projects in any other language: a command of the project creates a module, or the module is hand-written.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

use super::component;
use super::tools::compile;
use crate::cli::project::Project;

/// The first bytes of a binary component; a core module has another version.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// Builds the project. Requires what the project's own command requires.
pub fn build(project: &Project) -> anyhow::Result<PathBuf> {
    if let [program, arguments @ ..] = &*project.build.command {
        let mut command = Command::new(program);
        compile("the command of the project", command.args(arguments).current_dir(&project.root))?;
    }
    let module = project.build.module.as_deref();
    let module = module.context("name the module's file as `module` under [build] in holdfast.toml")?;
    if !module.is_file() {
        bail!("there is no {}; `command` under [build] in holdfast.toml must create it", module.display());
    }
    let built = wat::parse_file(module)?;
    let component = if built.starts_with(COMPONENT) { built } else { component::of_core_module(built)? };
    project.write_component(&component)
}
