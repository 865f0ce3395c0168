//! Late work: answers that are given in later turns, resumes, and what happens to both when the instance is dropped.

use serde_json::Value as Json;

use crate::harness::{Answer, Host, Socket, eventually, guest};

fn start(limits: &str) -> Host {
    let host = Host::with(limits);
    host.deploy("late", guest("late"));
    host
}

fn show(host: &Host, object: &str) -> Json {
    host.get(&format!("/late/{object}/show")).json()
}

fn number(host: &Host, object: &str, what: &str) -> u64 {
    show(host, object)[what].as_u64().unwrap()
}

/// Runs `act` while so many clients wait for their answers, and returns these.
fn while_they_wait(host: &Host, object: &str, count: usize, act: impl FnOnce()) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let ask = || host.get(&format!("/late/{object}/wait"));
        let waiting: Vec<_> = (0..count).map(|_| scope.spawn(ask)).collect();
        eventually("all to wait", || (number(host, object, "waiting") == count as u64).then_some(()));
        act();
        waiting.into_iter().map(|waiting| waiting.join().unwrap()).collect()
    })
}

fn logged(host: &Host, what: &str) -> bool {
    let output = host.run(&["logs", "--json"]);
    String::from_utf8_lossy(&output.stdout).contains(what)
}

#[test]
fn answers_are_given_later_and_nobody_suffers_from_anothers_failure() {
    let host = start("");
    assert_eq!(host.get("/late/alice/at-once").text(), "at once");
    assert_eq!(host.get("/late/alice/wait-and-fail").problem(500, "guest-error")["guest_code"], "refused");
    let answers = while_they_wait(&host, "alice", 19, || {
        host.get("/late/alice/fail").problem(500, "guest-error");
        assert_eq!(number(&host, "alice", "waiting"), 19, "a failure that had staged nothing leaves the instance");
        host.post("/late/alice/tell", "tea");
    });
    assert!(answers.iter().all(|answer| answer.text() == "tea"), "{answers:?}");
    let answers = while_they_wait(&host, "alice", 3, || _ = host.post("/late/alice/fail-all", ""));
    for answer in answers {
        assert_eq!(answer.problem(500, "guest-error")["guest_code"], "out-of-tea");
    }
    let answers = while_they_wait(&host, "alice", 2, || _ = host.post("/late/alice/forget-all", ""));
    for answer in answers {
        assert_eq!(answer.problem(500, "guest-error")["guest_code"], "unanswered");
    }
    assert_eq!(host.get("/late/alice/stored").text(), "failed", "what the turn wrote that answered them stays");
    while_they_wait(&host, "bob", 1, || {
        let wrong = host.get("/late/bob/wrong-kind");
        assert!(wrong.text().contains("another kind"), "{wrong:?}");
        host.admin().post("/v1/classes/late/objects/bob/evict", "");
    });
}

#[test]
fn whatever_drops_an_instance_answers_those_who_wait() {
    let host = start("drain-seconds = 0.2");
    let dropped = |act: &dyn Fn()| {
        let before = host.metric("holdfast_late_work_dropped_total");
        for answer in while_they_wait(&host, "alice", 3, act) {
            let problem = answer.problem(503, "instance-dropped");
            assert_eq!(problem["retryable"], false);
            assert!(!answer.headers.contains_key("retry-after"));
        }
        assert_eq!(host.metric("holdfast_late_work_dropped_total"), before + 1);
    };
    dropped(&|| _ = host.get("/late/alice/fail-having-written").problem(500, "guest-error"));
    assert!(logged(&host, "3 deferred answers end with instance-dropped"));
    dropped(&|| _ = host.admin().post("/v1/classes/late/objects/alice/evict", ""));
    dropped(&|| _ = host.admin().delete("/v1/classes/late/objects/alice"));
    dropped(&|| _ = host.admin().put("/v1/classes/late?create=any", guest("late")));
    assert_eq!(number(&host, "alice", "turns"), 1, "the new version");
}

