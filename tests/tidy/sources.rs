//! The files of the repository that the rules read: everything except the output of tools.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file by its path from the root of the repository, with `/`.
pub struct Source {
    pub path: String,
    pub text: String,
}

/// Returns the root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the repository").into()
}

/// Returns the paths of all files, sorted.
pub fn files() -> Vec<String> {
    let mut files = Vec::new();
    let mut directories = vec![root()];
    while let Some(directory) = directories.pop() {
        for entry in
            fs::read_dir(&directory).expect("a directory can be read").map(|entry| entry.expect("and its entries"))
        {
            let name = entry.file_name();
            let kind = entry.file_type().expect("an entry has a kind");
            if kind.is_dir() && !["target", ".git", ".holdfast", "node_modules"].iter().any(|other| name == *other) {
                directories.push(entry.path());
            } else if kind.is_file() {
                let path = entry.path();
                let path = path.strip_prefix(root()).expect("it is below the root");
                files.push(path.to_str().expect("paths are text").to_owned());
            }
        }
    }
    files.sort();
    files
}

/// Returns all files whose path ends with this text.
pub fn ending_in(end: &str) -> Vec<Source> {
    let read = |path: String| Source { text: fs::read_to_string(root().join(&path)).expect("a source is text"), path };
    files().into_iter().filter(|path| path.ends_with(end)).map(read).collect()
}

/// Returns all Rust sources.
pub fn rust() -> Vec<Source> {
    let sources = ending_in(".rs");
    for place in ["runtime/src/", "guest-sdk/", "examples/", "tests/guests/", "tests/e2e/"] {
        assert!(sources.iter().any(|source| source.path.starts_with(place)), "no sources in {place}");
    }
    sources
}

/// Panics with all violations, if there are any.
#[track_caller]
pub fn assert_none(violations: impl IntoIterator<Item = String>) {
    let violations: Vec<String> = violations.into_iter().collect();
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}
