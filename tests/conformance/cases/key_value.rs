//! Keys and values.

use super::{Case, Subject};
use crate::subject::{Object, word};

pub const CASES: &[Case] =
    &[("key-value/values", values), ("key-value/many", many), ("key-value/list", list), ("key-value/errors", errors)];

fn values(subject: &Subject) {
    let object = subject.object("a");
    object.says(&[("get a", "none"), ("put a 1", "ok"), ("get a", "some 1"), ("put a 2", "ok"), ("get a", "some 2")]);
    object.says(&[("get a", "some 2"), ("delete a", "true"), ("delete a", "false"), ("get a", "none")]);
    let every_byte: Vec<u8> = (0..=255).collect();
    let every_byte = word(&every_byte);
    let key = word("ключ 😀\n");
    object.says(&[
        ("put empty ", "ok"),
        ("get empty", "some "),
        (&format!("put {key} {every_byte}"), "ok"),
        (&format!("get {key}"), &format!("some {every_byte}")),
    ]);
    let large = "x".repeat(1_900_000);
    object.says(&[(&format!("put large {large}"), "ok")]);
    assert_eq!(object.ask_one("get large").len(), "some ".len() + large.len());
    let longest = "k".repeat(2_048);
    object.says(&[(&format!("put {longest} 1"), "ok"), (&format!("get {longest}"), "some 1")]);
}

fn many(subject: &Subject) {
    let object = subject.object("a");
    object.says(&[
        ("put-many b 2 a 1 b 3", "ok"),
        ("get-many b missing a b", "a 1 b 3"),
        ("get-many missing", ""),
        ("delete-many a missing a", "1"),
        ("get-many a b", "b 3"),
    ]);
    let keys: Vec<String> = (0..129).map(|n| format!("key-{n:03}")).collect();
    let pairs: Vec<String> = keys.iter().map(|key| format!("{key} {key}")).collect();
    object.says(&[
        (&format!("put-many {}", pairs[..128].join(" ")), "ok"),
        (&format!("get-many {}", keys[..128].join(" ")), &pairs[..128].join(" ")),
        (&format!("delete-many {}", keys[..128].join(" ")), "128"),
        (&format!("put-many {}", pairs.join(" ")), "error too-many"),
        ("list prefix=key", ""),
    ]);
}

fn list(subject: &Subject) {
    let object = subject.object("a");
    let put: Vec<String> =
        ["a", "a1", "a2", "b", "é", "😀", "\u{FF61}"].iter().map(|key| format!("{} v", word(key))).collect();
    object.says(&[(&format!("put-many {}", put.join(" ")), "ok")]);
    let keys = |options: &str| keys(&object, options);
    assert_eq!(keys(""), ["a", "a1", "a2", "b", "é", "\u{FF61}", "😀"].map(word), "the order is that of the bytes");
    assert_eq!(keys(" reverse"), ["😀", "\u{FF61}", "é", "b", "a2", "a1", "a"].map(word));
    assert_eq!(keys(" start=a1 end=b"), ["a1", "a2"]);
    assert_eq!(keys(" start-after=a1 end=b"), ["a2"]);
    assert_eq!(keys(" prefix=a"), ["a", "a1", "a2"]);
    assert_eq!(keys(" prefix=a start-after=a limit=1"), ["a1"]);
    assert_eq!(keys(" prefix=a reverse limit=2"), ["a2", "a1"]);
    assert_eq!(keys(" start=b end=a"), Vec::<String>::new());
    assert_eq!(keys(" prefix=%C3%A9"), ["%C3%A9"]);

    let entries: Vec<String> = (0..350).map(|n| format!("n{n:03} {n}")).collect();
    for part in entries.chunks(100) {
        object.says(&[(&format!("put-many {}", part.join(" ")), "ok")]);
    }
    assert_eq!(object.ask_one("list prefix=n"), entries.join(" "));
    assert_eq!(keys(" prefix=n reverse limit=301").last().unwrap(), "n049");
}

fn keys(object: &Object, options: &str) -> Vec<String> {
    let answer = object.ask_one(&format!("list{options}"));
    answer.split_terminator(' ').step_by(2).map(str::to_owned).collect()
}

fn errors(subject: &Subject) {
    let object = subject.object("a");
    let too_long = "k".repeat(2_049);
    object.says(&[
        ("put a 1", "ok"),
        (&format!("put {too_long} 1"), "error key-size"),
        (&format!("get {too_long}"), "error key-size"),
        ("put  1", "error key-size"),
        ("list start=a start-after=a", "error bad-range"),
        ("list limit=0", "error bad-range"),
        ("put b 2", "ok"),
    ]);
    let too_large = "x".repeat(2_000_001);
    object.says(&[("put c 3", "ok"), (&format!("put large {too_large}"), "error value-size"), ("get large", "none")]);
    assert_eq!(object.ask_one("list"), "a 1 b 2 c 3", "the turns went on");
}
