//! The rules about text: every source file opens with its contract, has at most 600 lines, comments of at
//! most 120 columns, and no leftover debugging code or notes.

use crate::sources::{Source, assert_none, rust};

/// The most lines of a file. A longer one has more than one subject.
const LINES_MAX: usize = 600;
/// The most columns of a line with a comment. Rows of tables and code in documentation cannot be wrapped.
const COLUMNS_MAX: usize = 120;
/// Text that must not be committed. Concatenated here so that this file does not violate the rule itself.
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
    let of_runtime = path.starts_with("runtime/src/") || !path.contains('/');
    let told_twice = told_twice(text).filter(|_| of_runtime);
    violations.extend(told_twice.map(|message| format!("{path}: {message} tells its source, which is told again")));
    for (number, line) in (1..).zip(text.lines()) {
        let left_over = LEFT_OVER.iter().filter(|what| line.contains(**what));
        violations.extend(left_over.map(|what| format!("{path}:{number} has a {what}")));
    }
    let too_wide = too_wide(text).map(|number| format!("{path}:{number} has a comment of over {COLUMNS_MAX} columns"));
    violations.extend(too_wide);
    violations
}

/// Returns the numbers of lines whose comment is too wide.
fn too_wide(text: &str) -> impl Iterator<Item = usize> {
    let mut in_code = false;
    (1..).zip(text.lines()).filter_map(move |(number, line)| {
        let comment = line.trim_start().strip_prefix("//")?.trim_start_matches(['/', '!']).trim_start();
        in_code ^= comment.starts_with("```");
        (!in_code && !comment.starts_with('|') && line.chars().count() > COLUMNS_MAX).then_some(number)
    })
}

/// Returns messages of errors that contain their source. Printing an error with its chain of sources would print that
/// twice, so a message has its cause in a field named `cause`, or has a source, not both.
fn told_twice(text: &str) -> impl Iterator<Item = &str> {
    let messages = text.split("#[error(").skip(1).filter_map(|rest| Some(&rest[..rest.find(")]")?]));
    let after = text.split("#[error(").skip(1).map(|rest| rest.lines().nth(1).unwrap_or_default());
    messages
        .zip(after)
        .filter(|(message, item)| {
            let from = item.contains("#[from]") || item.contains("#[source]");
            message.contains("{source}") || (from && !message.contains("transparent"))
        })
        .map(|(message, _)| message)
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
    let wide = "word ".repeat(COLUMNS_MAX / 5);
    assert_eq!(count(format!("//! Contract.\n/// {wide}\nfn f() {{}} // {wide}\n")), 1);
    assert_eq!(count(format!("//! Contract.\n//! | {wide} |\n//! ```\n//! {wide}\n//! ```\n")), 0);
    let error = |message: &str, item: &str| format!("//! Contract.\n#[error({message})]\n{item}\n");
    assert_eq!(count(error("\"no: {source}\"", "A { source: E },")), 1);
    assert_eq!(count(error("\"no: {0}\"", "A(#[from] E),")), 1);
    assert_eq!(count(error("transparent", "A(#[from] E),")), 0);
    assert_eq!(count(error("\"no: {cause}\"", "A { cause: E },")), 0);
}
