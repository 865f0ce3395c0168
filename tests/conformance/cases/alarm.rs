//! The alarm.

use super::{Case, Subject};
use crate::harness::eventually;
use crate::subject::{Object, decode, word};

pub const CASES: &[Case] =
    &[("alarm/set", set), ("alarm/handled", handled), ("alarm/retried", retried), ("alarm/given-up", given_up)];

fn set(subject: &Subject) {
    let object = subject.object("a");
    object.says(&[
        ("alarm-get", "none"),
        ("alarm-delete", "ok"),
        ("alarm-set 4000000000000", "ok"),
        ("alarm-get", "some 4000000000000"),
        ("alarm-set 0", "error bad-time"),
        ("alarm-set 9007199254740992", "error bad-time"),
        ("alarm-set 4000000000001", "ok"),
    ]);
    object.run("alarm-delete\nfail told as%20asked false").problem(500, "guest-error");
    object.says(&[("alarm-get", "some 4000000000001"), ("alarm-delete", "ok"), ("alarm-get", "none")]);
    object.run("alarm-set 4000000000002\nfail told as%20asked false").problem(500, "guest-error");
    object.says(&[("alarm-get", "none"), ("alarm-set 9007199254740991", "ok"), ("alarm-delete", "ok")]);
}

/// Waits until an event is recorded, and returns the events.
fn events(object: &Object) -> Vec<String> {
    let shown = eventually("the alarm", || object.ask_one("get events").strip_prefix("some ").map(str::to_owned));
    shown.split_terminator("%0A").map(|line| String::from_utf8(decode(line)).expect("text")).collect()
}

fn now(object: &Object) -> u64 {
    object.ask_one("now").parse().expect("a number")
}

fn handled(subject: &Subject) {
    let object = subject.object("a");
    let due = now(&object) + 100;
    let script = "alarm-get\nput seen 1\ncount\n";
    object.says(&[(&format!("put on-alarm {}", word(script)), "ok"), (&format!("alarm-set {due}"), "ok")]);
    assert_eq!(events(&object), [format!("alarm {due} 0")]);
    object.says(&[("alarm-get", "none"), ("get seen", "some 1")]);
    // An alarm whose handler sets the next one, once.
    let next = word(format!("delete on-alarm\nalarm-set {}", due + 1));
    object.says(&[
        ("delete events", "true"),
        (&format!("put on-alarm {next}"), "ok"),
        (&format!("alarm-set {due}"), "ok"),
    ]);
    let both = eventually("both alarms", || Some(events(&object)).filter(|events| events.len() == 2));
    assert_eq!(both, [format!("alarm {due} 0"), format!("alarm {} 0", due + 1)]);
}

fn retried(subject: &Subject) {
    let object = subject.object("a");
    let due = now(&object);
    let script = word("put tried 1\nprint about%20to%20fail\nfail-before 1");
    object.says(&[(&format!("put on-alarm {script}"), "ok"), (&format!("alarm-set {due}"), "ok")]);
    assert_eq!(events(&object), [format!("alarm {due} 1")], "the first attempt left nothing");
    object.says(&[("get tried", "some 1"), ("alarm-get", "none")]);
    let tries = object.log().iter().filter(|entry| entry.ends_with("about to fail")).count();
    assert_eq!(tries, 2);
}

/// A failure with the code `give-up` is the last attempt. Otherwise the alarm would stay for two minutes.
fn given_up(subject: &Subject) {
    let object = subject.object("a");
    let due = now(&object);
    let script = word("put tried 1\nfail give-up enough false");
    object.says(&[(&format!("put on-alarm {script}"), "ok"), (&format!("alarm-set {due}"), "ok")]);
    eventually("the alarm to be given up", || (object.ask_one("alarm-get") == "none").then_some(()));
    object.says(&[("get tried", "none"), ("get events", "none")]);
    let log = object.log();
    assert!(log.iter().any(|entry| entry.contains("attempt 1 of 7) and is given up")), "{log:?}");
}
