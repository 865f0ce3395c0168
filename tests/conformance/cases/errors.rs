//! Turns that fail.

use serde_json::Value as Json;

use super::{Case, Subject};
use crate::subject::Object;

pub const CASES: &[Case] =
    &[("errors/failure", failure), ("errors/refused", refused), ("errors/thrown", thrown), ("errors/stack", stack)];

fn failure(subject: &Subject) {
    let object = subject.object("a");
    object.says(&[("put a before", "ok")]);
    let problem =
        object.run("put a after\nfail out-of-stock no%20chairs%20%E2%82%AC%20left false").problem(500, "guest-error");
    assert_eq!((&problem["guest_code"], &problem["detail"]), (&"out-of-stock".into(), &"no chairs € left".into()));
    let problem = object.run("fail warming-up later true").problem(503, "guest-error");
    assert_eq!((&problem["guest_code"], &problem["detail"]), (&"warming-up".into(), &"later".into()));
    let log = object.log();
    assert!(log.iter().any(|entry| entry.starts_with("error") && entry.contains("no chairs € left")), "{log:?}");
    object.run("no-such-command").problem(500, "guest-error");
    object.says(&[("get a", "some before")]);
}

/// Returns the problem of a script that throws.
#[track_caller]
fn throw(object: &Object, script: &str) -> Json {
    let answer = object.run(script);
    let problem: Json = serde_json::from_slice(&answer.body).expect("a problem is JSON");
    assert_eq!(answer.status, 500, "{problem}");
    problem
}

/// A refusal that is not caught fails the turn, with a code for each interface; a language that cannot catch traps.
fn refused(subject: &Subject) {
    let object = subject.object("a");
    object.says(&[("put a before", "ok"), ("count", "1")]);
    for (line, case, code) in [
        ("put  empty-key", "key-size", "storage-error"),
        ("sql BEGIN", "not-authorized", "sql-error"),
        ("alarm-set 0", "bad-time", "alarm-error"),
    ] {
        let caught = object.ask(&format!("{line}\nget a"));
        assert_eq!(
            caught,
            [format!("error {case}"), "some before".into()],
            "caught, it is an answer and the turn goes on"
        );
        let problem = throw(&object, &format!("put a after\nuncaught {line}"));
        match problem["code"].as_str() {
            Some("guest-error") => assert_eq!(problem["guest_code"], code, "{problem}"),
            other => assert_eq!(other, Some("guest-trap"), "{problem}"),
        }
        object.says(&[("get a", "some before"), ("count", "1")]);
    }
}

fn thrown(subject: &Subject) {
    let object = subject.object("a");
    object.says(&[("put a before", "ok"), ("count", "1")]);
    let problem = throw(&object, "put a after\nthrow the%20sky%20fell");
    assert!(["guest-error", "guest-trap"].contains(&problem["code"].as_str().unwrap_or_default()), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("the sky fell")), "{problem}");
    let log = object.log();
    let told = log.iter().filter(|entry| entry.starts_with("error") && entry.contains("the sky fell"));
    assert_eq!(told.count(), 1, "a failure is one entry: {log:?}");
    object.says(&[("get a", "some before"), ("count", "1")]);
}

fn stack(subject: &Subject) {
    let object = subject.object("a");
    let problem = throw(&object, "throw the%20sky%20fell");
    let stack = problem["stack"].as_str().unwrap_or_default();
    assert!(stack.lines().count() > 1, "functions are on it: {problem}");
    // The file name is in the message or in a field.
    let log = serde_json::to_string(&object.log_entries()).expect("it is JSON");
    assert!(log.contains(subject.thrown_in), "{} is not in {log}", subject.thrown_in);
}
