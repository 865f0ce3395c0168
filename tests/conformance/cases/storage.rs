//! Operations on the whole storage of an object.

use super::{Case, Subject};
use crate::subject::word;

pub const CASES: &[Case] = &[("storage/size", size), ("storage/delete-all", delete_all), ("storage/sync", sync)];

fn size(subject: &Subject) {
    let object = subject.object("a");
    object.says(&[("size", "0")]);
    let megabyte = "x".repeat(1_000_000);
    let mut last = 0;
    for n in 0..3 {
        let answers = object.ask(&format!("put {n} {megabyte}\nsize"));
        let size: u64 = answers[1].parse().expect("a number");
        assert!((last + 1_000_000..last + 1_200_000).contains(&size), "{last}, then {size}");
        last = size;
    }
    assert_eq!(object.ask_one("size"), last.to_string());
}

fn delete_all(subject: &Subject) {
    let object = subject.object("a");
    let sql = |text: &str| format!("sql {}", word(text));
    object.says(&[("put a 1", "ok"), (&sql("CREATE TABLE t (v)"), "0"), ("alarm-set 4000000000000", "ok")]);
    object.run("delete-all\nput b 2\nfail told as%20asked false").problem(500, "guest-error");
    object.says(&[("list", "a 1"), ("alarm-get", "some 4000000000000")]);
    object.says(&[
        ("transaction keep", ""),
        ("delete-all", "error savepoint-open"),
        ("end", "kept"),
        ("delete-all", "ok"),
        ("list", ""),
        ("alarm-get", "none"),
        (&sql("SELECT * FROM t"), "error sqlite 1 no%20such%20table%3A%20t"),
        ("put b 2", "ok"),
    ]);
    object.says(&[("list", "b 2"), ("delete-all", "ok")]);
    subject
        .host
        .admin()
        .get(&format!("/v1/classes/conformance/objects/{}", object.name))
        .problem(404, "unknown-object");
}

fn sync(subject: &Subject) {
    let object = subject.object("a");
    object.run("put a 1\nsync\nput b 2\nfail told as%20asked false").problem(500, "guest-error");
    object.says(&[
        ("list", "a 1"),
        ("transaction keep", ""),
        ("sync", "error savepoint-open"),
        ("end", "kept"),
        ("sync", "ok"),
    ]);
}
