//! Exports and imports of databases, checked with plain SQLite, as a user of the file would do it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::time::Duration;

use proptest::prelude::*;
use rusqlite::Connection as Sqlite;

use super::*;
use crate::base::Alarm;
use crate::storage::alarm_index::Now;

fn exec(turn: &mut Turn, sql: &str) {
    turn.exec(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Writes the file under a name, so that tools can open it.
fn saved(mut file: File) -> tempfile::NamedTempFile {
    let mut named = tempfile::NamedTempFile::new().unwrap();
    std::io::copy(&mut file, &mut named).unwrap();
    named
}

fn export(world: &World, object: &mut Object) -> tempfile::NamedTempFile {
    world.flush();
    saved(object.database().snapshot().unwrap().unwrap().copy().unwrap())
}

fn check(world: &World, bytes: &[u8]) -> Result<crate::base::CheckedDatabase, ImportError> {
    let mut file = world.databases.incoming().unwrap();
    file.write_all(bytes).unwrap();
    world.databases.check(file, &address("a"), &WorkBudget::unlimited())
}

fn import(world: &World, object: &mut Object, bytes: &[u8]) -> Result<Applied, ApplyError> {
    let checked = check(world, bytes).unwrap_or_else(|error| panic!("{error}"));
    let (database, applied) = wait(object.0.take().unwrap().import(checked));
    object.0 = Some(database);
    applied
}

/// Makes a database with plain SQLite and returns its bytes.
fn made(sql: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made");
    Sqlite::open(&path).unwrap().execute_batch(sql).unwrap();
    fs::read(path).unwrap()
}

/// A table as in another program's database: the host's tables are missing.
const PLAIN: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT UNIQUE, CHECK (id > 0));
     CREATE TABLE c (t INTEGER REFERENCES t, y ANY) STRICT;";

#[test]
fn an_export_is_a_plain_file_of_one_moment() {
    let world = World::new();
    let mut object = world.object("a");
    assert!(object.database().snapshot().unwrap().is_none());
    object.turn(|turn| {
        exec(turn, "CREATE TABLE t (x); INSERT INTO t VALUES (1); CREATE VIRTUAL TABLE f USING fts5 (body)");
        turn.put("k", b"v").unwrap();
    });
    assert!(matches!(object.database().snapshot(), Err(StorageError::Busy)), "it is not durable");
    world.flush();
    let snapshot = object.database().snapshot().unwrap().unwrap();
    assert!(matches!(object.database().snapshot(), Err(StorageError::Busy)), "one at a time");
    for n in 0..50 {
        // More than a WAL holds before it is copied back, in large turns.
        object.turn(|turn| turn.exec("INSERT INTO t VALUES (?)", &[Value::Blob(vec![n; 1_000_000])]).unwrap());
        object.database().maintain().unwrap();
    }
    let file = saved(snapshot.copy().unwrap());
    object.database().maintain().unwrap();
    let plain = Sqlite::open(file.path()).unwrap();
    let one = |sql: &str| plain.query_row(sql, [], |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
    assert_eq!(one("PRAGMA journal_mode"), "delete".to_owned().into());
    assert_eq!(one("PRAGMA integrity_check"), "ok".to_owned().into());
    assert_eq!(one("SELECT count(*) FROM t"), 1.into());
    assert_eq!(one("SELECT value FROM _hf_kv WHERE key = 'k'"), b"v".to_vec().into());
    assert_eq!(one("SELECT value FROM _hf_meta WHERE key = 'name'"), "a".to_owned().into());
    let later = export(&world, &mut object);
    let rows: i64 =
        Sqlite::open(later.path()).unwrap().query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 51);
    assert!(fs::read_dir(world.dir.transfers()).unwrap().next().is_none(), "nothing stays behind");
}

#[test]
fn exports_during_writes_are_consistent() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| exec(turn, "CREATE TABLE t (x); INSERT INTO t VALUES (0), (0)"));
    for n in 1..30 {
        world.flush();
        let snapshot = object.database().snapshot().unwrap().unwrap();
        let copying = std::thread::spawn(move || saved(snapshot.copy().unwrap()));
        for round in 0..20 {
            object.turn(|turn| {
                exec(turn, &format!("UPDATE t SET x = {n} * 100 + {round}; INSERT INTO t SELECT x FROM t LIMIT 2"))
            });
            object.database().maintain().unwrap();
        }
        let plain = Sqlite::open(copying.join().unwrap().path()).unwrap();
        let values: i64 = plain.query_row("SELECT count(DISTINCT x) FROM t", [], |row| row.get(0)).unwrap();
        let sound: String = plain.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!((values, sound.as_str()), (1, "ok"), "whole turns only");
    }
}

