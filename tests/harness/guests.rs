//! The guests: compiled once per run from `tests/guests` and `examples`, those in Rust with the toolchain that runs the
//! tests, others with `holdfast build`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::{holdfast, nice, root, target};

const TARGET: &str = "wasm32-wasip2";

/// Returns the component of a directory of `tests/guests` or `examples`.
pub fn guest(name: &str) -> Vec<u8> {
    fs::read(guest_file(name)).expect("Cargo has just written it")
}

/// Returns the path of the component.
pub fn guest_file(name: &str) -> PathBuf {
    let example = root().join("examples").join(name);
    if example.is_dir() && !example.join("Cargo.toml").is_file() {
        return build_project(&example).unwrap_or_else(|output| panic!("{name} is not built:\n{output}"));
    }
    let package = if root().join("tests/guests").join(name).is_dir() { package(name) } else { name.to_owned() };
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    if let Err(output) = BUILT.get_or_init(build) {
        panic!("the guests do not compile:\n{output}");
    }
    target().join(TARGET).join("guest").join(package.replace('-', "_")).with_extension("wasm")
}

/// Runs `holdfast build` on a project and returns the component's file, or the output of the command. Installed tools
/// are kept from run to run, with all other build output.
pub fn build_project(project: &Path) -> Result<PathBuf, String> {
    let mut command = nice(&holdfast(&["build", project.to_str().expect("paths are text")]));
    command.env("HOLDFAST_TOOLS", target().join("tools")).env("CARGO_TARGET_DIR", target());
    let output = command.output().expect("the program starts");
    match output.status.success() {
        true => Ok(PathBuf::from(String::from_utf8(output.stdout).expect("paths are text").trim())),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Returns the names of the examples, in all languages.
pub fn example_names() -> Vec<String> {
    directories_with("holdfast.toml", &root().join("examples"))
}

fn guest_names() -> Vec<String> {
    directories_with("Cargo.toml", &root().join("tests/guests"))
}

fn directories_with(file: &str, directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("the directory is there").map(|entry| entry.expect("it can be read"));
    let packages = entries.filter(|entry| entry.path().join(file).is_file());
    let mut names: Vec<_> = packages.map(|entry| entry.file_name().into_string().expect("names are text")).collect();
    names.sort();
    names
}

fn package(guest: &str) -> String {
    format!("guest-{guest}")
}

/// Compiles all guests in one call, so that shared dependencies are compiled once. Errors are the messages of the
/// compiler.
fn build() -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    add_target()?;
    let mut command = nice(&Command::new(cargo));
    command.args(["build", "--quiet", "--profile", "guest", "--target", TARGET]);
    let examples = directories_with("Cargo.toml", &root().join("examples"));
    for package in guest_names().iter().map(|guest| package(guest)).chain(examples) {
        command.args(["-p", &package]);
    }
    run(command.current_dir(root()).env("CARGO_TARGET_DIR", target()))
}

fn add_target() -> Result<(), String> {
    let printed =
        Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).current_dir(root()).output();
    let printed = printed.map_err(|error| format!("cannot run rustc: {error}"))?;
    match Path::new(String::from_utf8_lossy(&printed.stdout).trim()).is_dir() {
        true => Ok(()),
        false => run(Command::new("rustup").args(["target", "add", TARGET]).current_dir(root())),
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// A guest is a test program: one that no test uses proves nothing.
#[test]
fn every_guest_is_used_by_a_story() {
    let stories = ["tests/e2e", "tests/crash", "tests/hostile"]
        .map(|directory| fs::read_dir(root().join(directory)).expect("it is there"));
    let sources: String =
        stories.into_iter().flatten().flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect();
    let is_used = |name: &String| sources.contains(&format!("guest(\"{name}\")"));
    let unused: Vec<_> = guest_names().into_iter().filter(|name| !is_used(name)).collect();
    assert_eq!(unused, Vec::<String>::new(), "guests that no story deploys");
}
