//! Random statements, and the results of plain SQLite for them. Used by the tests of storage and, through a guest, by
//! those of the whole host.

use proptest::prelude::*;
use rusqlite::Connection as Sqlite;
use rusqlite::types::{Value as Plain, ValueRef};

use super::Value;

/// A step of a turn.
#[derive(Debug, Clone)]
pub enum Step {
    Run(String, Vec<Value>),
    /// A group of steps in a savepoint, kept or rolled back.
    Nested(Vec<Step>, bool),
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c"])
}

pub fn value() -> impl Strategy<Value = Value> {
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
            "SELECT x, x + ?1, x || ?1, x < ?1, CAST(?1 AS TEXT), ?1 -> '$' FROM $t ORDER BY rowid",
            "UPDATE $t SET x = ? WHERE id = 2 RETURNING id, x, x AS x",
            "INSERT INTO $t (id, x) VALUES (2, ?) ON CONFLICT (id) DO UPDATE SET x = excluded.x, y = 'u'",
        ]),
        4 => fixed(&[
            "SELECT * FROM $t ORDER BY rowid",
            "SELECT * FROM v$t",
            "SELECT count(*), total(id), min(y), group_concat(x, ',') FROM (SELECT * FROM $t ORDER BY rowid)",
            "SELECT id, row_number() OVER (ORDER BY y, rowid), x FROM $t ORDER BY 2",
            "SELECT value, type FROM json_each('[1, 2.5, null, \"a\"]')",
            "CREATE TABLE IF NOT EXISTS $t AS SELECT * FROM $u",
            "DELETE FROM $t WHERE id > 1; INSERT INTO $u (x) SELECT x FROM $t; UPDATE $u SET y = 'm'",
            "SELECT a.id, b.x FROM $t a LEFT JOIN $u b ON a.id = b.id ORDER BY 1, 2",
            "SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE '\\_hf\\_%' ESCAPE '\\' ORDER BY name",
            "DELETE FROM $t",
            "INSERT INTO $t DEFAULT VALUES; INSERT INTO $u DEFAULT VALUES; SELECT * FROM $t ORDER BY rowid",
            "INSERT INTO $t DEFAULT VALUES; SELEC",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) INSERT INTO $t (x) SELECT i FROM n",
        ]),
    ]
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let leaf = statement();
    let nested = leaf.prop_recursive(3, 24, 5, |inner| {
        (prop::collection::vec(inner, 0..5), any::<bool>()).prop_map(|(steps, keep)| Step::Nested(steps, keep))
    });
    prop::collection::vec(nested, 1..25)
}

/// The result of a call.
#[derive(Debug, Default, PartialEq)]
pub struct Table {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
    pub changes: u64,
    pub last_insert_rowid: i64,
}

/// The extended code of the error and its message.
pub type Answer = Result<Table, (i32, String)>;

/// A database with the settings of an object's.
pub fn open() -> Sqlite {
    let plain = Sqlite::open_in_memory().unwrap();
    plain.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    plain
}

/// Does with plain SQLite what a turn guarantees for a call: several statements, all or nothing.
pub fn run(plain: &Sqlite, sql: &str, parameters: &[Value]) -> Answer {
    plain.execute_batch("SAVEPOINT call").unwrap();
    let answer = parts(plain, sql, parameters);
    plain.execute_batch(if answer.is_ok() { "RELEASE call" } else { "ROLLBACK TO call; RELEASE call" }).unwrap();
    answer.map_err(|error| match error {
        rusqlite::Error::SqliteFailure(error, Some(message)) => (error.extended_code, message),
        rusqlite::Error::SqlInputError { error, msg, .. } => (error.extended_code, msg),
        other => panic!("{sql}: {other}"),
    })
}

fn parts(plain: &Sqlite, sql: &str, parameters: &[Value]) -> rusqlite::Result<Table> {
    let mut table = Table::default();
    let parts: Vec<&str> = match sql.starts_with("CREATE TRIGGER") {
        true => vec![sql],
        false => sql.split("; ").collect(),
    };
    for (number, part) in parts.iter().enumerate() {
        let mut statement = plain.prepare(part)?;
        for (index, value) in parameters.iter().enumerate().filter(|_| number + 1 == parts.len()) {
            statement.raw_bind_parameter(index + 1, to_plain(value))?;
        }
        let (columns, before) = (statement.column_count(), plain.total_changes());
        let mut rows = statement.raw_query();
        table.rows.clear();
        while let Some(row) = rows.next()? {
            table.rows.push((0..columns).map(|column| from_plain(row.get_ref(column).unwrap())).collect());
        }
        drop(rows);
        table.columns = statement.column_names().map(str::to_owned).collect();
        let schema = ["CREATE", "DROP", "ALTER"].iter().any(|word| part.starts_with(word));
        if !schema && plain.total_changes() != before {
            table.changes += plain.changes();
        }
    }
    table.last_insert_rowid = plain.last_insert_rowid();
    Ok(table)
}

fn to_plain(value: &Value) -> Plain {
    match value.clone() {
        Value::Null => Plain::Null,
        Value::Integer(number) => Plain::Integer(number),
        Value::Real(number) => Plain::Real(number),
        Value::Text(text) => Plain::Text(text),
        Value::Blob(bytes) => Plain::Blob(bytes),
    }
}

/// Converts lossily, because SQLite can be made to accept as text what is not UTF-8.
fn from_plain(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}
