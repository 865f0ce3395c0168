//! SQL: values, several statements, cursors, and the state after a failure.

use super::*;

fn fill(turn: &mut Turn, rows: u32) {
    turn.exec("CREATE TABLE t (x)", &[]).unwrap();
    let many = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) INSERT INTO t SELECT i FROM n"
    );
    assert_eq!(turn.exec(&many, &[]).unwrap().changes, u64::from(rows));
}

#[test]
fn values_go_in_and_come_out() {
    let world = World::new();
    world.object("a").turn(|turn| {
        turn.exec("CREATE TABLE t (a, b, c, d, e)", &[]).unwrap();
        let row = [Value::Null, int(i64::MIN), Value::Real(1.5), text("é\u{1F980}"), Value::Blob(vec![0, 255])];
        let outcome = turn.exec("INSERT INTO t VALUES (?, ?, ?, ?, ?)", &row).unwrap();
        assert_eq!((outcome.changes, outcome.last_insert_rowid, outcome.columns.len()), (1, 1, 0));
        let outcome = turn.exec("SELECT a, b, c, d AS a, e FROM t", &[]).unwrap();
        assert_eq!(outcome.columns, ["a", "b", "c", "a", "e"]);
        assert_eq!(outcome.rows, [row]);
        assert_eq!(outcome.more, None);
        let odd = turn.exec("SELECT ?1, ?2, ?3", &[Value::Real(f64::NAN), text(""), Value::Blob(vec![])]).unwrap();
        assert_eq!(odd.rows, [[Value::Null, text(""), Value::Blob(vec![])]]);
        let repaired = turn.exec("SELECT CAST(x'61ff' AS TEXT)", &[]).unwrap();
        assert_eq!(repaired.rows, [[text("a\u{fffd}")]]);
    });
}

#[test]
fn several_statements_run_in_order() {
    let world = World::new();
    world.object("a").turn(|turn| {
        let script = "-- a table\nCREATE TABLE t (x); INSERT INTO t VALUES (1), (2); /* and */ UPDATE t SET x = x + 1;
                      SELECT sum(x) + ? FROM t; ;; -- done";
        let outcome = turn.exec(script, &[int(10)]).unwrap();
        assert_eq!((outcome.rows, outcome.changes), (vec![vec![int(15)]], 4));
    });
}

#[test]
fn changes_are_without_triggers() {
    let world = World::new();
    world.object("a").turn(|turn| {
        let tables = "CREATE TABLE t (x); CREATE TABLE log (x);
                      CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.x), (new.x); END";
        assert_eq!(turn.exec(tables, &[]).unwrap().changes, 0);
        assert_eq!(turn.exec("INSERT INTO t VALUES (1), (2)", &[]).unwrap().changes, 2);
        assert_eq!(turn.exec("SELECT * FROM t", &[]).unwrap().changes, 0);
        assert_eq!(turn.exec("DELETE FROM t WHERE x > 5", &[]).unwrap().changes, 0);
        assert_eq!(turn.exec("CREATE TABLE u (x)", &[]).unwrap().changes, 0);
        assert_eq!(turn.exec("INSERT INTO t VALUES (3) RETURNING x", &[]).unwrap().changes, 1);
    });
}

#[test]
fn the_number_of_parameters_fits_exactly() {
    let world = World::new();
    world.object("a").turn(|turn| {
        let count = |takes, given| Err(SqlError::ParameterCount { takes, given });
        assert_eq!(turn.exec("SELECT ?, ?", &[int(1)]), count(2, 1));
        assert_eq!(turn.exec("SELECT ?", &[]), count(1, 0), "unbound ones included");
        assert_eq!(turn.exec("SELECT 1", &[int(1)]), count(0, 1));
        assert_eq!(turn.exec("SELECT ?3", &[int(1)]), count(3, 1));
        assert_eq!(turn.exec("SELECT ?; SELECT ?", &[int(1)]), count(1, 0), "only the last takes any");
        assert_eq!(turn.exec("SELECT :a, @b, $c", &[int(1), int(2), int(3)]).unwrap().rows.len(), 1);
    });
}