#[test]
fn an_object_changes_its_version_when_it_has_answered() {
    let host = start("");
    let answers = while_they_wait(&host, "alice", 2, || {
        host.admin().put("/v1/classes/late?create=any", guest("late"));
        assert_eq!(number(&host, "alice", "waiting"), 2, "the old instance goes on");
        host.post("/late/alice/tell", "tea");
    });
    assert!(answers.iter().all(|answer| answer.text() == "tea"));
    assert_eq!(number(&host, "alice", "waiting"), 0);
    assert_eq!(host.metric("holdfast_instances_started_total"), 2);
}

#[test]
fn resumes_come_when_they_are_due() {
    let host = start("");
    host.post("/late/alice/after?ms=3600000&times=10", "");
    assert_eq!(host.get("/late/alice/cancel").text(), "true");
    assert_eq!(host.get("/late/alice/cancel").text(), "false");
    host.post("/late/alice/after?ms=1&times=300&write=true", "");
    eventually("the resumes", || (number(&host, "alice", "resumes") == 300).then_some(()));
    assert!((2..=10).contains(&number(&host, "alice", "resume_turns")), "{}", show(&host, "alice"));
    assert_eq!(host.get("/late/alice/stored").text(), "resumed");
    host.post("/late/alice/after?ms=3600000&times=991", "");
    let full = host.post("/late/alice/after?ms=3600000", "").problem(500, "guest-error");
    assert!(full["detail"].as_str().unwrap().contains("1000"), "{full}");
}

#[test]
fn a_debounced_save_outlives_an_idle_instance() {
    let host = start("idle-seconds = 0.1");
    for text in ["a", "b", "c"] {
        host.post("/late/alice/save?ms=3000", text);
    }
    host.wait_for_live_instances(0);
    assert_eq!(host.get("/late/alice/stored").text(), "c");
}

#[test]
fn what_only_repeats_does_not_keep_an_instance() {
    let host = start("idle-seconds = 0.1\nlate-seconds = 0.5");
    host.post("/late/alice/after?ms=3600000&holds=false", "");
    host.wait_for_live_instances(0);
    host.post("/late/alice/after?ms=3600000", "");
    host.wait_for_live_instances(0);
    assert_eq!(host.metric("holdfast_late_work_dropped_total"), 1, "it held the instance, but not for an hour");
}

#[test]
fn late_work_without_end_delays_no_request_and_ends_with_the_object() {
    let host = start("idle-seconds = 0.1\nlate-seconds = 0.5");
    host.post("/late/alice/spin", "");
    let resumes = || number(&host, "alice", "resumes");
    eventually("many resumes", || (resumes() > 1_000).then_some(()));
    assert_eq!(host.get("/late/bob/stored").status, 200);
    host.wait_for_live_instances(0);
}

#[test]
fn an_object_learns_that_a_client_has_gone() {
    let host = start("idle-seconds = 0.1");
    let client = host.data().write("GET /late/alice/wait HTTP/1.1\r\nhost: localhost\r\n\r\n");
    eventually("it to wait", || (number(&host, "alice", "waiting") == 1).then_some(()));
    drop(client);
    eventually("it to notice", || (number(&host, "alice", "gone") == 1).then_some(()));
    host.wait_for_live_instances(0);
    assert_eq!(host.metric("holdfast_late_work_dropped_total"), 0);
}

#[test]
fn messages_of_a_socket_come_while_one_waits() {
    let host = start("");
    let mut socket = Socket::open(host.data(), "/late/alice/socket");
    for _ in 0..100 {
        socket.say("wait");
    }
    socket.say("go on");
    assert_eq!(socket.hear(), "go on");
    socket.say("wait");
    socket.say("hello");
    assert_eq!(socket.hear(), "hello");
    socket.say("wait");
    eventually("it to be suspended", || {
        host.admin().post("/v1/classes/late/objects/alice/evict", "");
        (host.metric("holdfast_late_work_dropped_total") == 1).then_some(())
    });
    assert_eq!(socket.closed(), Some((1012, "instance-dropped".into())));
}

