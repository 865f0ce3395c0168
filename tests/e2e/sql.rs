//! SQL as a guest uses it, through the real host.

use serde_json::{Value as Json, json};

use crate::storage::Object;

fn sql(text: &str) -> Json {
    json!({ "op": "sql", "text": text })
}

fn sql_with(text: &str, params: Json) -> Json {
    json!({ "op": "sql", "text": text, "params": params })
}

/// Returns the only value of the only row.
fn value(object: &Object, text: &str) -> Json {
    let result = object.one(sql(text));
    assert_eq!(result["rows"].as_array().map(Vec::len), Some(1), "{text}: {result}");
    result["rows"][0][0].clone()
}

#[test]
fn values_come_back_as_they_went_in() {
    let object = Object::start();
    let values = json!([null, i64::MAX, i64::MIN, 0.1, "t€xt", "", { "blob": "00ff" }]);
    object.one(sql("CREATE TABLE t (a, b, c, d, e, f, g)"));
    let inserted = object.one(sql_with("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?)", values.clone()));
    assert_eq!((&inserted["changes"], &inserted["last_insert_rowid"]), (&json!(1), &json!(1)));
    let read = object.one(sql("SELECT *, a AS x, b AS x FROM t"));
    assert_eq!(read["columns"], json!(["a", "b", "c", "d", "e", "f", "g", "x", "x"]));
    assert_eq!(read["rows"][0].as_array().unwrap()[..7], values.as_array().unwrap()[..]);
}

#[test]
fn of_several_statements_the_last_one_answers() {
    let object = Object::start();
    let text = "CREATE TABLE t (x); INSERT INTO t VALUES (1), (2); INSERT INTO t SELECT x + ? FROM t RETURNING x";
    let result = object.one(sql_with(text, json!([10])));
    assert_eq!((&result["rows"], &result["changes"]), (&json!([[11], [12]]), &json!(4)));
    for (text, params, error) in [
        ("", json!([]), "no-statement"),
        (" -- nothing\n;;", json!([]), "no-statement"),
        ("SELECT ?", json!([]), "parameter-count"),
        ("SELECT ?", json!([1, 2]), "parameter-count"),
        ("SELEKT 1", json!([]), "sqlite"),
        ("SELECT * FROM none", json!([]), "sqlite"),
    ] {
        assert_eq!(object.one(sql_with(text, params))["error"], error, "{text}");
    }
}

#[test]
fn a_long_result_comes_in_batches() {
    let object = Object::start();
    object.one(sql("CREATE TABLE t (x INTEGER PRIMARY KEY)"));
    object.one(sql(
        "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1000) INSERT INTO t SELECT n FROM c",
    ));
    let result = object.one(json!({ "op": "sql", "text": "SELECT x FROM t ORDER BY x", "batch": 300 }));
    assert_eq!(result["batches"], json!([256, 300, 300, 144, 0]));
    assert_eq!(result["rows"].as_array().unwrap().len(), 1_000);
    assert_eq!(result["rows"][999], json!([1000]));
    // The SDK reads all of it.
    assert_eq!(object.one(sql("SELECT x FROM t"))["rows"].as_array().unwrap().len(), 1_000);
}

#[test]
fn a_violated_constraint_does_not_end_the_turn() {
    let object = Object::start();
    object.one(sql("CREATE TABLE t (x UNIQUE)"));
    let results = object.turn(json!([
        sql("INSERT INTO t VALUES (1)"),
        sql("INSERT INTO t VALUES (2), (1)"),
        sql("INSERT INTO t VALUES (3)"),
        sql("SELECT group_concat(x) FROM t"),
    ]));
    assert_eq!(results[1]["error"], "constraint");
    assert_eq!(results[3]["rows"], json!([["1,3"]]));
}

#[test]
fn what_belongs_to_the_host_is_not_authorized() {
    let object = Object::start();
    object.one(sql("CREATE TABLE t (x)"));
    for text in [
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT s",
        "ATTACH 'x' AS x",
        "ATTACH ':memory:' AS x",
        "DETACH main",
        "VACUUM",
        "VACUUM INTO 'x'",
        "CREATE TEMP TABLE x (y)",
        "CREATE TABLE _hf_mine (x)",
        "CREATE TABLE _HF_mine (x)",
        "SELECT * FROM _hf_meta",
        "DELETE FROM _hf_meta",
        "DROP TABLE _hf_meta",
        "ALTER TABLE t RENAME TO _hf_t",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA synchronous = FULL",
        "PRAGMA writable_schema = ON",
        "PRAGMA locking_mode = NORMAL",
        "SELECT load_extension('x')",
    ] {
        let result = object.one(sql(text));
        assert_eq!(result["error"], "not-authorized", "{text}: {result}");
    }
    assert_eq!(value(&object, "SELECT count(*) FROM t"), 0);
    object.host.admin().get("/v1/classes/storage/objects/alice").json();
}