#[test]
fn no_statement_is_an_error() {
    let world = World::new();
    world.object("a").turn(|turn| {
        for nothing in ["", "  ", ";", "-- nothing", "/* nothing"] {
            assert_eq!(turn.exec(nothing, &[]), Err(SqlError::NoStatement));
        }
    });
}

#[test]
fn errors_are_told_apart_and_the_turn_goes_on() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| {
        turn.exec("CREATE TABLE t (x UNIQUE, CHECK (x < 10)); INSERT INTO t VALUES (1)", &[]).unwrap();
        let code = |error| match error {
            Err(SqlError::Constraint(error)) => error.code,
            other => panic!("{other:?}"),
        };
        assert_eq!(code(turn.exec("INSERT INTO t VALUES (2), (1)", &[])), 2067);
        assert_eq!(code(turn.exec("INSERT INTO t VALUES (10)", &[])), 275);
        assert!(matches!(turn.exec("SELEC 1", &[]), Err(SqlError::Sqlite(error)) if error.code == 1));
        assert!(matches!(turn.exec("SELECT * FROM none", &[]), Err(SqlError::Sqlite(error)) if error.message.contains("none")));
        assert!(matches!(turn.exec("SELECT 1\0", &[]), Err(SqlError::Sqlite(_))));
        turn.exec("INSERT INTO t VALUES (3)", &[]).unwrap();
    });
    assert_eq!(object.rows("SELECT x FROM t"), [[int(1)], [int(3)]], "a failed statement changed nothing");
}

#[test]
fn a_failed_call_leaves_nothing_of_itself() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| {
        turn.exec("CREATE TABLE t (x UNIQUE); INSERT INTO t VALUES (1)", &[]).unwrap();
        turn.exec("INSERT INTO t VALUES (2); CREATE TABLE u (x); INSERT INTO t VALUES (1)", &[]).unwrap_err();
        turn.exec("INSERT INTO t VALUES (3); SELECT ?", &[]).unwrap_err();
        turn.exec("INSERT INTO t VALUES (4); SELEC", &[]).unwrap_err();
        turn.put("k", b"v").unwrap();
    });
    assert_eq!(object.rows("SELECT x FROM t"), [[int(1)]]);
    assert_eq!(object.rows("SELECT count(*) FROM sqlite_schema WHERE name = 'u'"), [[int(0)]]);
    assert!(object.get("k").is_some());
}

#[test]
fn long_results_come_in_batches() {
    let world = World::new();
    world.object("a").turn(|turn| {
        fill(turn, 600);
        let outcome = turn.exec("SELECT x FROM t ORDER BY x", &[]).unwrap();
        assert_eq!(outcome.rows.len(), 256);
        let cursor = outcome.more.unwrap();
        assert_eq!(turn.next(cursor, 0).unwrap(), [[int(257)]], "0 is taken as 1");
        assert_eq!(turn.next(cursor, 1_000).unwrap().len(), 343);
        for _ in 0..2 {
            assert!(turn.next(cursor, 1_000).unwrap().is_empty());
        }
        let outcome = turn.exec("SELECT x FROM t LIMIT 256", &[]).unwrap();
        assert_eq!((outcome.rows.len(), outcome.more), (256, None), "no cursor when all rows are there");
        let outcome = turn.exec("SELECT zeroblob(400000) FROM t", &[]).unwrap();
        assert_eq!(outcome.rows.len(), 3, "about a mebibyte");
        assert_eq!(turn.next(outcome.more.unwrap(), 1_000).unwrap().len(), 3);
    });
}

/// Decodes values in the encoding of `wit/packed-sql.wit`.
fn unpack(mut bytes: &[u8]) -> Vec<Value> {
    let take = |bytes: &mut &[u8], length| bytes.split_off(..length).unwrap().to_vec();
    let number = |bytes: &mut &[u8]| take(bytes, 8).try_into().unwrap();
    let sized = |bytes: &mut &[u8]| {
        let length = u32::from_le_bytes(take(bytes, 4).try_into().unwrap());
        take(bytes, length as usize)
    };
    let mut values = Vec::new();
    while let Some(tag) = bytes.split_off_first() {
        values.push(match tag {
            0 => Value::Null,
            1 => int(i64::from_le_bytes(number(&mut bytes))),
            2 => Value::Real(f64::from_le_bytes(number(&mut bytes))),
            3 => Value::Text(String::from_utf8(sized(&mut bytes)).unwrap()),
            4 => Value::Blob(sized(&mut bytes)),
            other => panic!("{other} is not a type"),
        });
    }
    values
}

