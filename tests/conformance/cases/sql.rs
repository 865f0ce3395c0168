//! SQL.

use super::{Case, Subject};
use crate::subject::{Object, word};

pub const CASES: &[Case] = &[
    ("sql/types", types),
    ("sql/whole-reals", whole_reals),
    ("sql/statements", statements),
    ("sql/cursor", cursor),
    ("sql/left-open", left_open),
    ("sql/errors", errors),
];

fn types(subject: &Subject) {
    let object = subject.object("a");
    let mut values: Vec<String> = vec!["n".into()];
    for integer in [0, 1, -1, i64::MIN, i64::MAX, (1 << 53) + 1, -(1 << 53) - 1, 1 << 32] {
        values.push(format!("i:{integer}"));
    }
    values.extend(reals([0.1, -1.5, 5e-324, 1e-300, f64::INFINITY, f64::NEG_INFINITY]));
    for text in ["", "plain", "with \0 inside", "é\u{FEFF}😀\u{10FFFF}", "5"] {
        values.push(format!("t:{}", word(text)));
    }
    let every_byte: Vec<u8> = (0..=255).collect();
    for blob in [&b""[..], &every_byte, &vec![0xA5; 300_000]] {
        values.push(format!("b:{}", word(blob)));
    }
    come_back(&object, &values);
    let nan = format!("sql {} r:7ff8000000000000", word("SELECT ?1 IS NULL"));
    assert!(object.ask_one(&nan).ends_with(" i:1"), "NaN is stored as NULL");
}

fn whole_reals(subject: &Subject) {
    come_back(&subject.object("a"), &reals([0.0, -0.0, 1.0, -1.5e300, f64::MAX, 9_007_199_254_740_993.0]));
}

fn reals<const N: usize>(reals: [f64; N]) -> Vec<String> {
    reals.iter().map(|real| format!("r:{:016x}", real.to_bits())).collect()
}

/// Stores values and reads them, and passes them through a query without storing them.
#[track_caller]
fn come_back(object: &Object, values: &[String]) {
    object.says(&[("sql CREATE%20TABLE%20t%20%28v%20ANY%29%20STRICT", "0")]);
    let insert = word("INSERT INTO t (v) VALUES (?)");
    let script: String = values.iter().map(|value| format!("sql {insert} {value}\n")).collect();
    assert!(object.ask(&script).iter().all(|answer| answer == "0"));
    let stored = object.ask_one(&format!("sql {}", word("SELECT v FROM t ORDER BY rowid")));
    assert_same(&stored, &format!("1 v {}", values.join(" ")));
    let select = word(format!("SELECT {}", vec!["?"; values.len()].join(",")));
    let shown = object.ask_one(&format!("sql {select} {}", values.join(" ")));
    let shown: Vec<&str> = shown.split(' ').collect();
    assert_same(&shown[1 + values.len()..].join(" "), &values.join(" "));
}

/// Compares two lists and reports where they differ instead of printing both.
#[track_caller]
fn assert_same(answer: &str, expected: &str) {
    let (answers, expectations) = (answer.split(' '), expected.split(' '));
    for (answer, expected) in answers.clone().zip(expectations.clone()) {
        assert_eq!(format!("{answer:.80}"), format!("{expected:.80}"));
        assert!(answer == expected, "{answer:.80}… of {} bytes", answer.len());
    }
    assert_eq!(answers.count(), expectations.count());
}

