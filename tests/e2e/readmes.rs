//! The README files are correct: their transcripts are replayed against a fresh host, and the programs in the README of
//! the repository are those that tests build.

use std::fs;

use crate::harness::{Host, example_names, guest, root};
use crate::transcript::replay;

#[test]
fn the_transcript_of_every_example_is_true() {
    for example in example_names() {
        let readme = root().join("examples").join(&example).join("README.md");
        let document = fs::read_to_string(&readme).unwrap_or_else(|error| panic!("{}: {error}", readme.display()));
        let host = Host::start();
        host.deploy(&example, guest(&example));
        let steps = replay(&document, host.data()).unwrap_or_else(|error| panic!("{}: {error}", readme.display()));
        assert!(steps > 0, "{} has no transcript", readme.display());
    }
}

#[test]
fn the_transcript_of_the_readme_is_true() {
    let document = fs::read_to_string(root().join("README.md")).expect("there is a README");
    let host = Host::start();
    let is_shown = |example: &String| document.contains(&format!("127.0.0.1:8787/{example}/"));
    for example in example_names().into_iter().filter(is_shown) {
        host.deploy(&example, guest(&example));
    }
    replay(&document, host.data()).unwrap_or_else(|error| panic!("README.md: {error}"));
}

/// Returns the first block of a language in a document.
fn shown(document: &str, language: &str) -> String {
    let fence = format!("```{language}\n");
    let (_, block) = document.split_once(&fence).unwrap_or_else(|| panic!("README.md shows a program in {language}"));
    block.split("```").next().unwrap_or_default().trim().into()
}

/// Returns a program without its comments, which have lines of their own.
fn without_comments(program: &str) -> String {
    let lines =
        program.lines().filter(|line| !line.trim_start().starts_with("//") && !line.trim_start().starts_with("/**"));
    lines.collect::<Vec<_>>().join("\n").trim().into()
}

/// `the_transcript_of_the_readme_is_true` runs the example, `a_new_project_in_typescript` builds and runs the template.
#[test]
fn the_programs_of_the_readme_are_those_that_tests_build() {
    let read = |file: &str| fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let document = read("README.md");
    for (language, program) in
        [("rust", "examples/counter/src/lib.rs"), ("ts", "runtime/templates/typescript/src/index.ts.template")]
    {
        assert_eq!(shown(&document, language), without_comments(&read(program)), "README.md and {program}");
    }
}