#[test]
fn results_in_one_piece_say_what_lists_say() {
    let world = World::new();
    world.object("a").turn(|turn| {
        let nothing = turn.exec_packed("CREATE TABLE t (x)", &[]).unwrap();
        assert_eq!((nothing.result, nothing.more), (None, None));
        let inserted = turn.exec_packed("INSERT INTO t VALUES (?), ('é'), ('')", &[int(7)]).unwrap();
        assert_eq!((inserted.changes, inserted.last_insert_rowid, inserted.result), (3, 3, None));
        let none = turn.exec_packed("SELECT x FROM t WHERE 0", &[]).unwrap();
        assert_eq!(none.result.as_deref(), Some(&b"\x01\0\0\0\x03\x01\0\0\0x"[..]));
        let query = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
                     SELECT i, i / 4.0 AS \"é\", x'00ff' AS i, NULL, CAST(x'61ff' AS TEXT), x, zeroblob(0) FROM n, t";
        let lists = turn.exec(query, &[]).unwrap();
        let packed = turn.exec_packed(query, &[]).unwrap();
        let (width, values) = packed.result.as_deref().unwrap().split_first_chunk().unwrap();
        assert_eq!(u32::from_le_bytes(*width), 7);
        let names: Vec<Value> = lists.columns.iter().map(|name| text(name)).collect();
        let first = unpack(values);
        assert_eq!(first[..7], names);
        assert_eq!(first[7..], lists.rows.concat());
        // Either form continues where the other stopped.
        let (of_lists, of_packed) = (lists.more.unwrap(), packed.more.unwrap());
        loop {
            let batch = turn.next(of_packed, 500).unwrap();
            let bytes = turn.next_packed(of_lists, 500).unwrap();
            assert_eq!(unpack(&bytes), batch.concat());
            if bytes.is_empty() {
                break;
            }
        }
    });
}

#[test]
fn cursors_end_with_their_turn_or_by_a_later_statement() {
    let world = World::new();
    let mut object = world.object("a");
    let old = object.turn(|turn| {
        fill(turn, 600);
        turn.exec("SELECT x FROM t", &[]).unwrap().more.unwrap()
    });
    object.turn(|turn| {
        assert_eq!(turn.next(old, 1), Err(SqlError::Closed));
        let one = turn.exec("SELECT x FROM t", &[]).unwrap().more.unwrap();
        let same = turn.exec("SELECT x FROM t", &[]).unwrap().more.unwrap();
        assert_eq!(turn.next(one, 1).unwrap(), turn.next(same, 1).unwrap(), "two cursors of one statement");
        turn.put("k", b"v").unwrap();
        turn.exec("INSERT INTO t VALUES (0)", &[]).unwrap();
        assert_eq!(turn.next(one, 1).unwrap().len(), 1, "writes do not close a cursor");
        turn.close(one);
        assert_eq!(turn.next(one, 1), Err(SqlError::Closed));
        turn.exec("ALTER TABLE t ADD COLUMN y", &[]).unwrap();
        assert_eq!(turn.next(same, 1), Err(SqlError::Closed));
        let returning = turn.exec("UPDATE t SET y = x RETURNING x", &[]).unwrap().more.unwrap();
        turn.exec("SELECT 1; SELECT 2", &[]).unwrap();
        assert_eq!(turn.next(returning, 1), Err(SqlError::Closed));
        turn.exec("DELETE FROM t WHERE y IS NULL; SELECT 1", &[]).unwrap();
    });
    assert_eq!(object.rows("SELECT count(*), sum(x = y) FROM t"), [[int(601), int(601)]]);
}

#[test]
fn a_write_with_open_rows_can_be_undone_by_a_later_failure() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| {
        fill(turn, 600);
        assert!(turn.exec("SELECT 1; UPDATE t SET x = -x RETURNING x", &[]).unwrap().more.is_some());
        turn.exec("DELETE FROM t; SELEC", &[]).unwrap_err();
    });
    assert_eq!(object.rows("SELECT count(*), max(x) FROM t"), [[int(600), int(-1)]], "only the failed call is undone");
}

