//! C, C++ and Zig projects: compiles the class and the SDK for C in one call of a compiler, then makes a component of
//! the module.
//!
//! The compiler is that of the WASI SDK if `WASI_SDK_PATH` names one, else Zig's, which contains its own C library.
//! Either one is Clang.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::component;
use super::tools::{Tools, compile};
use crate::cli::project::Project;

const ZIG: &str = "ziglang==0.17.0";
/// `-g` keeps the names of functions, which stacks show.
const FLAGS: [&str; 7] =
    ["-Oz", "-g", "-Wall", "-Wextra", "-fno-strict-aliasing", "-mexec-model=reactor", "-Wl,--gc-sections"];
/// The host's engine does not support WebAssembly's exceptions.
const CPP_FLAGS: [&str; 2] = ["-fno-exceptions", "-fno-rtti"];

/// Builds a C or C++ project. Requires Python 3 and its package index at the first build, unless there is a WASI SDK.
pub fn build(project: &Project) -> anyhow::Result<PathBuf> {
    let sdk = project.sdk()?;
    let source = project.root.join("src");
    let (c, cpp) = (sources(&source, &["c"])?, sources(&source, &["cc", "cpp", "cxx"])?);
    if c.is_empty() && cpp.is_empty() {
        bail!("{} has no sources of C or C++; the class goes into src/main.c or src/main.cpp", project.root.display());
    }
    let work = project.work()?;
    let module = work.join("module.wasm");
    let mut compiler = compiler(project, !cpp.is_empty())?;
    compiler.args(FLAGS).arg("-I").arg(sdk).arg("-o").arg(&module);
    // Paths relative to the project, in messages of `hf_panic`.
    compiler.arg(OsString::from_iter([OsStr::new("-fmacro-prefix-map="), project.root.as_os_str(), OsStr::new("/=")]));
    if !cpp.is_empty() {
        compiler.args(CPP_FLAGS).args(["-x", "c++"]).args(cpp);
    }
    compiler.args(["-x", "c"]).args(c).args(sources(sdk, &["c"])?);
    compile("the C compiler", compiler.current_dir(&project.root))?;
    component::of_file(project, &module)
}

/// Builds a Zig project, like [`build`]. The SDK's header is translated to a Zig module, `holdfast`.
pub fn build_zig(project: &Project) -> anyhow::Result<PathBuf> {
    let (sdk, work) = (project.sdk()?, project.work()?);
    let (translated, module) = (work.join("holdfast.zig"), work.join("module.wasm"));
    let include = || OsString::from_iter([OsStr::new("-I"), sdk.as_os_str()]);
    let target = ["-target", "wasm32-wasi", "-O", "ReleaseSafe"];

    let mut translate = zig(project)?;
    translate.args(["translate-c", "-lc"]).args(&target[..2]).arg(include()).arg(sdk.join("holdfast.h"));
    let output = translate.output().context("cannot run zig")?;
    if !output.status.success() {
        bail!("zig cannot read the SDK's header:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    fs::write(&translated, output.stdout).with_context(|| format!("cannot write {}", translated.display()))?;

    let mut compiler = zig(project)?;
    compiler
        .args(["build-exe", "-lc", "-fno-entry", "-rdynamic", "-fno-strip", "-mexec-model=reactor"])
        .args(target)
        .arg(include());
    compiler.args(sources(sdk, &["c"])?).args(["--dep", "holdfast", "-Mroot=src/main.zig"]).args(target);
    compiler.arg(OsString::from_iter([OsStr::new("-Mholdfast="), translated.as_os_str()]));
    compiler.arg(OsString::from_iter([OsStr::new("-femit-bin="), module.as_os_str()]));
    compile("zig", compiler.current_dir(&project.root))?;
    component::of_file(project, &module)
}

fn compiler(project: &Project, is_cpp: bool) -> anyhow::Result<Command> {
    if let Some(sdk) = std::env::var_os("WASI_SDK_PATH") {
        let mut clang = Command::new(Path::new(&sdk).join(if is_cpp { "bin/clang++" } else { "bin/clang" }));
        clang.arg("--target=wasm32-wasip1");
        return Ok(clang);
    }
    let mut zig = zig(project)?;
    zig.args([if is_cpp { "c++" } else { "cc" }, "-target", "wasm32-wasi"]);
    Ok(zig)
}

fn zig(project: &Project) -> anyhow::Result<Command> {
    let tools = Tools::of(project);
    let mut zig = Command::new(tools.python("zig", ZIG)?.join("python-zig"));
    zig.env("ZIG_GLOBAL_CACHE_DIR", tools.cache("zig")?).env("ZIG_LOCAL_CACHE_DIR", project.work()?.join("zig"));
    Ok(zig)
}

/// Returns the files with these endings in a directory and below it, in a fixed order.
fn sources(directory: &Path, endings: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let read = || format!("cannot read {}", directory.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(read)? {
        let path = entry.with_context(read)?.path();
        match path.extension().and_then(OsStr::to_str) {
            _ if path.is_dir() => found.extend(sources(&path, endings)?),
            Some(ending) if endings.contains(&ending) => found.push(path),
            _ => {}
        }
    }
    found.sort();
    Ok(found)
}
