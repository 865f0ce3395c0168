//! Log entries of guests reach their operators: levels, fields, output, panics, also of turns that failed.

use serde_json::{Value as Json, json};

use crate::harness::{Host, guest};

fn host() -> Host {
    let host = Host::start();
    host.deploy("logger", guest("logger"));
    host
}

fn entries(host: &Host, query: &str) -> Vec<Json> {
    let answer = host.admin().get(&format!("/v1/logs{query}")).json();
    answer["entries"].as_array().expect("a list").clone()
}

/// Returns `level message` of an entry.
fn said(entry: &Json) -> String {
    format!("{} {}", entry["level"].as_str().unwrap(), entry["message"].as_str().unwrap())
}

#[test]
fn each_entry_names_the_call_whose_turn_it_is_about() {
    let host = host();
    let call_of = |entry: &Json| entry["call"].as_str().expect("each has one").to_owned();
    for turn in 1..=2 {
        assert_eq!(host.get("/logger/ann").text(), "logged");
        let calls: Vec<_> = entries(&host, "").iter().map(call_of).collect();
        let different: std::collections::BTreeSet<_> = calls.iter().collect();
        assert_eq!(different.len(), turn, "{calls:?}");
        assert!(calls.len() > turn && calls.iter().all(|call| call.len() == 32), "{calls:?}");
    }
}

#[test]
fn every_way_to_say_something_is_an_entry() {
    let host = host();
    assert_eq!(host.get("/logger/ann").text(), "logged");
    let entries = entries(&host, "");
    let said: Vec<_> = entries.iter().map(said).collect();
    let expected = [
        "trace a trace",
        "debug a detail",
        "info news",
        "warn a warning",
        "error an error",
        "info to standard output",
        "warn to standard error",
    ];
    assert_eq!(said, expected);
    assert!(entries.iter().all(|entry| entry["class"] == "logger" && entry["object"] == "ann"), "{entries:?}");
    assert_eq!(entries[2]["fields"], json!([["step", "3"], ["who", "ann"]]));
    assert!(entries.iter().map(|entry| entry["time"].as_u64()).is_sorted());
}

#[test]
fn a_failed_turn_keeps_its_entries() {
    let host = host();
    host.get("/logger/ann/fail").problem(500, "guest-error");
    host.get("/logger/ann/panic").problem(500, "guest-trap");
    let entries = entries(&host, "");
    let expected = ["warn about to fail", "error GET /fail failed: as asked", "warn about to panic"];
    assert_eq!([0, 1, 2].map(|n| said(&entries[n])), expected);
    let panic = said(&entries[3]);
    assert!(
        panic.starts_with("error GET /panic failed: ")
            && panic.contains("lib.rs")
            && panic.ends_with(": told to panic"),
        "{panic}"
    );
    assert_eq!(entries.len(), 4, "each failure is one entry");
}

#[test]
fn one_turn_cannot_push_the_others_out() {
    let host = host();
    assert_eq!(host.get("/logger/ann/many?n=1500").text(), "logged");
    let entries = entries(&host, "");
    assert_eq!(entries.len(), 1_001);
    assert_eq!(said(&entries[999]), "info entry 999");
    assert!(said(&entries[1_000]).starts_with("warn 500 more"), "{}", said(&entries[1_000]));
}

#[test]
fn entries_are_found_by_class_and_object() {
    let host = host();
    host.deploy("other", guest("logger"));
    for path in ["/logger/ann/many?n=1", "/logger/bob/many?n=2", "/other/ann/many?n=3"] {
        assert_eq!(host.get(path).text(), "logged");
    }
    let count = |query: &str| entries(&host, query).len();
    assert_eq!(
        ["", "?class=logger", "?class=logger&object=bob", "?object=ann", "?class=none"].map(count),
        [6, 3, 2, 4, 0]
    );
}

#[test]
fn a_follower_is_told_what_was_and_what_comes() {
    let host = host();
    assert_eq!(host.get("/logger/ann/many?n=2").text(), "logged");
    let mut events = host.admin().events("/v1/logs?follow=true&class=logger&object=ann");
    let mut next = || said(&events.next().expect("the stream goes on"));
    assert_eq!([next(), next()], ["info entry 0", "info entry 1"]);
    assert_eq!(host.get("/logger/bob/many?n=1").text(), "logged");
    assert_eq!(host.get("/logger/ann").text(), "logged");
    assert_eq!([next(), next(), next()], ["trace a trace", "debug a detail", "info news"]);
}

#[test]
fn a_long_entry_is_cut() {
    let host = Host::start();
    host.deploy("faults", guest("faults"));
    // The backtrace of an endless recursion is the longest possible.
    host.get("/faults/alice/recurse").problem(500, "stack-overflow");
    let entries = entries(&host, "?class=faults");
    assert!(!entries.is_empty(), "a trap is explained to whoever wrote the class");
    assert!(entries.iter().all(|entry| said(entry).len() <= 16 * 1024 + 8), "{entries:?}");
}