#[test]
fn what_is_compiled_in_works() {
    let world = World::new();
    world.object("a").turn(|turn| {
        let script = "CREATE VIRTUAL TABLE notes USING fts5 (body);
            INSERT INTO notes VALUES ('hold fast'), ('let go');
            CREATE VIRTUAL TABLE words USING fts5vocab (notes, row);
            CREATE VIRTUAL TABLE boxes USING rtree (id, x0, x1);
            INSERT INTO boxes VALUES (1, 0, 10)";
        turn.exec(script, &[]).unwrap();
        let mut one = |query: &str| turn.exec(query, &[]).unwrap_or_else(|error| panic!("{query}: {error}")).rows;
        assert_eq!(one("SELECT body FROM notes WHERE notes MATCH 'hold'"), [[text("hold fast")]]);
        assert_eq!(one("SELECT count(*) FROM words"), [[int(4)]]);
        assert_eq!(one("SELECT id FROM boxes WHERE x0 < 5 AND x1 > 5"), [[int(1)]]);
        assert_eq!(one("SELECT sum(value) FROM json_each('[1, 2, 3]')"), [[int(6)]]);
        assert_eq!(one("SELECT '{\"a\": [7]}' ->> '$.a[0]'"), [[int(7)]]);
        assert_eq!(one("SELECT count(*) FROM json_tree('{\"a\": [7]}')"), [[int(3)]]);
        assert_eq!(one("SELECT cast(sqrt(16) + cos(0) AS INTEGER)"), [[int(5)]], "maths functions");
        assert_eq!(one("SELECT count(*) FROM pragma_table_info('boxes')"), [[int(3)]]);
        assert_eq!(one("INSERT INTO notes (notes) VALUES ('optimize'); SELECT 1"), [[int(1)]]);
        one("ANALYZE");
        one("PRAGMA optimize");
        one("REINDEX");
        one("DROP TABLE words; DROP TABLE notes; DROP TABLE boxes");
    });
}

/// A cached statement is reused with the same handle. What changes the schema or the connection is compiled each time,
/// and so is a statement that was not used for long.
#[test]
fn repeated_statements_are_compiled_once() {
    let world = World::new();
    let mut object = world.object("a");
    let cached = |turn: &mut Turn, sql: &str| {
        let connection = turn.connection().unwrap();
        let statement = connection.take_statement(sql);
        let found = statement.is_some();
        statement.into_iter().for_each(|(text, statement)| connection.keep_statement(text, statement));
        found
    };
    object.turn(|turn| {
        for sql in ["CREATE TABLE u (x)", "PRAGMA table_info(u)", "SELECT 1; SELECT 2", "SELEC"] {
            let _ = turn.exec(sql, &[]);
            assert!(!cached(turn, sql), "{sql}");
        }
        fill(turn, 300);
        for sql in ["SELECT count(*) FROM t", "INSERT INTO t VALUES (?)"] {
            assert!(!cached(turn, sql), "{sql}");
            turn.exec(sql, &vec![int(1); sql.matches('?').count()]).unwrap();
            assert!(cached(turn, sql), "{sql}");
        }
        // A statement with an open cursor is not in the cache; it returns there when it has ended.
        let rows = turn.exec("SELECT x FROM t", &[]).unwrap().more.unwrap();
        assert!(!cached(turn, "SELECT x FROM t"));
        turn.close(rows);
        assert!(cached(turn, "SELECT x FROM t"));
    });
    // Across turns, and after a change of the schema, which SQLite notices.
    object.turn(|turn| {
        assert!(cached(turn, "SELECT count(*) FROM t"));
        turn.exec("ALTER TABLE t ADD COLUMN y", &[]).unwrap();
        turn.exec("SELECT * FROM t LIMIT 1", &[]).unwrap();
        turn.exec("ALTER TABLE t RENAME COLUMN y TO z", &[]).unwrap();
        assert_eq!(turn.exec("SELECT * FROM t LIMIT 1", &[]).unwrap().columns.last().unwrap(), "z");
        for n in 0..16 {
            turn.exec(&format!("SELECT {n}"), &[]).unwrap();
        }
        assert!(!cached(turn, "SELECT count(*) FROM t") && cached(turn, "SELECT 0"));
    });
}