#[test]
fn what_was_exported_can_be_imported_elsewhere() {
    let mut world = World::new();
    let mut from = world.object("from");
    from.turn(|turn| {
        exec(turn, "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, x); INSERT INTO t (x) VALUES (1), (2)");
        exec(turn, "CREATE INDEX i ON t (x); CREATE VIEW v AS SELECT x FROM t; ANALYZE");
        exec(turn, "CREATE TRIGGER g AFTER DELETE ON t BEGIN INSERT INTO t (x) VALUES (old.x); END");
        exec(turn, "CREATE VIRTUAL TABLE f USING fts5 (body); INSERT INTO f VALUES ('hold fast')");
        exec(turn, "CREATE VIRTUAL TABLE w USING fts5vocab (f, row); CREATE VIRTUAL TABLE r USING rtree (id, a, b)");
        turn.put("k", b"v").unwrap();
        turn.put(&"l".repeat(2_048), &[1; 1_997_952]).unwrap();
    });
    let bytes = fs::read(export(&world, &mut from).path()).unwrap();
    let mut to = world.object("a");
    to.turn(|turn| turn.put("old", b"v").unwrap());
    let applied = import(&world, &mut to, &bytes).unwrap();
    assert!(applied.wrote && applied.bytes >= bytes.len() as u64);
    assert_eq!((to.get("old"), to.get("k").unwrap()), (None, b"v".to_vec()));
    assert_eq!(to.rows("SELECT body FROM f WHERE f MATCH 'fast'"), [[text("hold fast")]]);
    assert!(applied.wrote);
    world.flush();
    to.database().maintain().unwrap();
    to.turn(|turn| exec(turn, "INSERT INTO t (x) VALUES (3)"));
    drop((from, to));
    world.restart();
    let mut to = world.object("a");
    assert_eq!(to.rows("SELECT max(id) FROM t"), [[int(3)]]);
    assert_eq!(to.database().description().unwrap().unwrap().name, address("a").name, "its own name");
    assert_eq!(world.files().iter().filter(|file| file.extension().unwrap() == "sqlite").count(), 2);
}

/// An import makes the object what it was when exported. That includes its alarm, which replaces the one that the
/// object had.
#[test]
fn an_import_brings_its_alarm_and_ends_the_one_there_was() {
    let mut world = World::new();
    let (mut from, mut to) = (world.object("from"), world.object("a"));
    let alarm = Alarm { due_ms: 5_000, attempt: 2, next_ms: 9_000 };
    from.turn(|turn| turn.put("k", b"v").unwrap());
    let without = fs::read(export(&world, &mut from).path()).unwrap();
    from.turn(|turn| turn.set_alarm(Some(alarm)));
    let exported = export(&world, &mut from);
    let with = fs::read(exported.path()).unwrap();
    from.turn(|turn| turn.set_alarm(None));
    for _ in ["the alarm it had", "none"] {
        to.turn(|turn| turn.set_alarm(Some(Alarm::at(7_000))));
        import(&world, &mut to, &with).unwrap();
        assert_eq!((to.database().alarm().unwrap(), to.get("k").unwrap()), (Some(alarm), b"v".to_vec()));
        import(&world, &mut to, &without).unwrap();
        assert_eq!(to.database().alarm().unwrap(), None);
    }
    import(&world, &mut to, &with).unwrap();
    drop((from, to));
    world.restart();
    assert_eq!(world.object("a").database().alarm().unwrap(), Some(alarm));
    world.flush();
    world.databases.look_for_alarms(9_000).unwrap();
    let now = |wall_ms| Now { wall_ms, elapsed: Duration::ZERO };
    let take = |ms| world.databases.alarms().take_due(now(ms), 9, Duration::ZERO, |_| Some(())).due.len();
    assert_eq!((take(8_999), take(9_000)), (0, 1));
    for bad in ["", "x", "5 0", "0 0 5", "5 0 4", "5 7 5", "9007199254740992 0 9007199254740992"] {
        let edited = Sqlite::open(exported.path()).unwrap();
        edited.execute("UPDATE _hf_meta SET value = ? WHERE key = 'alarm'", [bad]).unwrap();
        drop(edited);
        let refused = check(&world, &fs::read(exported.path()).unwrap()).map(drop);
        assert!(matches!(&refused, Err(ImportError::Refused(why)) if why.contains("alarm")), "{bad}: {refused:?}");
    }
}

