//! Turns that fail.

use serde_json::Value as Json;

use super::{Case, Subject};
use crate::subject::Object;

pub const CASES: &[Case] = &[("errors/failure", failure), ("errors/thrown", thrown), ("errors/stack", stack)];

fn failure(kit: &Subject) {
    let object = kit.object("a");
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

/// The problem that a script ends with which throws.
#[track_caller]
fn throw(object: &Object, script: &str) -> Json {
    let answer = object.run(script);
    let problem: Json = serde_json::from_slice(&answer.body).expect("a problem is JSON");
    assert_eq!(answer.status, 500, "{problem}");
    problem
}

fn thrown(kit: &Subject) {
    let object = kit.object("a");
    object.says(&[("put a before", "ok"), ("count", "1")]);
    let problem = throw(&object, "put a after\nthrow the%20sky%20fell");
    assert!(["guest-error", "guest-trap"].contains(&problem["code"].as_str().unwrap_or_default()), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("the sky fell")), "{problem}");
    let log = object.log();
    let told = log.iter().filter(|entry| entry.starts_with("error") && entry.contains("the sky fell"));
    assert_eq!(told.count(), 1, "a failure is one entry: {log:?}");
    object.says(&[("get a", "some before"), ("count", "1")]);
}

fn stack(kit: &Subject) {
    let object = kit.object("a");
    let problem = throw(&object, "throw the%20sky%20fell");
    let stack = problem["stack"].as_str().unwrap_or_default();
    assert!(stack.lines().count() > 1, "functions are on it: {problem}");
    // In the message or in a field.
    let log = serde_json::to_string(&object.log_entries()).expect("it is JSON");
    assert!(log.contains(kit.thrown_in), "{} is not in {log}", kit.thrown_in);
}
