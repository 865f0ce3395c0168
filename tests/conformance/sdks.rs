//! The unit tests of the SDKs, each run by its language's usual runner and without a host, and the type check of the
//! SDK for TypeScript.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::class_of;
use crate::harness::guests::{build_project, example_names};
use crate::harness::{nice, root, target};

fn run(sdk: &str, command: &mut Command) {
    run_in(&root().join("guest-sdk").join(sdk), command);
}

fn run_in(directory: &Path, command: &mut Command) {
    let mut command = nice(command.current_dir(directory));
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}:\n{said}");
}

#[test]
fn unit_tests_of_the_sdk_for_javascript() {
    run("javascript", Command::new("npm").args(["test", "--silent"]));
}

/// Checks types, which a build only strips. The compiler is among a project's packages, which a build installs.
fn has_right_types(project: &Path) {
    run_in(project, Command::new("npm").args(["run", "check", "--silent"]));
}

#[test]
fn types_of_the_class_in_typescript() {
    class_of("typescript");
    has_right_types(&root().join("tests/conformance/typescript"));
}

#[test]
fn types_of_the_examples_in_typescript() {
    let examples = example_names().into_iter().map(|name| root().join("examples").join(name));
    let typed: Vec<_> = examples.filter(|example| example.join("tsconfig.json").is_file()).collect();
    assert!(!typed.is_empty(), "there is an example in TypeScript");
    for example in typed {
        build_project(&example).unwrap_or_else(|output| panic!("{} is not built:\n{output}", example.display()));
        has_right_types(&example);
    }
}

#[test]
fn unit_tests_of_the_sdk_for_assemblyscript() {
    // The compiler is among the packages of the class of the conformance suite.
    class_of("assemblyscript");
    let tests = root().join("guest-sdk/assemblyscript/tests/text.test.mjs");
    run_in(&root().join("tests/conformance/assemblyscript"), Command::new("node").arg("--test").arg(tests));
}

#[test]
fn unit_tests_of_the_sdk_for_python() {
    run("python", Command::new("python3").args(["-B", "-m", "unittest"]));
}

#[test]
fn unit_tests_of_the_sdk_for_go() {
    // The Go that builds classes; this installs one where there is none.
    class_of("go");
    let cache = target().join("tools/cache");
    let mut go = Command::new(installed_go().unwrap_or("go".into()));
    run("go", go.args(["test", "./..."]).env("GOCACHE", cache.join("go-build")).env("GOPATH", cache.join("go")));
}

fn installed_go() -> Option<PathBuf> {
    let tools = std::fs::read_dir(target().join("tools")).ok()?.flatten().map(|entry| entry.path());
    tools.map(|tool| tool.join("bin/go")).find(|go| go.is_file())
}
