//! What a guest's SQL is not authorized to do.

use super::*;

const REFUSED: [(&str, &str); 62] = [
    ("BEGIN", "BEGIN"),
    ("BEGIN IMMEDIATE", "BEGIN"),
    ("COMMIT", "COMMIT"),
    ("END", "COMMIT"),
    ("ROLLBACK", "ROLLBACK"),
    ("SAVEPOINT a", "SAVEPOINT"),
    ("RELEASE a", "SAVEPOINT"),
    ("ROLLBACK TO a", "SAVEPOINT"),
    ("ATTACH 'x' AS y", "ATTACH"),
    ("ATTACH ':memory:' AS y", "ATTACH"),
    ("DETACH main", "DETACH"),
    ("VACUUM", "VACUUM"),
    ("/* */ vacuum INTO 'x'", "VACUUM"),
    ("CREATE TEMP TABLE x (a)", "TEMP objects"),
    ("CREATE TABLE temp.x (a)", "TEMP objects"),
    ("CREATE TEMP VIEW x AS SELECT 1", "TEMP objects"),
    ("CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END", "TEMP objects"),
    ("CREATE VIRTUAL TABLE temp.x USING fts5 (a)", "TEMP objects"),
    ("SELECT load_extension('x')", "load_extension"),
    ("SELECT fts3_tokenizer('simple')", "fts3_tokenizer"),
    ("CREATE VIRTUAL TABLE x USING fts4 (a)", "the module fts4"),
    ("CREATE VIRTUAL TABLE x USING dbstat", "the module dbstat"),
    ("SELECT * FROM dbstat", "dbstat"),
    ("PRAGMA journal_mode", "PRAGMA journal_mode"),
    ("PRAGMA journal_mode = DELETE", "PRAGMA journal_mode"),
    ("PRAGMA writable_schema = ON", "PRAGMA writable_schema"),
    ("PRAGMA page_size = 512", "PRAGMA page_size"),
    ("PRAGMA synchronous = FULL", "PRAGMA synchronous"),
    ("PRAGMA wal_checkpoint", "PRAGMA wal_checkpoint"),
    ("PRAGMA cache_size = 1000000", "PRAGMA cache_size"),
    ("PRAGMA max_page_count = 1000000", "PRAGMA max_page_count"),
    ("PRAGMA temp_store = MEMORY", "PRAGMA temp_store"),
    ("PRAGMA locking_mode = NORMAL", "PRAGMA locking_mode"),
    ("PRAGMA trusted_schema = ON", "PRAGMA trusted_schema"),
    ("PRAGMA integrity_check", "PRAGMA integrity_check"),
    ("PRAGMA defer_foreign_keys = abcd", "PRAGMA defer_foreign_keys = abcd, which is neither on nor off"),
    ("PRAGMA recursive_triggers = 2", "PRAGMA recursive_triggers = 2, which is neither on nor off"),
    ("PRAGMA table_info(_hf_kv)", "the name _hf_kv"),
    ("PRAGMA main.table_xinfo('_hf_META')", "the name _hf_META"),
    ("PRAGMA index_list = \"_hf_kv\"", "the name _hf_kv"),
    ("PRAGMA index_info(sqlite_autoindex__hf_kv_1)", "the name sqlite_autoindex__hf_kv_1"),
    ("PRAGMA foreign_key_list([_hf_kv])", "the name _hf_kv"),
    ("PRAGMA quick_check(_hf_kv)", "the name _hf_kv"),
    ("DELETE FROM _hf_kv LIMIT 1", "the name _hf_kv"),
    ("UPDATE _hf_kv SET value = x'' ORDER BY key LIMIT 1", "the name _hf_kv"),
    ("DELETE FROM t WHERE x IN (SELECT key FROM _hf_kv) LIMIT 1", "the name _hf_kv"),
    ("WITH t AS (SELECT * FROM \"_hf_kv\") SELECT * FROM t", "the name _hf_kv"),
    ("CREATE TABLE x (a REFERENCES _hf_kv (key))", "the name _hf_kv"),
    ("SELECT * FROM pragma_database_list", "PRAGMA database_list"),
    ("SELECT * FROM _hf_kv", "the name _hf_kv"),
    ("SELECT count(*) FROM _HF_meta", "the name _HF_meta"),
    ("INSERT INTO _hf_kv VALUES ('a', x'')", "the name _hf_kv"),
    ("UPDATE _hf_meta SET value = 1", "the name _hf_meta"),
    ("DELETE FROM _hf_kv", "the name _hf_kv"),
    ("DROP TABLE _hf_kv", "the name _hf_kv"),
    ("ALTER TABLE _hf_kv ADD COLUMN x", "the name _hf_kv"),
    ("CREATE INDEX i ON _hf_kv (value)", "the name _hf_kv"),
    ("CREATE TRIGGER x AFTER INSERT ON _hf_kv BEGIN SELECT 1; END", "the name _hf_kv"),
    ("CREATE TABLE _hf_x (a)", "the name _hf_x"),
    ("CREATE VIEW _Hf_x AS SELECT 1", "the name _Hf_x"),
    ("CREATE VIRTUAL TABLE _hf USING fts5 (a)", "the name _hf_data"),
    ("CREATE TABLE x AS SELECT * FROM _hf_kv", "the name _hf_kv"),
];

