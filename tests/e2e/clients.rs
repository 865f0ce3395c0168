//! WebSockets with two public client libraries: the same edge cases in Python and in JavaScript.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::harness::{Host, guest, node, python, root};

#[test]
fn a_python_client() {
    run(python("python"), "python/cases.py");
}

#[test]
fn a_node_client() {
    run(node("node"), "node/cases.mjs");
}

/// Runs a script of cases, which prints one line for each case.
fn run(mut client: Command, script: &str) {
    let host = Host::start();
    host.deploy("sockets", guest("sockets"));
    let url = format!("http://{}", host.data().address());
    client.arg(root().join("tests/clients").join(script)).arg(url);
    let output = client.output().unwrap_or_else(|error| panic!("cannot run {client:?}: {error}"));
    let (said, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}: {}\n{said}{complaints}", output.status);
    println!("{said}");
    let passed = said.lines().filter(|line| line.ends_with(": ok")).count();
    assert_eq!(passed, cases(script).len(), "{script} left some out:\n{said}");
}

/// Returns the names of the cases in a script: the functions that take a room.
fn cases(script: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("tests/clients").join(script)).expect("the script is there");
    let case = |line: &str| {
        let (head, _) = line.trim().split_once("(room):").or_else(|| line.trim().split_once("(room) {"))?;
        let name = head.strip_prefix("def ").or_else(|| head.strip_prefix("async "))?;
        (!name.contains(' ')).then(|| name.to_owned())
    };
    text.lines().filter_map(case).collect()
}

#[test]
fn both_clients_have_the_same_cases() {
    let python = cases("python/cases.py");
    assert!(python.len() >= 15, "{python:?}");
    assert_eq!(python, cases("node/cases.mjs"));
}