#[test]
fn databases_of_other_programs_can_be_imported() {
    let world = World::new();
    let mut object = world.object("a");
    import(&world, &mut object, &made(&format!("{PLAIN} INSERT INTO t VALUES (1, 'x')"))).unwrap();
    object.turn(|turn| turn.put("k", b"v").unwrap());
    assert_eq!(object.rows("SELECT x FROM t"), [[text("x")]]);
    assert_eq!(object.get("k").unwrap(), b"v");
}

#[test]
fn a_damaged_object_can_be_replaced() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| (0..200).for_each(|n| turn.put(&n.to_string(), &[1; 2_000]).unwrap()));
    let bytes = fs::read(export(&world, &mut object).path()).unwrap();
    drop(object);
    fs::write(world.file("a"), [7; 100_000]).unwrap();
    let mut object = world.object("a");
    assert!(matches!(object.database().description(), Err(StorageError::Damaged { .. })));
    import(&world, &mut object, &bytes).unwrap();
    assert_eq!(object.get("7").unwrap(), [1; 2_000]);
}

#[test]
fn what_objects_cannot_have_is_refused() {
    let world = World::new();
    let table = |name: &str, sql: &str| {
        let name = name.to_owned();
        format!("{PLAIN} CREATE TABLE {name} {sql};")
    };
    let kv = "(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID";
    let with_kv = |sql: &str| format!("CREATE TABLE _hf_kv {kv}; {sql}");
    let schema = |sql: &str| format!("{PLAIN} PRAGMA writable_schema = ON; {sql}");
    for (sql, why) in [
        ("PRAGMA page_size = 8192; CREATE TABLE t (x)".to_owned(), "4096"),
        ("PRAGMA encoding = 'UTF-16'; CREATE TABLE t (x)".into(), "UTF-8"),
        ("CREATE TABLE t (x); DROP TABLE t".into(), "holds nothing"),
        (with_kv(""), "holds nothing"),
        (table("_HF_x", "(a)"), "_HF_x"),
        (table("_hf_kv", "(key, value)"), "_hf_kv"),
        (with_kv("CREATE TABLE t (x); CREATE TRIGGER g AFTER INSERT ON _hf_kv BEGIN SELECT 1; END"), "trigger g"),
        (with_kv("CREATE INDEX i ON _hf_kv (value)"), "index i"),
        (with_kv("CREATE TABLE t (x REFERENCES _hf_kv)"), "_hf_kv"),
        (with_kv("INSERT INTO _hf_kv VALUES ('', x'')"), "entries"),
        (with_kv("INSERT INTO _hf_kv VALUES ('k', 'text')"), "entries"),
        (with_kv("INSERT INTO _hf_kv VALUES (x'6b', x'')"), "entries"),
        (with_kv("INSERT INTO _hf_kv VALUES (cast(x'ff' AS TEXT), x'')"), "entries"),
        (with_kv("INSERT INTO _hf_kv VALUES (printf('%.2049c', 'k'), x'')"), "entries"),
        (with_kv("INSERT INTO _hf_kv VALUES ('k', zeroblob(2000000))"), "entries"),
        ("CREATE VIRTUAL TABLE f USING fts4 (a)".into(), "fts4"),
        ("CREATE VIRTUAL TABLE f USING dbstat".into(), "dbstat"),
        (format!("CREATE TABLE t ({})", (0..101).map(|n| format!("c{n}")).collect::<Vec<_>>().join(", ")), "columns"),
        (
            schema(
                "UPDATE sqlite_schema SET sql = 'CREATE TABLE t (id INTEGER PRIMARY KEY, x); DROP TABLE c' WHERE name = 't'",
            ),
            "",
        ),
        (schema("UPDATE sqlite_schema SET rootpage = 99 WHERE name = 'c'"), ""),
        (schema("DELETE FROM sqlite_schema WHERE name = 'sqlite_autoindex_t_1'"), ""),
    ] {
        match check(&world, &made(&sql)) {
            Err(ImportError::Refused(message)) => assert!(message.contains(why), "{sql}: {message}"),
            other => panic!("{sql}: {other:?}"),
        }
    }
    let whole = made(&format!(
        "{PLAIN} INSERT INTO t SELECT value, printf('%.500c', value) FROM json_each('[1,2,3,4,5,6,7,8,9]')"
    ));
    check(&world, &whole).unwrap();
    for cut in [0, 1, 99, 4_095, 4_096, 4_097, whole.len() - 4_096, whole.len() - 1] {
        assert!(matches!(check(&world, &whole[..cut]), Err(ImportError::Refused(_))), "{cut}");
    }
    let small = World::with(Limits { database: 4 * 4096, ..Limits::default() });
    let refused = check(&small, &made("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(16384))"));
    assert!(matches!(refused, Err(ImportError::Refused(_))));
    assert!(fs::read_dir(world.dir.transfers()).unwrap().next().is_none(), "nothing stays behind");
}