/// Compiled to nothing, such a statement would do nothing again, or would act outside the turn's transaction.
#[test]
fn statements_that_found_nothing_to_do_are_compiled_again() {
    let world = World::new();
    let mut object = world.object("a");
    let drop =
        ["DROP VIEW IF EXISTS v", "DROP TRIGGER IF EXISTS g", "DROP INDEX IF EXISTS i", "DROP TABLE IF EXISTS t"];
    let create = [
        "CREATE TABLE IF NOT EXISTS t (x)",
        "CREATE INDEX IF NOT EXISTS i ON t (x)",
        "CREATE VIEW IF NOT EXISTS v AS SELECT 1",
        "CREATE TRIGGER IF NOT EXISTS g AFTER INSERT ON t BEGIN SELECT 1; END",
    ];
    for _ in 0..3 {
        for (statements, left) in [(drop, 0), (create, 4), (create, 4), (drop, 0)] {
            for sql in statements {
                object.turn(|turn| {
                    let outcome = turn.exec(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error}"));
                    assert_eq!(outcome.changes, 0, "{sql}");
                });
            }
            let there = object.rows("SELECT count(*) FROM sqlite_schema WHERE name IN ('t', 'i', 'v', 'g')");
            assert_eq!(there, [[int(left)]]);
        }
    }
}

#[test]
fn deletes_and_updates_with_a_limit() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| {
        turn.exec("CREATE TABLE t (x); CREATE TABLE w (a, b, PRIMARY KEY (b, a)) WITHOUT ROWID", &[]).unwrap();
        turn.exec(
            "INSERT INTO t VALUES (1), (2), (3), (4), (5), (6); INSERT INTO w VALUES (1, 1), (2, 1), (3, 2)",
            &[],
        )
        .unwrap();
        // Twice: the second time, the cached statement answers.
        for (given, left) in [(6, 4), (5, 3)] {
            let deleted = turn.exec(
                "DELETE FROM t WHERE x <= ? ORDER BY x DESC LIMIT ?",
                &[int(given), int(1 + i64::from(given == 6))],
            );
            assert_eq!(deleted.unwrap().changes, if given == 6 { 2 } else { 1 });
            assert_eq!(turn.exec("SELECT max(x) FROM t", &[]).unwrap().rows, [[int(left)]]);
        }
        let updated =
            turn.exec("UPDATE t SET x = x + 10 WHERE x > :least RETURNING x ORDER BY x LIMIT 1 OFFSET 1", &[int(1)]);
        assert_eq!(updated.unwrap().rows, [[int(13)]]);
        turn.exec("DELETE FROM w ORDER BY a LIMIT 2; UPDATE w SET b = 7 LIMIT 5", &[]).unwrap();
        assert_eq!(turn.exec("SELECT a, b FROM w", &[]).unwrap().rows, [[int(3), int(7)]]);
        let refused = turn.exec("UPDATE t SET x = 1 FROM w LIMIT 1", &[]).unwrap_err();
        assert!(refused.to_string().contains("syntax error"), "{refused}");
    });
}

#[test]
fn snippets_of_rows_that_match_everywhere_are_refused() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| {
        turn.exec("CREATE VIRTUAL TABLE f USING fts5 (t)", &[]).unwrap();
        let words = |n: usize| text(&"a ".repeat(n));
        turn.exec("INSERT INTO f VALUES (?)", &[words(30)]).unwrap();
        let snippet = "SELECT snippet(f, 0, '<', '>', '…', 3), highlight(f, 0, '<', '>') FROM f ('a')";
        let few = turn.exec(snippet, &[]).unwrap().rows;
        assert!(matches!(&few[0][0], Value::Text(text) if text == "<a> <a> <a>…"), "{few:?}");
        turn.exec("INSERT INTO f VALUES (?)", &[words(400_000)]).unwrap();
        for function in ["snippet(f, 0, '<', '>', '…', 3)", "highlight(f, 0, '<', '>')"] {
            let refused = turn.exec(&format!("SELECT {function} FROM f ('a') WHERE rowid = 2"), &[]);
            assert!(
                matches!(&refused, Err(SqlError::TooLarge(why)) if why.contains("too many matches")),
                "{refused:?}"
            );
        }
    });
}