#[test]
fn what_applications_need_is_there() {
    let object = Object::start();
    assert_eq!(value(&object, "SELECT json_extract('{\"a\":[1,2]}', '$.a[1]')"), 2);
    assert_eq!(value(&object, "SELECT round(sqrt(2), 3)"), 1.414);
    assert_eq!(value(&object, "PRAGMA foreign_keys"), 1);
    object.one(sql("CREATE VIRTUAL TABLE f USING fts5 (text); INSERT INTO f VALUES ('hold fast'), ('let go')"));
    assert_eq!(value(&object, "SELECT text FROM f WHERE f MATCH 'fast'"), "hold fast");
    object.one(sql("CREATE VIRTUAL TABLE r USING rtree (id, x0, x1); INSERT INTO r VALUES (1, 0, 1)"));
    assert_eq!(value(&object, "SELECT id FROM r WHERE x1 > 0"), 1);
    assert_eq!(object.one(sql("PRAGMA table_info(f)"))["rows"][0][1], "text");
}

#[test]
fn limits_at_their_edges() {
    let object = Object::start();
    let columns = |count: usize| (0..count).map(|n| format!("c{n}")).collect::<Vec<_>>().join(", ");
    let holders = |count: usize| vec!["?"; count].join(", ");
    let padded = |length: usize| format!("SELECT 1{}", " ".repeat(length - 8));
    let deep = |depth: usize| format!("SELECT 1{}", " + 1".repeat(depth - 1));
    let pattern = |length: usize| format!("SELECT 'x' LIKE '{}'", "%".repeat(length));
    for (text, params, fits) in [
        (padded(100_000), 0, true),
        (padded(100_001), 0, false),
        (format!("SELECT max({})", holders(100)), 100, true),
        (format!("SELECT max({})", holders(101)), 101, false),
        (format!("CREATE TABLE t100 ({})", columns(100)), 0, true),
        (format!("CREATE TABLE t101 ({})", columns(101)), 0, false),
        (deep(100), 0, true),
        (deep(102), 0, false),
        (pattern(50), 0, true),
        (pattern(51), 0, false),
        ("SELECT length(zeroblob(2000000))".into(), 0, true),
        ("SELECT length(zeroblob(2000001))".into(), 0, false),
    ] {
        let result = object.one(sql_with(&text, json!(vec![1; params])));
        assert_eq!(result.get("error").is_none(), fits, "{text:.60}: {result}");
    }
}

#[test]
fn a_transaction_that_sqlite_ended_by_itself_fails_the_turn() {
    let object = Object::start();
    object.turn(
        json!([sql("CREATE TABLE t (x UNIQUE); INSERT INTO t VALUES (1)"), { "op": "put", "key": "k", "value": "1" }]),
    );
    for statement in [
        "INSERT OR ROLLBACK INTO t VALUES (1)",
        "CREATE TABLE u (x UNIQUE ON CONFLICT ROLLBACK); INSERT INTO u VALUES (1), (1)",
    ] {
        let operations =
            json!([{ "op": "put", "key": "k", "value": "2" }, sql(statement), sql("INSERT INTO t VALUES (3)")]);
        let answer = object.host.post("/storage/alice", operations.to_string());
        answer.problem(500, "not-applied");
        assert_eq!(object.one(json!({ "op": "get", "key": "k" }))["value"], "1", "{statement}");
        assert_eq!(value(&object, "SELECT group_concat(x) FROM t"), 1.to_string(), "{statement}");
    }
}

