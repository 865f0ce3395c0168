//! SQLite's own behaviour as the oracle: random statements through turns and through plain SQLite give the same
//! results, and random texts break nothing.

use proptest::prelude::*;
use rusqlite::Connection as Sqlite;

use super::plain::{self, Answer, Step, Table, steps, value};
use super::*;

fn in_turn(turn: &mut Turn, sql: &str, parameters: &[Value]) -> Answer {
    let code = |error| match error {
        SqlError::Constraint(error) | SqlError::Sqlite(error) => (error.code, error.message),
        other => panic!("{sql}: {other}"),
    };
    let table = turn.query(sql, parameters).map_err(code)?;
    let crate::base::Table { columns, rows, changes, last_insert_rowid, .. } = table;
    Ok(Table { columns, rows, changes, last_insert_rowid })
}

fn compare(turn: &mut Turn, plain: &Sqlite, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Run(sql, parameters) => {
                assert_eq!(in_turn(turn, sql, parameters), plain::run(plain, sql, parameters), "{sql} {parameters:?}");
            }
            Step::Nested(steps, keep) => {
                let savepoint = turn.savepoint().unwrap();
                plain.execute_batch("SAVEPOINT nested").unwrap();
                compare(turn, plain, steps);
                if *keep {
                    turn.keep(savepoint).unwrap();
                    plain.execute_batch("RELEASE nested").unwrap();
                } else {
                    turn.undo(savepoint).unwrap();
                    plain.execute_batch("ROLLBACK TO nested; RELEASE nested").unwrap();
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn sql_is_sqlites(turns in prop::collection::vec((steps(), any::<bool>()), 1..4)) {
        let world = World::new();
        let mut object = world.object("a");
        // The tables are kept, so that rowids continue in both databases.
        object.turn(|turn| turn.put("k", b"v").unwrap());
        let plain = plain::open();
        for (steps, apply) in &turns {
            let mut turn = object.begin(WorkBudget::unlimited());
            plain.execute_batch("BEGIN").unwrap();
            compare(&mut turn, &plain, steps);
            let applied = if *apply {
                object.apply(turn).is_ok()
            } else {
                object.0 = Some(turn.roll_back());
                false
            };
            plain.execute_batch(if applied { "COMMIT" } else { "ROLLBACK" }).unwrap();
        }
        let mut turn = object.begin(WorkBudget::unlimited());
        compare(&mut turn, &plain, &["a", "b", "c"].map(|t| Step::Run(format!("SELECT * FROM {t} ORDER BY rowid"), Vec::new())));
        object.apply(turn).unwrap();
    }

    /// Text made of tokens that mean something in SQL, and parameters that may not match it.
    #[test]
    fn no_text_breaks_a_turn(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "SELECT", "INSERT INTO t", "VALUES", "(", ")", ",", ";", "1", "?", "?5", ":a", "'", "\"", "--", "/*", "*/", "\n", " ", "t",
            "_hf_kv", "CREATE TABLE", "DROP TABLE", "PRAGMA", "foreign_keys", "=", "RETURNING *", "FROM", "BEGIN", "END", "COMMIT",
            "EXPLAIN", "WITH", "x'0'", "\u{feff}", "\u{e9}", "VACUUM", "ROLLBACK", "INSERT OR ROLLBACK INTO t VALUES (1)",
        ]), 0..12),
        spaced in any::<bool>(),
        parameters in prop::collection::vec(value(), 0..3),
        max in any::<u32>(),
    ) {
        let world = World::new();
        let mut object = world.object("a");
        object.turn(|turn| turn.exec("CREATE TABLE t (x UNIQUE); INSERT INTO t VALUES (1)", &[]).unwrap());
        let mut turn = object.begin(WorkBudget::new(1_000_000_000, || false));
        if let Ok(outcome) = turn.exec(&pieces.join(if spaced { " " } else { "" }), &parameters)
            && let Some(cursor) = outcome.more
        {
            let _ = turn.next(cursor, max);
        }
        let _ = object.apply(turn);
        object.turn(|turn| turn.put("k", b"v").unwrap());
        prop_assert_eq!(object.get("k").unwrap(), b"v");
    }
}
