//! Documents name only files that exist: a mention of a renamed or deleted file is found.

use crate::sources::{Source, assert_none, ending_in, files};

/// The endings of file names that documents are checked for.
const ENDINGS: [&str; 4] = [".rs", ".wit", ".md", ".toml"];
/// Files that users have, not the repository.
const OF_USERS: [&str; 1] = ["holdfast.toml"];

/// Returns the documents about the repository; those of templates are about other places.
fn documents() -> Vec<Source> {
    let is_ours = |path: &str| !path.contains('/') || path.starts_with("docs/") || path.starts_with("examples/");
    ending_in(".md").into_iter().filter(|document| is_ours(&document.path)).collect()
}

fn violations(document: &Source, files: &[String]) -> Vec<String> {
    let mut violations = Vec::new();
    let mut in_block = false;
    for (number, line) in (1..).zip(document.text.lines()) {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        if in_block {
            continue;
        }
        let quoted = line.split('`').skip(1).step_by(2);
        let linked = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for name in quoted.chain(linked).filter(|name| names_a_file(name)) {
            if !exists(name, &document.path, files) {
                violations.push(format!("{}:{number} names {name}, which is not there", document.path));
            }
        }
    }
    violations
}

fn names_a_file(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    name.chars().all(plain)
        && ENDINGS.iter().any(|ending| name.len() > ending.len() && name.ends_with(ending))
        && !OF_USERS.contains(&name)
}

/// Returns whether a file exists by this path from the root or from the document, or by the end of its path:
/// `storage/sql.rs` is enough.
fn exists(name: &str, document: &str, files: &[String]) -> bool {
    let mut place: Vec<&str> = document.split('/').collect();
    place.pop();
    for part in name.split('/') {
        match part {
            "." => {}
            ".." => _ = place.pop(),
            part => place.push(part),
        }
    }
    let (from_document, ending) = (place.join("/"), format!("/{name}"));
    files.iter().any(|file| *file == name || *file == from_document || file.ends_with(&ending))
}

#[test]
fn documents_name_what_exists() {
    let (documents, files) = (documents(), files());
    assert!(documents.iter().any(|document| document.path == "docs/ARCHITECTURE.md"), "the design is documented");
    assert_none(documents.iter().flat_map(|document| violations(document, &files)));
}

#[test]
fn names_of_what_is_gone_are_found() {
    let files = ["README.md", "docs/A.md", "runtime/src/storage/sql.rs", "wit/sql.wit"].map(str::to_owned);
    let count = |text: &str| violations(&Source { path: "docs/B.md".into(), text: text.into() }, &files).len();
    for fine in [
        "`storage/sql.rs`, `sql.rs`, `wit/sql.wit`, `A.md`, `docs/A.md` and [all](../README.md)",
        "`holdfast.toml` and `x.rs is no name` and `.rs`",
        "[elsewhere](https://example.org/x.html)",
        "```\n`gone.rs`\n```",
    ] {
        assert_eq!(count(fine), 0, "{fine}");
    }
    for gone in ["`storage/kv.rs`", "`torage/sql.rs`", "see [it](gone.md)", "```\n```\n`gone.wit`"] {
        assert_eq!(count(gone), 1, "{gone}");
    }
}
