//! `holdfast build`: compiles a project to a component with the tools of its language.
//!
//! One module per language, each with one function `build(&Project)` that returns the component's file. It runs the
//! language's usual compiler, whose messages go to standard error as it prints them, and keeps intermediate files in
//! [`Project::work`]. Missing tools are installed by [`tools`] at versions that this binary pins, from the language's
//! usual registry and into a directory of its own; nothing is installed for the machine or the user. [`component`]
//! turns a core module into a component, inside this process.

mod assemblyscript;
mod c;
mod component;
mod go;
mod javascript;
mod module;
mod npm;
mod python;
mod rust;
pub mod tools;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::project::Project;
use crate::base::ClassName;
use crate::config::Language;

/// Compile a project to a component and print its path.
///
/// The language is that of the project's manifest, or `language` under [build] in holdfast.toml. Missing tools are
/// installed for the project, in .holdfast/tools, or in the directory that HOLDFAST_TOOLS names.
#[derive(clap::Args)]
pub struct Args {
    /// The project's directory.
    #[arg(default_value = ".")]
    project: PathBuf,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let built = build(&args.project)?;
    writeln!(io::stdout(), "{}", built.component.display())?;
    Ok(())
}

/// The result of a build.
#[derive(Debug)]
pub struct Built {
    /// The class of the project.
    pub class: ClassName,
    /// The component's file.
    pub component: PathBuf,
}

/// This program failed to build the project and has written the reason to standard error.
#[derive(Debug, thiserror::Error)]
#[error("{0} could not build the project; see its messages above")]
pub struct CompilerFailed(&'static str);

/// Compiles the project in this directory. Progress and diagnostics go to standard error. If the compiler rejects the
/// project, the error is [`CompilerFailed`].
pub fn build(project: &Path) -> anyhow::Result<Built> {
    let project = Project::open(project)?;
    // Cargo has a lock of its own; concurrent builds of other languages would write into each other's files.
    let _lock = (project.language != Language::Rust).then(|| project.lock()).transpose()?;
    let component = match project.language {
        Language::Rust => rust::build(&project),
        Language::JavaScript | Language::TypeScript => javascript::build(&project),
        Language::AssemblyScript => assemblyscript::build(&project),
        Language::Python => python::build(&project),
        Language::Go => go::build(&project),
        Language::C | Language::Cpp => c::build(&project),
        Language::Zig => c::build_zig(&project),
        Language::Module => module::build(&project),
    }?;
    Ok(Built { class: project.class, component })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by running the tools, so only where there are no sources to compile: the error says what to do.
    #[test]
    fn a_directory_without_a_project_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let error = build(directory.path()).unwrap_err();
        assert!(format!("{error:#}").contains("holdfast new"), "{error:#}");
    }
}