#[test]
fn a_deferred_constraint_is_checked_at_the_end_of_the_turn() {
    let object = Object::start();
    object.one(sql("CREATE TABLE parent (id INTEGER PRIMARY KEY);
         CREATE TABLE child (parent REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"));
    let late = json!([sql("INSERT INTO child VALUES (1)"), sql("INSERT INTO parent VALUES (1)")]);
    object.turn(late);
    let answer = object.host.post("/storage/alice", json!([sql("INSERT INTO child VALUES (2)")]).to_string());
    answer.problem(500, "not-applied");
    assert_eq!(value(&object, "SELECT count(*) FROM child"), 1);
}

#[test]
fn pragmas_of_an_instance_go_with_it() {
    let object = Object::start();
    object.one(sql("CREATE TABLE t (x)"));
    object.one(sql("PRAGMA case_sensitive_like = ON"));
    assert_eq!(value(&object, "SELECT 'a' LIKE 'A'"), 0);
    object.failing_turn(json!([sql("INSERT INTO t VALUES (1)")]));
    assert_eq!(value(&object, "SELECT 'a' LIKE 'A'"), 1);
}

#[test]
fn objects_have_databases_of_their_own() {
    let object = Object::start();
    object.one(sql("CREATE TABLE t (x)"));
    let bob = |text: &str| object.host.post("/storage/bob", json!([sql(text)]).to_string()).json();
    assert_eq!(bob("SELECT * FROM t")[0]["error"], "sqlite");
}

#[test]
fn a_scan_of_a_million_rows_needs_no_memory() {
    let object = Object::with("memory-per-instance = 16_777_216");
    object.one(sql("CREATE TABLE t (x INTEGER PRIMARY KEY, y TEXT)"));
    object.one(sql("WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1000000)
         INSERT INTO t SELECT n, 'what a row of some length has to say' FROM c"));
    let scanned = object.one(json!({ "op": "scan", "text": "SELECT x, y FROM t" }));
    assert_eq!((&scanned["rows"], &scanned["sum"]), (&json!(1_000_000), &json!(500_000_500_000_i64)));
    assert!(scanned["grown"].as_u64().unwrap() < 4 << 20, "{scanned}");
}

#[test]
fn integers_are_exact_wherever_they_pass() {
    let object = Object::start();
    object.one(sql("CREATE TABLE t (x INTEGER)"));
    for exact in [i64::MIN, i64::MIN + 1, -(1 << 53) - 1, -1, 0, (1 << 53) + 1, i64::MAX - 1, i64::MAX] {
        let results = object.turn(json!([
            sql_with("INSERT INTO t VALUES (?)", json!([exact])),
            sql_with("SELECT x, x = ?, CAST(x AS TEXT) FROM t", json!([exact])),
            sql("DELETE FROM t RETURNING x"),
        ]));
        assert_eq!(results[1]["rows"], json!([[exact, 1, exact.to_string()]]));
        assert_eq!(results[2]["rows"], json!([[exact]]));
    }
}

#[test]
fn rows_and_parameters_at_their_limit() {
    let object = Object::start();
    object.one(sql("CREATE TABLE t (x, y)"));
    let text = "x".repeat(2_000_000);
    let results = object.turn(json!([
        sql_with("SELECT length(?)", json!([text])),
        sql_with("SELECT length(?)", json!([format!("{text}x")])),
        sql("INSERT INTO t VALUES (zeroblob(1000000), zeroblob(1500000))"),
        sql("SELECT zeroblob(1000000), zeroblob(1000001)"),
        sql("INSERT INTO t VALUES (1, zeroblob(1999000))"),
        // A function that joins large values has a result as large as their sum.
        sql("SELECT a.y, b.y FROM t a, t b"),
        sql("SELECT count(*), max(length(y)) FROM t"),
    ]));
    assert_eq!(results[0]["rows"], json!([[2_000_000]]));
    for at in [1, 2, 3, 5] {
        assert_eq!(results[at]["error"], "too-large", "{at}: {:.300}", results[at].to_string());
    }
    assert_eq!(results[6]["rows"], json!([[1, 1_999_000]]), "the turn went on");
}

#[test]
fn a_cursor_ends_with_its_turn_or_by_a_later_statement() {
    let object = Object::start();
    object.one(sql("CREATE TABLE t (x)"));
    let many = "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 600) SELECT n FROM c";
    let (open, next) = (json!({ "op": "open_rows", "text": many }), json!({ "op": "next_rows", "max": 0 }));
    let results = object.turn(json!([open, next, sql("INSERT INTO t VALUES (1)"), next, sql("DROP TABLE t"), next]));
    assert_eq!((&results[0]["rows"], &results[0]["more"]), (&json!(256), &json!(true)));
    assert_eq!((&results[1]["rows"], &results[3]["rows"]), (&json!([[257]]), &json!([[258]])), "0 is taken as 1");
    assert_eq!(results[5]["error"], "closed", "SQLite cannot change the schema under a reader");
    object.turn(json!([open]));
    assert_eq!(object.one(next)["error"], "closed");
}

/// A query that the turn's work budget interrupts ends the turn, and the turn's writes are rolled back.
#[test]
fn an_interrupted_query_fails_the_turn() {
    let object = Object::with("fuel-per-turn = 2_000_000_000");
    object.one(sql("CREATE TABLE t (x); INSERT INTO t VALUES (1)"));
    let endless = "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c)";
    for text in [
        format!("{endless} SELECT max(n) FROM c"),
        format!("{endless} INSERT INTO t SELECT n FROM c"),
        format!("UPDATE t SET x = ({endless} SELECT max(n) FROM c)"),
        format!("CREATE TABLE u AS {endless} SELECT n FROM c"),
    ] {
        let operations = json!([sql("INSERT INTO t VALUES (2)"), sql(&text), sql("INSERT INTO t VALUES (3)")]);
        object.host.post("/storage/alice", operations.to_string()).problem(500, "fuel-exhausted");
        assert_eq!(value(&object, "SELECT group_concat(x) FROM t"), "1", "{text}");
    }
}

#[test]
fn of_a_call_that_fails_nothing_stays() {
    let object = Object::start();
    object.one(sql("CREATE TABLE t (x UNIQUE)"));
    let results = object.turn(json!([
        sql("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); INSERT INTO t VALUES (1)"),
        sql("CREATE TABLE u (x); INSERT INTO u VALUES (1); SELEC"),
        sql("INSERT INTO t VALUES (3) RETURNING x; INSERT INTO t VALUES (4); SELECT ?"),
        sql("INSERT INTO t VALUES (5), (5) RETURNING x"),
        sql("SELECT * FROM u"),
        sql("SELECT count(*) FROM t"),
    ]));
    for (result, error) in results.iter().zip(["constraint", "sqlite", "parameter-count", "constraint", "sqlite"]) {
        assert_eq!(result["error"], error, "{result}");
    }
    assert_eq!(results[5]["rows"], json!([[0]]));
}

#[test]
fn changes_and_rowids_are_told() {
    let object = Object::start();
    let result = object.one(sql("CREATE TABLE t (id INTEGER PRIMARY KEY, x); CREATE TABLE log (x);
         CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.x), (new.x); END;
         INSERT INTO t VALUES (41, 1), (42, 2); UPDATE t SET x = x + 1"));
    assert_eq!((&result["changes"], &result["last_insert_rowid"]), (&json!(4), &json!(42)), "triggers do not count");
    let result = object.one(sql("SELECT * FROM log"));
    assert_eq!((&result["changes"], result["rows"].as_array().unwrap().len()), (&json!(0), 4));
    assert_eq!(object.one(sql("DELETE FROM t WHERE id > 41 RETURNING id"))["changes"], 1);
}

#[test]
fn pragmas_that_tell_and_those_that_set() {
    let object = Object::start();
    object.one(sql("CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE t (x REFERENCES p, y UNIQUE)"));
    for pragma in [
        "table_info(t)",
        "table_xinfo(t)",
        "table_list",
        "index_list(t)",
        "index_info(sqlite_autoindex_t_1)",
        "index_xinfo(sqlite_autoindex_t_1)",
        "foreign_key_list(t)",
        "quick_check",
        "data_version",
        "page_size",
    ] {
        let rows = object.one(sql(&format!("PRAGMA {pragma}")));
        assert!(rows["rows"].as_array().is_some_and(|rows| !rows.is_empty()), "{pragma}: {rows}");
    }
    for pragma in [
        "foreign_keys",
        "defer_foreign_keys",
        "case_sensitive_like",
        "ignore_check_constraints",
        "recursive_triggers",
        "reverse_unordered_selects",
        "legacy_alter_table",
    ] {
        for state in ["ON", "OFF"] {
            let result = object.one(sql(&format!("PRAGMA {pragma} = {state}")));
            assert!(result.get("error").is_none(), "{pragma}: {result}");
        }
    }
    let results = object.turn(json!([
        sql("PRAGMA foreign_keys = OFF"),
        sql("INSERT INTO t VALUES (7, 7)"),
        sql("PRAGMA foreign_keys = ON"),
        sql("PRAGMA foreign_key_check"),
    ]));
    assert_eq!(results[2]["error"], "not-authorized", "not after the turn's first write");
    assert_eq!(results[3]["rows"].as_array().unwrap().len(), 1);
}

/// Rows of 180 MB: 95 columns of the largest size, computed.
fn monster() -> String {
    let names: Vec<String> = (0..95).map(|n| format!("a{n}")).collect();
    let values: Vec<String> = names.iter().map(|name| format!("printf('%.*c', 1900000, 'x') {name}")).collect();
    let sum: Vec<String> = names.iter().map(|name| format!("length({name})")).collect();
    let rows = "(WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1000) SELECT n FROM c)";
    format!("SELECT a0, {} FROM (SELECT {} FROM {rows})", sum.join(" + "), values.join(", "))
}

#[test]
fn what_sql_takes_of_memory_is_the_objects_own() {
    let object = Object::start();
    object.one(sql("CREATE TABLE t (x); INSERT INTO t VALUES (1)"));
    let cursors: Vec<Json> = (0..25).map(|_| json!({ "op": "open_rows", "text": monster() })).collect();
    for (path, body) in [("alice", json!(cursors)), ("bob", json!([sql("CREATE TABLE t (x)"), sql(&monster())]))] {
        let problem = object.host.post(&format!("/storage/{path}"), body.to_string()).problem(500, "out-of-memory");
        assert!(problem["detail"].as_str().unwrap().contains("sql-memory"), "{problem}");
    }
    // All memory is given back, and nothing of the turn remains.
    assert_eq!(value(&object, "SELECT count(*) FROM t"), 1);
    let used = object.host.metric("holdfast_memory_bytes{purpose=\"sql\"}");
    assert!(used < 4 << 20, "{used}");
}

#[test]
fn temporary_files_have_a_limit() {
    let mut object = Object::with("temporary-files = 16_777_216");
    let sorter =
        "WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c ORDER BY randomblob(1000)";
    let problem = object.host.post("/storage/alice", json!([sql(sorter)]).to_string()).problem(507, "storage-full");
    assert!(problem["detail"].as_str().unwrap().contains("temporary files"), "{problem}");
    assert_eq!(value(&object, "SELECT 1"), 1);
    object.host.assert_alive();
}

#[test]
fn functions_on_the_largest_values_end() {
    let object = Object::with("cpu-seconds-per-turn = 5.0");
    for (call, answer) in [
        ("instr(printf('%.*c', 1900000, 'a'), printf('%.*c', 900000, 'a') || 'b')", 0),
        ("length(replace(printf('%.*c', 1900000, 'a'), printf('%.*c', 900000, 'a') || 'b', ''))", 1_900_000),
        ("length(trim(printf('%.*c', 1900000, 'a'), printf('%.*c', 1900000, 'b') || 'a'))", 0),
        ("length(unhex(printf('%.*c', 1900000, 'x'), printf('%.*c', 1900000, 'y') || 'x'))", 0),
    ] {
        assert_eq!(value(&object, &format!("SELECT {call}")), answer, "{call}");
    }
}

#[test]
fn changes_with_a_limit_and_what_stays_refused() {
    let object = Object::start();
    object.one(sql("CREATE TABLE t (x); INSERT INTO t VALUES (1), (2), (3), (4)"));
    assert_eq!(object.one(sql_with("DELETE FROM t ORDER BY x DESC LIMIT ?", json!([2])))["changes"], 2);
    assert_eq!(object.one(sql("UPDATE t SET x = 9 WHERE x < 5 LIMIT 1"))["changes"], 1);
    assert_eq!(value(&object, "SELECT max(x) FROM t"), 9);
    for refused in ["PRAGMA defer_foreign_keys = abcd", "PRAGMA table_info(_hf_kv)", "DELETE FROM _hf_kv LIMIT 1"] {
        assert_eq!(object.one(sql(refused))["error"], "not-authorized", "{refused}");
    }
    assert_eq!(object.one(sql("SELECT * FROM pragma_table_info('_hf_kv')"))["rows"], json!([]));
}
