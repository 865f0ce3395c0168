//! Rust projects: runs the user's own Cargo, for a target whose modules are already components.
//!
//! Cargo prints its diagnostics itself, on standard error; this module reads only its list of artifacts.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::Deserialize;

use super::CompilerFailed;
use crate::cli::project::Project;

/// rustc emits preview 2 components for this target.
const TARGET: &str = "wasm32-wasip2";

/// Builds the project. Requires Cargo, and the network when dependencies or the target must be fetched.
pub fn build(project: &Project) -> anyhow::Result<PathBuf> {
    ensure_target(&project.root)?;
    let mut cargo = Command::new(tool("CARGO", "cargo"))
        .args(["build", "--lib", "--target", TARGET, "--profile", &project.build.profile])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(&project.root)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo; install Rust from https://rustup.rs")?;
    let messages = BufReader::new(cargo.stdout.take().expect("cargo's output is piped"));
    let component = find_component(messages, &project.root.join("Cargo.toml"));
    if !cargo.wait().context("cannot wait for cargo")?.success() {
        return Err(CompilerFailed("cargo").into());
    }
    component.context("cannot read cargo's messages")?.with_context(|| {
        let manifest = project.root.join("Cargo.toml");
        format!("{} makes no component; add `crate-type = [\"cdylib\"]` under [lib]", manifest.display())
    })
}

/// Cargo passes the tools that it uses to the programs that it runs.
fn tool(variable: &str, name: &str) -> OsString {
    std::env::var_os(variable).unwrap_or_else(|| name.into())
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// Returns the `.wasm` file of the package with this manifest. Reads to the end, so that Cargo never blocks.
fn find_component(messages: impl BufRead, manifest: &Path) -> io::Result<Option<PathBuf>> {
    let mut component = None;
    for line in messages.lines() {
        let line = line?;
        // Build scripts and macros may print lines of their own.
        let Ok(message) = serde_json::from_str::<Message>(&line) else { continue };
        if message.reason == "compiler-artifact" && is_same(&message.manifest_path, manifest) {
            component =
                message.filenames.into_iter().find(|file| file.extension() == Some("wasm".as_ref())).or(component);
        }
    }
    Ok(component)
}

fn is_same(a: &Path, b: &Path) -> bool {
    a == b || a.canonicalize().is_ok_and(|a| a == b)
}

/// Adds the target's standard library to the toolchain that the project uses, if it is missing.
fn ensure_target(root: &Path) -> anyhow::Result<()> {
    let libraries = Command::new(tool("RUSTC", "rustc"))
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(root)
        .output()
        .context("cannot run rustc; install Rust from https://rustup.rs")?;
    let directory = String::from_utf8_lossy(&libraries.stdout);
    if libraries.status.success() && Path::new(directory.trim_end()).is_dir() {
        return Ok(());
    }
    note!("adding the target {TARGET} to the Rust toolchain");
    let status =
        Command::new("rustup").args(["target", "add", TARGET]).current_dir(root).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => bail!("rustup could not add the target {TARGET}; see its messages above, then try again"),
        Err(_) => bail!(
            "the Rust toolchain has no {TARGET} and there is no rustup to add it; install rustup from https://rustup.rs, \
             or the package of your system that has Rust's standard library for {TARGET}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(manifest: &str, files: &str) -> String {
        format!(r#"{{"reason":"compiler-artifact","manifest_path":"{manifest}","target":{{}},"filenames":[{files}]}}"#)
    }

    fn find(lines: &[String]) -> Option<PathBuf> {
        find_component(lines.join("\n").as_bytes(), Path::new("/p/Cargo.toml")).unwrap()
    }

    #[test]
    fn the_component_is_the_wasm_file_of_the_project_itself() {
        let lines = [
            artifact("/dep/Cargo.toml", r#""/t/dep.wasm""#),
            "a build script speaks".into(),
            artifact("/p/Cargo.toml", r#""/t/build-script""#),
            artifact("/p/Cargo.toml", r#""/t/libp.rlib","/t/p.wasm""#),
            r#"{"reason":"build-finished","success":true}"#.into(),
        ];
        assert_eq!(find(&lines), Some("/t/p.wasm".into()));
        assert_eq!(find(&lines[..3]), None);
    }
}
