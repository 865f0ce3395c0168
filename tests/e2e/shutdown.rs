//! SIGTERM: what has begun is finished, what was answered stays, and the process ends with 0.

use std::sync::atomic::{AtomicU64, Ordering};

use ureq::http::Method;

use crate::harness::{Host, eventually, guest};

#[test]
fn a_stopped_host_finishes_the_running_turn() {
    let mut host = Host::start();
    host.deploy("faults", guest("faults"));
    host.deploy("counter", guest("counter"));
    assert_eq!(host.get("/counter/alice").text(), "1");
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| host.get("/faults/alice/sleep?ms=1500"));
        host.wait_for_live_instances(2);
        host.begin_to_stop();
        assert_eq!(sleeper.join().unwrap().text(), "slept");
    });
    assert_eq!(host.end().code(), Some(0));
    host.restart();
    assert_eq!(host.get("/counter/alice").text(), "2");
}

#[test]
fn no_answer_is_lost_by_a_stop_under_load() {
    const CLIENTS: usize = 4;
    let mut host = Host::start();
    host.deploy("counter", guest("counter"));
    let (answers, last) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let client = || {
            let count = || host.data().try_send(Method::GET, "/counter/alice", &[], b"");
            while let Ok(answer) = count() {
                if answer.status == 503 {
                    answer.problem(503, "stopping");
                    break;
                }
                last.fetch_max(answer.number(), Ordering::Relaxed);
                answers.fetch_add(1, Ordering::Relaxed);
            }
        };
        for _ in 0..CLIENTS {
            scope.spawn(client);
        }
        eventually("some answers", || (answers.load(Ordering::Relaxed) >= 200).then_some(()));
        host.begin_to_stop();
    });
    assert_eq!(host.end().code(), Some(0));
    host.restart();
    // Every turn that was applied was answered: nothing was counted without an answer.
    let (answers, last) = (answers.into_inner(), last.into_inner());
    assert_eq!(last, answers);
    assert_eq!(host.get("/counter/alice").number(), last + 1);
}

#[test]
fn a_turn_that_does_not_end_is_left_behind() {
    let mut host = Host::with("shutdown-seconds = 0.3");
    host.deploy("faults", guest("faults"));
    assert_eq!(host.get("/faults/alice/put?n=7").text(), "7");
    let sleeping = host.data().write("GET /faults/bob/sleep?ms=3600000 HTTP/1.1\r\nhost: localhost\r\n\r\n");
    host.wait_for_metric("holdfast_instances_started_total", 2);
    assert_eq!(host.terminate().code(), Some(0));
    drop(sleeping);
    host.restart();
    assert_eq!(host.get("/faults/alice/get").text(), "7");
}

#[test]
fn idle_connections_and_followers_of_the_log_do_not_hold_up_a_stop() {
    let mut host = Host::start();
    host.deploy("logger", guest("logger"));
    assert_eq!(host.get("/logger/ann").text(), "logged");
    let idle = host.data().write("");
    let mut events = host.admin().events("/v1/logs?follow=true");
    assert!(events.next().is_some());
    assert_eq!(host.terminate().code(), Some(0));
    assert!(events.all(|event| event["class"] == "logger"), "what is left is history, and then the end");
    drop(idle);
}
