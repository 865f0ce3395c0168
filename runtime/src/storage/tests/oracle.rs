//! SQLite's own behaviour as oracle: random statements through turns and through plain SQLite give the same results, and
//! random texts break nothing.

use proptest::prelude::*;
use rusqlite::Connection as Sqlite;
use rusqlite::types::Value as Plain;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Run(String, Vec<Value>),
    /// A group of steps in a savepoint, kept or undone.
    Nested(Vec<Step>, bool),
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c"])
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        prop_oneof![-3..4_i64, any::<i64>()].prop_map(Value::Integer),
        prop::sample::select(vec![0.5, -1e300, 3.0]).prop_map(Value::Real),
        "[xy%\u{e9}]{0,3}".prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..3).prop_map(Value::Blob),
    ]
}

fn statement() -> impl Strategy<Value = Step> {
    let fixed = |templates: &[&'static str]| {
        let templates = templates.to_vec();
        (prop::sample::select(templates), name(), name())
            .prop_map(|(sql, t, u)| Step::Run(sql.replace("$t", t).replace("$u", u), Vec::new()))
    };
    let given = |templates: &[&'static str]| {
        let templates = templates.to_vec();
        (prop::sample::select(templates), name(), name(), value())
            .prop_map(|(sql, t, u, value)| Step::Run(sql.replace("$t", t).replace("$u", u), vec![value]))
    };
    prop_oneof![
        3 => fixed(&[
            "CREATE TABLE $t (id INTEGER PRIMARY KEY, x, y TEXT DEFAULT 'd')",
            "CREATE TABLE $t (id INTEGER PRIMARY KEY, x UNIQUE, y CHECK (y <> 'xx'), z REFERENCES $u (id) ON DELETE CASCADE)",
            "CREATE TABLE IF NOT EXISTS $t (x)",
            "DROP TABLE $t",
            "DROP TABLE IF EXISTS $t",
            "ALTER TABLE $t ADD COLUMN w DEFAULT 7",
            "ALTER TABLE $t RENAME TO $u",
            "CREATE INDEX i$t ON $t (x)",
            "CREATE VIEW v$t AS SELECT x FROM $t",
            "CREATE TRIGGER g$t AFTER INSERT ON $t BEGIN UPDATE $u SET y = 'g' WHERE id = new.id; END",
        ]),
        8 => given(&[
            "INSERT INTO $t (x) VALUES (?)",
            "INSERT OR REPLACE INTO $t (id, x) VALUES (1, ?) RETURNING *",
            "INSERT OR IGNORE INTO $t (x, y) VALUES (?, 'xx')",
            "INSERT INTO $t (id, x) SELECT id + 10, ? FROM $u",
            "UPDATE $t SET x = ? WHERE id % 2",
            "UPDATE $t SET y = ?",
            "DELETE FROM $t WHERE x IS ?",
            "SELECT * FROM $t WHERE x >= ? ORDER BY rowid",
            "SELECT ?1, typeof(?1), quote(?1), count(*) FROM $t",
        ]),
        4 => fixed(&[
            "SELECT * FROM $t ORDER BY rowid",
            "SELECT * FROM v$t",
            "SELECT a.id, b.x FROM $t a LEFT JOIN $u b ON a.id = b.id ORDER BY 1, 2",
            "SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE '\\_hf\\_%' ESCAPE '\\' ORDER BY name",
            "DELETE FROM $t",
            "INSERT INTO $t DEFAULT VALUES; INSERT INTO $u DEFAULT VALUES; SELECT * FROM $t ORDER BY rowid",
            "INSERT INTO $t DEFAULT VALUES; SELEC",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) INSERT INTO $t (x) SELECT i FROM n",
        ]),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let leaf = statement();
    let nested = leaf.prop_recursive(3, 24, 5, |inner| {
        (prop::collection::vec(inner, 0..5), any::<bool>()).prop_map(|(steps, keep)| Step::Nested(steps, keep))
    });
    prop::collection::vec(nested, 1..25)
}

/// Columns, rows and the rowid of the last insert, or the extended error code.
type Answer = Result<(Vec<String>, Vec<Vec<Value>>), i32>;

fn in_turn(turn: &mut Turn, sql: &str, parameters: &[Value]) -> Answer {
    let code = |error| match error {
        SqlError::Constraint(error) | SqlError::Sqlite(error) => error.code,
        other => panic!("{sql}: {other}"),
    };
    let table = turn.query(sql, parameters).map_err(code)?;
    Ok((table.columns, table.rows))
}

/// What a turn promises of a call, with plain SQLite: several statements, all or nothing.
fn in_plain(plain: &Sqlite, sql: &str, parameters: &[Value]) -> Answer {
    let run = || {
        let mut answer = (Vec::new(), Vec::new());
        let parts: Vec<&str> = match sql.starts_with("CREATE TRIGGER") {
            true => vec![sql],
            false => sql.split("; ").collect(),
        };
        for part in parts {
            let mut statement = plain.prepare(part)?;
            for (index, value) in parameters.iter().enumerate() {
                statement.raw_bind_parameter(index + 1, plain_value(value))?;
            }
            let columns = statement.column_count();
            let mut rows = statement.raw_query();
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push((0..columns).map(|column| our_value(row.get(column).unwrap())).collect());
            }
            drop(rows);
            answer = (statement.column_names().map(str::to_owned).collect(), found);
        }
        Ok(answer)
    };
    plain.execute_batch("SAVEPOINT call").unwrap();
    let answer = run();
    plain.execute_batch(if answer.is_ok() { "RELEASE call" } else { "ROLLBACK TO call; RELEASE call" }).unwrap();
    answer.map_err(|error| match error {
        rusqlite::Error::SqliteFailure(error, _) | rusqlite::Error::SqlInputError { error, .. } => error.extended_code,
        other => panic!("{sql}: {other}"),
    })
}

fn plain_value(value: &Value) -> Plain {
    match value.clone() {
        Value::Null => Plain::Null,
        Value::Integer(number) => Plain::Integer(number),
        Value::Real(number) => Plain::Real(number),
        Value::Text(text) => Plain::Text(text),
        Value::Blob(bytes) => Plain::Blob(bytes),
    }
}

fn our_value(value: Plain) -> Value {
    match value {
        Plain::Null => Value::Null,
        Plain::Integer(number) => Value::Integer(number),
        Plain::Real(number) => Value::Real(number),
        Plain::Text(text) => Value::Text(text),
        Plain::Blob(bytes) => Value::Blob(bytes),
    }
}

fn compare(turn: &mut Turn, plain: &Sqlite, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Run(sql, parameters) => {
                assert_eq!(in_turn(turn, sql, parameters), in_plain(plain, sql, parameters), "{sql} {parameters:?}");
                let last = turn.exec("SELECT last_insert_rowid()", &[]).unwrap().rows.remove(0).remove(0);
                assert_eq!(last, int(plain.last_insert_rowid()), "{sql}");
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
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn sql_is_sqlites(turns in prop::collection::vec((steps(), any::<bool>()), 1..4)) {
        let world = World::new();
        let mut object = world.object("a");
        // Kept in being, so that rowids go on in both.
        object.turn(|turn| turn.put("k", b"v").unwrap());
        let plain = Sqlite::open_in_memory().unwrap();
        plain.execute_batch("PRAGMA foreign_keys = ON").unwrap();
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

    /// Text made of what matters to SQL, and parameters that may not fit.
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
