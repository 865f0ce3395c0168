//! The main use: objects that count, each one event at a time and independent of the others.

use std::collections::BTreeSet;

use crate::harness::{Host, at_once, guest};

#[test]
fn an_object_counts_and_goes_on_after_a_crash() {
    let mut host = Host::start();
    host.deploy("counter", guest("counter"));
    for expected in ["1", "2", "3"] {
        assert_eq!(host.get("/counter/alice").text(), expected);
    }
    assert_eq!(host.get("/counter/bob").text(), "1");
    host.kill();
    host.restart();
    assert_eq!(host.get("/counter/alice").text(), "4");
    assert_eq!(host.get("/counter/bob").text(), "2");
}

#[test]
fn concurrent_requests_to_one_object_are_answered_one_by_one() {
    let host = Host::start();
    host.deploy("counter", guest("counter"));
    let answers: BTreeSet<u64> = at_once(200, |_| host.get("/counter/alice").number()).into_iter().collect();
    assert_eq!(answers, (1..=200).collect());
    assert_eq!(host.metric("holdfast_instances_started_total"), 1);
}

#[test]
fn parallel_first_requests_construct_one_instance() {
    let host = Host::start();
    host.deploy("construct", guest("construct"));
    let answers = at_once(20, |_| host.get("/construct/alice").json());
    let turns: BTreeSet<u64> =
        answers.iter().map(|answer| answer["turns_of_this_instance"].as_u64().unwrap()).collect();
    assert_eq!(turns, (1..=20).collect(), "all were turns of one instance");
    assert!(answers.iter().all(|answer| answer["constructions"] == 1), "{answers:?}");
}

#[test]
fn many_objects_count_at_the_same_time() {
    let host = Host::start();
    host.deploy("counter", guest("counter"));
    let counts = at_once(20, |object| {
        let count = || host.get(&format!("/counter/object-{object}")).number();
        (0..10).map(|_| count()).collect::<Vec<_>>()
    });
    assert!(counts.iter().all(|counts| *counts == (1..=10).collect::<Vec<u64>>()), "{counts:?}");
}

#[test]
fn objects_of_one_name_in_two_classes_share_nothing() {
    let host = Host::start();
    host.deploy("counter", guest("counter"));
    host.deploy("tally", guest("counter"));
    host.deploy("echo-a", guest("echo"));
    host.deploy("echo-b", guest("echo"));
    assert_eq!(host.get("/counter/alice").text(), "1");
    assert_eq!(host.get("/counter/alice").text(), "2");
    assert_eq!(host.get("/tally/alice").text(), "1");
    let id = |class: &str| host.get(&format!("/{class}/alice")).json()["id"].as_str().unwrap().to_owned();
    assert_ne!(id("echo-a"), id("echo-b"), "an id depends on the key of its class");
}