fn statements(subject: &Subject) {
    let object = subject.object("a");
    let sql = |text: &str| format!("sql {}", word(text));
    let changes = |text: &str| format!("sql-changes {}", word(text));
    object.says(&[
        (&sql("CREATE TABLE t (id INTEGER PRIMARY KEY, who TEXT); INSERT INTO t (who) VALUES ('ann'); SELECT * FROM t"), "2 id who i:1 t:ann"),
        (&format!("{} t:bob t:cyd", changes("INSERT INTO t (who) VALUES (?), (?)")), "2 3"),
        (&changes("UPDATE t SET who = upper(who) WHERE id > 1"), "2 3"),
        (&changes("INSERT INTO t (who) VALUES ('x'); DELETE FROM t WHERE who = 'x'"), "2 4"),
        (&sql("SELECT id AS n, who, id AS n FROM t WHERE id < 3 ORDER BY id"), "3 n who n i:1 t:ann i:1 i:2 t:BOB i:2"),
        (&sql("SELECT id FROM t WHERE id > 99"), "1 id"),
        (&format!("{} i:2 t:ann", sql("SELECT count(*) AS n FROM t WHERE id = ?2 OR id = ?1")), "1 n i:1"),
        (&sql("INSERT INTO t (who) VALUES ('dan') RETURNING id, who"), "2 id who i:4 t:dan"),
        (&sql("CREATE VIRTUAL TABLE f USING fts5(body); INSERT INTO f VALUES ('one two'); SELECT body FROM f WHERE f MATCH 'two'"), "1 body t:one%20two"),
    ]);
    object.says(&[
        (&sql("SELECT count(*) AS n FROM t"), "1 n i:4"),
        (&sql("-- a comment\n SELECT 1 AS one;"), "1 one i:1"),
    ]);
}

/// Returns a query of the numbers from 1 on.
fn numbers(count: u32) -> String {
    word(format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) SELECT i FROM n"))
}

fn cursor(subject: &Subject) {
    let object = subject.object("a");
    object.says(&[
        (&format!("sql-sum {}", numbers(10_000)), "10000 50005000"),
        (&format!("sql-sum {}", numbers(1)), "1 1"),
        (&format!("sql-sum {}", word("SELECT 1 WHERE FALSE")), "0 0"),
    ]);
    let rows: Vec<String> = (1..=600).map(|n| format!("i:{n}")).collect();
    assert_same(&object.ask_one(&format!("sql {}", numbers(600))), &format!("1 i {}", rows.join(" ")));
    // Rows of 10 kB each: batches also end by size.
    let large = word(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) SELECT i, zeroblob(10000) FROM n",
    );
    object.says(&[(&format!("sql-sum {large}"), "500 125250")]);
}

/// An instance may have 10,000 of the host's resources.
fn left_open(subject: &Subject) {
    let object = subject.object("a");
    object.says(&[("count", "1")]);
    let unread = format!("sql-changes {}\n", numbers(600)).repeat(200);
    for _ in 0..51 {
        assert_eq!(object.ask(&unread).len(), 200);
    }
    object.says(&[("count", "2")]);
}

fn errors(subject: &Subject) {
    let object = subject.object("a");
    let sql = |text: &str| format!("sql {}", word(text));
    object.says(&[
        (&sql("CREATE TABLE t (id INTEGER PRIMARY KEY, who TEXT UNIQUE)"), "0"),
        (&sql("INSERT INTO t (who) VALUES ('ann')"), "0"),
        (&sql(""), "error no-statement"),
        (&sql("-- nothing"), "error no-statement"),
        (&sql("BEGIN"), "error not-authorized"),
        (&sql("ATTACH 'x' AS y"), "error not-authorized"),
        (&sql("SELECT ?"), "error parameter-count"),
        (&format!("{} i:1", sql("SELECT 1")), "error parameter-count"),
        (&sql("INSERT INTO t (who) VALUES ('ann')"), "error constraint 2067 UNIQUE%20constraint%20failed%3A%20t.who"),
        (&sql("SELEC 1"), "error sqlite 1 near%20%22SELEC%22%3A%20syntax%20error"),
        (&sql("SELECT * FROM missing"), "error sqlite 1 no%20such%20table%3A%20missing"),
        (&sql("INSERT INTO t (who) VALUES ('bob')"), "0"),
    ]);
    object.says(&[(&sql("SELECT count(*) AS n FROM t"), "1 n i:2")]);
}
