//! The SDKs' own unit tests, each run by its language's usual runner and without a host.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::guests::build_project;
use crate::harness::{root, target};

fn run(sdk: &str, command: &mut Command) {
    let output = command.current_dir(root().join("guest-sdk").join(sdk)).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}:\n{said}");
}

#[test]
fn unit_tests_of_the_sdk_for_javascript() {
    run("javascript", Command::new("npm").args(["test", "--silent"]));
}

#[test]
fn unit_tests_of_the_sdk_for_python() {
    run("python", Command::new("python3").args(["-B", "-m", "unittest"]));
}

#[test]
fn unit_tests_of_the_sdk_for_go() {
    // Whichever Go builds classes; this installs one where there is none.
    build_project(&root().join("tests/kit/go")).expect("the class of the kit is built");
    let cache = target().join("tools/cache");
    let mut go = Command::new(installed_go().unwrap_or("go".into()));
    run("go", go.args(["test", "./..."]).env("GOCACHE", cache.join("go-build")).env("GOPATH", cache.join("go")));
}

fn installed_go() -> Option<PathBuf> {
    let tools = std::fs::read_dir(target().join("tools")).ok()?.flatten().map(|entry| entry.path());
    tools.map(|tool| tool.join("bin/go")).find(|go| go.is_file())
}