#[test]
fn what_is_refused_is_named_and_changes_nothing() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| {
        turn.exec("CREATE TABLE t (x); INSERT INTO t VALUES (1)", &[]).unwrap();
        turn.put("k", b"v").unwrap();
    });
    let schema = object.rows("SELECT sql FROM sqlite_schema");
    for writing in [false, true] {
        object.turn(|turn| {
            if writing {
                turn.put("k", b"w").unwrap();
            }
            for (sql, what) in REFUSED {
                assert_eq!(turn.exec(sql, &[]), Err(SqlError::NotAuthorized(what.into())), "{sql}");
            }
            turn.exec("INSERT INTO t VALUES (1)", &[]).unwrap();
        });
    }
    assert_eq!(object.rows("SELECT sql FROM sqlite_schema"), schema);
    assert_eq!((object.rows("SELECT count(*) FROM t"), object.get("k").unwrap()), (vec![vec![int(3)]], b"w".to_vec()));
}

#[test]
fn renames_and_references_are_checked_afterwards() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| {
        turn.exec("CREATE TABLE t (x); INSERT INTO t VALUES (1)", &[]).unwrap();
        for (sql, name) in [
            ("ALTER TABLE t RENAME TO _HF_t", "_HF_t"),
            ("ALTER TABLE t RENAME TO _hf_t; SELECT 1", "_hf_t"),
            ("CREATE TABLE c (k REFERENCES _hf_kv (key) ON DELETE CASCADE)", "_hf_kv"),
            ("ALTER TABLE t ADD COLUMN k REFERENCES _hf_meta", "_hf_meta"),
        ] {
            assert_eq!(turn.exec(sql, &[]), Err(SqlError::NotAuthorized(format!("the name {name}"))), "{sql}");
        }
        turn.exec("ALTER TABLE t RENAME TO u", &[]).unwrap();
        turn.exec("ALTER TABLE u RENAME COLUMN x TO _hf_x", &[]).unwrap();
    });
    assert_eq!(object.rows("SELECT _hf_x FROM u"), [[int(1)]], "columns may be called anything");
}

#[test]
fn triggers_and_views_do_not_reach_the_hosts_tables() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| {
        turn.put("k", b"v").unwrap();
        turn.exec("CREATE TABLE t (x)", &[]).unwrap();
        turn.exec("CREATE VIEW v AS SELECT key FROM _hf_kv", &[]).unwrap();
        turn.exec("CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM _hf_kv; END", &[]).unwrap();
        assert!(matches!(turn.exec("SELECT * FROM v", &[]), Err(SqlError::NotAuthorized(_))));
        assert!(matches!(turn.exec("INSERT INTO t VALUES (1)", &[]), Err(SqlError::NotAuthorized(_))));
    });
    assert_eq!(object.get("k").unwrap(), b"v");
}

