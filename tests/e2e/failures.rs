//! No failure is silent: each failed turn is one entry in its object's log, and one line in the server's log.

use serde_json::Value as Json;

use crate::harness::{Host, eventually, guest};

fn entries(host: &Host, class: &str) -> Vec<Json> {
    let answer = host.admin().get(&format!("/v1/logs?class={class}")).json();
    answer["entries"].as_array().expect("a list").clone()
}

fn message(entry: &Json) -> &str {
    entry["message"].as_str().expect("it is text")
}

fn field<'a>(entry: &'a Json, name: &str) -> Option<&'a str> {
    let fields = entry["fields"].as_array()?;
    fields.iter().find(|field| field[0] == name).and_then(|field| field[1].as_str())
}

const LITTLE: &str = "fuel-per-turn = 2_000_000_000\nmemory-per-instance = 33_554_432";

#[test]
fn each_failure_of_a_request_is_one_entry() {
    let host = Host::with(LITTLE);
    host.deploy("faults", guest("faults"));
    // WASI 0.2 reports whether a command succeeded, not its code, so the 3 of `exit` is a 1 here.
    for (fault, code, says, has_stack) in [
        ("loop", "fuel-exhausted", "2000000000 units of fuel", true),
        ("sql-loop", "fuel-exhausted", "2000000000 units of fuel", false),
        ("alloc", "out-of-memory", "33554432 bytes", true),
        ("panic", "guest-trap", "told to panic", true),
        ("exit", "guest-trap", "exit with code 1", false),
        ("recurse", "stack-overflow", "call stack", true),
        ("fail", "guest-error", "told to fail", false),
        ("fail-retryable", "guest-error", "told to fail for now", false),
        ("bad-response?kind=status&token=secret", "invalid-response", "999", false),
    ] {
        let before = entries(&host, "faults").len();
        let answer = host.get(&format!("/faults/alice/{fault}"));
        assert!(answer.status >= 500, "{fault}");
        let problem: Json = serde_json::from_slice(&answer.body).expect("a problem document is JSON");
        let call = problem["call"].as_str().expect("the answer names its call").to_owned();
        let entries = entries(&host, "faults");
        // Rust's runtime prints two lines of its own when memory is short; they are output of the guest, at `warn`.
        let of_guest = if fault == "alloc" { 2 } else { 0 };
        assert_eq!(entries.len(), before + of_guest + 1, "{fault}: {:?}", &entries[before..]);
        let entry = entries.last().unwrap();
        let path = fault.split('?').next().unwrap();
        assert!(message(entry).starts_with(&format!("GET /{path} failed: ")), "{entry}");
        assert_eq!((call.len(), entry["call"].as_str()), (32, Some(&*call)));
        assert!(message(entry).contains(says) && !entry.to_string().contains("secret"), "{entry}");
        assert_eq!((&entry["level"], field(entry, "code")), (&Json::from("error"), Some(code)));
        let is_limit = !matches!(code, "guest-error" | "guest-trap" | "stack-overflow" | "invalid-response");
        assert_eq!(field(entry, "limit").is_some(), is_limit, "{entry}");
        if has_stack {
            assert!(field(entry, "stack").is_some_and(|stack| !stack.is_empty()), "{entry}");
        }
        if code == "guest-error" {
            assert_eq!(field(entry, "guest-code"), Some("teapot"));
        }
        eventually("the server's log", || (host.log().contains(says) && host.log().contains(&call)).then_some(()));
    }
    assert_eq!(field(&entries(&host, "faults")[0], "limit"), Some("fuel-per-turn = 2000000000"));
}

#[test]
fn a_wait_that_is_too_long_names_its_limit() {
    let host = Host::with("wall-seconds-per-turn = 0.3");
    host.deploy("faults", guest("faults"));
    host.get("/faults/alice/sleep?ms=3600000").problem(500, "wall-time-exceeded");
    let entries = entries(&host, "faults");
    assert_eq!((entries.len(), field(&entries[0], "limit")), (1, Some("wall-seconds-per-turn = 0.3")));
}

#[test]
fn a_failed_construction_is_an_entry_too() {
    let host = Host::start();
    host.deploy("construct", guest("construct"));
    host.get("/construct/bad-apple").problem(500, "guest-error");
    let entries = entries(&host, "construct");
    assert_eq!(message(&entries[0]), "constructing");
    assert_eq!(message(&entries[1]), "GET / failed: bad-apple is not to be constructed");
}

#[test]
fn failures_that_come_too_fast_are_counted() {
    let host = Host::start();
    host.deploy("faults", guest("faults"));
    for _ in 0..100 {
        host.get("/faults/alice/fail").problem(500, "guest-error");
    }
    // Another code and another object are still logged in full.
    host.get("/faults/alice/panic").problem(500, "guest-trap");
    host.get("/faults/bob/fail").problem(500, "guest-error");
    let of = |code: &str, object: &str| {
        let is_it = |entry: &&Json| field(entry, "code") == Some(code) && entry["object"] == object;
        entries(&host, "faults").iter().filter(is_it).cloned().collect::<Vec<_>>()
    };
    assert_eq!((of("guest-trap", "alice").len(), of("guest-error", "bob").len()), (1, 1));
    let all = eventually("the count", || {
        let of_alice = of("guest-error", "alice");
        let repeated: u64 = of_alice.iter().filter_map(|entry| field(entry, "repeated")?.parse::<u64>().ok()).sum();
        let told = of_alice.iter().filter(|entry| field(entry, "repeated").is_none()).count() as u64;
        (told + repeated == 100).then_some(of_alice)
    });
    assert!(all.len() < 100 && all.iter().any(|entry| message(entry).starts_with("repeated ")), "{}", all.len());
}

#[test]
fn without_room_for_an_instance_both_logs_say_so() {
    let host = Host::with("live-instances = 1");
    host.deploy("faults", guest("faults"));
    let _sleeps = host.data().write("GET /faults/alice/sleep?ms=3600000 HTTP/1.1\r\nhost: localhost\r\n\r\n");
    host.wait_for_live_instances(1);
    host.get("/faults/bob/get").problem(503, "no-capacity");
    let entries = entries(&host, "faults");
    assert!(entries.iter().any(|entry| entry["object"] == "bob" && field(entry, "code") == Some("no-capacity")));
    eventually("the server's log", || host.log().contains("no-capacity").then_some(()));
}

#[test]
fn a_refused_query_is_no_failed_turn() {
    let host = Host::start();
    host.deploy("faults", guest("faults"));
    assert_eq!(host.get("/faults/alice/put?n=7").text(), "7");
    let sql = |text: &str| host.admin().post("/v1/classes/faults/objects/alice/sql", format!(r#"{{"sql":"{text}"}}"#));
    sql("SELECT nonsense").problem(422, "query-failed");
    sql("DELETE FROM _hf_kv").problem(422, "query-failed");
    assert_eq!(host.metric("holdfast_failed_turns_total{code=\"query-failed\"}"), 0);
    assert_eq!(entries(&host, "faults").len(), 0, "whoever asked was told");
}
