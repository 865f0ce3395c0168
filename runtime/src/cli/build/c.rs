//! C projects: all of `src/` and the SDK in one call of a C compiler, then a component of the module.
//!
//! The compiler is that of the WASI SDK if `WASI_SDK_PATH` names one, else Zig's, which brings its own C library. Either way it
//! is Clang.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::tools::{Tools, compile};
use super::component;
use crate::cli::project::Project;

const ZIG: &str = "ziglang==0.17.0";
const FLAGS: [&str; 8] =
    ["-std=gnu11", "-Oz", "-Wall", "-Wextra", "-mexec-model=reactor", "-Wl,--gc-sections", "-Wl,--strip-all", "-fno-strict-aliasing"];

/// Needs Python 3 and its package index, the first time, unless there is a WASI SDK.
pub fn build(project: &Project) -> anyhow::Result<PathBuf> {
    let sdk = project.sdk()?;
    let sources = sources(&project.root.join("src"))?;
    if sources.is_empty() {
        bail!("{} has no C sources; the class goes into src/main.c", project.root.display());
    }
    let work = project.work()?;
    let module = work.join("module.wasm");
    let mut compiler = compiler(project)?;
    compiler.args(FLAGS).arg("-I").arg(sdk).args(sources).args(self::sources(sdk)?).arg("-o").arg(&module);
    compile("the C compiler", compiler.current_dir(&project.root))?;

    let built = fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
    project.write_component(&component::of_core_module(built)?)
}

fn compiler(project: &Project) -> anyhow::Result<Command> {
    if let Some(sdk) = std::env::var_os("WASI_SDK_PATH") {
        let mut clang = Command::new(Path::new(&sdk).join("bin/clang"));
        clang.arg("--target=wasm32-wasip1");
        return Ok(clang);
    }
    let tools = Tools::of(project);
    let mut zig = Command::new(tools.python("zig", ZIG)?.join("python-zig"));
    zig.args(["cc", "-target", "wasm32-wasi"]);
    zig.env("ZIG_GLOBAL_CACHE_DIR", tools.cache("zig")?).env("ZIG_LOCAL_CACHE_DIR", project.work()?.join("zig"));
    Ok(zig)
}

/// The C files of a directory and of those in it, in a fixed order.
fn sources(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", directory.display()))?.path();
        match path.extension().and_then(OsStr::to_str) {
            _ if path.is_dir() => found.extend(sources(&path)?),
            Some("c") => found.push(path),
            _ => {}
        }
    }
    found.sort();
    Ok(found)
}
