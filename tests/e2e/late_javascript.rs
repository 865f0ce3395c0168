//! Late work of a class in JavaScript: what it starts and does not wait for goes on, and nobody suffers from another's
//! failure.

use serde_json::Value as Json;

use crate::harness::guests::build_project;
use crate::harness::{Answer, Host, Socket, eventually, root};

const SHORT: &str = "idle-seconds = 0.2";

fn start(limits: &str) -> Host {
    let host = Host::with(limits);
    let built = build_project(&root().join("tests/e2e/late-javascript"));
    let component = built.unwrap_or_else(|output| panic!("the class is not built:\n{output}"));
    host.deploy("late", std::fs::read(component).unwrap());
    host
}

fn stored(host: &Host, object: &str) -> Json {
    host.get(&format!("/late/{object}/stored")).json()
}

fn evict(host: &Host, object: &str) {
    host.admin().post(&format!("/v1/classes/late/objects/{object}/evict"), "");
}

/// Runs `act` while 19 clients wait, and returns their answers.
fn while_nineteen_wait(host: &Host, object: &str, act: impl FnOnce()) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..19).map(|_| scope.spawn(|| host.get(&format!("/late/{object}/wait")))).collect();
        let count = || host.get(&format!("/late/{object}/waiting"));
        eventually("all to wait", || (count().text() == "19").then_some(()));
        act();
        waiting.into_iter().map(|waiting| waiting.join().unwrap()).collect()
    })
}

#[test]
fn nineteen_are_answered_and_timers_run_whatever_the_twentieth_throws() {
    let host = start("");
    let answers = while_nineteen_wait(&host, "alice", || {
        host.get("/late/alice/timer");
        // It has stored nothing.
        host.get("/late/alice/fail").problem(500, "guest-error");
        eventually("the timer", || (stored(&host, "alice")["timer"] == "ran").then_some(()));
        // It fails in a later turn, and what it has written stays.
        let failed = host.get("/late/alice/fail-later").problem(500, "guest-error");
        assert_eq!(failed["detail"], "as ordered, later");
        assert_eq!(stored(&host, "alice")["written"], "by one that fails");
        assert_eq!(host.get("/late/alice/waiting").text(), "19");
        host.get("/late/alice/tell");
    });
    assert!(answers.iter().all(|answer| answer.text() == "told"), "{answers:?}");
    assert_eq!(host.metric("holdfast_late_work_dropped_total"), 0);
}

#[test]
fn a_debounced_save_outlives_idleness_and_eviction() {
    let host = start(SHORT);
    let mut socket = Socket::open(host.data(), "/late/alice/document");
    for text in ["a", "b", "c"] {
        socket.say(text);
    }
    // Idle for longer than an instance may be without timers.
    host.wait_for_live_instances(0);
    assert_eq!(host.get("/late/alice/document").text(), "abc");
    socket.say("d");
    eventually("the save", || (stored(&host, "alice")["document"] == "abcd").then_some(()));
    evict(&host, "alice");
    assert_eq!(host.get("/late/alice/document").text(), "abcd");
}

#[test]
fn a_start_in_a_timer_of_the_constructor_comes_with_each_instance() {
    let host = start(SHORT);
    let mut socket = Socket::open(host.data(), "/late/alice/table");
    for (message, rows) in [("a=1", "1 rows"), ("b=2", "2 rows")] {
        socket.say(message);
        assert_eq!(socket.hear(), rows);
        host.wait_for_live_instances(0);
    }
    evict(&host, "alice");
    socket.say("a=3");
    assert_eq!(socket.hear(), "2 rows");
    eventually("the row", || (stored(&host, "alice")["row a"] == "3").then_some(()));
}

#[test]
fn sessions_remember_in_their_sockets_what_they_have_seen() {
    let host = start(SHORT);
    let mut sockets: Vec<_> = (0..2).map(|_| Socket::open(host.data(), "/late/alice/canvas")).collect();
    for (round, shapes) in (1..).zip([1, 3, 5]) {
        for (index, socket) in sockets.iter_mut().enumerate() {
            socket.say("draw");
            assert_eq!(socket.hear(), format!("{round} seen of {}", shapes + index));
        }
        match round {
            1 => host.wait_for_live_instances(0),
            _ => {
                eventually("it to be stored", || (stored(&host, "alice")["shapes"] == shapes + 1).then_some(()));
                evict(&host, "alice");
            }
        }
    }
}

#[test]
fn an_alarm_whose_handler_is_suspended_when_the_host_is_killed_runs_again() {
    let mut host = start("");
    host.get("/late/alice/alarm?ms=1500");
    eventually("it to be suspended", || (stored(&host, "alice")["begun"] == 1).then_some(()));
    host.kill();
    host.restart();
    eventually("its effect", || (stored(&host, "alice")["effects"] == 1).then_some(()));
    assert_eq!(stored(&host, "alice")["begun"], 2);
    // Nothing is left of it.
    let shown = host.admin().get("/v1/classes/late/objects/alice").json();
    assert_eq!(shown["alarm"], Json::Null, "{shown}");
    assert_eq!(stored(&host, "alice")["effects"], 1);
}
