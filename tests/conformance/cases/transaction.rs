//! Transactions inside a turn.

use super::{Case, Subject};
use crate::subject::word;

pub const CASES: &[Case] =
    &[("transaction/kept", kept), ("transaction/undone", undone), ("transaction/nested", nested)];

/// A time so far ahead that the alarm is not delivered.
const LATER: u64 = 4_000_000_000_000;

/// The host allows 32; the depth of a language's own calls is a different limit.
const DEEP: usize = 8;

fn kept(subject: &Subject) {
    let object = subject.object("a");
    object.says(&[
        ("transaction keep", ""),
        ("put a 1", "ok"),
        (&format!("sql {}", word("CREATE TABLE t (v); INSERT INTO t VALUES (7)")), "0"),
        (&format!("alarm-set {LATER}"), "ok"),
        ("put  x", "error key-size"),
        ("end", "kept"),
        ("get a", "some 1"),
    ]);
    object.says(&[
        ("get a", "some 1"),
        (&format!("sql {}", word("SELECT v FROM t")), "1 v i:7"),
        ("alarm-get", &format!("some {LATER}")),
    ]);
}

fn undone(subject: &Subject) {
    let object = subject.object("a");
    object.says(&[("put a before", "ok"), (&format!("sql {}", word("CREATE TABLE t (v)")), "0")]);
    object.says(&[
        ("put outside 1", "ok"),
        ("transaction undo", ""),
        ("put a inside", "ok"),
        ("get a", "some inside"),
        (&format!("sql {}", word("INSERT INTO t VALUES (7)")), "0"),
        (&format!("alarm-set {LATER}"), "ok"),
        ("end", "undone"),
        ("get a", "some before"),
        ("alarm-get", "none"),
    ]);
    object.says(&[
        ("list", "a before outside 1"),
        (&format!("sql {}", word("SELECT count(*) AS n FROM t")), "1 n i:0"),
        ("alarm-get", "none"),
    ]);
    // A turn that fails inside a transaction.
    object.run("transaction keep\nput a inside\nfail told as%20asked false\nend").problem(500, "guest-error");
    object.says(&[("get a", "some before")]);
}

fn nested(subject: &Subject) {
    let object = subject.object("a");
    object.says(&[
        ("transaction keep", ""),
        ("put a 1", "ok"),
        ("transaction undo", ""),
        ("put b 2", "ok"),
        ("end", "undone"),
        ("put c 3", "ok"),
        ("transaction keep", ""),
        ("put d 4", "ok"),
        ("end", "kept"),
        ("end", "kept"),
        ("list", "a 1 c 3 d 4"),
        ("transaction undo", ""),
        ("transaction keep", ""),
        ("put e 5", "ok"),
        ("end", "kept"),
        ("delete a", "true"),
        ("end", "undone"),
    ]);
    object.says(&[("list", "a 1 c 3 d 4")]);
    let deep = "transaction keep\n".repeat(DEEP) + "put deep 1\n" + &"end\n".repeat(DEEP);
    assert_eq!(object.ask(&deep).len(), DEEP + 1);
    object.says(&[("get deep", "some 1")]);
}
