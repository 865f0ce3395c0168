//! The rules about text: every source file opens with its contract, is short enough to read, and has nothing left over.

use crate::sources::{Source, assert_none, rust};

/// Longer than this, a file has a second idea in it.
const LINES_MAX: usize = 600;
/// What is not meant to stay. Put together here so that this file is not a violation of itself.
const LEFT_OVER: [&str; 5] =
    [concat!("dbg", "!("), concat!("todo", "!("), concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

fn violations(source: &Source) -> Vec<String> {
    let Source { path, text } = source;
    let mut violations = Vec::new();
    if !text.starts_with("//! ") {
        violations.push(format!("{path} does not open with its contract (`//! …`)"));
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        violations.push(format!("{path} has {lines} lines; find the second idea in it"));
    }
    for (number, line) in (1..).zip(text.lines()) {
        let left_over = LEFT_OVER.iter().filter(|what| line.contains(**what));
        violations.extend(left_over.map(|what| format!("{path}:{number} has a {what}")));
    }
    violations
}

#[test]
fn source_files_are_tidy() {
    assert_none(rust().iter().flat_map(violations));
}

#[test]
fn untidy_files_are_found() {
    let count = |text: String| violations(&Source { path: "a.rs".into(), text }).len();
    assert_eq!(count("//! Contract.\nfn f() {}\n".into()), 0);
    assert_eq!(count("fn f() {}\n".into()), 1);
    assert_eq!(count(format!("//! Contract.\n{}", "\n".repeat(LINES_MAX))), 1);
    assert_eq!(count(format!("//! Contract.\n// {} later\n", LEFT_OVER[2])), 1);
}
