//! What stories need besides Rust: clients in other languages, and a browser.
//!
//! Libraries are installed under Cargo's target directory, once for each content of their lock file, as the lock file says. Node, Python
//! and, unless `apt-get` may install it, Chromium have to be on the machine; a test that misses one says so.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::{root, target};

const CHROMIUM: &str = "/usr/bin/chromium";

/// Python with the libraries that `requirements.txt` of a directory in `tests/clients` pins.
pub fn python(directory: &str) -> Command {
    let requirements = clients(directory).join("requirements.txt");
    let there = installed(directory, &requirements, |to| {
        run("Python 3 with its module venv", Command::new("python3").args(["-m", "venv"]).arg(to));
        let mut pip = Command::new(to.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", "-r"]);
        run("pip", pip.arg(&requirements));
    });
    Command::new(there.join("bin/python"))
}

/// Node, whose `require` finds the packages that `package-lock.json` of a directory in `tests/clients` pins.
pub fn node(directory: &str) -> Command {
    let source = clients(directory);
    let there = installed(directory, &source.join("package-lock.json"), |to| {
        fs::create_dir_all(to).expect("the directory can be made");
        for file in ["package.json", "package-lock.json"] {
            fs::copy(source.join(file), to.join(file)).expect("the file can be copied");
        }
        let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
        run("npm of Node.js 20 or newer", Command::new("npm").args(arguments).current_dir(to));
    });
    let mut node = Command::new("node");
    node.env("NODE_PATH", there.join("node_modules"));
    node
}

/// Sees to it that there is a Chromium where `tests/clients/browser` looks for it.
pub fn chromium() {
    let _lock = lock("chromium");
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

/// The directory with what `install` makes of this lock file; it is called once, whoever else asks at the same time.
fn installed(name: &str, lock_file: &Path, install: impl FnOnce(&Path)) -> PathBuf {
    let digest = hex::encode(Sha256::digest(fs::read(lock_file).expect("the lock file is there")));
    let name = format!("{name}-{}", &digest[..12]);
    let directory = tools().join(&name);
    let _lock = lock(&name);
    let complete = directory.join("complete");
    if !complete.exists() {
        // What is there was not finished.
        let _ = fs::remove_dir_all(&directory);
        install(&directory);
        File::create(complete).expect("the directory can be written");
    }
    directory
}

/// Held until it is dropped; other threads and processes wait.
fn lock(name: &str) -> File {
    fs::create_dir_all(tools()).expect("the target directory can be written");
    let file = File::create(tools().join(name).with_extension("lock")).expect("the directory can be written");
    file.lock().expect("files can be locked");
    file
}

fn tools() -> PathBuf {
    target().join("tools")
}

fn run(needs: &str, command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("this test needs {needs}: {command:?}: {error}"));
    let (said, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "this test needs {needs}: {command:?}: {}\n{said}{complaints}", output.status);
}
