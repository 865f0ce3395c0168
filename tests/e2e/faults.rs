//! Guests that fail: each kind of failure has its own code, leaves no trace, and does not affect other objects.

use crate::harness::{Host, eventually, guest};

/// Enough fuel for every turn that is meant to end; a loop uses it in a fraction of a second.
const LITTLE_FUEL: &str = "fuel-per-turn = 2_000_000_000\nmemory-per-instance = 33_554_432";

#[test]
fn each_fault_has_its_code_and_leaves_no_trace() {
    let mut host = Host::with(LITTLE_FUEL);
    host.deploy("faults", guest("faults"));
    assert_eq!(host.get("/faults/alice/put?n=7").text(), "7");
    for (fault, code) in [
        ("loop", "fuel-exhausted"),
        ("sql-loop", "fuel-exhausted"),
        ("alloc", "out-of-memory"),
        ("panic", "guest-trap"),
        ("exit", "guest-trap"),
        ("recurse", "stack-overflow"),
        ("fail", "guest-error"),
        ("bad-response?kind=status", "invalid-response"),
        ("bad-response?kind=header", "invalid-response"),
    ] {
        let problem = host.get(&format!("/faults/alice/{fault}")).problem(500, code);
        assert_eq!(problem["object"], "faults/alice", "{fault}");
        assert_eq!(host.get("/faults/alice/get").text(), "7", "after {fault}");
        let failed = format!("holdfast_failed_turns_total{{code=\"{code}\"}}");
        assert!(host.metric(&failed) > 0, "{fault} is counted");
    }
    assert_eq!(host.get("/faults/alice/count").text(), "8");
    host.assert_alive();
}

#[test]
fn a_failure_carries_the_words_of_the_class() {
    let host = Host::start();
    host.deploy("faults", guest("faults"));
    let failure = host.get("/faults/alice/fail").problem(500, "guest-error");
    assert_eq!((&failure["guest_code"], &failure["detail"]), (&"teapot".into(), &"told to fail".into()));
    let failure = host.get("/faults/alice/fail-retryable").problem(503, "guest-error");
    assert_eq!((&failure["guest_code"], &failure["detail"]), (&"teapot".into(), &"told to fail for now".into()));
    assert_eq!(host.get("/faults/alice/get").text(), "0");
}

#[test]
fn an_object_that_only_ever_failed_does_not_exist() {
    let host = Host::with(LITTLE_FUEL);
    host.deploy("faults", guest("faults"));
    for fault in ["panic", "fail", "loop"] {
        assert_eq!(host.get(&format!("/faults/alice/{fault}")).status, 500);
    }
    host.admin().get("/v1/classes/faults/objects/alice").problem(404, "unknown-object");
    assert_eq!(host.admin().get("/v1/classes/faults/objects").json()["objects"].as_array().unwrap().len(), 0);
}

/// Starts more loops than the host has threads for guests, calls another object meanwhile, and waits for the loops to
/// end.
fn ask_alice_while_many(fault: &str) {
    let loops = 4 * std::thread::available_parallelism().map_or(2, usize::from) + 4;
    let host = Host::with(&format!("cpu-seconds-per-turn = 0.3\nlive-instances = {}", loops + 8));
    host.deploy("faults", guest("faults"));
    std::thread::scope(|scope| {
        let host = &host;
        let run = |object| scope.spawn(move || host.get(&format!("/faults/loop-{object}/{fault}")));
        let running: Vec<_> = (0..loops).map(run).collect();
        eventually("the first loops", || (host.metric("holdfast_instances_started_total") > 1).then_some(()));
        for expected in 1..=3 {
            assert_eq!(host.get("/faults/alice/count").number(), expected);
        }
        let ended = running.iter().filter(|request| request.is_finished()).count();
        assert!(ended < loops / 2, "alice had to wait for {ended} loops");
        // It waits behind the loop of its own object.
        let waiting = scope.spawn(move || host.get(&format!("/faults/loop-{}/get", loops - 1)));
        for request in running {
            request.join().unwrap().problem(500, "cpu-time-exceeded");
        }
        assert_eq!(waiting.join().unwrap().text(), "0");
    });
}

#[test]
fn other_objects_are_answered_while_many_loop() {
    ask_alice_while_many("loop");
}

/// SQLite does not yield by itself: a loop in it would keep its thread.
#[test]
fn other_objects_are_answered_while_many_loop_in_sql() {
    ask_alice_while_many("sql-loop");
}

#[test]
fn wall_time_ends_a_turn_that_waits() {
    let host = Host::with("wall-seconds-per-turn = 0.3");
    host.deploy("faults", guest("faults"));
    assert_eq!(host.get("/faults/alice/put?n=7").text(), "7");
    host.get("/faults/alice/sleep?ms=3600000").problem(500, "wall-time-exceeded");
    assert_eq!(host.get("/faults/alice/count").text(), "8");
}

#[test]
fn a_failed_turn_that_has_written_drops_the_instance() {
    let host = Host::start();
    host.deploy("construct", guest("construct"));
    let turns = |path: &str| {
        let answer = host.get(path).json();
        (answer["constructions"].as_u64().unwrap(), answer["turns_of_this_instance"].as_u64().unwrap())
    };
    // The writes of the constructor are part of the turn that failed.
    let failure = host.get("/construct/alice/fail").problem(500, "guest-error");
    assert_eq!(failure["guest_code"], "told-to-fail");
    assert_eq!(turns("/construct/alice"), (1, 1));
    assert_eq!(turns("/construct/alice"), (1, 2));
    // Memory says nothing that storage has not: the instance stays.
    host.get("/construct/alice/fail").problem(500, "guest-error");
    assert_eq!(turns("/construct/alice").0, 1);
}

#[test]
fn a_failed_construction_fails_the_turn_and_is_tried_again() {
    let host = Host::start();
    host.deploy("construct", guest("construct"));
    for _ in 0..2 {
        let failure = host.get("/construct/bad-apple").problem(500, "guest-error");
        assert_eq!(failure["guest_code"], "bad-name");
    }
    assert_eq!(host.metric("holdfast_instances_started_total"), 2);
    host.admin().get("/v1/classes/construct/objects/bad-apple").problem(404, "unknown-object");
}

#[test]
fn without_error_details_clients_are_not_told_what_classes_wrote() {
    let host = Host::with_config("[server]\nerror-details = false\n[limits]\nlive-instances = 8");
    host.deploy("faults", guest("faults"));
    for (fault, code) in [("fail", "guest-error"), ("panic", "guest-trap")] {
        let problem = host.get(&format!("/faults/alice/{fault}")).problem(500, code);
        assert!(problem.get("detail").is_none() && problem.get("stack").is_none(), "{problem}");
        assert!(!problem.to_string().contains("told to"), "{problem}");
    }
}