#[test]
fn a_socket_is_accepted_in_a_later_turn() {
    let host = start("");
    let mut socket = Socket::open(host.data(), "/late/alice/socket-later");
    assert_eq!(socket.hear(), "welcome");
    socket.say("hello");
    assert_eq!(socket.hear(), "hello");
    assert_eq!(host.get("/late/alice/socket-later").status, 400, "it asks for no socket");
}

#[test]
fn a_socket_holds_an_instance_while_it_is_open() {
    let host = start("idle-seconds = 0.1");
    let mut socket = Socket::open(host.data(), "/late/alice/socket-held");
    assert_eq!(number(&host, "alice", "turns"), 2);
    host.get("/late/bob/show");
    // Bob has left for being idle, and Alice has not.
    host.wait_for_live_instances(1);
    assert_eq!(number(&host, "alice", "turns"), 3);
    assert_eq!(socket.close(1000, "done"), Some((1000, "done".into())));
    host.wait_for_live_instances(0);
    let mut socket = Socket::open(host.data(), "/late/alice/socket-held");
    host.admin().post("/v1/classes/late/objects/alice/evict", "");
    assert_eq!(socket.closed(), Some((1012, "instance-dropped".into())));
}

#[test]
fn an_exclusive_instance_keeps_other_events_out() {
    let host = start("");
    host.post("/late/alice/exclusive?ms=1000", "");
    assert_eq!(number(&host, "alice", "resumes"), 1, "the request waited for the resume");
    host.post("/late/alice/exclusive-for-nothing", "");
    assert_eq!(number(&host, "alice", "turns"), 1, "the instance was dropped");
    host.post("/late/alice/exclusive?ms=3600000", "");
    host.admin().post("/v1/classes/late/objects/alice/evict", "");
    assert_eq!(number(&host, "alice", "turns"), 1);
}

#[test]
fn an_instance_may_ask_to_be_dropped() {
    let host = start("");
    let answers = while_they_wait(&host, "alice", 2, || assert_eq!(host.get("/late/alice/drop").status, 200));
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503], "what the turn has answered counts: {answers:?}");
    assert!(logged(&host, "because it asked for it"));
    assert_eq!(number(&host, "alice", "turns"), 1);
    let answers = while_they_wait(&host, "alice", 2, || {
        host.get("/late/alice/drop-and-fail").problem(500, "guest-error");
    });
    assert!(answers.iter().all(|answer| answer.status == 503), "nothing of a failed turn counts: {answers:?}");
    assert_eq!(number(&host, "alice", "turns"), 1);
}

#[test]
fn a_class_may_refuse_to_interleave() {
    let host = start("");
    let changed = host.admin().put("/v1/classes/late?interleave=false&late-seconds=0", guest("late")).json();
    assert_eq!((&changed["interleave"], &changed["late_seconds"]), (&Json::Bool(false), &0.into()));
    let refused = host.get("/late/alice/wait").problem(500, "guest-error");
    assert_eq!(refused["guest_code"], "late-error");
    host.post("/late/alice/after?ms=1&write=true", "");
    eventually("the resume", || (host.get("/late/alice/stored").text() == "resumed").then_some(()));
}

#[test]
fn a_stop_runs_what_is_due_soon() {
    let mut host = start("shutdown-seconds = 60");
    host.post("/late/alice/after?ms=1500&write=true", "");
    host.post("/late/bob/after?ms=3600000&write=true", "");
    assert!(host.terminate().success());
    host.restart();
    assert_eq!(host.get("/late/alice/stored").text(), "resumed");
    assert_eq!(host.get("/late/bob/stored").text(), "");
}