#[test]
fn sqlites_own_tables_are_protected() {
    let world = World::new();
    world.object("a").turn(|turn| {
        turn.exec("CREATE VIRTUAL TABLE f USING fts5 (a); CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT)", &[])
            .unwrap();
        for sql in [
            "DELETE FROM sqlite_schema",
            "UPDATE sqlite_master SET sql = ''",
            "INSERT INTO f_data VALUES (1, x'00')",
            "DROP TABLE f_data",
            "CREATE TABLE sqlite_x (a)",
            "SELECT * FROM sqlite_dbpage",
        ] {
            assert!(turn.exec(sql, &[]).is_err(), "{sql}");
        }
        assert_eq!(turn.exec("SELECT count(*) FROM f", &[]).unwrap().rows, [[int(0)]]);
    });
}

#[test]
fn what_is_allowed_works_in_any_case() {
    let world = World::new();
    world.object("a").turn(|turn| {
        turn.exec(
            "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE t (x REFERENCES p); CREATE INDEX i ON t (x)",
            &[],
        )
        .unwrap();
        for sql in [
            "PRAGMA table_info(t)",
            "PRAGMA Table_XInfo(t)",
            "PRAGMA table_list",
            "PRAGMA index_list(t)",
            "PRAGMA index_info(i)",
            "PRAGMA index_xinfo(i)",
            "PRAGMA foreign_key_list(t)",
            "PRAGMA foreign_key_check",
            "PRAGMA quick_check",
            "PRAGMA optimize",
            "PRAGMA data_version",
            "PRAGMA page_size",
            "PRAGMA foreign_keys",
            "PRAGMA defer_foreign_keys = ON",
            "PRAGMA case_sensitive_like = ON",
            "PRAGMA ignore_check_constraints = OFF",
            "PRAGMA recursive_triggers = ON",
            "PRAGMA reverse_unordered_selects = ON",
            "PRAGMA legacy_alter_table = OFF",
            "EXPLAIN QUERY PLAN SELECT * FROM t",
            "SELECT m.name, c.name FROM sqlite_schema m, pragma_table_info(m.name) c",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT * FROM n",
        ] {
            turn.exec(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    });
}

/// Whatever SQLite has compiled in, and whatever a later SQLite adds, is refused unless it is on one of the host's
/// lists.
#[test]
fn nothing_of_sqlite_is_allowed_that_is_not_listed() {
    let plain = rusqlite::Connection::open_in_memory().unwrap();
    let all = |pragma: &str| -> Vec<String> {
        let mut statement = plain.prepare(&format!("SELECT DISTINCT name FROM {pragma}")).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let documented = [
        "table_info",
        "table_xinfo",
        "table_list",
        "index_list",
        "index_info",
        "index_xinfo",
        "foreign_key_list",
        "foreign_key_check",
        "quick_check",
        "optimize",
        "data_version",
        "page_size",
        "foreign_keys",
        "defer_foreign_keys",
        "case_sensitive_like",
        "ignore_check_constraints",
        "recursive_triggers",
        "reverse_unordered_selects",
        "legacy_alter_table",
    ];
    let (pragmas, modules) = (all("pragma_pragma_list"), all("pragma_module_list"));
    let mut functions = plain.prepare("SELECT DISTINCT name, max(narg, 1) FROM pragma_function_list").unwrap();
    let functions: Vec<(String, i64)> =
        functions.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().collect::<Result<_, _>>().unwrap();
    assert!(documented.iter().all(|name| pragmas.iter().any(|pragma| pragma == name)), "{pragmas:?}");
    assert!(pragmas.len() > 50 && modules.len() > 5 && functions.len() > 100);
    let world = World::new();
    world.object("a").turn(|turn| {
        turn.exec("CREATE TABLE t (x)", &[]).unwrap();
        let refused = |outcome| matches!(outcome, Err(SqlError::NotAuthorized(_)));
        for name in pragmas {
            let allowed = documented.contains(&name.as_str());
            assert_eq!(!refused(turn.exec(&format!("PRAGMA {name}"), &[])), allowed, "{name}");
            assert!(allowed || refused(turn.exec(&format!("PRAGMA {name} = 1"), &[])), "{name}");
            assert!(allowed || turn.exec(&format!("SELECT * FROM pragma_{name}"), &[]).is_err(), "{name}");
        }
        for name in ["data_version", "page_size"] {
            assert!(refused(turn.exec(&format!("PRAGMA {name} = 1"), &[])), "{name}");
        }
        for name in modules.iter().filter(|name| !["fts5", "fts5vocab", "rtree", "rtree_i32"].contains(&name.as_str()))
        {
            assert!(refused(turn.exec(&format!("CREATE VIRTUAL TABLE v USING {name}"), &[])), "{name}");
        }
        // Any other error shows that the function may be called: in another place, or with other arguments.
        for (name, arguments) in functions {
            let refusable = ["load_extension", "fts3_tokenizer"].contains(&name.as_str());
            let outcome =
                turn.exec(&format!("SELECT \"{name}\"({})", vec!["NULL"; arguments as usize].join(", ")), &[]);
            assert_eq!(refused(outcome), refusable, "{name}");
        }
    });
}

#[test]
fn foreign_keys_are_switched_before_the_first_write_only() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| {
        turn.exec("PRAGMA foreign_keys = OFF", &[]).unwrap();
        turn.exec("CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p)", &[]).unwrap();
        let late = turn.exec("PRAGMA foreign_keys = ON", &[]);
        assert_eq!(late, Err(SqlError::NotAuthorized("PRAGMA foreign_keys after the turn's first write".into())));
        turn.exec("INSERT INTO c VALUES (1)", &[]).unwrap();
    });
    object.database().reset_session();
    assert_eq!(object.rows("PRAGMA foreign_keys"), [[int(1)]]);
    object.turn(|turn| assert!(matches!(turn.exec("INSERT INTO c VALUES (2)", &[]), Err(SqlError::Constraint(_)))));
}

/// A full-text index over the host's own table gives a guest no more access to that table than the guest has directly.
#[test]
fn an_index_of_the_hosts_table_reads_nothing() {
    let world = World::new();
    let mut object = world.object("a");
    object.turn(|turn| turn.put("secret", b"hidden").unwrap());
    object.fail(|turn| {
        for content in ["_hf_kv", "_HF_KV", "main._hf_kv", "\"_hf_kv\""] {
            let make =
                format!("CREATE VIRTUAL TABLE x USING fts5 (key, value, content='{content}', content_rowid='key')");
            if turn.exec(&make, &[]).is_ok() {
                for sql in ["INSERT INTO x (x) VALUES ('rebuild')", "SELECT * FROM x", "SELECT * FROM x ('hidden')"] {
                    let answered = turn.exec(sql, &[]);
                    assert!(
                        answered.as_ref().map_or(true, |outcome| outcome.rows.is_empty()),
                        "{content} {sql} {answered:?}"
                    );
                }
                turn.exec("DROP TABLE x", &[]).unwrap();
            }
        }
    });
}

#[test]
fn the_hosts_tables_have_no_columns_for_pragma_tables() {
    let world = World::new();
    world.object("a").turn(|turn| {
        turn.exec("CREATE TABLE t (x UNIQUE)", &[]).unwrap();
        for nothing in [
            "SELECT * FROM pragma_table_info('_hf_kv')",
            "SELECT * FROM pragma_table_xinfo('_HF_' || 'meta')",
            "SELECT * FROM pragma_index_xinfo('SQLITE_AUTOINDEX__HF_KV_1')",
            "SELECT c.* FROM sqlite_schema s, pragma_index_list(s.name) c WHERE s.name LIKE '@_hf@_%' ESCAPE '@'",
        ] {
            assert_eq!(turn.exec(nothing, &[]).unwrap().rows, Vec::<Vec<Value>>::new(), "{nothing}");
        }
        let all = "SELECT s.name, c.name FROM sqlite_schema s, pragma_table_info(s.name) c WHERE s.type = 'table'";
        assert_eq!(turn.exec(all, &[]).unwrap().rows, [[text("t"), text("x")]]);
    });
}
