//! Bodies of many megabytes, again and again on one object: an interpreter must let go of what it no longer needs.

use ureq::http::Method;

use crate::class_of;
use crate::harness::Host;

#[test]
fn large_bodies_again_and_again_in_javascript() {
    echoes("javascript");
}

/// Sends bodies that one object echoes. The instance has 128 MiB; it may not be dropped between two of them.
#[track_caller]
fn echoes(language: &'static str) {
    let host = Host::start();
    host.deploy("conformance", std::fs::read(class_of(language)).expect("it was just built"));
    let count = || host.data().send(Method::POST, "/conformance/a/run", &[], b"count").text().to_owned();
    for (round, mebibytes) in [8_usize; 8].into_iter().chain([24; 8]).chain([32; 2]).enumerate() {
        let body: Vec<u8> = (0..mebibytes << 20).map(|at| (at % 251) as u8).collect();
        let answer = host.data().send(Method::POST, "/conformance/a/echo", &[], &body);
        assert_eq!(answer.status, 200, "{mebibytes} MiB, round {round}: {}", answer.shown());
        assert!(answer.body == body, "{mebibytes} MiB come back as they were");
        assert_eq!(count(), format!("{}\n", round + 1), "the instance is the same");
    }
}
