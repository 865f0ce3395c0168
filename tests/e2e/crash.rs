//! SIGKILL at any moment: every acknowledged write is there afterwards, and nothing that was not requested.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use ureq::http::Method;

use crate::harness::{Host, eventually, files_below, guest};

/// Clients of one object each, which count as fast as they can until the host has ended.
const CLIENTS: usize = 4;
/// Answers before the host is killed.
const ENOUGH: u64 = 200;

#[test]
fn no_answer_is_forgotten_by_a_crash_under_load() {
    let mut host = Host::start();
    host.deploy("counter", guest("counter"));
    for round in 0..3 {
        let answered = crash_under_load(&host);
        host.end();
        host.restart();
        for (client, last) in answered.into_iter().enumerate() {
            let next = host.get(&format!("/counter/client-{client}")).number();
            // One more request may have been applied before its answer was sent.
            assert!((last + 1..=last + 2).contains(&next), "round {round}: {last} was answered, then came {next}");
        }
    }
}

/// Returns the last answer that each client got.
fn crash_under_load(host: &Host) -> Vec<u64> {
    let answers = AtomicU64::new(0);
    let count = |client: usize| {
        let mut last = 0;
        while let Ok(answer) = host.data().try_send(Method::GET, &format!("/counter/client-{client}"), &[], b"") {
            last = answer.number();
            answers.fetch_add(1, Ordering::Relaxed);
        }
        last
    };
    std::thread::scope(|scope| {
        let count = &count;
        let running: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || count(client))).collect();
        eventually("some answers", || (answers.load(Ordering::Relaxed) >= ENOUGH).then_some(()));
        host.begin_to_die();
        running.into_iter().map(|client| client.join().expect("a client panicked")).collect()
    })
}

/// `docs/TESTING.md`: a fault that a test requests and that never happens would prove nothing.
#[test]
fn failpoints_are_announced_and_unknown_ones_refused() {
    let mut host = Host::start();
    host.kill();
    let ended = host.restart_with_failpoints("log-flsh:eio").unwrap_err();
    assert!(ended.status.code() == Some(1) && ended.log.contains("there is no failpoint `log-flsh`"), "{ended}");
    host.restart_with_failpoints("segment-drop:eio@1000").unwrap();
    assert!(host.log().contains("HOLDFAST_TEST_FAILPOINTS is set"));
}

#[test]
fn a_deploy_survives_a_crash() {
    let mut host = Host::start();
    let before = host.deploy("counter", guest("counter"));
    host.kill();
    host.restart();
    let after = host.admin().get("/v1/classes/counter").json();
    for member in ["name", "version", "digest", "size", "exports", "imports", "created", "deployed"] {
        assert_eq!(after[member], before[member], "{member}");
    }
    assert_eq!(host.get("/counter/alice").text(), "1");
}

#[test]
fn a_deleted_object_stays_deleted_after_a_crash() {
    let mut host = Host::start();
    host.deploy("counter", guest("counter"));
    assert_eq!(host.get("/counter/alice").text(), "1");
    assert_eq!(host.admin().delete("/v1/classes/counter/objects/alice").status, 204);
    host.kill();
    host.restart();
    host.admin().get("/v1/classes/counter/objects/alice").problem(404, "unknown-object");
    assert_eq!(host.get("/counter/alice").text(), "1");
}

/// `docs/ARCHITECTURE.md`, data directory: the files that may be deleted while the host is stopped, and those that must
/// not be changed.
#[test]
fn what_is_derived_is_made_again() {
    let mut host = Host::start();
    host.deploy("counter", guest("counter"));
    assert_eq!(host.get("/counter/alice").text(), "1");
    host.kill();
    let data = host.data_directory();
    fs::remove_dir_all(data.join("catalog")).unwrap();
    let code: Vec<_> = files_below(&data.join("cache"))
        .into_iter()
        .filter(|file| file.extension() == Some("cwasm".as_ref()))
        .collect();
    assert_eq!(code.len(), 1);
    let mut bytes = fs::read(&code[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&code[0], bytes).unwrap();

    host.restart();
    let listed = || host.admin().get("/v1/classes/counter/objects").json()["objects"][0]["name"] == "alice";
    eventually("the list to be made again", || listed().then_some(()));
    assert_eq!(host.get("/counter/alice").text(), "2", "code that was tampered with is compiled again, not run");
    host.kill();
    fs::remove_dir_all(data.join("cache")).unwrap();
    host.restart();
    assert_eq!(host.get("/counter/alice").text(), "3");
}
