//! The transcripts of the READMEs, replayed against a fresh host.

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
