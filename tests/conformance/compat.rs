//! Classes written for Durable Objects give equal answers on workerd and on Holdfast: `tests/compat/javascript`
//! compares both.

use std::process::Command;

use crate::harness::root;

#[test]
fn classes_for_durable_objects_give_equal_answers_here_and_on_workerd() {
    let directory = root().join("tests/compat/javascript");
    let run = |command: &mut Command| {
        let output = command.current_dir(&directory).output().expect("Node.js 20 with npm is on the machine");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{command:?}:\n{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    run(Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]));
    run(Command::new("npm").args(["run", "check", "--silent"]));
    let said = run(Command::new("node").args(["run.mjs", "--holdfast", env!("CARGO_BIN_EXE_holdfast")]));
    assert!(said.contains("all answers are equal") && said.contains("ok "), "{said}");
}
