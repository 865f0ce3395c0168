//! The deletion of a class or an object ends running and waiting turns at once, however long they would have lasted.

use std::time::Duration;

use ureq::http::Method;

use crate::harness::{Host, Http2, eventually, guest};

/// Limits under which only a deletion ends a turn, and a stop waits for turns for longer than any test lasts.
const ENDLESS: &str = "cpu-seconds-per-turn = 1e6\nfuel-per-turn = 9_000_000_000_000_000\nwall-seconds-per-turn = 1e6\n\
                       shutdown-seconds = 1e6\nmailbox-turns = 5";
const QUERY: &str = "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";

fn host() -> Host {
    let host = Host::with(ENDLESS);
    host.deploy("hostile", guest("hostile"));
    host
}

#[test]
fn deleting_a_class_ends_what_runs() {
    let host = host();
    for object in 0..6 {
        assert_eq!(host.post(&format!("/hostile/alarm-{object}/alarm?mode=loop"), b"").status, 204);
    }
    std::thread::scope(|scope| {
        let host = &host;
        for object in 0..3 {
            let ended = move |name: &str, path: &str, body: &str| {
                let method = if body.is_empty() { Method::GET } else { Method::POST };
                let answer = host.data().send(method, &format!("/hostile/{name}-{object}/{path}"), &[], body);
                answer.problem(409, "object-deleted");
            };
            scope.spawn(move || ended("loop", "loop", ""));
            scope.spawn(move || ended("sql", "sql", QUERY));
            scope.spawn(move || ended("sleep", "sleep?ms=3600000", ""));
        }
        host.wait_for_live_instances(15);
        assert_eq!(host.admin().delete("/v1/classes/hostile?objects=delete").status, 204);
    });
    host.wait_for_live_instances(0);
    assert_eq!(host.metric("holdfast_failed_turns_total{code=\"object-deleted\"}"), 0, "they did not fail");
    host.deploy("hostile", guest("hostile"));
    assert_eq!(host.get("/hostile/alarm-0/").text(), "light");
}

#[test]
fn deleting_an_object_ends_what_came_before() {
    let host = host();
    assert_eq!(host.post("/hostile/alice/alarm?mode=loop", b"").status, 204);
    host.wait_for_live_instances(1);
    std::thread::scope(|scope| {
        let host = &host;
        let running = scope.spawn(move || host.get("/hostile/bob/loop"));
        host.wait_for_live_instances(2);
        for (object, status) in [("alice", 204), ("bob", 404)] {
            let ask = move || host.get(&format!("/hostile/{object}/loop"));
            let asked: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            let refused = || asked.iter().filter(|asked| asked.is_finished()).count();
            eventually("the mailbox to be full", || (refused() == 3).then_some(()));
            // Bob has stored nothing, and is deleted as well.
            assert_eq!(host.admin().delete(&format!("/v1/classes/hostile/objects/{object}")).status, status);
            let answers: Vec<_> = asked.into_iter().map(|asked| asked.join().expect("it is answered")).collect();
            answers
                .iter()
                .filter(|answer| answer.status != 503)
                .for_each(|answer| _ = answer.problem(409, "object-deleted"));
            assert_eq!(answers.iter().filter(|answer| answer.status == 503).count(), 3);
        }
        running.join().expect("it is answered").problem(409, "object-deleted");
    });
    for object in ["alice", "bob"] {
        assert_eq!(host.get(&format!("/hostile/{object}/")).text(), "light", "what comes after is a new object's");
    }
}

#[test]
fn deleting_an_object_ends_a_query() {
    let host = host();
    assert_eq!(host.get("/hostile/alice/put?n=1").text(), "1");
    std::thread::scope(|scope| {
        let (host, path) = (&host, "/v1/classes/hostile/objects/alice");
        let before = host.cpu_time();
        scope.spawn(move || {
            let query = serde_json::json!({ "sql": QUERY }).to_string();
            host.admin().post(&format!("{path}/sql"), query).problem(409, "object-deleted");
        });
        let computes = || (host.cpu_time() > before + Duration::from_millis(500)).then_some(());
        eventually("the query to run", computes);
        assert_eq!(host.admin().delete(path).status, 204);
    });
}

/// Answers that are not read are charged to their class, and an answer without room does not cost the instance.
#[test]
fn answers_that_nobody_takes_are_charged() {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let host = Host::with("host-memory = 8_388_608");
    host.deploy("hostile", guest("hostile"));
    host.deploy("counter", guest("counter"));
    let mut deaf = Http2::with_settings(host.data(), &[(INITIAL_WINDOW_SIZE, 0)]);
    for object in 0..12 {
        deaf.request(2 * object + 1, &[(":path", &format!("/hostile/object-{object}/answer?n=1"))]);
    }
    // Four times what is left: six of eight.
    host.wait_for_metric("holdfast_memory_bytes{purpose=\"responses\"}", 6 << 20);
    host.wait_for_live_instances(12);
    let started = host.metric("holdfast_instances_started_total");
    for _ in 0..3 {
        for object in 0..12 {
            host.get(&format!("/hostile/object-{object}/answer?n=1")).problem(503, "overloaded");
        }
    }
    assert_eq!(host.metric("holdfast_instances_started_total"), started, "they are kept");
    assert_eq!(host.get("/hostile/object-0/").text(), "light");
    assert_eq!(host.get("/counter/alice").number(), 1);
    drop(deaf);
    host.wait_for_metric("holdfast_memory_bytes{purpose=\"responses\"}", 0);
    assert_eq!(host.get("/hostile/object-0/answer?n=1").body.len(), 1 << 20);
}