#[test]
fn a_check_that_takes_too_long_ends() {
    let world = World::new();
    let bytes = made(&format!(
        "{PLAIN} WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) INSERT INTO t SELECT i, i FROM n"
    ));
    let mut file = world.databases.incoming().unwrap();
    file.write_all(&bytes).unwrap();
    let checked = world.databases.check(file, &address("a"), &WorkBudget::new(u64::MAX, || true));
    assert!(matches!(checked, Err(ImportError::Refused(_))));
}

#[test]
fn queries_are_cut_and_only_write_when_asked() {
    let world = World::new();
    let mut object = world.object("a");
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10001)";
    object.turn(|turn| {
        exec(turn, &format!("CREATE TABLE t (x); {rows} INSERT INTO t SELECT i FROM n"));
        turn.put("k", b"v").unwrap();
    });
    let mut turn = Turn::begin_reading(object.0.take().unwrap(), WorkBudget::unlimited());
    let table = turn.query("SELECT x AS a, x AS a FROM t WHERE x > ?", &[int(1)]).unwrap();
    assert_eq!((table.columns.len(), table.rows.len(), table.truncated), (2, 10_000, false));
    let table = turn.query("SELECT x FROM t", &[]).unwrap();
    assert_eq!((table.rows.len(), table.truncated), (10_000, true));
    let table = turn.query("SELECT zeroblob(1000000) FROM t", &[]).unwrap();
    assert!(table.truncated && table.rows.len() < 25);
    for sql in [
        "DELETE FROM t",
        "SELECT 1; DROP TABLE t",
        "PRAGMA foreign_keys = OFF",
        "CREATE TABLE u (x)",
        "SELECT * FROM _hf_kv",
    ] {
        assert!(matches!(turn.query(sql, &[]), Err(SqlError::NotAuthorized(_))), "{sql}");
    }
    turn.query("PRAGMA table_info(t)", &[]).unwrap();
    object.apply(turn).unwrap();
    let table = object.turn(|turn| turn.query("UPDATE t SET x = -x RETURNING x", &[]).unwrap());
    assert_eq!((table.rows.len(), table.truncated, table.changes), (10_000, true, 10_001));
    assert_eq!(object.rows("SELECT max(x) FROM t"), [[int(-1)]]);
}

/// Files with random changes: an accepted file does not break the host.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let whole = made(&format!(
        "{PLAIN} CREATE VIRTUAL TABLE f USING fts5 (a); INSERT INTO f VALUES ('b'); INSERT INTO t VALUES (1, 'x')"
    ));
    let length = whole.len();
    prop::collection::vec((0..length, any::<u8>()), 1..20).prop_map(move |changes| {
        let mut bytes = whole.clone();
        changes.into_iter().for_each(|(at, byte)| bytes[at] = byte);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn no_upload_breaks_the_host(bytes in prop_oneof![
        damaged(),
        prop::collection::vec(any::<u8>(), 0..10_000),
        prop::collection::vec(any::<u8>(), 8_192).prop_map(|mut bytes| {
            bytes[..24].copy_from_slice(b"SQLite format 3\0\x10\0\x01\x01\0\x40\x20\x20");
            bytes
        }),
    ]) {
        let world = World::new();
        if let Ok(checked) = check(&world, &bytes) {
            let (database, applied) = wait(world.object("a").0.unwrap().import(checked));
            if applied.is_ok() {
                let mut turn = Turn::begin(database, WorkBudget::unlimited());
                for sql in ["SELECT * FROM t", "SELECT * FROM f WHERE f MATCH 'b'", "INSERT INTO t (x) VALUES ('y')", "PRAGMA quick_check"] {
                    let _ = turn.exec(sql, &[]);
                }
                let _ = turn.put("k", b"v");
                let _ = turn.apply();
            }
        }
    }
}

#[test]
fn a_copy_is_read_from_its_start() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| turn.put("k", b"v").unwrap());
    world.flush();
    let mut file = object.database().snapshot().unwrap().unwrap().copy().unwrap();
    let mut start = [0; 16];
    file.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"SQLite format 3\0");
}
