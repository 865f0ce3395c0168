//! The tools that tests need besides Rust: clients in other languages, and a browser.
//!
//! Libraries are installed under Cargo's target directory, once for each content of their lock file, as the lock file
//! pins them. Node, Python and, unless `apt-get` may install it, Chromium must be on the machine; a test reports a
//! missing one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast_runtime::cli::build::tools::Tools;

use super::{root, target};

const CHROMIUM: &str = "/usr/bin/chromium";

/// Returns Python with the libraries that `requirements.txt` of a directory in `tests/clients` pins.
pub fn python(directory: &str) -> Command {
    let requirements = fs::read_to_string(clients(directory).join("requirements.txt")).expect("the file is there");
    let programs = tools().python(directory, &requirements);
    Command::new(programs.unwrap_or_else(|error| panic!("this test needs {directory}: {error:#}")).join("python"))
}

/// Returns Node, whose `require` finds the packages that `package-lock.json` of a directory in `tests/clients` pins.
pub fn node(directory: &str) -> Command {
    let source = clients(directory);
    let lock = fs::read_to_string(source.join("package-lock.json")).expect("the file is there");
    let packages = tools().install(directory, &[&lock], |to| {
        for file in ["package.json", "package-lock.json"] {
            fs::copy(source.join(file), to.join(file))?;
        }
        let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
        run("npm of Node.js 20 or newer", Command::new("npm").args(arguments).current_dir(to));
        Ok(())
    });
    let mut node = Command::new("node");
    node.env("NODE_PATH", packages.expect("the target directory can be written").join("node_modules"));
    node
}

/// Installs Chromium where `tests/clients/browser` looks for it, unless it is there.
pub fn chromium() {
    // Other threads and processes wait.
    let lock = File::create(target().join("chromium.lock")).expect("the target directory can be written");
    lock.lock().expect("files can be locked");
    if Path::new(CHROMIUM).exists() {
        return;
    }
    let apt = |arguments: &[&str]| {
        let is_root = rustix::process::geteuid().is_root();
        let mut words = if is_root { vec![] } else { vec!["sudo", "-n"] };
        words.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]);
        words.extend(arguments);
        run(
            &format!("Chromium as {CHROMIUM}, which apt-get would install here"),
            Command::new(words[0]).args(&words[1..]),
        );
    };
    apt(&["update"]);
    apt(&["install", "-y", "--no-install-recommends", "chromium"]);
}

fn clients(directory: &str) -> PathBuf {
    root().join("tests/clients").join(directory)
}

/// Returns a directory that is kept from run to run, with all other build output.
fn tools() -> Tools {
    Tools::at(target().join("tools"))
}

fn run(needs: &str, command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("this test needs {needs}: {command:?}: {error}"));
    let (said, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "this test needs {needs}: {command:?}: {}\n{said}{complaints}", output.status);
}
