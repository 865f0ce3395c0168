//! Calls between objects under SIGKILL: what the caller wrote before a call is durable before the call runs, and a call
//! that is reported as not run has not run.

use std::os::unix::process::ExitStatusExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::{Value as Json, json};
use ureq::http::Method;

use crate::dice::Dice;
use crate::harness::{Host, guest};

fn start() -> Host {
    let host = Host::with("");
    for (class, calls) in [("room", "room%3Droom%2Ctable%3Dtable"), ("table", "room%3Droom")] {
        host.admin().put(&format!("/v1/classes/{class}?calls={calls}"), guest("peers"));
    }
    host
}

fn stored(host: &Host, object: &str, key: &str) -> Json {
    host.get(&format!("/{object}/get?key={key}")).json()
}

/// Has an object write `put` and then call `table/bob` to store under a key. None if the host has ended.
fn call(host: &Host, caller: &str, key: &str, timeout: u64) -> Option<Json> {
    let (class, name, method, arguments) = ("table", "bob", "put", json!([key, true]));
    let ask = json!({ "class": class, "name": name, "method": method, "arguments": arguments, "timeout": timeout,
        "put": key });
    let path = format!("/room/{caller}/call");
    let answer = host.data().try_send(Method::POST, &path, &[], ask.to_string().as_bytes()).ok()?;
    (answer.status == 200).then(|| answer.json())
}

#[test]
fn what_was_written_before_a_call_is_durable_before_it_runs() {
    let mut host = start();
    for (failpoint, may_have_run) in [("call-settled", false), ("call-delivered", true)] {
        host.kill();
        host.restart_with_failpoints(&format!("{failpoint}:kill@2")).expect("no call is made yet");
        assert_eq!(call(&host, "alice", &format!("{failpoint}-first"), 30_000), Some(json!({ "value": true })));
        assert_eq!(call(&host, "alice", failpoint, 30_000), None);
        assert_eq!(host.end().signal(), Some(9), "{failpoint}");
        host.restart();
        assert_eq!(stored(&host, "room/alice", "put"), json!(failpoint), "what was settled stays");
        assert_eq!(stored(&host, "table/bob", &format!("{failpoint}-first")), json!(true));
        let ran = stored(&host, "table/bob", failpoint) == json!(true);
        assert!(may_have_run || !ran, "{failpoint}");
    }
}

/// Callers with hardly any time, so that many calls are withdrawn, and a host that is killed under them.
#[test]
fn a_call_that_is_reported_as_not_run_has_not_run() {
    const ROUNDS: u64 = 6;
    const CALLERS: u64 = 8;
    let mut dice = Dice::of_the_run("calls");
    let mut host = start();
    let told = Mutex::new(Vec::<(String, String)>::new());
    for round in 0..ROUNDS {
        let (wanted, made) = (20 + dice.below(200), AtomicU64::new(0));
        let timeouts: Vec<u64> = (0..CALLERS).map(|_| 1 + dice.below(15)).collect();
        std::thread::scope(|scope| {
            for (caller, timeout) in timeouts.iter().enumerate() {
                let (host, told, made) = (&host, &told, &made);
                scope.spawn(move || {
                    for number in 0.. {
                        let key = format!("{round}-{caller}-{number}");
                        let Some(answer) = call(host, &format!("caller-{caller}"), &key, *timeout) else { return };
                        let fate = answer["error"]["fate"].as_str().unwrap_or("ran").to_owned();
                        told.lock().unwrap().push((key, fate));
                        if made.fetch_add(1, Relaxed) == wanted {
                            host.begin_to_die();
                        }
                    }
                });
            }
        });
        host.end();
        host.restart();
    }
    let told = told.into_inner().unwrap();
    for (key, fate) in &told {
        let is_there = stored(&host, "table/bob", key) == json!(true);
        let is_right = match fate.as_str() {
            "ran" => is_there,
            "not-run" | "failed" => !is_there,
            _ => true,
        };
        assert!(is_right, "{key} was told as {fate}");
    }
    let count = |fate: &str| told.iter().filter(|(_, told)| told == fate).count();
    assert!(count("ran") > 0 && count("not-run") > 0, "both happen: {} and {}", count("ran"), count("not-run"));
}
